/* The tree of the history as lines of a graph, newest first: lane 0 is the line that undo and redo follow. */
#ifndef UI_HISTORY_GRAPH_H
#define UI_HISTORY_GRAPH_H

#include "app.h"
#include "qx/history.h"

enum { UI_GRAPH_LANES = 8, UI_GRAPH_TEXT = 8 * UI_GRAPH_LANES };

/* Rows top .. top+n-1 of the graph into out; returns the cells of the widest. Beyond UI_GRAPH_LANES branches
 * share the last lane, without lines. O(states) */
int ui_graph_rows(const struct ui_app *app, int64_t top, int n, char out[][UI_GRAPH_TEXT]);

#endif

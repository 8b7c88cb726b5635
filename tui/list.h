/* A cursor that walks down a list: what every screen with rows does with the same keys and presses. */
#ifndef UI_LIST_H
#define UI_LIST_H

#include "command.h"
#include "view.h"
#include "widget_table.h"

/* Move the cursor by one of up, down, page-up, page-down, top and bottom (arg = how often, "" = once), kept in
 * 0..n-1, and 0 in an empty list. False, and nothing moved, when cmd is none of them. */
bool ui_list_move(enum ui_cmd cmd, const char *arg, int page, int64_t n, int *cursor);

/* A press on a row of the table drawn in r moves the cursor there, by commands, so that it is recorded; on the
 * row under the cursor it opens it when `opens`. False when it was no press on another row. */
bool ui_list_press(struct ui_app *app, const struct ui_mouse *m, struct ui_rect r,
                   const struct ui_table *table, int64_t cursor, bool opens);

#endif

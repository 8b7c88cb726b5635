/* What the Sensitivity and Pareto screens share. */
#ifndef UI_SEARCH_TEXT_H
#define UI_SEARCH_TEXT_H

#include "view.h"

/* A language model: figures are changes of perplexity. */
bool ui_is_words(const struct ui_app *app);
/* Can the network be run on data? False: refused with the reason. */
bool ui_can_run(struct ui_app *app);
/* "4", "fp16". */
void ui_width_text(const struct qx_setting *set, char *buf, size_t cap);
/* The layer takes the column's bits, the marked layers pay for it. */
bool ui_purse(struct ui_app *app, int layer, int column);
/* How a cell of the map came about; n_rows: rows listed. */
bool ui_sens_explain(struct ui_app *app, int layer, int column, int n_rows, struct ui_explain *out);

#endif

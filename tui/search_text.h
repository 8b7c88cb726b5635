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
/* A value of qx_point: "94.06 %", of a language model "perplexity +1.2 %"; and the point with its size. */
void ui_point_figure(const struct ui_app *app, double value, char *buf, size_t cap);
void ui_point_text(const struct ui_app *app, const struct qx_point *p, char *buf, size_t cap);
/* The layer takes the column's bits, the marked layers pay for it. */
bool ui_purse(struct ui_app *app, int layer, int column);
/* How a cell of the map came about; n_rows: rows listed. */
bool ui_sens_explain(struct ui_app *app, int layer, int column, int n_rows, struct ui_explain *out);

#endif

/* The Compare screen's table of what was measured: FP32, A and B. */
#ifndef UI_COMPARE_FIGURES_H
#define UI_COMPARE_FIGURES_H

#include "view.h"

/* Rows drawn. */
int ui_compare_figures(struct ui_app *app, struct ui_canvas *c, struct ui_rect r);
/* Distributions beside FP32's, and the tokens that lose most from a to b. */
void ui_compare_explain_words(struct ui_app *app, const struct qx_eval_result *a,
                              const struct qx_eval_result *b, struct ui_explain *out);
/* False (nothing is said) when the network is no encoder without classifier. */
bool ui_compare_explain_embedding(struct ui_app *app, struct ui_explain *out);

#endif

/* Predictions in words: the gauge's figure and its explanation. */
#ifndef UI_PREDICT_TEXT_H
#define UI_PREDICT_TEXT_H

#include "qx/session.h"
#include "app.h"
#include "view.h"

#include <stddef.h>

/* "-2.1 ≈ ±0.8 pt", "within noise", "drop > 17 pt", "agrees ≈ 97.2 ±0.8 %", "KL ≈ 0.012". brief: without
 * the band. "" when nothing is predicted. */
char *ui_fmt_predicted(char *buf, size_t cap, const struct qx_gauge *g, enum ui_glyphs glyphs,
                       bool brief);
/* "low", "medium", "high". */
const char *ui_risk_name(enum qx_risk risk);
/* Which measurement narrows the band most, in one line without its key; "" = none. */
char *ui_fmt_next(char *buf, size_t cap, struct qx_session *s, enum ui_glyphs glyphs);
/* Where the figure comes from, with the numbers in the formulas; what predictions were worth so far.
 * item: the layer whose share is told, -1 = none. */
void ui_explain_predicted(struct ui_explain *e, struct qx_session *s, const struct qx_gauge *g,
                          int64_t item, enum ui_glyphs glyphs);

#endif

/* What was measured, as text: accuracy of classifiers, perplexity of language models. */
#ifndef UI_GAUGE_TEXT_H
#define UI_GAUGE_TEXT_H

#include "figure.h"
#include "view.h"
#include "qx/session.h"

/* The paired change against FP32: "-1.9 pt", "+3.2 %" of perplexity. */
char *ui_fig_pair(char buf[UI_FIG], const struct qx_eval_pair *pair);
/* A relative increase of perplexity: "+3.2 %", "0.0 %"; beyond tenfold "x 12". */
char *ui_fig_increase(char buf[UI_FIG], double increase);
/* The same of a value as qx/predict.h has it, against that of FP32: points, or the increase that a share
 * of the likelihood means. */
char *ui_fig_change(char buf[UI_FIG], bool is_words, double delta);
/* "FP32 91.3 %, 1826 of 2000 right", "FP32 perplexity 5.659, 80862 tokens"; brief: the figure only. */
char *ui_fmt_fp32(char *buf, size_t cap, const struct qx_gauge *g, bool brief);
/* "-1.9 pt, 667 of 788 right", "+3.2 % ±0.4, perplexity 5.84". */
char *ui_fmt_measured(char *buf, size_t cap, const struct qx_gauge *g, enum ui_glyphs glyphs,
                      bool brief);
/* One line that says it all, for wide rows: with the rows lost and gained. */
char *ui_fmt_measured_long(char *buf, size_t cap, const struct qx_gauge *g, enum ui_glyphs glyphs);
/* Nothing is measured, for the reason that the gauge names. */
bool ui_gauge_is_none(const struct qx_gauge *g);
/* Lines on tokens that the model wrote itself; none where they are of a file. */
void ui_explain_own_text(struct ui_explain *e, const struct qx_gauge *g);
/* Absolute figures, and where the change comes from; nothing before FP32 is measured. */
void ui_explain_measured(struct ui_explain *e, const struct qx_gauge *g, enum ui_glyphs glyphs);

#endif

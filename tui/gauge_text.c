#include "gauge_text.h"

#include "app.h"

#include <math.h>
#include <stdio.h>

char *ui_fig_increase(char buf[UI_FIG], double increase)
{
    const double p = increase * 100;
    if (p >= 900) {
        snprintf(buf, UI_FIG, "x %.*f", p < 9900 ? 1 : 0, 1 + increase);
        return buf;
    }
    const int decimals = fabs(p) < 0.095 && p != 0 ? 2 : 1;
    const double shown = fabs(p) < 0.005 ? 0.0 : p; /* no "-0.00" */
    snprintf(buf, UI_FIG, "%s%.*f %%", shown > 0 ? "+" : "", decimals, shown);
    return buf;
}

char *ui_fig_change(char buf[UI_FIG], bool is_words, double delta)
{
    return is_words ? ui_fig_increase(buf, 1 / (1 + delta) - 1) : ui_fig_points(buf, delta);
}

char *ui_fig_pair(char buf[UI_FIG], const struct qx_eval_pair *pair)
{
    return isnan(pair->increase) ? ui_fig_points(buf, pair->delta)
                                 : ui_fig_increase(buf, pair->increase);
}

char *ui_fmt_fp32(char *buf, size_t cap, const struct qx_gauge *g, bool brief)
{
    const double percent = g->n ? 100.0 * (double)g->fp32_correct / (double)g->n : 0;
    char ppl[UI_FIG];
    if (g->is_words) {
        ui_fig_real(ppl, g->fp32_perplexity, 4);
        snprintf(buf, cap, brief ? "FP32 ppl %s" : "FP32 perplexity %s, %lld tokens", ppl,
                 (long long)g->n);
    } else if (brief) {
        snprintf(buf, cap, "FP32 %.1f %%", percent);
    } else {
        snprintf(buf, cap, "FP32 %.1f %%, %lld of %lld right", percent, (long long)g->fp32_correct,
                 (long long)g->n);
    }
    return buf;
}

/* The paired change against FP32, which is what an edit can move. */
char *ui_fmt_measured(char *buf, size_t cap, const struct qx_gauge *g, enum ui_glyphs glyphs,
                      bool brief)
{
    char change[UI_FIG], ppl[UI_FIG];
    ui_fig_pair(change, &g->pair);
    if (brief) {
        snprintf(buf, cap, "%s", change);
    } else if (g->is_words && g->pair.increase_error == 0) {
        snprintf(buf, cap, "%s, perplexity %s", change, ui_fig_real(ppl, g->perplexity, 4));
    } else if (g->is_words) {
        snprintf(buf, cap, "%s %s%.*f, perplexity %s", change, ui_plus_minus(glyphs),
                 g->pair.increase_error < 0.00095 ? 2 : 1, 100 * g->pair.increase_error,
                 ui_fig_real(ppl, g->perplexity, 4));
    } else {
        snprintf(buf, cap, "%s, %lld of %lld right", change, (long long)g->correct,
                 (long long)g->n);
    }
    return buf;
}

char *ui_fmt_measured_long(char *buf, size_t cap, const struct qx_gauge *g, enum ui_glyphs glyphs)
{
    char change[UI_FIG], now[UI_FIG], before[UI_FIG];
    ui_fig_pair(change, &g->pair);
    if (g->is_words) {
        snprintf(buf, cap, "%s %s%.2f  perplexity %s (FP32 %s): %lld of %lld next tokens differ",
                 change, ui_plus_minus(glyphs), 100 * g->pair.increase_error,
                 ui_fig_real(now, g->perplexity, 5), ui_fig_real(before, g->fp32_perplexity, 5),
                 (long long)g->pair.flips, (long long)g->n);
    } else {
        snprintf(buf, cap, "%s  %lld of %lld right (FP32 %lld): %lld lost, %lld gained", change,
                 (long long)g->correct, (long long)g->n, (long long)g->fp32_correct,
                 (long long)g->pair.lost, (long long)g->pair.gained);
    }
    return buf;
}

bool ui_gauge_is_none(const struct qx_gauge *g)
{
    return g->state == QX_GAUGE_NONE || g->state == QX_GAUGE_DATA || g->state == QX_GAUGE_FAILED;
}

void ui_explain_own_text(struct ui_explain *e, const struct qx_gauge *g)
{
    if (g->is_own_text) {
        ui_explain_add(e, "The tokens are text that the model wrote itself (temperature 1): KL");
        ui_explain_add(e, "divergence there is near to that on real text, perplexity is not.");
    }
}

static void explain_words(struct ui_explain *e, const struct qx_gauge *g, enum ui_glyphs glyphs)
{
    const char *pm = ui_plus_minus(glyphs);
    const struct qx_eval_pair *p = &g->pair;
    ui_explain_add(e, "FP32: perplexity %.5f over %lld tokens, next token right %.2f %%",
                   g->fp32_perplexity, (long long)g->n,
                   100 * (double)g->fp32_correct / (double)g->n);
    if (g->correct < 0) {
        return;
    }
    ui_explain_add(e, "this recipe: perplexity %.5f, next token right %.2f %%", g->perplexity,
                   100 * (double)g->correct / (double)g->n);
    ui_explain_add(e, "on the same tokens: -log p grows by %.5f %s%.5f on average,", p->nll_delta,
                   pm, p->nll_error);
    ui_explain_add(e, "so perplexity by exp(%.5f) - 1 = %+.3f %% %s%.3f (one standard error).",
                   p->nll_delta, 100 * p->increase, pm, 100 * p->increase_error);
    ui_explain_add(e, "The likeliest next token is another one at %lld places (%.2f %%).",
                   (long long)p->flips, 100 * (1 - p->agreement));
    ui_explain_add(e, "edits since that measurement: %d", g->edits_since);
}

static void explain_rows(struct ui_explain *e, const struct qx_gauge *g)
{
    const struct qx_eval_pair *p = &g->pair;
    double lo, hi;
    qx_wilson(g->fp32_correct, g->n, &lo, &hi);
    ui_explain_add(e, "FP32: %lld of %lld rows right = %.2f %% (95 %% interval %.1f to %.1f)",
                   (long long)g->fp32_correct, (long long)g->n,
                   100.0 * (double)g->fp32_correct / (double)g->n, 100 * lo, 100 * hi);
    if (g->correct < 0) {
        return;
    }
    qx_wilson(g->correct, g->n, &lo, &hi);
    ui_explain_add(e, "this recipe: %lld of %lld right = %.2f %% (95 %% interval %.1f to %.1f)",
                   (long long)g->correct, (long long)g->n,
                   100.0 * (double)g->correct / (double)g->n, 100 * lo, 100 * hi);
    ui_explain_add(e, "on the same rows: %lld lost, %lld gained, %lld classes differ",
                   (long long)p->lost, (long long)p->gained, (long long)p->flips);
    ui_explain_add(e, "change = (gained - lost) / n = (%lld - %lld) / %lld = %+.2f pt",
                   (long long)p->gained, (long long)p->lost, (long long)p->n, 100 * p->delta);
    ui_explain_add(e, "chance of such a split between equals: p = %.2g (McNemar 1947)",
                   p->mcnemar_p);
    ui_explain_add(e, "edits since that measurement: %d", g->edits_since);
}

void ui_explain_measured(struct ui_explain *e, const struct qx_gauge *g, enum ui_glyphs glyphs)
{
    if (g->fp32_correct < 0 || g->n == 0) {
        return;
    }
    if (g->is_words) {
        explain_words(e, g, glyphs);
    } else {
        explain_rows(e, g);
    }
}

#include "predict_text.h"

#include "gauge_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Predictions fall short of heavy damage: beyond this only a bound is said. */
static const double heavy = 0.15;

const char *ui_risk_name(enum qx_risk risk)
{
    static const char *const names[] = {"unknown", "low", "medium", "high"};
    return names[risk];
}

static const char *about(enum ui_glyphs glyphs)
{
    return ui_mark(QX_BASIS_HISTOGRAM, glyphs);
}

/* Half the band, in points. */
static double half_band(const struct qx_prediction *p)
{
    return 50.0 * (p->hi - p->lo);
}

/* Nothing that the rows could show, or a gain that the band does not exclude from being none. */
static bool is_noise(const struct qx_prediction *p)
{
    return p->is_within_noise || (p->change > 0.0 && p->lo <= p->value - p->change);
}

/* "+3.2 % ≈ ±0.8": the relative increase of perplexity, and half its band. */
static void fmt_words(char *buf, size_t cap, const struct qx_prediction *p, enum ui_glyphs glyphs,
                      bool brief)
{
    char increase[UI_FIG];
    ui_fig_change(increase, true, p->change);
    if (p->value < 1.0 - heavy && p->rho < 1.0) {
        snprintf(buf, cap, "ppl > +%.0f %%", floor(100 / p->value - 100));
        return;
    }
    if (brief) {
        snprintf(buf, cap, "%s %s", increase, about(glyphs));
    } else {
        snprintf(buf, cap, "%s %s %s%.1f", increase, about(glyphs), ui_plus_minus(glyphs),
                 50 * (1 / p->lo - 1 / p->hi));
    }
}

char *ui_fmt_predicted(char *buf, size_t cap, const struct qx_gauge *g, enum ui_glyphs glyphs,
                       bool brief)
{
    const struct qx_prediction *p = &g->predicted;
    const char *ca = about(glyphs), *pm = ui_plus_minus(glyphs);
    const double points = 0.1 * round(1000 * p->change) + 0.0; /* no "-0.0" */
    buf[0] = '\0';
    if (g->guess != QX_GUESS_PREDICTED) {
        return buf;
    }
    if (!p->has_value) {
        snprintf(buf, cap, "KL %s%.2g", ca, p->kl);
    } else if (!p->is_labelled) {
        int n = snprintf(buf, cap, "agrees %s%.1f", ca, 100 * p->value);
        if (brief) {
            snprintf(buf + n, cap - (size_t)n, " %%");
        } else {
            snprintf(buf + n, cap - (size_t)n, " %s%.1f %%", pm, half_band(p));
        }
    } else if (is_noise(p)) {
        snprintf(buf, cap, "within noise");
    } else if (p->is_words) {
        fmt_words(buf, cap, p, glyphs, brief);
    } else if (p->change < -heavy && p->rho < 1.0) {
        snprintf(buf, cap, "drop > %.0f pt", floor(-100 * p->change));
    } else if (brief) {
        snprintf(buf, cap, "%+.1f %s", points, ca);
    } else {
        snprintf(buf, cap, "%+.1f %s %s%.1f pt", points, ca, pm, half_band(p));
    }
    return buf;
}

char *ui_fmt_next(char *buf, size_t cap, struct qx_session *s, enum ui_glyphs glyphs)
{
    struct qx_next n;
    const char *pm = ui_plus_minus(glyphs), *ca = about(glyphs);
    const char *unit = qx_session_net(s) && qx_net_is_words(qx_session_net(s)) ? "%" : "pt";
    char time[UI_FIG];
    qx_session_next(s, &n);
    buf[0] = '\0';
    if (n.kind == QX_NEXT_NONE) {
        return buf;
    }
    ui_fig_time(time, n.time_s);
    if (n.kind == QX_NEXT_RECIPE) {
        snprintf(buf, cap, "measures this recipe on all rows (%s%s): no band of %s%.1f %s then", ca,
                 time, pm, 100 * n.now, unit);
    } else if (isnan(n.then)) {
        snprintf(buf, cap, "measures %d random recipes (%s%s): %s%.1f %s are assumed till then",
                 n.n, ca, time, pm, 100 * n.now, unit);
    } else {
        snprintf(buf, cap, "measures %d random recipes (%s%s): %s%.1f %s would become %s%s%.1f",
                 n.n, ca, time, pm, 100 * n.now, unit, ca, pm, 100 * n.then);
    }
    return buf;
}

static void explain_coverage(struct ui_explain *e, const struct qx_prediction *p)
{
    if (p->coverage == QX_PREDICT_90) {
        ui_explain_add(e, "It holds 90 %% of %d measured configurations, each left out in turn.",
                       p->n_points);
    } else if (p->coverage == QX_PREDICT_ROUGH) {
        ui_explain_add(e, "Rough: %d configurations measured; 19 make it a 90 %% band.",
                       p->n_points);
    } else {
        ui_explain_add(e, "Uncalibrated: %d configuration%s measured; from 9 on they set it.",
                       p->n_points, p->n_points == 1 ? "" : "s");
    }
}

static void explain_band(struct ui_explain *e, const struct qx_prediction *p, enum ui_glyphs glyphs)
{
    const char *pm = ui_plus_minus(glyphs);
    if (p->is_words) {
        ui_explain_add(e, "band %+.1f to %+.1f %%: D %s %.2f x %.4f, and at least %s%.2f %%",
                       100 / p->hi - 100, 100 / p->lo - 100, pm, p->q, p->sigma, pm,
                       100 * p->floor);
        ui_explain_add(e, "(1.64 sqrt(2 KL / n): what the tokens could tell apart).");
        explain_coverage(e, p);
        return;
    }
    ui_explain_add(e, "band %.1f to %.1f %%: D %s %.2f x %.3f, and at least %s%.2f points",
                   100 * p->lo, 100 * p->hi, pm, p->q, p->sigma, pm, 100 * p->floor);
    ui_explain_add(e, "(1.64 standard errors of the rows whose class changes).");
    explain_coverage(e, p);
}

static void explain_anchor(struct ui_explain *e, const struct qx_prediction *p)
{
    if (p->anchor >= 0) {
        ui_explain_add(e,
                       "D = %.3f composed %+.3f from the nearest measured recipe (likeness %.2f)",
                       p->drop_plain, p->drop - p->drop_plain, p->rho);
    } else {
        ui_explain_add(e, "D = %.3f is composed: nothing like this recipe was measured yet.",
                       p->drop);
    }
}

static void explain_value(struct ui_explain *e, const struct qx_prediction *p)
{
    if (p->is_words) {
        ui_explain_add(e, "perplexity grows by exp(D) - 1 = exp(%.4f) - 1 = %+.2f %%", p->drop,
                       100 / p->value - 100);
        explain_anchor(e, p);
        return;
    }
    ui_explain_add(e, "%s = logistic(logit(%.4f) - %.3f) = %.2f %%, %+.2f points",
                   p->is_labelled ? "accuracy" : "agreement", p->value - p->change, p->drop,
                   100 * p->value, 100 * p->change);
    explain_anchor(e, p);
}

void ui_explain_predicted(struct ui_explain *e, struct qx_session *s, const struct qx_gauge *g,
                          int64_t item, enum ui_glyphs glyphs)
{
    const struct qx_prediction *p = &g->predicted;
    char text[160];
    double share, kl;
    if (g->guess == QX_GUESS_RANK) {
        ui_explain_add(e, "risk %s: by the mean squared relative error of the weights.",
                       ui_risk_name(g->risk));
        ui_explain_add(e, "Nothing was run: this ranks recipes, and says no accuracy.");
    }
    if (g->guess != QX_GUESS_PREDICTED) {
        return;
    }
    ui_explain_add(e, "predicted: %s", ui_fmt_predicted(text, sizeof text, g, glyphs, false));
    ui_explain_add(e, "composed of %d measured effects of single layers on %lld %s:", g->n_entries,
                   (long long)g->predict_rows, p->is_words ? "places" : "rows");
    if (g->is_predicted_early) {
        ui_explain_add(e, "they stand for all rows until FP32 is measured on those:");
    }
    ui_explain_add(e, "gains multiply, shifts and residuals add. KL %s %.3g, same class %.1f %%.",
                   about(glyphs), p->kl, 100 * p->same_top);
    if (p->has_value) {
        explain_value(e, p);
        explain_band(e, p, glyphs);
    } else {
        ui_explain_add(e, "Fewer than %d rows: no percentage.", QX_PREDICT_ROWS_LEAST);
    }
    if (item >= 0 && p->sum.kl > 0.0 && qx_session_layer_share(s, item, &share, &kl)) {
        ui_explain_add(e, "this layer's share of the damage %s %.0f %% (KL %.2g of %.2g)",
                       about(glyphs), 100 * share, kl, p->sum.kl);
    }
    if (ui_fmt_next(text, sizeof(text), s, glyphs)[0]) {
        ui_explain_add(e, "I %s", text);
    }
    if (g->n_graded > 0) {
        ui_explain_add(
            e,
            p->is_words ? "last %d prediction%s: %.2f %% off on average, %d inside the band"
                        : "last %d prediction%s: %.2f points off on average, %d inside the band",
            g->n_graded, g->n_graded == 1 ? "" : "s", 100 * g->grade_error, g->n_graded_in_band);
    }
}

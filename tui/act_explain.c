/* What the figures of the Activations screen mean, with the values at hand put into the formulas. */
#include "act.h"

#include "figure.h"

#include <math.h>
#include <stdio.h>

static void add_source(const struct act_frame *f, struct ui_explain *out)
{
    ui_explain_add(out, " ");
    ui_explain_add(out, "From %lld rows of %.120s, run in float32.", (long long)f->source.n,
                   f->source.source);
    if (f->source.note[0]) {
        ui_explain_add(out, "%.190s", f->source.note);
    }
}

static void explain_static(const struct act_frame *f, struct ui_explain *out)
{
    char lo[UI_FIG], hi[UI_FIG], scale[UI_FIG], db[UI_FIG];
    snprintf(out->title, sizeof(out->title), "static range: SQNR and clipping");
    if (!f->has_metrics) {
        ui_explain_add(out, "A static range is found once, by a calibrator, from rows like those");
        ui_explain_add(out, "to come. It costs nothing at run time; what lies beyond is clipped.");
        ui_explain_add(out, "These inputs have none: %s.",
                       f->is_on ? "their ranges are dynamic" : "they stay in float32");
        add_source(f, out);
        return;
    }
    const struct qx_qparams p = qx_act_qparams(&f->act, 0, 0);
    ui_explain_add(out, "scale = (%s - %s) / %d = %s, zero point %d",
                   ui_fig_real(hi, f->act.range.hi, 4), ui_fig_real(lo, f->act.range.lo, 4),
                   p.qmax - p.qmin, ui_fig_real(scale, (double)p.scale, 4), p.zero);
    ui_explain_add(out, "SQNR = 10 log10(sum x^2 / sum (q(x) - x)^2) = %s",
                   ui_fig_db(db, f->metrics.sqnr_db));
    ui_explain_add(out, "clipped: %.0f below, %.0f above, of %lld values", f->metrics.clipped_low,
                   f->metrics.clipped_high, (long long)f->stats->n);
    if (f->metrics.basis == QX_BASIS_HISTOGRAM) {
        ui_explain_add(out, "%s from the value histogram: within 1e-6 of the values one by one.",
                       ui_mark(QX_BASIS_HISTOGRAM, f->app->glyphs));
    }
    add_source(f, out);
}

static void explain_dynamic(const struct act_frame *f, struct ui_explain *out)
{
    char db[UI_FIG];
    struct qx_act act = {.bits = f->act.bits, .sym = f->act.sym, .dynamic = true};
    snprintf(out->title, sizeof(out->title), "dynamic ranges: measured");
    ui_explain_add(out, "The range of the values at hand: nothing is clipped, and each pass");
    ui_explain_add(out, "first looks for its smallest and largest value.");
    ui_explain_add(out, "one range per sample  SQNR %s",
                   ui_fig_db(db, qx_act_dynamic_db(&act, f->seen)));
    act.gran = QX_ACT_TOKEN;
    if (f->seen->layout.outer > 1) {
        ui_explain_add(out, "one range per token   SQNR %s",
                       ui_fig_db(db, qx_act_dynamic_db(&act, f->seen)));
    } else {
        ui_explain_add(out, "A sample is one token here, so there is nothing finer.");
    }
    ui_explain_add(out, "Measured value by value on %lld of %lld rows, evenly spread.",
                   (long long)f->seen->n_error_rows, (long long)f->seen->n_rows);
    add_source(f, out);
}

static void explain_channels(const struct act_frame *f, struct ui_explain *out)
{
    const struct ui_act_state *s = f->state;
    char a[UI_FIG], b[UI_FIG];
    snprintf(out->title, sizeof(out->title), "outlier channels");
    ui_explain_add(out, "Largest |x| of each of %lld input channels: median %s, largest %s.",
                   (long long)f->seen->layout.count, ui_fig_real(a, s->channels.median, 3),
                   ui_fig_real(b, s->channels.top, 3));
    ui_explain_add(out, "Above 3 times the median: %lld.", (long long)s->channels.n_all);
    for (int i = 0; i < s->channels.n_outliers; i++) {
        const double max = (double)f->seen->channel_max[s->channels.outlier[i]];
        ui_explain_add(out, "  channel %lld: %s, %.1f times the median",
                       (long long)s->channels.outlier[i], ui_fig_real(a, max, 3),
                       max / s->channels.median);
    }
    if (s->channels.n_all > 0) {
        ui_explain_add(out, "The others need %.0f %% of the range: one scale for all spends the",
                       100 * s->channels.rest_share);
        ui_explain_add(out, "rest of its codes on these.");
    }
    add_source(f, out);
}

static void explain_batches(const struct act_frame *f, struct ui_explain *out)
{
    char lo[UI_FIG], hi[UI_FIG];
    struct qx_act ema = qx_act_static(8);
    snprintf(out->title, sizeof(out->title), "ranges of batches, moving average");
    qx_act_method(&ema, "ema", NULL);
    qx_act_resolve(&ema, f->seen, NULL);
    ui_explain_add(out, "%lld batches, each with its smallest and largest value.",
                   (long long)f->seen->n_batches);
    ui_explain_add(out, "The moving average r += 0.1 (x - r) over them ends at %s to %s:",
                   ui_fig_real(lo, ema.range.lo, 3), ui_fig_real(hi, ema.range.hi, 3));
    ui_explain_add(out, "outliers of single batches fade (Jacob et al. 2017).");
    add_source(f, out);
}

bool act_explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    typedef void explain_fn(const struct act_frame *, struct ui_explain *);
    static explain_fn *const parts[] = {explain_static, explain_dynamic, explain_channels,
                                        explain_batches};
    struct act_frame f;
    if (!act_frame_init(&f, app, state) || !f.seen || f.stats->n == 0 ||
        n >= (int)(sizeof(parts) / sizeof(parts[0]))) {
        return false;
    }
    act_update(&f, 40);
    parts[n](&f, out);
    return true;
}

/* What the figures of the Layer screen mean, with the values at hand put into the formulas. */
#include "layer.h"

#include "gauge_text.h"
#include "predict_text.h"
#include "replay_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void add_basis(const struct layer_frame *f, struct ui_explain *out)
{
    char count[40];
    ui_fmt_count(count, sizeof(count), f->metrics.n);
    ui_explain_add(out, " ");
    switch (f->metrics.basis) {
    case QX_BASIS_EXACT:
        ui_explain_add(out, "Exact: over all %s finite values.", count);
        break;
    case QX_BASIS_HISTOGRAM:
        ui_explain_add(out, "%s from the value histogram (65,536 bins) of all %s values:",
                       ui_mark(QX_BASIS_HISTOGRAM, f->app->glyphs), count);
        ui_explain_add(out, "within 1e-6 of the element-wise figure, which follows.");
        break;
    case QX_BASIS_SAMPLED:
        ui_explain_add(out, "%s from a sample of %s values; the pass over all of them runs.",
                       ui_mark(QX_BASIS_SAMPLED, f->app->glyphs), count);
        break;
    case QX_BASIS_UNKNOWN:
        ui_explain_add(out, "? not known for this setting.");
        break;
    }
    ui_explain_add(out, "Tensor %.120s", f->item->tensor->name);
    if (f->metrics.n_nonfinite > 0) {
        ui_explain_add(out, "%lld NaN or infinite values are left out; they become 0.",
                       (long long)f->metrics.n_nonfinite);
    }
}

static void explain_sqnr(const struct layer_frame *f, struct ui_explain *out)
{
    const struct qx_metrics *m = &f->metrics;
    char a[UI_FIG], b[UI_FIG], db[UI_FIG];
    snprintf(out->title, sizeof(out->title), "SQNR: signal over quantization noise");
    if (isnan(m->sqnr_db)) {
        ui_explain_add(out, "Every value is stored exactly: there is no error to measure.");
    } else {
        ui_explain_add(out, "SQNR = 10 log10( sum x^2 / sum (x - q(x))^2 )");
        ui_explain_add(out, "     = 10 log10( %s / %s ) = %s", ui_fig_real(a, m->sum_sq, 4),
                       ui_fig_real(b, m->mse * (double)m->n, 4), ui_fig_db(db, m->sqnr_db));
        ui_explain_add(out, " ");
        ui_explain_add(out, "6 dB more means half the error: about one bit.");
    }
    add_basis(f, out);
}

static void explain_clipped(const struct layer_frame *f, struct ui_explain *out)
{
    const struct qx_metrics *m = &f->metrics;
    char share[UI_FIG], threshold[80], count[40];
    double clipped = m->clipped_low + m->clipped_high;
    snprintf(out->title, sizeof(out->title), "clipped: values beyond the threshold");
    ui_explain_add(out, "%s", layer_threshold_text(f, threshold, sizeof(threshold)));
    ui_fmt_count(count, sizeof(count), m->n);
    ui_explain_add(out, "%.0f below + %.0f above = %.0f of %s values = %s", m->clipped_low,
                   m->clipped_high, clipped, count,
                   ui_fig_share(share, m->n > 0 ? clipped / (double)m->n : 0));
    ui_explain_add(out, " ");
    ui_explain_add(out, "They are stored as the outermost level. Clipping a few lets");
    ui_explain_add(out, "the levels stand closer, so that all others round better.");
    add_basis(f, out);
}

static const char *const scale_words[QX_SCALE_TYPES] = {"32 bits", "16 bits",
                                                        "8 bits, and every 256 of them 32 more"};

static void explain_bits(const struct layer_frame *f, struct ui_explain *out)
{
    const struct qx_metrics *m = &f->metrics;
    char bytes[40], fp32[40], count[40];
    snprintf(out->title, sizeof(out->title), "bits per weight, scales included");
    ui_fmt_bytes(bytes, sizeof(bytes), (double)m->bytes);
    ui_fmt_bytes(fp32, sizeof(fp32), 4.0 * (double)f->item->tensor->numel);
    ui_fmt_count(count, sizeof(count), f->item->tensor->numel);
    ui_explain_add(out, "stored: codes of %d bits%s", f->setting->bits,
                   f->setting->sym ? " and a scale per unit"
                                   : ", a scale and a zero point per unit");
    ui_explain_add(out, "units: %lld; a scale takes %s",
                   (long long)qx_setting_units(f->setting, f->item->channels),
                   scale_words[f->setting->scale]);
    ui_explain_add(out, "%s x 8 / %s weights = %.3f bits per weight", bytes, count,
                   m->bits_per_weight);
    ui_explain_add(out, "as FP32 it takes %s", fp32);
}

static void explain_accuracy(const struct layer_frame *f, struct ui_explain *out)
{
    const struct qx_gauge *g = &f->gauge;
    snprintf(out->title, sizeof(out->title), "%s: change against FP32",
             g->is_words ? "perplexity" : "accuracy");
    const int64_t item = f->item - qx_session_item(f->app->session, 0);
    ui_explain_replay(out, f->app, g);
    ui_explain_predicted(out, f->app->session, g, item, f->app->glyphs);
    ui_explain_own_text(out, g);
    if (ui_gauge_is_none(g)) {
        ui_explain_add(out, "There is none: %s", g->reason);
        return;
    }
    if (g->correct < 0 || g->fp32_correct < 0) {
        ui_explain_add(out, "It is being measured: %.0f %%.", g->progress * 100);
        return;
    }
    ui_explain_measured(out, g, f->app->glyphs);
}

static void explain_mse(const struct layer_frame *f, struct ui_explain *out)
{
    const struct qx_metrics *m = &f->metrics;
    char a[UI_FIG], b[UI_FIG], d[UI_FIG], e[UI_FIG];
    snprintf(out->title, sizeof(out->title), "MSE: clipping and rounding apart");
    ui_explain_add(out, "MSE = mean (x - q(x))^2 = %s", ui_fig_real(a, m->mse, 4));
    ui_explain_add(out, "clipping  mean (clamp(x) - x)^2    = %s", ui_fig_real(b, m->mse_clip, 4));
    ui_explain_add(out, "rounding  mean (q(x) - clamp(x))^2 = %s", ui_fig_real(d, m->mse_round, 4));
    ui_explain_add(out, "MAE = mean |x - q(x)| = %s", ui_fig_real(e, m->mae, 4));
    ui_explain_add(out, " ");
    ui_explain_add(out, "A smaller T trades rounding for clipping: the valley below the");
    ui_explain_add(out, "histogram shows their sum for every T.");
    add_basis(f, out);
}

static void explain_scale(const struct layer_frame *f, struct ui_explain *out)
{
    const struct qx_setting *s = f->setting;
    const struct qx_metrics *m = &f->metrics;
    char t[80], a[UI_FIG], b[UI_FIG];
    int q = (1 << (s->bits - 1)) - 1;
    snprintf(out->title, sizeof(out->title), "threshold, scale and levels");
    ui_explain_add(out, "%s", layer_threshold_text(f, t, sizeof(t)));
    if (!f->is_int) {
        const struct qx_book *book = s->format->book;
        ui_explain_add(out, "%d levels from %.6g to %.6g; scale = T / %.6g", book->n,
                       (double)book->level[0], (double)book->level[book->n - 1], (double)book->top);
        ui_explain_add(out, "q(x) = scale times the level nearest to x / scale");
    } else if (s->sym) {
        ui_explain_add(out, "codes -%d..%d; scale = T / %d", q, q, q);
        ui_explain_add(out, "q = clamp(rint(x / scale)), rounding ties to even");
    } else {
        ui_explain_add(out, "codes 0..%d; scale = (hi - lo) / %d", (1 << s->bits) - 1,
                       (1 << s->bits) - 1);
        ui_explain_add(out, "q = clamp(rint(x / scale) + zero), zero = rint(-lo / scale)");
    }
    if (m->scale_min == m->scale_max) {
        ui_explain_add(out, "scale = %s", ui_fig_real(a, m->scale_min, 5));
    } else {
        ui_explain_add(out, "scales from %s to %s over the units", ui_fig_real(a, m->scale_min, 4),
                       ui_fig_real(b, m->scale_max, 4));
    }
    if (s->calib) {
        ui_explain_add(out, "chosen by %s: %s", s->calib->title, s->calib->help);
    }
    ui_explain_add(out, " ");
    ui_explain_add(out, "levels used: %d of %d", m->levels_used, m->levels);
    ui_explain_add(out, "entropy of the codes: %.3f bits of the %d stored", m->entropy_bits,
                   s->bits);
}

static void explain_theory(const struct layer_frame *f, struct ui_explain *out)
{
    double theory = qx_metric_theory_db(f->hist, f->setting);
    double best = layer_best_db(f, f->setting->bits);
    snprintf(out->title, sizeof(out->title), "theory beside the ladder");
    if (f->is_int) {
        ui_explain_add(out, "Rounding noise spread evenly over a step has variance step^2 / 12,");
        ui_explain_add(out, "so SQNR = 6.02 b + c; here c = %.1f dB: %.1f dB at %d bits.",
                       theory - 6.02 * f->setting->bits, theory, f->setting->bits);
    } else {
        ui_explain_add(out, "The rule of 6 dB a bit is for even steps. The levels of %s lie close",
                       f->setting->format->title);
        ui_explain_add(out, "where values are many and far apart where they are few.");
    }
    ui_explain_add(out, " ");
    if (f->in_units && !f->setting->sym) {
        ui_explain_add(out, "No bound by one codebook: every unit has a zero point of its own.");
    } else if (isnan(best)) {
        ui_explain_add(out, "The best codebook (Lloyd-Max) is still being computed.");
    } else {
        ui_explain_add(out, "The best any codebook of %d levels reaches on this histogram",
                       1 << f->setting->bits);
        ui_explain_add(out, "(Lloyd 1982, Max 1960): %.2f dB. %s: %.2f dB.", best,
                       f->is_int ? "Evenly spaced levels" : f->setting->format->title,
                       f->metrics.sqnr_db);
    }
}

static void explain_cosine(const struct layer_frame *f, struct ui_explain *out)
{
    snprintf(out->title, sizeof(out->title), "cosine and bias");
    ui_explain_add(out, "cosine = x . q(x) / (|x| |q(x)|) = %.6f", f->metrics.cosine);
    ui_explain_add(out, "bias = mean (q(x) - x) = %.3g", f->metrics.bias);
    add_basis(f, out);
}

bool layer_explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    typedef void explain_fn(const struct layer_frame *, struct ui_explain *);
    static explain_fn *const affine[] = {explain_sqnr,     explain_clipped, explain_bits,
                                         explain_accuracy, explain_mse,     explain_scale,
                                         explain_theory,   explain_cosine};
    static explain_fn *const plain[] = {explain_accuracy, explain_sqnr, explain_mse,
                                        layer_explain_blocks};
    struct layer_frame f;
    if (!layer_frame_full(&f, app, state)) {
        return false;
    }
    if (!f.has_metrics || !f.hist) {
        if (n > 0) {
            return false;
        }
        explain_accuracy(&f, out);
        return true;
    }
    bool levels = f.is_scaled && f.setting->has_range;
    int count = levels ? (int)(sizeof(affine) / sizeof(affine[0]))
                       : (int)(sizeof(plain) / sizeof(plain[0])) - !layer_block(&f);
    if (n >= count) {
        return false;
    }
    (levels ? affine : plain)[n](&f, out);
    return true;
}

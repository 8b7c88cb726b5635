#include "act.h"

#include "figure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool act_frame_init(struct act_frame *f, struct ui_app *app, struct ui_act_state *state)
{
    memset(f, 0, sizeof(*f));
    f->app = app;
    f->state = state;
    f->item = app->session ? ui_item(app) : NULL;
    f->t_lo = f->t_hi = NAN;
    if (!f->item) {
        return false;
    }
    f->index = app->cursor;
    f->setting = ui_setting(app);
    f->act = *ui_act(app, f->index);
    f->is_on = f->act.bits > 0;
    if (!f->is_on) {
        f->act = qx_act_static(8);
    }
    if (ui_has_input(app, f->index)) {
        f->seen = qx_session_observed(app->session, f->index);
    }
    qx_session_calib_status(app->session, &f->calib);
    qx_session_calib(app->session, &f->source);
    if (!f->seen) {
        return true;
    }
    f->stats = qx_observed_stats(f->seen);
    if (f->is_on && !f->act.dynamic && f->act.has_range) {
        f->t_lo = f->act.range.lo;
        f->t_hi = f->act.range.hi;
        f->has_metrics = qx_session_act_metrics(app->session, f->index, &f->act, &f->metrics);
    }
    f->has_advice =
        qx_session_act_advice(app->session, f->index, f->act.bits, f->act.sym, &f->advice);
    return true;
}

int act_message(const struct act_frame *f, char lines[3][240])
{
    char name[100];
    ui_fit_name(name, sizeof(name), f->item->tensor->name, 40, f->app->glyphs);
    lines[1][0] = lines[2][0] = '\0';
    if (f->calib.state == QX_CALIB_FAILED && !qx_session_net(f->app->session)) {
        snprintf(lines[0], sizeof(lines[0]), "There is no network, so there are no activations");
        snprintf(lines[1], sizeof(lines[1]), "%.230s", f->calib.reason);
        return 2;
    }
    if (!ui_has_input(f->app, f->index)) {
        snprintf(lines[0], sizeof(lines[0]), "%s multiplies no input of its own", name);
        snprintf(lines[1], sizeof(lines[1]),
                 "Activations are the inputs of convolutions and matrix products. j and k go to "
                 "other layers.");
        return 2;
    }
    if (f->seen && f->stats->n > 0) {
        return 0;
    }
    if (f->seen) {
        snprintf(lines[0], sizeof(lines[0]), "Calibration saw no finite value here");
        snprintf(lines[1], sizeof(lines[1]), "%lld NaN, %lld infinite.", (long long)f->stats->n_nan,
                 (long long)f->stats->n_inf);
        return 2;
    }
    switch (f->calib.state) {
    case QX_CALIB_FAILED:
        snprintf(lines[0], sizeof(lines[0]), "No rows to calibrate on");
        snprintf(lines[1], sizeof(lines[1]), "%.230s", f->calib.reason);
        snprintf(lines[2], sizeof(lines[2]),
                 ":calibrate FILE names rows. :calibrate random:64 takes noise: its ranges fit "
                 "noise, and the accuracy, measured, shows what that costs.");
        return 3;
    case QX_CALIB_CANCELLED:
        snprintf(lines[0], sizeof(lines[0]), "Calibration was cancelled");
        snprintf(lines[1], sizeof(lines[1]), "r runs it again; :calibrate FILE takes other rows.");
        return 2;
    default:
        snprintf(lines[0], sizeof(lines[0]), "Calibrating: %.0f %%", 100 * f->calib.progress);
        snprintf(lines[1], sizeof(lines[1]),
                 "The network runs twice over the rows, in float32, and every layer's input is "
                 "observed. x cancels.");
        return 2;
    }
}

char *act_words(const struct act_frame *f, char *buf, size_t cap)
{
    const struct qx_act *a = &f->act;
    const char *title = a->calib && strcmp(a->calib->name, "manual") == 0 ? "by hand"
                        : a->calib                                        ? a->calib->title
                                                                          : "";
    const char *kind = a->sym ? "INT" : "UINT";
    char lo[UI_FIG], hi[UI_FIG];
    if (!f->is_on) {
        snprintf(buf, cap, "float32");
    } else if (a->dynamic) {
        snprintf(buf, cap, "%s%d dynamic, each %s", kind, a->bits,
                 a->gran == QX_ACT_TOKEN && f->seen && f->seen->layout.outer > 1 ? "token"
                                                                                 : "sample");
    } else if (!a->has_range) {
        snprintf(buf, cap, "%s%d %s", kind, a->bits, title);
    } else {
        snprintf(buf, cap, "%s%d %s, %s to %s", kind, a->bits, title,
                 ui_fig_real(lo, a->range.lo, 3), ui_fig_real(hi, a->range.hi, 3));
    }
    return buf;
}

/* ---- axis and counts ---- */

static bool same_key(const struct act_key *a, const struct act_key *b)
{
    return a->packed == b->packed && a->n == b->n && a->columns == b->columns &&
           a->zoom == b->zoom && a->mirrored == b->mirrored && a->axis.lo == b->axis.lo &&
           a->axis.hi == b->axis.hi;
}

static void update_axis(struct act_frame *f, int columns)
{
    struct ui_act_state *s = f->state;
    struct act_key key = {.packed = f->seen->packed, .n = f->stats->n, .columns = columns};
    key.zoom = f->app->zoom && !isnan(f->t_hi);
    key.mirrored = f->act.sym;
    const bool inside = isnan(f->t_hi) || (f->t_hi <= s->axis.hi && f->t_lo >= s->axis.lo);
    struct qx_hist *h = NULL;
    if ((same_key(&key, &s->axis_key) && inside) || qx_observed_hist(f->seen, &h, NULL) != QX_OK) {
        return;
    }
    double hi = ui_axis_end(f->t_hi, fmax(qx_hist_quantile(h, 0.9995), 0), fmax(f->stats->max, 0));
    double lo =
        ui_axis_end(-f->t_lo, fmax(-qx_hist_quantile(h, 0.0005), 0), fmax(-f->stats->min, 0));
    qx_hist_unref(h);
    if (key.zoom) {
        hi = 1.12 * f->t_hi;
        lo = -1.12 * f->t_lo;
    }
    hi = key.mirrored ? fmax(lo, hi) : hi;
    lo = key.mirrored ? hi : lo;
    const double margin = 0.04 * (hi + lo);
    s->axis = (struct ui_axis){-fmax(lo, margin), fmax(hi, margin)};
    if (!(s->axis.hi > s->axis.lo)) {
        s->axis = (struct ui_axis){-1, 1};
    }
    s->axis_key = key;
}

static void update_plot(struct act_frame *f, int w)
{
    struct ui_act_state *s = f->state;
    const int columns = 2 * w < UI_PLOT_COLUMNS ? 2 * w : UI_PLOT_COLUMNS;
    update_axis(f, columns);
    struct act_key key = s->axis_key;
    key.axis = s->axis;
    struct qx_hist *h = NULL;
    if (!same_key(&key, &s->counts_key) && qx_observed_hist(f->seen, &h, NULL) == QX_OK) {
        double below, beyond;
        qx_hist_fold(h, s->axis.lo, s->axis.hi, columns, s->counts, &below, &beyond);
        s->counts_key = key;
        qx_hist_unref(h);
    }
    s->hist = (struct ui_hist){.axis = s->axis,
                               .counts = s->counts,
                               .n = columns,
                               .min = f->stats->min,
                               .max = f->stats->max,
                               .unit = "",
                               .t_lo = f->t_lo,
                               .t_hi = f->t_hi,
                               .has_lo = !f->act.sym,
                               .held = f->act.sym ? 0 : f->app->act_handle,
                               .log = !s->is_linear,
                               .levels = s->levels};
    if (!isnan(f->t_hi)) {
        struct qx_setting set = qx_setting_int(f->act.bits);
        set.sym = f->act.sym;
        set.gran = QX_GRAN_TENSOR;
        set.range = f->act.range;
        set.has_range = true;
        s->hist.n_levels = qx_setting_levels(&set, s->levels, 256);
    }
}

/* ---- ways to find the range ---- */

enum qx_basis act_dynamic_basis(const struct act_frame *f)
{
    return f->seen->n_error_rows < f->seen->n_rows ? QX_BASIS_SAMPLED : QX_BASIS_EXACT;
}

static bool is_same_calib(const struct qx_act *a, const struct qx_act_choice *c)
{
    return a->calib == c->calib && (!c->calib->takes_param || a->param == c->param);
}

static struct act_way *way_add(struct ui_act_state *s, int kind, const char *name, double db)
{
    struct act_way *w = &s->ways[s->n_ways < ACT_WAYS ? s->n_ways++ : ACT_WAYS - 1];
    *w = (struct act_way){.kind = kind, .db = db, .basis = QX_BASIS_HISTOGRAM};
    snprintf(w->name, sizeof(w->name), "%s", name);
    return w;
}

static void dynamic_add(struct act_frame *f, int kind, enum qx_act_gran gran, const char *name)
{
    struct qx_act act = {.bits = f->act.bits, .sym = f->act.sym, .gran = gran, .dynamic = true};
    struct act_way *w = way_add(f->state, kind, name, qx_act_dynamic_db(&act, f->seen));
    w->basis = act_dynamic_basis(f);
    w->is_current =
        f->is_on && f->act.dynamic && (f->act.gran == gran || f->seen->layout.outer == 1);
}

static void update_ways(struct act_frame *f)
{
    struct ui_act_state *s = f->state;
    bool any = false;
    s->n_ways = 0;
    for (int i = 0; f->has_advice && i < f->advice.n; i++) {
        const struct qx_act_choice *c = &f->advice.choice[i];
        char name[32];
        snprintf(name, sizeof(name), c->calib->takes_param ? "%s %g" : "%s", c->calib->title,
                 c->param);
        struct act_way *w = way_add(s, ACT_WAY_CALIB, name, c->db);
        w->calib = c->calib;
        w->param = c->param;
        w->range = c->range;
        w->has_range = true;
        w->basis = c->basis;
        w->is_current = f->is_on && !f->act.dynamic && is_same_calib(&f->act, c);
        any = any || w->is_current;
    }
    if (f->has_metrics && !any) {
        char name[32];
        snprintf(name, sizeof(name), f->act.calib->takes_param ? "%s %g" : "by hand",
                 f->act.calib->title, f->act.param);
        struct act_way *w = way_add(s, ACT_WAY_HAND, name, f->metrics.sqnr_db);
        w->range = f->act.range;
        w->basis = f->metrics.basis;
        w->has_range = w->is_current = true;
    }
    if (f->seen->layout.outer == 1) {
        dynamic_add(f, ACT_WAY_TOKEN, QX_ACT_TOKEN, "each sample's own");
    } else {
        dynamic_add(f, ACT_WAY_SAMPLE, QX_ACT_TENSOR, "each sample's own");
        dynamic_add(f, ACT_WAY_TOKEN, QX_ACT_TOKEN, "each token's own");
    }
}

/* ---- channels ---- */

/* The k-th smallest of v[n], which is put in another order (Hoare 1961). */
static float select_kth(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        const float pivot = v[k];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] < pivot) {
                i++;
            }
            while (v[j] > pivot) {
                j--;
            }
            if (i <= j) {
                const float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        lo = k > j ? i : lo;
        hi = k < i ? j : hi;
        if (k > j && k < i) {
            break;
        }
    }
    return v[k];
}

static void update_channels(struct act_frame *f)
{
    enum { SAMPLE = 4096, FAR = 3 };
    static float sample[SAMPLE];
    struct ui_act_state *s = f->state;
    const float *max = f->seen->channel_max;
    const int64_t n = f->seen->layout.count;
    if (s->channels.of == max && s->channels.of_energy == f->seen->sq_x) {
        return;
    }
    const int64_t stride = (n + SAMPLE - 1) / SAMPLE;
    int64_t k = 0;
    double rest = 0;
    memset(&s->channels, 0, sizeof(s->channels));
    s->channels.of = max;
    s->channels.of_energy = f->seen->sq_x;
    for (int64_t i = 0; i < n; i++) {
        if (i % stride == 0) {
            sample[k++] = max[i];
        }
        s->channels.top = fmax(s->channels.top, (double)max[i]);
    }
    s->channels.median = k > 0 ? (double)select_kth(sample, k, k / 2) : 0;
    for (int64_t i = 0; i < n; i++) {
        const bool is_far = (double)max[i] > FAR * s->channels.median && s->channels.median > 0;
        s->channels.n_all += is_far;
        rest = is_far ? rest : fmax(rest, (double)max[i]);
        int at = is_far ? s->channels.n_outliers : ACT_OUTLIERS;
        while (at > 0 && is_far && max[s->channels.outlier[at - 1]] < max[i]) {
            if (at < ACT_OUTLIERS) {
                s->channels.outlier[at] = s->channels.outlier[at - 1];
            }
            at--;
        }
        if (is_far && at < ACT_OUTLIERS) {
            s->channels.outlier[at] = i;
            s->channels.n_outliers += s->channels.n_outliers < ACT_OUTLIERS;
        }
    }
    s->channels.rest_share = s->channels.top > 0 ? rest / s->channels.top : 1;
}

void act_update(struct act_frame *f, int w)
{
    update_plot(f, w);
    update_ways(f);
    update_channels(f);
}

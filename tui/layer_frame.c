#include "layer.h"

#include "figure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int ladder_bits[UI_LADDER_ROWS] = {2, 3, 4, 5, 6, 8};

static double mean_or(double sum, int64_t n, double otherwise)
{
    return n > 0 ? sum / (double)n : otherwise;
}

/* Where ratio 1 stands on the zero-anchored axis of asymmetric units: the mean of their own ends. */
static void find_unit_ends(struct layer_frame *f)
{
    f->up = f->down = 1;
    if (!f->in_units || f->setting->sym || !f->hist) {
        return;
    }
    if (f->state->units.hist != f->hist) {
        const struct qx_units *u = qx_hist_units(f->hist);
        double up = 0, down = 0;
        int64_t n = 0;
        for (int64_t i = 0; i < u->n; i++) {
            double lo = u->lo[i] < 0 ? u->lo[i] : 0, hi = u->hi[i] > 0 ? u->hi[i] : 0;
            if (hi > lo) {
                up += hi / (hi - lo);
                down -= lo / (hi - lo);
                n++;
            }
        }
        f->state->units.hist = f->hist;
        f->state->units.up = mean_or(up, n, 1);
        f->state->units.down = mean_or(down, n, 1);
    }
    f->up = f->state->units.up;
    f->down = f->state->units.down;
}

bool layer_frame_init(struct layer_frame *f, struct ui_app *app, struct ui_layer *state)
{
    memset(f, 0, sizeof(*f));
    f->app = app;
    f->state = state;
    f->item = app->session ? ui_item(app) : NULL;
    if (!f->item) {
        return false;
    }
    f->index = app->cursor;
    f->setting = ui_setting(app);
    f->is_scaled = qx_format_is_scaled(f->setting->format);
    f->is_int = qx_setting_is_int(f->setting);
    f->in_units = f->is_scaled && f->setting->gran != QX_GRAN_TENSOR;
    f->hist = qx_session_hist(app->session, f->index, f->setting, &f->hist_state);
    f->stats = f->hist ? qx_hist_stats(f->hist) : NULL;
    find_unit_ends(f);
    bool has_range = f->is_scaled && f->setting->has_range;
    f->t_hi = has_range ? layer_place_hi(f, f->setting->range) : NAN;
    f->t_lo = has_range ? layer_place_lo(f, f->setting->range) : NAN;
    return true;
}

bool layer_frame_full(struct layer_frame *f, struct ui_app *app, struct ui_layer *state)
{
    if (!layer_frame_init(f, app, state)) {
        return false;
    }
    f->has_metrics =
        f->hist && f->stats->n > 0 && qx_session_metrics(app->session, f->index, &f->metrics);
    f->has_advice = f->is_scaled && qx_session_advice(app->session, f->index, &f->advice);
    qx_session_gauge(app->session, &f->gauge);
    f->has_flips = qx_session_first_flips(app->session, f->index, app->handle == 1, f->flip);
    return true;
}

double layer_place_hi(const struct layer_frame *f, struct qx_range range)
{
    return range.hi * f->up;
}

double layer_place_lo(const struct layer_frame *f, struct qx_range range)
{
    return range.lo * f->down;
}

struct qx_range layer_range_at(const struct layer_frame *f, double x)
{
    if (f->setting->sym || f->in_units) {
        double scale = x >= 0 ? f->up : f->down;
        double t = scale > 0 ? fabs(x) / scale : fabs(x);
        return (struct qx_range){-t, t};
    }
    struct qx_range range = f->setting->range;
    if (x >= 0) {
        range.hi = x;
    } else {
        range.lo = x;
    }
    return range;
}

/* ---- the axis ---- */

/* Settings by what a plot depends on: everything but who chose the range. */
static bool same_setting(const struct qx_setting *a, const struct qx_setting *b)
{
    return a->format == b->format && a->bits == b->bits && a->sym == b->sym && a->gran == b->gran &&
           a->group == b->group && a->scale == b->scale && a->has_range == b->has_range &&
           a->range.lo == b->range.lo && a->range.hi == b->range.hi;
}

static bool same_plot(const struct layer_key *a, const struct layer_key *b)
{
    return a->hist == b->hist && a->n == b->n && a->item == b->item && a->columns == b->columns &&
           a->axis.lo == b->axis.lo && a->axis.hi == b->axis.hi &&
           same_setting(&a->setting, &b->setting);
}

/* The setting without what a plot does not depend on. */
static struct layer_key key_of(const struct layer_frame *f, bool with_range)
{
    struct layer_key key = {.hist = f->hist, .n = f->stats->n, .item = f->index};
    key.setting = *f->setting;
    if (!with_range) {
        key.setting.has_range = false;
        key.setting.range = (struct qx_range){0, 0};
    }
    return key;
}

static void extremes(const struct layer_frame *f, double *lo, double *hi)
{
    if (!f->in_units) {
        *lo = f->stats->min;
        *hi = f->stats->max;
    } else {
        *lo = f->stats->min < 0 ? -1 : 0;
        *hi = f->stats->max > 0 ? 1 : 0;
    }
}

static void update_axis(struct layer_frame *f)
{
    struct ui_layer *s = f->state;
    struct layer_key key = key_of(f, false);
    key.setting.bits = 0;
    bool zoom = f->app->zoom && !isnan(f->t_hi);
    bool seen = isnan(f->t_hi) || (f->t_hi <= s->axis.hi && f->t_lo >= s->axis.lo);
    if (same_plot(&key, &s->axis_key) && zoom == s->axis_zoom && seen) {
        return;
    }
    double min, max;
    extremes(f, &min, &max);
    bool mirrored = !f->is_scaled || f->setting->sym;
    if (zoom) {
        s->axis = (struct ui_axis){fmin(1.12 * f->t_lo, 0), fmax(1.12 * f->t_hi, 0)};
    } else if (mirrored) {
        double extreme = fmax(fabs(min), fabs(max));
        double end = ui_axis_end(f->t_hi, qx_hist_quantile_abs(f->hist, 0.999), extreme);
        s->axis = (struct ui_axis){-end, end};
    } else {
        double hi = ui_axis_end(f->t_hi, fmax(qx_hist_quantile(f->hist, 0.9995), 0), fmax(max, 0));
        double lo =
            ui_axis_end(-f->t_lo, fmax(-qx_hist_quantile(f->hist, 0.0005), 0), fmax(-min, 0));
        double margin = 0.04 * (hi + lo);
        s->axis = (struct ui_axis){-fmax(lo, margin), fmax(hi, margin)};
    }
    if (!(s->axis.hi > s->axis.lo)) {
        s->axis = (struct ui_axis){-1, 1};
    }
    s->axis_key = key;
    s->axis_zoom = zoom;
}

/* ---- counts and valley ---- */

static double mse_at(const struct layer_frame *f, double x)
{
    struct qx_setting s = *f->setting;
    s.range = layer_range_at(f, x);
    s.has_range = true;
    return qx_metric_hist_mse(f->hist, &s);
}

static void update_valley(struct layer_frame *f, int columns)
{
    struct ui_layer *s = f->state;
    bool own_ends = f->is_scaled && !f->setting->sym && !f->in_units;
    struct layer_key key = key_of(f, own_ends);
    key.axis = s->axis;
    key.columns = columns;
    if (same_plot(&key, &s->mse_key)) {
        return;
    }
    s->mse_key = key;
    double step = (s->axis.hi - s->axis.lo) / columns;
    bool mirrored = f->setting->sym;
    /* Asymmetric units cost 64 times a look-up: every fourth column, straight lines between. */
    int stride = f->in_units && !f->setting->sym ? 4 : 1;
    for (int i = 0; i < columns; i++) {
        double x = s->axis.lo + (i + 0.5) * step;
        if (mirrored && x < 0) {
            continue;
        }
        s->mse[i] = i % stride == 0 || i == columns - 1 ? mse_at(f, x) : NAN;
    }
    for (int i = 0; stride > 1 && i < columns; i++) {
        int a = i - i % stride, b = a + stride < columns ? a + stride : columns - 1;
        if (b > a && i > a && i < b) {
            s->mse[i] = s->mse[a] + (s->mse[b] - s->mse[a]) * (i - a) / (b - a);
        }
    }
    for (int i = 0; mirrored && i < columns / 2; i++) {
        s->mse[i] = s->mse[columns - 1 - i];
    }
}

static void update_magnets(struct layer_frame *f)
{
    struct ui_layer *s = f->state;
    s->n_magnets = 0;
    for (int i = 0; f->has_advice && i < f->advice.n; i++) {
        const struct qx_advice_choice *choice = &f->advice.choice[i];
        if (choice->calib->mark) {
            s->magnet_calib[s->n_magnets] = choice->calib;
            s->magnets[s->n_magnets++] = (struct ui_valley_magnet){
                .letter = choice->calib->mark, .at = layer_place_hi(f, choice->range)};
        }
    }
}

/* Few values in fine columns are a picture of chance: then a bar takes a whole cell. */
static void fold_counts(struct layer_frame *f, int columns)
{
    struct ui_layer *s = f->state;
    double below, beyond;
    bool coarse = f->stats->n < (int64_t)columns * 400;
    int n = coarse ? columns / 2 : columns;
    qx_hist_fold(f->hist, s->axis.lo, s->axis.hi, n, s->counts, &below, &beyond);
    for (int i = columns - 1; coarse && i >= 0; i--) {
        s->counts[i] = s->counts[i / 2];
    }
}

void layer_update_plots(struct layer_frame *f, int w)
{
    struct ui_layer *s = f->state;
    int columns = 2 * w < UI_PLOT_COLUMNS ? 2 * w : UI_PLOT_COLUMNS;
    update_axis(f);
    struct layer_key key = key_of(f, false);
    key.setting.bits = 0;
    key.axis = s->axis;
    key.columns = columns;
    if (!same_plot(&key, &s->counts_key)) {
        fold_counts(f, columns);
        s->counts_key = key;
    }
    if (f->is_scaled && f->setting->has_range) {
        update_valley(f, columns);
    }
    update_magnets(f);
    double min, max;
    extremes(f, &min, &max);
    s->hist = (struct ui_hist){
        .axis = s->axis,
        .counts = s->counts,
        .n = columns,
        .min = min,
        .max = max,
        .unit = layer_unit(f),
        .t_lo = f->t_lo,
        .t_hi = f->t_hi,
        .has_lo = f->is_scaled && !f->setting->sym && !f->in_units,
        .held = f->app->handle,
        .log = f->app->log_counts,
        .levels = s->levels,
    };
    if (f->is_scaled && f->setting->has_range && (f->setting->sym || !f->in_units)) {
        s->hist.n_levels = qx_setting_levels(f->setting, s->levels, 256);
    }
}

/* ---- ladder ---- */

/* The histogram by channels, asked for only when the screen's own is done: one build at a time. */
static const struct qx_hist *channel_hist(const struct layer_frame *f)
{
    struct qx_setting by_channel = qx_setting_int(8);
    enum qx_hist_state state;
    if (f->is_scaled && f->setting->gran == QX_GRAN_CHANNEL && f->setting->sym) {
        return f->hist;
    }
    if (f->hist_state != QX_HIST_READY) {
        return NULL;
    }
    return qx_session_hist(f->app->session, f->index, &by_channel, &state);
}

/* Six threshold searches, about 2 ms together: once per histogram. */
static void update_preview(struct layer_frame *f)
{
    struct ui_layer *s = f->state;
    const struct qx_hist *hist = f->item->can_quantize ? channel_hist(f) : NULL;
    int64_t n = hist ? qx_hist_stats(hist)->n : 0;
    for (int i = 0; i < UI_LADDER_ROWS; i++) {
        s->ladder[i] = (struct ui_ladder_row){
            .bits = ladder_bits[i], .db = NAN, .theory_db = NAN, .best_db = NAN};
    }
    if (n == 0) {
        return;
    }
    if (s->preview.hist != hist || s->preview.n != n) {
        s->preview.hist = hist;
        s->preview.n = n;
        for (int i = 0; i < UI_LADDER_ROWS; i++) {
            struct qx_setting setting = qx_setting_int(ladder_bits[i]);
            struct qx_metrics m;
            bool known = qx_setting_resolve(&setting, hist, NULL) == QX_OK &&
                         qx_metric_hist(hist, &setting, &m, NULL) == QX_OK;
            s->preview.db[i] = !known ? NAN : isnan(m.sqnr_db) ? INFINITY : m.sqnr_db;
        }
    }
    for (int i = 0; i < UI_LADDER_ROWS; i++) {
        s->ladder[i].db = s->preview.db[i];
    }
}

/* The bound is for one codebook over the axis. Asymmetric units have a zero point each, which moves
 * theirs: it bounds nothing there. */
double layer_best_db(const struct layer_frame *f, int bits)
{
    bool is_bound = f->has_advice && (f->setting->sym || !f->in_units);
    return is_bound ? f->advice.best_db[bits] : NAN;
}

/* The row of a table or block format. */
static void update_own_row(struct layer_frame *f)
{
    struct ui_ladder_row *row = &f->state->ladder[f->state->n_ladder++];
    *row = (struct ui_ladder_row){f->setting->bits, NAN, NAN, layer_best_db(f, f->setting->bits),
                                  f->setting->format->title};
    if (f->has_metrics) {
        row->db = isnan(f->metrics.sqnr_db) ? INFINITY : f->metrics.sqnr_db;
    }
}

bool layer_has_own_row(const struct layer_frame *f)
{
    return (f->is_scaled && !f->is_int) || f->setting->format->block;
}

void layer_update_ladder(struct layer_frame *f)
{
    f->state->n_ladder = UI_LADDER_ROWS;
    if (!f->is_scaled) {
        update_preview(f);
        if (layer_has_own_row(f)) {
            update_own_row(f);
        }
        return;
    }
    bool by_hand = !f->setting->calib || strcmp(f->setting->calib->name, "manual") == 0;
    for (int i = 0; i < UI_LADDER_ROWS; i++) {
        struct ui_ladder_row *row = &f->state->ladder[i];
        struct qx_setting s = *f->setting;
        struct qx_metrics m;
        s.format = qx_format_find("int");
        s.bits = ladder_bits[i];
        *row = (struct ui_ladder_row){.bits = s.bits, .db = NAN, .theory_db = NAN, .best_db = NAN};
        if (!f->hist || !s.has_range) {
            continue;
        }
        row->theory_db = qx_metric_theory_db(f->hist, &s);
        row->best_db = layer_best_db(f, s.bits);
        if (f->is_int && s.bits == f->setting->bits && f->has_metrics) {
            row->db = isnan(f->metrics.sqnr_db) ? INFINITY : f->metrics.sqnr_db;
        } else if (by_hand && qx_metric_hist(f->hist, &s, &m, NULL) == QX_OK) {
            row->db = isnan(m.sqnr_db) ? INFINITY : m.sqnr_db;
        } else if (f->has_advice) {
            double db = f->advice.ladder_db[s.bits];
            row->db = isnan(db) && f->advice.is_complete ? INFINITY : db;
        }
    }
    if (!f->is_int) {
        update_own_row(f);
    }
}

/* ---- channels ---- */

/* The k-th smallest of n values (Hoare 1961); reorders v. */
static float select_kth(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] < pivot) {
                i++;
            }
            while (v[j] > pivot) {
                j--;
            }
            if (i <= j) {
                float swap = v[i];
                v[i++] = v[j];
                v[j--] = swap;
            }
        }
        if (k <= j) {
            hi = j;
        } else if (k >= i) {
            lo = i;
        } else {
            break;
        }
    }
    return v[k];
}

enum { MEDIAN_SAMPLE = 4096 };

static void find_outliers(struct ui_layer *s, const struct qx_units *u)
{
    float sample[MEDIAN_SAMPLE];
    int64_t stride = (u->n + MEDIAN_SAMPLE - 1) / MEDIAN_SAMPLE, n = 0;
    s->strip.top = 0;
    for (int64_t i = 0; i < u->n; i++) {
        if (i % stride == 0) {
            sample[n++] = u->absmax[i];
        }
        s->strip.top = u->absmax[i] > s->strip.top ? u->absmax[i] : s->strip.top;
    }
    s->strip.median = n > 0 ? select_kth(sample, n, n / 2) : 0;
    s->strip.n_outliers = 0;
    for (int k = 0; k < 4; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < u->n; i++) {
            bool taken = false;
            for (int j = 0; j < k; j++) {
                taken |= s->strip.outlier[j] == i;
            }
            if (!taken && (best < 0 || u->absmax[i] > u->absmax[best])) {
                best = i;
            }
        }
        s->strip.outlier[k] = best;
        s->strip.ratio[k] =
            best >= 0 && s->strip.median > 0 ? u->absmax[best] / s->strip.median : 0;
        s->strip.n_outliers += s->strip.ratio[k] > 2;
    }
}

bool layer_update_strip(struct layer_frame *f, const struct qx_units **units)
{
    if (!f->hist || f->item->channels.count < 2) {
        return false;
    }
    const struct qx_hist *hist = channel_hist(f);
    const struct qx_units *u = hist ? qx_hist_units(hist) : NULL;
    if (!u || u->n < 2) {
        return false;
    }
    struct ui_layer *s = f->state;
    if (s->strip.hist != hist || s->strip.n != qx_hist_stats(hist)->n) {
        s->strip.hist = hist;
        s->strip.n = qx_hist_stats(hist)->n;
        s->strip.n_channels = u->n;
        find_outliers(s, u);
    }
    *units = u;
    return true;
}

/* ---- other settings, words ---- */

bool layer_metrics_of(const struct layer_frame *f, const struct qx_setting *s,
                      struct qx_metrics *out)
{
    enum qx_hist_state state;
    const struct qx_hist *hist = f->hist;
    bool same = s->format->kind == f->setting->format->kind && s->gran == f->setting->gran &&
                s->group == f->setting->group && s->sym == f->setting->sym;
    if (!same) {
        hist = qx_session_hist(f->app->session, f->index, s, &state);
    }
    return hist && qx_hist_stats(hist)->n > 0 && qx_metric_hist(hist, s, out, NULL) == QX_OK;
}

static int message_values(const struct layer_frame *f, char lines[4][160])
{
    const struct qx_stats *st = f->stats;
    char count[40], value[40];
    if (st->n == 0) {
        snprintf(lines[0], 160, "%s",
                 f->item->tensor->numel == 0 ? "an empty tensor" : "no finite value");
        snprintf(lines[1], 160, "%lld NaN, %lld infinite", (long long)st->n_nan,
                 (long long)st->n_inf);
        snprintf(lines[2], 160, "There is nothing to quantize.");
        return f->item->tensor->numel == 0 ? 1 : 3;
    }
    ui_fmt_count(count, sizeof(count), st->n);
    if (st->absmax == 0 && qx_model_torn(qx_session_model(f->app->session), f->item->tensor)) {
        snprintf(lines[0], 160, "the file was cut short while it is open");
        snprintf(lines[1], 160, "What is gone reads as 0: R opens what is left.");
        return 2;
    }
    if (st->absmax == 0) {
        snprintf(lines[0], 160, "all %s values are 0", count);
        snprintf(lines[1], 160, "The scale is 1 and every format stores them exactly.");
        return 2;
    }
    if (st->min == st->max && f->item->tensor->numel > 1) {
        ui_fmt_value(value, sizeof(value), st->min);
        snprintf(lines[0], 160, "all %s values are %s", count, value);
        snprintf(lines[1], 160, "There is no distribution to clip; the figures beside hold.");
        return 2;
    }
    return 0;
}

int layer_message(const struct layer_frame *f, char lines[4][160])
{
    const struct qx_tensor *t = f->item->tensor;
    if (t->reason) {
        snprintf(lines[0], 160, "values cannot be shown");
        snprintf(lines[1], 160, "%s", t->reason);
        return 2;
    }
    if (t->numel == 0) {
        snprintf(lines[0], 160, "an empty tensor");
        snprintf(lines[1], 160, "Its shape has a zero: there is nothing to quantize.");
        return 2;
    }
    if (f->hist_state == QX_HIST_FAILED) {
        snprintf(lines[0], 160, "values could not be read");
        snprintf(lines[1], 160, "The Log screen says why (g o).");
        return 2;
    }
    if (!f->hist) {
        snprintf(lines[0], 160, "reading the values");
        snprintf(lines[1], 160, "The first look comes from a sample, then from every value.");
        return 2;
    }
    return message_values(f, lines);
}

const char *layer_unit(const struct layer_frame *f)
{
    if (!f->in_units) {
        return "";
    }
    bool channel = f->setting->gran == QX_GRAN_CHANNEL;
    if (f->setting->sym) {
        return channel ? "of each channel's max" : "of each group's max";
    }
    return channel ? "of each channel's range" : "of each group's range";
}

char *layer_threshold_text(const struct layer_frame *f, char *buf, size_t cap)
{
    char a[UI_FIG], b[UI_FIG];
    if (!f->is_scaled) {
        snprintf(buf, cap, "no threshold");
    } else if (!f->setting->has_range) {
        snprintf(buf, cap, "choosing the threshold");
    } else if (f->in_units) {
        snprintf(buf, cap, "T %s %s", ui_fig_real(a, f->setting->range.hi, 3), layer_unit(f));
    } else if (f->setting->sym) {
        snprintf(buf, cap, "T %s%s", ui_plus_minus(f->app->glyphs),
                 ui_fig_real(a, f->setting->range.hi, 4));
    } else {
        snprintf(buf, cap, "T %s to %s", ui_fig_signed(a, f->setting->range.lo, 3),
                 ui_fig_signed(b, f->setting->range.hi, 3));
    }
    return buf;
}

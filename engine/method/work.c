/* A layer laid out for methods, and back into an overlay. */
#include "method/method.h"

#include "method/work.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int64_t element_of(const struct qx_method_work *w, int64_t row, int64_t j)
{
    const int64_t inner = w->channels.inner;
    return (j / inner * w->channels.count + row) * inner + j % inner;
}

void qx_work_note(struct qx_method_work *w, const char *fmt, ...)
{
    const size_t len = strlen(w->note);
    va_list list;
    va_start(list, fmt);
    if (len > 0 && len + 2 < sizeof w->note) {
        memcpy(w->note + len, ", ", 3);
    }
    vsnprintf(w->note + strlen(w->note), sizeof w->note - strlen(w->note), fmt, list);
    va_end(list);
}

float qx_work_weight(const struct qx_method_work *w, int64_t row, int64_t j)
{
    if (w->is_kept && w->is_kept[j]) {
        return qx_format_find("fp16")->round(w->w[row * w->k + j]);
    }
    float v = qx_work_value(qx_work_unit(w, row, j), w->codes[row * w->k + j]);
    v = w->in_scale ? v / qx_work_in(w, row, j) : v;
    return w->out_scale ? v * w->out_scale[row] : v;
}

void qx_work_round_row(struct qx_method_work *w, int64_t row)
{
    for (int64_t j = 0; j < w->k; j++) {
        const float v = w->is_kept && w->is_kept[j] ? 0.0f : qx_work_aim(w, row, j);
        w->codes[row * w->k + j] = qx_work_code(qx_work_unit(w, row, j), v);
    }
}

static void round_row(void *arg, int64_t row, int worker)
{
    (void)worker;
    qx_work_round_row(arg, row);
}

void qx_work_round(struct qx_method_work *w)
{
    qx_pool_for(w->pool, w->groups * w->n, round_row, w);
}

/* ---- the error of the outputs ---- */

static void error_row(void *arg, int64_t row, float *w, float *error)
{
    const struct qx_method_work *work = arg;
    memcpy(w, work->w + row * work->k, (size_t)work->k * sizeof *w);
    for (int64_t j = 0; j < work->k; j++) {
        error[j] = w[j] - qx_work_weight(work, row, j);
    }
}

enum qx_status qx_work_error(const struct qx_method_work *w, double *out, struct qx_error *err)
{
    *out = (double)NAN;
    return w->m ? qx_moments_error(w->m, error_row, (void *)w, w->pool, NULL, out, err) : QX_OK;
}

/* ---- units of scaled weights ---- */

static void reach(const struct qx_method_work *w, int64_t row, int64_t first, int64_t n, float *lo,
                  float *hi)
{
    for (int64_t j = first; j < first + n; j++) {
        if (!w->is_kept || !w->is_kept[j]) {
            const float v = qx_work_aim(w, row, j);
            *lo = v < *lo ? v : *lo;
            *hi = v > *hi ? v : *hi;
        }
    }
}

/* Asymmetric codes are those of signed bytes here. */
static struct qx_qparams fit(const struct qx_setting *s, float lo, float hi)
{
    struct qx_qparams p = qx_qparams_of(s, lo, hi);
    const int shift = s->format->book || s->sym ? 0 : 1 << (s->bits - 1);
    p.zero -= shift;
    p.qmin -= shift;
    p.qmax -= shift;
    return p;
}

struct qx_qparams qx_work_fit(const struct qx_method_work *w, int64_t row, int64_t u, float share)
{
    const int64_t first = u * w->unit_len;
    float lo = 0.0f, hi = 0.0f;
    reach(w, row, first, w->unit_len < w->k - first ? w->unit_len : w->k - first, &lo, &hi);
    return fit(&w->calibrated, lo * share, hi * share);
}

/* One range for all: the setting's, in proportion to what the factors made of the largest weight. */
static void tensor_unit(struct qx_method_work *w)
{
    struct qx_setting s = w->calibrated;
    float lo = 0.0f, hi = 0.0f, most = 0.0f;
    for (int64_t r = 0; r < w->groups * w->n; r++) {
        reach(w, r, 0, w->k, &lo, &hi);
    }
    for (int64_t i = 0; i < w->groups * w->n * w->k; i++) {
        most = fmaxf(most, fabsf(w->w[i]));
    }
    const double f = most > 0.0f ? fmax(-(double)lo, (double)hi) / (double)most : 1.0;
    s.range.lo *= f;
    s.range.hi *= f;
    w->units[0] = fit(&s, 0.0f, 0.0f);
}

void qx_work_units(struct qx_method_work *w)
{
    if (w->row_units == 0) {
        tensor_unit(w);
        return;
    }
    for (int64_t r = 0; r < w->groups * w->n; r++) {
        for (int64_t u = 0; u < w->row_units; u++) {
            w->units[r * w->row_units + u] = qx_work_fit(w, r, u, 1.0f);
        }
    }
}

/* A range for the values x, as the setting's calibrator chooses it. */
static enum qx_status range_choose(const struct qx_method_work *w, const float *x,
                                   struct qx_setting *out, struct qx_error *err)
{
    const struct qx_channels channels = {1, w->groups * w->n, w->k};
    const int64_t shape[2] = {channels.count, channels.inner}, n = shape[0] * shape[1];
    const struct qx_tensor t = {.name = "aimed",
                                .dtype = QX_DTYPE_F32,
                                .rank = 2,
                                .shape = shape,
                                .numel = n,
                                .data = (const uint8_t *)x,
                                .bytes = (uint64_t)n * sizeof *x};
    const struct qx_hist_spec spec = qx_setting_spec(w->set, channels);
    struct qx_hist *hist = NULL;
    enum qx_status st = qx_hist_build(&t, &spec, 0, w->pool, w->ctl, &hist, err);
    *out = *w->set;
    out->has_range = false;
    if (st == QX_OK && qx_hist_stats(hist)->n > 0) {
        st = qx_setting_resolve(out, hist, err);
    }
    qx_hist_unref(hist);
    return st;
}

enum qx_status qx_work_calibrate(struct qx_method_work *w, struct qx_error *err)
{
    const int64_t n = w->groups * w->n * w->k;
    struct qx_setting chosen;
    if (strcmp(w->set->calib->name, "manual") == 0) {
        qx_work_units(w);
        return QX_OK;
    }
    float *x = qx_mem_array((size_t)n + 1, sizeof *x);
    if (!x) {
        return qx_fail_nomem(err, (size_t)n * sizeof *x);
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] = w->is_kept && w->is_kept[i % w->k] ? 0.0f : qx_work_aim(w, i / w->k, i % w->k);
    }
    enum qx_status st = range_choose(w, x, &chosen, err);
    qx_mem_free(x);
    if (st == QX_OK && chosen.has_range) {
        w->calibrated = chosen;
        if (w->row_units == 0) {
            w->units[0] = fit(&chosen, 0.0f, 0.0f);
        } else {
            qx_work_units(w);
        }
    }
    return st;
}

struct qx_range qx_work_input_range(const struct qx_method_work *w)
{
    struct qx_range r = {0.0, 0.0};
    for (int64_t i = 0; i < w->groups * w->k; i++) {
        const int64_t group = i / w->k, j = i % w->k;
        if (!w->is_kept || !w->is_kept[j]) {
            const double s = (double)qx_work_in(w, group * w->n, j);
            const double c = w->in_shift ? (double)w->in_shift[i / w->taps] : 0.0;
            r.lo = c > 0.0 ? r.lo : fmin(r.lo, (double)w->m->lo[i] / s);
            r.hi = fmax(r.hi, ((double)w->m->hi[i] - c) / s);
        }
    }
    return r;
}

/* ---- in and out ---- */

static struct qx_qparams unit_of(const struct qx_setting *s, float scale, int zero)
{
    const int most = (1 << (s->bits - 1)) - 1;
    if (s->format->book) {
        return (struct qx_qparams){scale, s->format->book->zero, 0, s->format->book->n - 1,
                                   s->format->book};
    }
    return (struct qx_qparams){scale, zero, s->sym ? -most : -most - 1, most, NULL};
}

static enum qx_status units_fill(struct qx_method_work *w, const struct qx_tensor *t,
                                 struct qx_error *err)
{
    struct qx_setting plain = *w->set;
    const int64_t n_units = qx_setting_units(&plain, w->channels);
    plain.algo[0] = '\0';
    plain.overlay = NULL;
    int8_t *codes = qx_mem_alloc((size_t)t->numel + 1);
    float *scale = qx_mem_array((size_t)n_units + 1, sizeof *scale);
    int32_t *zero = qx_mem_array((size_t)n_units + 1, sizeof *zero);
    w->units = qx_mem_array((size_t)n_units + 1, sizeof *w->units);
    enum qx_status st =
        codes && scale && zero && w->units
            ? qx_quantize_tensor(t, w->channels, &plain, w->pool, w->ctl, codes, scale, zero, err)
            : qx_fail_nomem(err, (size_t)t->numel);
    for (int64_t i = 0; st == QX_OK && i < n_units; i++) {
        w->units[i] = unit_of(w->set, scale[i], zero[i]);
    }
    for (int64_t r = 0; st == QX_OK && r < w->channels.count; r++) {
        for (int64_t j = 0; j < w->k; j++) {
            w->codes[r * w->k + j] = codes[element_of(w, r, j)];
        }
    }
    qx_mem_free(codes);
    qx_mem_free(scale);
    qx_mem_free(zero);
    return st;
}

static enum qx_status weights_fill(struct qx_method_work *w, const struct qx_tensor *t,
                                   struct qx_error *err)
{
    float *x = qx_mem_array((size_t)t->numel + 1, sizeof *x);
    enum qx_status st = x ? qx_tensor_read(t, 0, t->numel, x, err)
                          : qx_fail_nomem(err, (size_t)t->numel * sizeof *x);
    for (int64_t r = 0; st == QX_OK && r < w->channels.count; r++) {
        for (int64_t j = 0; j < w->k; j++) {
            const float v = x[element_of(w, r, j)];
            w->w[r * w->k + j] = isfinite(v) ? v : 0.0f;
        }
    }
    qx_mem_free(x);
    return st;
}

enum qx_status qx_work_open(struct qx_method_work *w, const struct qx_tensor *t,
                            struct qx_error *err)
{
    const struct qx_setting *s = w->set;
    const size_t n = (size_t)t->numel;
    w->calibrated = *s;
    w->k = w->channels.outer * w->channels.inner;
    w->unit_len = s->gran == QX_GRAN_GROUP ? s->group : w->k;
    w->row_units = s->gran == QX_GRAN_TENSOR    ? 0
                   : s->gran == QX_GRAN_CHANNEL ? 1
                                                : (w->k + s->group - 1) / s->group;
    w->w = qx_mem_array(n + 1, sizeof *w->w);
    w->codes = qx_mem_alloc(n + 1);
    if (!w->w || !w->codes) {
        return qx_fail_nomem(err, n * sizeof *w->w);
    }
    enum qx_status st = weights_fill(w, t, err);
    return st == QX_OK ? units_fill(w, t, err) : st;
}

void qx_work_release(struct qx_method_work *w)
{
    qx_mem_free(w->w);
    qx_mem_free(w->codes);
    qx_mem_free(w->units);
    qx_mem_free(w->in_scale);
    qx_mem_free(w->in_shift);
    qx_mem_free(w->out_scale);
    qx_mem_free(w->bias);
    qx_mem_free(w->is_kept);
}

static enum qx_status kept_take(const struct qx_method_work *w, struct qx_overlay *o,
                                struct qx_error *err)
{
    for (int64_t j = 0; j < w->k; j++) {
        o->n_kept += w->is_kept[j];
    }
    const size_t n = (size_t)(o->n_kept * w->channels.count);
    o->kept = qx_mem_array((size_t)o->n_kept + 1, sizeof *o->kept);
    o->kept_values = qx_mem_array(n + 1, sizeof *o->kept_values);
    if (!o->kept || !o->kept_values) {
        return qx_fail_nomem(err, n * sizeof *o->kept_values);
    }
    for (int64_t j = 0, at = 0; j < w->k; j++) {
        for (int64_t r = 0; w->is_kept[j] && r < w->channels.count; r++) {
            o->kept_values[r * o->n_kept + at] = qx_work_weight(w, r, j);
        }
        if (w->is_kept[j]) {
            o->kept[at++] = (int32_t)j;
        }
    }
    return QX_OK;
}

enum qx_status qx_work_take(struct qx_method_work *w, const struct qx_tensor *t,
                            struct qx_overlay **out, struct qx_error *err)
{
    struct qx_overlay *o = NULL;
    enum qx_status st = qx_overlay_new(w->channels, w->set, &o, err);
    if (st != QX_OK) {
        return st;
    }
    for (int64_t i = 0; i < o->n_units; i++) {
        o->scale[i] = w->units[i].scale;
        o->zero[i] = w->units[i].book ? 0 : w->units[i].zero;
    }
    for (int64_t r = 0; r < w->channels.count; r++) {
        for (int64_t j = 0; j < w->k; j++) {
            o->codes[element_of(w, r, j)] = w->codes[r * w->k + j];
        }
    }
    if (w->is_kept) {
        st = kept_take(w, o, err);
    }
    if (w->m && (w->in_scale || w->in_shift || w->is_kept)) {
        o->in_range = qx_work_input_range(w);
        o->has_in_range = true;
    }
    o->groups = w->groups;
    o->taps = w->taps;
    o->in_scale = w->in_scale;
    o->in_shift = w->in_shift;
    o->out_scale = w->out_scale;
    o->is_folded = w->is_folded;
    o->bias = w->bias;
    w->in_scale = w->in_shift = w->out_scale = w->bias = NULL;
    memcpy(o->note, w->note, sizeof o->note);
    if (st == QX_OK) {
        st = qx_overlay_finish(o, t, err);
    }
    if (st != QX_OK) {
        qx_overlay_free(o);
        return st;
    }
    *out = o;
    return QX_OK;
}

const char *qx_refuse_no_inputs(const struct qx_method_target *t)
{
    return t->has_product ? NULL : "it multiplies no inputs that could be looked at";
}

const char *qx_refuse_undivided(const struct qx_method_target *t)
{
    const char *why = qx_refuse_no_inputs(t);
    return why ? why
           : t->product.input < 0
               ? "a convolution's windows share their inputs, so they cannot be divided one by one"
               : NULL;
}

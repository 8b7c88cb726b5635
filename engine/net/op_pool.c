/* MaxPool and AveragePool. */
#include "window.h"

#include "base/error.h"

#include <math.h>

enum { CEIL_MODE = QX_WIN_N, LAST /* storage_order, count_include_pad */, N_ATTRS };

static const struct qx_attr_spec max_attrs[N_ATTRS] = {
    QX_WINDOW_ATTRS(true, 1),
    [CEIL_MODE] = {.name = "ceil_mode", .type = QX_ATTR_INT, .min = 0, .max = 0},
    [LAST] = {.name = "storage_order", .type = QX_ATTR_INT, .min = 0, .max = 0}};

static const struct qx_attr_spec average_attrs[N_ATTRS] = {
    QX_WINDOW_ATTRS(true, 1),
    [CEIL_MODE] = {.name = "ceil_mode", .type = QX_ATTR_INT, .min = 0, .max = 0},
    [LAST] = {.name = "count_include_pad", .type = QX_ATTR_INT, .min = 0, .max = 1}};

static enum qx_status pool_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *x = &g->node->in[0]->shape;
    struct qx_window w;
    enum qx_status st = qx_op_rank(g->node, 0, 3, 4, err);
    if (st == QX_OK && x->batch > 0) {
        st = qx_shape_keep_batch(x, x->batch, "pooling", err);
    }
    if (st == QX_OK) {
        st = qx_window_of(g->node, x, NULL, &w, err);
    }
    if (st != QX_OK) {
        return st;
    }
    if (w.top >= w.kh || w.bottom >= w.kh || w.left >= w.kw || w.right >= w.kw) {
        return qx_fail(err, QX_EFORMAT, "the padding is as wide as the kernel of %lld x %lld",
                       (long long)w.kh, (long long)w.kw);
    }
    g->node->out->shape = qx_window_shape(&w, x, w.c);
    return QX_OK;
}

/* Part [*a, *b) of the window at output place o that lies inside an axis of length len. */
static void clip_window(int64_t o, int64_t stride, int64_t pad, int64_t k, int64_t len, int64_t *a,
                        int64_t *b)
{
    const int64_t start = o * stride - pad;
    *a = start < 0 ? 0 : start;
    *b = start + k > len ? len : start + k;
}

static float max_of(const float *x, int64_t width, int64_t h0, int64_t h1, int64_t w0, int64_t w1)
{
    float top = -INFINITY;
    for (int64_t i = h0; i < h1; i++) {
        for (int64_t j = w0; j < w1; j++) {
            const float v = x[i * width + j];
            top = v > top ? v : top;
        }
    }
    return top;
}

static double sum_of(const float *x, int64_t width, int64_t h0, int64_t h1, int64_t w0, int64_t w1)
{
    double sum = 0.0;
    for (int64_t i = h0; i < h1; i++) {
        for (int64_t j = w0; j < w1; j++) {
            sum += (double)x[i * width + j];
        }
    }
    return sum;
}

/* One channel plane. counts_pad: the divisor counts the padding too. */
static void pool_plane(const struct qx_window *w, const float *x, float *out, bool is_max,
                       bool counts_pad)
{
    for (int64_t i = 0; i < w->oh; i++) {
        int64_t h0, h1;
        clip_window(i, w->sh, w->top, w->kh, w->h, &h0, &h1);
        for (int64_t j = 0; j < w->ow; j++) {
            int64_t w0, w1;
            clip_window(j, w->sw, w->left, w->kw, w->w, &w0, &w1);
            if (is_max) {
                *out++ = max_of(x, w->w, h0, h1, w0, w1);
            } else {
                const int64_t n = counts_pad ? w->kh * w->kw : (h1 - h0) * (w1 - w0);
                *out++ = (float)(sum_of(x, w->w, h0, h1, w0, w1) / (double)n);
            }
        }
    }
}

static enum qx_status pool(const struct qx_run *r, bool is_max, struct qx_error *err)
{
    struct qx_window w;
    enum qx_status st = qx_window_of(r->node, &r->in_shape[0], NULL, &w, err);
    const bool counts_pad = !is_max && r->node->attr[LAST].i == 1;
    for (int64_t i = 0; st == QX_OK && i < w.n * w.c; i++) {
        pool_plane(&w, r->in[0] + i * w.h * w.w, r->out + i * w.oh * w.ow, is_max, counts_pad);
    }
    return st;
}

static enum qx_status max_pool(const struct qx_run *r, struct qx_error *err)
{
    return pool(r, true, err);
}

static enum qx_status average_pool(const struct qx_run *r, struct qx_error *err)
{
    return pool(r, false, err);
}

/* The gradient of a window's maximum goes to the first place that has it. */
static void max_back(const struct qx_window *w, const float *x, const float *out,
                     const float *d_out, float *d_x)
{
    for (int64_t i = 0; i < w->oh; i++) {
        int64_t h0, h1;
        clip_window(i, w->sh, w->top, w->kh, w->h, &h0, &h1);
        for (int64_t j = 0; j < w->ow; j++, out++) {
            int64_t w0, w1;
            float d = *d_out++; /* 0 once a place has it: no branch on the values */
            clip_window(j, w->sw, w->left, w->kw, w->w, &w0, &w1);
            for (int64_t a = h0; a < h1; a++) {
                for (int64_t b = a * w->w + w0; b < a * w->w + w1; b++) {
                    const bool is_it = x[b] == *out;
                    d_x[b] += is_it ? d : 0.0f;
                    d = is_it ? 0.0f : d;
                }
            }
        }
    }
}

static void average_back(const struct qx_window *w, bool counts_pad, const float *d_out, float *d_x)
{
    for (int64_t i = 0; i < w->oh; i++) {
        int64_t h0, h1;
        clip_window(i, w->sh, w->top, w->kh, w->h, &h0, &h1);
        for (int64_t j = 0; j < w->ow; j++) {
            int64_t w0, w1;
            clip_window(j, w->sw, w->left, w->kw, w->w, &w0, &w1);
            const int64_t n = counts_pad ? w->kh * w->kw : (h1 - h0) * (w1 - w0);
            const float share = *d_out++ / (float)n;
            for (int64_t a = h0; a < h1; a++) {
                for (int64_t b = w0; b < w1; b++) {
                    d_x[a * w->w + b] += share;
                }
            }
        }
    }
}

static void pool_back(const struct qx_back *b, bool is_max)
{
    const struct qx_run *r = b->run;
    struct qx_window w;
    if (qx_window_of(r->node, &r->in_shape[0], NULL, &w, NULL) != QX_OK) {
        return; /* the forward pass would have failed */
    }
    for (int64_t i = 0; i < w.n * w.c; i++) {
        const float *d_out = b->d_out + i * w.oh * w.ow;
        float *d_x = b->d_in[0] + i * w.h * w.w;
        if (is_max) {
            max_back(&w, r->in[0] + i * w.h * w.w, r->out + i * w.oh * w.ow, d_out, d_x);
        } else {
            average_back(&w, r->node->attr[LAST].i == 1, d_out, d_x);
        }
    }
}

static void max_pool_back(const struct qx_back *b)
{
    pool_back(b, true);
}

static void average_pool_back(const struct qx_back *b)
{
    pool_back(b, false);
}

const struct qx_op qx_op_max_pool = {.name = "MaxPool",
                                     .min_in = 1,
                                     .max_in = 1,
                                     .attrs = max_attrs,
                                     .n_attrs = N_ATTRS,
                                     .weight = -1,
                                     .shape = pool_shape,
                                     .forward = max_pool,
                                     .backward = max_pool_back};
const struct qx_op qx_op_average_pool = {.name = "AveragePool",
                                         .min_in = 1,
                                         .max_in = 1,
                                         .attrs = average_attrs,
                                         .n_attrs = N_ATTRS,
                                         .weight = -1,
                                         .shape = pool_shape,
                                         .forward = average_pool,
                                         .backward = average_pool_back};

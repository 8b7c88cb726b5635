/* Conv, 1-D and 2-D. Three ways: one channel per group directly; 1x1 windows straight on the planes;
 * everything else by im2col. The last two are matrix products [out, k] x [k, places]. */
#include "vec.h"
#include "window.h"

#include "base/error.h"
#include "kernels/kernels.h"

#include <string.h>

enum { GROUP = QX_WIN_N, N_ATTRS };

/* Columns of the unrolled input: at most this many floats at once (they stay in the cache) ... */
#define COLUMN_FLOATS (INT64_C(1) << 18)
/* ... and small planes of several samples are joined until the product is this wide. */
#define JOIN_PLACES 192
/* Places that the direct way computes at a time. */
#define BLOCK 32

static const struct qx_attr_spec attrs[N_ATTRS] = {
    QX_WINDOW_ATTRS(false, QX_WIN_MAX), [GROUP] = {.name = "group",
                                                   .type = QX_ATTR_INT,
                                                   .fallback = 1,
                                                   .min = 1,
                                                   .max = 1 << 30}};

static int weight_axis(const struct qx_node *node)
{
    (void)node;
    return 0;
}

/* All that the run needs, from fixed or per-row shapes. */
struct conv {
    struct qx_window w;
    int64_t group, oc;   /* output channels of all groups */
    int64_t icg, ocg, k; /* of one group; k = icg * kh * kw */
    int64_t places;      /* oh * ow */
};

static enum qx_status conv_of(const struct qx_node *node, const struct qx_shape *x, struct conv *c,
                              struct qx_error *err)
{
    const struct qx_shape *weight = &node->in[1]->shape;
    enum qx_status st = qx_window_of(node, x, &weight->dim[2], &c->w, err);
    if (st == QX_OK) {
        c->group = node->attr[GROUP].i;
        c->oc = weight->dim[0];
        c->icg = weight->dim[1];
        c->ocg = c->oc / c->group;
        c->k = c->icg * c->w.kh * c->w.kw;
        c->places = c->w.oh * c->w.ow;
    }
    return st;
}

static bool is_direct(const struct conv *c)
{
    return c->icg == 1 && c->group > 1;
}

static bool is_pointwise(const struct conv *c)
{
    const struct qx_window *w = &c->w;
    return w->kh * w->kw == 1 && w->sh * w->sw == 1 && w->oh == w->h && w->ow == w->w &&
           w->top + w->left == 0;
}

static int64_t padded_width(const struct qx_window *w)
{
    return w->w + w->left + w->right;
}

/* Samples joined in one product. */
static int64_t n_joined(const struct conv *c, int64_t n)
{
    const int64_t want = (JOIN_PLACES + c->places - 1) / c->places;
    const int64_t room = COLUMN_FLOATS / (c->k * c->places);
    const int64_t s = want < room ? want : room;
    return s < 1 ? 1 : s < n ? s : n;
}

/* Output lines unrolled at once, for planes that are not joined. */
static int64_t n_lines(const struct conv *c)
{
    const int64_t lines = COLUMN_FLOATS / (c->k * c->w.ow);
    return lines < 1 ? 1 : lines < c->w.oh ? lines : c->w.oh;
}

/* ---- shape ---- */

static enum qx_status check_weight(const struct qx_node *node, const struct qx_shape *x,
                                   struct qx_error *err)
{
    const struct qx_value *weight = node->in[1];
    const int64_t group = node->attr[GROUP].i;
    const struct qx_shape *s = &weight->shape;
    char a[QX_SHAPE_TEXT], b[QX_SHAPE_TEXT];
    if (s->rank != x->rank || s->batch >= 0) {
        return qx_fail(err, QX_EFORMAT, "weight '%s' is %s; rank %d is needed for the input %s",
                       weight->name, qx_shape_text(s, a), x->rank, qx_shape_text(x, b));
    }
    if (s->dim[0] % group != 0 || x->dim[1] % group != 0 || s->dim[1] != x->dim[1] / group) {
        return qx_fail(err, QX_EFORMAT,
                       "weight '%s' %s does not fit %lld input channels in %lld groups",
                       weight->name, qx_shape_text(s, a), (long long)x->dim[1], (long long)group);
    }
    const struct qx_attr *kernel = &node->attr[QX_WIN_KERNEL];
    for (int i = 0; kernel->is_given && i < kernel->n && i + 2 < s->rank; i++) {
        if (kernel->ints[i] != s->dim[i + 2]) {
            return qx_fail(err, QX_EFORMAT, "kernel_shape does not agree with the weight '%s' %s",
                           weight->name, qx_shape_text(s, a));
        }
    }
    return QX_OK;
}

static enum qx_status check_bias(const struct qx_node *node, struct qx_error *err)
{
    if (node->n_in < 3 || !node->in[2]) {
        return QX_OK;
    }
    const struct qx_shape *s = &node->in[2]->shape;
    if (s->rank == 1 && s->batch < 0 && s->dim[0] == node->in[1]->shape.dim[0]) {
        return QX_OK;
    }
    char text[QX_SHAPE_TEXT];
    return qx_fail(err, QX_EFORMAT, "bias '%s' is %s; %lld values are needed", node->in[2]->name,
                   qx_shape_text(s, text), (long long)node->in[1]->shape.dim[0]);
}

static enum qx_status conv_shape(const struct qx_infer *g, struct qx_error *err)
{
    struct qx_node *node = g->node;
    const struct qx_shape *x = &node->in[0]->shape;
    struct conv c;
    enum qx_status st = qx_op_rank(node, 0, 3, 4, err);
    if (st == QX_OK && x->batch > 0) {
        st = qx_shape_keep_batch(x, x->batch, "convolution", err);
    }
    if (st == QX_OK) {
        st = check_weight(node, x, err);
    }
    if (st == QX_OK) {
        st = check_bias(node, err);
    }
    if (st == QX_OK) {
        st = conv_of(node, x, &c, err);
    }
    if (st != QX_OK) {
        return st;
    }
    node->out->shape = qx_window_shape(&c.w, x, c.oc);
    st = qx_shape_check(&node->out->shape, err);
    if (st == QX_OK && c.k > COLUMN_FLOATS) {
        st = qx_fail(err, QX_EUNSUPPORTED, "a window of %lld values is more than %lld",
                     (long long)c.k, (long long)COLUMN_FLOATS);
    }
    if (st == QX_OK) {
        node->macs = qx_shape_numel(&node->out->shape, 1) * c.k;
    }
    return st;
}

/* ---- directly, one input channel per group ---- */

/* The padded plane, as wide as the window needs; a block read past its end must stay inside. */
static int64_t padded_floats(const struct qx_window *w)
{
    return (w->h + w->top + w->bottom) * padded_width(w) + BLOCK;
}

static void pad_plane(const struct qx_window *w, const float *x, float *to)
{
    const int64_t width = padded_width(w);
    memset(to, 0, (size_t)padded_floats(w) * sizeof *to);
    for (int64_t i = 0; i < w->h; i++) {
        memcpy(to + (i + w->top) * width + w->left, x + i * w->w, (size_t)w->w * sizeof *to);
    }
}

/* BLOCK places that follow each other in the padded plane (stride 1): the compiler keeps them in
 * registers. */
static void direct_block(const struct qx_window *w, const float *x, const float *weight, float bias,
                         float *out)
{
    const int64_t width = padded_width(w);
    qx_vec acc[BLOCK / QX_VEC];
    for (int j = 0; j < BLOCK / QX_VEC; j++) {
        acc[j] = qx_vec_all(bias);
    }
    for (int64_t a = 0; a < w->kh; a++) {
        for (int64_t b = 0; b < w->kw; b++) {
            const qx_vec v = qx_vec_all(*weight++);
            const float *from = x + a * w->dh * width + b * w->dw;
            for (int j = 0; j < BLOCK / QX_VEC; j++) {
                acc[j] += v * qx_vec_load(from + j * QX_VEC);
            }
        }
    }
    memcpy(out, acc, sizeof acc);
}

/* Stride 1: the whole padded plane as one run into `run`, from which the lines are cut. */
static void direct_dense(const struct qx_window *w, const float *x, const float *weight, float bias,
                         float *run, float *out)
{
    const int64_t width = padded_width(w);
    const int64_t last = (w->oh - 1) * width + w->ow; /* one past the last place */
    for (int64_t at = 0; at < last; at += BLOCK) {
        direct_block(w, x + at, weight, bias, run + at);
    }
    for (int64_t i = 0; i < w->oh; i++) {
        memcpy(out + i * w->ow, run + i * width, (size_t)w->ow * sizeof *out);
    }
}

static void direct_strided(const struct qx_window *w, const float *x, const float *weight,
                           float bias, float *out)
{
    const int64_t width = padded_width(w);
    for (int64_t i = 0; i < w->oh; i++) {
        for (int64_t j = 0; j < w->ow; j++) {
            const float *from = x + i * w->sh * width + j * w->sw;
            float acc = bias;
            for (int64_t a = 0; a < w->kh; a++) {
                for (int64_t b = 0; b < w->kw; b++) {
                    acc += weight[a * w->kw + b] * from[a * w->dh * width + b * w->dw];
                }
            }
            *out++ = acc;
        }
    }
}

static void conv_direct(const struct qx_run *r, const struct conv *c, const float *bias)
{
    const struct qx_window *w = &c->w;
    const bool is_dense = w->sh == 1 && w->sw == 1;
    float *padded = r->scratch, *run = r->scratch + padded_floats(w);
    for (int64_t i = 0; i < w->n * c->group; i++) {
        const int64_t g = i % c->group;
        pad_plane(w, r->in[0] + i * w->h * w->w, padded);
        for (int64_t o = g * c->ocg; o < (g + 1) * c->ocg; o++) {
            const float *weight = r->in[1] + o * c->k, first = bias ? bias[o] : 0.0f;
            float *out = r->out + (i / c->group * c->oc + o) * c->places;
            if (is_dense) {
                direct_dense(w, padded, weight, first, run, out);
            } else {
                direct_strided(w, padded, weight, first, out);
            }
        }
    }
}

/* ---- by im2col ---- */

/* Input lines under `lines` output lines. */
static int64_t lines_under(const struct qx_window *w, int64_t lines)
{
    return (lines - 1) * w->sh + (w->kh - 1) * w->dh + 1;
}

/* Copies of a line are made in steps of COPY floats: they read and write a little beyond its end. */
#define COPY 8

/* The input of `n` samples of one group under the output lines first .. first+lines-1, with its zero
 * padding: [n, icg, lines_under, padded_width]. */
static void pad_input(const struct conv *c, const float *x, int64_t n, int64_t first, int64_t lines,
                      float *out)
{
    const struct qx_window *w = &c->w;
    const int64_t under = lines_under(w, lines), width = padded_width(w);
    memset(out, 0, (size_t)(n * c->icg * under * width + COPY) * sizeof *out);
    for (int64_t p = 0; p < n * c->icg; p++, out += under * width) {
        const float *plane = x + (p / c->icg * w->c + p % c->icg) * w->h * w->w;
        for (int64_t i = 0; i < under; i++) {
            const int64_t h = first * w->sh - w->top + i;
            if (h >= 0 && h < w->h) {
                memcpy(out + i * width + w->left, plane + h * w->w, (size_t)w->w * sizeof *out);
            }
        }
    }
}

/* `lines` lines of one column: from[l * sh * width + j * sw]. What a line writes beyond its end is
 * written again by the next one. */
static void unroll_plane(const struct qx_window *w, const float *from, int64_t lines, float *out)
{
    const int64_t step = w->sh * padded_width(w), n = w->ow;
    for (int64_t l = 0; l < lines; l++, from += step, out += n) {
        if (w->sw == 1) {
            for (int64_t j = 0; j < n; j += COPY) {
                memcpy(out + j, from + j, COPY * sizeof *out);
            }
        } else {
            for (int64_t j = 0; j < n; j++) {
                out[j] = from[j * w->sw];
            }
        }
    }
}

/* The padded input as columns [k, n * lines * ow] (and COPY floats more), rows in order. */
static void unroll(const struct conv *c, const float *padded, int64_t n, int64_t lines, float *out)
{
    const struct qx_window *w = &c->w;
    const int64_t width = padded_width(w), plane = lines_under(w, lines) * width;
    for (int64_t i = 0; i < c->icg; i++) {
        for (int64_t a = 0; a < w->kh; a++) {
            for (int64_t b = 0; b < w->kw; b++) {
                const float *from = padded + i * plane + a * w->dh * width + b * w->dw;
                for (int64_t s = 0; s < n; s++, out += lines * w->ow) {
                    unroll_plane(w, from + s * c->icg * plane, lines, out);
                }
            }
        }
    }
}

/* Floats of the columns and, behind them, of the padded input. */
static int64_t column_floats(const struct conv *c, int64_t n, int64_t lines)
{
    return c->k * n * lines * c->w.ow + COPY;
}

static int64_t input_floats(const struct conv *c, int64_t n, int64_t lines)
{
    return n * c->icg * lines_under(&c->w, lines) * padded_width(&c->w) + COPY;
}

/* One sample and group; `bias` of the group or NULL. */
static void conv_single(const struct conv *c, const float *x, const float *weight,
                        const float *bias, float *columns, float *out)
{
    const int64_t step = is_pointwise(c) ? c->w.oh : n_lines(c);
    float *padded = columns + column_floats(c, 1, step);
    for (int64_t first = 0; first < c->w.oh; first += step) {
        const int64_t lines = step < c->w.oh - first ? step : c->w.oh - first;
        const int64_t n = lines * c->w.ow;
        if (!is_pointwise(c)) {
            pad_input(c, x, 1, first, lines, padded);
            unroll(c, padded, 1, lines, columns);
        }
        qxk_sgemm(0, 0, c->ocg, n, c->k, 1.0f, weight, c->k, is_pointwise(c) ? x : columns, n, 0.0f,
                  out + first * c->w.ow, c->places);
    }
    for (int64_t o = 0; bias && o < c->ocg; o++) {
        qx_vec_affine(out + o * c->places, c->places, 1.0f, bias[o], out + o * c->places);
    }
}

/* `n` samples of one group side by side: columns [k, n * places], product [ocg, n * places]. */
static void conv_joined(const struct conv *c, int64_t n, const float *x, const float *weight,
                        const float *bias, float *columns, float *out)
{
    const int64_t ld = n * c->places;
    float *padded = columns + column_floats(c, n, c->w.oh);
    float *product = padded + input_floats(c, n, c->w.oh);
    pad_input(c, x, n, 0, c->w.oh, padded);
    unroll(c, padded, n, c->w.oh, columns);
    qxk_sgemm(0, 0, c->ocg, ld, c->k, 1.0f, weight, c->k, columns, ld, 0.0f, product, ld);
    for (int64_t s = 0; s < n; s++) {
        for (int64_t o = 0; o < c->ocg; o++) {
            const float *from = product + o * ld + s * c->places;
            float *to = out + (s * c->oc + o) * c->places;
            const float v = bias ? bias[o] : 0.0f;
            qx_vec_affine(from, c->places, 1.0f, v, to);
        }
    }
}

static int64_t conv_scratch(const struct qx_node *node, int64_t rows)
{
    struct conv c;
    const struct qx_shape x = qx_shape_at(&node->in[0]->shape, rows);
    if (conv_of(node, &x, &c, NULL) != QX_OK) {
        return 0;
    }
    if (is_direct(&c)) {
        return padded_floats(&c.w) + c.w.oh * padded_width(&c.w) + BLOCK;
    }
    const int64_t n = n_joined(&c, c.w.n);
    if (n > 1) {
        return column_floats(&c, n, c.w.oh) + input_floats(&c, n, c.w.oh) + c.ocg * n * c.places;
    }
    return is_pointwise(&c) ? 0
                            : column_floats(&c, 1, n_lines(&c)) + input_floats(&c, 1, n_lines(&c));
}

static enum qx_status conv(const struct qx_run *r, struct qx_error *err)
{
    struct conv c;
    enum qx_status st = conv_of(r->node, &r->in_shape[0], &c, err);
    if (st != QX_OK) {
        return st;
    }
    const float *bias = r->node->n_in > 2 ? r->in[2] : NULL;
    if (is_direct(&c)) {
        conv_direct(r, &c, bias);
        return QX_OK;
    }
    const int64_t step = n_joined(&c, c.w.n), plane = c.w.h * c.w.w;
    for (int64_t b = 0; b < c.w.n; b += step) {
        const int64_t n = step < c.w.n - b ? step : c.w.n - b;
        for (int64_t g = 0; g < c.group; g++) {
            const float *x = r->in[0] + (b * c.w.c + g * c.icg) * plane;
            const float *weight = r->in[1] + g * c.ocg * c.k;
            const float *group_bias = bias ? bias + g * c.ocg : NULL;
            float *out = r->out + (b * c.oc + g * c.ocg) * c.places;
            if (step > 1) {
                conv_joined(&c, n, x, weight, group_bias, r->scratch, out);
            } else {
                conv_single(&c, x, weight, group_bias, r->scratch, out);
            }
        }
    }
    return QX_OK;
}

const struct qx_op qx_op_conv = {.name = "Conv",
                                 .min_in = 2,
                                 .max_in = 3,
                                 .attrs = attrs,
                                 .n_attrs = N_ATTRS,
                                 .weight = 1,
                                 .role = QX_ROLE_LINEAR,
                                 .weight_axis = weight_axis,
                                 .shape = conv_shape,
                                 .scratch = conv_scratch,
                                 .forward = conv};

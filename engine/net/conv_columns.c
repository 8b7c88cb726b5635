/* Convolution as matrix products over columns: the input under each window, unrolled. */
#include "conv.h"

#include "base/vec.h"
#include "kernels/kernels.h"

/* Columns unrolled at once: at most this many floats (they stay in the cache) ... */
#define COLUMN_FLOATS QX_CONV_K_MAX
/* ... and small planes of several samples are joined until the product is this wide. */
#define JOIN_PLACES 192
/* Copies of a line are made in steps of COPY floats: they read and write a little beyond its end. */
#define COPY 8

static bool is_pointwise(const struct qx_conv *c)
{
    const struct qx_window *w = &c->w;
    return w->kh * w->kw == 1 && w->sh * w->sw == 1 && w->oh == w->h && w->ow == w->w &&
           w->top + w->left == 0;
}

/* Samples joined in one product. */
static int64_t n_joined(const struct qx_conv *c, int64_t n)
{
    const int64_t want = (JOIN_PLACES + c->places - 1) / c->places;
    const int64_t room = COLUMN_FLOATS / (c->k * c->places);
    const int64_t s = want < room ? want : room;
    return s < 1 ? 1 : s < n ? s : n;
}

/* Output lines unrolled at once, for planes that are not joined. */
static int64_t n_lines(const struct qx_conv *c)
{
    const int64_t lines = COLUMN_FLOATS / (c->k * c->w.ow);
    return lines < 1 ? 1 : lines < c->w.oh ? lines : c->w.oh;
}

/* Input lines under `lines` output lines. */
static int64_t lines_under(const struct qx_window *w, int64_t lines)
{
    return (lines - 1) * w->sh + (w->kh - 1) * w->dh + 1;
}

/* The input of `n` samples of one group under the output lines first .. first+lines-1, with its zero
 * padding: [n, icg, lines_under, qx_conv_width]. */
static void pad_input(const struct qx_conv *c, const float *x, int64_t n, int64_t first,
                      int64_t lines, float *out)
{
    const struct qx_window *w = &c->w;
    const int64_t under = lines_under(w, lines), width = qx_conv_width(w);
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
    const int64_t step = w->sh * qx_conv_width(w), n = w->ow;
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
static void unroll(const struct qx_conv *c, const float *padded, int64_t n, int64_t lines,
                   float *out)
{
    const struct qx_window *w = &c->w;
    const int64_t width = qx_conv_width(w), plane = lines_under(w, lines) * width;
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
static int64_t column_floats(const struct qx_conv *c, int64_t n, int64_t lines)
{
    return c->k * n * lines * c->w.ow + COPY;
}

static int64_t input_floats(const struct qx_conv *c, int64_t n, int64_t lines)
{
    return n * c->icg * lines_under(&c->w, lines) * qx_conv_width(&c->w) + COPY;
}

int64_t qx_conv_unroll_floats(const struct qx_conv *c, int64_t n)
{
    return column_floats(c, n, c->w.oh);
}

int64_t qx_conv_unroll_scratch(const struct qx_conv *c, int64_t n)
{
    return input_floats(c, n, c->w.oh);
}

void qx_conv_unroll(const struct qx_conv *c, const float *x, int64_t n, float *scratch,
                    float *columns)
{
    pad_input(c, x, n, 0, c->w.oh, scratch);
    unroll(c, scratch, n, c->w.oh, columns);
}

/* One sample and group; `bias` of the group or NULL. */
static void conv_single(const struct qx_conv *c, const float *x, const float *weight,
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
static void conv_joined(const struct qx_conv *c, int64_t n, const float *x, const float *weight,
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

int64_t qx_conv_columns_scratch(const struct qx_conv *c)
{
    const int64_t n = n_joined(c, c->w.n), lines = n > 1 ? c->w.oh : n_lines(c);
    if (n == 1 && is_pointwise(c)) {
        return 0;
    }
    return column_floats(c, n, lines) + input_floats(c, n, lines) +
           (n > 1 ? c->ocg * n * c->places : 0);
}

void qx_conv_columns(const struct qx_conv *c, const float *x, const float *weight,
                     const float *bias, float *scratch, float *out)
{
    const int64_t step = n_joined(c, c->w.n), plane = c->w.h * c->w.w;
    for (int64_t b = 0; b < c->w.n; b += step) {
        const int64_t n = step < c->w.n - b ? step : c->w.n - b;
        for (int64_t g = 0; g < c->group; g++) {
            const float *from = x + (b * c->w.c + g * c->icg) * plane;
            const float *group_weight = weight + g * c->ocg * c->k;
            const float *group_bias = bias ? bias + g * c->ocg : NULL;
            float *to = out + (b * c->oc + g * c->ocg) * c->places;
            if (step > 1) {
                conv_joined(c, n, from, group_weight, group_bias, scratch, to);
            } else {
                conv_single(c, from, group_weight, group_bias, scratch, to);
            }
        }
    }
}

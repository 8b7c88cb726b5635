/* Convolution backwards: gradients of weight, bias and input. */
#include "conv.h"
#include "vec.h"

#include "kernels/kernels.h"

/* Places of the columns unrolled at once: small planes of several samples are joined up to this width. */
#define JOIN_PLACES 384

static int64_t n_joined(const struct qx_conv *c)
{
    const int64_t want = (JOIN_PLACES + c->places - 1) / c->places;
    return want < c->w.n ? want : c->w.n;
}

/* The part of an output line whose input column j * sw - left + b * dw lies inside: [*from, *to). */
static void line_part(const struct qx_window *w, int64_t b, int64_t *from, int64_t *to)
{
    const int64_t shift = w->left - b * w->dw; /* column 0 is at place shift / sw */
    const int64_t last = w->w - 1 + shift;
    *from = shift <= 0 ? 0 : (shift + w->sw - 1) / w->sw;
    *to = last < 0 ? 0 : last / w->sw + 1;
    *to = *to > w->ow ? w->ow : *to;
    *from = *from > *to ? *to : *from;
}

/* One row of the columns: input plane x under tap (a, b), [oh, ow], zero outside. */
static void unroll_tap(const struct qx_window *w, const float *x, int64_t a, int64_t b, float *out)
{
    int64_t from, to;
    line_part(w, b, &from, &to);
    for (int64_t i = 0; i < w->oh; i++, out += w->ow) {
        const int64_t h = i * w->sh - w->top + a * w->dh;
        if (h < 0 || h >= w->h || from == to) {
            memset(out, 0, (size_t)w->ow * sizeof *out);
            continue;
        }
        const float *line = x + h * w->w - w->left + b * w->dw;
        memset(out, 0, (size_t)from * sizeof *out);
        if (w->sw == 1) {
            memcpy(out + from, line + from, (size_t)(to - from) * sizeof *out);
        } else {
            for (int64_t j = from; j < to; j++) {
                out[j] = line[j * w->sw];
            }
        }
        memset(out + to, 0, (size_t)(w->ow - to) * sizeof *out);
    }
}

/* The transpose of unroll_tap: places are added to the inputs they came from. */
static void fold_tap(const struct qx_window *w, const float *from_column, int64_t a, int64_t b,
                     float *d_x)
{
    int64_t from, to;
    line_part(w, b, &from, &to);
    for (int64_t i = 0; i < w->oh; i++, from_column += w->ow) {
        const int64_t h = i * w->sh - w->top + a * w->dh;
        if (h < 0 || h >= w->h) {
            continue;
        }
        float *line = d_x + h * w->w - w->left + b * w->dw;
        if (w->sw == 1) {
            int64_t j = from;
            for (; j + QX_VEC <= to; j += QX_VEC) {
                qx_vec_store(line + j, qx_vec_load(line + j) + qx_vec_load(from_column + j));
            }
            for (; j < to; j++) {
                line[j] += from_column[j];
            }
        } else {
            for (int64_t j = from; j < to; j++) {
                line[j * w->sw] += from_column[j];
            }
        }
    }
}

/* Calls tap for every row of the columns [k, n, places] of one group, samples n. */
static void unroll_group(const struct qx_conv *c, const float *x, int64_t n, float *columns)
{
    const struct qx_window *w = &c->w;
    for (int64_t k = 0; k < c->k; k++) {
        const int64_t i = k / (w->kh * w->kw), a = k / w->kw % w->kh, b = k % w->kw;
        for (int64_t s = 0; s < n; s++, columns += c->places) {
            unroll_tap(w, x + (s * w->c + i) * w->h * w->w, a, b, columns);
        }
    }
}

static void fold_group(const struct qx_conv *c, const float *columns, int64_t n, float *d_x)
{
    const struct qx_window *w = &c->w;
    for (int64_t k = 0; k < c->k; k++) {
        const int64_t i = k / (w->kh * w->kw), a = k / w->kw % w->kh, b = k % w->kw;
        for (int64_t s = 0; s < n; s++, columns += c->places) {
            fold_tap(w, columns, a, b, d_x + (s * w->c + i) * w->h * w->w);
        }
    }
}

int64_t qx_conv_back_scratch(const struct qx_conv *c)
{
    return (c->k + c->ocg) * n_joined(c) * c->places;
}

static void add_bias(const struct qx_conv *c, const float *d_out, float *d_bias)
{
    for (int64_t i = 0; i < c->w.n * c->oc; i++, d_out += c->places) {
        double sum = 0.0;
        for (int64_t p = 0; p < c->places; p++) {
            sum += (double)d_out[p];
        }
        d_bias[i % c->oc] += (float)sum;
    }
}

/* d_weight [ocg, k] += d_out [ocg, n places] columns^T; d_columns = weight^T d_out, folded. */
static void back_group(const struct qx_conv *c, int64_t n, const struct qx_conv_back *b, int64_t g,
                       int64_t first)
{
    const struct qx_window *w = &c->w;
    const int64_t ld = n * c->places, plane = w->h * w->w;
    float *columns = b->scratch, *d_out = columns + c->k * n_joined(c) * c->places;
    const int64_t at = (first * w->c + g * c->icg) * plane;
    for (int64_t o = 0; o < c->ocg; o++) {
        for (int64_t s = 0; s < n; s++) {
            memcpy(d_out + o * ld + s * c->places,
                   b->d_out + ((first + s) * c->oc + g * c->ocg + o) * c->places,
                   (size_t)c->places * sizeof *d_out);
        }
    }
    if (b->d_weight) {
        unroll_group(c, b->x + at, n, columns);
        qxk_sgemm(0, 1, c->ocg, c->k, ld, 1.0f, d_out, ld, columns, ld, 1.0f,
                  b->d_weight + g * c->ocg * c->k, c->k);
    }
    if (b->d_x) {
        qxk_sgemm(1, 0, c->k, ld, c->ocg, 1.0f, b->weight + g * c->ocg * c->k, c->k, d_out, ld,
                  0.0f, columns, ld);
        fold_group(c, columns, n, b->d_x + at);
    }
}

void qx_conv_back(const struct qx_conv *c, const struct qx_conv_back *b)
{
    const int64_t step = n_joined(c);
    if (b->d_bias) {
        add_bias(c, b->d_out, b->d_bias);
    }
    for (int64_t first = 0; first < c->w.n; first += step) {
        const int64_t n = step < c->w.n - first ? step : c->w.n - first;
        for (int64_t g = 0; g < c->group; g++) {
            back_group(c, n, b, g, first);
        }
    }
}

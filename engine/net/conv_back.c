/* Convolution backwards: gradients of weight, bias and input. */
#include "conv.h"

#include "base/vec.h"
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

/* One row of the columns, under tap (a, b): places are added to the inputs they came from. */
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

/* The transpose of qx_conv_unroll. */
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

/* ---- by the input, stride 1: a convolution of d_out with the kernels turned round ---- */

/* Channels change places, and so does the padding. False: there is a stride, or more padding than kernel. */
static bool mirror_of(const struct qx_conv *c, struct qx_conv *m)
{
    const int64_t tall = c->w.dh * (c->w.kh - 1), wide = c->w.dw * (c->w.kw - 1);
    *m = *c;
    m->w.c = c->oc;
    m->w.h = c->w.oh;
    m->w.w = c->w.ow;
    m->w.top = tall - c->w.top;
    m->w.bottom = tall - c->w.bottom;
    m->w.left = wide - c->w.left;
    m->w.right = wide - c->w.right;
    m->w.oh = c->w.h;
    m->w.ow = c->w.w;
    m->oc = c->w.c;
    m->icg = c->ocg;
    m->ocg = c->icg;
    m->k = m->icg * c->w.kh * c->w.kw;
    m->places = c->w.h * c->w.w;
    return c->w.sh * c->w.sw == 1 && m->w.top >= 0 && m->w.bottom >= 0 && m->w.left >= 0 &&
           m->w.right >= 0;
}

/* [group, ocg, icg, taps] to [group, icg, ocg, taps from the last to the first] */
static void turn_weight(const struct qx_conv *c, const float *weight, float *out)
{
    const int64_t taps = c->w.kh * c->w.kw;
    for (int64_t g = 0; g < c->group; g++, weight += c->ocg * c->k) {
        for (int64_t i = 0; i < c->icg; i++) {
            for (int64_t o = 0; o < c->ocg; o++) {
                const float *from = weight + o * c->k + i * taps;
                for (int64_t t = taps - 1; t >= 0; t--) {
                    *out++ = from[t];
                }
            }
        }
    }
}

static int64_t input_floats(const struct qx_conv *c)
{
    return c->w.n * c->w.c * c->w.h * c->w.w;
}

static int64_t mirror_scratch(const struct qx_conv *m)
{
    return qx_conv_is_direct(m) ? qx_conv_direct_scratch(m) : qx_conv_columns_scratch(m);
}

static void mirror_back(const struct qx_conv *c, const struct qx_conv *m,
                        const struct qx_conv_back *b)
{
    float *weight = b->scratch, *sum = weight + c->oc * c->k;
    float *out = b->is_first ? b->d_x : sum, *scratch = sum + (b->is_first ? 0 : input_floats(c));
    turn_weight(c, b->weight, weight);
    if (qx_conv_is_direct(m)) {
        qx_conv_direct(m, b->d_out, weight, NULL, scratch, out);
    } else {
        qx_conv_columns(m, b->d_out, weight, NULL, scratch, out);
    }
    for (int64_t i = 0; !b->is_first && i < input_floats(c); i++) {
        b->d_x[i] += sum[i];
    }
}

/* ---- by the weight, and by the input with a stride: over columns ---- */

static int64_t columns_scratch(const struct qx_conv *c)
{
    const int64_t n = n_joined(c);
    return qx_conv_unroll_floats(c, n) + c->ocg * n * c->places + qx_conv_unroll_scratch(c, n);
}

static bool is_direct(const struct qx_conv *c)
{
    return qx_conv_is_direct(c) && c->w.sh * c->w.sw == 1;
}

int64_t qx_conv_back_scratch(const struct qx_conv *c)
{
    struct qx_conv m;
    const bool is_mirrored = mirror_of(c, &m);
    const int64_t a = is_mirrored ? c->oc * c->k + input_floats(c) + mirror_scratch(&m) : 0;
    const int64_t b = is_direct(c) ? qx_conv_direct_back_scratch(c) : 0;
    const int64_t d = is_direct(c) && is_mirrored ? 0 : columns_scratch(c);
    return a > b ? (a > d ? a : d) : b > d ? b : d;
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
    float *columns = b->scratch, *d_out = columns + qx_conv_unroll_floats(c, n);
    const int64_t at = (first * w->c + g * c->icg) * plane;
    for (int64_t o = 0; o < c->ocg; o++) {
        for (int64_t s = 0; s < n; s++) {
            memcpy(d_out + o * ld + s * c->places,
                   b->d_out + ((first + s) * c->oc + g * c->ocg + o) * c->places,
                   (size_t)c->places * sizeof *d_out);
        }
    }
    if (b->d_weight) {
        qx_conv_unroll(c, b->x + at, n, d_out + c->ocg * ld, columns);
        qxk_sgemm(0, 1, c->ocg, c->k, ld, 1.0f, d_out, ld, columns, ld, 1.0f,
                  b->d_weight + g * c->ocg * c->k, c->k);
    }
    if (b->d_x) {
        qxk_sgemm(1, 0, c->k, ld, c->ocg, 1.0f, b->weight + g * c->ocg * c->k, c->k, d_out, ld,
                  0.0f, columns, ld);
        fold_group(c, columns, n, b->d_x + at);
    }
}

static void columns_back(const struct qx_conv *c, const struct qx_conv_back *b)
{
    const int64_t step = n_joined(c);
    for (int64_t first = 0; first < c->w.n; first += step) {
        const int64_t n = step < c->w.n - first ? step : c->w.n - first;
        for (int64_t g = 0; g < c->group; g++) {
            back_group(c, n, b, g, first);
        }
    }
}

void qx_conv_back(const struct qx_conv *c, const struct qx_conv_back *b)
{
    struct qx_conv m;
    struct qx_conv_back rest = *b; /* what is still to be done */
    if (b->d_bias) {
        add_bias(c, b->d_out, b->d_bias);
    }
    if (b->d_x && mirror_of(c, &m)) {
        mirror_back(c, &m, b);
        rest.d_x = NULL;
    } else if (b->d_x && b->is_first) {
        memset(b->d_x, 0, (size_t)input_floats(c) * sizeof *b->d_x);
    }
    if (b->d_weight && is_direct(c)) {
        qx_conv_direct_back(c, b->x, b->d_out, b->scratch, b->d_weight);
        rest.d_weight = NULL;
    }
    if (rest.d_x || rest.d_weight) {
        columns_back(c, &rest);
    }
}

/* Convolution with one input channel per group: each output plane from one padded input plane. */
#include "conv.h"

#include "base/vec.h"

/* Places computed at a time. */
#define BLOCK 32

/* The padded plane, as wide as the window needs; a block read past its end must stay inside. */
static int64_t padded_floats(const struct qx_window *w)
{
    return (w->h + w->top + w->bottom) * qx_conv_width(w) + BLOCK;
}

static void pad_plane(const struct qx_window *w, const float *x, float *to)
{
    const int64_t width = qx_conv_width(w);
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
    const int64_t width = qx_conv_width(w);
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
    const int64_t width = qx_conv_width(w);
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
    const int64_t width = qx_conv_width(w);
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

int64_t qx_conv_direct_scratch(const struct qx_conv *c)
{
    return padded_floats(&c->w) + c->w.oh * qx_conv_width(&c->w) + BLOCK;
}

void qx_conv_direct(const struct qx_conv *c, const float *x, const float *weight, const float *bias,
                    float *scratch, float *out)
{
    const struct qx_window *w = &c->w;
    const bool is_dense = w->sh == 1 && w->sw == 1;
    float *run = scratch + padded_floats(w);
    for (int64_t i = 0; i < w->n * c->group; i++) {
        const int64_t g = i % c->group;
        pad_plane(w, x + i * w->h * w->w, scratch);
        for (int64_t o = g * c->ocg; o < (g + 1) * c->ocg; o++) {
            const float first = bias ? bias[o] : 0.0f;
            float *to = out + (i / c->group * c->oc + o) * c->places;
            if (is_dense) {
                direct_dense(w, scratch, weight + o * c->k, first, run, to);
            } else {
                direct_strided(w, scratch, weight + o * c->k, first, to);
            }
        }
    }
}

/* ---- backwards ---- */

/* sum of x y */
static float dot(const float *x, const float *y, int64_t n)
{
    qx_vec acc = qx_vec_all(0.0f);
    int64_t i = 0;
    for (; i + QX_VEC <= n; i += QX_VEC) {
        acc += qx_vec_load(x + i) * qx_vec_load(y + i);
    }
    float sum = (acc[0] + acc[1]) + (acc[2] + acc[3]);
    for (; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

int64_t qx_conv_direct_back_scratch(const struct qx_conv *c)
{
    return padded_floats(&c->w) + c->w.oh * qx_conv_width(&c->w);
}

/* Both planes with lines of the same width, zeros behind those of d_out: a tap is one sum over all of it. */
void qx_conv_direct_back(const struct qx_conv *c, const float *x, const float *d_out,
                         float *scratch, float *d_weight)
{
    const struct qx_window *w = &c->w;
    const int64_t width = qx_conv_width(w), last = (w->oh - 1) * width + w->ow;
    float *d = scratch + padded_floats(w);
    memset(d, 0, (size_t)(w->oh * width) * sizeof *d);
    for (int64_t i = 0; i < w->n * c->group; i++) {
        pad_plane(w, x + i * w->h * w->w, scratch);
        for (int64_t o = i % c->group * c->ocg; o < (i % c->group + 1) * c->ocg; o++) {
            const float *from = d_out + (i / c->group * c->oc + o) * c->places;
            for (int64_t k = 0; k < w->oh; k++) {
                memcpy(d + k * width, from + k * w->ow, (size_t)w->ow * sizeof *d);
            }
            for (int64_t k = 0; k < c->k; k++) {
                const float *tap = scratch + k / w->kw * w->dh * width + k % w->kw * w->dw;
                d_weight[o * c->k + k] += dot(d, tap, last);
            }
        }
    }
}

/* Operations between products on values that are not plain: largest code of a window, zero and above,
 * windows and means with channels last. Scales are positive, so the largest code is the code of the
 * largest value. */
#include "net/exec.h"
#include "net/window.h"

#include "base/vec.h"

#include <math.h>
#include <string.h>

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void relu_codes(const uint8_t *x, int64_t n, int32_t zero, uint8_t *out)
{
    const uint8_t z = (uint8_t)zero;
    for (int64_t i = 0; i < n; i++) {
        out[i] = x[i] > z ? x[i] : z;
    }
}

/* out[i] = the larger of out[i] and x[i]. */
static void top_codes(const uint8_t *x, int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        out[i] = x[i] > out[i] ? x[i] : out[i];
    }
}

/* Windows of one sample [h][w][c]. */
static void pool_codes(const struct qx_window *w, int64_t c, const uint8_t *x, uint8_t *out)
{
    for (int64_t i = 0; i < w->oh; i++) {
        const int64_t h0 = larger(0, i * w->sh - w->top);
        const int64_t h1 = smaller(w->h, i * w->sh - w->top + w->kh);
        for (int64_t j = 0; j < w->ow; j++, out += c) {
            const int64_t w0 = larger(0, j * w->sw - w->left);
            const int64_t w1 = smaller(w->w, j * w->sw - w->left + w->kw);
            memset(out, 0, (size_t)c);
            for (int64_t a = h0; a < h1; a++) {
                for (int64_t b = w0; b < w1; b++) {
                    top_codes(x + (a * w->w + b) * c, c, out);
                }
            }
        }
    }
}

static bool window_of(const struct qx_node *node, struct qx_window *w)
{
    return qx_window_of(node, &node->in[0]->shape, NULL, w, NULL) == QX_OK;
}

void qx_codes_run(const struct qx_node *node, const struct qx_exec_value *v, const uint8_t *x,
                  int64_t n, uint8_t *out)
{
    struct qx_window w;
    if (qx_node_is(node, "Relu")) {
        relu_codes(x, qx_shape_numel(&node->in[0]->shape, n), v->codes.zero, out);
        return;
    }
    if (!window_of(node, &w)) {
        return; /* its shape was checked when the graph was built */
    }
    /* planes as the shape says are samples of one channel */
    const int64_t c = v->is_last ? w.c : 1, samples = v->is_last ? n : n * w.c;
    for (int64_t s = 0; s < samples; s++) {
        pool_codes(&w, c, x + s * w.h * w.w * c, out + s * w.oh * w.ow * c);
    }
}

static void pool_last(const struct qx_window *w, const float *x, float *out)
{
    for (int64_t i = 0; i < w->oh; i++) {
        const int64_t h0 = larger(0, i * w->sh - w->top);
        const int64_t h1 = smaller(w->h, i * w->sh - w->top + w->kh);
        for (int64_t j = 0; j < w->ow; j++, out += w->c) {
            const int64_t w0 = larger(0, j * w->sw - w->left);
            const int64_t w1 = smaller(w->w, j * w->sw - w->left + w->kw);
            for (int64_t k = 0; k < w->c; k++) {
                out[k] = -INFINITY;
            }
            for (int64_t a = h0; a < h1; a++) {
                for (int64_t b = w0; b < w1; b++) {
                    const float *from = x + (a * w->w + b) * w->c;
                    for (int64_t k = 0; k < w->c; k++) {
                        out[k] = from[k] > out[k] ? from[k] : out[k];
                    }
                }
            }
        }
    }
}

/* The sums run in double: a plane may hold more than a thousand values. */
static void mean_last(const float *x, int64_t c, int64_t places, float *out)
{
    enum { TOGETHER = 32 };
    for (int64_t k0 = 0; k0 < c; k0 += TOGETHER) {
        const int64_t n = smaller(TOGETHER, c - k0);
        double sum[TOGETHER] = {0};
        for (int64_t i = 0; i < places; i++) {
            for (int64_t k = 0; k < n; k++) {
                sum[k] += (double)x[i * c + k0 + k];
            }
        }
        for (int64_t k = 0; k < n; k++) {
            out[k0 + k] = (float)(sum[k] / (double)places);
        }
    }
}

void qx_last_run(const struct qx_node *node, const float *x, int64_t n, float *out)
{
    const struct qx_shape *s = &node->in[0]->shape;
    const int64_t c = s->dim[1], places = qx_shape_span(s, 2, s->rank);
    struct qx_window w;
    if (qx_node_is(node, "GlobalAveragePool")) {
        for (int64_t i = 0; i < n; i++) {
            mean_last(x + i * c * places, c, places, out + i * c);
        }
        return;
    }
    for (int64_t i = 0; window_of(node, &w) && i < n; i++) {
        pool_last(&w, x + i * c * places, out + i * c * w.oh * w.ow);
    }
}

/* Private to floor 4: the arithmetic of one value, shared by every element-wise loop. */
#ifndef QX_QUANT_SCHEME_H
#define QX_QUANT_SCHEME_H

#include <math.h>

#include "kernels/kernels.h"
#include "qx/quant.h"

/* Even steps: offset code k = q - z of a finite x: clamp(rint(x / s) + z) - z, ties to even. Never -0. */
static inline float qx_offset_code(const struct qx_qparams *p, float x)
{
    float zero = (float)p->zero, lo = (float)p->qmin, hi = (float)p->qmax;
    float q = rintf(x / p->scale) + zero;

    q = q < lo ? lo : q > hi ? hi : q;
    return q - zero;
}

/* The same for the kernels. */
static inline struct qxk_affine qx_affine_of(const struct qx_qparams *p)
{
    return (struct qxk_affine){p->scale, (float)p->zero, (float)p->qmin, (float)p->qmax};
}

/* The same of a table. */
static inline struct qxk_book qx_book_of(const struct qx_book *b, float scale)
{
    return (struct qxk_book){scale, b->bits, b->zero, b->level, b->edge};
}

/* The kernel for a table. */
static inline qxk_nearest_fn *qx_nearest_of(const struct qxk_table *kernels,
                                            const struct qx_book *b)
{
    return b->bits == 4 ? kernels->nearest4 : kernels->nearest8;
}

/* x^ of a finite x. */
static inline float qx_value_of(const struct qx_qparams *p, float x)
{
    if (p->book) {
        struct qxk_book b = qx_book_of(p->book, p->scale);

        return p->book->level[qxk_book_code(&b, x)] * p->scale;
    }
    return qx_offset_code(p, x) * p->scale;
}

/* Codes of a setting: 2^bits for asymmetric, one less for symmetric, or the levels of the table. */
static inline int qx_setting_n_codes(const struct qx_setting *s)
{
    if (s->format->book) {
        return s->format->book->n;
    }
    return s->sym ? (1 << s->bits) - 1 : 1 << s->bits;
}

enum { QX_NESTED_UNITS = 256 }; /* whose scales are quantized together */

/* NESTED scales of all units of a histogram. Free with qx_mem_free. O(units) */
enum qx_status qx_scales_of_hist(const struct qx_setting *s, const struct qx_hist *hist,
                                 float **out, struct qx_error *err);

/* Clip range of one unit whose own range is lo..hi, in real units. */
struct qx_range qx_clip_range(const struct qx_setting *s, float lo, float hi);

#endif

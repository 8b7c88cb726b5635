/* Private to floor 4: the arithmetic of one value, shared by every element-wise loop. */
#ifndef QX_QUANT_SCHEME_H
#define QX_QUANT_SCHEME_H

#include <math.h>

#include "qx/quant.h"

/* Offset code k = q - z of x: rint(x / s), ties to even, clamped to the codes. */
static inline float qx_offset_code(const struct qx_qparams *p, float x)
{
    float k = rintf(x / p->scale);
    float lo = (float)(p->qmin - p->zero), hi = (float)(p->qmax - p->zero);

    return k < lo ? lo : k > hi ? hi : k;
}

/* Codes of a setting: 2^bits for asymmetric, one less for symmetric. */
static inline int qx_setting_n_codes(const struct qx_setting *s)
{
    return s->sym ? (1 << s->bits) - 1 : 1 << s->bits;
}

/* Clip range of one unit whose own range is lo..hi, in real units. */
struct qx_range qx_clip_range(const struct qx_setting *s, float lo, float hi);

#endif

/* Scale, zero point and the arithmetic of one value. */
#include "quant/scheme.h"

#include "base/fp16.h"

#define F16_MAX 65504.0f
#define F16_MIN 0x1p-24f

/* The scale as it is stored. A useless scale (constant or empty range, overflow) becomes 1. */
static float scale_stored(const struct qx_setting *s, float scale)
{
    if (!(scale > 0.0f) || isinf(scale)) {
        return 1.0f;
    }
    if (s->scale == QX_SCALE_F16) {
        float r = qx_f16_to_f32(qx_f32_to_f16(scale));

        return r < F16_MIN ? F16_MIN : r > F16_MAX ? F16_MAX : r;
    }
    return scale;
}

struct qx_range qx_clip_range(const struct qx_setting *s, float lo, float hi)
{
    double ratio = s->range.hi, top;

    if (s->gran == QX_GRAN_TENSOR) {
        if (s->sym) {
            top = fmax(-s->range.lo, s->range.hi);
            return (struct qx_range){-top, top};
        }
        return (struct qx_range){fmin(s->range.lo, 0.0), fmax(s->range.hi, 0.0)};
    }
    if (s->sym) {
        top = ratio * fmax(fabs((double)lo), fabs((double)hi));
        return (struct qx_range){-top, top};
    }
    return (struct qx_range){ratio * fmin((double)lo, 0.0), ratio * fmax((double)hi, 0.0)};
}

struct qx_qparams qx_qparams_of(const struct qx_setting *s, float lo, float hi)
{
    struct qx_range r = qx_clip_range(s, lo, hi);
    const struct qx_book *book = s->format ? s->format->book : NULL;
    struct qx_qparams p = {0};
    float z, span;

    if (book) {
        return (struct qx_qparams){.scale = scale_stored(s, (float)r.hi / book->top),
                                   .zero = book->zero,
                                   .qmax = book->n - 1,
                                   .book = book};
    }
    if (s->sym) {
        p.qmax = (1 << (s->bits - 1)) - 1;
        p.qmin = -p.qmax;
        p.scale = scale_stored(s, (float)r.hi / (float)p.qmax);
        return p;
    }
    p.qmax = (1 << s->bits) - 1;
    span = (float)r.hi - (float)r.lo;
    p.scale = scale_stored(s, isinf(span) ? (float)((r.hi - r.lo) / p.qmax) : span / (float)p.qmax);
    z = rintf(-(float)r.lo / p.scale);
    p.zero = z > (float)p.qmax ? p.qmax : (int)z;
    return p;
}

int qx_quantize(const struct qx_qparams *p, float x)
{
    if (p->book && isfinite(x)) {
        struct qxk_book b = qx_book_of(p->book, p->scale);

        return qxk_book_code(&b, x);
    }
    return isfinite(x) ? (int)qx_offset_code(p, x) + p->zero : p->zero;
}

float qx_dequantize(const struct qx_qparams *p, int q)
{
    return p->book ? p->book->level[q] * p->scale : (float)(q - p->zero) * p->scale;
}

int qx_setting_levels(const struct qx_setting *s, double *out, int cap)
{
    struct qx_qparams p;
    int n;

    if (!qx_format_is_scaled(s->format)) {
        return 0;
    }
    if (s->gran == QX_GRAN_TENSOR || s->sym) {
        p = qx_qparams_of(s, -1.0f, 1.0f);
    } else {
        p = qx_qparams_of(s, -0.5f, 0.5f);
    }
    n = p.qmax - p.qmin + 1 < cap ? p.qmax - p.qmin + 1 : cap;
    for (int i = 0; i < n; i++) {
        out[i] = (double)qx_dequantize(&p, p.qmin + i);
    }
    return n;
}

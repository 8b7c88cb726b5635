#include "base/fp16.h"
#include "kernels/rungs.h"

#include <string.h>

void qxk_f16_to_f32_ref(const void *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t v;
        memcpy(&v, (const char *)x + 2 * i, 2);
        out[i] = qx_f16_to_f32(v);
    }
}

void qxk_bf16_to_f32_ref(const void *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t v;
        memcpy(&v, (const char *)x + 2 * i, 2);
        out[i] = qx_bf16_to_f32(v);
    }
}

void qxk_f8e4m3_to_f32_ref(const void *x, size_t n, float *out)
{
    const uint8_t *p = x;
    for (size_t i = 0; i < n; i++) {
        out[i] = qx_f8e4m3_to_f32(p[i]);
    }
}

void qxk_f8e5m2_to_f32_ref(const void *x, size_t n, float *out)
{
    const uint8_t *p = x;
    for (size_t i = 0; i < n; i++) {
        out[i] = qx_f8e5m2_to_f32(p[i]);
    }
}

void qxk_f32_to_f16_ref(const float *x, size_t n, void *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t v = qx_f32_to_f16(x[i]);
        memcpy((char *)out + 2 * i, &v, 2);
    }
}

void qxk_f32_to_bf16_ref(const float *x, size_t n, void *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t v = qx_f32_to_bf16(x[i]);
        memcpy((char *)out + 2 * i, &v, 2);
    }
}

void qxk_f32_to_f8e4m3_ref(const float *x, size_t n, void *out)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++) {
        p[i] = qx_f32_to_f8e4m3(x[i]);
    }
}

void qxk_f32_to_f8e5m2_ref(const float *x, size_t n, void *out)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++) {
        p[i] = qx_f32_to_f8e5m2(x[i]);
    }
}

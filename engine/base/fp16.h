/* Bit-exact conversion between float32 and the narrow float formats (round to nearest even). */
#ifndef QX_BASE_FP16_H
#define QX_BASE_FP16_H

#include <stdint.h>

float qx_f16_to_f32(uint16_t h);
uint16_t qx_f32_to_f16(float f);    /* overflow to infinity, NaN kept quiet */
uint16_t qx_f32_to_f16_rz(float f); /* round toward zero; overflow to the largest finite */
float qx_bf16_to_f32(uint16_t h);
uint16_t qx_f32_to_bf16(float f);
float qx_f8e4m3_to_f32(uint8_t b); /* OCP E4M3 (FN): S.1111.111 is NaN, no infinities */
float qx_f8e5m2_to_f32(uint8_t b); /* OCP E5M2: IEEE-like, with infinities and NaN */
/* Saturating: what lies beyond the largest value, infinities too, becomes the largest. NaN becomes
 * S.1111.111 and S.11111.11. */
uint8_t qx_f32_to_f8e4m3(float f);
uint8_t qx_f32_to_f8e5m2(float f);

#endif

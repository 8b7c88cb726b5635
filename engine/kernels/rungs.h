/* Which operations each rung implements, and the declarations of those functions. Private to the
 * kernels and their table: qxk_<operation>_<rung>. */
#ifndef QXK_RUNGS_H
#define QXK_RUNGS_H

#include "kernels/kernels.h"

#define QXK_AVX2_OPS(X)                    \
    X(stats_f32, qxk_stats_f32_fn)         \
    X(stats_f16, qxk_stats_u16_fn)         \
    X(stats_bf16, qxk_stats_u16_fn)        \
    X(hist_f32, qxk_hist_f32_fn)           \
    X(hist_weighted, qxk_hist_weighted_fn) \
    X(f16_to_f32, qxk_to_f32_fn)           \
    X(bf16_to_f32, qxk_to_f32_fn)          \
    X(f8e4m3_to_f32, qxk_to_f32_fn)        \
    X(f8e5m2_to_f32, qxk_to_f32_fn)        \
    X(f32_to_f16, qxk_from_f32_fn)         \
    X(f32_to_bf16, qxk_from_f32_fn)        \
    X(fakequant, qxk_fakequant_fn)         \
    X(quantize, qxk_quantize_fn)           \
    X(error_f32, qxk_error_f32_fn)         \
    X(error_affine, qxk_error_affine_fn)

#define QXK_DECLARE_REF(name, type)  type qxk_##name##_ref;
#define QXK_DECLARE_AVX2(name, type) type qxk_##name##_avx2;
QXK_OPS(QXK_DECLARE_REF)
QXK_AVX2_OPS(QXK_DECLARE_AVX2)
#undef QXK_DECLARE_REF
#undef QXK_DECLARE_AVX2

#endif

/* Which operations each rung implements (of avx2: kernels.h), and the declarations of those functions.
 * Private to the kernels and their table: qxk_<operation>_<rung>. */
#ifndef QXK_RUNGS_H
#define QXK_RUNGS_H

#include "kernels/kernels.h"

#define QXK_AVXVNNI_OPS(X)      \
    X(gemm_u8s8, qxk_gemm8_fn)  \
    X(gemm_s8s8, qxk_gemm8_fn)  \
    X(gemm_s8s4, qxk_gemm4_fn)  \
    X(gemm_f32s8, qxk_gemmf_fn) \
    X(gemm_f32s4, qxk_gemmf_fn)

#define QXK_AVX512VNNI_OPS(X)                \
    X(gemm_u8s8, qxk_gemm8_fn)               \
    X(gemm_s8s8, qxk_gemm8_fn)               \
    X(gemm_s8s4, qxk_gemm4_fn)               \
    X(quant_row, qxk_quant_row_fn)           \
    X(quant_row_asym, qxk_quant_row_asym_fn) \
    X(layer_norm, qxk_layer_norm_fn)         \
    X(softmax, qxk_softmax_fn)               \
    X(gelu, qxk_gelu_fn)                     \
    X(gelu_tanh, qxk_gelu_fn)                \
    X(attention, qxk_attention_fn)           \
    X(split_row, qxk_split_row_fn)           \
    X(gemm_f32s8, qxk_gemmf_fn)              \
    X(gemm_f32s4, qxk_gemmf_fn)              \
    X(gemv_f16, qxk_gemv16_fn)               \
    X(gemv_bf16, qxk_gemv16_fn)              \
    X(dwconv_u8s8, qxk_dwconv_fn)            \
    X(plain_blocks, qxk_plain_blocks_fn)     \
    X(code_sums, qxk_code_sums_fn)           \
    X(code_errors, qxk_code_errors_fn)

#define QXK_AVX512VBMI_OPS(X)              X(f8e4m3_to_f32, qxk_to_f32_fn)

#define QXK_DECLARE_REF(name, type)        type qxk_##name##_ref;
#define QXK_DECLARE_AVX2(name, type)       type qxk_##name##_avx2;
#define QXK_DECLARE_AVXVNNI(name, type)    type qxk_##name##_avxvnni;
#define QXK_DECLARE_AVX512VNNI(name, type) type qxk_##name##_avx512vnni;
#define QXK_DECLARE_AVX512VBMI(name, type) type qxk_##name##_avx512vbmi;
#define QXK_DECLARE_EVEX256(name, type)    type qxk_##name##_evex256;
QXK_OPS(QXK_DECLARE_REF)
QXK_AVX2_OPS(QXK_DECLARE_AVX2)
QXK_AVXVNNI_OPS(QXK_DECLARE_AVXVNNI)
QXK_AVX512VNNI_OPS(QXK_DECLARE_AVX512VNNI)
QXK_AVX512VBMI_OPS(QXK_DECLARE_AVX512VBMI)
/* The avxvnni files in the AVX-512 encoding, built by tests/kernels only. */
QXK_AVXVNNI_OPS(QXK_DECLARE_EVEX256)
#undef QXK_DECLARE_REF
#undef QXK_DECLARE_AVX2
#undef QXK_DECLARE_AVXVNNI
#undef QXK_DECLARE_AVX512VNNI
#undef QXK_DECLARE_AVX512VBMI
#undef QXK_DECLARE_EVEX256

/* Sums too long for int32, on any rung: the portable epilogue on sums over (a + a_shift) w of row m,
 * outputs n0..n0+n-1. */
void qxk_finish_long(const struct qxk_w8 *w, const struct qxk_epilogue *e, const int64_t *sum,
                     int32_t a_shift, int64_t m, void *y, int64_t n0, int64_t n);

/* Pointers to the codes of all taps of an output place, those outside the image to the padding; with an
 * odd number one more. tap: [QXK_DW_TAPS + 1]. Returns the number of taps. */
int64_t qxk_dw_taps(const struct qxk_dwconv *d, int64_t row, int64_t column, const uint8_t **tap);
/* Bits of X, and the field of the exponent of a part's scale: bits of its largest magnitude. */
#define QXK_SPLIT_BITS 21
uint32_t qxk_split_field(uint32_t largest_bits);
/* size / top, or 1 when that is not positive. */
float qxk_row_scale(float size, float top);
/* In 16 interleaved lanes, parts of QXK_ROW_PART in double. */
double qxk_row_sum(const float *v, int64_t n);

#endif

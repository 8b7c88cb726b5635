/* The dtype table and conversion of stored elements to float32. */
#include "qx/tensor.h"
#include "base/error.h"
#include "base/mapfile.h"
#include "format/block.h"
#include "kernels/kernels.h"

#include <string.h>

enum dtype_class { NONE, FLOAT, INT, WIDE };

#define IS_FLOAT(name, cls) ((cls) == FLOAT || QX_DTYPE_##name == QX_DTYPE_F64)

static const struct qx_dtype_info dtypes[QX_DTYPE_COUNT] = {
#define QX_DTYPE_ROW(name, bits, cls) \
    {#name, bits, (cls) != NONE, IS_FLOAT(name, cls), (cls) == FLOAT || (cls) == INT, 0, 0},
#define QX_DTYPE_BLOCK_ROW(name, n, bytes, is_decoded) \
    {#name, 0, is_decoded, is_decoded, true, n, bytes},
    QX_DTYPE_LIST(QX_DTYPE_ROW) QX_DTYPE_BLOCK_LIST(QX_DTYPE_BLOCK_ROW)
#undef QX_DTYPE_ROW
#undef QX_DTYPE_BLOCK_ROW
};

static const struct qx_block *const blocks[QX_DTYPE_COUNT] = {
    [QX_DTYPE_Q4_0] = &qx_block_q4_0,     [QX_DTYPE_Q4_1] = &qx_block_q4_1,
    [QX_DTYPE_Q5_0] = &qx_block_q5_0,     [QX_DTYPE_Q5_1] = &qx_block_q5_1,
    [QX_DTYPE_Q8_0] = &qx_block_q8_0,     [QX_DTYPE_Q8_1] = &qx_block_q8_1,
    [QX_DTYPE_Q2_K] = &qx_block_q2_k,     [QX_DTYPE_Q3_K] = &qx_block_q3_k,
    [QX_DTYPE_Q4_K] = &qx_block_q4_k,     [QX_DTYPE_Q5_K] = &qx_block_q5_k,
    [QX_DTYPE_Q6_K] = &qx_block_q6_k,     [QX_DTYPE_Q8_K] = &qx_block_q8_k,
    [QX_DTYPE_IQ4_NL] = &qx_block_iq4_nl, [QX_DTYPE_IQ4_XS] = &qx_block_iq4_xs,
    [QX_DTYPE_TQ1_0] = &qx_block_tq1_0,   [QX_DTYPE_TQ2_0] = &qx_block_tq2_0,
    [QX_DTYPE_MXFP4] = &qx_block_mxfp4,   [QX_DTYPE_NVFP4] = &qx_block_nvfp4,
    [QX_DTYPE_Q1_0] = &qx_block_q1_0,
};

const struct qx_dtype_info *qx_dtype_get(enum qx_dtype dtype)
{
    return &dtypes[dtype];
}

bool qx_dtype_find(const char *name, enum qx_dtype *out)
{
    for (int i = 0; i < QX_DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (enum qx_dtype)i;
            return true;
        }
    }
    return false;
}

uint64_t qx_dtype_bytes(enum qx_dtype dtype, int64_t n)
{
    const struct qx_dtype_info *info = &dtypes[dtype];
    uint64_t u = (uint64_t)n, block = (uint64_t)info->block;

    return info->block ? (u + block - 1) / block * (uint64_t)info->block_bytes
                       : (u * (uint64_t)info->bits + 7) / 8;
}

/* One loop per dtype whose elements load as `type` and widen by `expr` of v. Files may be misaligned
 * by any amount, hence memcpy. */
#define READ_LOOP(fn, type, expr)                          \
    static void fn(const uint8_t *p, size_t n, float *out) \
    {                                                      \
        for (size_t i = 0; i < n; i++) {                   \
            type v;                                        \
            memcpy(&v, p + i * sizeof v, sizeof v);        \
            out[i] = (expr);                               \
        }                                                  \
    }

READ_LOOP(read_bool, uint8_t, v ? 1.0f : 0.0f)
READ_LOOP(read_u8, uint8_t, (float)v)
READ_LOOP(read_i8, int8_t, (float)v)
READ_LOOP(read_i16, int16_t, (float)v)
READ_LOOP(read_u16, uint16_t, (float)v)
READ_LOOP(read_i32, int32_t, (float)v)
READ_LOOP(read_u32, uint32_t, (float)v)
READ_LOOP(read_f64, double, (float)v)
READ_LOOP(read_i64, int64_t, (float)v)
READ_LOOP(read_u64, uint64_t, (float)v)

#define READ_KERNEL(fn, kernel)                            \
    static void fn(const uint8_t *p, size_t n, float *out) \
    {                                                      \
        qxk_get()->kernel(p, n, out);                      \
    }

READ_KERNEL(read_f8_e5m2, f8e5m2_to_f32)
READ_KERNEL(read_f8_e4m3, f8e4m3_to_f32)
READ_KERNEL(read_f16, f16_to_f32)
READ_KERNEL(read_bf16, bf16_to_f32)

static void read_f32(const uint8_t *p, size_t n, float *out)
{
    memcpy(out, p, n * sizeof *out);
}

typedef void read_fn(const uint8_t *p, size_t n, float *out);

static read_fn *const readers[QX_DTYPE_COUNT] = {
    [QX_DTYPE_BOOL] = read_bool,       [QX_DTYPE_U8] = read_u8,
    [QX_DTYPE_I8] = read_i8,           [QX_DTYPE_F8_E5M2] = read_f8_e5m2,
    [QX_DTYPE_F8_E4M3] = read_f8_e4m3, [QX_DTYPE_I16] = read_i16,
    [QX_DTYPE_U16] = read_u16,         [QX_DTYPE_F16] = read_f16,
    [QX_DTYPE_BF16] = read_bf16,       [QX_DTYPE_I32] = read_i32,
    [QX_DTYPE_U32] = read_u32,         [QX_DTYPE_F32] = read_f32,
    [QX_DTYPE_F64] = read_f64,         [QX_DTYPE_I64] = read_i64,
    [QX_DTYPE_U64] = read_u64,
};

/* Whole blocks go straight to out; the ends of the range through a block of their own. */
static void read_blocks(const struct qx_block *b, const uint8_t *data, int64_t first, int64_t n,
                        float *out)
{
    while (n > 0) {
        const int64_t skip = first % b->n, whole = skip > 0 ? 0 : n / b->n;
        const uint8_t *p = data + (size_t)(first / b->n) * (size_t)b->bytes;
        int64_t taken = whole * b->n;
        if (whole > 0) {
            qx_block_decode(b, p, (size_t)whole, out);
        } else {
            float part[QX_BLOCK_MOST];
            qx_block_decode(b, p, 1, part);
            taken = n < b->n - skip ? n : b->n - skip;
            memcpy(out, part + skip, (size_t)taken * sizeof *out);
        }
        first += taken;
        out += taken;
        n -= taken;
    }
}

const struct qx_block *qx_tensor_block(const struct qx_tensor *t)
{
    return blocks[t->dtype];
}

enum qx_status qx_tensor_read(const struct qx_tensor *t, int64_t first, int64_t n, float *out,
                              struct qx_error *err)
{
    read_fn *read = readers[t->dtype];
    const struct qx_block *block = qx_tensor_block(t);
    if (!read && !block) {
        return qx_fail_at(err, QX_EUNSUPPORTED, NULL, t->name, -1,
                          "cannot read the values of '%.150s': dtype %s is not decoded", t->name,
                          dtypes[t->dtype].name);
    }
    if (first < 0 || n < 0 || first > t->numel || n > t->numel - first) {
        return qx_fail_at(err, QX_ERANGE, NULL, t->name, -1,
                          "cannot read %lld elements of '%.150s' from %lld on: it has %lld",
                          (long long)n, t->name, (long long)first, (long long)t->numel);
    }
    if (n > 0 && block) {
        read_blocks(block, t->data, first, n, out);
    } else if (n > 0) {
        read(t->data + (size_t)first * (size_t)(dtypes[t->dtype].bits / 8), (size_t)n, out);
    }
    return QX_OK;
}

struct qx_channels qx_channels_of(const struct qx_tensor *t, int axis)
{
    struct qx_channels c = {1, 1, 1};
    for (int i = 0; i < t->rank; i++) {
        if (i < axis) {
            c.outer *= t->shape[i];
        } else if (i == axis) {
            c.count = t->shape[i];
        } else {
            c.inner *= t->shape[i];
        }
    }
    return c;
}

struct qx_channels qx_channels_rows(struct qx_channels c)
{
    return c.outer == 1 && c.inner == 1 ? (struct qx_channels){1, 1, c.count} : c;
}

void qx_tensor_passed(const struct qx_tensor *t, int64_t first, int64_t n)
{
    enum { LARGE_BYTES = 16 << 20 };
    if (t->bytes >= LARGE_BYTES && n > 0) {
        qx_map_dontneed(t->data + qx_dtype_bytes(t->dtype, first),
                        (size_t)qx_dtype_bytes(t->dtype, n));
    }
}

/* Tensors as they lie in a file: borrowed views and conversion to float32. */
#ifndef QX_TENSOR_H
#define QX_TENSOR_H

#include "qx/format.h"
#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every dtype of safetensors, in its alignment order. Columns: enumerator and file name, bits, class:
 * FLOAT (values shown exactly in float32, quantizable), WIDE (goes through float32: badge "approx."),
 * INT (small integers, exact), NONE (listed only). */
#define QX_DTYPE_LIST(X)    \
    X(BOOL, 8, INT)         \
    X(F4, 4, NONE)          \
    X(F6_E2M3, 6, NONE)     \
    X(F6_E3M2, 6, NONE)     \
    X(U8, 8, INT)           \
    X(I8, 8, INT)           \
    X(F8_E5M2, 8, FLOAT)    \
    X(F8_E4M3, 8, FLOAT)    \
    X(F8_E8M0, 8, NONE)     \
    X(F8_E4M3FNUZ, 8, NONE) \
    X(F8_E5M2FNUZ, 8, NONE) \
    X(I16, 16, INT)         \
    X(U16, 16, INT)         \
    X(F16, 16, FLOAT)       \
    X(BF16, 16, FLOAT)      \
    X(I32, 32, WIDE)        \
    X(U32, 32, WIDE)        \
    X(F32, 32, FLOAT)       \
    X(C64, 64, NONE)        \
    X(F64, 64, WIDE)        \
    X(I64, 64, WIDE)        \
    X(U64, 64, WIDE)

/* The block types of GGUF (struct qx_block in qx/format.h). Columns: enumerator and ggml's name, values a
 * block, bytes a block, whether they are decoded. */
#define QX_DTYPE_BLOCK_LIST(X) \
    X(Q4_0, 32, 18, true)      \
    X(Q4_1, 32, 20, true)      \
    X(Q5_0, 32, 22, true)      \
    X(Q5_1, 32, 24, true)      \
    X(Q8_0, 32, 34, true)      \
    X(Q8_1, 32, 36, true)      \
    X(Q2_K, 256, 84, true)     \
    X(Q3_K, 256, 110, true)    \
    X(Q4_K, 256, 144, true)    \
    X(Q5_K, 256, 176, true)    \
    X(Q6_K, 256, 210, true)    \
    X(Q8_K, 256, 292, true)    \
    X(IQ2_XXS, 256, 66, false) \
    X(IQ2_XS, 256, 74, false)  \
    X(IQ3_XXS, 256, 98, false) \
    X(IQ1_S, 256, 50, false)   \
    X(IQ4_NL, 32, 18, true)    \
    X(IQ3_S, 256, 110, false)  \
    X(IQ2_S, 256, 82, false)   \
    X(IQ4_XS, 256, 136, true)  \
    X(IQ1_M, 256, 56, false)   \
    X(TQ1_0, 256, 54, true)    \
    X(TQ2_0, 256, 66, true)    \
    X(MXFP4, 32, 17, true)     \
    X(NVFP4, 64, 36, true)     \
    X(Q1_0, 128, 18, true)     \
    X(Q2_0, 64, 18, false)

enum qx_dtype {
#define QX_DTYPE_ENUM(name, bits, cls)           QX_DTYPE_##name,
#define QX_DTYPE_BLOCK_ENUM(name, n, bytes, dec) QX_DTYPE_##name,
    QX_DTYPE_LIST(QX_DTYPE_ENUM) QX_DTYPE_BLOCK_LIST(QX_DTYPE_BLOCK_ENUM)
#undef QX_DTYPE_ENUM
#undef QX_DTYPE_BLOCK_ENUM
        QX_DTYPE_COUNT
};

struct qx_dtype_info {
    const char *name;       /* as in the file: "BF16" */
    int bits;               /* per element; 0: block type */
    bool is_readable;       /* values can be shown */
    bool is_float;          /* F64, F32, F16, BF16, F8_*, decoded block types: may be quantized */
    bool is_exact;          /* float32 holds every value */
    int block, block_bytes; /* of block types; else 0 */
};
const struct qx_dtype_info *qx_dtype_get(enum qx_dtype dtype);
/* False when no dtype has this name. */
bool qx_dtype_find(const char *name, enum qx_dtype *out);

/* Stored bytes of n elements; block types: of the blocks that hold them. n is within a tensor of a file. */
uint64_t qx_dtype_bytes(enum qx_dtype dtype, int64_t n);

/* A view into a mapped file. Never owns; lives as long as its model. Row-major. */
struct qx_tensor {
    const char *name;
    enum qx_dtype dtype;
    int rank;             /* 0 = scalar; no upper bound but the file's */
    const int64_t *shape; /* [rank] */
    int64_t numel;        /* product of shape, 1 for rank 0 */
    const uint8_t *data;  /* unaligned; NULL when bytes is 0 */
    uint64_t bytes;
    uint64_t offset;    /* of data in its file */
    int file;           /* index for qx_model_file */
    const char *reason; /* NULL, or why its values cannot be shown (one sentence) */
};

/* Elements first .. first+n-1 in storage order as float32 (F64 and 64-bit integers are rounded; block
 * types are decoded as ggml's portable code does it, bit by bit).
 * QX_EUNSUPPORTED for dtypes that are not readable, QX_ERANGE. Pure; any thread. */
enum qx_status qx_tensor_read(const struct qx_tensor *t, int64_t first, int64_t n, float *out,
                              struct qx_error *err);

/* The blocks a tensor is stored in, one behind the other in storage order; NULL: in none that is decoded. */
const struct qx_block *qx_tensor_block(const struct qx_tensor *t);

/* How a tensor splits into output channels: storage is [outer, count, inner]; channel c holds the
 * values (o, c, i) for all o, i, flattened in storage order over o then i. */
struct qx_channels {
    int64_t outer, count, inner;
};
/* Channel axis a in 0..rank-1 (rank 0: one channel of one value). */
struct qx_channels qx_channels_of(const struct qx_tensor *t, int axis);

/* The same with the channels as rows that blocks of neighbours are laid along: where a channel has one value
 * only (a tensor of one axis), all of them are one row. */
struct qx_channels qx_channels_rows(struct qx_channels c);

/* Elements [first, first+n) were read and are not wanted soon: for a tensor of 16 MiB or more that lies
 * in a mapped file, their pages leave the resident set and come again when read. Any thread. */
void qx_tensor_passed(const struct qx_tensor *t, int64_t first, int64_t n);

#endif

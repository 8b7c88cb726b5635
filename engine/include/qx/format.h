/* Number formats: one row each (format/format_table.c). */
#ifndef QX_FORMAT_H
#define QX_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* FLOAT: a value becomes the nearest one the format has. AFFINE: codes on an even grid, with a scale
 * (and zero point) per unit. TABLE: codes of uneven levels, with a scale per unit. BLOCK: whatever the
 * layout of its blocks says; nothing is left to choose. */
enum qx_format_kind { QX_FORMAT_FLOAT, QX_FORMAT_AFFINE, QX_FORMAT_TABLE, QX_FORMAT_BLOCK };

/* The levels of a TABLE format: x^ = level[code] * scale, the code that of the level nearest to x / scale
 * (float32): edge[code - 1] < x / scale <= edge[code]. Edges lie half-way between levels; which level
 * takes a value exactly there is written into the edge, by one unit in its last place. The scale of a
 * unit is its threshold divided by `top`. */
struct qx_book {
    int bits;           /* 4 or 8: room for codes */
    int n;              /* levels, at most 2^bits */
    int zero;           /* level[zero] = 0 */
    float top;          /* largest magnitude of a level */
    const float *level; /* [2^bits] ascending; beyond n unused */
    const float *edge;  /* [2^bits - 1] ascending; infinite from n - 1 on */
};

/* What one block of values stands for: x^ = level * scale - min of its part, each rounded to float32. */
enum { QX_BLOCK_MOST = 256, QX_BLOCK_PARTS = 16 };
struct qx_block_parts {
    float scale[QX_BLOCK_PARTS], min[QX_BLOCK_PARTS]; /* of every n / n_sub neighbours */
    int8_t level[QX_BLOCK_MOST];
};
/* Values in blocks of n neighbours of a row: everything about them lies in `bytes` bytes. */
struct qx_block {
    const char *name; /* ggml's: "Q4_K" */
    int n, bytes, n_sub;
    int lo, hi;          /* levels are whole numbers lo..hi, */
    const int8_t *level; /* [hi + 1], lo = 0: or these; a level may come twice (0 and -0) */
    void (*unpack)(const uint8_t *data, struct qx_block_parts *out);
    /* Finite values; NULL: read only. weight [n_blocks * n]: what the squared error of each value counts, finite and
     * not below 0; NULL: all the same. Formats that leave no scale to search (Q8_0) do not look at it. */
    void (*encode)(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
};

struct qx_format {
    const char *name;  /* in recipes and flags: "fp32", "fp16", "bf16", "int", "nf4" */
    const char *title; /* on screen: "FP16"; one word, at most 4 letters */
    const char *help;  /* one sentence */
    char key;          /* after `.` on the Layer screen; 0 = none */
    enum qx_format_kind kind;
    int min_bits, max_bits; /* AFFINE: 2..8; FLOAT, TABLE and BLOCK: both its width (of a code) */
    double tolerance; /* FLOAT: worst relative error of a normal value (round-trip test); BLOCK:
                               sqrt(sum of squared errors) / n of x = 0.1 + 2 cos i, i < n = 4096 (as
                               ggml's tests/test-quantize-fns.cpp) */
    float max;        /* FLOAT: largest finite value; beyond it round saturates */
    float (*round)(float x);    /* FLOAT: nearest representable value of a finite x, ties to even;
                                  else NULL */
    const struct qx_book *book; /* TABLE; else NULL */
    /* BLOCK; else NULL. Blocks lie along the inputs of an output channel; a last block that is not full is
     * filled up with its last value and stored whole. */
    const struct qx_block *block;
    /* BLOCK: values are divided by a float32 scale of the whole tensor first, its absmax / tensor_top. 0: not. */
    float tensor_top;
};
int qx_format_count(void);
const struct qx_format *qx_format_at(int i);
const struct qx_format *qx_format_find(const char *name); /* NULL when unknown */
/* Do its values have scales, and so thresholds, granularity and calibrators? */
bool qx_format_is_scaled(const struct qx_format *f);

#endif

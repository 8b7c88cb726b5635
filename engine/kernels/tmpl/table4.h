/* Weights only, codes that stand for the entries of a table: they are looked up in registers, once for all rows of a
 * block. The including file defines ROWSF, the rows per block (4), and COLS_TABLE(n_rows), the outputs per pass over a
 * panel. */
#ifndef QXK_TMPL_TABLE4_H
#define QXK_TMPL_TABLE4_H

#include "kernels/tmpl/dot4.h"

enum { PANEL_VECS = QXK_PANEL / VL };

typedef vf sums[ROWSF][PANEL_VECS];

INLINE void clear(sums s, const int n_rows, const int n_vecs)
{
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            s[i][j] = vf_set1(0.0f);
        }
    }
}

/* Adds one input of each row times the decoded weights. */
INLINE void add(sums s, const int n_rows, const int n_vecs, const float *x, int64_t ldx,
                const vf *w)
{
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
        vf v = vf_set1(x[i * ldx]);
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            s[i][j] = vf_fma(v, w[j], s[i][j]);
        }
    }
}

/* Eight inputs. Input k is nibble 2k, or 2k - 7 from 4 on. */
INLINE void add_step(sums s, const int n_rows, const int n_vecs, const float *x, int64_t ldx,
                     const uint8_t *codes, struct table16 t)
{
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        vf w[PANEL_VECS];
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            const vi c = vi_load(codes + 4 * VL * j);
            w[j] = table_get(t, vi_shr(c, 4 * (k < 4 ? 2 * k : 2 * k - 7)));
        }
        add(s, n_rows, n_vecs, x + k, ldx, w);
    }
}

/* The last inputs of a row, filled up with zeros, which add nothing. */
struct tail {
    float x[ROWSF][8];
};

static __attribute__((noinline)) void pad_tail(struct tail *t, int n_rows, const float *x,
                                               int64_t ldx, int64_t n)
{
    memset(t, 0, sizeof *t);
    for (int i = 0; i < n_rows; i++) {
        memcpy(t->x[i], x + i * ldx, (size_t)n * sizeof *x);
    }
}

/* Outputs c.. of a panel for n_rows rows; out[i][c..] gets the sums. */
INLINE void pass_table(const int n_rows, const int n_vecs, const int width, const struct qxk_w4 *w,
                       const uint8_t *record, struct table16 t, int c, const float *x, int64_t ldx,
                       float (*out)[QXK_PANEL])
{
    for (int64_t left = w->k; left > 0; left -= w->group, record += w->group_bytes, x += w->group) {
        int64_t size = left < w->group ? left : w->group, k = 0;
        const uint8_t *codes = record + 4 * c;
        sums s;
        clear(s, n_rows, n_vecs);
        for (; k + 8 <= size; k += 8, codes += 4 * width) {
            add_step(s, n_rows, n_vecs, x + k, ldx, codes, t);
        }
        if (k < size) {
            struct tail rest;
            pad_tail(&rest, n_rows, x + k, ldx, size - k);
            add_step(s, n_rows, n_vecs, rest.x[0], 8, codes, t);
        }
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            vf scale = load_scale(record + w->group * (width / 2), w->is_f16, c + VL * j);
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++) {
                float *f = out[i] + c + VL * j;
                vf_store(f, vf_fma(s[i][j], scale, vf_load(f)));
            }
        }
    }
}
#endif

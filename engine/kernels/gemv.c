/* Weight-only products: drivers. */
#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/tiles.h"

#include <string.h>

enum { FEW_ROWS = 4, SGEMM_COLS = 256 }; /* outputs whose float32 weights are made at a time */

struct task {
    const struct qxk_gemv *g;
    struct qxk_tiles tiles;
    qxk_gemv_fn *fn;
    int64_t m, ldx, ldy, n, k;
    float *buffers; /* SGEMM_COLS * k per thread */
};

static void run_vector(void *arg, int64_t i, int worker)
{
    const struct task *t = arg;
    struct qxk_tile at = qxk_tile_at(&t->tiles, i);
    (void)worker;
    for (int64_t r = 0; r < t->m; r++) { /* the panels stay in the cache for the next row */
        struct qxk_gemv g = *t->g;
        g.x += r * t->ldx;
        g.y += r * t->ldy;
        t->fn(&g, at.p0, at.n_panels);
    }
}

static void run_matrix(void *arg, int64_t i, int worker)
{
    const struct task *t = arg;
    const struct qxk_gemv *g = t->g;
    int64_t n0 = i * SGEMM_COLS, n = t->n - n0 < SGEMM_COLS ? t->n - n0 : SGEMM_COLS;
    float *w = t->buffers + worker * SGEMM_COLS * t->k;
    if (g->w8) {
        qxk_w8_unpack(g->w8, &g->ep, n0, n, w);
    } else {
        qxk_w4_unpack(g->w4, g->table, n0, n, w);
    }
    qxk_sgemm(0, 1, t->m, n, t->k, 1.0f, g->x, t->ldx, w, t->k, 0.0f, g->y + n0, t->ldy);
    for (int64_t r = 0; r < t->m; r++) {
        qxk_finish_f32(&g->ep, g->y + r * t->ldy, n0, n);
    }
}

enum qx_status qxk_gemm_f32(struct qx_pool *pool, const struct qxk_gemv *g, int64_t m, int64_t ldx,
                            int64_t ldy, struct qx_error *err)
{
    const struct qxk_table *k = qxk_get();
    struct task t = {.g = g, .m = m, .ldx = ldx, .ldy = ldy};
    int n_threads = qx_pool_threads(pool);
    t.n = g->w8 ? g->w8->n : g->w4->n;
    t.k = g->w8 ? g->w8->k : g->w4->k;
    t.fn = g->w8 ? k->gemv_f32w8 : k->gemv_f32w4;
    if (m <= FEW_ROWS) {
        t.tiles = qxk_tiles_of(m > 0, (t.n + QXK_PANEL - 1) / QXK_PANEL, t.k, n_threads);
        qx_pool_for(pool, t.tiles.n, run_vector, &t);
        return QX_OK;
    }
    size_t count = (size_t)n_threads * SGEMM_COLS, bytes;
    if (!qx_size_mul(count, (size_t)t.k * sizeof(float), &bytes)) {
        return qx_fail_nomem(err, SIZE_MAX);
    }
    t.buffers = qx_mem_aligned(bytes);
    if (!t.buffers) {
        return qx_fail_nomem(err, bytes);
    }
    qx_pool_for(pool, (t.n + SGEMM_COLS - 1) / SGEMM_COLS, run_matrix, &t);
    qx_mem_free(t.buffers);
    return QX_OK;
}

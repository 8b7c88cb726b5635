/* Weight-only products on the pool. */
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/tiles.h"

struct task {
    const struct qxk_gemmf *g;
    qxk_gemmf_fn *fn;
    struct qxk_tiles tiles;
};

static void run_tile(void *arg, int64_t i, int worker)
{
    const struct task *t = arg;
    struct qxk_tile at = qxk_tile_at(&t->tiles, i);
    (void)worker;
    t->fn(t->g, at.m0, at.m, at.p0, at.n_panels);
}

void qxk_gemmf(struct qx_pool *pool, const struct qxk_gemmf *g)
{
    int64_t panels = g->w8 ? g->w8->n_panels : g->w4->n_panels, k = g->w8 ? g->w8->k : g->w4->k;
    struct task t = {.g = g, .fn = g->w8 ? qxk_get()->gemm_f32s8 : qxk_get()->gemm_f32s4};
    t.tiles = qxk_tiles_of(g->m, panels, k, qx_pool_threads(pool));
    qx_pool_for(pool, t.tiles.n, run_tile, &t);
}

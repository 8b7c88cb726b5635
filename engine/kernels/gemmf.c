/* Weight-only products on the pool. */
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/tiles.h"

struct task {
    struct qxk_gemmf g;
    qxk_gemmf_fn *fn;
    struct qxk_tiles tiles;
    int8_t *digits;
    struct qxk_split_part *parts;
};

static void run_tile(void *arg, int64_t i, int worker)
{
    const struct task *t = arg;
    struct qxk_tile at = qxk_tile_at(&t->tiles, i);
    (void)worker;
    t->fn(&t->g, at.m0, at.m, at.p0, at.n_panels);
}

static int64_t inputs_of(const struct qxk_gemmf *g)
{
    return g->w8 ? g->w8->k : g->w4->k;
}

static void split_row(void *arg, int64_t i, int worker)
{
    const struct task *t = arg;
    const struct qxk_gemmf *g = &t->g;
    const int64_t part = qxk_split_part_of(g), ld = qxk_split_ld(g);
    (void)worker;
    qxk_get()->split_row(g->x + i * g->ldx, inputs_of(g), part, t->digits + i * QXK_DIGITS * ld,
                         t->parts + i * (ld / part));
}

/* Digits, which are whole parts of at least 32 bytes, then what is said of each part. */
static size_t digits_bytes(const struct qxk_gemmf *g)
{
    return g->table ? 0 : (size_t)(g->m * QXK_DIGITS * qxk_split_ld(g));
}

size_t qxk_gemmf_room(const struct qxk_gemmf *g)
{
    const size_t parts = (size_t)(g->m * (qxk_split_ld(g) / qxk_split_part_of(g)));
    return g->table ? 0 : digits_bytes(g) + parts * sizeof(struct qxk_split_part);
}

void qxk_gemmf(struct qx_pool *pool, const struct qxk_gemmf *g, void *room)
{
    struct task t = {.g = *g, .fn = g->w8 ? qxk_get()->gemm_f32s8 : qxk_get()->gemm_f32s4};
    if (!g->table) {
        t.g.digits = t.digits = room;
        t.g.parts = t.parts = (void *)(t.digits + digits_bytes(g));
        qx_pool_for(pool, g->m, split_row, &t);
    }
    const int64_t panels = g->w8 ? g->w8->n_panels : g->w4->n_panels;
    t.tiles = qxk_tiles_of(g->m, panels, inputs_of(g), qx_pool_threads(pool));
    qx_pool_for(pool, t.tiles.n, run_tile, &t);
}

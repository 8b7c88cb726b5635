/* Weight-only products on the pool. */
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/tiles.h"

struct product {
    struct qxk_gemmf g;
    struct qxk_tiles tiles;
};

struct task {
    struct product product[QXK_TOGETHER];
    int8_t *digits;
    struct qxk_split_part *parts;
};

/* Tiles of one product after those of another. */
static void run_tile(void *arg, int64_t i, int worker)
{
    const struct product *p = ((const struct task *)arg)->product;
    (void)worker;
    while (i >= p->tiles.n) {
        i -= p++->tiles.n;
    }
    const struct qxk_tile at = qxk_tile_at(&p->tiles, i);
    (p->g.w8 ? qxk_get()->gemm_f32s8 : qxk_get()->gemm_f32s4)(&p->g, at.m0, at.m, at.p0,
                                                              at.n_panels);
}

static int64_t inputs_of(const struct qxk_gemmf *g)
{
    return g->w8 ? g->w8->k : g->w4->k;
}

static void split_row(void *arg, int64_t i, int worker)
{
    const struct task *t = arg;
    const struct qxk_gemmf *g = &t->product[0].g;
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

bool qxk_gemmf_goes_with(const struct qxk_gemmf *a, const struct qxk_gemmf *b)
{
    return a->x == b->x && a->m == b->m && a->ldx == b->ldx && inputs_of(a) == inputs_of(b) &&
           !a->table == !b->table && qxk_split_part_of(a) == qxk_split_part_of(b);
}

void qxk_gemmf(struct qx_pool *pool, const struct qxk_gemmf *g, int n, void *room)
{
    struct task t = {.digits = g->table ? NULL : room};
    t.parts = g->table ? NULL : (void *)(t.digits + digits_bytes(g));
    int64_t n_tiles = 0;
    for (int i = 0; i < n; i++) {
        const int64_t panels = g[i].w8 ? g[i].w8->n_panels : g[i].w4->n_panels;
        struct product *p = &t.product[i];
        p->g = g[i];
        p->g.digits = t.digits;
        p->g.parts = t.parts;
        p->tiles = qxk_tiles_of(g->m, panels, inputs_of(g), qx_pool_threads(pool));
        n_tiles += p->tiles.n;
    }
    if (!g->table) {
        qx_pool_for(pool, g->m, split_row, &t);
    }
    qx_pool_for(pool, n_tiles, run_tile, &t);
}

#include "kernels/tiles.h"

/* Rows whose activations stay in the second-level cache beside a panel, a multiple of the 6 or 4 rows
 * of a block; tiles so many that threads end together. */
enum { TILE_ROWS = 192, TILES_PER_THREAD = 16 };
/* Products below which a tile costs less than waking a thread. */
static const int64_t SMALL = 1 << 18;

struct qxk_tiles qxk_tiles_of(int64_t m, int64_t n_panels, int64_t k, int n_threads)
{
    struct qxk_tiles t = {.m = m, .n_panels = n_panels, .panels = n_panels};
    t.rows = m < TILE_ROWS + TILE_ROWS / 2 ? m : TILE_ROWS;
    if (n_threads > 1) {
        int64_t row_tiles = t.rows > 0 ? (m + t.rows - 1) / t.rows : 0;
        int64_t wanted =
            (TILES_PER_THREAD * n_threads + row_tiles - 1) / (row_tiles ? row_tiles : 1);
        t.panels = (n_panels + wanted - 1) / wanted;
        int64_t work = t.rows * k * 64, least = work > 0 ? (SMALL + work - 1) / work : n_panels;
        t.panels = t.panels < least ? least : t.panels;
        t.panels = t.panels < n_panels ? t.panels : n_panels;
    }
    t.panel_tiles = t.panels > 0 ? (n_panels + t.panels - 1) / t.panels : 0;
    t.n = t.rows > 0 ? (m + t.rows - 1) / t.rows * t.panel_tiles : 0;
    return t;
}

struct qxk_tile qxk_tile_at(const struct qxk_tiles *t, int64_t i)
{
    struct qxk_tile r = {i / t->panel_tiles * t->rows, t->rows, i % t->panel_tiles * t->panels,
                         t->panels};
    r.m = t->m - r.m0 < r.m ? t->m - r.m0 : r.m;
    r.n_panels = t->n_panels - r.p0 < r.n_panels ? t->n_panels - r.p0 : r.n_panels;
    return r;
}

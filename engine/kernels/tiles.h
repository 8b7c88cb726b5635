/* How a product is cut for the pool: rows by panels, in tiles handed out one after the other. */
#ifndef QXK_TILES_H
#define QXK_TILES_H

#include <stdint.h>

struct qxk_tiles {
    int64_t n;            /* tiles */
    int64_t m, n_panels;  /* of the whole product */
    int64_t rows, panels; /* per tile */
    int64_t panel_tiles;  /* tiles along the panels */
};

struct qxk_tile {
    int64_t m0, m, p0, n_panels;
};

/* k: inputs, which with the panels give the work of a tile. One thread takes all panels of some rows. */
struct qxk_tiles qxk_tiles_of(int64_t m, int64_t n_panels, int64_t k, int n_threads);
struct qxk_tile qxk_tile_at(const struct qxk_tiles *t, int64_t i);

#endif

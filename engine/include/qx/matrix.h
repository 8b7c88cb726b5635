/* A weight as a picture: output channels down, inputs across, in blocks of as many elements as a cell
 * of the picture stands for; and its margins: the largest magnitude of every row and column. */
#ifndef QX_MATRIX_H
#define QX_MATRIX_H

#include "qx/hist.h"
#include "qx/job.h"
#include "qx/quant.h"
#include "qx/status.h"
#include "qx/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* Row r holds output channel r, its inputs flattened in storage order (a convolution's: input channel,
 * then kernel). A tensor with one value per channel (a bias) is one row of all of them. */
struct qx_matrix {
    const struct qx_tensor *tensor; /* borrowed */
    struct qx_channels channels;
    int64_t rows, cols; /* 0 for an empty tensor */
};
struct qx_matrix qx_matrix_of(const struct qx_tensor *t, struct qx_channels channels);
/* Element of the tensor at a place, and back. */
int64_t qx_matrix_element(const struct qx_matrix *m, int64_t row, int64_t col);
void qx_matrix_place(const struct qx_matrix *m, int64_t element, int64_t *row, int64_t *col);

enum qx_matrix_what {
    QX_MATRIX_VALUE,
    QX_MATRIX_CODE, /* q - zero point; of a table, levels from that of 0; of blocks the level: of a BLOCK
                         format, or, under fp32, of the blocks that the tensor is stored in */
    QX_MATRIX_ERROR,  /* x - x^ */
    QX_MATRIX_CLIPPED /* 1 beyond the threshold, else 0; formats with scales */
};

/* The blocks that such levels are of; NULL: other codes, or none. */
const struct qx_block *qx_matrix_block(const struct qx_matrix *m, const struct qx_setting *s);

/* rows x cols elements from (row, col) on, in blocks of down x across; the last ones may be smaller.
 * All inside the matrix, all but row and col above 0. */
struct qx_matrix_part {
    int64_t row, col, rows, cols, down, across;
};
bool qx_matrix_part_equal(const struct qx_matrix_part *a, const struct qx_matrix_part *b);

/* One block, over its finite values. */
struct qx_matrix_cell {
    float largest;       /* of the largest magnitude, with its sign; 0 when there is none */
    float mean;          /* mean magnitude; of CLIPPED the share */
    int64_t element;     /* where the largest is, the first of equals; -1 = no finite value */
    int64_t n_nonfinite; /* NaN and infinities, left out above */
};

/* Cells appear while the picture is computed: one thread computes, another may read. By reference
 * count. */
struct qx_matrix_map;
/* Scale and zero point come from the setting and the histogram that qx_setting_spec names (kept by
 * reference; NULL allowed for VALUE and for granularity tensor). QX_EDATA: the setting has no codes, no
 * range or another histogram. QX_EUNSUPPORTED: blocks across the rows of storage. O(1) but for the memory: 40 bytes a block. */
enum qx_status qx_matrix_map_new(const struct qx_matrix *m, enum qx_matrix_what what,
                                 const struct qx_setting *s, struct qx_hist *hist,
                                 const struct qx_matrix_part *part, struct qx_matrix_map **out,
                                 struct qx_error *err);
struct qx_matrix_map *qx_matrix_map_ref(struct qx_matrix_map *map);
void qx_matrix_map_unref(struct qx_matrix_map *map); /* NULL allowed */
/* Compute all cells; once. VALUE 3 to 5 ns an element and core, the others 12 to 17. Progress in elements. */
enum qx_status qx_matrix_map_run(struct qx_matrix_map *map, struct qx_pool *pool,
                                 struct qx_ctl *ctl, struct qx_error *err);
const struct qx_matrix_part *qx_matrix_map_part(const struct qx_matrix_map *map);
int64_t qx_matrix_map_height(const struct qx_matrix_map *map); /* blocks down */
int64_t qx_matrix_map_width(const struct qx_matrix_map *map);  /* blocks across */
/* NULL while the block is still to be computed. */
const struct qx_matrix_cell *qx_matrix_map_cell(const struct qx_matrix_map *map, int64_t y,
                                                int64_t x);
bool qx_matrix_map_done(const struct qx_matrix_map *map);

/* One element under a setting. */
struct qx_matrix_value {
    float x;
    int64_t unit;  /* channel or group; 0 for granularity tensor */
    bool has_code; /* scaled, with a range and, where needed, a histogram; or of blocks: */
    struct qx_qparams params; /* of the unit; blocks: only the scale, of its part of the block */
    int code;                 /* as stored; blocks: the level, x^ = scale * code - min */
    bool is_block;
    float min;
    float approx; /* x^: of formats without scales too */
    bool is_clipped;
};
/* hist as above. QX_EUNSUPPORTED (dtype). */
enum qx_status qx_matrix_look(const struct qx_matrix *m, const struct qx_setting *s,
                              const struct qx_hist *hist, int64_t element,
                              struct qx_matrix_value *out, struct qx_error *err);

/* The largest finite magnitude of every row and column: what stands out and what is dead (all 0). */
#define QX_MATRIX_OUTLIER 2.0 /* times the median of the lines that are not dead */
struct qx_margins {
    int64_t rows, cols;
    float *row_max, *col_max; /* [rows], [cols] */
    double row_median, col_median;
    int64_t n_dead_rows, n_dead_cols, n_outlier_rows, n_outlier_cols;
    int64_t n_nonfinite;
};
/* QX_EUNSUPPORTED for more than 2^24 lines. Memory: 4 bytes a line, and once more for every thread. */
enum qx_status qx_margins_make(const struct qx_matrix *m, struct qx_pool *pool, struct qx_ctl *ctl,
                               struct qx_margins **out, struct qx_error *err);
void qx_margins_free(struct qx_margins *m); /* NULL allowed */

#endif

/* Private to floor 4: values of formats in blocks. */
#ifndef QX_QUANT_BLOCKS_H
#define QX_QUANT_BLOCKS_H

#include "quant/walk.h"
#include "qx/matrix.h"

enum { QX_BLOCK_STORED = QX_BLOCK_MOST * 2 }; /* room for the blocks of QX_BLOCK_MOST values */

/* Blocks that the format lays over a tensor. */
int64_t qx_block_count(const struct qx_block *b, struct qx_channels channels);
/* The scale of the whole tensor by which values are divided first; 1 without. */
float qx_block_tensor_scale(const struct qx_format *f, double absmax);
/* The same, in a pass of its own where the format needs one. */
enum qx_status qx_block_scale_find(const struct qx_walk *w, const struct qx_format *f,
                                   struct qx_pool *pool, struct qx_ctl *ctl, float *scale,
                                   struct qx_error *err);
/* Weights of the errors of a row's values from `first` on; NULL = all alike. row: values of a row. */
const float *qx_block_weights(const struct qx_setting *s, int64_t row, int64_t first);
/* y = x^ of n values of a row from the start of a block on, their errors weighted (NULL: not); only the row's last block
 * may be short. What is not finite becomes 0 and is counted. */
int64_t qx_block_values(const struct qx_format *f, float scale, const float *x, const float *weight,
                        int64_t n, float *y);
/* The blocks of such a run, as they are stored. */
void qx_block_store(const struct qx_format *f, float scale, const float *x, const float *weight,
                    int64_t n, uint8_t *out);
/* The same for piece i of a histogram. */
const float *qx_block_piece_weights(const struct qx_setting *s, const struct qx_hist *hist,
                                    int64_t i);
/* Place in its row of a run's first value. */
int64_t qx_block_place(const struct qx_walk *w, const struct qx_run *run);

/* The block that an element belongs to. */
struct qx_block_at {
    int64_t channel, first; /* row, and place in it of the block's first value */
    int64_t n;              /* values; less than the block's where the row ends */
    float y[QX_BLOCK_MOST];
    struct qx_block_parts parts;
};
/* Under fp32: the one that is stored; the tensor has some then. */
enum qx_status qx_block_find(const struct qx_tensor *t, struct qx_channels channels,
                             const struct qx_setting *s, float scale, int64_t element,
                             struct qx_block_at *out, struct qx_error *err);

/* By which the format divides first, as far as the histogram (NULL allowed) knows. */
float qx_block_scale_of(const struct qx_setting *s, const struct qx_hist *hist);
/* Fills what qx_matrix_look says about an element. */
enum qx_status qx_block_look(const struct qx_matrix *m, const struct qx_setting *s,
                             const struct qx_hist *hist, int64_t element, struct qx_matrix_value *v,
                             struct qx_error *err);

#endif

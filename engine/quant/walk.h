/* Private to floor 4: element-wise passes over a tensor, unit by unit, tile by tile.
 *
 * A pass cuts the tensor into tiles of a fixed size, reads each tile in blocks, and hands out runs:
 * values of one unit. Where a channel's values lie apart in storage ([in, out] weights), blocks are
 * transposed first, so that runs stay long. Tiles never depend on the number of threads. */
#ifndef QX_QUANT_WALK_H
#define QX_QUANT_WALK_H

#include "base/pool.h"
#include "qx/job.h"
#include "qx/quant.h"

enum { QX_RUN_MAX = 4096 };

/* One run: n <= QX_RUN_MAX values, all of `unit`. */
struct qx_run {
    const float *x;
    int64_t n, unit, tile;
    int64_t first;        /* element index of x[0], contiguous passes */
    int64_t channel, pos; /* transposed passes: x[0] is value pos of the channel */
};
typedef void qx_run_fn(void *arg, const struct qx_run *run);

struct qx_walk {
    const struct qx_tensor *tensor;
    struct qx_channels channels;
    enum qx_gran gran; /* QX_GRAN_TENSOR: one unit 0 */
    int64_t group;
    bool is_transposed;
    bool
        is_blocked; /* runs begin at multiples of QX_BLOCK_MOST of a row and end there or with it */
};

/* Element index of x[k]. */
static inline int64_t qx_run_index(const struct qx_walk *w, const struct qx_run *run, int64_t k)
{
    int64_t inner = w->channels.inner, pos = run->pos + k;

    if (!w->is_transposed) {
        return run->first + k;
    }
    return (pos / inner * w->channels.count + run->channel) * inner + pos % inner;
}

struct qx_walk qx_walk_of(const struct qx_tensor *t, struct qx_channels channels,
                          const struct qx_setting *s);
int64_t qx_walk_tiles(const struct qx_walk *w);
/* fn for every run; runs of one tile come in order, tiles in any order and from several threads.
 * QX_ECANCELLED, QX_EUNSUPPORTED. */
enum qx_status qx_walk_run(const struct qx_walk *w, struct qx_pool *pool, struct qx_ctl *ctl,
                           qx_run_fn *fn, void *arg, struct qx_error *err);

/* What quantizes each unit. */
struct qx_unit {
    struct qx_qparams q;
    struct qx_range clip; /* real units */
};
/* Every unit's parameters: one pass over the tensor when the granularity needs the units' ranges.
 * Free with qx_mem_free. The setting's range must be there. */
enum qx_status qx_units_resolve(const struct qx_walk *w, const struct qx_setting *s,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_unit **out,
                                struct qx_error *err);
/* QX_EDATA when a setting with scales has no range; as qx_setting_check otherwise. */
enum qx_status qx_setting_ready(const struct qx_setting *s, struct qx_error *err);

#endif

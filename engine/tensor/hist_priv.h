/* Inside a histogram, and the passes that fill one. Private to tensor/hist*.c. */
#ifndef QX_TENSOR_HIST_PRIV_H
#define QX_TENSOR_HIST_PRIV_H

#include "base/arena.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "qx/hist.h"
#include "tensor/hist_sums.h"
#include "tensor/hist_table.h"

#include <stdatomic.h>

/* Elements between two looks at the cancel flag, and of the conversion buffers. */
enum { QX_HIST_BLOCK = QXK_STATS_BLOCK, QX_HIST_CLASSES = 64, QX_HIST_CLASS_BINS = 2048 };

/* The part that goes to the cache file as it stands. */
struct qx_hist_fixed {
    struct qx_hist_spec spec;
    struct qx_stats stats;
    double lin_top;
    double spacing; /* of the dtype, relative to a value's power of two; 0 = dense (display only) */
    int64_t n_units;
    float a_min, a_max;
    bool is_lossless, is_rounded, is_whole; /* the last: of the pieces */
    int64_t n_pieces;
    double lin[QX_HIST_LIN];
};

struct qx_hist {
    atomic_int refs;
    struct qx_hist_fixed f;
    struct qx_units units;
    struct qx_hist_pieces pieces;
    struct qx_hist_tables tables;
    struct qx_arena arena; /* units, tables */
    uint64_t bytes;
};

/* One piece of memory, which goes to a file as it stands. */
struct qx_hist_packed {
    uint64_t bytes; /* of data, without the room behind */
    struct qx_stats stats;
    float key_scale, lin_scale;
    uint64_t lin[QXK_LIN_BINS];
    struct qx_sums_width width[QX_SUMS_BLOCKS];
    uint8_t data[];
};
/* Without stats. NULL when out of memory. */
struct qx_hist_packed *qx_hist_pack(const struct qx_hist_sums *sums, const uint64_t *lin,
                                    float key_scale, float lin_scale);

/* An empty histogram with one reference, without units and tables. NULL when out of memory. */
struct qx_hist *qx_hist_new(void);
/* Arrays of n entries in the histogram's arena, counted in h->bytes; aligned to 64 bytes. */
void *qx_hist_array(struct qx_hist *h, size_t n, size_t size);
/* units.lo, hi, absmax: zeros. False when out of memory. */
bool qx_hist_units_new(struct qx_hist *h, int64_t n);
/* Room for h->f.n_pieces pieces; the arrays are writable through a cast. False when out of memory. */
bool qx_hist_pieces_new(struct qx_hist *h);
/* Draw them from a tensor. */
enum qx_status qx_hist_pieces_take(struct qx_hist *h, const struct qx_tensor *t,
                                   struct qx_error *err);
/* lines and first of a table whose n_bins, n_lines are set. False when out of memory. */
bool qx_hist_table_new(struct qx_hist *h, struct qx_hist_table *t, struct qx_hist_line **lines,
                       uint16_t **first);

/* Line table of 65,536 bins in kernel order (sign and magnitude); calls acc(arg, index, out) for
 * each, twice. */
typedef void qx_hist_acc_fn(const void *arg, uint32_t index, double step, struct qx_hist_acc *out);
bool qx_hist_fill_main(struct qx_hist *h, double key_scale, qx_hist_acc_fn *fn, const void *arg);

/* One build. */
struct qx_hist_job {
    const struct qx_tensor *t;
    struct qx_channels channels;
    struct qx_pool *pool;
    struct qx_ctl *ctl;
    struct qx_hist *h;
    struct qx_error *err;
};

/* First pass: h->f.stats but for p999. */
enum qx_status qx_hist_pass_stats(const struct qx_hist_job *job);
/* Parts of the two passes, for values that come from elsewhere (hist_stream.c). */
struct qx_hist_moments {
    double n, mean, m2;
};
void qx_hist_merge_moments(struct qx_hist_moments *m, const struct qxk_stats *b);
void qx_hist_finish_stats(struct qx_stats *s, const struct qxk_stats *total,
                          const struct qx_hist_moments *m);
/* Units of granularity tensor; stats are known. False when out of memory. */
bool qx_hist_whole_unit(struct qx_hist *h);
float qx_hist_key_scale(enum qx_dtype dtype, double absmax);
float qx_hist_lin_scale(double absmax);
/* Tables and linear bins from sums made with these scales. False when out of memory. */
bool qx_hist_fill_floats(struct qx_hist *h, float key_scale, float lin_scale,
                         const struct qxk_hist *acc);
/* Second pass, granularity tensor; stats are known. */
enum qx_status qx_hist_pass_tensor(const struct qx_hist_job *job);
/* Ranges of the units, then the normalised histogram; granularity channel or group. */
enum qx_status qx_hist_pass_units(const struct qx_hist_job *job);

/* A part of a tensor copied out for a sampled build. */
struct qx_hist_sample {
    struct qx_tensor t;
    struct qx_channels channels;
    int64_t *unit_of; /* [units of the sample] in the whole tensor; NULL for granularity tensor */
    void *data;
};
enum qx_status qx_hist_sample_take(const struct qx_tensor *t, const struct qx_hist_spec *spec,
                                   int64_t n, struct qx_hist_sample *out, struct qx_error *err);
void qx_hist_sample_release(struct qx_hist_sample *s);

/* Runs of one unit. A tensor is cut into tiles of whole channels, whatever the number of threads. */
struct qx_rows {
    const struct qx_tensor *t;
    struct qx_channels c;
    int64_t group;     /* 0: the unit is the channel */
    int64_t row_len;   /* elements of a channel */
    int64_t per_row;   /* units of a channel */
    int64_t tile_rows; /* channels of a tile */
    int64_t n_tiles;
    bool is_gathered; /* channels are strided: runs are collected first */
};
struct qx_rows qx_rows_of(const struct qx_tensor *t, struct qx_channels c, int64_t group);
/* Two buffers of QX_HIST_BLOCK floats. */
struct qx_rows_buf {
    float *in, *out;
};
/* n elements of `unit`, in storage order. */
typedef void qx_rows_fn(void *arg, int64_t unit, const float *x, size_t n);
/* All runs of one tile; of a channel in order. Stops early when cancelled. */
void qx_rows_tile(const struct qx_rows *r, int64_t tile, const struct qx_rows_buf *buf,
                  struct qx_ctl *ctl, qx_rows_fn *fn, void *arg);

#endif

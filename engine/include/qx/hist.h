/* The value histogram: 65,536 half-key bins from which every threshold and bit width is answered in
 * O(levels), whatever the size of the tensor.
 *
 * Bin index = bit pattern of round-toward-zero FP16 of u * 2^k. For granularity tensor u = x and
 * k = 15 - floor(log2 absmax) (0 for F16 data: lossless). For channel and group granularity u is the
 * value divided by its own channel's (group's) absmax a (symmetric) or anchored at zero by its own
 * max - min (asymmetric), so one histogram answers for all of them (ux.md 4.3). */
#ifndef QX_HIST_H
#define QX_HIST_H

#include "qx/job.h"
#include "qx/status.h"
#include "qx/tensor.h"

#include <stdbool.h>
#include <stdint.h>

enum qx_gran { QX_GRAN_TENSOR, QX_GRAN_CHANNEL, QX_GRAN_GROUP };

enum { QX_HIST_BINS = 65536, QX_HIST_LIN = 2048 };

/* Exact statistics of all stored values (first pass). NaN when there is no finite value. */
struct qx_stats {
    int64_t n; /* finite values */
    int64_t n_nan, n_inf, n_zero;
    int64_t first_nonfinite;            /* element index, -1 when none */
    double min, max, absmax, mean, std; /* std: population */
    double p999;                        /* nearest rank of |x| at 99.9 % (from the histogram) */
    bool is_exact;                      /* every element was read (else sampled) */
};

/* How the values are laid out for one histogram. */
struct qx_hist_spec {
    enum qx_gran gran;
    int64_t group; /* group size for QX_GRAN_GROUP */
    bool sym;
    struct qx_channels channels;
};

/* Ranges of the units (channels or groups; one for granularity tensor): absmax, min, max of the finite
 * values, each [n_units], 0 where there are none. Unit = channel * groups of a channel + group. Of a
 * sampled histogram, units that were not read have 0, the others may be narrower than the truth. */
struct qx_units {
    int64_t n;
    const float *lo, *hi, *absmax;
};

/* Values as they lie along the inputs of a channel (qx_channels_rows), for formats that see neighbours: n runs
 * of QX_HIST_PIECE values, of which len[i] count, each from a multiple of that on, drawn evenly over the
 * tensor. is_whole: that is all there is. n = 0 for values that were nowhere at once. */
enum { QX_HIST_PIECE = 256, QX_HIST_PIECES = 64 };
struct qx_hist_pieces {
    int64_t n;
    const float *x;     /* [n][QX_HIST_PIECE] */
    const int32_t *len; /* [n] */
    bool is_whole;
};

struct qx_hist; /* immutable after build; shared by reference count */
/* Place in its row of the first value of piece i. */
int64_t qx_hist_piece_first(const struct qx_hist *h, int64_t i);

/* Build from a tensor. n_sample = 0 reads everything (two streaming passes, exact, badge plain or,
 * for F32 data, within 1e-6 relative); n_sample > 0 reads about that many values in runs
 * of 1,024 contiguous ones (badge "sampling"; stats are of the sample).
 *   pool  NULL = serial; the result does not depend on the number of threads
 * QX_EUNSUPPORTED (dtype), QX_ECANCELLED, QX_ENOMEM. An empty tensor or one without finite values
 * gives a valid histogram with n = 0. Cost per element and core: tensor 0.7 ns (16-bit), 3 ns (F32);
 * channel and group 5 to 8 ns, asymmetric ones 11 to 14.
 * Memory: 64 bytes per bin that holds a value (at most 4 MiB; Gaussian F32 weights about 1.5, BF16
 * 0.3) + 150 KiB; asymmetric channel and group histograms add up to 8 MiB of classes. While building:
 * 2.7 MiB per thread, channel and group 5 (asymmetric 11).
 * The pages of `t` stay resident: callers of a full build call qx_model_dontneed when it is done. */
struct qx_pool;
enum qx_status qx_hist_build(const struct qx_tensor *t, const struct qx_hist_spec *spec,
                             int64_t n_sample, struct qx_pool *pool, struct qx_ctl *ctl,
                             struct qx_hist **out, struct qx_error *err);
/* A histogram folded up: immutable, granularity tensor, symmetric. Memory: about 10 bytes a bin that holds a
 * value and 22 KiB; whatever up to 2^28 values are, at most 0.8 MiB. Unpacking gives the same histogram every time,
 * bit by bit. O(bins). */
struct qx_hist_packed;
enum qx_status qx_hist_unpack(const struct qx_hist_packed *p, struct qx_hist **out,
                              struct qx_error *err);
const struct qx_stats *qx_hist_packed_stats(const struct qx_hist_packed *p);
/* As bytes of this host, borrowed; and from such bytes (QX_EFORMAT, QX_ENOMEM). What they say is not checked
 * beyond memory safety: keep a checksum. */
const void *qx_hist_packed_data(const struct qx_hist_packed *p, size_t *len);
enum qx_status qx_hist_packed_read(const void *data, size_t len, struct qx_hist_packed **out);
void qx_hist_packed_free(struct qx_hist_packed *p); /* NULL allowed */
/* Unpacks through a shelf of the last few that were asked for; they lie there until it is freed, which must be
 * before any of the packed ones is. Any thread. *out: unref. */
enum { QX_HIST_SHELF = 4 };
struct qx_hist_shelf;
struct qx_hist_shelf *qx_hist_shelf_new(void); /* NULL when out of memory */
void qx_hist_shelf_free(struct qx_hist_shelf *s);
enum qx_status qx_hist_shelf_take(struct qx_hist_shelf *s, const struct qx_hist_packed *p,
                                  struct qx_hist **out, struct qx_error *err);

/* A histogram of values that are nowhere at once (activations): they come twice, in blocks. First every
 * block's stats, one thread per block, then qx_hist_stream_turn, then their bins. Blocks are numbered
 * 0..n_blocks-1; results do not depend on threads. Stats of a block may be called again: adds. Memory: what is
 * packed and 24 KiB; while bins are added, that of the stream once more. */
struct qx_hist_stream;
struct qx_hist_stream_work; /* one per thread of the second pass, 1.1 MiB */
enum qx_status qx_hist_stream_new(int64_t n_blocks, struct qx_hist_stream **out,
                                  struct qx_error *err);
void qx_hist_stream_free(struct qx_hist_stream *s); /* NULL allowed */
void qx_hist_stream_stats(struct qx_hist_stream *s, int64_t block, const float *x, int64_t n);
/* Finite range of one block so far; *lo > *hi when it has no finite value. */
void qx_hist_stream_range(const struct qx_hist_stream *s, int64_t block, float *lo, float *hi);
void qx_hist_stream_turn(struct qx_hist_stream *s);
struct qx_hist_stream_work *qx_hist_stream_work_new(void); /* NULL when out of memory */
void qx_hist_stream_work_free(struct qx_hist_stream_work *work);
void qx_hist_stream_bins(struct qx_hist_stream *s, struct qx_hist_stream_work *work, const float *x,
                         int64_t n);
/* Once, at the end. QX_ENOMEM here and where the bins found no memory. */
enum qx_status qx_hist_stream_take(struct qx_hist_stream *s, struct qx_hist_packed **out,
                                   struct qx_error *err);

struct qx_hist *qx_hist_ref(struct qx_hist *h);
void qx_hist_unref(struct qx_hist *h); /* NULL allowed; frees with the last reference */

/* Cache file form (versioned, checksummed, host byte order). Load returns QX_EFORMAT for anything
 * else, and the caller rebuilds. `key` (hash of file identity, tensor, spec) must match. */
enum qx_status qx_hist_save(const struct qx_hist *h, const char *path, uint64_t key,
                            struct qx_error *err);
enum qx_status qx_hist_load(const char *path, uint64_t key, struct qx_hist **out,
                            struct qx_error *err);

const struct qx_hist_spec *qx_hist_spec(const struct qx_hist *h);
const struct qx_stats *qx_hist_stats(const struct qx_hist *h);
const struct qx_units *qx_hist_units(const struct qx_hist *h);
/* Every sum over this histogram is exact (point masses only: 16-bit data), not just bounded. */
bool qx_hist_lossless(const struct qx_hist *h);
uint64_t qx_hist_bytes(const struct qx_hist *h); /* memory held */
/* Moments of a 64-bit-integer or F64 tensor went through float32. */
bool qx_hist_rounded(const struct qx_hist *h);
const struct qx_hist_pieces *qx_hist_pieces(const struct qx_hist *h);

/* Display: counts of x in n_cells equal cells over [lo, hi]; out[n_cells]; below and beyond get what
 * lies outside. u units for channel and group histograms. O(bins) at most, no allocation. */
void qx_hist_fold(const struct qx_hist *h, double lo, double hi, int n_cells, double *out,
                  double *below, double *beyond);
/* 2,048 linear bins of |u| over [0, top]; top = absmax (1 for channel and group). */
const double *qx_hist_linear(const struct qx_hist *h, double *top);
/* Smallest |u| with at least fraction p of the mass at or below it (nearest rank), p in (0, 1].
 * signed: the same over signed u. */
double qx_hist_quantile_abs(const struct qx_hist *h, double p);
double qx_hist_quantile(const struct qx_hist *h, double p);

#endif

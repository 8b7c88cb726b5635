/* Measuring speed: of kernels, of the machine, and of one network in the number formats one would
 * ship it in. Every figure is wall-clock time of this process on this machine, now; kernels on one
 * thread are timed by the processor's clock of that thread, so that other programs drop out. */
#ifndef QX_BENCH_H
#define QX_BENCH_H

#include "qx/eval.h"

/* ---- the machine ---- */

/* What one core can do at most, measured by a loop from registers and by a plain read of memory. */
struct qx_machine {
    double peak_gops;     /* 8-bit multiply-adds, two operations each; 0 for the portable rung */
    const char *peak_how; /* the instruction; static */
    double read_gbs;      /* 256 MiB read front to back; 0 where it cannot be measured */
};
/* About half a second. 256 MiB for that time. */
void qx_machine_measure(struct qx_machine *out);

/* ---- kernels ---- */

/* One matrix product y[m][n] = a[m][k] w[n][k] by one kernel, weights packed beforehand. */
struct qx_kernel_row {
    char shape[48];      /* "16x768x768": m, n, k */
    char kernel[48];     /* operation and rung: "gemm_u8s8 avx512vnni" */
    const char *weights; /* "f32", "s8", "s4:32", "s4:128"; static */
    int threads;
    double gops;           /* 2 m n k operations in the median time, 1e9 a second */
    double gbs;            /* weights read once, 1e9 bytes a second */
    double peak_share;     /* of the peak of that many cores; NaN without a peak, and for f32 */
    double ratio_openblas; /* times as fast as float32 OpenBLAS in the same run (gemv for m = 1) */
    const char *note;      /* what is timed; static */
};
enum { QX_KERNEL_ROWS = 8 };
/* "MxNxK"; QX_ERANGE names what is wrong (each 1 to 2^20, at most 2^31 weights or values). */
enum qx_status qx_kernel_shape(const char *text, size_t len, int64_t mnk[3], struct qx_error *err);
/* Another library's product of the same codes, timed in the same rounds. */
struct qx_kernel_peer {
    const char *name; /* static */
    /* y[m][n] = a[m][k] w[n][k], weights packed beforehand; NULL when it cannot. The arrays outlive it. */
    void *(*prepare)(const uint8_t *a, const int8_t *w, int32_t *y, int64_t m, int64_t n,
                     int64_t k);
    void (*run)(void *it);
    void (*dismiss)(void *it);
};
/* Times every kernel on the shape: five rounds in turn after one that warms up, the median counts.
 *   threads  0 = number of cores
 *   peer     NULL, or one more row; it is given one thread and is left out with more
 *   rows     [QX_KERNEL_ROWS], and one for the peer: gops 0 when it was left out
 * Memory: about 10 bytes a weight. Progress: QX_KERNEL_ROUNDS steps. QX_ENOMEM, QX_ECANCELLED. */
enum { QX_KERNEL_ROUNDS = 6 };
enum qx_status qx_kernel_bench(const int64_t mnk[3], const struct qx_machine *machine, int threads,
                               const struct qx_kernel_peer *peer, struct qx_ctl *ctl,
                               struct qx_kernel_row *rows, struct qx_error *err);
/* The shapes measured when none is named. */
extern const char *const qx_kernel_shapes;

/* ---- latency ---- */

/* Times of n runs. With fewer than QX_LATENCY_RUNS runs there are no percentiles: NaN. */
enum { QX_LATENCY_RUNS = 5 };
struct qx_latency {
    int n_warmup, n_runs;
    double best_ms, mean_ms;      /* NaN without a run */
    double p5_ms, p50_ms, p95_ms; /* nearest rank */
};
/* From times in seconds; sorts them. */
void qx_latency_of(double *times, int n, int n_warmup, struct qx_latency *out);
/* The figure to compare by: the median, or the mean of fewer runs. */
double qx_latency_ms(const struct qx_latency *l);

/* Calls step n_warmup times, then n_runs times with the clock running; ends at the first error or
 * cancel. QX_ERANGE (n_runs beyond 1 to 100,000, n_warmup beyond 0 to 100,000), QX_ENOMEM. */
typedef enum qx_status qx_latency_fn(void *arg, struct qx_error *err);
enum qx_status qx_latency_measure(qx_latency_fn *step, void *arg, int n_warmup, int n_runs,
                                  struct qx_ctl *ctl, struct qx_latency *out, struct qx_error *err);

/* Where the time of one sample goes: a layer's share is what a pass that goes on from it takes longer than
 * one that goes on from the next layer, so it holds the operations behind the layer too, and all shares
 * and the rest (what comes before the first layer) make up the pass. Medians of 3 to 25 rounds, about two
 * seconds; one thread. w as it is prepared, x one row; layer_ms [layers of the net], 0 for one that no
 * node reads. What qx_net_cut_new and qx_net_run_from return. */
enum qx_status qx_latency_layers(const struct qx_net *net, const struct qx_weights *w,
                                 const float *x, struct qx_ctl *ctl, double *layer_ms,
                                 double *rest_ms, struct qx_error *err);

/* ---- energy ---- */

/* Energy counters of the CPU packages (RAPL). */
enum { QX_ENERGY_PACKAGES = 8 };
struct qx_energy {
    int n;
    char reason[160];                  /* why there is none; "" when n > 0 */
    double joules[QX_ENERGY_PACKAGES]; /* of each package at the start */
    double range[QX_ENERGY_PACKAGES];  /* where each counter starts again */
    char path[QX_ENERGY_PACKAGES][128];
};
/* root NULL = /sys/class/powercap. */
void qx_energy_start(struct qx_energy *e, const char *root);
/* Joules of all packages since the start, whatever program used them; NaN without counters. */
double qx_energy_stop(const struct qx_energy *e);

/* ---- variants of a network ---- */

/* A number format to ship a network in: settings for its linear layers and how it is run. */
struct qx_variant {
    const char *name;  /* "int8-dynamic", as --variants takes it */
    const char *title; /* "INT8 dynamic" */
    const char *help;  /* one sentence */
    const char *format;
    int bits;       /* of integers; 0 for floating point */
    int64_t group;  /* inputs that share a scale; 0 = one scale a channel */
    bool is_static; /* ranges of activations: calibrated, else taken as they come (integers only) */
    bool converts;  /* 16-bit weights are all widened before every pass */
    bool is_weights; /* integers for weights only: activations stay float32 */
};
int qx_variant_count(void); /* the first is FP32 */
const struct qx_variant *qx_variant_at(int i);
/* Whatever the user's recipe says; not in the table: "recipe". */
extern const struct qx_variant qx_variant_recipe;
/* QX_ENAME names the nearest. */
enum qx_status qx_variant_find(const char *name, size_t len, const struct qx_variant **out,
                               struct qx_error *err);
/* For a linear layer of the net; ranges open. */
struct qx_setting qx_variant_setting(const struct qx_variant *v);
/* The engine that runs it: SIMULATED is float32 on float32 weights here. */
enum qx_engine qx_variant_engine(const struct qx_variant *v);

struct qx_bench_options {
    int n_runs; /* timed passes over one sample; 0 = 50, or as many as take about 3 s, at least 5 */
    int n_warmup;            /* before those; -1 = 5 */
    int64_t max_samples;     /* rows the accuracy is measured on; 0 = all */
    uint64_t seed;           /* that draws them */
    const char *energy_root; /* NULL = /sys/class/powercap */
};
struct qx_bench_options qx_bench_options_default(void);

/* What one variant costs and gives. */
struct qx_bench_figures {
    struct qx_latency latency; /* one sample, on all threads of the pool */
    double throughput;         /* samples a second in batches of `batch` */
    int64_t batch;
    double energy_j; /* a sample, during the batches; NaN without counters */
    char energy_reason[160];
    uint64_t weights_bytes; /* of the layers' weights in memory, as passes read them */
    double convert_ms;      /* the fastest widening of the weights for a pass; 0 without */
    enum qx_engine engine;
    char kernel
        [96]; /* of the matrix products: "gemm_u8s8 avx512vnni"; of several kinds, with the number
                        of layers: "3 gemm_u8s8 avx512vnni, 1 sgemm openblas" */
};
/* Times `w` as it is prepared, on rows of `data`. set [layers]: the settings that w holds; converts: as
 * in struct qx_variant. Progress in milliseconds of measuring. What
 * qx_net_run returns. Energy and throughput come from at least half a second of batches. */
enum qx_status qx_bench_run(const struct qx_net *net, const struct qx_model *model,
                            const struct qx_dataset *data, const struct qx_weights *w,
                            const struct qx_setting *set, bool converts,
                            const struct qx_bench_options *options, struct qx_pool *pool,
                            struct qx_ctl *ctl, struct qx_bench_figures *out, struct qx_error *err);
/* Bytes that a pass over one sample has to move at least, counted and not measured: the weights of
 * all layers once in the form the kernels read, and each layer's outputs written and read once. */
double qx_bench_bytes_moved(const struct qx_net *net, const struct qx_model *model,
                            const struct qx_setting *set, bool converts, enum qx_engine engine);

#endif

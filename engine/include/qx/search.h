/* Sensitivity and mixed precision of an open session: the map (qx/sensitivity.h) and the plan, a front of
 * recipes that trade size or latency against harm (qx/allocate.h). What was measured on P is kept with
 * the session's cache and never measured twice.
 *
 * Thread rule: as qx/session.h. */
#ifndef QX_SEARCH_H
#define QX_SEARCH_H

#include "qx/allocate.h"
#include "qx/sensitivity.h"
#include "qx/session.h"

/* ---- the map in the background ---- */

struct qx_map_state {
    bool is_building;  /* settings and histograms */
    bool is_measuring; /* sites for the prediction, or cells */
    int n_cells, n_measured, n_predicted;
    int n_left;       /* cells asked for and still to be measured */
    double cell_s;    /* what a cell took lately; NaN while none was measured */
    int64_t n_rows;   /* of P; 0 while unknown */
    char reason[256]; /* why cells stay ranks: no network, no data, or a failure; "" else */
};
/* Columns of the map from now on (the default: 2, 3, 4, 5, 6, 8 bits of weights). */
void qx_session_map_columns(struct qx_session *s, const struct qx_sens_column *columns, int n);
/* Build the map, or build it anew when layers changed in what its settings keep (granularity and so on);
 * embedding tables are on it once the recipe quantizes them:
 * first ranks, then predictions layer by layer. Cheap when nothing is to be done: call it on every draw. */
void qx_session_map_want(struct qx_session *s);
/* Borrowed until the next qx_session_poll; NULL while there is none. */
const struct qx_sens *qx_session_map(const struct qx_session *s);
void qx_session_map_state(const struct qx_session *s, struct qx_map_state *out);
/* Item of row `layer`, -1 beyond the end; and the row of an item, -1 when it has none. */
int64_t qx_session_map_item(const struct qx_session *s, int layer);
int qx_session_map_layer(const struct qx_session *s, int64_t item);
/* Measure one cell next. */
void qx_session_map_measure(struct qx_session *s, int layer, int column);
/* Measure the n cells most worth it, in that order; 0 stops. */
void qx_session_map_measure_all(struct qx_session *s, int n);

/* ---- the plan ---- */

enum qx_mixed_mode { QX_MIXED_DP, QX_MIXED_GREEDY, QX_MIXED_CLOSED };
/* "dp", "greedy", "closed-form"; QX_ENAME. */
enum qx_status qx_mixed_mode_find(const char *name, enum qx_mixed_mode *out, struct qx_error *err);
const char *qx_mixed_mode_name(enum qx_mixed_mode mode);

struct qx_mixed_options {
    enum qx_mixed_mode mode;
    bool by_latency; /* the cost is milliseconds of one sample, measured here; else bytes */
    double max_bytes, max_bpw, max_latency_ms; /* infinite = no limit */
    int n_points;                              /* at most; 0 = 32 */
    const bool *keep; /* [rows of the map] stays as the recipe has it; NULL = none */
    /* [rows] rows of one number >= 0 take the same column; NULL: in a network on sequences those that read
     * the same values (q, k and v; gate and up), else none */
    const int *tie;
};
struct qx_mixed_options qx_mixed_options_default(void);

struct qx_point {
    uint64_t bytes;         /* of the model, as struct qx_totals */
    double bits_per_weight; /* the same */
    double latency_ms;      /* sum of the layers' times; NaN when not asked for */
    enum qx_sens_basis basis;
    double harm; /* KL of the whole on P, nats; RANK: sum of squared relative errors, no unit */
    /* PREDICTED and MEASURED: accuracy on the evaluation data (agreement with float32 without labels); of a
     * language model float32's perplexity over this one's */
    double value, lo, hi;
    bool is_within_noise; /* PREDICTED: the data cannot show the loss */
    int64_t n_rows;       /* MEASURED: rows */
};

/* Points by cost ascending, harm descending. Immutable but for what is measured. */
struct qx_mixed;
int qx_mixed_n(const struct qx_mixed *p);
const struct qx_point *qx_mixed_point(const struct qx_mixed *p, int i);
/* The point to suggest: the least harm within the limits; without limits the smallest whose loss the data
 * cannot show. */
int qx_mixed_best(const struct qx_mixed *p);
/* Column of the map that row `layer` takes at point i; -1 = as the recipe had it. */
int qx_mixed_column(const struct qx_mixed *p, int i, int layer);
/* Greedy: its steps so far as text, one line each ("conv2.weight: 8 -> 4, ..."); NULL beyond the end. */
const char *qx_mixed_step(const struct qx_mixed *p, int i);
void qx_mixed_free(struct qx_mixed *p); /* NULL allowed */

/* Make a plan in the background, from the map as it is then (built and predicted first). */
void qx_session_mixed_want(struct qx_session *s, const struct qx_mixed_options *options);
/* Borrowed until the next qx_session_poll; NULL while there is none. */
const struct qx_mixed *qx_session_mixed(const struct qx_session *s);
/* The map that its columns speak of; NULL while there is none. */
const struct qx_sens *qx_session_mixed_map(const struct qx_session *s);
bool qx_session_mixed_busy(const struct qx_session *s);
const char *qx_session_mixed_reason(const struct qx_session *s); /* why there is none; "" else */
/* Make the recipe that of point i: one undo step. QX_ERANGE. */
enum qx_status qx_session_mixed_load(struct qx_session *s, int i, struct qx_error *err);
/* What a recipe that is not a point does: the current one, at once from the table. basis NONE while
 * nothing can be said. */
void qx_session_mixed_now(struct qx_session *s, struct qx_point *out);

/* ---- the purse: a fixed size ---- */

/* Give `item` that many bits and let the items with pays[i] true (at most as many bits as now) pay with
 * the least harm, so that the size stays what it is: one undo step. *n_paid: how many became smaller.
 * QX_EDATA when they cannot pay. */
enum qx_status qx_session_purse(struct qx_session *s, int64_t item, int bits, const bool *pays,
                                int *n_paid, struct qx_error *err);
/* The best exchange at the size of now (qx_alloc_trade), as items and columns of the map. QX_EDATA while
 * there is no map; up -1 when no exchange helps. */
struct qx_trade {
    int64_t up, down; /* items; down -1: nobody has to pay */
    int up_column, down_column;
    double gain;  /* KL, or squared relative error while the map has ranks only */
    double bytes; /* that the raised one takes */
    bool is_rank;
};
enum qx_status qx_session_trade(struct qx_session *s, struct qx_trade *out, struct qx_error *err);
/* Do it: one undo step. */
enum qx_status qx_session_trade_take(struct qx_session *s, const struct qx_trade *trade,
                                     struct qx_error *err);

/* ---- the same in the caller's thread [blocking] ---- */

/* The map with predictions, and the n_measure cells most worth it measured (-1 = all). select [items]:
 * rows that count (NULL = linear weights, and embedding tables that the recipe quantizes). Cancelled while measuring, it keeps and returns what is done: QX_OK, and
 * *is_cut true. Progress in passes over P. Owned by the caller. */
enum qx_status qx_session_run_map(struct qx_session *s, const struct qx_sens_column *columns, int n,
                                  const bool *select, int n_measure, struct qx_ctl *ctl,
                                  struct qx_sens **out, bool *is_cut, struct qx_error *err);
/* The plan on a map that qx_session_run_map made, with the n_measure points next to the suggestion
 * measured on the evaluation data. */
enum qx_status qx_session_run_mixed(struct qx_session *s, const struct qx_sens *map,
                                    const struct qx_mixed_options *options, int n_measure,
                                    struct qx_ctl *ctl, struct qx_mixed **out, bool *is_cut,
                                    struct qx_error *err);
/* What values of the last qx_session_run_mixed are compared with: float32's accuracy on the evaluation
 * data; its perplexity of a language model; 1 without labels. */
double qx_session_mixed_fp32(const struct qx_session *s);
/* The recipe of point i, a whole document, as a value of w. False: out of memory, nothing was written. */
struct qx_jw;
bool qx_session_mixed_recipe(struct qx_session *s, const struct qx_sens *map,
                             const struct qx_mixed *p, int i, struct qx_jw *w);

#endif

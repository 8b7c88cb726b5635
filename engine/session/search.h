/* Map and plan of a session: what the host sees, and the tasks that make it. */
#ifndef QX_SESSION_SEARCH_H
#define QX_SESSION_SEARCH_H

#include "session/lane.h"
#include "session/mixed.h"

struct qx_search {
    /* rows: fixed at the first use */
    int n_rows; /* 0 = not yet */
    struct qx_sens_layer *layers;
    int64_t *item;
    const char **name;
    int *tie; /* rows of one number >= 0 read the same values (transformers), others -1 */

    struct qx_sens_column column[QX_SENS_COLUMNS];
    int n_columns; /* 0 = the default ones */

    /* host only */
    bool is_wanted;
    bool map_is_due;
    bool is_paused; /* cancelled or failed: until the host asks again */
    struct qx_sens *map;
    uint64_t map_key, failed_key;    /* of the settings it was made for; 0 = make it anew */
    uint64_t map_revision;           /* of the recipe when that was looked at last */
    int fill_row;                    /* rows before it are as the table says */
    struct qx_predict_entry **exact; /* cells measured here */
    int n_exact;
    struct qx_predict_table *table; /* the predictor's with those; NULL = none yet */
    int n_seen;                     /* entries that the predictor's had then */
    bool table_is_old;              /* cells were measured since */
    int64_t n_rows_p;               /* rows of P; 0 while unknown */
    struct qx_task *task_map, *task_site, *task_plan; /* out with the queue; NULL = none */
    int ask_layer, ask_column;                        /* a cell to measure first; -1 = none */
    int n_left;
    double cell_s;
    char reason[256];

    struct qx_mixed *plan;
    struct qx_sens *plan_map; /* what its columns mean */
    bool plan_wanted;
    uint64_t measured_key; /* of the measurement that its points know of */
    struct qx_mixed_options plan_options;
    bool *plan_keep; /* [rows] copies of the options' arrays */
    int *plan_tie;
    char plan_reason[256];
    double fp32; /* batch: float32's accuracy, which the plan's values start from */
};

/* Zero struct allowed. After the lanes have stopped. */
void qx_search_release(struct qx_session *s);
/* Start what is due. */
void qx_search_work(struct qx_session *s);
bool qx_search_idle(const struct qx_session *s);
/* Rows of the map are still to be filled: the next turn goes on. */
bool qx_search_fills(const struct qx_session *s);
/* After a failure or cancel. */
void qx_search_retry(struct qx_session *s);

/* ---- search_rows.c: what tasks are made from ---- */

/* Rows of the map. QX_ENOMEM. */
enum qx_status qx_search_rows(struct qx_session *s, struct qx_error *err);
/* Rows that take part unless others are named: linear weights, and embedding tables that the recipe
 * quantizes. [rows] owned by the caller, NULL without memory. */
bool *qx_search_default(const struct qx_session *s);
/* Columns: the host's, or the default ones. */
int qx_search_columns(const struct qx_session *s, struct qx_sens_column *out);
bool qx_search_has_act(const struct qx_sens_column *columns, int n);
/* Settings of the rows, now; [rows] owned by the caller, NULL without memory. */
struct qx_setting *qx_search_settings(const struct qx_session *s);
/* Hash of what a map depends on: what settings keep when their bits change, and the columns. */
uint64_t qx_search_key(const struct qx_session *s);
/* Worker: the map of these settings, select [rows] (NULL = all). */
enum qx_status qx_search_map(struct qx_session *s, const struct qx_setting *now,
                             const struct qx_sens_column *columns, int n_columns,
                             const bool *select, struct qx_ctl *ctl, struct qx_sens **out,
                             struct qx_error *err);
/* Worker: ranges of `now` chosen, and what it does: change [rows]. */
enum qx_status qx_search_change(struct qx_session *s, struct qx_setting *now,
                                struct qx_predict_layer *change, struct qx_ctl *ctl,
                                struct qx_error *err);
/* Worker: sizes and the like of a plan's input; the other fields are the caller's. */
void qx_search_input(const struct qx_session *s, const struct qx_mixed_options *o,
                     const struct qx_sens *map, const struct qx_setting *now,
                     struct qx_mixed_input *out);
/* Time of one sample: ms [rows, columns] of each row at each weight column, and what no row accounts for. */
enum qx_status qx_search_latency(struct qx_session *s, const struct qx_sens *map,
                                 const struct qx_setting *now, struct qx_ctl *ctl, double *ms,
                                 double *rest_ms, struct qx_error *err);
double qx_search_kept_ms(const struct qx_sens *map, const struct qx_mixed_options *o,
                         const double *ms);
/* The recipe was measured: a point that is it knows now. */
void qx_search_measured(struct qx_session *s);
/* Can anything be run? */
bool qx_search_can(const struct qx_session *s);

#endif

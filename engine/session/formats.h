/* The table of formats of one item, filled row by row while the host looks at it, and measured row by row where it
 * asks for that. */
#ifndef QX_SESSION_FORMATS_H
#define QX_SESSION_FORMATS_H

#include "qx/formats.h"
#include "qx/moments.h"
#include "session/lane.h"

/* Inputs of a layer, shared by the tasks that look at them; counted by the host. */
struct qx_formats_inputs {
    int refs, layer;
    struct qx_moments *moments;
};

struct qx_formats {
    int64_t item; /* -1 = none */
    struct qx_setting base;
    int n, n_plain; /* n_plain: without what the tensor has now */
    struct qx_formats_row row[QX_FORMATS_MOST];
    bool has_failed[QX_FORMATS_MOST];
    uint64_t serial;      /* of what rows are: tasks of another one are stale */
    struct qx_task *task; /* a row, out with the preview lane; NULL = none */
    struct qx_task *inputs_task;
    struct qx_formats_inputs *inputs; /* NULL = none yet */
    int refused_layer;                /* whose inputs cannot be had; -1 = none */
    char reason[256];
    int polls;                 /* since somebody asked */
    uint64_t predicted_serial; /* of the composition that predictions were made from; 0 = none */

    bool is_wanted[QX_FORMATS_MOST];        /* to be measured */
    uint64_t measured_key[QX_FORMATS_MOST]; /* of the recipe that row.measured is of; 0 = none */
    struct qx_task *measure_task;           /* out with the queue; NULL = none */
    uint64_t measure_key;                   /* of its recipe */
    double measure_s;                       /* what a row took lately; 0 = none measured */
    char measure_reason[256];               /* why the last one failed; "" else */
};

/* ---- formats.c: any thread ---- */

/* Rows of a table, nothing known; returns how many. */
int qx_formats_rows(const struct qx_setting *base, struct qx_formats_row *rows);
bool qx_formats_wants_hist(const struct qx_setting *set);
/* Figures of a row: metrics (unless they are there), and the outputs' error when moments are given, or, by the item's
 * importance, with is_diagonal.
 * hist: where its range is still open. */
enum qx_status qx_formats_row_make(const struct qx_item *it, const struct qx_hist *hist,
                                   const struct qx_moments *moments, bool is_diagonal,
                                   struct qx_pool *pool, struct qx_ctl *ctl,
                                   struct qx_formats_row *row, struct qx_error *err);
void qx_formats_front(struct qx_formats_row *rows, int n);
/* Can a layer's moments stand for another's, that is, do both read the same? */
bool qx_formats_same_inputs(const struct qx_net *net, int layer, const struct qx_moments *m);
/* Those of the float32 network. */
enum qx_status qx_formats_moments(struct qx_session *s, int layer, struct qx_ctl *ctl,
                                  struct qx_moments **out, struct qx_error *err);
/* What the row does to its layer (before: what the recipe does), for the prediction. */
struct qx_predict_layer qx_formats_change(const struct qx_formats_row *row,
                                          const struct qx_predict_layer *before);

/* What the layer has then, inputs included. */
struct qx_setting qx_formats_put(const struct qx_formats_row *row, const struct qx_setting *before);
/* Settings of the network's layers with the row in its item's place, [layers]; NULL without memory. Free with
 * qx_mem_free. */
struct qx_setting *qx_formats_settings(const struct qx_session *s, int64_t item,
                                       const struct qx_formats_row *row);

/* ---- formats_measure.c: host thread ---- */

/* Rows take what is measured of them; the next one wanted is started. */
void qx_formats_measure_work(struct qx_session *s);
/* Nothing is wanted any more. */
void qx_formats_measure_forget(struct qx_session *s);
/* After a failure or cancel: the row of this setting, where the table has it. */
bool qx_formats_measure_retry(struct qx_session *s, int64_t item, const struct qx_setting *set);

/* ---- formats_job.c: host thread ---- */

void qx_formats_init(struct qx_session *s);
void qx_formats_release(struct qx_session *s); /* after the lanes have stopped */
void qx_formats_work(struct qx_session *s);
/* Nothing is left to do that would need another poll. */
bool qx_formats_idle(const struct qx_session *s);

#endif

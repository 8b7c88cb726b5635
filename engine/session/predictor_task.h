/* A task of the predictor: in the queue lane (predictor_build.c), given out and taken back by the host
 * (predictor_turn.c), or run in a batch's own thread (predictor_batch.c). */
#ifndef QX_SESSION_PREDICTOR_TASK_H
#define QX_SESSION_PREDICTOR_TASK_H

#include "session/session_impl.h"

struct qx_build_task {
    struct qx_task task;
    struct qx_session
        *s; /* worker: immutable parts, pool, ranges and measuring under their locks */
    uint64_t key;
    int64_t rows;
    bool is_asked; /* the table that grows is the one that is asked */
    bool is_early; /* one layer, and as if P were E */
    struct qx_predict_scale scale;
    struct qx_predict_want want;
    bool is_lite_done; /* full entries leave the pool to others */
    struct qx_predict_point *points[QX_POINTS_KEPT + 1];
    int n_points;
    /* a measured recipe whose KL on P is wanted; NULL = none */
    struct qx_setting *set;
    struct qx_predict_layer *change;
    struct qx_predict_point_info info;
    /* sites to be measured alone, and cells that the map measured */
    struct qx_exact_site *sites;
    int n_sites;
    uint64_t exact_key;
    struct qx_predict_entry **fresh;
    int n_fresh;
    bool is_draw; /* draw a configuration, measure it, and make a point of it */
    int draw;
    /* handed over and back */
    struct qx_predict_probe *probe;
    struct qx_calibration *calibration;
    struct qx_predict_table *table;
    struct qx_predict_anchors *anchors;
    /* results */
    struct qx_predict_point *point;
    bool is_lite, is_complete, is_without_act, is_exact_refused;
    int n_failures;
    struct qx_error why; /* of the last failure */
};

/* In the lane: does what it was asked for; being cancelled means to end early with what there is. */
enum qx_status qx_build_run(struct qx_task *t, struct qx_error *err);
void qx_build_drop(struct qx_task *t);
/* P and the entries kept on disk. */
enum qx_status qx_build_start(struct qx_build_task *b, struct qx_error *err);
/* Entries for about a slice, at least one; is_complete when none is missing. */
void qx_build_entries(struct qx_build_task *b);
/* In a batch's own thread: anchors and the composition of the recipe, with the entries that it needs and those of
 * the layers `also` [layers] (NULL: none). *out and *mix are to be freed, on failure too. */
enum qx_status qx_build_batch(struct qx_session *s, const struct qx_eval_options *options,
                              const bool *also, struct qx_ctl *ctl, struct qx_build_task **out,
                              struct qx_predict_mix **mix, struct qx_error *err);
/* Rows of P that are used first. row_s: a forward pass of one row. */
int64_t qx_build_rows_first(const struct qx_session *s, const struct qx_predict_scale *scale,
                            double eval_s);
int64_t qx_build_rows_goal(const struct qx_session *s, const struct qx_predict_scale *scale);
/* About how long a pass of so many rows takes, as far as that is known beforehand. */
double qx_build_pass_s(const struct qx_session *s, int64_t rows);
/* Does the recipe quantize the input of some layer? */
bool qx_build_any_act(const struct qx_session *s);

#endif

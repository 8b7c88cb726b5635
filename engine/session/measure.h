/* The measured accuracy: of FP32, of the recipe after each rest of the hand, of snapshot A. Latest
 * wins; nothing is measured twice. */
#ifndef QX_SESSION_MEASURE_H
#define QX_SESSION_MEASURE_H

#include "qx/predict.h"
#include "session/lane.h"

struct qx_gauge;

enum { QX_RESULTS_KEPT = 32 };

struct qx_measure {
    struct qx_result_slot {
        uint64_t key; /* qx_measure_key */
        struct qx_eval_result *result;
        uint64_t used;
    } slot[QX_RESULTS_KEPT];
    uint64_t clock;
    uint64_t key_fp32, key_b, key_a;             /* of what they are now */
    struct qx_task *task_fp32, *task_b, *task_a; /* out with the queue lane; NULL = none */
    uint64_t task_b_key, task_a_key;
    uint64_t refused_key; /* cancelled by the user: not started again by itself */
    uint64_t failed_key, failed_fp32;
    char reason[256];

    bool *is_layer; /* [items] the network's layers: what a key speaks of */
    pthread_mutex_t weights_lock;
    struct qx_weights *weights; /* made by the first measurement; under weights_lock */

    bool is_auto, is_wanted; /* is_wanted: the next pass measures whatever is_auto says */
    uint64_t last_key;       /* of the last measured recipe; 0 = none */
    uint64_t last_revision;
    int64_t last_moves;
    struct qx_eval_pair pair; /* FP32 against that */
    bool has_pair;
    bool has_new; /* results that are not on disk */
    double eval_time_s;
};

enum qx_status qx_measure_init(struct qx_session *s, struct qx_error *err);
void qx_measure_release(struct qx_session *s); /* after the lanes have stopped */
/* The recipe (B) or snapshot A changed. */
void qx_measure_touched(struct qx_session *s);
void qx_measure_a_touched(struct qx_session *s);
/* Start what is due. */
void qx_measure_work(struct qx_session *s, double now_s);
/* Seconds until something is due; negative = nothing. */
double qx_measure_due(const struct qx_session *s, double now_s);
bool qx_measure_can(const struct qx_session *s);
/* Network and data are there; else what opening them said. */
enum qx_status qx_measure_ready(const struct qx_session *s, struct qx_error *err);
/* Retry or user's cancel of a measurement. */
void qx_measure_retry(struct qx_session *s, enum qx_which which);
void qx_measure_cancelled(struct qx_session *s, const struct qx_task *t);
/* Settings of the network's layers under a recipe (NULL: float32), [layers]; NULL without memory. Free
 * with qx_mem_free. */
struct qx_recipe;
struct qx_setting *qx_measure_settings(const struct qx_session *s, const struct qx_recipe *r);
/* Measure under these settings of the network's layers, in the calling thread. */
enum qx_status qx_measure_run(struct qx_session *s, const struct qx_setting *setting,
                              const struct qx_eval_options *options, struct qx_ctl *ctl,
                              struct qx_eval_result **out, struct qx_error *err);
/* A snapshot taken before its calibrators had chosen lets them choose now. False when histograms for that
 * are still to come. */
bool qx_measure_a_resolved(struct qx_session *s);
/* The same beside float32; *out is empty on failure. */
enum qx_status qx_measure_beside(struct qx_session *s, const struct qx_setting *setting,
                                 const struct qx_eval_options *options, struct qx_ctl *ctl,
                                 struct qx_beside *out, struct qx_error *err);
/* Stored result with this key; NULL when there is none. */
const struct qx_eval_result *qx_measure_find(struct qx_measure *m, uint64_t key);

/* Can a result be more than agreement: are there labels, or tokens that follow? */
bool qx_measure_has_truth(const struct qx_session *s);
/* What predictions are about, from FP32's result (NULL: not measured). */
struct qx_predict_scale qx_measure_scale(const struct qx_session *s,
                                         const struct qx_eval_result *fp32);
/* The last measured recipe as a value of such a scale, and the variance of a row's change. */
double qx_measure_value(const struct qx_gauge *g);
double qx_measure_flip(const struct qx_eval_pair *pair);

/* Takes the result. FP32, A, B and the last one measured stay whatever their age. */
void qx_measure_put(struct qx_measure *m, uint64_t key, struct qx_eval_result *result);

/* ---- results.c: between sessions ---- */
void qx_results_load(struct qx_session *s, const char *path);
void qx_results_save(struct qx_session *s, const char *path);

#endif

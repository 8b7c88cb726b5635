/* Ranges of activations: calibrated once a session, chosen per setting. */
#ifndef QX_SESSION_RANGES_H
#define QX_SESSION_RANGES_H

#include "session/lane.h"

enum { QX_ACT_ADVICE_KEPT = 16 };

struct qx_ranges {
    pthread_mutex_t lock;               /* of the first four */
    char *source;                       /* as the host named it; NULL = the folder's */
    int64_t generation;                 /* of the source */
    struct qx_calibration *calibration; /* NULL = none yet; never changed, only replaced */
    struct qx_session_calib info;
    /* host only */
    struct qx_task *task;    /* out with the queue lane; NULL = none */
    enum qx_calib_state end; /* how the last one ended: NONE, FAILED or CANCELLED */
    char reason[256];
    int64_t n_open; /* layers whose static range is still to be chosen */
    uint64_t seen_revision;
    struct qx_act_slot {
        bool is_used;
        int layer, bits;
        bool sym;
        struct qx_act_advice advice;
        struct qx_task *task;
        uint64_t used;
    } slot[QX_ACT_ADVICE_KEPT];
    uint64_t clock;
};

void qx_ranges_init(struct qx_session *s);
void qx_ranges_release(struct qx_session *s); /* after the lanes have stopped */
/* The calibration, made here when there is none. Any thread; unref it. */
enum qx_status qx_ranges_get(struct qx_session *s, struct qx_ctl *ctl, struct qx_calibration **out,
                             struct qx_error *err);
/* The rows that calibration runs on, and how many of them. *own: opened here, close it; NULL = borrowed.
 * QX_EDATA when there are none (noise is none). Any thread. */
enum qx_status qx_ranges_data(struct qx_session *s, struct qx_dataset **own,
                              const struct qx_dataset **out, int64_t *n_rows, struct qx_error *err);
/* Hash of weights, graph, program and rung: what float32 answers depend on beside the rows. */
uint64_t qx_ranges_net_hash(const struct qx_session *s);
bool qx_ranges_is_open(const struct qx_setting *set);
/* Fill the ranges still open among the settings [layers of the network]. Any thread. */
enum qx_status qx_ranges_resolve(struct qx_session *s, struct qx_setting *set, struct qx_ctl *ctl,
                                 struct qx_error *err);
/* The same for the recipe itself, in the host's thread. Nothing is done without a network. */
enum qx_status qx_ranges_resolve_recipe(struct qx_session *s, struct qx_ctl *ctl,
                                        struct qx_error *err);

/* ---- ranges_job.c: in the background; host thread ---- */

/* The recipe changed. */
void qx_ranges_touched(struct qx_session *s);
/* Ranges are open that a calibration, which is there or coming, will choose. */
bool qx_ranges_pending(const struct qx_session *s);
/* Ranges are open, and the user cancelled what would choose them. */
bool qx_ranges_refused(const struct qx_session *s);
/* Calibrate when ranges wait for it; let calibrators choose for at most about budget_s. */
void qx_ranges_work(struct qx_session *s, double budget_s);
/* Calibrate, unless that was done, runs, failed or was cancelled. */
void qx_ranges_start(struct qx_session *s);
/* What failed or was cancelled may be tried again. */
void qx_ranges_retry(struct qx_session *s);

#endif

/* What the recipe does to a few rows, measured while the hand is still on it (suffix replay): the newest
 * recipe that is there when the one before is done. Host thread. */
#ifndef QX_SESSION_REPLAYER_H
#define QX_SESSION_REPLAYER_H

#include "session/lane.h"

struct qx_replay_task;
struct qx_replayer {
    bool is_off;                 /* failed once: the log says why */
    struct qx_replay *replay;    /* NULL = none yet; the worker's while the task is out */
    struct qx_replay_task *task; /* made once, used again and again */
    bool is_out;
    struct qx_setting *seen; /* [layers] of the recipe with seen_key */
    uint64_t seen_key;
    int layer;      /* first one that this recipe changed against the one seen before it */
    double *time_s; /* [layers] what the last run from there took; 0 = unknown */
    bool has_result;
    uint64_t key, revision; /* of the recipe of the result */
    struct qx_replay_result result;
    struct qx_lead *leads; /* [rows] of that result; NULL = none */
};

void qx_replayer_release(struct qx_session *s); /* after the lanes have stopped */
/* Start what is due. No allocation but for the first time. */
void qx_replayer_work(struct qx_session *s);

#endif

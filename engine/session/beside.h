/* A recipe beside float32, asked for by Compare: what costs twice a measurement, in the background. */
#ifndef QX_SESSION_BESIDE_H
#define QX_SESSION_BESIDE_H

#include "session/lane.h"

struct qx_session;

enum { QX_BESIDE_KEPT = 4 };

struct qx_beside_state {
    struct {
        uint64_t key; /* of the recipe */
        struct qx_beside figures;
        bool is_known;
    } slot[QX_BESIDE_KEPT]; /* the oldest is replaced */
    int next;
    struct qx_beside same; /* what float32 is beside itself */
    struct qx_task *task;  /* out with the queue lane */
    uint64_t task_key;
    uint64_t failed_key; /* not tried again before a retry; 0 = none */
};

void qx_beside_close(struct qx_session *s); /* after the lanes have stopped */

#endif

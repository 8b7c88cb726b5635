/* Sentences and the one job that answers them. */
#ifndef QX_SESSION_TRIES_H
#define QX_SESSION_TRIES_H

#include "qx/tokenizer.h"
#include "qx/try.h"

#include "session/lane.h"

struct qx_tries {
    struct qx_tokenizer *tokenizer; /* opened by the first sentence */
    struct qx_try_slot {
        int serial;
        char *text;
        struct qx_ids ids;
        bool is_cut;
        struct qx_try_answer answer[QX_TRY_WHICH];
        uint64_t key[QX_TRY_WHICH]; /* of the settings that gave it */
    } slot[QX_TRY_SENTENCES];       /* newest first */
    int n, last_serial;
    uint64_t key[QX_TRY_WHICH];    /* of the settings now */
    uint64_t failed[QX_TRY_WHICH]; /* not tried again */
    struct qx_task *task;          /* out; NULL = none */
    struct qx_weights *weights;    /* of the task that is out, else of the host */
    char reason[256];
};
void qx_tries_release(struct qx_session *s); /* after the lanes have stopped */
/* Start what is missing. */
void qx_tries_work(struct qx_session *s);

#endif

/* Sentences and the one job that answers them. */
#ifndef QX_SESSION_TRIES_H
#define QX_SESSION_TRIES_H

#include "qx/tokenizer.h"
#include "qx/try.h"

#include "session/lane.h"

/* What a language model went on with. */
struct qx_said {
    struct qx_ids ids;
    char *text; /* NULL: nothing yet */
    int64_t n_same;
    size_t same_bytes;
    bool is_ended;
};

struct qx_tries {
    struct qx_tokenizer *tokenizer; /* opened by the first sentence */
    struct qx_try_slot {
        int serial;
        char *text;
        struct qx_ids ids;
        bool is_cut;
        struct qx_try_answer answer[QX_TRY_WHICH];
        struct qx_said said[QX_TRY_WHICH];
        uint64_t key[QX_TRY_WHICH]; /* of the settings that gave it */
    } slot[QX_TRY_SENTENCES];       /* newest first */
    int n, last_serial;
    struct qx_try_options options;
    uint64_t key[QX_TRY_WHICH];    /* of the settings now */
    uint64_t failed[QX_TRY_WHICH]; /* not tried again */
    struct qx_task *task;          /* out; NULL = none */
    bool is_stale;                 /* it was stopped because the settings have changed */
    struct qx_weights *weights;    /* of the task that is out, else of the host */
    char reason[256];
};
void qx_tries_init(struct qx_session *s);
void qx_tries_release(struct qx_session *s); /* after the lanes have stopped */
/* Try again what failed or was stopped. */
void qx_tries_retry(struct qx_session *s);

/* ---- language models (tries_words.c) ---- */

/* Go on with a prompt. `out` is zero, and stays so on failure. */
enum qx_status qx_said_make(const struct qx_net *net, const struct qx_weights *w,
                            const struct qx_tokenizer *t, const struct qx_ids *prompt,
                            const struct qx_try_options *o, struct qx_pool *pool,
                            struct qx_ctl *ctl, struct qx_said *out, struct qx_error *err);
void qx_said_release(struct qx_said *s); /* zeroed allowed */
/* How far the answers of a slot are FP32's. */
void qx_said_compare(const struct qx_tokenizer *t, struct qx_try_slot *slot);
/* Start what is missing. */
void qx_tries_work(struct qx_session *s);

#endif

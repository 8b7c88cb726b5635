#include "session/beside.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <stdio.h>
#include <string.h>

struct beside_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts, and weights under their lock */
    uint64_t key;
    struct qx_setting *setting; /* [layers] copied at submit */
    struct qx_beside figures;
};

static enum qx_status beside_run(struct qx_task *t, struct qx_error *err)
{
    struct beside_task *b = (struct beside_task *)t;
    const struct qx_eval_options all = {0};
    return qx_measure_beside(b->s, b->setting, &all, &t->ctl, &b->figures, err);
}

static void beside_drop(struct qx_task *t)
{
    struct beside_task *b = (struct beside_task *)t;
    qx_beside_release(&b->figures);
    qx_mem_free(b->setting);
    qx_mem_free(b);
}

static void message_of(const struct qx_beside *b, char *text, size_t cap)
{
    if (b->agreement.n > 0) {
        snprintf(text, cap, "cosine %.5f, Spearman %.4f, %.2f s", b->agreement.cosine,
                 b->agreement.spearman, b->agreement.time_s);
    } else {
        snprintf(text, cap, "KL divergence %.5f, same top token %.2f %%", b->divergence.kld_mean,
                 100 * b->divergence.same_top);
    }
}

/* The figures are kept, and of language models the recipe's tokens. */
static void beside_done(struct qx_session *s, struct qx_task *t)
{
    struct beside_task *b = (struct beside_task *)t;
    struct qx_beside_state *state = &s->beside;
    char text[128];
    state->task = state->task == t ? NULL : state->task;
    if (t->status == QX_OK) {
        message_of(&b->figures, text, sizeof text);
        qx_beside_release(&state->slot[state->next].figures);
        state->slot[state->next].key = b->key;
        state->slot[state->next].is_known = true;
        state->slot[state->next].figures = b->figures;
        state->slot[state->next].figures.fp32 = NULL;
        b->figures.recipe = NULL;
        state->next = (state->next + 1) % QX_BESIDE_KEPT;
    } else {
        state->failed_key = b->key;
    }
    qx_jobs_finish(&s->jobs, t, t->status == QX_OK ? text : NULL);
    s->news |= QX_NEWS_GAUGE | QX_NEWS_JOBS;
}

static void submit(struct qx_session *s, enum qx_which which, uint64_t key)
{
    struct beside_task *b = qx_mem_zalloc(sizeof *b);
    struct qx_beside_state *state = &s->beside;
    state->failed_key = key; /* until it is out */
    if (!b || !(b->setting = qx_measure_settings(s, which == QX_WHICH_A ? &s->a : &s->now))) {
        qx_mem_free(b);
        return;
    }
    b->task = (struct qx_task){.run = beside_run, .done = beside_done, .drop = beside_drop};
    b->s = s;
    b->key = key;
    struct qx_job *job = qx_jobs_add(&s->jobs, &b->task, QX_JOB_BESIDE);
    if (job) {
        job->which = which;
        snprintf(job->info.title, sizeof job->info.title, "%s of %s beside FP32",
                 qx_net_is_words(s->net) ? "divergence" : "embeddings",
                 which == QX_WHICH_A ? "snapshot A" : "the recipe");
    }
    state->failed_key = 0;
    state->task = &b->task;
    state->task_key = key;
    s->news |= QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, &b->task);
}

/* Are the ranges of the recipe all chosen? */
static bool is_settled(struct qx_session *s, enum qx_which which)
{
    return which == QX_WHICH_A ? s->has_a && qx_measure_a_resolved(s)
                               : !qx_pending_open(s) && !qx_ranges_pending(s);
}

static bool is_embedding(const struct qx_session *s)
{
    return strcmp(qx_net_task(s->net), "embedding") == 0;
}

const struct qx_beside *qx_session_beside(struct qx_session *s, enum qx_which which)
{
    struct qx_beside_state *state = &s->beside;
    if (!qx_measure_can(s) || which == QX_WHICH_FP32 || !is_settled(s, which) ||
        (!qx_net_is_words(s->net) && !is_embedding(s))) {
        return NULL;
    }
    const uint64_t key = which == QX_WHICH_A ? s->measure.key_a : s->measure.key_b;
    if (key == s->measure.key_fp32) {
        state->same.divergence.same_top = 1.0;
        if (is_embedding(s)) {
            state->same.agreement = (struct qx_agreement){.n = qx_dataset_n(s->data),
                                                          .cosine = 1.0,
                                                          .cosine_least = 1.0,
                                                          .spearman = 1.0,
                                                          .same_top = 1.0,
                                                          .same_top_lo = 1.0,
                                                          .same_top_hi = 1.0};
        }
        return &state->same;
    }
    for (int i = 0; i < QX_BESIDE_KEPT; i++) {
        if (state->slot[i].is_known && state->slot[i].key == key) {
            return &state->slot[i].figures;
        }
    }
    /* perplexity first: its coming also says that the hand rests */
    const bool is_due = is_embedding(s) || qx_session_result(s, which);
    if (state->task && state->task_key != s->measure.key_a && state->task_key != s->measure.key_b) {
        qx_task_cancel(state->task);
    }
    if (is_due && !state->task && key != state->failed_key) {
        submit(s, which, key);
    }
    return NULL;
}

void qx_beside_close(struct qx_session *s)
{
    for (int i = 0; i < QX_BESIDE_KEPT; i++) {
        qx_beside_release(&s->beside.slot[i].figures);
    }
}

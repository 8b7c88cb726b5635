#include "session/tries.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/json.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TRY_PRIORITY = 2 };

/* A task that is out answers for settings that no longer hold. */
static void stop_stale(struct qx_session *s, bool is_stale)
{
    struct qx_tries *t = &s->tries;
    if (t->task && is_stale) {
        t->is_stale = true;
        qx_task_cancel(t->task);
    }
}

/* ---- sentences ---- */

static bool is_words(const struct qx_session *s)
{
    return qx_net_is_words(s->net) && qx_decode_check(s->net, NULL) == QX_OK;
}

void qx_tries_init(struct qx_session *s)
{
    s->tries.options = (struct qx_try_options){.n_tokens = QX_TRY_TOKENS, .sampling.top_p = 1.0f};
}

enum qx_status qx_session_try_check(struct qx_session *s, struct qx_error *err)
{
    const bool is_net = s->net && qx_net_input_is_sequence(s->net) &&
                        (strcmp(qx_net_task(s->net), "classification") == 0 || is_words(s));
    if (!is_net) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       s->net ? "Sentences need a network that classifies texts or goes on with "
                                "them; this one does neither."
                              : "Sentences need a network that can be run; of this model only the "
                                "weights are known.");
    }
    if (s->tries.tokenizer) {
        return QX_OK;
    }
    const char *path = s->data_options.tokenizer;
    return qx_tokenizer_open(path ? path : qx_model_tokenizer(s->model), &s->tries.tokenizer, err);
}

char *qx_session_token(struct qx_session *s, int32_t id, char *buf, size_t cap)
{
    char *text = NULL;
    buf[0] = '\0';
    if (qx_session_try_check(s, NULL) == QX_OK &&
        qx_tokenizer_decode(s->tries.tokenizer, &id, 1, &text, NULL) == QX_OK) {
        for (char *c = text; *c; c++) {
            *c = (unsigned char)*c < ' ' ? ' ' : *c;
        }
        qx_str_copy(buf, cap, text);
        qx_free_text(text);
    }
    return buf;
}

static void slot_clear(struct qx_try_slot *slot)
{
    qx_mem_free(slot->text);
    qx_ids_release(&slot->ids);
    for (int w = 0; w < QX_TRY_WHICH; w++) {
        qx_said_release(&slot->said[w]);
    }
    *slot = (struct qx_try_slot){0};
}

/* Slot i comes first. */
static void slot_first(struct qx_tries *t, int i)
{
    const struct qx_try_slot slot = t->slot[i];
    memmove(t->slot + 1, t->slot, (size_t)i * sizeof *t->slot);
    t->slot[0] = slot;
}

enum qx_status qx_session_try(struct qx_session *s, const char *text, struct qx_error *err)
{
    struct qx_tries *t = &s->tries;
    enum qx_status st = qx_session_try_check(s, err);
    text += strspn(text, " \t");
    if (st == QX_OK && !*text) {
        st = qx_fail(err, QX_EDATA, "There is no sentence to try.");
    }
    for (int i = 0; i < t->n && st == QX_OK; i++) {
        if (strcmp(t->slot[i].text, text) == 0) {
            slot_first(t, i);
            return QX_OK;
        }
    }
    struct qx_try_slot slot = {.serial = t->last_serial + 1};
    const int64_t most = st == QX_OK ? qx_net_sample_size(s->net) : 0;
    if (st == QX_OK) {
        st = qx_tokenizer_encode(t->tokenizer, text, strlen(text), 0, 0, &slot.ids, err);
    }
    if (st == QX_OK && is_words(s) && slot.ids.n >= most) {
        st = qx_fail(err, QX_EDATA,
                     "The text has %lld tokens; the network takes %lld, what follows included.",
                     (long long)slot.ids.n, (long long)most);
    }
    slot.is_cut = st == QX_OK && slot.ids.n > most;
    if (slot.is_cut) {
        slot.ids.n = 0;
        st = qx_tokenizer_encode(t->tokenizer, text, strlen(text), 0, most, &slot.ids, err);
    }
    if (st == QX_OK) {
        slot.text = qx_mem_strdup(text);
        st = slot.text ? QX_OK : qx_fail_nomem(err, strlen(text));
    }
    if (st != QX_OK) {
        slot_clear(&slot);
        return st;
    }
    if (t->n == QX_TRY_SENTENCES) {
        slot_clear(&t->slot[--t->n]);
    }
    t->last_serial++;
    t->slot[t->n++] = slot;
    slot_first(t, t->n - 1);
    s->news |= QX_NEWS_TRY;
    return QX_OK;
}

void qx_session_try_forget(struct qx_session *s, int serial)
{
    struct qx_tries *t = &s->tries;
    for (int i = 0; i < t->n; i++) {
        if (t->slot[i].serial == serial) {
            slot_clear(&t->slot[i]);
            memmove(t->slot + i, t->slot + i + 1, (size_t)(t->n - i - 1) * sizeof *t->slot);
            t->slot[--t->n] = (struct qx_try_slot){0};
            s->news |= QX_NEWS_TRY;
            return;
        }
    }
}

int qx_session_n_tries(const struct qx_session *s)
{
    return s->tries.n;
}

bool qx_session_try_at(const struct qx_session *s, int i, struct qx_try *out)
{
    if (i < 0 || i >= s->tries.n) {
        return false;
    }
    const struct qx_try_slot *slot = &s->tries.slot[i];
    *out = (struct qx_try){.serial = slot->serial,
                           .text = slot->text,
                           .n_tokens = slot->ids.n,
                           .is_cut = slot->is_cut};
    for (int w = 0; w < QX_TRY_WHICH; w++) {
        out->answer[w] = slot->answer[w];
        out->answer[w].is_known = slot->answer[w].is_there && slot->key[w] == s->tries.key[w];
        out->answer[w].text = slot->said[w].text;
        out->answer[w].n_new = slot->said[w].ids.n;
        out->answer[w].n_same = slot->said[w].n_same;
        out->answer[w].same_bytes = slot->said[w].same_bytes;
        out->answer[w].is_ended = slot->said[w].is_ended;
    }
    return true;
}

enum qx_status qx_session_try_options(struct qx_session *s, const struct qx_try_options *o,
                                      struct qx_error *err)
{
    struct qx_tries *t = &s->tries;
    struct qx_sampler *sampler = NULL;
    if (o->n_tokens < 1 || o->n_tokens > 65536) {
        return qx_fail(err, QX_ERANGE, "%lld tokens to go on by: 1 to 65536 are possible",
                       (long long)o->n_tokens);
    }
    enum qx_status st = qx_sampler_new(&o->sampling, 1, &sampler, err);
    if (st != QX_OK) {
        return st;
    }
    qx_sampler_free(sampler);
    t->options = *o;
    for (int i = 0; i < t->n; i++) {
        for (int w = 0; w < QX_TRY_WHICH; w++) {
            t->slot[i].answer[w].is_there = false;
        }
    }
    stop_stale(s, true);
    return QX_OK;
}

const char *qx_session_try_reason(const struct qx_session *s)
{
    return s->tries.reason;
}

/* ---- answering ---- */

struct try_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts, and the weights */
    enum qx_which which;
    uint64_t key;
    struct qx_setting *setting; /* [layers] */
    int64_t n;                  /* sentences */
    int serial[QX_TRY_SENTENCES];
    float *x;              /* [n, sample size] */
    float *logits;         /* [n, classes] */
    enum qx_engine engine; /* that ran */
    /* language models */
    struct qx_try_options options;
    struct qx_ids prompt[QX_TRY_SENTENCES]; /* id only: copies */
    struct qx_said said[QX_TRY_SENTENCES];
};

static enum qx_status words_run(struct try_task *t, struct qx_error *err)
{
    struct qx_session *s = t->s;
    struct qx_ctl *ctl = &t->task.ctl;
    enum qx_status st = QX_OK;
    atomic_store(&ctl->done, 0);
    qx_ctl_total(ctl, t->n * t->options.n_tokens);
    for (int64_t i = 0; st == QX_OK && i < t->n; i++) {
        st = qx_said_make(s->net, s->tries.weights, s->tries.tokenizer, &t->prompt[i], &t->options,
                          s->pool, ctl, &t->said[i], err);
    }
    return st;
}

static enum qx_status try_run(struct qx_task *task, struct qx_error *err)
{
    struct try_task *t = (struct try_task *)task;
    struct qx_session *s = t->s;
    struct qx_tries *tries = &s->tries;
    struct qx_ctl *ctl = &task->ctl;
    enum qx_status st = qx_settings_resolve(s, t->setting, ctl, err);
    if (st == QX_OK && !tries->weights) {
        st = qx_weights_new_lazy(s->net, &tries->weights, err);
    }
    for (int i = 0; i < qx_net_n_layers(s->net) && st == QX_OK; i++) {
        st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the answer was not waited for")
                                 : qx_weights_set(tries->weights, i, &t->setting[i], err);
    }
    if (st == QX_OK) {
        st = qx_weights_prepare(tries->weights,
                                t->which == QX_WHICH_FP32 ? QX_ENGINE_AUTO : t->options.engine,
                                s->pool, ctl, err);
    }
    if (st != QX_OK) {
        return st;
    }
    t->engine = qx_weights_engine(tries->weights);
    return is_words(s)
               ? words_run(t, err)
               : qx_net_forward(s->net, tries->weights, t->x, t->n, t->logits, s->pool, ctl, err);
}

static void answer_take(struct qx_try_slot *slot, enum qx_which which, const float *z, int n)
{
    struct qx_try_answer *a = &slot->answer[which];
    int top = 0;
    for (int c = 1; c < n; c++) {
        top = z[c] > z[top] ? c : top;
    }
    double sum = 0.0;
    for (int c = 0; c < n; c++) {
        sum += exp((double)z[c] - (double)z[top]);
    }
    const int own = which == QX_WHICH_FP32 ? top : slot->answer[QX_WHICH_FP32].top;
    float other = -INFINITY;
    for (int c = 0; c < n; c++) {
        other = c != own && z[c] > other ? z[c] : other;
    }
    *a = (struct qx_try_answer){.is_there = true, .top = top, .margin = z[own] - other};
    for (int c = 0; c < n && c < QX_TRY_CLASSES; c++) {
        a->p[c] = (float)(exp((double)z[c] - (double)z[top]) / sum);
    }
}

static void said_take(struct qx_session *s, struct qx_try_slot *slot, enum qx_which which,
                      struct qx_said *said)
{
    qx_said_release(&slot->said[which]);
    slot->said[which] = *said;
    *said = (struct qx_said){0};
    slot->answer[which].is_there = true;
    qx_said_compare(s->tries.tokenizer, slot);
}

static void answers_take(struct qx_session *s, struct try_task *t)
{
    const int n_classes = qx_net_n_classes(s->net);
    for (int64_t k = 0; k < t->n; k++) {
        for (int i = 0; i < s->tries.n; i++) {
            struct qx_try_slot *slot = &s->tries.slot[i];
            if (slot->serial != t->serial[k]) {
                continue;
            }
            if (t->said[k].text) {
                said_take(s, slot, t->which, &t->said[k]);
            } else {
                answer_take(slot, t->which, t->logits + k * n_classes, n_classes);
            }
            slot->answer[t->which].engine = t->engine;
            slot->key[t->which] = t->key;
        }
    }
}

static void try_done(struct qx_session *s, struct qx_task *task)
{
    struct try_task *t = (struct try_task *)task;
    s->tries.task = NULL;
    if (task->status == QX_OK) {
        answers_take(s, t);
        s->tries.reason[0] = '\0';
    } else if (task->status == QX_ECANCELLED && s->tries.is_stale) {
        qx_jobs_forget(&s->jobs, task); /* of settings that have changed since */
    } else {
        s->tries.failed[t->which] = t->key;
        qx_str_copy(s->tries.reason, sizeof s->tries.reason, task->err.text);
        if (task->status != QX_ECANCELLED) {
            qx_log(QX_LOG_ERROR, "%s", task->err.text);
        }
    }
    s->tries.is_stale = false;
    qx_jobs_finish(&s->jobs, task, task->status == QX_OK ? "" : NULL);
    s->news |= QX_NEWS_TRY | QX_NEWS_JOBS;
}

static void try_drop(struct qx_task *task)
{
    struct try_task *t = (struct try_task *)task;
    qx_mem_free(t->setting);
    qx_mem_free(t->x);
    qx_mem_free(t->logits);
    for (int i = 0; i < QX_TRY_SENTENCES; i++) {
        qx_ids_release(&t->prompt[i]);
        qx_said_release(&t->said[i]);
    }
    qx_mem_free(t);
}

static void row_write(const struct qx_ids *ids, int64_t size, float *x)
{
    for (int64_t i = 0; i < size; i++) {
        x[i] = i < ids->n ? (float)ids->id[i] : -1.0f;
    }
}

/* The sentences that lack this answer, as a task; NULL: none, or no memory. */
static struct try_task *task_make(struct qx_session *s, enum qx_which which)
{
    const struct qx_tries *tries = &s->tries;
    const int64_t size = qx_net_sample_size(s->net);
    struct try_task *t = qx_mem_zalloc(sizeof *t);
    if (!t) {
        return NULL;
    }
    t->task = (struct qx_task){
        .run = try_run, .done = try_done, .drop = try_drop, .priority = TRY_PRIORITY};
    t->s = s;
    t->which = which;
    t->key = tries->key[which];
    t->setting = qx_measure_settings(s, which == QX_WHICH_FP32 ? NULL
                                        : which == QX_WHICH_A  ? &s->a
                                                               : &s->now);
    t->options = tries->options;
    t->x = qx_mem_array((size_t)tries->n, (size_t)size * sizeof *t->x);
    t->logits =
        qx_mem_array((size_t)tries->n, (size_t)qx_net_n_classes(s->net) * sizeof *t->logits);
    for (int i = 0; i < tries->n && t->x; i++) {
        const struct qx_try_slot *slot = &tries->slot[i];
        if (slot->answer[which].is_there && slot->key[which] == t->key) {
            continue;
        }
        row_write(&slot->ids, size, t->x + t->n * size);
        t->prompt[t->n].id = qx_mem_array((size_t)slot->ids.n, sizeof *slot->ids.id);
        if (!t->prompt[t->n].id) {
            try_drop(&t->task);
            return NULL;
        }
        memcpy(t->prompt[t->n].id, slot->ids.id, (size_t)slot->ids.n * sizeof *slot->ids.id);
        t->prompt[t->n].n = t->prompt[t->n].cap = slot->ids.n;
        t->serial[t->n++] = slot->serial;
    }
    if (!t->setting || !t->x || !t->logits || t->n == 0) {
        try_drop(&t->task);
        return NULL;
    }
    return t;
}

static void keys_update(struct qx_session *s)
{
    struct qx_tries *t = &s->tries;
    t->key[QX_WHICH_B] = qx_recipe_hash(&s->now, &s->items, s->measure.is_layer);
    t->key[QX_WHICH_A] = s->has_a ? qx_recipe_hash(&s->a, &s->items, s->measure.is_layer) : 0;
    t->key[QX_WHICH_FP32] = 1;
}

static bool is_missing(const struct qx_session *s, enum qx_which which)
{
    const struct qx_tries *t = &s->tries;
    if ((which == QX_WHICH_A && !s->has_a) || t->failed[which] == t->key[which]) {
        return false;
    }
    for (int i = 0; i < t->n; i++) {
        if (!t->slot[i].answer[which].is_there || t->slot[i].key[which] != t->key[which]) {
            return true;
        }
    }
    return false;
}

/* Classes come at once, a text takes its time and is listed. */
static void task_submit(struct qx_session *s, struct try_task *task)
{
    static const char *const titles[] = {"FP32", "snapshot A", "the recipe"};
    struct qx_job *job = is_words(s) ? qx_jobs_add(&s->jobs, &task->task, QX_JOB_TRY) : NULL;
    if (job) {
        snprintf(job->info.title, sizeof job->info.title, "%s goes on with the text",
                 titles[task->which]);
        s->news |= QX_NEWS_JOBS;
    }
    s->tries.task = &task->task;
    qx_lane_submit(is_words(s) ? &s->queue : &s->preview, &task->task);
}

void qx_tries_retry(struct qx_session *s)
{
    memset(s->tries.failed, 0, sizeof s->tries.failed);
    s->tries.reason[0] = '\0';
}

void qx_tries_work(struct qx_session *s)
{
    struct qx_tries *t = &s->tries;
    if (t->n == 0 || !s->preview.is_started) {
        return;
    }
    keys_update(s);
    stop_stale(s, t->task && ((struct try_task *)t->task)->key !=
                                 t->key[((struct try_task *)t->task)->which]);
    if (t->task || qx_pending_open(s) || qx_ranges_pending(s) || qx_methods_pending(s)) {
        return;
    }
    /* FP32 first: margins are of its class */
    static const enum qx_which order[] = {QX_WHICH_FP32, QX_WHICH_B, QX_WHICH_A};
    for (int i = 0; i < QX_TRY_WHICH && !t->task; i++) {
        struct try_task *task = is_missing(s, order[i]) ? task_make(s, order[i]) : NULL;
        if (task) {
            task_submit(s, task);
        }
    }
}

enum qx_status qx_session_run_tries(struct qx_session *s, struct qx_ctl *ctl, struct qx_error *err)
{
    static const enum qx_which order[] = {QX_WHICH_FP32, QX_WHICH_B, QX_WHICH_A};
    enum qx_status st = qx_session_run_resolve(s, ctl, err);
    keys_update(s);
    for (int i = 0; i < QX_TRY_WHICH && st == QX_OK; i++) {
        if (!is_missing(s, order[i])) {
            continue;
        }
        struct try_task *t = task_make(s, order[i]);
        if (!t) {
            return qx_fail_nomem(err, sizeof *t);
        }
        t->task.ctl.parent = ctl;
        st = try_run(&t->task, err);
        if (st == QX_OK) {
            answers_take(s, t);
        }
        try_drop(&t->task);
    }
    return st;
}

void qx_tries_release(struct qx_session *s)
{
    struct qx_tries *t = &s->tries;
    for (int i = 0; i < t->n; i++) {
        slot_clear(&t->slot[i]);
    }
    qx_weights_free(t->weights);
    qx_tokenizer_close(&t->tokenizer);
}

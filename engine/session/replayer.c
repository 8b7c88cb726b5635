#include "session/replayer.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <string.h>

enum { REPLAY_PRIORITY = 2 };

static const double limit_s = 0.15;    /* longer ones are no answer to a moving hand */
static const double first_limit_s = 3; /* the first of a layer is a whole pass */
static const double forget = 0.9;      /* a machine that was busy may be idle by now */

struct qx_replay_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts */
    uint64_t key, revision, max_bytes;
    int layer;                  /* that the hand is on */
    struct qx_setting *setting; /* [layers] copied at submit */
    struct qx_pool *pool; /* NULL while something in the queue lane has it for seconds at a time */
    struct qx_replay *replay; /* the session's, or made by this run */
    struct qx_replay_result result;
    struct qx_lead *leads; /* [rows] made once */
};

static enum qx_status replay_run(struct qx_task *t, struct qx_error *err)
{
    struct qx_replay_task *r = (struct qx_replay_task *)t;
    const struct qx_session *s = r->s;
    enum qx_status status = QX_OK;
    if (!r->replay) {
        status = qx_replay_new(s->net, s->data, 0, s->seed, r->max_bytes, r->pool, &t->ctl,
                               &r->replay, err);
    }
    const bool has_leads = !qx_net_is_words(s->net); /* places are no rows */
    if (status == QX_OK && has_leads && !r->leads) {
        const size_t n = (size_t)qx_replay_rows(r->replay);
        r->leads = qx_mem_array(n, sizeof *r->leads);
        status = r->leads ? QX_OK : qx_fail_nomem(err, n * sizeof *r->leads);
    }
    if (status == QX_OK) {
        status = qx_replay_run(r->replay, r->setting, r->pool, &t->ctl, &r->result, err);
    }
    if (status == QX_OK && has_leads) {
        qx_replay_leads(r->replay, r->leads);
    }
    return status;
}

static void replay_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_replay_task *r = (struct qx_replay_task *)t;
    struct qx_replayer *p = &s->replayer;
    p->is_out = false;
    p->replay = r->replay;
    if (t->status == QX_OK && r->key == s->measure.key_fp32) {
        /* P and what float32 says of it are ready for the first edit */
    } else if (t->status == QX_OK) {
        p->has_result = true;
        p->key = r->key;
        p->revision = r->revision;
        p->result = r->result;
        struct qx_lead *spare = p->leads;
        p->leads = r->leads;
        r->leads = spare;
        if (p->leads) {
            qx_flip_path_add(&s->leads.path, qx_net_n_layers(s->net), r->setting, r->layer,
                             p->leads, p->result.n);
        }
        if (r->result.is_suffix) {
            p->time_s[r->result.from] = r->result.time_s;
        }
        s->news |= QX_NEWS_GAUGE;
    } else if (t->status != QX_ECANCELLED) {
        p->is_off = true;
        qx_log(QX_LOG_ERROR, "%s", t->err.text);
    }
}

/* Task and settings stay for the next one. */
static void replay_drop(struct qx_task *t)
{
    (void)t;
}

void qx_replayer_release(struct qx_session *s)
{
    struct qx_replayer *p = &s->replayer;
    if (p->task) {
        qx_replay_free(p->task->replay);
        qx_mem_free(p->task->setting);
        qx_mem_free(p->task->leads);
    }
    qx_mem_free(p->task);
    qx_mem_free(p->leads);
    qx_mem_free(p->seen);
    qx_mem_free(p->time_s);
}

static bool parts_make(struct qx_session *s)
{
    struct qx_replayer *p = &s->replayer;
    const size_t n = (size_t)qx_net_n_layers(s->net) + 1;
    if (p->task) {
        return true;
    }
    struct qx_replay_task *task = qx_mem_zalloc(sizeof *task);
    struct qx_setting *setting = qx_mem_array(n, sizeof *setting);
    p->seen = p->seen ? p->seen : qx_mem_array(n, sizeof *p->seen);
    p->time_s = p->time_s ? p->time_s : qx_mem_zalloc(n * sizeof *p->time_s);
    if (!task || !setting || !p->seen || !p->time_s) {
        qx_mem_free(task);
        qx_mem_free(setting);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        p->seen[i] = qx_setting_fp32();
    }
    task->setting = setting;
    p->task = task;
    return true;
}

/* ---- whether ---- */

static const struct qx_setting *setting_of(const struct qx_session *s, int layer)
{
    return &s->now.set[qx_net_layer(s->net, layer)->tensor];
}

/* The layer that the hand is on: the first one that the last edit changed. */
static void layer_follow(struct qx_session *s)
{
    struct qx_replayer *p = &s->replayer;
    const int n = qx_net_n_layers(s->net);
    int first = n;
    if (p->seen_key == s->measure.key_b) {
        return;
    }
    for (int i = n - 1; i >= 0; i--) {
        first = qx_setting_equal(&p->seen[i], setting_of(s, i)) ? first : i;
        p->seen[i] = *setting_of(s, i);
    }
    p->layer = first < n ? first : p->layer;
    p->seen_key = s->measure.key_b;
}

static bool is_open(const struct qx_session *s)
{
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        const struct qx_setting *set = setting_of(s, i);
        if (qx_setting_open(set) || qx_ranges_is_open(set) || qx_setting_awaits(set)) {
            return true;
        }
    }
    return false;
}

/* A pass of P, from what measurements took, the quicker one (the machine may have been busy); negative =
 * nothing was measured yet. */
static double pass_s(struct qx_session *s)
{
    const struct qx_measure *m = &s->measure;
    const struct qx_eval_result *fp32 = qx_measure_find(&s->measure, m->key_fp32);
    double all = fp32 && fp32->time_s > 0 ? fp32->time_s : m->eval_time_s > 0 ? m->eval_time_s : -1;
    all = m->eval_time_s > 0 && m->eval_time_s < all ? m->eval_time_s : all;
    const double share = fp32 ? (double)qx_replay_rows_usual(s->net) / (double)fp32->n : 1;
    return share < 1 ? share * all : all;
}

/* The part of a pass that lies behind the values kept before a layer. */
static double share_behind(const struct qx_session *s, int layer)
{
    double behind = 0, all = 0;
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        const double macs = (double)qx_net_layer(s->net, i)->macs;
        const bool is_head =
            qx_net_layer(s->net, i)->role == QX_ROLE_EMBEDDING; /* of a tied table */
        all += macs;
        behind += i >= layer || is_head ? macs : 0;
    }
    return all > 0 ? behind / all : 1;
}

/* Once the values before the layer are kept; and float32 beforehand, where any layer is. */
static bool is_quick(struct qx_session *s)
{
    struct qx_replayer *p = &s->replayer;
    const bool is_fp32 = s->measure.key_b == s->measure.key_fp32;
    const int layer = is_fp32 ? qx_net_n_layers(s->net) - 1 : p->layer;
    const double pass = pass_s(s);
    if (pass < 0 || pass > first_limit_s) {
        return false;
    }
    if (p->time_s[layer] > limit_s) {
        p->time_s[layer] *= forget;
        return false;
    }
    return p->time_s[layer] > 0 || pass * share_behind(s, layer) <= limit_s;
}

/* Its weights are copies of their own, its values another piece of the budget. */
static bool has_room(const struct qx_session *s)
{
    return s->sums.float_fp32_bytes <= s->cache.budget / 4;
}

static bool is_due(struct qx_session *s)
{
    const struct qx_replayer *p = &s->replayer;
    struct qx_measure *m = &s->measure;
    return qx_measure_can(s) && s->preview.is_started && m->is_auto && !p->is_off && !p->is_out &&
           (m->key_b == m->key_fp32 ? !p->replay : m->last_key != m->key_b) &&
           !(p->has_result && p->key == m->key_b) && qx_measure_find(m, m->key_fp32) &&
           !qx_pending_open(s) && !is_open(s) && has_room(s);
}

void qx_replayer_work(struct qx_session *s)
{
    struct qx_replayer *p = &s->replayer;
    if (!qx_measure_can(s) || !parts_make(s)) {
        return;
    }
    layer_follow(s);
    if (!is_due(s) || !is_quick(s)) {
        return;
    }
    struct qx_replay_task *r = p->task;
    r->task = (struct qx_task){
        .run = replay_run, .done = replay_done, .drop = replay_drop, .priority = REPLAY_PRIORITY};
    r->s = s;
    r->key = s->measure.key_b;
    r->revision = s->revision;
    r->layer = p->layer;
    r->max_bytes = s->cache.budget / 8;
    r->pool = s->queue.n_out > 0 ? NULL : s->pool;
    r->replay = p->replay;
    memcpy(r->setting, p->seen, (size_t)qx_net_n_layers(s->net) * sizeof *p->seen);
    p->is_out = true;
    qx_lane_submit(&s->preview, &r->task);
}

bool qx_session_replayed(const struct qx_session *s, struct qx_session_replay *out)
{
    const struct qx_replayer *p = &s->replayer;
    if (!p->has_result) {
        return false;
    }
    *out = (struct qx_session_replay){
        .result = p->result, .revision = p->revision, .is_current = p->key == s->measure.key_b};
    return true;
}

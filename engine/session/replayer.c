#include "session/replayer.h"

#include "base/log.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <string.h>

enum { REPLAY_PRIORITY = 2 };

static const double limit_s = 0.15;      /* longer ones are no answer to a moving hand */
static const double first_limit_s = 1.5; /* the first of a layer is a whole pass */
static const double forget = 0.9;        /* a machine that was busy may be idle by now */

struct qx_replay_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts */
    uint64_t key, revision, max_bytes;
    int layer;                  /* first one that changed */
    struct qx_setting *setting; /* [layers] copied at submit */
    struct qx_replay *replay;   /* the session's, or made by this run */
    struct qx_replay_result result;
};

static enum qx_status replay_run(struct qx_task *t, struct qx_error *err)
{
    struct qx_replay_task *r = (struct qx_replay_task *)t;
    const struct qx_session *s = r->s;
    enum qx_status status = QX_OK;
    if (!r->replay) {
        status = qx_replay_new(s->net, s->data, QX_REPLAY_ROWS, s->seed, r->max_bytes, s->pool,
                               &t->ctl, &r->replay, err);
    }
    return status == QX_OK ? qx_replay_run(r->replay, r->setting, s->pool, &t->ctl, &r->result, err)
                           : status;
}

static void replay_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_replay_task *r = (struct qx_replay_task *)t;
    struct qx_replayer *p = &s->replayer;
    p->is_out = false;
    p->replay = r->replay;
    if (t->status == QX_OK) {
        p->has_result = true;
        p->key = r->key;
        p->revision = r->revision;
        p->result = r->result;
        p->time_s[r->layer] = r->result.is_suffix ? r->result.time_s : p->time_s[r->layer];
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
    }
    qx_mem_free(p->task);
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
    task->setting = setting;
    p->task = task;
    return true;
}

/* ---- whether ---- */

/* First layer that is not as it was submitted last. */
static int first_change(const struct qx_session *s)
{
    const struct qx_replayer *p = &s->replayer;
    const int n = qx_net_n_layers(s->net);
    int i = 0;
    while (p->has_seen && i < n &&
           qx_setting_equal(&p->seen[i], &s->now.set[qx_net_layer(s->net, i)->tensor])) {
        i++;
    }
    return i < n ? i : 0;
}

static bool is_open(const struct qx_session *s)
{
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        const struct qx_setting *set = &s->now.set[qx_net_layer(s->net, i)->tensor];
        if (qx_setting_open(set) || qx_ranges_is_open(set)) {
            return true;
        }
    }
    return false;
}

/* A pass of P, from what the last measurement took; negative = nothing was measured yet. */
static double pass_s(struct qx_session *s)
{
    const struct qx_measure *m = &s->measure;
    const struct qx_eval_result *fp32 = qx_measure_find(&s->measure, m->key_fp32);
    const double all = m->eval_time_s > 0 ? m->eval_time_s : fp32 ? fp32->time_s : -1;
    const double n = (double)qx_dataset_n(s->data);
    return all * (n > QX_REPLAY_ROWS ? QX_REPLAY_ROWS / n : 1);
}

static bool is_quick(struct qx_session *s, int layer)
{
    struct qx_replayer *p = &s->replayer;
    const double pass = pass_s(s);
    double behind = 0, all = 0;
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        const double macs = (double)qx_net_layer(s->net, i)->macs;
        all += macs;
        behind += i >= layer ? macs : 0;
    }
    if (p->time_s[layer] > limit_s) {
        p->time_s[layer] *= forget;
        return false;
    }
    return pass >= 0 && pass <= first_limit_s &&
           (p->time_s[layer] > 0 || pass * (all > 0 ? behind / all : 1) <= limit_s);
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
           m->key_b != m->key_fp32 && m->last_key != m->key_b &&
           !(p->has_result && p->key == m->key_b) && qx_measure_find(m, m->key_fp32) &&
           !qx_pending_open(s) && !is_open(s) && has_room(s);
}

void qx_replayer_work(struct qx_session *s)
{
    struct qx_replayer *p = &s->replayer;
    if (!is_due(s) || !parts_make(s)) {
        return;
    }
    const int layer = first_change(s), n = qx_net_n_layers(s->net);
    if (!is_quick(s, layer)) {
        return;
    }
    struct qx_replay_task *r = p->task;
    r->task = (struct qx_task){
        .run = replay_run, .done = replay_done, .drop = replay_drop, .priority = REPLAY_PRIORITY};
    r->s = s;
    r->key = s->measure.key_b;
    r->revision = s->revision;
    r->max_bytes = s->cache.budget / 8;
    r->layer = layer;
    r->replay = p->replay;
    for (int i = 0; i < n; i++) {
        r->setting[i] = s->now.set[qx_net_layer(s->net, i)->tensor];
    }
    memcpy(p->seen, r->setting, (size_t)n * sizeof *p->seen);
    p->has_seen = p->is_out = true;
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

/* The table of formats in the background: rows one by one in the preview lane, the layer's inputs in the
 * queue, predictions in the host's thread. */
#include "session/formats.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROW_PRIORITY = 0, INPUTS_PRIORITY = 2, FORGOTTEN_POLLS = 4, BASE_BITS = 8, NONE = -1 };

static void inputs_unref(struct qx_formats_inputs *in)
{
    if (in && --in->refs == 0) {
        qx_moments_free(in->moments);
        qx_mem_free(in);
    }
}

void qx_formats_init(struct qx_session *s)
{
    s->formats.item = NONE;
    s->formats.refused_layer = NONE;
}

void qx_formats_release(struct qx_session *s)
{
    inputs_unref(s->formats.inputs);
    s->formats.inputs = NULL;
}

static int layer_of(const struct qx_session *s, int64_t item)
{
    return s->net ? qx_net_layer_of_tensor(s->net, item) : NONE;
}

/* ---- a row ---- */

struct row_task {
    struct qx_task task;
    const struct qx_item *item;
    const struct qx_model *model;
    struct qx_pool *pool;
    struct qx_hist *hist; /* own reference; NULL = not needed */
    struct qx_formats_inputs *inputs;
    bool is_diagonal;
    uint64_t serial;
    int at;
    struct qx_setting asked;
    struct qx_formats_row row;
};

static enum qx_status row_run(struct qx_task *t, struct qx_error *err)
{
    struct row_task *r = (struct row_task *)t;
    const struct qx_moments *moments = r->inputs ? r->inputs->moments : NULL;
    const enum qx_status st = qx_formats_row_make(r->item, r->hist, moments, r->is_diagonal,
                                                  r->pool, &t->ctl, &r->row, err);
    qx_model_dontneed(r->model, r->item->tensor);
    return st;
}

static void row_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_formats *f = &s->formats;
    struct row_task *r = (struct row_task *)t;
    f->task = f->task == t ? NULL : f->task;
    if (r->serial != f->serial || r->at >= f->n || t->status == QX_ECANCELLED ||
        !qx_setting_equal_weight(&r->asked, &f->row[r->at].set)) {
        return;
    }
    if (t->status == QX_OK) {
        struct qx_formats_row *row = &f->row[r->at];
        row->set = r->row.set;
        row->metrics = r->row.metrics;
        row->output = r->row.output;
        row->has_metrics = true;
        qx_formats_front(f->row, f->n);
        f->predicted_serial = 0;
    } else {
        f->has_failed[r->at] = true;
    }
    s->news |= QX_NEWS_METRICS;
}

static void row_drop(struct qx_task *t)
{
    struct row_task *r = (struct row_task *)t;
    qx_hist_unref(r->hist);
    inputs_unref(r->inputs);
    qx_mem_free(r);
}

/* Nothing but the imatrix knows the layer's inputs. */
static bool is_diagonal(const struct qx_session *s)
{
    const struct qx_formats *f = &s->formats;
    const int layer = layer_of(s, f->item);
    return s->items.v[f->item].importance && !f->inputs_task &&
           (layer < 0 || f->refused_layer == layer);
}

/* False: a histogram is still to come. */
static bool row_submit(struct qx_session *s, int at)
{
    struct qx_formats *f = &s->formats;
    const struct qx_item *it = &s->items.v[f->item];
    const struct qx_cache_entry *e = NULL;
    if (qx_formats_wants_hist(&f->row[at].set)) {
        const struct qx_hist_spec spec = qx_setting_spec(&f->row[at].set, it->channels);
        e = qx_cache_want(s, f->item, &spec);
        if (!e || e->state != QX_HIST_READY) {
            f->has_failed[at] = e && e->state == QX_HIST_FAILED;
            return false;
        }
    }
    struct row_task *r = qx_mem_zalloc(sizeof *r);
    if (!r) {
        f->has_failed[at] = true;
        return false;
    }
    r->task = (struct qx_task){
        .run = row_run, .done = row_done, .drop = row_drop, .priority = ROW_PRIORITY};
    r->item = it;
    r->model = s->model;
    r->pool = s->pool;
    r->hist = e ? qx_hist_ref(e->hist) : NULL;
    r->inputs = f->inputs;
    if (r->inputs) {
        r->inputs->refs++;
    }
    r->is_diagonal = is_diagonal(s);
    r->serial = f->serial;
    r->at = at;
    r->row = f->row[at];
    r->asked = r->row.set;
    f->task = &r->task;
    qx_lane_submit(&s->preview, &r->task);
    return true;
}

/* ---- the layer's inputs ---- */

struct inputs_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts, and rows under their lock */
    int layer;
    struct qx_moments *moments;
};

static enum qx_status inputs_run(struct qx_task *t, struct qx_error *err)
{
    struct inputs_task *i = (struct inputs_task *)t;
    return qx_formats_moments(i->s, i->layer, &t->ctl, &i->moments, err);
}

static void inputs_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_formats *f = &s->formats;
    struct inputs_task *i = (struct inputs_task *)t;
    f->inputs_task = NULL;
    struct qx_formats_inputs *in = t->status == QX_OK ? qx_mem_zalloc(sizeof *in) : NULL;
    if (in) {
        *in = (struct qx_formats_inputs){1, i->layer, i->moments};
        i->moments = NULL;
        inputs_unref(f->inputs);
        f->inputs = in;
    } else {
        f->refused_layer = i->layer;
        qx_str_copy(f->reason, sizeof f->reason,
                    t->status == QX_ECANCELLED ? "looking at the layer's inputs was cancelled"
                    : t->status == QX_OK       ? "out of memory"
                                               : t->err.text);
    }
    qx_jobs_finish(&s->jobs, t, in ? "done" : NULL);
    s->news |= QX_NEWS_METRICS | QX_NEWS_JOBS;
}

static void inputs_drop(struct qx_task *t)
{
    struct inputs_task *i = (struct inputs_task *)t;
    qx_moments_free(i->moments);
    qx_mem_free(i);
}

static bool inputs_fit(const struct qx_session *s, int layer)
{
    const struct qx_formats *f = &s->formats;
    return f->inputs && qx_formats_same_inputs(s->net, layer, f->inputs->moments);
}

static void inputs_submit(struct qx_session *s, int layer)
{
    struct qx_formats *f = &s->formats;
    struct qx_net_product p;
    if (layer < 0 || f->inputs_task || f->refused_layer == layer || inputs_fit(s, layer)) {
        return;
    }
    if (!qx_net_layer_product(s->net, layer, &p)) {
        f->refused_layer = layer;
        qx_str_copy(f->reason, sizeof f->reason, "the layer multiplies no inputs of float32");
        return;
    }
    struct inputs_task *i = qx_mem_zalloc(sizeof *i);
    if (!i) {
        return;
    }
    inputs_unref(f->inputs); /* of another layer */
    f->inputs = NULL;
    i->task = (struct qx_task){
        .run = inputs_run, .done = inputs_done, .drop = inputs_drop, .priority = INPUTS_PRIORITY};
    i->s = s;
    i->layer = layer;
    struct qx_job *job = qx_jobs_add(&s->jobs, &i->task, QX_JOB_INPUTS);
    if (job) {
        job->item = f->item;
        snprintf(job->info.title, sizeof job->info.title, "inputs of %.100s",
                 s->items.v[f->item].tensor->name);
    }
    f->inputs_task = &i->task;
    s->news |= QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, &i->task);
}

/* ---- the recipe's part ---- */

/* The row of what the tensor has now: one of the others, or the last. */
static void now_follow(struct qx_session *s)
{
    struct qx_formats *f = &s->formats;
    const struct qx_setting *now = &s->now.set[f->item];
    bool is_there = qx_setting_is_fp32(now);
    const int plain = f->n_plain;
    struct qx_setting bare = *now;
    bare.act = (struct qx_act){0};
    for (int i = 0; i < plain; i++) {
        f->row[i].is_now = qx_setting_equal_weight(&f->row[i].set, now) ||
                           qx_setting_resolves_to(&f->row[i].set, &bare);
        is_there = is_there || f->row[i].is_now;
    }
    if (is_there) {
        f->n = plain;
        return;
    }
    const bool is_known = f->n > plain && qx_setting_equal_weight(&f->row[plain].set, now);
    if (!is_known && !qx_setting_open(now) && !qx_setting_awaits(now)) {
        f->n = plain + 1;
        f->row[plain] =
            (struct qx_formats_row){.set = *now, .is_now = true, .output = NAN, .measured = NAN};
        f->has_failed[plain] = f->is_wanted[plain] = false;
        f->measured_key[plain] = 0;
    }
}

/* Every row in its turn takes the layer's place in the composition. */
static void predictions_make(struct qx_session *s, int layer)
{
    struct qx_formats *f = &s->formats;
    struct qx_predictor *p = &s->predictor;
    if (layer < 0 || !p->is_on) {
        return;
    }
    qx_predictor_follow(s);
    /* a layer that is unknown itself, for methods chose its codes, may still take the others' place */
    const bool is_alone =
        p->mix && p->n_unknown == 1 && !p->is_known[layer] && s->now.set[f->item].act.bits == 0;
    if (!p->mix || (p->n_unknown > 0 && !is_alone) || f->predicted_serial == p->serial) {
        return;
    }
    const struct qx_predict_layer before = *qx_predict_mix_layer(p->mix, layer);
    for (int i = 0; i < f->n; i++) {
        struct qx_formats_row *row = &f->row[i];
        row->has_prediction = false;
        if (row->has_metrics && !row->set.algo[0]) {
            const struct qx_predict_layer change = qx_formats_change(row, &before);
            qx_predict_mix_set(p->mix, layer, &change);
            qx_predict_anchors_ask(p->anchors, p->mix, &row->predicted);
            row->has_prediction = row->predicted.sum.n_missing == 0;
        }
    }
    qx_predict_mix_set(p->mix, layer, &before);
    f->predicted_serial = p->serial;
}

/* ---- host ---- */

static void table_begin(struct qx_session *s, int64_t item, const struct qx_setting *base)
{
    struct qx_formats *f = &s->formats;
    if (f->task) {
        qx_task_cancel(f->task);
        f->task = NULL;
    }
    f->item = item;
    f->base = *base;
    f->serial++;
    f->predicted_serial = 0;
    memset(f->has_failed, 0, sizeof f->has_failed);
    memset(f->measured_key, 0, sizeof f->measured_key);
    qx_formats_measure_forget(s);
    f->n_plain = s->items.v[item].can_quantize ? qx_formats_rows(base, f->row) : 0;
    f->n = f->n_plain;
}

const struct qx_formats_row *qx_session_formats(struct qx_session *s, int64_t item, int *n)
{
    struct qx_formats *f = &s->formats;
    const struct qx_setting base =
        qx_setting_as(&s->now.set[item], qx_format_find("int"), BASE_BITS);
    f->polls = 0;
    if (f->item != item || !qx_setting_equal_weight(&base, &f->base)) {
        table_begin(s, item, &base);
        qx_formats_work(s);
    }
    *n = f->n;
    return f->row;
}

static bool row_wants(const struct qx_session *s, int i, bool fits)
{
    const struct qx_formats_row *row = &s->formats.row[i];
    return !s->formats.has_failed[i] && (!row->has_metrics || (fits && isnan(row->output)));
}

void qx_formats_work(struct qx_session *s)
{
    struct qx_formats *f = &s->formats;
    if (f->item < 0 || f->n == 0 || !s->preview.is_started) {
        return;
    }
    qx_formats_measure_work(s); /* goes on when nobody looks */
    if (f->polls++ > FORGOTTEN_POLLS) {
        return;
    }
    const int layer = layer_of(s, f->item);
    now_follow(s);
    inputs_submit(s, layer);
    const bool fits = layer >= 0 && inputs_fit(s, layer);
    for (int pass = 0; pass < 2 && !f->task; pass++) { /* what no row has yet goes first */
        for (int i = 0; i < f->n && !f->task; i++) {
            if (row_wants(s, i, fits || is_diagonal(s)) && (pass == 1 || !f->row[i].has_metrics)) {
                row_submit(s, i);
            }
        }
    }
    predictions_make(s, layer);
}

bool qx_formats_idle(const struct qx_session *s)
{
    return s->formats.item < 0 || s->formats.polls > FORGOTTEN_POLLS || !s->formats.task;
}

void qx_session_formats_state(const struct qx_session *s, struct qx_formats_state *out)
{
    const struct qx_formats *f = &s->formats;
    const int layer = f->item < 0 ? NONE : layer_of(s, f->item);
    *out = (struct qx_formats_state){.n = f->n};
    for (int i = 0; i < f->n; i++) {
        out->n_known += f->row[i].has_metrics;
        out->n_left += f->is_wanted[i];
    }
    out->row_s = f->measure_s > 0.0 ? f->measure_s : NAN;
    const char *why = !s->net     ? s->net_error.text
                      : layer < 0 ? "no layer of the network reads it"
                      : f->refused_layer == layer && !f->inputs_task ? f->reason
                                                                     : "";
    out->is_diagonal = f->item >= 0 && is_diagonal(s);
    why = out->is_diagonal ? "" : why;
    qx_str_copy(out->output_reason, sizeof out->output_reason, why);
    out->has_inputs = !why[0];
    why = !s->net               ? s->net_error.text
          : !s->data            ? s->data_error.text
          : layer < 0           ? "no layer of the network reads it"
          : !s->predictor.is_on ? "nothing is predicted in this session"
                                : s->predictor.reason;
    qx_str_copy(out->predict_reason, sizeof out->predict_reason, why);
    why = !s->net     ? s->net_error.text
          : !s->data  ? s->data_error.text
          : layer < 0 ? "no layer of the network reads it"
                      : f->measure_reason;
    qx_str_copy(out->measure_reason, sizeof out->measure_reason, why);
}

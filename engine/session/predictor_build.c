/* Building the prediction's table in the queue lane, a slice at a time, behind everything the user waits
 * for: P and what is on disk first, then lite, then full; random configurations for the band last. */
#include "base/arena.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRIORITY = -1, FAILURES_MOST = 8 };
static const double slice_s = 0.15;
static const double idle_s =
    4; /* without edits or entries, before random configurations are measured */
static const double draw_limit_s = 5; /* longer measurements are the user's to start */

struct build_task {
    struct qx_task task;
    struct qx_session
        *s; /* worker: immutable parts, pool, ranges and measuring under their locks */
    uint64_t key;
    int64_t rows;
    bool is_asked; /* the table that grows is the one that is asked */
    struct qx_predict_scale scale;
    struct qx_predict_want want;
    bool is_lite_done; /* full entries leave the pool to others */
    struct qx_predict_point *points[QX_POINTS_KEPT + 1];
    int n_points;
    /* a measured recipe whose KL on P is wanted; NULL = none */
    struct qx_setting *set;
    struct qx_predict_layer *change;
    struct qx_predict_point_info info;
    bool is_draw; /* draw a configuration, measure it, and make a point of it */
    int draw;
    /* handed over and back */
    struct qx_predict_probe *probe;
    struct qx_calibration *calibration;
    struct qx_predict_table *table;
    struct qx_predict_anchors *anchors;
    /* results */
    struct qx_predict_point *point;
    bool is_lite, is_complete, is_without_act;
    int n_failures;
    struct qx_error why; /* of the last failure */
};

static void build_drop(struct qx_task *t)
{
    struct build_task *b = (struct build_task *)t;
    qx_predict_probe_free(b->probe);
    qx_calibration_unref(b->calibration);
    qx_predict_anchors_unref(b->anchors);
    qx_predict_table_unref(b->table);
    qx_predict_point_unref(b->point);
    for (int i = 0; i < b->n_points; i++) {
        qx_predict_point_unref(b->points[i]);
    }
    qx_mem_free(b->set);
    qx_mem_free(b->change);
    qx_mem_free(b);
}

/* ---- in the lane ---- */

static void table_take(struct build_task *b, const struct qx_predict_entry *e)
{
    struct qx_predict_table *more = NULL;
    if (qx_predict_table_add(b->table, e, &more, NULL) == QX_OK) {
        qx_predict_table_unref(b->table);
        b->table = more;
    }
}

/* Entries kept from earlier. What does not fit is measured again. */
static void entries_load(struct build_task *b)
{
    struct qx_arena arena = {0};
    char **names, prefix[64];
    size_t n = 0;
    const char *dir = b->s->cache.dir;
    snprintf(prefix, sizeof prefix, "predict-%016" PRIx64 "-e", b->key);
    if (!dir || qx_fs_list(dir, &arena, &names, &n, NULL) != QX_OK) {
        n = 0;
    }
    for (size_t i = 0; i < n && !qx_cancel_test(&b->task.ctl); i++) {
        struct qx_predict_entry *e = NULL;
        const char *path = qx_str_starts(names[i], prefix)
                               ? qx_arena_printf(&arena, "%s/%s", dir, names[i])
                               : NULL;
        if (path && qx_predict_entry_load(path, b->key, qx_predict_probe_base(b->probe), &e,
                                          NULL) == QX_OK) {
            table_take(b, e);
            qx_predict_entry_unref(e);
        }
    }
    qx_arena_release(&arena);
}

static void entry_keep(const struct build_task *b, const struct qx_predict_spec *spec,
                       const struct qx_predict_entry *e)
{
    char name[64];
    struct qx_error why;
    snprintf(name, sizeof name, "e%d-%d-%d", spec->layer, (int)spec->family,
             (int)lround(100 * spec->param));
    char *path = qx_predictor_path(b->s, b->key, name);
    if (path && qx_predict_entry_save(e, path, b->key, &why) != QX_OK) {
        qx_log(QX_LOG_WARN, "a prediction's entry is not kept on disk: %s", why.text);
    }
    qx_mem_free(path);
}

/* P from disk or by a forward pass, then the entries on disk. */
static enum qx_status start(struct build_task *b, struct qx_error *err)
{
    struct qx_session *s = b->s;
    struct qx_predict_base *base = NULL;
    char *path = qx_predictor_path(s, b->key, "rows");
    const bool is_kept =
        path && qx_fs_exists(path) && qx_predict_base_load(path, b->key, &base, NULL) == QX_OK;
    enum qx_status st = qx_predict_probe_new(s->net, s->data, NULL, base, b->rows, s->seed, s->pool,
                                             &b->task.ctl, &b->probe, err);
    if (st == QX_OK && path && !is_kept) {
        qx_predict_base_save(qx_predict_probe_base(b->probe), path, b->key, NULL);
    }
    if (st == QX_OK) {
        st = qx_predict_table_new(qx_predict_probe_base(b->probe), qx_net_n_layers(s->net),
                                  &b->table, err);
    }
    if (st == QX_OK) {
        entries_load(b);
    }
    qx_predict_base_unref(base);
    qx_mem_free(path);
    return st;
}

/* The measured recipe once more, on P, for its KL. */
static void point_finish(struct build_task *b)
{
    struct qx_predict_truth truth;
    if (qx_predict_probe_run(b->probe, b->set, QX_ENGINE_AUTO, b->s->pool, &b->task.ctl, &truth,
                             NULL, NULL) == QX_OK) {
        b->info.kl = truth.kl;
        qx_predict_point_new(b->change, qx_net_n_layers(b->s->net), &b->info, &b->point, NULL);
    }
}

/* A random configuration, measured on all rows and on P. */
static void point_draw(struct build_task *b)
{
    const int n = qx_net_n_layers(b->s->net);
    struct qx_ctl *ctl = &b->task.ctl;
    const struct qx_eval_options all = {0};
    struct qx_eval_result *r = NULL;
    b->set = qx_mem_array((size_t)n + 1, sizeof *b->set);
    b->change = qx_mem_zalloc(((size_t)n + 1) * sizeof *b->change);
    if (b->set && b->change &&
        qx_predict_probe_draw(b->probe, (enum qx_predict_kind)(b->draw % QX_PREDICT_KINDS),
                              b->s->seed + (uint64_t)b->draw, b->set, NULL) == QX_OK &&
        qx_predict_probe_change(b->probe, b->set, b->s->pool, ctl, b->change, NULL) == QX_OK &&
        qx_measure_run(b->s, b->set, &all, ctl, &r, NULL) == QX_OK) {
        b->info = (struct qx_predict_point_info){
            qx_hash64(b->change, (size_t)n * sizeof *b->change, 1), r->accuracy, NAN, true};
        point_finish(b);
    }
    qx_eval_result_free(r);
}

/* The new point among the others, in the place of one with its key. */
static void point_put(struct build_task *b)
{
    int at = 0;
    for (; at < b->n_points; at++) {
        struct qx_predict_point_info info;
        qx_predict_point_look(b->points[at], &info);
        if (info.key == b->info.key) {
            break;
        }
    }
    if (at < b->n_points) {
        qx_predict_point_unref(b->points[at]);
    } else {
        b->n_points++;
    }
    b->points[at] = qx_predict_point_ref(b->point);
}

/* Inputs wait for their calibration until the weights' lite entries are there, or the recipe quantizes
 * some. Without data for that, only weights are predicted. */
static void calibrate(struct build_task *b)
{
    struct qx_predict_want weights = b->want;
    struct qx_predict_spec spec;
    struct qx_error why;
    weights.level = QX_PREDICT_LITE;
    weights.has_act = false;
    if (!b->calibration && !b->is_without_act &&
        (b->want.is_act_urgent || !qx_predict_next(b->table, b->s->net, &weights, &spec))) {
        enum qx_status st = qx_ranges_get(b->s, &b->task.ctl, &b->calibration, &why);
        b->is_without_act = st != QX_OK && st != QX_ECANCELLED && st != QX_ENOMEM;
        if (b->is_without_act) {
            qx_log(QX_LOG_INFO, "effects of quantized inputs are not predicted: %s", why.text);
        }
    }
    if (b->calibration) {
        qx_predict_probe_calibrate(b->probe, b->calibration);
    }
    b->want.has_act = b->calibration != NULL;
}

/* Entries for about a slice, at least one. A cancelled one is lost, those before it are not. */
static void entries_measure(struct build_task *b)
{
    const double end = qx_clock_s() + slice_s;
    struct qx_predict_spec spec;
    while (!qx_cancel_test(&b->task.ctl)) {
        struct qx_predict_entry *e = NULL;
        calibrate(b);
        if (!qx_predict_next(b->table, b->s->net, &b->want, &spec)) {
            b->is_complete = b->calibration || b->is_without_act;
            return;
        }
        enum qx_status st = qx_predict_probe_entry(
            b->probe, &spec, b->is_lite_done ? NULL : b->s->pool, &b->task.ctl, &e, &b->why);
        if (st == QX_ECANCELLED) {
            return;
        }
        if (st != QX_OK) {
            qx_log(QX_LOG_WARN, "a site cannot be predicted: %s", b->why.text);
            b->n_failures++;
            return;
        }
        entry_keep(b, &spec, e);
        table_take(b, e);
        qx_predict_entry_unref(e);
        if (qx_clock_s() > end) {
            return;
        }
    }
}

/* Does what it was asked for; being cancelled means to end early with what there is. */
static enum qx_status build_run(struct qx_task *t, struct qx_error *err)
{
    struct build_task *b = (struct build_task *)t;
    const struct qx_predict_mix_options o = {.seed = b->s->seed};
    struct qx_predict_want weights_and_inputs = b->want;
    struct qx_predict_spec spec;
    enum qx_status st = b->probe ? QX_OK : start(b, err);
    if (st != QX_OK) {
        return st;
    }
    if (b->is_draw) {
        point_draw(b);
    } else if (b->set) {
        point_finish(b);
    }
    if (b->point) {
        point_put(b);
    }
    if (!b->is_draw) {
        entries_measure(b);
    }
    weights_and_inputs.level = QX_PREDICT_LITE;
    weights_and_inputs.has_act = b->calibration != NULL;
    b->is_lite = (b->calibration || b->is_without_act) &&
                 !qx_predict_next(b->table, b->s->net, &weights_and_inputs, &spec);
    qx_predict_anchors_unref(b->anchors);
    b->anchors = NULL;
    return b->is_asked || b->is_lite ? qx_predict_anchors_new(b->table, &o, &b->scale, b->points,
                                                              b->n_points, NULL, &b->anchors, err)
                                     : QX_OK;
}

/* ---- in the host's thread ---- */

static int64_t rows_goal(const struct qx_session *s)
{
    const int64_t n = qx_dataset_n(s->data);
    return n < QX_PREDICT_ROWS ? n : QX_PREDICT_ROWS;
}

/* Few rows first where the weights' lite entries would take long on all of them. row_s: a forward
 * pass of one row. */
static int64_t rows_first(const struct qx_session *s, double row_s)
{
    static const double patience_s = 20, rest_of_a_pass = 0.6;
    const int64_t goal = rows_goal(s);
    const double lite_s = 3.0 * qx_net_n_layers(s->net) * (double)goal * row_s * rest_of_a_pass;
    return lite_s > patience_s && goal > QX_PREDICT_ROWS_LEAST ? QX_PREDICT_ROWS_LEAST : goal;
}

static void build_done(struct qx_session *s, struct qx_task *t)
{
    struct build_task *b = (struct build_task *)t;
    struct qx_predictor *p = &s->predictor;
    p->task = NULL;
    p->probe = b->probe; /* it was handed over */
    b->probe = NULL;
    if (!p->calibration) {
        p->calibration = b->calibration;
        b->calibration = NULL;
    }
    p->n_draws += b->is_draw;
    if (t->status == QX_ECANCELLED) {
        return;
    }
    p->n_failures += b->n_failures;
    if (t->status != QX_OK || p->n_failures >= FAILURES_MOST) {
        p->has_failed = true;
        qx_str_copy(p->reason, sizeof p->reason,
                    t->status != QX_OK ? t->err.text
                                       : "the sites of the network cannot be measured");
        qx_log(QX_LOG_WARN, "no predictions: %s", p->reason);
        return;
    }
    qx_predict_table_unref(p->growing);
    p->growing = b->table;
    b->table = NULL;
    if (b->anchors) {
        qx_predict_table_unref(p->table);
        qx_predict_anchors_unref(p->anchors);
        p->table = qx_predict_table_ref(p->growing);
        p->anchors = b->anchors;
        b->anchors = NULL;
    }
    if (b->is_lite && p->rows < rows_goal(s)) { /* few rows have served: now the others */
        p->rows = rows_goal(s);
        qx_predict_table_unref(p->growing);
        qx_predict_probe_free(p->probe);
        p->growing = NULL;
        p->probe = NULL;
        b->is_complete = false;
    }
    if (b->is_complete && !p->is_complete) {
        p->is_complete = true;
        p->complete_s = qx_clock_s();
    }
    p->is_without_act |= b->is_without_act;
    if (b->point) {
        qx_predictor_point_add(p, b->point);
        b->point = NULL;
        p->has_new_points = false; /* these anchors know it */
        qx_predictor_save(s);
    }
    p->is_dirty = true;
    s->news |= QX_NEWS_GAUGE;
}

static bool scale_now(struct qx_session *s, struct qx_predict_scale *out)
{
    *out = (struct qx_predict_scale){NAN, qx_dataset_n(s->data)};
    if (qx_dataset_label(s->data, 0) < 0) {
        return true;
    }
    const struct qx_eval_result *r = qx_measure_find(&s->measure, s->measure.key_fp32);
    out->fp32_accuracy = r ? r->accuracy : NAN;
    return r != NULL;
}

static bool any_act(const struct qx_session *s)
{
    for (int l = 0; l < qx_net_n_layers(s->net); l++) {
        const struct qx_setting *set = &s->now.set[qx_net_layer(s->net, l)->tensor];
        if (qx_predict_key(set, QX_SITE_A)) {
            return true;
        }
    }
    return false;
}

static double rest_since(const struct qx_session *s)
{
    return fmax(s->last_edit_s, s->predictor.complete_s);
}

static bool draw_is_due(const struct qx_session *s)
{
    const struct qx_predictor *p = &s->predictor;
    return p->is_complete && p->n_drawn < QX_POINTS_DRAWN && p->n_draws < 2 * QX_POINTS_DRAWN &&
           !isnan(s->measure.eval_time_s) && s->measure.eval_time_s < draw_limit_s &&
           qx_dataset_label(s->data, 0) >= 0 && qx_clock_s() > rest_since(s) + idle_s;
}

double qx_predictor_due(const struct qx_session *s, double now_s)
{
    const struct qx_predictor *p = &s->predictor;
    if (!p->is_on || p->has_failed || p->task || !p->is_complete || p->n_drawn >= QX_POINTS_DRAWN ||
        p->n_draws >= 2 * QX_POINTS_DRAWN) {
        return -1;
    }
    const double left = rest_since(s) + idle_s - now_s;
    return left > 0 ? left : draw_is_due(s) ? 0 : -1;
}

bool qx_predictor_submit(struct qx_session *s)
{
    struct qx_predictor *p = &s->predictor;
    struct qx_predict_scale scale;
    const bool is_draw = draw_is_due(s);
    if (p->task || !scale_now(s, &scale) ||
        (p->is_complete && !p->has_new_points && !p->has_point_set && !is_draw)) {
        return false;
    }
    struct build_task *b = qx_mem_zalloc(sizeof *b);
    if (!b) {
        return false;
    }
    const size_t n = (size_t)qx_net_n_layers(s->net);
    b->task = (struct qx_task){
        .run = build_run, .done = build_done, .drop = build_drop, .priority = PRIORITY};
    b->s = s;
    if (p->rows == 0) {
        p->rows = rows_first(s, s->measure.eval_time_s / (double)qx_dataset_n(s->data));
    }
    b->rows = p->rows;
    b->key = qx_predictor_key(s, b->rows);
    b->is_asked = !p->table || p->rows == qx_predict_base_n(qx_predict_table_base(p->table));
    b->scale = scale;
    b->want = (struct qx_predict_want){QX_PREDICT_FULL, false, any_act(s), p->selected, NULL};
    b->is_lite_done = p->growing && qx_predict_table_n(p->growing) >= 5 * (int)n;
    for (int i = 0; i < p->n_points; i++) {
        b->points[b->n_points++] = qx_predict_point_ref(p->points[i]);
    }
    if (p->has_point_set && !is_draw) {
        b->set = qx_mem_array(n + 1, sizeof *b->set);
        b->change = qx_mem_array(n + 1, sizeof *b->change);
        if (b->set && b->change) {
            memcpy(b->set, p->asked_set, n * sizeof *b->set);
            memcpy(b->change, p->asked, n * sizeof *b->change);
            b->info = p->asked_info;
        } else {
            qx_mem_free(b->set);
            b->set = NULL;
        }
        p->has_point_set = false;
    }
    b->is_draw = is_draw;
    b->is_without_act = p->is_without_act;
    b->draw = p->n_draws;
    b->probe = p->probe;
    p->probe = NULL;
    b->calibration = p->calibration ? qx_calibration_ref(p->calibration) : NULL;
    b->table = p->growing ? qx_predict_table_ref(p->growing) : NULL;
    p->has_new_points = false;
    p->task = &b->task;
    qx_lane_submit(&s->queue, &b->task);
    return true;
}

/* ---- in the caller's thread ---- */

/* All that the recipe needs, entry by entry. */
static enum qx_status entries_all(struct build_task *b, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_predict_spec spec;
    do {
        entries_measure(b);
        if (b->n_failures > 0) {
            *err = b->why;
            return b->why.status;
        }
        if (qx_cancel_test(ctl)) {
            return qx_fail(err, QX_ECANCELLED, "the prediction was cancelled");
        }
    } while (qx_predict_next(b->table, b->s->net, &b->want, &spec));
    return QX_OK;
}

static enum qx_status answer(struct build_task *b, const struct qx_setting *set, struct qx_ctl *ctl,
                             struct qx_prediction *out, struct qx_error *err)
{
    struct qx_session *s = b->s;
    const int n = qx_net_n_layers(s->net);
    const struct qx_predict_mix_options o = {.seed = s->seed};
    struct qx_predict_mix *mix = NULL;
    enum qx_status st = qx_predict_probe_change(b->probe, set, s->pool, ctl, b->change, err);
    if (st == QX_OK) {
        st = qx_predict_anchors_new(b->table, &o, &b->scale, s->predictor.points,
                                    s->predictor.n_points, ctl, &b->anchors, err);
    }
    if (st == QX_OK) {
        st = qx_predict_mix_new(b->table, &o, &mix, err);
    }
    for (int l = 0; st == QX_OK && l < n; l++) {
        qx_predict_mix_set(mix, l, &b->change[l]);
    }
    if (st == QX_OK) {
        qx_predict_anchors_ask(b->anchors, mix, out);
    }
    qx_predict_mix_free(mix);
    return st;
}

static enum qx_status predict(struct build_task *b, const struct qx_eval_options *options,
                              struct qx_ctl *ctl, struct qx_prediction *out, struct qx_error *err)
{
    struct qx_session *s = b->s;
    const int n = qx_net_n_layers(s->net);
    struct qx_eval_result *r = NULL;
    bool *only = qx_mem_zalloc((size_t)n + 1);
    b->set = qx_mem_array((size_t)n + 1, sizeof *b->set);
    b->change = qx_mem_zalloc(((size_t)n + 1) * sizeof *b->change);
    enum qx_status st = only && b->set && b->change ? QX_OK : qx_fail_nomem(err, (size_t)n);
    for (int l = 0; st == QX_OK && l < n; l++) {
        b->set[l] = qx_setting_fp32();
    }
    b->scale = (struct qx_predict_scale){NAN, qx_dataset_n(s->data)};
    if (st == QX_OK && qx_dataset_label(s->data, 0) >= 0) {
        st = qx_measure_run(s, b->set, options, ctl, &r, err);
    }
    if (st == QX_OK && r) {
        b->scale = (struct qx_predict_scale){r->accuracy, r->n};
    }
    b->rows = rows_first(s, r ? r->time_s / (double)r->n : 0.0);
    b->key = qx_predictor_key(s, b->rows);
    for (int l = 0; st == QX_OK && l < n; l++) {
        b->set[l] = s->now.set[qx_net_layer(s->net, l)->tensor];
        only[l] = !qx_setting_is_fp32(&b->set[l]);
    }
    b->want = (struct qx_predict_want){QX_PREDICT_LITE, false, any_act(s), -1, NULL, only};
    b->is_without_act = !b->want.is_act_urgent;
    if (st == QX_OK) {
        st = start(b, err);
    }
    if (st == QX_OK) {
        st = entries_all(b, ctl, err);
    }
    if (st == QX_OK) {
        st = answer(b, b->set, ctl, out, err);
    }
    qx_eval_result_free(r);
    qx_mem_free(only);
    return st;
}

enum qx_status qx_session_run_predict(struct qx_session *s, const struct qx_eval_options *options,
                                      struct qx_ctl *ctl, struct qx_prediction *out,
                                      struct qx_error *err)
{
    struct qx_error why = {.offset = -1};
    if (!s->net || !s->data) {
        why = s->net ? s->data_error : s->net_error;
        if (err) {
            *err = why;
        }
        return why.status;
    }
    enum qx_status st = qx_session_run_resolve(s, ctl, &why);
    struct build_task *b = st == QX_OK ? qx_mem_zalloc(sizeof *b) : NULL;
    if (st == QX_OK && !b) {
        st = qx_fail_nomem(&why, sizeof *b);
    }
    if (b && s->is_batch && s->predictor.n_points == 0) {
        qx_predictor_load(s);
    }
    if (b) {
        b->s = s;
        b->task.ctl.parent = ctl;
        b->task.ctl.is_quiet = true;
        st = predict(b, options, ctl, out, &why);
        build_drop(&b->task);
    }
    if (st != QX_OK && err) {
        *err = why;
    }
    return st;
}

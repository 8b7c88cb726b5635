/* What the predictor does next, and what it did: tasks are given out and taken back, in the host's
 * thread. */
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/predictor_task.h"

#include <math.h>
#include <string.h>

enum { PRIORITY = -1, FAILURES_MOST = 8 };
static const double idle_s =
    4; /* without edits or entries, before random configurations are measured */
static const double draw_limit_s = 5;   /* longer measurements are the user's to start */
static const double early_s = 0.8;      /* that FP32 waits for a first prediction */
static const double early_pass_s = 0.4; /* a pass of P that is worth it */

static void build_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_build_task *b = (struct qx_build_task *)t;
    struct qx_predictor *p = &s->predictor;
    p->task = NULL;
    p->probe = b->probe; /* it was handed over */
    b->probe = NULL;
    if (!p->calibration) {
        p->calibration = b->calibration;
        b->calibration = NULL;
    }
    p->n_draws += b->is_draw;
    p->n_drawing -= b->is_draw && p->n_drawing > 0;
    if (b->is_exact_refused) {
        p->exact_key = b->exact_key;
    }
    if (t->status == QX_ECANCELLED) {
        return;
    }
    qx_predictor_fresh_drop(p, b->n_fresh);
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
        p->is_early = b->is_early;
        p->table_serial++;
        b->anchors = NULL;
    }
    const int64_t goal = b->is_early ? p->rows : qx_build_rows_goal(s, &b->scale);
    if (b->is_lite && p->rows < goal) { /* few rows have served: now the others */
        p->rows = goal;
        qx_predict_table_unref(p->growing);
        qx_predict_probe_free(p->probe);
        p->growing = NULL;
        p->probe = NULL;
        p->exact_key = 0; /* exact entries are of those rows too */
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
    const struct qx_eval_result *fp32 = qx_measure_find(&s->measure, s->measure.key_fp32);
    *out = qx_measure_scale(s, fp32);
    return fp32 || !qx_measure_has_truth(s);
}

bool qx_predictor_goes_first(struct qx_session *s, double now_s)
{
    struct qx_predictor *p = &s->predictor;
    const struct qx_measure *m = &s->measure;
    if (!p->is_on || p->has_failed || m->key_b == m->key_fp32 || qx_net_is_words(s->net) ||
        qx_measure_find(&s->measure, m->key_fp32) || !qx_measure_has_truth(s) ||
        qx_build_pass_s(s, QX_PREDICT_ROWS) > early_pass_s ||
        (p->early_end_s > 0 && now_s > p->early_end_s && !p->task)) {
        return false;
    }
    qx_predictor_follow(s);
    return !p->table || (p->has_answer && p->answer.sum.n_missing > 0);
}

/* The layer that the next prediction needs: what an answer missed, before that the first one that the recipe
 * changes. */
static int layer_first(const struct qx_session *s)
{
    const int n = qx_net_n_layers(s->net);
    int layer = 0;
    while (layer < n && qx_setting_is_fp32(&s->now.set[qx_net_layer(s->net, layer)->tensor])) {
        layer++;
    }
    return s->predictor.selected >= 0 || layer == n ? s->predictor.selected : layer;
}

static double rest_since(const struct qx_session *s)
{
    return fmax(s->last_edit_s, s->predictor.complete_s);
}

static bool draw_is_due(const struct qx_session *s)
{
    const struct qx_predictor *p = &s->predictor;
    return p->is_complete && p->n_drawn < QX_POINTS_DRAWN && p->n_draws < 2 * QX_POINTS_DRAWN &&
           !isnan(s->measure.eval_time_s) && qx_measure_has_truth(s) &&
           (p->n_drawing > 0 ||
            (s->measure.eval_time_s < draw_limit_s && qx_clock_s() > rest_since(s) + idle_s));
}

double qx_predictor_due(const struct qx_session *s, double now_s)
{
    const struct qx_predictor *p = &s->predictor;
    if (s->queue.n_out == 0 && qx_predictor_exact_waits(s)) { /* else the end of a task wakes us */
        return qx_predictor_exact_left(s, now_s);
    }
    if (!p->is_on || p->has_failed || p->task || !p->is_complete || p->n_drawn >= QX_POINTS_DRAWN ||
        p->n_draws >= 2 * QX_POINTS_DRAWN) {
        return -1;
    }
    const double left = p->n_drawing > 0 ? 0 : rest_since(s) + idle_s - now_s;
    return left > 0 ? left : draw_is_due(s) ? 0 : -1;
}

bool qx_predictor_submit(struct qx_session *s)
{
    struct qx_predictor *p = &s->predictor;
    struct qx_predict_scale scale;
    struct qx_exact_site *sites = NULL;
    const bool is_early = !scale_now(s, &scale);
    if (p->task || (is_early && !qx_predictor_goes_first(s, qx_clock_s()))) {
        return false;
    }
    const int n_sites =
        !is_early && qx_predictor_exact_waits(s) && qx_predictor_exact_left(s, qx_clock_s()) == 0
            ? qx_predictor_exact_list(s, &sites)
            : 0;
    const bool is_draw = n_sites == 0 && draw_is_due(s);
    if (p->is_complete && !p->is_early && !p->has_new_points && !p->has_point_set && !is_draw &&
        n_sites == 0 && !qx_predictor_fresh_due(s)) {
        return false;
    }
    struct qx_build_task *b = qx_mem_zalloc(sizeof *b);
    if (!b) {
        qx_mem_free(sites);
        return false;
    }
    b->sites = sites;
    b->n_sites = n_sites;
    b->exact_key = s->measure.key_b;
    b->fresh = qx_mem_array((size_t)p->n_fresh + 1, sizeof *b->fresh);
    for (; b->fresh && b->n_fresh < p->n_fresh; b->n_fresh++) {
        b->fresh[b->n_fresh] = qx_predict_entry_ref(p->fresh[b->n_fresh]);
    }
    const size_t n = (size_t)qx_net_n_layers(s->net);
    b->task = (struct qx_task){
        .run = qx_build_run, .done = build_done, .drop = qx_build_drop, .priority = PRIORITY};
    b->s = s;
    if (p->rows == 0) {
        p->rows = qx_build_rows_first(s, &scale, s->measure.eval_time_s);
    }
    b->rows = p->rows;
    b->key = qx_predictor_key(s, b->rows);
    b->is_asked = !p->table || p->rows == qx_predict_base_n(qx_predict_table_base(p->table));
    b->scale = scale;
    b->want =
        (struct qx_predict_want){QX_PREDICT_FULL, false, qx_build_any_act(s), layer_first(s), NULL};
    b->is_lite_done = p->growing && qx_predict_table_n(p->growing) >= 6 * (int)n;
    b->is_early = is_early;
    if (is_early && p->early_end_s == 0) {
        p->early_end_s = qx_clock_s() + early_s;
    }
    for (int i = 0; i < p->n_points && !is_early; i++) { /* measured on E */
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

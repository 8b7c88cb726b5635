/* The predicted effect of the recipe, in the host's thread: amplitudes of the layers that changed, the
 * composition, the anchored answer; what measurements say afterwards. */
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <math.h>
#include <string.h>

enum qx_status qx_predictor_init(struct qx_session *s, bool is_on, struct qx_error *err)
{
    struct qx_predictor *p = &s->predictor;
    const size_t n_items = (size_t)s->items.n + 1;
    p->selected = -1;
    p->error = qx_mem_zalloc(n_items * sizeof *p->error);
    p->error_key = qx_mem_zalloc(n_items * sizeof *p->error_key);
    if (!p->error || !p->error_key) {
        return qx_fail_nomem(err, n_items * sizeof *p->error);
    }
    p->is_wanted = is_on && !s->is_batch;
    return qx_predictor_begin(s, err);
}

enum qx_status qx_predictor_begin(struct qx_session *s, struct qx_error *err)
{
    struct qx_predictor *p = &s->predictor;
    if (!s->net || !s->data) {
        return QX_OK;
    }
    const size_t n = (size_t)qx_net_n_layers(s->net) + 1;
    p->seen = qx_mem_array(n, sizeof *p->seen);
    p->is_known = qx_mem_zalloc(n * sizeof *p->is_known);
    p->asked = qx_mem_zalloc(n * sizeof *p->asked);
    p->asked_set = qx_mem_array(n, sizeof *p->asked_set);
    if (!p->seen || !p->is_known || !p->asked || !p->asked_set) {
        return qx_fail_nomem(err, n * sizeof *p->seen);
    }
    p->key = qx_predictor_key(s, QX_PREDICT_ROWS);
    p->is_on = p->is_wanted;
    if (p->is_on) {
        qx_predictor_load(s);
    }
    return QX_OK;
}

void qx_predictor_release(struct qx_session *s)
{
    struct qx_predictor *p = &s->predictor;
    qx_predict_probe_free(p->probe);
    qx_calibration_unref(p->calibration);
    qx_predict_anchors_unref(p->anchors);
    qx_predict_table_unref(p->table);
    qx_predict_table_unref(p->growing);
    qx_predict_mix_free(p->mix);
    qx_predictor_fresh_drop(p, p->n_fresh);
    for (int i = 0; i < p->n_points; i++) {
        qx_predict_point_unref(p->points[i]);
    }
    qx_mem_free(p->error);
    qx_mem_free(p->error_key);
    qx_mem_free(p->seen);
    qx_mem_free(p->is_known);
    qx_mem_free(p->asked);
    qx_mem_free(p->asked_set);
    *p = (struct qx_predictor){0};
}

/* Others go first: a task of ours that runs ends with what it has. */
void qx_predictor_work(struct qx_session *s)
{
    struct qx_predictor *p = &s->predictor;
    if (!p->is_on || p->has_failed) {
        return;
    }
    if (p->task && s->queue.n_out > 1) {
        qx_task_cancel(p->task);
    } else if (s->queue.n_out == 0) {
        if (qx_predictor_exact_left(s, qx_clock_s()) == 0) {
            qx_predictor_follow(s); /* also where no host asks */
        }
        qx_predictor_submit(s);
    }
}

void qx_predictor_touched(struct qx_session *s)
{
    s->predictor.is_dirty = true;
    s->news |= QX_NEWS_GAUGE;
}

/* ---- the answer ---- */

/* False while a range or the histogram is still to come. */
static bool change_of(struct qx_session *s, int layer, const struct qx_setting *set,
                      struct qx_predict_layer *out)
{
    const struct qx_predictor *p = &s->predictor;
    const int64_t item = qx_net_layer(s->net, layer)->tensor;
    const struct qx_cache_entry *e = NULL;
    if (!qx_setting_is_fp32(set)) {
        struct qx_hist_spec spec = qx_setting_spec(set, s->items.v[item].channels);
        e = qx_cache_want(s, item, &spec);
        if (!e || !e->hist || qx_setting_open(set)) {
            return false;
        }
    }
    return qx_predict_layer_of(set, e ? e->hist : NULL,
                               p->calibration ? qx_calibration_layer(p->calibration, layer) : NULL,
                               out, NULL) == QX_OK;
}

static void layers_follow(struct qx_session *s)
{
    struct qx_predictor *p = &s->predictor;
    p->n_unknown = 0;
    for (int l = 0; l < qx_net_n_layers(s->net); l++) {
        const struct qx_setting *set = &s->now.set[qx_net_layer(s->net, l)->tensor];
        if (p->is_known[l] && qx_setting_equal(set, &p->seen[l])) {
            continue;
        }
        struct qx_predict_layer change;
        p->is_known[l] = change_of(s, l, set, &change);
        p->seen[l] = *set;
        if (p->is_known[l]) {
            qx_predict_mix_set(p->mix, l, &change);
            if (!qx_predict_table_covers(p->table, l, &change)) {
                p->selected = l; /* measured next */
            }
        } else {
            p->n_unknown++;
        }
    }
}

/* Brings mix and answer up to date. */
void qx_predictor_follow(struct qx_session *s)
{
    struct qx_predictor *p = &s->predictor;
    if (!p->table || (!p->is_dirty && p->n_unknown == 0)) {
        return;
    }
    if (p->mix && qx_predict_mix_table(p->mix) != p->table &&
        qx_predict_mix_rebase(p->mix, p->table, NULL) != QX_OK) {
        qx_predict_mix_free(p->mix); /* of another number of rows */
        p->mix = NULL;
    }
    if (!p->mix) {
        const struct qx_predict_mix_options o = {.seed = s->seed};
        memset(p->is_known, 0, (size_t)qx_net_n_layers(s->net) * sizeof *p->is_known);
        if (qx_predict_mix_new(p->table, &o, &p->mix, NULL) != QX_OK) {
            return;
        }
    }
    layers_follow(s);
    p->has_answer = p->n_unknown == 0;
    if (p->has_answer) {
        qx_predict_anchors_ask(p->anchors, p->mix, &p->answer);
    }
    p->is_dirty = false;
    p->serial++;
}

/* Squared relative error of an item's weights, kept until its setting changes; NaN while unknown. */
static double error_of(struct qx_session *s, int64_t item)
{
    struct qx_predictor *p = &s->predictor;
    const struct qx_setting *set = &s->now.set[item];
    struct qx_hist_spec spec = qx_setting_spec(set, s->items.v[item].channels);
    const uint64_t key = qx_predict_key(set, QX_SITE_W);
    struct qx_metrics m;
    if (key == p->error_key[item]) {
        return p->error[item];
    }
    const struct qx_cache_entry *e = qx_cache_find(&s->cache, item, &spec);
    if (!e || !e->hist || qx_setting_open(set) || qx_metric_hist(e->hist, set, &m, NULL) != QX_OK) {
        return NAN;
    }
    const struct qx_amplitude t = qx_amplitude_of(&m);
    p->error_key[item] = key;
    p->error[item] = t.round * t.round + t.clip * t.clip;
    return p->error[item];
}

/* Relative error per layer, each with weight 1: ranks where nothing was run. */
static enum qx_risk risk_of(struct qx_session *s)
{
    static const double low = 0.002, high = 0.03; /* 8 bits lie below, 3 bits above */
    double sum = 0.0;
    int64_t n = 0;
    for (int64_t i = 0; i < s->items.n; i++) {
        if (s->items.v[i].role == QX_ROLE_LINEAR && s->items.v[i].can_quantize) {
            sum += qx_setting_is_fp32(&s->now.set[i]) ? 0.0 : error_of(s, i);
            n++;
        }
    }
    const double mean = n > 0 ? sum / (double)n : 0.0;
    return isnan(mean)   ? QX_RISK_UNKNOWN
           : mean < low  ? QX_RISK_LOW
           : mean < high ? QX_RISK_MEDIUM
                         : QX_RISK_HIGH;
}

static void grades_sum(const struct qx_predictor *p, struct qx_gauge *out)
{
    for (int i = 0; i < p->n_grades; i++) {
        const struct qx_grade *g = &p->grades[i];
        out->grade_error += fabs(g->predicted - g->measured) / p->n_grades;
        out->n_graded_in_band += g->measured >= g->lo && g->measured <= g->hi;
    }
    out->n_graded = p->n_grades;
}

void qx_predictor_answer(struct qx_session *s, struct qx_gauge *out)
{
    struct qx_predictor *p = &s->predictor;
    if (p->is_on) {
        qx_predictor_follow(s);
        grades_sum(p, out);
    }
    if (p->is_on && p->has_answer && p->n_unknown == 0 && p->answer.sum.n_missing == 0) {
        out->guess = QX_GUESS_PREDICTED;
        out->predicted = p->answer;
        out->is_predicted_early = p->is_early;
        out->predict_rows = qx_predict_base_n(qx_predict_table_base(p->table));
        out->n_entries = qx_predict_table_n(p->table);
        return;
    }
    if (out->state == QX_GAUGE_NONE || out->state == QX_GAUGE_DATA ||
        (p->is_on && out->state != QX_GAUGE_MEASURED)) {
        out->risk = risk_of(s);
        out->guess = out->risk == QX_RISK_UNKNOWN ? QX_GUESS_NONE : QX_GUESS_RANK;
    }
}

bool qx_session_layer_share(struct qx_session *s, int64_t item, double *share, double *kl)
{
    struct qx_predictor *p = &s->predictor;
    const int layer = s->net ? qx_net_layer_of_tensor(s->net, item) : -1;
    if (layer < 0 || !p->is_on) {
        return false;
    }
    qx_predictor_follow(s);
    if (!p->has_answer || p->answer.sum.n_missing > 0) {
        return false;
    }
    *kl = qx_predict_mix_share(p->mix, layer);
    *share = p->answer.sum.kl > 0.0 ? *kl / p->answer.sum.kl : 0.0;
    return true;
}

/* ---- what measurements say ---- */

void qx_predictor_asked(struct qx_session *s, uint64_t key)
{
    struct qx_predictor *p = &s->predictor;
    p->has_asked = p->has_point_set = false; /* what they speak of is overwritten */
    if (!p->is_on) {
        return;
    }
    qx_predictor_follow(s);
    if (!p->has_answer || p->n_unknown > 0) {
        return;
    }
    for (int l = 0; l < qx_net_n_layers(s->net); l++) {
        p->asked[l] = *qx_predict_mix_layer(p->mix, l);
        p->asked_set[l] = p->seen[l];
    }
    p->asked_key = key;
    p->asked_answer = p->answer;
    p->asked_answer.has_value &= !p->is_early; /* else it is of other rows than the measurement */
    p->has_asked = true;
}

static void grade_add(struct qx_predictor *p, const struct qx_grade *g)
{
    if (p->n_grades == QX_GRADES_KEPT) {
        memmove(p->grades, p->grades + 1, (QX_GRADES_KEPT - 1) * sizeof *p->grades);
        p->n_grades--;
    }
    p->grades[p->n_grades++] = *g;
}

/* Random configurations stay longest: the band stands on them. */
void qx_predictor_point_add(struct qx_predictor *p, struct qx_predict_point *point)
{
    int out = -1;
    struct qx_predict_point_info info, old;
    qx_predict_point_look(point, &info);
    for (int i = 0; i < p->n_points && out < 0; i++) {
        qx_predict_point_look(p->points[i], &old);
        out = old.key == info.key ? i : out;
    }
    for (int i = 0; i < p->n_points && out < 0 && p->n_points == QX_POINTS_KEPT; i++) {
        qx_predict_point_look(p->points[i], &old);
        out = !old.is_drawn ? i : out;
    }
    if (p->n_points == QX_POINTS_KEPT && out < 0) {
        out = 0;
    }
    if (out >= 0) {
        qx_predict_point_look(p->points[out], &old);
        p->n_drawn -= old.is_drawn;
        qx_predict_point_unref(p->points[out]);
        memmove(p->points + out, p->points + out + 1,
                (size_t)(p->n_points - out - 1) * sizeof(struct qx_predict_point *));
        p->n_points--;
    }
    p->n_drawn += info.is_drawn;
    p->points[p->n_points++] = point;
    p->has_new_points = true;
}

void qx_predictor_measured(struct qx_session *s, uint64_t key, const struct qx_eval_result *r)
{
    struct qx_predictor *p = &s->predictor;
    if (!p->is_on || !p->has_asked || p->asked_key != key) {
        return;
    }
    const struct qx_prediction *a = &p->asked_answer;
    const struct qx_predict_scale scale =
        qx_measure_scale(s, qx_measure_find(&s->measure, s->measure.key_fp32));
    const double value = qx_predict_value(&scale, r);
    const struct qx_predict_point_info info = {key, value, NAN, false};
    struct qx_predict_point *point;
    p->has_asked = false;
    if (a->has_value && a->anchor_key != key) {
        const struct qx_grade g = {key, a->value, a->lo, a->hi, value};
        grade_add(p, &g);
    }
    if (qx_predict_point_new(p->asked, qx_net_n_layers(s->net), &info, &point, NULL) == QX_OK) {
        qx_predictor_point_add(p, point);
        p->asked_info = info;
        p->has_point_set = true;
    }
    qx_predictor_save(s);
    s->news |= QX_NEWS_GAUGE;
}

/* Building the prediction's table in the queue lane, a slice at a time, behind everything the user waits
 * for: P and what is on disk first, then lite, then full; random configurations for the band last. */
#include "base/arena.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/predictor_task.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double slice_s = 0.15;

void qx_build_drop(struct qx_task *t)
{
    struct qx_build_task *b = (struct qx_build_task *)t;
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
    qx_mem_free(b->sites);
    for (int i = 0; i < b->n_fresh; i++) {
        qx_predict_entry_unref(b->fresh[i]);
    }
    qx_mem_free(b->fresh);
    qx_mem_free(b);
}

/* ---- in the lane ---- */

static bool table_take(struct qx_build_task *b, const struct qx_predict_entry *e)
{
    struct qx_predict_table *more = NULL;
    if (qx_predict_table_add(b->table, e, &more, NULL) != QX_OK) {
        return false;
    }
    qx_predict_table_unref(b->table);
    b->table = more;
    return true;
}

/* Entries kept from earlier. What does not fit is measured again. */
static void entries_load(struct qx_build_task *b)
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

static void entry_keep(const struct qx_build_task *b, const struct qx_predict_spec *spec,
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
enum qx_status qx_build_start(struct qx_build_task *b, struct qx_error *err)
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
static void point_finish(struct qx_build_task *b)
{
    struct qx_predict_truth truth;
    if (qx_predict_probe_run(b->probe, b->set, QX_ENGINE_AUTO, b->s->pool, &b->task.ctl, &truth,
                             NULL, NULL) == QX_OK) {
        b->info.kl = truth.kl;
        qx_predict_point_new(b->change, qx_net_n_layers(b->s->net), &b->info, &b->point, NULL);
    }
}

/* A random configuration, measured on all rows and on P. */
static void point_draw(struct qx_build_task *b)
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
        b->info =
            (struct qx_predict_point_info){qx_hash64(b->change, (size_t)n * sizeof *b->change, 1),
                                           qx_predict_value(&b->scale, r), NAN, true};
        point_finish(b);
    }
    qx_eval_result_free(r);
}

/* The new point among the others, in the place of one with its key. */
static void point_put(struct qx_build_task *b)
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
static void calibrate(struct qx_build_task *b)
{
    struct qx_predict_want weights = b->want;
    struct qx_predict_spec spec;
    struct qx_error why;
    weights.level = QX_PREDICT_LITE;
    weights.has_act = false;
    if (!b->calibration && !b->is_without_act && (!b->is_early || b->want.is_act_urgent) &&
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
void qx_build_entries(struct qx_build_task *b)
{
    const double end = qx_clock_s() + slice_s;
    struct qx_predict_spec spec;
    while (!qx_cancel_test(&b->task.ctl)) {
        struct qx_predict_entry *e = NULL;
        calibrate(b);
        if (!qx_predict_next(b->table, b->s->net, &b->want, &spec)) {
            b->is_complete = !b->is_early && (b->calibration || b->is_without_act);
            return;
        }
        if (b->is_early && spec.layer != b->want.first) {
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
        if (qx_clock_s() > end && !b->is_early) {
            return;
        }
    }
}

/* Exact entries for about a slice, at least one. One that fails is not tried again for this recipe. */
static void sites_measure(struct qx_build_task *b)
{
    const double end = qx_clock_s() + slice_s;
    for (int i = 0; i < b->n_sites && !qx_cancel_test(&b->task.ctl); i++) {
        struct qx_predict_entry *e = NULL;
        const enum qx_status st = qx_predictor_exact_measure(b->s, b->key, b->probe, &b->sites[i],
                                                             b->s->pool, &b->task.ctl, &e, &b->why);
        if (st == QX_ECANCELLED) {
            return;
        }
        if (st != QX_OK) {
            qx_log(QX_LOG_WARN, "a site cannot be measured alone: %s", b->why.text);
            b->is_exact_refused = true;
            return;
        }
        b->is_exact_refused = !table_take(b, e);
        qx_predict_entry_unref(e);
        if (b->is_exact_refused || qx_clock_s() > end) {
            return;
        }
    }
}

/* Does what it was asked for; being cancelled means to end early with what there is. */
enum qx_status qx_build_run(struct qx_task *t, struct qx_error *err)
{
    struct qx_build_task *b = (struct qx_build_task *)t;
    const struct qx_predict_mix_options o = {.seed = b->s->seed};
    struct qx_predict_want weights_and_inputs = b->want;
    struct qx_predict_spec spec;
    enum qx_status st = b->probe ? QX_OK : qx_build_start(b, err);
    if (st != QX_OK) {
        return st;
    }
    if (b->is_early) {
        b->scale = qx_predict_scale_of(qx_predict_probe_base(b->probe));
    }
    for (int i = 0; i < b->n_fresh; i++) {
        table_take(b, b->fresh[i]); /* of other rows: no entry of this table */
    }
    if (b->is_draw) {
        point_draw(b);
    } else if (b->set) {
        point_finish(b);
    }
    if (b->point) {
        point_put(b);
    }
    if (b->n_sites > 0) {
        sites_measure(b);
    } else if (!b->is_draw) {
        qx_build_entries(b);
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

/* ---- how much ---- */

double qx_build_pass_s(const struct qx_session *s, int64_t rows)
{
    static const double macs_a_second = 4e10;
    return (double)qx_net_macs(s->net) * (double)rows / macs_a_second;
}

/* Does it matter little to measure the table on more rows, and to answer from it? Not by the clock: every
 * run shall come to the same rows. */
static bool is_quick(const struct qx_session *s)
{
    static const double pass_s = 0.5;
    enum { CELLS_MOST = 1 << 15 }; /* of an answer, rows times classes: about a millisecond */
    return !qx_net_is_words(s->net) && qx_build_pass_s(s, QX_PREDICT_ROWS_MOST) <= pass_s &&
           qx_net_n_classes(s->net) * QX_PREDICT_ROWS_MOST <= CELLS_MOST;
}

int64_t qx_build_rows_goal(const struct qx_session *s, const struct qx_predict_scale *scale)
{
    const int64_t most = scale->is_words ? QX_PREDICT_PLACES
                         : is_quick(s)   ? QX_PREDICT_ROWS_MOST
                                         : QX_PREDICT_ROWS;
    return scale->n < most ? scale->n : most;
}

/* Few rows first where the weights' lite entries would take long on all of them. eval_s: a pass over
 * all rows; a place of a language model costs QX_PREDICT_SPREAD tokens. */
int64_t qx_build_rows_first(const struct qx_session *s, const struct qx_predict_scale *scale,
                            double eval_s)
{
    static const double patience_s = 20, rest_of_a_pass = 0.6;
    const int64_t usual = scale->is_words ? QX_PREDICT_PLACES : QX_PREDICT_ROWS;
    const int64_t goal = scale->n < usual ? scale->n : usual;
    const double row_s = eval_s / (double)scale->n * (scale->is_words ? QX_PREDICT_SPREAD : 1);
    const double lite_s = 4.0 * qx_net_n_layers(s->net) * (double)goal * row_s * rest_of_a_pass;
    return lite_s > patience_s && goal > QX_PREDICT_ROWS_LEAST ? QX_PREDICT_ROWS_LEAST : goal;
}

bool qx_build_any_act(const struct qx_session *s)
{
    for (int l = 0; l < qx_net_n_layers(s->net); l++) {
        const struct qx_setting *set = &s->now.set[qx_net_layer(s->net, l)->tensor];
        if (qx_predict_key(set, QX_SITE_A)) {
            return true;
        }
    }
    return false;
}

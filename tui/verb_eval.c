/* qexplore eval: the measured accuracy of a recipe, paired with FP32 on the same rows, or predicted
 * without running it. */
#include "verb.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMPARE_ROWS = 256 }; /* on which the two engines are compared */

struct measured {
    struct qx_eval_result *fp32, *recipe; /* recipe == NULL: nothing is quantized */
    struct qx_eval_pair pair;
    bool has_predicted;
    struct qx_prediction predicted;
    struct ui_rows rows; /* v == NULL: none */
};

static const struct qx_eval_result *shown(const struct measured *m)
{
    return m->recipe ? m->recipe : m->fp32;
}

/* The recipe is applied first, so that a wrong flag is answered at once, and taken back while FP32 is
 * measured. */
static enum qx_status measure(const struct ui_args *args, struct qx_session *s, struct measured *m,
                              struct qx_error *err)
{
    if (!ui_apply_recipe(args, s, err)) {
        return err->status;
    }
    int n_steps = 0;
    while (qx_session_undo(s)) {
        n_steps++;
    }
    struct qx_eval_options options = {
        .max_samples = args->max_samples, .seed = args->seed, .compare_rows = COMPARE_ROWS};
    if (args->engine && qx_engine_parse(args->engine, &options.engine, err) != QX_OK) {
        return err->status;
    }
    struct qx_eval_options plain = {.max_samples = args->max_samples, .seed = args->seed};
    if (n_steps == 0) {
        plain.engine = options.engine;
    }
    enum qx_status status = qx_session_run_eval(s, &plain, ui_batch_ctl(), &m->fp32, err);
    if (status != QX_OK || n_steps == 0) {
        return status;
    }
    while (qx_session_redo(s)) {
    }
    status = qx_session_run_resolve(s, ui_batch_ctl(), err);
    if (status == QX_OK) {
        status = qx_session_run_eval(s, &options, ui_batch_ctl(), &m->recipe, err);
    }
    if (status == QX_OK) {
        status = qx_eval_compare(m->fp32, m->recipe, &m->pair, err);
    }
    if (status == QX_OK) {
        ui_rows_measured(m->fp32, m->recipe, &m->rows);
    }
    return status;
}

void ui_calib_json(struct qx_jw *w, const struct qx_session *s)
{
    struct qx_session_calib c;
    if (!qx_session_calib(s, &c)) {
        return;
    }
    qx_jw_key(w, "calib");
    qx_jw_object(w);
    qx_jw_key(w, "source");
    qx_jw_str(w, c.source);
    qx_jw_put_int(w, "n", c.n);
    qx_jw_key(w, "hash");
    qx_jw_str(w, c.hash[0] ? c.hash : NULL);
    qx_jw_key(w, "note");
    qx_jw_str(w, c.note[0] ? c.note : NULL);
    qx_jw_end(w);
}

static void metrics_json(struct qx_jw *w, const struct measured *m)
{
    const struct qx_eval_result *r = shown(m);
    qx_jw_key(w, "metrics");
    qx_jw_object(w);
    qx_jw_put_num(w, "accuracy", r->accuracy);
    qx_jw_put_int(w, "n", r->n);
    qx_jw_put_int(w, "correct", r->correct);
    qx_jw_key(w, "ci95");
    qx_jw_array(w);
    qx_jw_num(w, r->ci_lo);
    qx_jw_num(w, r->ci_hi);
    qx_jw_end(w);
    qx_jw_put_num(w, "macro_f1", r->macro_f1);
    if (m->recipe) {
        qx_jw_put_num(w, "agreement", m->pair.agreement);
        qx_jw_put_num(w, "same_top", m->pair.agreement);
        qx_jw_put_int(w, "flips", m->pair.flips);
        qx_jw_put_int(w, "lost", m->pair.lost);
        qx_jw_put_int(w, "gained", m->pair.gained);
        qx_jw_put_num(w, "delta", m->pair.delta);
        qx_jw_put_num(w, "mcnemar_p", m->pair.mcnemar_p);
        qx_jw_put_num(w, "accuracy_fp32", m->fp32->accuracy);
        qx_jw_put_num(w, "macro_f1_fp32", m->fp32->macro_f1);
    }
    const struct qx_net_report *both = &r->report;
    if (both->n_codes > 0) { /* integer against simulated */
        qx_jw_put_num(w, "code_mismatch", (double)both->n_codes_differ / (double)both->n_codes);
        qx_jw_put_int(w, "code_mismatch_codes", both->n_codes_differ);
        qx_jw_put_int(w, "code_mismatch_rows", both->n_rows_differ);
        qx_jw_put_int(w, "code_mismatch_n", both->n_rows);
    }
    if (both->n_nonfinite > 0) {
        qx_jw_put_int(w, "nonfinite", both->n_nonfinite);
    }
    qx_jw_end(w);
}

static int eval_json(const struct ui_args *args, struct qx_session *s, const struct measured *m)
{
    struct qx_jw *w = ui_json_begin(args, "eval");
    if (shown(m)) {
        metrics_json(w, m);
        qx_jw_key(w, "engine");
        qx_jw_str(w, qx_engine_name(shown(m)->engine));
    }
    if (m->recipe) {
        ui_changes_json(args, w, s, m->fp32, m->recipe);
    }
    if (m->rows.v) {
        ui_rows_json(args, w, s, &m->rows);
    }
    if (m->has_predicted) {
        ui_predicted_json(w, &m->predicted);
    }
    ui_calib_json(w, s);
    qx_jw_key(w, "data");
    qx_jw_object(w);
    qx_jw_key(w, "path");
    qx_jw_str(w, qx_dataset_path(qx_session_data(s)));
    qx_jw_put_int(w, "n", qx_dataset_n(qx_session_data(s)));
    qx_jw_key(w, "hash");
    qx_jw_str(w, qx_dataset_hash(qx_session_data(s)));
    qx_jw_key(w, "note");
    qx_jw_str(w, qx_dataset_note(qx_session_data(s)));
    qx_jw_end(w);
    qx_jw_key(w, "recipe_hash");
    qx_jw_str(w, qx_session_recipe_hash(s));
    if (shown(m)) {
        qx_jw_put_num(w, "time_s", shown(m)->time_s);
    }
    return ui_json_print(w);
}

static void eval_print(const struct measured *m)
{
    const struct qx_eval_result *r = shown(m);
    printf("accuracy %.2f %% (%lld of %lld right), 95 %% interval %.2f to %.2f, macro F1 %.4f, %s, "
           "%.2f s\n",
           100 * r->accuracy, (long long)r->correct, (long long)r->n, 100 * r->ci_lo,
           100 * r->ci_hi, r->macro_f1, qx_engine_name(r->engine), r->time_s);
    const struct qx_net_report *both = &r->report;
    if (both->n_codes > 0) {
        printf("integer against simulated, %lld rows: %lld of %lld activation codes differ, %lld "
               "rows get another class\n",
               (long long)both->n_rows, (long long)both->n_codes_differ, (long long)both->n_codes,
               (long long)both->n_rows_differ);
    }
    if (m->recipe) {
        printf("against FP32 %.2f %% (macro F1 %.4f): %+.2f points, %lld rows lost, %lld gained, "
               "agreement %.2f %%, McNemar p %.3g\n",
               100 * m->fp32->accuracy, m->fp32->macro_f1, 100 * m->pair.delta,
               (long long)m->pair.lost, (long long)m->pair.gained, 100 * m->pair.agreement,
               m->pair.mcnemar_p);
    }
}

/* A calibrator may clip what matters: KL, say, where single values are most of the inputs (a background behind a
 * Relu). Said where the error is a hundredth of the signal and four times that of the whole range. */
static void clipping_print(struct qx_session *s)
{
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        const struct qx_setting *set = qx_session_setting(s, i);
        const struct qx_act *act = &set->act;
        struct qx_metrics m, whole;
        if (!qx_setting_is_int(set) || set->algo[0] || !qx_session_act_metrics(s, i, act, &m)) {
            continue;
        }
        const struct qx_stats *seen = qx_observed_stats(qx_session_observed(s, i));
        struct qx_act wide = *act;
        wide.range = act->sym ? (struct qx_range){-seen->absmax, seen->absmax}
                              : (struct qx_range){fmin(seen->min, 0.0), fmax(seen->max, 0.0)};
        if (!qx_session_act_metrics(s, i, &wide, &whole) || m.sqnr_db > 20.0 ||
            !(m.mse > 4.0 * whole.mse)) {
            continue;
        }
        fprintf(
            stderr,
            "qexplore eval: %s clips the inputs of '%s' at %.4g to %.4g of %.4g to %.4g: %.1f dB, "
            "and %.1f unclipped; try --act-method minmax or mse\n",
            act->calib->name, qx_session_item(s, i)->tensor->name, act->range.lo, act->range.hi,
            wide.range.lo, wide.range.hi, m.sqnr_db, whole.sqnr_db);
    }
}

/* What the figures cannot say for themselves. */
static void notes_print(struct qx_session *s, const struct measured *m)
{
    struct qx_session_calib c;
    const char *note = qx_dataset_note(qx_session_data(s));
    if (note[0]) {
        fprintf(stderr, "qexplore eval: %s: %s\n", qx_dataset_path(qx_session_data(s)), note);
    }
    if (qx_session_calib(s, &c) && c.note[0]) {
        fprintf(stderr, "qexplore eval: %s\n", c.note);
    }
    clipping_print(s);
    if (shown(m) && shown(m)->report.n_nonfinite > 0) {
        fprintf(stderr,
                "qexplore eval: %lld NaN or infinite activations were taken as 0 when quantized\n",
                (long long)shown(m)->report.n_nonfinite);
    }
}

/* The gates speak after the result is printed: of what was measured, else of what was predicted. */
static int gate(const struct ui_args *args, const struct measured *m)
{
    if (!shown(m) && !m->predicted.has_value) {
        return UI_EXIT_OK;
    }
    double accuracy = shown(m) ? shown(m)->accuracy : m->predicted.value;
    double drop = shown(m) ? m->fp32->accuracy - accuracy : -m->predicted.change;
    if (!isnan(args->fail_under) && accuracy < args->fail_under) {
        fprintf(stderr, "qexplore eval: accuracy %.4f is under --fail-under %g\n", accuracy,
                args->fail_under);
        return UI_EXIT_GATE;
    }
    if (!isnan(args->max_drop) && drop > args->max_drop) {
        fprintf(stderr, "qexplore eval: %.4f of accuracy lost, more than --max-drop %g\n", drop,
                args->max_drop);
        return UI_EXIT_GATE;
    }
    return UI_EXIT_OK;
}

/* The recipe is applied; without --measure nothing but FP32 is run on all rows. */
static enum qx_status predict(const struct ui_args *args, struct qx_session *s, struct measured *m,
                              struct qx_error *err)
{
    const struct qx_eval_options options = {.max_samples = args->max_samples, .seed = args->seed};
    if (!args->measure && !ui_apply_recipe(args, s, err)) {
        return err->status;
    }
    struct ui_rows rows = {.is_predicted = true};
    rows.v = malloc(QX_PREDICT_ROWS_MOST * sizeof *rows.v);
    enum qx_status st =
        qx_session_run_predict(s, &options, ui_batch_ctl(), &m->predicted, rows.v, &rows.n, err);
    m->has_predicted = st == QX_OK;
    if (st != QX_OK || !rows.v || m->rows.v) { /* what was measured says more */
        free(rows.v);
        return st;
    }
    ui_rows_sort(&rows);
    m->rows = rows;
    return st;
}

static int eval_report(const struct ui_args *args, struct qx_session *s)
{
    struct qx_error err = {.offset = -1};
    struct measured m = {0};
    ui_progress_begin(args, "eval");
    enum qx_status status = QX_OK;
    if (!args->predict || args->measure) {
        status = measure(args, s, &m, &err);
    }
    if (status == QX_OK && args->predict) {
        status = predict(args, s, &m, &err);
    }
    ui_progress_end();
    int code;
    if (status != QX_OK) {
        code = ui_report(args, &err);
    } else {
        if (!args->json && shown(&m)) {
            eval_print(&m);
        }
        if (!args->json && m.recipe) {
            ui_changes_print(args, s, m.fp32, m.recipe);
        }
        if (!args->json && m.has_predicted) {
            ui_predicted_print(&m.predicted);
        }
        if (!args->json && m.rows.v) {
            ui_rows_print(args, s, &m.rows);
        }
        code = args->json ? eval_json(args, s, &m) : UI_EXIT_OK;
        notes_print(s, &m);
        code = code ? code : gate(args, &m);
    }
    qx_eval_result_free(m.fp32);
    qx_eval_result_free(m.recipe);
    free(m.rows.v);
    return code;
}

/* Lists that this kind of network has not. */
static bool lists_check(const struct ui_args *args, bool is_words, bool is_embedding,
                        struct qx_error *err)
{
    if (args->n_rows && (is_words || is_embedding)) {
        *err = (struct qx_error){.status = QX_EUNSUPPORTED, .offset = -1};
        snprintf(err->text, sizeof err->text,
                 "--rows is for classifiers, whose rows have a class to lose%s",
                 is_words ? "; --changes N lists the tokens that change most" : "");
        return false;
    }
    return ui_changes_check(args, is_words, err);
}

static int eval_run(const struct ui_args *args)
{
    int code;
    struct qx_error err;
    struct qx_session *s = ui_open_batch(args, &code);
    if (s) {
        const struct qx_net *net = qx_session_net(s);
        const bool is_words = net && qx_net_is_words(net);
        const bool is_embedding = net && strcmp(qx_net_task(net), "embedding") == 0;
        code = net && !lists_check(args, is_words, is_embedding, &err) ? ui_report(args, &err)
               : is_words                                              ? ui_eval_words(args, s)
               : is_embedding                                          ? ui_eval_embedding(args, s)
                                                                       : eval_report(args, s);
        qx_session_close(&s);
    }
    return code;
}

const struct ui_verb ui_verb_eval = {
    .name = "eval",
    .usage = "FOLDER [--bits N ...] [--data F] [--max-samples N] [--predict] [--changes N] "
             "[--changes-by answers|kl] [--rows N] [--fail-under X] [--json]",
    .help = "Measure the accuracy of a model folder, as it is or quantized, or predict it.",
    .example = "qexplore eval samples/fashion-cnn --bits 4 --max-drop 0.01",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_RECIPE | UI_FLAGS_SESSION | UI_FLAGS_EVAL,
    .min_positional = 1,
    .max_positional = 1,
    .run = eval_run,
};

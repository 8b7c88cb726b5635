/* qexplore eval of a language model: perplexity over the documents, and, token by token, how its
 * distributions differ from FP32's. */
#include "verb.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct measured {
    struct qx_eval_result *fp32, *recipe; /* recipe == NULL: nothing is quantized */
    struct qx_eval_pair pair;
    struct qx_divergence divergence;
    bool has_predicted;
    struct qx_prediction predicted;
};

static const struct qx_eval_result *shown(const struct measured *m)
{
    return m->recipe ? m->recipe : m->fp32;
}

static enum qx_status measure(const struct ui_args *args, struct qx_session *s, struct measured *m,
                              struct qx_error *err)
{
    struct qx_eval_options options = {.max_samples = args->max_samples};
    if (!ui_apply_recipe(args, s, err) ||
        (args->engine && qx_engine_parse(args->engine, &options.engine, err) != QX_OK)) {
        return err->status;
    }
    if (qx_session_n_edits(s) == 0) {
        return qx_session_run_eval(s, &options, ui_batch_ctl(), &m->fp32, err);
    }
    struct qx_beside both;
    const enum qx_status st = qx_session_run_beside(s, &options, ui_batch_ctl(), &both, err);
    if (st != QX_OK) {
        return st;
    }
    m->fp32 = both.fp32;
    m->recipe = both.recipe;
    m->divergence = both.divergence;
    return qx_eval_compare(m->fp32, m->recipe, &m->pair, err);
}

static void divergence_json(struct qx_jw *w, const struct measured *m)
{
    const struct qx_divergence *d = &m->divergence;
    qx_jw_put_num(w, "ppl_fp32", m->fp32->perplexity);
    qx_jw_put_num(w, "increase", m->pair.increase);
    qx_jw_put_num(w, "increase_se", m->pair.increase_error);
    qx_jw_put_num(w, "nll_delta", m->pair.nll_delta);
    qx_jw_put_num(w, "nll_delta_se", m->pair.nll_error);
    qx_jw_put_num(w, "kld_mean", d->kld_mean);
    qx_jw_put_num(w, "kld_se", d->kld_error);
    qx_jw_put_num(w, "kld_p99", d->kld_p99);
    qx_jw_put_num(w, "kld_max", d->kld_max);
    qx_jw_put_num(w, "delta_p", d->delta_p);
    qx_jw_put_num(w, "rms_delta_p", d->rms_delta_p);
    qx_jw_put_num(w, "rms_delta_p_se", d->rms_delta_p_error);
    qx_jw_put_num(w, "same_top", d->same_top);
    qx_jw_put_num(w, "same_top_se", d->same_top_error);
    qx_jw_put_num(w, "agreement", m->pair.agreement);
    qx_jw_put_int(w, "flips", m->pair.flips);
}

static void data_json(struct qx_jw *w, const struct qx_dataset *data, int64_t n_documents)
{
    int64_t window, stride;
    qx_jw_key(w, "data");
    qx_jw_object(w);
    qx_jw_put_str(w, "path", qx_dataset_path(data));
    qx_jw_put_int(w, "n", n_documents);
    qx_jw_put_str(w, "hash", qx_dataset_hash(data));
    qx_jw_put_str(w, "note", qx_dataset_note(data));
    if (qx_dataset_windows(data, &window, &stride)) {
        qx_jw_put_int(w, "window", window);
        qx_jw_put_int(w, "stride", stride);
    }
    qx_jw_end(w);
}

static void metrics_json(struct qx_jw *w, const struct measured *m)
{
    const struct qx_eval_result *r = shown(m);
    qx_jw_key(w, "metrics");
    qx_jw_object(w);
    qx_jw_put_num(w, "ppl", r->perplexity);
    qx_jw_put_num(w, "ppl_se", r->perplexity_error);
    qx_jw_put_num(w, "nll", r->ce);
    qx_jw_put_num(w, "nll_se", r->perplexity_error / r->perplexity);
    qx_jw_put_num(w, "top1", r->accuracy);
    qx_jw_put_int(w, "tokens", r->n);
    if (m->recipe) {
        divergence_json(w, m);
    }
    if (r->report.n_nonfinite > 0) {
        qx_jw_put_int(w, "nonfinite", r->report.n_nonfinite);
    }
    qx_jw_end(w);
    qx_jw_put_str(w, "engine", qx_engine_name(r->engine));
}

static int print_json(const struct ui_args *args, struct qx_session *s, const struct measured *m)
{
    const struct qx_eval_result *r = shown(m);
    struct qx_jw *w = ui_json_begin(args, "eval");
    if (r) {
        metrics_json(w, m);
    }
    if (m->recipe) {
        ui_changes_json(args, w, s, m->fp32, m->recipe);
    }
    if (m->has_predicted) {
        ui_predicted_json(w, &m->predicted);
    }
    ui_calib_json(w, s);
    data_json(w, qx_session_data(s), r ? r->n_documents : qx_dataset_n(qx_session_data(s)));
    qx_jw_put_str(w, "recipe_hash", qx_session_recipe_hash(s));
    if (r) {
        qx_jw_put_num(w, "time_s", r->time_s);
    }
    return ui_json_print(w);
}

static void print_text(const struct qx_session *s, const struct measured *m)
{
    const struct qx_eval_result *r = shown(m);
    const struct qx_divergence *d = &m->divergence;
    const char *note = qx_dataset_note(qx_session_data(s));
    int64_t window, stride;
    const bool has_windows = qx_dataset_windows(qx_session_data(s), &window, &stride);
    printf("perplexity %.5f, standard error %.4f, over %lld tokens of %lld %s; next token right "
           "%.2f %%, %s, %.2f s\n",
           r->perplexity, r->perplexity_error, (long long)r->n, (long long)r->n_documents,
           has_windows ? "windows" : "documents", 100 * r->accuracy, qx_engine_name(r->engine),
           r->time_s);
    if (m->recipe) {
        printf("against FP32 %.5f: %+.3f %% (standard error %.3f)\n", m->fp32->perplexity,
               100 * m->pair.increase, 100 * m->pair.increase_error);
        printf("KL divergence mean %.6f (standard error %.6f), 99 %% %.5f, largest %.4f nats\n",
               d->kld_mean, d->kld_error, d->kld_p99, d->kld_max);
        printf("delta-p mean %+.3f %%, RMS %.3f %% (standard error %.3f); same top token %.2f %% "
               "(%.2f)\n",
               100 * d->delta_p, 100 * d->rms_delta_p, 100 * d->rms_delta_p_error,
               100 * d->same_top, 100 * d->same_top_error);
    }
    if (note[0]) {
        fprintf(stderr, "qexplore eval: %s: %s\n", qx_dataset_path(qx_session_data(s)), note);
    }
    struct qx_session_calib calib;
    if (qx_session_calib(s, &calib) && calib.note[0]) {
        fprintf(stderr, "qexplore eval: %s\n", calib.note);
    }
    if (r->report.n_nonfinite > 0) {
        fprintf(stderr,
                "qexplore eval: %lld NaN or infinite activations were taken as 0 when quantized\n",
                (long long)r->report.n_nonfinite);
    }
}

/* The gate speaks of what was measured, else of what was predicted. */
static int gate(const struct ui_args *args, const struct measured *m)
{
    const double increase = m->recipe ? m->pair.increase
                            : m->has_predicted && m->predicted.has_value
                                ? 1.0 / m->predicted.value - 1.0
                                : 0.0;
    if (isnan(args->max_drop) || increase <= args->max_drop) {
        return UI_EXIT_OK;
    }
    fprintf(stderr, "qexplore eval: perplexity grew by %.4f, more than --max-drop %g\n", increase,
            args->max_drop);
    return UI_EXIT_GATE;
}

static int report(const struct ui_args *args, struct qx_session *s, const struct measured *m)
{
    int code = UI_EXIT_OK;
    if (args->json) {
        code = print_json(args, s, m);
    } else {
        if (shown(m)) {
            print_text(s, m);
        }
        if (m->recipe) {
            ui_changes_print(args, s, m->fp32, m->recipe);
        }
        if (m->has_predicted) {
            ui_predicted_print(&m->predicted);
        }
    }
    return code == UI_EXIT_OK ? gate(args, m) : code;
}

/* The recipe is applied; without --measure nothing but FP32 is run on all documents. */
static enum qx_status predict(const struct ui_args *args, struct qx_session *s, struct measured *m,
                              struct qx_error *err)
{
    const struct qx_eval_options options = {.max_samples = args->max_samples};
    if (!args->measure && !ui_apply_recipe(args, s, err)) {
        return err->status;
    }
    const enum qx_status st =
        qx_session_run_predict(s, &options, ui_batch_ctl(), &m->predicted, NULL, NULL, err);
    m->has_predicted = st == QX_OK;
    return st;
}

bool ui_words_gate(const struct ui_args *args, const char *verb)
{
    if (!isnan(args->fail_under)) {
        fprintf(stderr,
                "qexplore %s: --fail-under is for classifiers; a language model has --max-drop, "
                "the relative increase of its perplexity\n",
                verb);
    }
    return isnan(args->fail_under);
}

int ui_eval_words(const struct ui_args *args, struct qx_session *s)
{
    struct qx_error err = {.offset = -1};
    struct measured m = {0};
    enum qx_status st = QX_OK;
    if (!ui_words_gate(args, "eval")) {
        return UI_EXIT_UNSUPPORTED;
    }
    ui_progress_begin(args, "eval");
    if (!args->predict || args->measure) {
        st = measure(args, s, &m, &err);
    }
    if (st == QX_OK && args->predict) {
        st = predict(args, s, &m, &err);
    }
    ui_progress_end();
    const int code = st == QX_OK ? report(args, s, &m) : ui_report(args, &err);
    qx_eval_result_free(m.fp32);
    qx_eval_result_free(m.recipe);
    return code;
}

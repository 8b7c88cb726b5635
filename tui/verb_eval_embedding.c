/* qexplore eval of an encoder without a classifier: do its embeddings say the same as FP32's? */
#include "verb.h"

#include <math.h>
#include <stdio.h>

struct said {
    bool has_agreement, has_predicted;
    struct qx_agreement agreement;
    struct qx_prediction predicted; /* of P's rows: the same most similar other row of P */
};

static void metrics_json(struct qx_jw *w, const struct qx_agreement *g)
{
    qx_jw_key(w, "metrics");
    qx_jw_object(w);
    qx_jw_put_int(w, "n", g->n);
    qx_jw_put_num(w, "cosine", g->cosine);
    qx_jw_put_num(w, "cosine_least", g->cosine_least);
    qx_jw_put_num(w, "spearman", g->spearman);
    qx_jw_put_num(w, "same_top", g->same_top);
    qx_jw_put_num(w, "agreement", g->same_top);
    qx_jw_key(w, "ci95");
    qx_jw_array(w);
    qx_jw_num(w, g->same_top_lo);
    qx_jw_num(w, g->same_top_hi);
    qx_jw_end(w);
    if (g->report.n_nonfinite > 0) {
        qx_jw_put_int(w, "nonfinite", g->report.n_nonfinite);
    }
    qx_jw_end(w);
    qx_jw_put_str(w, "engine", qx_engine_name(g->engine));
}

static int print_json(const struct ui_args *args, struct qx_session *s, const struct said *m)
{
    const struct qx_dataset *data = qx_session_data(s);
    struct qx_jw *w = ui_json_begin(args, "eval");
    if (m->has_agreement) {
        metrics_json(w, &m->agreement);
    }
    if (m->has_predicted) {
        ui_predicted_json(w, &m->predicted);
    }
    qx_jw_key(w, "data");
    qx_jw_object(w);
    qx_jw_put_str(w, "path", qx_dataset_path(data));
    qx_jw_put_int(w, "n", qx_dataset_n(data));
    qx_jw_put_str(w, "hash", qx_dataset_hash(data));
    qx_jw_put_str(w, "note", qx_dataset_note(data));
    qx_jw_end(w);
    qx_jw_put_str(w, "recipe_hash", qx_session_recipe_hash(s));
    if (m->has_agreement) {
        qx_jw_put_num(w, "time_s", m->agreement.time_s);
    }
    return ui_json_print(w);
}

static void print_text(const struct qx_session *s, const struct qx_agreement *g)
{
    const char *note = qx_dataset_note(qx_session_data(s));
    printf("embeddings of %lld rows against FP32's: cosine mean %.6f, smallest %.6f; %s, %.2f s\n",
           (long long)g->n, g->cosine, g->cosine_least, qx_engine_name(g->engine), g->time_s);
    printf("similarities of all pairs: Spearman %.6f; most similar row the same for %.2f %%, 95 %% "
           "interval %.2f to %.2f\n",
           g->spearman, 100 * g->same_top, 100 * g->same_top_lo, 100 * g->same_top_hi);
    if (note[0]) {
        fprintf(stderr, "qexplore eval: %s: %s\n", qx_dataset_path(qx_session_data(s)), note);
    }
    if (g->report.n_nonfinite > 0) {
        fprintf(stderr,
                "qexplore eval: %lld NaN or infinite activations were taken as 0 when quantized\n",
                (long long)g->report.n_nonfinite);
    }
}

/* The gates speak of the rows whose most similar one is the same: measured, else predicted. */
static int gate(const struct ui_args *args, const struct said *m)
{
    const bool has_value = m->has_agreement || m->predicted.has_value;
    const double same = m->has_agreement ? m->agreement.same_top : m->predicted.value;
    if (has_value && !isnan(args->fail_under) && same < args->fail_under) {
        fprintf(stderr, "qexplore eval: agreement %.4f is under --fail-under %g\n", same,
                args->fail_under);
        return UI_EXIT_GATE;
    }
    if (has_value && !isnan(args->max_drop) && 1 - same > args->max_drop) {
        fprintf(stderr, "qexplore eval: %.4f of agreement lost, more than --max-drop %g\n",
                1 - same, args->max_drop);
        return UI_EXIT_GATE;
    }
    return UI_EXIT_OK;
}

/* The recipe is applied. */
static enum qx_status say(const struct ui_args *args, struct qx_session *s, struct said *m,
                          struct qx_error *err)
{
    struct qx_beside beside;
    struct qx_eval_options options = {.max_samples = args->max_samples, .seed = args->seed};
    enum qx_status st = args->engine ? qx_engine_parse(args->engine, &options.engine, err) : QX_OK;
    if (st == QX_OK && (!args->predict || args->measure)) {
        st = qx_session_run_beside(s, &options, ui_batch_ctl(), &beside, err);
        m->has_agreement = st == QX_OK;
        m->agreement = st == QX_OK ? beside.agreement : m->agreement;
    }
    if (st == QX_OK && args->predict) {
        st = qx_session_run_predict(s, &options, ui_batch_ctl(), &m->predicted, NULL, NULL, err);
        m->has_predicted = st == QX_OK;
    }
    return st;
}

int ui_eval_embedding(const struct ui_args *args, struct qx_session *s)
{
    struct qx_error err = {.offset = -1};
    struct said m = {.predicted = {.value = NAN}};
    int code = UI_EXIT_OK;
    if (!ui_apply_recipe(args, s, &err)) {
        return ui_report(args, &err);
    }
    ui_progress_begin(args, "eval");
    const enum qx_status st = say(args, s, &m, &err);
    ui_progress_end();
    if (st != QX_OK) {
        return ui_report(args, &err);
    }
    if (args->json) {
        code = print_json(args, s, &m);
    } else {
        if (m.has_agreement) {
            print_text(s, &m.agreement);
        }
        if (m.has_predicted) {
            ui_predicted_print(&m.predicted);
        }
    }
    return code ? code : gate(args, &m);
}

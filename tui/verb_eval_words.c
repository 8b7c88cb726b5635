/* qexplore eval of a language model: perplexity over the documents, beside that of FP32. */
#include "verb.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct measured {
    struct qx_perplexity fp32, recipe;
    bool is_quantized;
};

static const struct qx_perplexity *shown(const struct measured *m)
{
    return m->is_quantized ? &m->recipe : &m->fp32;
}

static enum qx_status measure(const struct ui_args *args, struct qx_session *s, struct measured *m,
                              struct qx_error *err)
{
    struct qx_eval_options options = {.max_samples = args->max_samples};
    if (!ui_apply_recipe(args, s, err)) {
        return err->status;
    }
    int n_steps = 0;
    while (qx_session_undo(s)) {
        n_steps++;
    }
    enum qx_status st = qx_session_run_perplexity(s, &options, ui_batch_ctl(), &m->fp32, err);
    if (st != QX_OK || n_steps == 0) {
        return st;
    }
    while (qx_session_redo(s)) {
    }
    m->is_quantized = true;
    if (args->engine) {
        options.engine =
            strcmp(args->engine, "integer") == 0 ? QX_ENGINE_INTEGER : QX_ENGINE_SIMULATED;
    }
    st = qx_session_run_resolve(s, ui_batch_ctl(), err);
    return st == QX_OK ? qx_session_run_perplexity(s, &options, ui_batch_ctl(), &m->recipe, err)
                       : st;
}

static const char *engine_name(const struct qx_perplexity *p)
{
    return p->engine == QX_ENGINE_INTEGER ? "integer" : "simulated";
}

static void num(struct qx_jw *w, const char *key, double value)
{
    qx_jw_key(w, key);
    qx_jw_num(w, value);
}

static int print_json(const struct ui_args *args, struct qx_session *s, const struct measured *m)
{
    const struct qx_perplexity *p = shown(m);
    const struct qx_dataset *data = qx_session_data(s);
    struct qx_jw *w = ui_json_begin(args, "eval");
    qx_jw_key(w, "metrics");
    qx_jw_object(w);
    num(w, "ppl", p->perplexity);
    num(w, "ppl_se", p->error);
    num(w, "nll", p->nll);
    num(w, "nll_se", p->error / p->perplexity);
    num(w, "top1", p->top1);
    num(w, "tokens", (double)p->n_tokens);
    if (m->is_quantized) {
        num(w, "ppl_fp32", m->fp32.perplexity);
        num(w, "increase", p->perplexity / m->fp32.perplexity - 1.0);
    }
    if (p->report.n_nonfinite > 0) {
        num(w, "nonfinite", (double)p->report.n_nonfinite);
    }
    qx_jw_end(w);
    qx_jw_key(w, "engine");
    qx_jw_str(w, engine_name(p));
    qx_jw_key(w, "data");
    qx_jw_object(w);
    qx_jw_key(w, "path");
    qx_jw_str(w, qx_dataset_path(data));
    num(w, "n", (double)p->n_documents);
    qx_jw_key(w, "hash");
    qx_jw_str(w, qx_dataset_hash(data));
    qx_jw_end(w);
    qx_jw_key(w, "recipe_hash");
    qx_jw_str(w, qx_session_recipe_hash(s));
    num(w, "time_s", p->time_s);
    return ui_json_print(w);
}

static void print_text(const struct measured *m)
{
    const struct qx_perplexity *p = shown(m);
    printf("perplexity %.5f, standard error %.4f, over %lld tokens of %lld documents; next token "
           "right %.2f %%, %s, %.2f s\n",
           p->perplexity, p->error, (long long)p->n_tokens, (long long)p->n_documents,
           100 * p->top1, engine_name(p), p->time_s);
    if (m->is_quantized) {
        printf("against FP32 %.5f: %+.2f %%\n", m->fp32.perplexity,
               100 * (p->perplexity / m->fp32.perplexity - 1.0));
    }
    if (p->report.n_nonfinite > 0) {
        fprintf(stderr,
                "qexplore eval: %lld NaN or infinite activations were taken as 0 when quantized\n",
                (long long)p->report.n_nonfinite);
    }
}

int ui_eval_words(const struct ui_args *args, struct qx_session *s)
{
    struct qx_error err = {.offset = -1};
    struct measured m = {0};
    if (args->predict || !isnan(args->fail_under)) {
        fprintf(stderr,
                "qexplore eval: %s is for classifiers; a language model has --max-drop, "
                "the relative increase of its perplexity\n",
                args->predict ? "--predict" : "--fail-under");
        return UI_EXIT_UNSUPPORTED;
    }
    ui_progress_begin(args, "eval");
    const enum qx_status st = measure(args, s, &m, &err);
    ui_progress_end();
    if (st != QX_OK) {
        return ui_report(args, &err);
    }
    int code = UI_EXIT_OK;
    if (args->json) {
        code = print_json(args, s, &m);
    } else {
        print_text(&m);
    }
    const double increase = shown(&m)->perplexity / m.fp32.perplexity - 1.0;
    if (code == UI_EXIT_OK && !isnan(args->max_drop) && increase > args->max_drop) {
        fprintf(stderr, "qexplore eval: perplexity grew by %.4f, more than --max-drop %g\n",
                increase, args->max_drop);
        code = UI_EXIT_GATE;
    }
    return code;
}

/* qexplore train: quantization-aware training from a model folder, into another one. */
#include "figure.h"
#include "qx/log.h"
#include "verb.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct training {
    const struct ui_args *args;
    struct qx_eval_result *fp32, *ptq; /* as they were */
    struct qx_trained *trained;
    struct qx_eval_result *qat; /* the folder written, measured; NULL without -o */
    char recipe[4096];          /* path; "" without -o */
    char checkpoint[4096];      /* "": none */
    char data[4096];            /* of the rows to train on */
    char augment[128];
    int64_t said; /* messages of the log up to here were told */
};

static void set_real(double *field, double value)
{
    *field = isnan(value) ? *field : value;
}

enum qx_status ui_train_options(const struct ui_args *a, const struct qx_net *net,
                                struct qx_train_options *o, struct qx_error *err)
{
    *o = qx_train_defaults(net);
    o->epochs = a->epochs > 0 ? a->epochs : o->epochs;
    o->batch = a->batch > 0 ? a->batch : o->batch;
    o->patience = a->patience >= 0 ? a->patience : o->patience;
    o->max_rows = a->max_rows;
    o->epoch_rows = a->epoch_rows >= 0 ? a->epoch_rows : o->epoch_rows;
    o->seed = a->seed;
    o->max_bytes = a->mem_bytes > 0 ? a->mem_bytes : o->max_bytes;
    set_real(&o->rate, a->rate);
    set_real(&o->warmup, a->warm);
    set_real(&o->weight_decay, a->weight_decay);
    set_real(&o->clip, a->clip);
    set_real(&o->distill, a->distill);
    set_real(&o->temperature, a->temperature);
    set_real(&o->dampen, a->dampen);
    set_real(&o->freeze, a->freeze);
    enum qx_status st = a->augment ? qx_augment_parse(a->augment, &o->augment, err) : QX_OK;
    if (st == QX_OK && a->quantizer) {
        st = qx_quantizer_find(a->quantizer, &o->quantizer, err);
    }
    return st == QX_OK && a->optimizer ? qx_optimizer_find(a->optimizer, &o->optimizer, err) : st;
}

/* "accuracy 96.35 %", "perplexity 51.20". */
static const char *figure_text(char buf[UI_FIG], double accuracy, double perplexity)
{
    if (isnan(perplexity)) {
        snprintf(buf, UI_FIG, "accuracy %.2f %%", 100 * accuracy);
    } else {
        snprintf(buf, UI_FIG, "perplexity %.3f", perplexity);
    }
    return buf;
}

/* What went wrong without ending the training: a checkpoint that could not be written. */
static void tell_warnings(struct training *t)
{
    struct qx_log_entry e;
    for (; t->said < qx_log_next_seq(); t->said++) {
        if (qx_log_get(t->said, &e) && e.level >= QX_LOG_WARN) {
            ui_progress_end();
            fprintf(stderr, "qexplore train: warning: %s\n", e.text);
            ui_progress_begin(t->args, "train");
        }
    }
}

static void on_epoch(void *arg, const struct qx_train_epoch *e)
{
    struct training *t = arg;
    tell_warnings(t);
    char name[32] = "before training (PTQ)", loss[32] = "", figure[UI_FIG];
    if (e->epoch > 0) {
        snprintf(name, sizeof name, "epoch %d of %d", e->epoch, e->n_epochs);
        snprintf(loss, sizeof loss, "loss %.4f, ", e->loss);
    }
    ui_progress_line(t->args, "%-22s %s%.4f on rows held out, %s, %.1f s%s", name, loss,
                     e->held_out_loss, figure_text(figure, e->accuracy, e->perplexity), e->time_s,
                     e->is_best ? ", best" : "");
}

/* FP32 and the recipe as calibrated: what training starts from. */
static enum qx_status before(struct qx_session *s, struct training *t, struct qx_error *err)
{
    const struct qx_eval_options all = {0};
    enum qx_status st = qx_session_run_eval(s, &all, ui_batch_ctl(), &t->fp32, err);
    if (st == QX_OK && !ui_apply_recipe(t->args, s, err)) {
        return err->status;
    }
    return st == QX_OK ? qx_session_run_eval(s, &all, ui_batch_ctl(), &t->ptq, err) : st;
}

/* Opens what was written, and measures it as anybody would. */
static enum qx_status after(struct training *t, struct qx_error *err)
{
    const struct qx_eval_options all = {0};
    struct qx_session *s = NULL;
    snprintf(t->recipe, sizeof t->recipe, "%s/recipe.json", t->args->output);
    enum qx_status st = ui_open_trained(t->args, t->args->output, &s, err);
    if (st == QX_OK) {
        st = qx_session_run_eval(s, &all, ui_batch_ctl(), &t->qat, err);
    }
    qx_session_close(&s);
    return st;
}

static enum qx_status train(struct qx_session *s, struct training *t, struct qx_error *err)
{
    struct qx_train_options o;
    const struct qx_train_watch watch = {.arg = t, .epoch = on_epoch};
    struct qx_ctl *ctl = ui_batch_ctl();
    enum qx_status st = ui_train_options(t->args, qx_session_net(s), &o, err);
    const size_t n = t->args->output ? strlen(t->args->output) : 0;
    if (t->args->checkpoint) {
        snprintf(t->checkpoint, sizeof t->checkpoint, "%s", t->args->checkpoint);
    } else if (n > 0) {
        snprintf(t->checkpoint, sizeof t->checkpoint, "%.*s.checkpoint",
                 (int)(t->args->output[n - 1] == '/' ? n - 1 : n), t->args->output);
    }
    o.checkpoint = t->checkpoint[0] ? t->checkpoint : NULL;
    o.resume = t->args->resume;
    if (st == QX_OK) {
        st = qx_session_train_check(s, t->args->train_data, t->args->output, err);
    }
    if (st == QX_OK) {
        st = qx_session_train_data(s, t->args->train_data, t->data, sizeof t->data, err);
    }
    if (st == QX_OK) {
        qx_augment_text(o.augment, t->augment, sizeof t->augment);
        ui_progress_line(t->args, "rows to train on: %s", t->data);
        st = before(s, t, err);
    }
    if (st == QX_OK) {
        st = qx_session_run_train(s, t->args->train_data, &o, &watch, ctl, &t->trained, err);
        tell_warnings(t);
    }
    if (st == QX_OK && t->args->output) {
        atomic_store(&ctl->cancel, false); /* what was best is kept */
        st = qx_session_write_trained(s, t->trained, t->args->output, ctl, err);
        st = st == QX_OK ? after(t, err) : st;
    }
    /* of use only while there is something to go on with */
    if (st == QX_OK && !t->args->checkpoint && t->checkpoint[0] &&
        t->trained->end != QX_TRAIN_STOPPED) {
        (void)remove(t->checkpoint);
    }
    return st;
}

/* ---- what came of it ---- */

static double accuracy(const struct training *t)
{
    return t->qat ? t->qat->accuracy : t->trained->best_accuracy;
}

static bool is_words(const struct training *t)
{
    return t->fp32->nll != NULL;
}

static double perplexity(const struct training *t)
{
    return t->qat ? t->qat->perplexity : t->trained->best_perplexity;
}

static int train_json(const struct training *t)
{
    const struct qx_trained *r = t->trained;
    struct qx_jw *w = ui_json_begin(t->args, "train");
    qx_jw_key(w, "metrics");
    qx_jw_object(w);
    qx_jw_put_num(w, "accuracy", accuracy(t));
    qx_jw_put_num(w, "accuracy_simulated", r->best_accuracy);
    if (is_words(t)) {
        qx_jw_put_num(w, "ppl", perplexity(t));
        qx_jw_put_num(w, "ppl_simulated", r->best_perplexity);
    }
    qx_jw_put_int(w, "n", t->fp32->n);
    qx_jw_end(w);
    qx_jw_put_str(w, "engine", qx_engine_name(t->qat ? t->qat->engine : QX_ENGINE_SIMULATED));
    qx_jw_key(w, "baseline");
    qx_jw_object(w);
    qx_jw_put_num(w, "fp32", t->fp32->accuracy);
    qx_jw_put_num(w, "ptq", t->ptq->accuracy);
    if (is_words(t)) {
        qx_jw_put_num(w, "ppl_fp32", t->fp32->perplexity);
        qx_jw_put_num(w, "ppl_ptq", t->ptq->perplexity);
    }
    qx_jw_end(w);
    qx_jw_put_str(w, "end", qx_train_end_name(r->end));
    qx_jw_put_int(w, "epochs", r->epochs);
    qx_jw_put_int(w, "best_epoch", r->best);
    qx_jw_put_int(w, "steps", r->n_steps);
    qx_jw_put_str(w, "train_data", t->data);
    qx_jw_put_int(w, "train_data_rows", r->n_data);
    qx_jw_put_str(w, "augment", t->augment);
    qx_jw_put_int(w, "epoch_rows", r->epoch_rows);
    qx_jw_put_int(w, "rows", r->n_rows);
    qx_jw_put_int(w, "rows_held_out", r->n_held_out);
    qx_jw_put_num(w, "time_s", r->time_s);
    qx_jw_put_num(w, "steps_s", r->steps_s);
    qx_jw_put_str(w, "recipe", t->qat ? t->recipe : NULL);
    qx_jw_put_str(w, "checkpoint", t->qat ? t->args->output : NULL);
    return ui_json_print(w);
}

static void train_print(const struct training *t)
{
    static const char *const ends[] = {
        [QX_TRAIN_DONE] = "all epochs done",
        [QX_TRAIN_EARLY] = "stopped: no epoch was better for a while",
        [QX_TRAIN_STOPPED] = "stopped by hand",
        [QX_TRAIN_DIVERGED] = "the loss was no number any more: try a lower --rate"};
    const struct qx_trained *r = t->trained;
    printf("%s; %lld steps in %.1f s; the best is %s%.0d\n", ends[r->end], (long long)r->n_steps,
           r->time_s, r->best ? "epoch " : "what there was before training", r->best);
    if (r->best == 0 && r->epochs > 0) {
        printf("no epoch was better on the rows held out: try a lower --rate, or more --epochs\n");
    }
    printf("rows: %s, %lld an epoch out of %lld, augmentation %s; %lld held out\n", t->data,
           (long long)r->epoch_rows, (long long)r->n_rows, t->augment, (long long)r->n_held_out);
    const char *engine = qx_engine_name(t->qat ? t->qat->engine : QX_ENGINE_SIMULATED);
    if (is_words(t)) {
        const double fp32 = t->fp32->perplexity, ptq = t->ptq->perplexity, qat = perplexity(t);
        printf("perplexity over %lld tokens: FP32 %.3f, PTQ %.3f, QAT %.3f (%s): %+.2f %% against "
               "PTQ, %+.2f %% against FP32\n",
               (long long)t->fp32->n, fp32, ptq, qat, engine, 100 * (qat / ptq - 1),
               100 * (qat / fp32 - 1));
    } else {
        printf("accuracy on %lld rows: FP32 %.2f %%, PTQ %.2f %%, QAT %.2f %% (%s): %+.2f points "
               "against PTQ, %+.2f against FP32\n",
               (long long)t->fp32->n, 100 * t->fp32->accuracy, 100 * t->ptq->accuracy,
               100 * accuracy(t), engine, 100 * (accuracy(t) - t->ptq->accuracy),
               100 * (accuracy(t) - t->fp32->accuracy));
    }
    if (t->qat) {
        printf("written: %s; run it with  qexplore eval %s --recipe %s\n", t->args->output,
               t->args->output, t->recipe);
    } else {
        printf("nothing was written: -o FOLDER keeps the result\n");
    }
}

static int gate(const struct training *t)
{
    const double drop =
        is_words(t) ? perplexity(t) / t->fp32->perplexity - 1.0 : t->fp32->accuracy - accuracy(t);
    if (!isnan(t->args->fail_under) && accuracy(t) < t->args->fail_under) {
        fprintf(stderr, "qexplore train: accuracy %.4f is under --fail-under %g\n", accuracy(t),
                t->args->fail_under);
        return UI_EXIT_GATE;
    }
    if (!isnan(t->args->max_drop) && drop > t->args->max_drop) {
        fprintf(stderr, "qexplore train: %s by %.4f, more than --max-drop %g\n",
                is_words(t) ? "perplexity grew" : "accuracy fell", drop, t->args->max_drop);
        return UI_EXIT_GATE;
    }
    return t->trained->end == QX_TRAIN_STOPPED ? ui_exit_interrupted() : UI_EXIT_OK;
}

static int train_run(const struct ui_args *args)
{
    if (!ui_has_recipe(args)) {
        return ui_usage_error(args, "say how to quantize: --bits 4 --act-bits 4, or --recipe FILE");
    }
    int code;
    struct qx_error err = {.offset = -1};
    struct training t = {.args = args, .said = qx_log_next_seq()};
    struct qx_session *s = ui_open_batch(args, &code);
    if (!s) {
        return code;
    }
    const struct qx_net *net = qx_session_net(s);
    if (net && qx_net_is_words(net) && !ui_words_gate(args, "train")) {
        qx_session_close(&s);
        return UI_EXIT_UNSUPPORTED;
    }
    ui_progress_begin(args, "train");
    enum qx_status st = train(s, &t, &err);
    ui_progress_end();
    if (st != QX_OK) {
        code = ui_report(args, &err);
    } else if (args->json) {
        code = train_json(&t);
    } else {
        train_print(&t);
        code = UI_EXIT_OK;
    }
    code = code ? code : gate(&t);
    qx_eval_result_free(t.fp32);
    qx_eval_result_free(t.ptq);
    qx_eval_result_free(t.qat);
    qx_trained_free(t.trained);
    qx_session_close(&s);
    return code;
}

const struct ui_verb ui_verb_train = {
    .name = "train",
    .alias = "qat",
    .usage = "FOLDER --bits N [--act-bits N] [--epochs N] [-o FOLDER] [--json]",
    .help = "Fine-tune with quantization in the loop (QAT), write a model folder.",
    .example = "qexplore train samples/fashion-cnn --bits 4 --act-bits 4 --gran tensor -o /tmp/qat",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_RECIPE | UI_FLAGS_SESSION | UI_FLAGS_TRAIN,
    .min_positional = 1,
    .max_positional = 1,
    .run = train_run,
};

/* Size, speed, energy and accuracy of the network in the formats of the table of variants. */
#include "session/bench.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- one variant, in any thread ---- */

/* Settings of the network's layers, weight ranges chosen. The histograms are not kept: a bench asks
 * for several per tensor, once. */
static enum qx_status settings_find(struct qx_session *s, const struct qx_variant *v,
                                    struct qx_setting *set, struct qx_ctl *ctl,
                                    struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(s->net); i++) {
        const struct qx_layer *l = qx_net_layer(s->net, i);
        const bool is_touched = l->role == QX_ROLE_LINEAR && s->items.v[l->tensor].can_quantize;
        if (v != &qx_variant_recipe) { /* whose settings are there */
            set[i] = is_touched ? qx_variant_setting(v) : qx_setting_fp32();
        }
        if (!qx_setting_open(&set[i])) {
            continue;
        }
        struct qx_hist_spec spec = qx_setting_spec(&set[i], l->channels);
        struct qx_hist *hist = NULL;
        st =
            qx_hist_build(qx_model_tensor(s->model, l->tensor), &spec, 0, s->pool, ctl, &hist, err);
        if (st == QX_OK) {
            st = qx_setting_resolve(&set[i], hist, err);
        }
        qx_hist_unref(hist);
    }
    return st;
}

static enum qx_status size_find(const struct qx_session *s, const struct qx_setting *set,
                                struct qx_bench_row *out, struct qx_error *err)
{
    struct qx_recipe r = {0};
    struct qx_sums sums;
    enum qx_status st = qx_recipe_init(&r, s->items.n, err);
    if (st != QX_OK) {
        return st;
    }
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        r.set[qx_net_layer(s->net, i)->tensor] = set[i];
    }
    qx_sums_of(s, &r, &sums);
    out->bytes = sums.float_bytes + sums.other_bytes;
    out->bits_per_weight =
        sums.n_float > 0 ? 8.0 * (double)sums.float_bytes / (double)sums.n_float : 0;
    qx_recipe_release(&r);
    return QX_OK;
}

static void progress_reset(struct qx_ctl *ctl)
{
    if (ctl) {
        atomic_store(&ctl->total, 0);
        atomic_store(&ctl->done, 0);
    }
}

static enum qx_status weights_prepare(struct qx_session *s, struct qx_setting *set,
                                      struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_measure *m = &s->measure;
    enum qx_status st = qx_settings_resolve(s, set, ctl, err);
    if (st == QX_OK && !m->weights) {
        st = qx_weights_new_lazy(s->net, &m->weights, err);
    }
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(s->net); i++) {
        st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the benchmark was cancelled")
                                 : qx_weights_set(m->weights, i, &set[i], err);
    }
    return st;
}

/* Weights alone run packed; with quantized inputs, on integers where all of it can. */
static enum qx_engine recipe_engine(const struct qx_session *s, const struct qx_setting *set)
{
    bool is_quantized = false;
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        if (qx_setting_is_int(&set[i]) && set[i].act.bits > 0) {
            return QX_ENGINE_AUTO;
        }
        is_quantized |= !qx_setting_is_fp32(&set[i]);
    }
    return is_quantized ? QX_ENGINE_PACKED : QX_ENGINE_SIMULATED;
}

/* The weights are locked: accuracy first, then nothing but the clock. */
static enum qx_status figures_find(struct qx_session *s, const struct qx_variant *v,
                                   struct qx_setting *set, const struct qx_bench_options *options,
                                   struct qx_ctl *ctl, struct qx_bench_row *out,
                                   struct qx_error *err)
{
    const struct qx_eval_options eval = {.max_samples = options->max_samples,
                                         .seed = options->seed,
                                         .engine = v == &qx_variant_recipe ? recipe_engine(s, set)
                                                                           : qx_variant_engine(v)};
    struct qx_eval_result *r = NULL;
    progress_reset(ctl);
    enum qx_status st = weights_prepare(s, set, ctl, err);
    if (st == QX_OK) {
        progress_reset(ctl);
        st = qx_eval_run(s->net, s->data, s->measure.weights, &eval, s->pool, ctl, &r, err);
    }
    if (st == QX_OK) {
        out->accuracy = r->accuracy;
        out->perplexity = r->perplexity;
        out->n = r->n;
        out->correct = r->correct;
        progress_reset(ctl);
        st = qx_bench_run(s->net, s->model, s->data, s->measure.weights, set, v->converts, options,
                          s->pool, ctl, &out->figures, err);
    }
    qx_eval_result_free(r);
    return st;
}

/* The recipe as it stands; a copy that other threads may use. */
struct recipe_copy {
    struct qx_setting *set; /* [layers] owned; NULL: of a variant */
    struct qx_totals totals;
};

static enum qx_status recipe_take(const struct qx_session *s, struct recipe_copy *out,
                                  struct qx_error *err)
{
    const int n = s->net ? qx_net_n_layers(s->net) : 0;
    out->set = qx_mem_array((size_t)n + 1, sizeof *out->set);
    if (!out->set) {
        return qx_fail_nomem(err, ((size_t)n + 1) * sizeof *out->set);
    }
    for (int i = 0; i < n; i++) {
        out->set[i] = s->now.set[qx_net_layer(s->net, i)->tensor];
    }
    qx_session_totals(s, &out->totals);
    return QX_OK;
}

static enum qx_status bench_run(struct qx_session *s, const struct qx_variant *v,
                                const struct recipe_copy *recipe,
                                const struct qx_bench_options *options, struct qx_ctl *ctl,
                                struct qx_bench_row *out, struct qx_error *err)
{
    enum qx_status st = qx_measure_ready(s, err);
    if (st != QX_OK) {
        return st;
    }
    const int n = qx_net_n_layers(s->net);
    struct qx_setting *set = qx_mem_array((size_t)n + 1, sizeof *set);
    if (!set) {
        return qx_fail_nomem(err, ((size_t)n + 1) * sizeof *set);
    }
    if (recipe->set) {
        memcpy(set, recipe->set, (size_t)n * sizeof *set);
    }
    st = settings_find(s, v, set, ctl, err);
    if (st == QX_OK && recipe->set) {
        out->bytes = recipe->totals.bytes;
        out->bits_per_weight = recipe->totals.bits_per_weight;
    } else if (st == QX_OK) {
        st = size_find(s, set, out, err);
    }
    for (int i = 0; st == QX_OK && i < n; i++) {
        out->is_quantized |= !qx_setting_is_fp32(&set[i]);
    }
    if (st == QX_OK) {
        pthread_mutex_lock(&s->measure.weights_lock);
        st = figures_find(s, v, set, options, ctl, out, err);
        pthread_mutex_unlock(&s->measure.weights_lock);
    }
    if (st == QX_OK) {
        out->macs = qx_net_macs(s->net);
        out->bytes_moved =
            qx_bench_bytes_moved(s->net, s->model, set, v->converts, out->figures.engine);
    }
    qx_mem_free(set);
    return st;
}

static enum qx_status row_run(struct qx_session *s, const struct qx_variant *v,
                              const struct recipe_copy *recipe,
                              const struct qx_bench_options *options, struct qx_ctl *ctl,
                              struct qx_bench_row *out, struct qx_error *err)
{
    struct qx_error why = {0};
    struct qx_bench_row row = {.variant = v, .speedup = (double)NAN};
    const enum qx_status st = bench_run(s, v, recipe, options, ctl, &row, &why);
    row.state = st == QX_OK           ? QX_BENCH_DONE
                : st == QX_ECANCELLED ? QX_BENCH_CANCELLED
                                      : QX_BENCH_FAILED;
    if (st != QX_OK) {
        qx_str_copy(row.reason, sizeof row.reason, why.text);
        if (err) {
            *err = why;
        }
    }
    *out = row;
    return st;
}

enum qx_status qx_session_run_bench(struct qx_session *s, const struct qx_variant *v,
                                    const struct qx_bench_options *options, struct qx_ctl *ctl,
                                    struct qx_bench_row *out, struct qx_error *err)
{
    struct recipe_copy recipe = {0};
    enum qx_status st = QX_OK;
    if (v == &qx_variant_recipe) {
        st = s->net ? qx_session_run_resolve(s, ctl, err) : QX_OK;
        st = st == QX_OK ? recipe_take(s, &recipe, err) : st;
    }
    if (st == QX_OK) {
        st = row_run(s, v, &recipe, options, ctl, out, err);
    } else {
        *out = (struct qx_bench_row){.variant = v, .state = QX_BENCH_FAILED};
        qx_str_copy(out->reason, sizeof out->reason, err ? err->text : "");
    }
    qx_mem_free(recipe.set);
    return st;
}

/* ---- in the background ---- */

struct bench_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts, and weights under their lock */
    int variant;          /* row */
    uint64_t key;         /* of the recipe */
    struct recipe_copy recipe;
    struct qx_bench_options options;
    struct qx_bench_row row;
};

static const struct qx_variant *variant_of(int row)
{
    return row == qx_variant_count() ? &qx_variant_recipe : qx_variant_at(row);
}

static enum qx_status task_run(struct qx_task *t, struct qx_error *err)
{
    struct bench_task *b = (struct bench_task *)t;
    return row_run(b->s, variant_of(b->variant), &b->recipe, &b->options, &t->ctl, &b->row, err);
}

static void task_drop(struct qx_task *t)
{
    qx_mem_free(((struct bench_task *)t)->recipe.set);
    qx_mem_free(t);
}

static void task_done(struct qx_session *s, struct qx_task *t)
{
    const struct bench_task *b = (const struct bench_task *)t;
    struct qx_bench_row *row = &s->bench.row[b->variant];
    char text[128] = "";
    s->bench.task[b->variant] = NULL;
    *row = b->row;
    if (b->recipe.set) {
        s->bench.key = b->key;
    }
    if (t->status == QX_ECANCELLED) { /* maybe before it ran */
        *row = (struct qx_bench_row){.state = QX_BENCH_CANCELLED};
    } else if (t->status == QX_OK) {
        const bool is_words = !isnan(row->perplexity);
        snprintf(text, sizeof text, "%.3f ms a sample, %s%.*f%s",
                 qx_latency_ms(&row->figures.latency), is_words ? "perplexity " : "",
                 is_words ? 4 : 2, is_words ? row->perplexity : 100 * row->accuracy,
                 is_words ? "" : " %");
    }
    qx_jobs_finish(&s->jobs, t, t->status == QX_OK ? text : NULL);
    s->news |= QX_NEWS_BENCH | QX_NEWS_JOBS;
}

static void submit(struct qx_session *s, int i)
{
    struct bench_task *b = qx_mem_zalloc(sizeof *b);
    if (b && i == qx_variant_count() && recipe_take(s, &b->recipe, NULL) != QX_OK) {
        qx_mem_free(b);
        b = NULL;
    }
    if (!b) {
        s->bench.row[i] = (struct qx_bench_row){.state = QX_BENCH_FAILED};
        qx_str_copy(s->bench.row[i].reason, sizeof s->bench.row[i].reason, "out of memory");
        return;
    }
    b->task = (struct qx_task){.run = task_run, .done = task_done, .drop = task_drop};
    b->task.priority = -1; /* a measurement of the recipe goes between two variants */
    b->s = s;
    b->variant = i;
    b->key = s->measure.key_b;
    b->options = qx_bench_options_default();
    struct qx_job *job = qx_jobs_add(&s->jobs, &b->task, QX_JOB_BENCH);
    if (job) {
        job->item = i;
        snprintf(job->info.title, sizeof job->info.title, "bench of %s", variant_of(i)->title);
    }
    s->bench.task[i] = &b->task;
    qx_lane_submit(&s->queue, &b->task);
}

void qx_session_bench(struct qx_session *s, int i)
{
    const int n = qx_variant_count() + 1;
    for (int k = i < 0 ? 0 : i; !s->is_batch && k < n && (i < 0 || k == i); k++) {
        if (!s->bench.task[k]) {
            submit(s, k);
        }
    }
    s->news |= QX_NEWS_BENCH | QX_NEWS_JOBS;
}

bool qx_session_bench_row(const struct qx_session *s, int i, struct qx_bench_row *out)
{
    if (i < 0 || i > qx_variant_count()) {
        return false;
    }
    const struct qx_bench_row *base = &s->bench.row[0];
    const struct qx_task *t = s->bench.task[i];
    *out = s->bench.row[i];
    out->variant = variant_of(i);
    out->is_stale =
        i == qx_variant_count() && out->state == QX_BENCH_DONE && s->bench.key != s->measure.key_b;
    out->speedup = (double)NAN;
    out->job = t ? t->job : 0;
    if (t) {
        out->state = qx_task_state(t) == QX_JOB_QUEUED ? QX_BENCH_QUEUED : QX_BENCH_RUNNING;
    } else if (out->state == QX_BENCH_DONE && base->state == QX_BENCH_DONE) {
        out->speedup = qx_latency_ms(&base->figures.latency) / qx_latency_ms(&out->figures.latency);
    }
    return true;
}

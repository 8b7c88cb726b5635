/* qexplore bench: size, speed, energy and accuracy of a model folder in several number formats, and of
 * the recipe that the flags describe; with --kernels, matrix products alone. */
#include "verb.h"

#include "bench_text.h"
#include "story.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHAPES = 64, MAX_VARIANTS = 16 };

static void text(struct qx_jw *w, const char *key, const char *value)
{
    qx_jw_key(w, key);
    qx_jw_str(w, value && *value ? value : NULL);
}

/* ---- kernels ---- */

struct kernels {
    struct qx_machine machine;
    int64_t shape[MAX_SHAPES][3];
    int n_shapes, n_rows;
    struct qx_kernel_row rows[MAX_SHAPES * QX_KERNEL_ROWS];
};

static enum qx_status shapes_parse(const char *list, struct kernels *k, struct qx_error *err)
{
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",");
        if (k->n_shapes == MAX_SHAPES) {
            *err = (struct qx_error){.status = QX_ERANGE, .offset = -1};
            snprintf(err->text, sizeof err->text, "more than %d shapes", MAX_SHAPES);
            return QX_ERANGE;
        }
        if (qx_kernel_shape(p, len, k->shape[k->n_shapes++], err) != QX_OK) {
            return err->status;
        }
        p += len + (p[len] == ',');
    }
    return QX_OK;
}

static enum qx_status kernels_measure(const struct ui_args *args, struct kernels *k,
                                      struct qx_error *err)
{
    struct qx_ctl *ctl = ui_batch_ctl();
    enum qx_status status = QX_OK;
    ui_progress_begin(args, "bench");
    qx_ctl_total(ctl, (int64_t)k->n_shapes * QX_KERNEL_ROUNDS);
    qx_machine_measure(&k->machine);
    for (int i = 0; i < k->n_shapes && status == QX_OK; i++) {
        status = qx_kernel_bench(k->shape[i], &k->machine, args->threads, NULL, ctl,
                                 &k->rows[k->n_rows], err);
        k->n_rows += QX_KERNEL_ROWS;
    }
    ui_progress_end();
    return status;
}

static int kernels_json(const struct ui_args *args, const struct kernels *k)
{
    struct qx_jw *w = ui_json_begin(args, "bench");
    qx_jw_key(w, "machine");
    qx_jw_object(w);
    qx_jw_put_num(w, "peak_gops", k->machine.peak_gops > 0 ? k->machine.peak_gops : (double)NAN);
    qx_jw_put_num(w, "read_gbs", k->machine.read_gbs > 0 ? k->machine.read_gbs : (double)NAN);
    text(w, "peak_how", k->machine.peak_how);
    qx_jw_end(w);
    qx_jw_key(w, "rows");
    qx_jw_array(w);
    for (int i = 0; i < k->n_rows; i++) {
        const struct qx_kernel_row *r = &k->rows[i];
        qx_jw_object(w);
        text(w, "shape", r->shape);
        text(w, "kernel", r->kernel);
        text(w, "weights", r->weights);
        qx_jw_put_int(w, "threads", r->threads);
        qx_jw_put_num(w, "gops", r->gops);
        qx_jw_put_num(w, "gbs", r->gbs);
        qx_jw_put_num(w, "peak_share", r->peak_share);
        qx_jw_put_num(w, "ratio_openblas", r->ratio_openblas);
        text(w, "note", r->note);
        qx_jw_end(w);
    }
    qx_jw_end(w);
    return ui_json_print(w);
}

static int kernels_print(const struct kernels *k)
{
    printf("one core: %.1f GOP/s (%s), reads %.1f GB/s of memory\n", k->machine.peak_gops,
           k->machine.peak_how, k->machine.read_gbs);
    printf("%-16s %-22s %-7s %3s %9s %8s %7s %10s  %s\n", "shape MxNxK", "kernel", "weights", "thr",
           "GOP/s", "GB/s", "peak", "x OpenBLAS", "what");
    for (int i = 0; i < k->n_rows; i++) {
        const struct qx_kernel_row *r = &k->rows[i];
        char share[16] = "-";
        if (!isnan(r->peak_share)) {
            snprintf(share, sizeof share, "%.1f %%", 100 * r->peak_share);
        }
        printf("%-16s %-22s %-7s %3d %9.1f %8.1f %7s %10.2f  %s\n", r->shape, r->kernel, r->weights,
               r->threads, r->gops, r->gbs, share, r->ratio_openblas, r->note);
    }
    return UI_EXIT_OK;
}

static int kernels_run(const struct ui_args *args)
{
    const char *list = *args->kernels           ? args->kernels
                       : args->n_positional > 0 ? args->positional[0]
                                                : qx_kernel_shapes;
    if (*args->kernels && args->n_positional > 0) {
        return ui_usage_error(args, "unexpected argument '%s': --kernels=%s names the shapes",
                              args->positional[0], args->kernels);
    }
    struct qx_error err = {.offset = -1};
    struct kernels *k = calloc(1, sizeof *k);
    if (!k) {
        return UI_EXIT_RESOURCES;
    }
    int code;
    if (shapes_parse(list, k, &err) != QX_OK) {
        code = ui_usage_error(args, "%s", err.text);
    } else if (kernels_measure(args, k, &err) != QX_OK) {
        code = ui_report(args, &err);
    } else {
        code = args->json ? kernels_json(args, k) : kernels_print(k);
    }
    free(k);
    return code;
}

/* ---- a model folder ---- */

struct bench {
    const struct qx_variant *variant[MAX_VARIANTS];
    struct qx_bench_row row[MAX_VARIANTS];
    int n;
    int fp32; /* index; -1 = not asked for */
};

/* The recipe's row comes last, unless --variants gives it a place. */
static enum qx_status variants_parse(const char *list, bool has_recipe, struct bench *b,
                                     struct qx_error *err)
{
    bool is_named = false;
    b->fp32 = -1;
    for (int i = 0; !list && i < qx_variant_count() && i < MAX_VARIANTS; i++) {
        b->variant[b->n++] = qx_variant_at(i);
    }
    for (const char *p = list; p && *p;) {
        size_t len = strcspn(p, ",");
        if (b->n == MAX_VARIANTS) {
            break;
        }
        if (qx_variant_find(p, len, &b->variant[b->n], err) != QX_OK) {
            return err->status;
        }
        is_named |= b->variant[b->n] == &qx_variant_recipe;
        b->n++;
        p += len + (p[len] == ',');
    }
    if (is_named && !has_recipe) {
        *err = (struct qx_error){.status = QX_ENAME, .offset = -1};
        snprintf(err->text, sizeof err->text,
                 "--variants names the recipe, and there is none: give --recipe FILE or --bits N");
        return QX_ENAME;
    }
    if (has_recipe && !is_named && b->n < MAX_VARIANTS) {
        b->variant[b->n++] = &qx_variant_recipe;
    }
    for (int i = 0; i < b->n; i++) {
        b->fp32 = b->variant[i] == qx_variant_at(0) ? i : b->fp32;
    }
    return QX_OK;
}

/* A variant that cannot run is a row with a reason; only what stops all of them is an error. */
static enum qx_status bench_measure(const struct ui_args *args, struct qx_session *s,
                                    struct bench *b, struct qx_error *err)
{
    struct qx_bench_options options = qx_bench_options_default();
    options.n_runs = args->runs;
    options.n_warmup = args->warmup;
    options.max_samples = args->max_samples;
    options.seed = args->seed;
    int n_done = 0;
    for (int i = 0; i < b->n; i++) {
        enum qx_status status =
            qx_session_run_bench(s, b->variant[i], &options, ui_batch_ctl(), &b->row[i], err);
        if (status == QX_ECANCELLED || status == QX_ENOMEM) {
            return status;
        }
        n_done += status == QX_OK;
    }
    if (n_done == 0) {
        return err->status;
    }
    for (int i = 0; i < b->n; i++) {
        if (b->fp32 >= 0 && b->row[i].state == QX_BENCH_DONE &&
            b->row[b->fp32].state == QX_BENCH_DONE) {
            b->row[i].speedup = qx_latency_ms(&b->row[b->fp32].figures.latency) /
                                qx_latency_ms(&b->row[i].figures.latency);
        }
    }
    return QX_OK;
}

static void latency_json(struct qx_jw *w, const struct qx_latency *l)
{
    qx_jw_key(w, "latency_ms");
    qx_jw_object(w);
    qx_jw_put_num(w, "p5", l->p5_ms);
    qx_jw_put_num(w, "p50", l->p50_ms);
    qx_jw_put_num(w, "p95", l->p95_ms);
    qx_jw_put_num(w, "mean", l->mean_ms);
    qx_jw_put_num(w, "best", l->best_ms);
    qx_jw_put_int(w, "runs", l->n_runs);
    qx_jw_put_int(w, "warmup", l->n_warmup);
    qx_jw_end(w);
}

static const char *engine_name(const struct qx_bench_row *r)
{
    const char *engine = ui_bench_engine(r);
    return strcmp(engine, "float32") == 0 ? "float" : engine;
}

void ui_bench_row_json(struct qx_jw *w, const struct qx_bench_row *r, const char *recipe_hash)
{
    const struct qx_bench_figures *f = &r->figures;
    static const char *const none[] = {"bytes",      "bits_per_weight", "latency_ms",
                                       "throughput", "accuracy",        "ppl",
                                       "speedup",    "energy_j",        "kernel"};
    text(w, "variant", r->variant->name);
    if (r->variant == &qx_variant_recipe) {
        text(w, "recipe_hash", recipe_hash);
    }
    if (r->state != QX_BENCH_DONE) {
        for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
            text(w, none[i], NULL);
        }
        text(w, "reason", r->reason);
        return;
    }
    qx_jw_put_int(w, "bytes", (int64_t)r->bytes);
    qx_jw_put_num(w, "bits_per_weight", r->bits_per_weight);
    latency_json(w, &f->latency);
    qx_jw_put_num(w, "throughput", f->throughput);
    qx_jw_put_int(w, "batch", f->batch);
    qx_jw_put_num(w, "accuracy", r->accuracy);
    qx_jw_put_num(w, "ppl", r->perplexity);
    qx_jw_put_int(w, "correct", r->correct);
    qx_jw_put_int(w, "n", r->n);
    qx_jw_put_num(w, "speedup", r->speedup);
    qx_jw_put_num(w, "energy_j", f->energy_j);
    text(w, "energy_reason", f->energy_reason);
    text(w, "kernel", f->kernel);
    text(w, "engine", engine_name(r));
    qx_jw_put_int(w, "macs", r->macs);
    qx_jw_put_num(w, "bytes_moved", r->bytes_moved);
    qx_jw_put_num(w, "convert_ms", f->convert_ms);
    qx_jw_put_int(w, "weights_bytes", (int64_t)f->weights_bytes);
    text(w, "reason", NULL);
}

static int bench_json(const struct ui_args *args, struct qx_session *s, const struct bench *b)
{
    struct qx_jw *w = ui_json_begin(args, "bench");
    qx_jw_key(w, "machine");
    qx_jw_object(w);
    text(w, "cpu", qx_cpu_get()->name);
    text(w, "isa", qx_isa_name(qx_cpu_get()->isa));
    qx_jw_put_int(w, "threads", qx_session_threads(s));
    qx_jw_end(w);
    qx_jw_key(w, "data");
    qx_jw_object(w);
    text(w, "path", qx_dataset_path(qx_session_data(s)));
    text(w, "hash", qx_dataset_hash(qx_session_data(s)));
    qx_jw_end(w);
    qx_jw_key(w, "rows");
    qx_jw_array(w);
    for (int i = 0; i < b->n; i++) {
        qx_jw_object(w);
        ui_bench_row_json(w, &b->row[i], qx_session_recipe_hash(s));
        qx_jw_end(w);
    }
    qx_jw_end(w);
    return ui_json_print(w);
}

static void row_print(const struct qx_bench_row *r)
{
    const struct qx_bench_figures *f = &r->figures;
    char latency[64], speedup[24] = "-", energy[24] = "-";
    if (r->state != QX_BENCH_DONE) {
        printf("%-13s cannot run: %s\n", r->variant->title, r->reason);
        return;
    }
    if (f->latency.n_runs >= QX_LATENCY_RUNS) {
        snprintf(latency, sizeof latency, "%8.3f [%.3f %.3f]", f->latency.p50_ms, f->latency.p5_ms,
                 f->latency.p95_ms);
    } else {
        snprintf(latency, sizeof latency, "%8.3f mean of %d", f->latency.mean_ms,
                 f->latency.n_runs);
    }
    if (!isnan(r->speedup)) {
        snprintf(speedup, sizeof speedup, "%.2f", r->speedup);
    }
    if (!isnan(f->energy_j)) {
        snprintf(energy, sizeof energy, "%.3g", f->energy_j);
    }
    printf("%-13s %9.3f %6.2f %-26s %7s %10.0f %8.2f %8s %8.3f  %s, %s\n", r->variant->title,
           1e-6 * (double)r->bytes, r->bits_per_weight, latency, speedup, f->throughput,
           isnan(r->perplexity) ? 100 * r->accuracy : r->perplexity, energy, 1e-6 * r->bytes_moved,
           ui_bench_engine(r), f->kernel);
}

static int bench_print(struct qx_session *s, const struct bench *b)
{
    const struct qx_bench_row *any = NULL;
    for (int i = 0; i < b->n && !any; i++) {
        any = b->row[i].state == QX_BENCH_DONE ? &b->row[i] : NULL;
    }
    printf("%s, %s, %d thread%s; one sample: %d runs after %d that warm up; %.2f million "
           "multiply-adds\n",
           qx_cpu_get()->name, qx_isa_name(qx_cpu_get()->isa), qx_session_threads(s),
           qx_session_threads(s) > 1 ? "s" : "", any->figures.latency.n_runs,
           any->figures.latency.n_warmup, 1e-6 * (double)any->macs);
    printf("%-13s %9s %6s %-26s %7s %10s %8s %8s %8s  %s\n", "variant", "MB", "bits",
           "ms p50 [p5 p95]", "speedup", "samples/s", any->perplexity > 0 ? "ppl" : "acc %",
           "J/sample", "MB moved", "engine, kernel");
    for (int i = 0; i < b->n; i++) {
        row_print(&b->row[i]);
    }
    char half[UI_BENCH_TEXT];
    if (ui_bench_half_text(half, b->row, b->n)) {
        printf("%s\n", half);
    }
    if (any->figures.energy_reason[0]) {
        printf("no energy: %s\n", any->figures.energy_reason);
    }
    return UI_EXIT_OK;
}

static int bench_run(const struct ui_args *args)
{
    struct qx_error err = {.offset = -1};
    struct bench b = {0};
    if (args->kernels) {
        return kernels_run(args);
    }
    if (args->n_positional < 1) {
        return ui_usage_error(args, "an argument is missing: qexplore bench FOLDER, or --kernels");
    }
    if (args->story && (args->variants || args->recipe)) {
        return ui_usage_error(args, "--story has rows of its own: leave out %s",
                              args->variants ? "--variants" : "--recipe");
    }
    if (args->story) {
        return ui_story_run(args);
    }
    if (args->report || args->output || args->train_data || args->epochs > 0 || args->max_rows) {
        return ui_usage_error(args, "%s belongs to --story",
                              args->report       ? "--report"
                              : args->output     ? "--output"
                              : args->train_data ? "--train-data"
                              : args->max_rows   ? "--max-rows"
                                                 : "--epochs");
    }
    if (variants_parse(args->variants, ui_has_recipe(args), &b, &err) != QX_OK) {
        return ui_usage_error(args, "%s", err.text);
    }
    int code;
    struct qx_session *s = ui_open_batch(args, &code);
    if (!s) {
        return code;
    }
    if (ui_has_recipe(args) && !ui_apply_recipe(args, s, &err)) {
        code = ui_report(args, &err);
        qx_session_close(&s);
        return code;
    }
    ui_progress_begin(args, "bench");
    enum qx_status status = bench_measure(args, s, &b, &err);
    ui_progress_end();
    if (status != QX_OK) {
        code = ui_report(args, &err);
    } else {
        code = args->json ? bench_json(args, s, &b) : bench_print(s, &b);
    }
    qx_session_close(&s);
    return code;
}

const struct ui_verb ui_verb_bench = {
    .name = "bench",
    .usage = "FOLDER [--variants A,B | --story] [recipe flags] [--runs N] [--json], or --kernels "
             "[MxNxK,...] [--threads T]",
    .help = "Measure size, speed and accuracy in several number formats, of a recipe, or single "
            "kernels.",
    .example = "qexplore bench samples/fashion-cnn --variants fp32,int8 --bits 4 --act-bits 8",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_SESSION | UI_FLAGS_RECIPE | UI_FLAGS_BENCH,
    .min_positional = 0,
    .max_positional = 1,
    .run = bench_run,
};

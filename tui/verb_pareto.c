/* qexplore pareto: recipes that trade size or latency against accuracy, and the one to take. */
#include "verb_search.h"

#include "app.h"
#include "file.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pareto {
    struct qx_sens *map;
    struct qx_mixed *plan;
    struct qx_mixed_options options;
    bool *select; /* [items] */
    double n_float;
    bool *keep;
    int *tie;
    int best;
    bool is_cut;
};

__attribute__((format(printf, 3, 4))) static enum qx_status
fail(struct qx_error *err, enum qx_status status, const char *fmt, ...)
{
    va_list list;
    *err = (struct qx_error){.status = status, .offset = -1};
    va_start(list, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, list);
    va_end(list);
    return status;
}

/* ---- what the flags say ---- */

/* "8", "8ms", "0.4 ms". */
static enum qx_status latency_parse(const char *text_, double *out, struct qx_error *err)
{
    char *end;
    *out = strtod(text_, &end);
    end += strspn(end, " ");
    return end != text_ && (*end == 0 || strcmp(end, "ms") == 0) && *out > 0
               ? QX_OK
               : fail(err, QX_ERANGE,
                      "--latency wants milliseconds, such as 0.5 or 8ms, not '%.40s'", text_);
}

static enum qx_status tie_parse(const struct ui_args *args, struct qx_session *s, struct pareto *p,
                                struct qx_error *err)
{
    const int n = qx_sens_n_layers(p->map);
    int group = 0;
    if (strcmp(args->tie, "none") == 0) {
        return QX_OK;
    }
    for (const char *at = args->tie; *at; group++) {
        const size_t len = strcspn(at, ",");
        char glob[256];
        int found = 0;
        snprintf(glob, sizeof glob, "%.*s", (int)len, at);
        for (int i = 0; i < n; i++) {
            if (qx_session_match(s, qx_session_map_item(s, i), glob)) {
                p->tie[i] = group;
                found++;
            }
        }
        if (found == 0) {
            return fail(err, QX_ENAME, "--tie %.200s matches no layer: see qexplore info", glob);
        }
        at += len + (at[len] == ',');
    }
    return QX_OK;
}

static void keep_parse(const struct ui_args *args, struct qx_session *s, struct pareto *p)
{
    for (int k = 0; k < args->n_keep; k++) {
        const char *eq = strrchr(args->keep[k], '=');
        char glob[512];
        snprintf(glob, sizeof glob, "%.*s", (int)(eq - args->keep[k]), args->keep[k]);
        for (int i = 0; i < qx_sens_n_layers(p->map); i++) {
            p->keep[i] = p->keep[i] || qx_session_match(s, qx_session_map_item(s, i), glob);
        }
    }
}

static enum qx_status options_parse(const struct ui_args *args, struct qx_session *s,
                                    struct pareto *p, struct qx_error *err)
{
    const size_t n = (size_t)qx_sens_n_layers(p->map) + 1;
    enum qx_status st = QX_OK;
    p->keep = calloc(n, sizeof *p->keep);
    p->tie = malloc(n * sizeof *p->tie);
    if (!p->keep || !p->tie) {
        return fail(err, QX_ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        p->tie[i] = -1;
    }
    keep_parse(args, s, p);
    p->options.keep = p->keep;
    if (args->tie) {
        st = tie_parse(args, s, p, err);
        p->options.tie = p->tie;
    }
    if (args->max_bytes) {
        p->options.max_bytes = (double)args->max_bytes;
    }
    if (!isnan(args->max_bpw)) {
        p->options.max_bpw = args->max_bpw;
    }
    return st;
}

static enum qx_status flags_check(const struct ui_args *args, struct pareto *p,
                                  struct qx_error *err)
{
    enum qx_status st = QX_OK;
    p->options = qx_mixed_options_default();
    if (args->mode) {
        st = qx_mixed_mode_find(args->mode, &p->options.mode, err);
    }
    if (st == QX_OK && args->max_latency) {
        st = latency_parse(args->max_latency, &p->options.max_latency_ms, err);
        p->options.by_latency = true;
    }
    return st;
}

/* The smallest with the accuracy asked for, else what the plan suggests. */
static int best_of(const struct ui_args *args, const struct qx_mixed *plan)
{
    for (int i = 0; !isnan(args->min_acc) && i < qx_mixed_n(plan); i++) {
        if (qx_mixed_point(plan, i)->value >= args->min_acc) {
            return i;
        }
    }
    return qx_mixed_best(plan);
}

static enum qx_status recipe_save(const struct ui_args *args, struct qx_session *s,
                                  const struct pareto *p, struct qx_error *err)
{
    size_t len = 0;
    struct qx_jw *w = qx_jw_new(true);
    qx_session_mixed_recipe(s, p->map, p->plan, p->best, w);
    char *json = qx_jw_take(w, &len);
    const bool is_written = json && ui_file_write(args->save_recipe, json, len);
    qx_free_text(json);
    return is_written ? QX_OK
                      : fail(err, ui_file_status(errno), "cannot write the recipe to '%.300s': %s",
                             args->save_recipe, strerror(errno));
}

/* Bytes of the items with all that are selected at the fewest bits, scales not counted: of float tensors,
 * and of all. */
static void least_find(struct qx_session *s, const struct pareto *p, int bits, double *floats,
                       double *all)
{
    struct qx_totals t;
    qx_session_totals(s, &t);
    double saved = 0;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        const struct qx_item *it = qx_session_item(s, i);
        const struct qx_setting *set = qx_session_setting(s, i);
        const int64_t n = it->tensor->numel;
        if (p->select[i]) {
            saved += (double)qx_setting_tensor_bytes(set, it->tensor, it->channels) -
                     (double)n * bits / 8;
        }
    }
    *all = (double)t.bytes - saved;
    *floats = *all - ((double)t.bytes_fp32 - 4 * p->n_float);
}

/* A budget that nothing can meet is told before anything is run. */
static enum qx_status budget_check(const struct ui_args *args, struct qx_session *s,
                                   struct pareto *p, const struct qx_sens_column *columns, int n,
                                   struct qx_error *err)
{
    int bits = 32;
    double floats, all;
    for (int c = 0; c < n; c++) {
        bits = columns[c].site == QX_SITE_W && columns[c].bits < bits ? columns[c].bits : bits;
    }
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        const struct qx_tensor *t = qx_session_item(s, i)->tensor;
        p->n_float += qx_dtype_get(t->dtype)->is_float ? (double)t->numel : 0;
    }
    least_find(s, p, bits, &floats, &all);
    const double bpw = p->n_float > 0 ? 8 * floats / p->n_float : 0;
    const bool is_bpw = !isnan(args->max_bpw) && bpw > args->max_bpw;
    if (!is_bpw && !(args->max_bytes && all > (double)args->max_bytes)) {
        return QX_OK;
    }
    return fail(err, QX_ERANGE,
                "no recipe is that small: even the smallest has %.0f bytes, %.2f bits a weight%s",
                all, bpw,
                ui_search_scope(args) == QX_SCOPE_LINEAR
                    ? "; embedding tables stay as they are unless --scope all"
                    : "");
}

static enum qx_status pareto_find(const struct ui_args *args, struct qx_session *s,
                                  struct pareto *p, struct qx_error *err)
{
    struct qx_sens_column columns[QX_SENS_COLUMNS];
    bool is_cut = false;
    int n, n_measure;
    enum qx_status st = ui_search_check(args, s, err);
    st = st == QX_OK ? ui_search_columns(args, columns, &n, err) : st;
    st = st == QX_OK ? ui_search_measure(args, &n_measure, err) : st;
    st = st == QX_OK ? flags_check(args, p, err) : st;
    p->select = calloc((size_t)qx_session_n_items(s) + 1, sizeof *p->select);
    st = st == QX_OK && !p->select ? fail(err, QX_ENOMEM, "out of memory") : st;
    if (st == QX_OK && !ui_search_apply(args, s, err)) {
        st = err->status;
    }
    if (st == QX_OK) {
        qx_session_select(s, ui_search_scope(args), args->layers, p->select);
        st = budget_check(args, s, p, columns, n, err);
    }
    if (st == QX_OK) { /* scores are measured: a site at a width, alone */
        st =
            qx_session_run_map(s, columns, n, p->select, -1, ui_batch_ctl(), &p->map, &is_cut, err);
    }
    st = st == QX_OK ? options_parse(args, s, p, err) : st;
    if (st == QX_OK && !is_cut) {
        n_measure = n_measure < 0 ? 1000 : n_measure;
        st = qx_session_run_mixed(s, p->map, &p->options, n_measure, ui_batch_ctl(), &p->plan,
                                  &p->is_cut, err);
    } else if (st == QX_OK) {
        st = fail(
            err, QX_ECANCELLED, "%s",
            "interrupted; the sites measured so far are kept, the next call goes on from there");
    }
    if (st == QX_OK) {
        p->best = best_of(args, p->plan);
        st = args->save_recipe ? recipe_save(args, s, p, err) : QX_OK;
    }
    return st;
}

/* ---- the answer ---- */

struct figure {
    double value, lo, hi;
};

/* Of language models perplexity, else what the point holds. */
static struct figure figure_of(const struct qx_session *s, const struct qx_point *p)
{
    const double fp32 = qx_session_mixed_fp32(s);
    return ui_search_is_words(s) ? (struct figure){fp32 / p->value, fp32 / p->hi, fp32 / p->lo}
                                 : (struct figure){p->value, p->lo, p->hi};
}

static void point_json(struct qx_jw *w, struct qx_session *s, const struct pareto *p, int i)
{
    const struct qx_point *at = qx_mixed_point(p->plan, i);
    const struct figure figure = figure_of(s, at);
    qx_jw_object(w);
    qx_jw_key(w, "bytes");
    qx_jw_int(w, (int64_t)at->bytes);
    qx_jw_put_num(w, "bits_per_weight", at->bits_per_weight);
    qx_jw_put_num(w, "latency_ms", at->latency_ms);
    qx_jw_put_num(w, "value", figure.value);
    qx_jw_put_num(w, "lo", figure.lo);
    qx_jw_put_num(w, "hi", figure.hi);
    qx_jw_put_str(w, "basis", qx_sens_basis_name(at->basis));
    qx_jw_put_num(w, "kl", at->harm);
    qx_jw_key(w, "recipe");
    if (!qx_session_mixed_recipe(s, p->map, p->plan, i, w)) {
        qx_jw_null(w);
    }
    qx_jw_end(w);
}

static const char *metric_of(const struct qx_session *s)
{
    return ui_search_is_words(s)                          ? "ppl"
           : qx_dataset_label(qx_session_data(s), 0) >= 0 ? "accuracy"
                                                          : "agreement";
}

static int pareto_json(const struct ui_args *args, struct qx_session *s, const struct pareto *p)
{
    struct qx_jw *w = ui_json_begin(args, "pareto");
    qx_jw_put_str(w, "mode", qx_mixed_mode_name(p->options.mode));
    qx_jw_put_str(w, "metric", metric_of(s));
    if (ui_search_is_words(s)) {
        qx_jw_put_num(w, "ppl_fp32", qx_session_mixed_fp32(s));
    }
    qx_jw_key(w, "data");
    qx_jw_object(w);
    qx_jw_put_str(w, "path", qx_dataset_path(qx_session_data(s)));
    qx_jw_put_str(w, "hash", qx_dataset_hash(qx_session_data(s)));
    qx_jw_end(w);
    qx_jw_key(w, "complete");
    qx_jw_bool(w, !p->is_cut);
    qx_jw_key(w, "best");
    qx_jw_int(w, p->best);
    qx_jw_key(w, "points");
    qx_jw_array(w);
    for (int i = 0; i < qx_mixed_n(p->plan); i++) {
        point_json(w, s, p, i);
    }
    qx_jw_end(w);
    if (qx_mixed_step(p->plan, 0)) {
        qx_jw_key(w, "steps");
        qx_jw_array(w);
        for (int i = 0; qx_mixed_step(p->plan, i); i++) {
            qx_jw_str(w, qx_mixed_step(p->plan, i));
        }
        qx_jw_end(w);
    }
    return ui_json_print(w);
}

static void point_print(const struct qx_session *s, const struct pareto *p, int i)
{
    const struct qx_point *at = qx_mixed_point(p->plan, i);
    const struct figure f = figure_of(s, at);
    const double unit = ui_search_is_words(s) ? 1.0 : 100.0;
    char latency[24] = "-", value[48] = "-", size[32];
    if (!isnan(at->latency_ms)) {
        snprintf(latency, sizeof latency, "%.4f", at->latency_ms);
    }
    if (!isnan(at->value)) {
        snprintf(value, sizeof value, "%.2f%s [%.2f %.2f]", unit * f.value,
                 at->basis == QX_SENS_PREDICTED ? "~" : " ", unit * f.lo, unit * f.hi);
    }
    ui_fmt_bytes(size, sizeof size, (double)at->bytes);
    printf("%c %10s %6.2f %9s %22s %10.4g  ", i == p->best ? '>' : ' ', size, at->bits_per_weight,
           latency, value, at->harm);
    for (int k = 0; k < qx_sens_n_layers(p->map); k++) {
        const int c = qx_mixed_column(p->plan, i, k);
        char column[24];
        if (c >= 0) {
            printf(" %s", qx_sens_column_text(qx_sens_column_at(p->map, c), column, sizeof column));
        }
    }
    printf("\n");
}

static int pareto_print(struct qx_session *s, const struct pareto *p)
{
    char metric[32];
    if (ui_search_is_words(s)) {
        snprintf(metric, sizeof metric, "perplexity");
    } else {
        snprintf(metric, sizeof metric, "%s %%", metric_of(s));
    }
    for (int i = 0; qx_mixed_step(p->plan, i); i++) {
        printf("%3d. %s\n", i + 1, qx_mixed_step(p->plan, i));
    }
    printf("  %10s %6s %9s %22s %10s   bits of the layers, in order (~ predicted)\n", "size",
           "bits", "ms", metric, "KL");
    for (int i = 0; i < qx_mixed_n(p->plan); i++) {
        point_print(s, p, i);
    }
    return UI_EXIT_OK;
}

/* The gates are about the suggestion. */
static int gate(const struct ui_args *args, struct qx_session *s, const struct pareto *p)
{
    const struct qx_point *at = qx_mixed_point(p->plan, p->best);
    const double fp32 = qx_session_mixed_fp32(s);
    const bool is_words = ui_search_is_words(s);
    if (!isnan(args->min_acc) && !(at->value >= args->min_acc)) {
        fprintf(stderr, "qexplore pareto: no recipe reaches --min-acc %g\n", args->min_acc);
        return UI_EXIT_GATE;
    }
    const double drop = is_words ? 1.0 / at->value - 1.0 : fp32 - at->value;
    return ui_search_gate(args, "the suggested recipe", is_words, at->value, drop) ? UI_EXIT_GATE
                                                                                   : UI_EXIT_OK;
}

static int pareto_run(const struct ui_args *args)
{
    struct qx_error err = {.offset = -1};
    struct pareto p = {.best = -1};
    int code;
    struct qx_session *s = ui_open_batch(args, &code);
    if (!s) {
        return code;
    }
    ui_progress_begin(args, "pareto");
    const enum qx_status st = pareto_find(args, s, &p, &err);
    ui_progress_end();
    if (st != QX_OK) {
        code = ui_report(args, &err);
    } else {
        code = args->json ? pareto_json(args, s, &p) : pareto_print(s, &p);
        code = code ? code : p.is_cut ? ui_exit_interrupted() : gate(args, s, &p);
    }
    qx_mixed_free(p.plan);
    qx_sens_free(p.map);
    free(p.select);
    free(p.keep);
    free(p.tie);
    qx_session_close(&s);
    return code;
}

const struct ui_verb ui_verb_pareto = {
    .name = "pareto",
    .usage = "FOLDER [--size S|--bpw B|--latency MS] [--bits LIST] [--mode M] [--keep GLOB=FORMAT] "
             "[--json]",
    .help = "Recipes of mixed precision: the best accuracy for every size, and one to take.",
    .example = "qexplore pareto samples/fashion-cnn --bpw 4 --keep first=fp16 --save-recipe r.json",
    .groups =
        UI_FLAGS_COMMON | UI_FLAGS_SETTING | UI_FLAGS_SESSION | UI_FLAGS_SEARCH | UI_FLAGS_PARETO,
    .min_positional = 1,
    .max_positional = 1,
    .run = pareto_run,
};

/* qexplore formats: every number format on the same tensors, by bits per weight. */
#include "verb.h"

#include "predict_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { W_PREDICTED = 22 };

struct report {
    const struct ui_args *args;
    struct qx_session *s;
    int64_t *items, n_items;
    struct qx_formats_row *rows; /* [n_items][QX_FORMATS_MOST] */
    int n_rows;
    struct qx_formats_state state;
    struct qx_eval_result *fp32; /* NULL = nothing was measured */
    bool is_cut;                 /* interrupted: what was measured stands */
};

static enum qx_status items_select(struct report *r, struct qx_error *err)
{
    const struct ui_args *a = r->args;
    size_t n = (size_t)qx_session_n_items(r->s);
    bool all = a->scope && strcmp(a->scope, "all") == 0;
    bool *selected = calloc(n + 1, sizeof *selected);
    r->items = calloc(n + 1, sizeof *r->items);
    if (selected && r->items) {
        qx_session_select(r->s, all ? QX_SCOPE_ALL : QX_SCOPE_LINEAR, a->layers, selected);
    }
    for (size_t i = 0; selected && r->items && i < n; i++) {
        if (selected[i]) {
            r->items[r->n_items++] = (int64_t)i;
        }
    }
    free(selected);
    r->rows = calloc((size_t)r->n_items * QX_FORMATS_MOST + 1, sizeof *r->rows);
    *err = (struct qx_error){.offset = -1};
    if (!r->items || !r->rows) {
        err->status = QX_ENOMEM;
        snprintf(err->text, sizeof err->text, "out of memory for the table of formats");
    } else if (r->n_items == 0) {
        err->status = QX_ENAME;
        snprintf(err->text, sizeof err->text,
                 "no tensor that can be quantized is selected: see qexplore info, --layers and "
                 "--scope all");
    }
    return err->status;
}

/* Rows follow the flags, else the recipe's layers, else 8 bits per channel. */
static enum qx_status table_make(struct report *r, struct qx_error *err)
{
    const struct ui_args *a = r->args;
    struct qx_setting base;
    if (!ui_setting_parse(a, &base, err)) {
        return err->status;
    }
    if (a->recipe && qx_session_load_recipe(r->s, a->recipe, err) != QX_OK) {
        return err->status;
    }
    enum qx_status st = items_select(r, err);
    const bool is_recipe = a->recipe && !ui_describes_setting(a);
    ui_progress_begin(a, "formats");
    if (st == QX_OK) {
        st = qx_session_run_formats(r->s, r->items, r->n_items, is_recipe ? NULL : &base,
                                    ui_batch_ctl(), r->rows, &r->n_rows, &r->state, err);
    }
    ui_progress_end();
    if (st == QX_OK && a->measure) {
        ui_progress_begin(a, "measuring");
        st = qx_session_run_formats_measure(r->s, r->items, r->n_items, r->n_rows, ui_batch_ctl(),
                                            r->rows, &r->fp32, &r->is_cut, err);
        ui_progress_end();
    }
    return st;
}

static double db_of(const struct qx_metrics *m)
{
    return isnan(m->sqnr_db) ? INFINITY : m->sqnr_db;
}

/* Rows of one tensor by size, the better first among equals. */
static void rows_order(const struct qx_formats_row *rows, int n, int *order)
{
    for (int i = 0; i < n; i++) {
        const struct qx_metrics *m = &rows[i].metrics;
        int at = i;
        for (; at > 0; at--) {
            const struct qx_metrics *k = &rows[order[at - 1]].metrics;
            if (k->bytes < m->bytes || (k->bytes == m->bytes && db_of(k) >= db_of(m))) {
                break;
            }
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

/* ---- measured ---- */

/* Perplexity, accuracy, or the share of FP32's answers where there are no labels. */
static double value_of(const struct qx_eval_result *fp32, double measured)
{
    return fp32->nll ? fp32->perplexity / measured : measured;
}

static double fp32_value(const struct qx_eval_result *fp32)
{
    return fp32->nll ? fp32->perplexity : fp32->correct >= 0 ? fp32->accuracy : 1.0;
}

/* Points lost, or the relative increase of the perplexity. */
static double change_of(const struct qx_eval_result *fp32, double measured)
{
    return fp32->nll ? 1.0 / measured - 1.0 : measured - fp32_value(fp32);
}

static void measured_json(struct qx_jw *w, const struct qx_eval_result *fp32, double measured)
{
    qx_jw_key(w, "measured");
    qx_jw_object(w);
    qx_jw_put_str(w, "metric", fp32->nll ? "ppl" : fp32->correct >= 0 ? "accuracy" : "same_top");
    qx_jw_put_num(w, "value", value_of(fp32, measured));
    qx_jw_put_num(w, "fp32", fp32_value(fp32));
    qx_jw_put_num(w, "change", change_of(fp32, measured));
    qx_jw_key(w, "n");
    qx_jw_int(w, fp32->n);
    qx_jw_end(w);
}

static void measured_text(const struct qx_eval_result *fp32, double measured, char *buf, size_t cap)
{
    const double change = 0.01 * round(1e4 * change_of(fp32, measured)) + 0.0; /* no "-0.00" */
    if (fp32->nll) {
        snprintf(buf, cap, "%.5g (%+.2f %%)", value_of(fp32, measured), change);
    } else {
        snprintf(buf, cap, "%.2f %% (%+.2f)", 100 * measured, change);
    }
}

static void row_json(struct qx_jw *w, const struct report *report, const struct qx_formats_row *r)
{
    const struct qx_metrics *m = &r->metrics;
    qx_jw_object(w);
    qx_jw_key(w, "format");
    qx_jw_str(w, r->set.format->name);
    qx_jw_key(w, "bits");
    qx_jw_int(w, qx_setting_is_int(&r->set) ? r->set.bits : r->set.format->max_bits);
    qx_jw_put_num(w, "bits_per_weight", m->bits_per_weight);
    qx_jw_key(w, "bytes");
    qx_jw_int(w, (int64_t)m->bytes);
    qx_jw_put_num(w, "mse", m->mse);
    qx_jw_put_num(w, "sqnr_db", m->sqnr_db);
    qx_jw_put_num(w, "clipped", m->clipped_low + m->clipped_high);
    qx_jw_put_num(w, "output_error", r->output);
    if (r->has_prediction) {
        ui_predicted_json(w, &r->predicted);
    }
    if (!isnan(r->measured)) {
        measured_json(w, report->fp32, r->measured);
    }
    qx_jw_key(w, "front");
    qx_jw_bool(w, r->is_front);
    qx_jw_key(w, "basis");
    qx_jw_str(w, qx_basis_name(m->basis));
    qx_jw_end(w);
}

static void row_print(const struct report *r, const struct qx_formats_row *row)
{
    const struct qx_metrics *m = &row->metrics;
    char name[32], db[16] = "exact", out[16] = "-", predicted[64] = "", measured[40] = "";
    ui_fmt_format(name, sizeof name, &row->set);
    if (!isnan(m->sqnr_db)) {
        snprintf(db, sizeof db, "%.2f", m->sqnr_db);
    }
    if (!isnan(row->output)) {
        snprintf(out, sizeof out, row->output > 0 ? "%.2f" : "exact", -10 * log10(row->output));
    }
    if (row->has_prediction) {
        struct qx_gauge g = {.guess = QX_GUESS_PREDICTED, .predicted = row->predicted};
        ui_fmt_predicted(predicted, sizeof predicted, &g, UI_GLYPHS_ASCII, false);
    }
    if (!isnan(row->measured)) {
        measured_text(r->fp32, row->measured, measured, sizeof measured);
    }
    printf(" %c %-7s %7.3f %8s %8s %11llu  %-*s%s\n", row->is_front ? '*' : ' ', name,
           m->bits_per_weight, m->n > 0 ? db : "n/a", out, (unsigned long long)m->bytes,
           r->fp32 ? W_PREDICTED : 0, predicted, measured);
}

static void tensor_report(const struct report *r, int64_t i, struct qx_jw *w)
{
    const struct qx_formats_row *rows = &r->rows[i * QX_FORMATS_MOST];
    const struct qx_item *item = qx_session_item(r->s, r->items[i]);
    int order[QX_FORMATS_MOST];
    rows_order(rows, r->n_rows, order);
    if (w) {
        qx_jw_object(w);
        qx_jw_key(w, "name");
        qx_jw_str(w, item->tensor->name);
        qx_jw_key(w, "rows");
        qx_jw_array(w);
    } else {
        printf("%s%s\n   %-7s %7s %8s %8s %11s  %-*s%s\n", i > 0 ? "\n" : "", item->tensor->name,
               "format", "b/w", "SQNR dB", "out dB", "bytes", r->fp32 ? W_PREDICTED : 0,
               "predicted", r->fp32 ? "measured" : "");
    }
    for (int k = 0; k < r->n_rows; k++) {
        if (w) {
            row_json(w, r, &rows[order[k]]);
        } else {
            row_print(r, &rows[order[k]]);
        }
    }
    if (w) {
        qx_jw_end(w);
        qx_jw_end(w);
    }
}

static void reason_json(struct qx_jw *w, const char *key, const char *text)
{
    qx_jw_key(w, key);
    qx_jw_str(w, text[0] ? text : NULL);
}

static int report_print(const struct report *r)
{
    struct qx_jw *w = r->args->json ? ui_json_begin(r->args, "formats") : NULL;
    if (w) {
        qx_jw_key(w, "output_error_by");
        qx_jw_str(w, r->state.is_diagonal ? "imatrix" : "rows");
        reason_json(w, "no_output_error", r->state.output_reason);
        reason_json(w, "no_prediction", r->state.predict_reason);
        qx_jw_key(w, "complete");
        qx_jw_bool(w, !r->is_cut);
        qx_jw_key(w, "layers");
        qx_jw_array(w);
    }
    for (int64_t i = 0; i < r->n_items; i++) {
        tensor_report(r, i, w);
    }
    if (w) {
        qx_jw_end(w);
        return ui_json_print(w);
    }
    printf("\n* no other format is as good and as small\n");
    if (r->state.is_diagonal) {
        printf("out dB by the imatrix where no calibration rows are: inputs as if they did not go "
               "together\n");
    }
    if (r->fp32) {
        printf("measured on %lld %s; FP32 %.*f%s\n", (long long)r->fp32->n,
               r->fp32->nll ? "tokens" : "rows", r->fp32->nll ? 3 : 2,
               (r->fp32->nll ? 1 : 100) * fp32_value(r->fp32), r->fp32->nll ? "" : " %");
    }
    if (r->is_cut) {
        printf("interrupted: what was measured stands\n");
    }
    if (r->state.output_reason[0]) {
        printf("no output error: %s\n", r->state.output_reason);
    }
    if (r->state.predict_reason[0]) {
        printf("no prediction: %s\n", r->state.predict_reason);
    }
    return UI_EXIT_OK;
}

static int formats_run(const struct ui_args *args)
{
    struct qx_error err = {.offset = -1};
    struct report r = {.args = args};
    int code;
    r.s = ui_open_batch(args, &code);
    if (!r.s) {
        return code;
    }
    code = table_make(&r, &err) == QX_OK ? report_print(&r) : ui_report(args, &err);
    code = code == UI_EXIT_OK && r.is_cut ? ui_exit_interrupted() : code;
    qx_eval_result_free(r.fp32);
    free(r.items);
    free(r.rows);
    qx_session_close(&r.s);
    return code;
}

const struct ui_verb ui_verb_formats = {
    .name = "formats",
    .usage = "MODEL [--layers GLOB] [--gran G] [--method M] [--measure] [--json]",
    .help = "Compare all number formats on each tensor: size, error, and what the network does.",
    .example =
        "qexplore formats samples/fashion-cnn --layers dense.weight --gran group:64 --measure",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_SESSION | UI_FLAGS_SETTING | UI_FLAGS_FORMATS,
    .min_positional = 1,
    .max_positional = 1,
    .run = formats_run,
};

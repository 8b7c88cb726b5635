/* qexplore quantize: apply a recipe, report the error of every layer, write the result. */
#include "verb.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *gran_text(const struct qx_setting *set, char *buf, size_t cap)
{
    if (!qx_format_is_scaled(set->format)) {
        return "-";
    }
    if (set->gran == QX_GRAN_GROUP) {
        snprintf(buf, cap, "group:%lld", (long long)set->group);
        return buf;
    }
    return set->gran == QX_GRAN_CHANNEL ? "channel" : "tensor";
}

static void layer_json(struct qx_jw *w, const struct qx_item *item, const struct qx_setting *set,
                       const struct qx_metrics *m)
{
    char gran[32];
    bool scaled = qx_format_is_scaled(set->format);
    qx_jw_object(w);
    qx_jw_key(w, "name");
    qx_jw_str(w, item->tensor->name);
    qx_jw_key(w, "shape");
    qx_jw_array(w);
    for (int d = 0; d < item->tensor->rank; d++) {
        qx_jw_int(w, item->tensor->shape[d]);
    }
    qx_jw_end(w);
    qx_jw_key(w, "bits");
    qx_jw_int(w, scaled ? set->bits : set->format->max_bits);
    qx_jw_key(w, "format");
    qx_jw_str(w, set->format->name);
    qx_jw_key(w, "gran");
    qx_jw_str(w, scaled ? gran_text(set, gran, sizeof gran) : NULL);
    qx_jw_key(w, "sym");
    scaled ? qx_jw_bool(w, set->sym) : qx_jw_null(w);
    qx_jw_key(w, "method");
    qx_jw_str(w, scaled ? set->calib->name : NULL);
    /* of a tensor in real units; of channels and groups as the ratio of their own range */
    qx_jw_put_num(w, "lo", scaled ? set->range.lo : NAN);
    qx_jw_put_num(w, "hi", scaled ? set->range.hi : NAN);
    qx_jw_put_num(w, "scale_min", scaled ? m->scale_min : NAN);
    qx_jw_put_num(w, "scale_max", scaled ? m->scale_max : NAN);
    qx_jw_put_num(w, "clipped_low", m->clipped_low);
    qx_jw_put_num(w, "clipped_high", m->clipped_high);
    qx_jw_put_num(w, "mse", m->mse);
    qx_jw_put_num(w, "mae", m->mae);
    qx_jw_put_num(w, "sqnr_db", m->sqnr_db);
    qx_jw_put_num(w, "cosine", m->cosine);
    qx_jw_put_num(w, "mse_clip", m->mse_clip);
    qx_jw_put_num(w, "mse_round", m->mse_round);
    qx_jw_put_num(w, "bias", m->bias);
    qx_jw_put_num(w, "entropy_bits", m->entropy_bits);
    qx_jw_put_num(w, "bits_per_weight", m->bits_per_weight);
    qx_jw_key(w, "bytes");
    qx_jw_int(w, (int64_t)m->bytes);
    if (m->n_nonfinite) {
        qx_jw_key(w, "nonfinite");
        qx_jw_int(w, m->n_nonfinite);
    }
    qx_jw_key(w, "basis");
    qx_jw_str(w, qx_basis_name(m->basis));
    qx_jw_end(w);
}

static void layer_print(const struct qx_item *item, int name_w, const struct qx_setting *set,
                        const struct qx_metrics *m)
{
    char gran[32], format[32], db[16] = "exact";
    if (!isnan(m->sqnr_db)) {
        snprintf(db, sizeof db, "%.2f", m->sqnr_db);
    }
    snprintf(format, sizeof format, qx_setting_is_int(set) ? "%s%d" : "%s", set->format->title,
             set->bits);
    ui_print_name(item->tensor->name, name_w);
    printf(" %-6s %-9s %9.4g %8.3f %11.4g %9s %7.3f %11llu\n", format,
           gran_text(set, gran, sizeof gran),
           qx_format_is_scaled(set->format) ? set->range.hi : NAN,
           m->n > 0 ? 100 * (m->clipped_low + m->clipped_high) / (double)m->n : 0, m->mse,
           m->n > 0 ? db : "n/a", m->bits_per_weight, (unsigned long long)m->bytes);
}

/* Sums for the SQNR over all quantized values. */
struct power {
    double signal, noise;
};

static enum qx_status layers_report(const struct ui_args *args, struct qx_session *s,
                                    struct qx_jw *w, struct power *sum, struct qx_error *err)
{
    const int name_w = ui_names_width(s);
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        if (qx_setting_is_fp32(qx_session_setting(s, i))) {
            continue;
        }
        struct qx_metrics m;
        enum qx_status status = qx_session_run_metrics(s, i, ui_batch_ctl(), &m, err);
        if (status != QX_OK) {
            return status;
        }
        sum->signal += m.sum_sq;
        sum->noise += m.mse * (double)m.n;
        if (args->json) {
            layer_json(w, qx_session_item(s, i), qx_session_setting(s, i), &m);
        } else {
            layer_print(qx_session_item(s, i), name_w, qx_session_setting(s, i), &m);
        }
    }
    return QX_OK;
}

static enum qx_status outputs_write(const struct ui_args *args, struct qx_session *s,
                                    struct qx_error *err)
{
    enum qx_status status = QX_OK;
    if (args->save_recipe) {
        status = qx_session_save_recipe(s, args->save_recipe, err);
    }
    if (status == QX_OK && args->output) {
        status = qx_session_run_write(s, args->output, ui_batch_ctl(), err);
    }
    return status;
}

static void totals_json(struct qx_jw *w, const struct qx_totals *t, double sqnr)
{
    qx_jw_key(w, "totals");
    qx_jw_object(w);
    qx_jw_key(w, "bytes");
    qx_jw_int(w, (int64_t)t->bytes);
    qx_jw_key(w, "bytes_fp32");
    qx_jw_int(w, (int64_t)t->bytes_fp32);
    qx_jw_put_num(w, "bits_per_weight", t->bits_per_weight);
    qx_jw_put_num(w, "sqnr_db", sqnr);
    qx_jw_end(w);
}

static int quantize_report(const struct ui_args *args, struct qx_session *s)
{
    struct qx_error err = {.offset = -1};
    if (!ui_apply_recipe(args, s, &err)) {
        return ui_report(args, &err);
    }
    struct qx_jw *w = args->json ? ui_json_begin(args, "quantize") : NULL;
    if (w) {
        qx_jw_key(w, "layers");
        qx_jw_array(w);
    } else {
        printf("%-*s %-6s %-9s %9s %8s %11s %9s %7s %11s\n", ui_names_width(s), "tensor", "format",
               "gran", "T|ratio", "clip %", "MSE", "SQNR dB", "b/w", "bytes");
    }
    struct power sum = {0, 0};
    ui_progress_begin(args, "quantize");
    enum qx_status status = qx_session_run_resolve(s, ui_batch_ctl(), &err);
    if (status == QX_OK) {
        status = layers_report(args, s, w, &sum, &err);
    }
    if (status == QX_OK) {
        status = outputs_write(args, s, &err);
    }
    ui_progress_end();
    if (status != QX_OK) {
        qx_jw_free(w);
        return ui_report(args, &err);
    }
    struct qx_totals totals;
    qx_session_totals(s, &totals);
    double sqnr = sum.noise > 0 ? 10 * log10(sum.signal / sum.noise) : NAN;
    if (w) {
        qx_jw_end(w);
        totals_json(w, &totals, sqnr);
        return ui_json_print(w);
    }
    char db[32] = "every value exact";
    if (!isnan(sqnr)) {
        snprintf(db, sizeof db, "SQNR %.2f dB", sqnr);
    }
    printf("total %llu bytes of %llu in FP32 (%.1f %%), %.3f bits per weight, %s\n",
           (unsigned long long)totals.bytes, (unsigned long long)totals.bytes_fp32,
           100.0 * (double)totals.bytes / (double)(totals.bytes_fp32 ? totals.bytes_fp32 : 1),
           totals.bits_per_weight, db);
    return UI_EXIT_OK;
}

static int quantize_run(const struct ui_args *args)
{
    if (!ui_has_recipe(args)) {
        return ui_usage_error(args, "say how: --bits 4, or --recipe FILE");
    }
    int code;
    struct qx_session *s = ui_open_batch(args, &code);
    if (s) {
        code = quantize_report(args, s);
        qx_session_close(&s);
    }
    return code;
}

const struct ui_verb ui_verb_quantize = {
    .name = "quantize",
    .usage = "MODEL --bits N [--gran G] [--method M] [-o FOLDER] [--save-recipe F] [--json]",
    .help = "Quantize the weights, report every layer's error, write a model folder.",
    .example = "qexplore quantize samples/fashion-cnn --bits 4 --gran group:32 -o /tmp/int4",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_RECIPE | UI_FLAGS_SESSION | UI_FLAGS_QUANTIZE,
    .min_positional = 1,
    .max_positional = 1,
    .run = quantize_run,
};

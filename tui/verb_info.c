/* qexplore info: what is in a checkpoint. */
#include "verb.h"

#include "canvas.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HIST_CELLS = 64 };

static void shape_text(const struct qx_tensor *t, char *buf, size_t cap)
{
    size_t at = 0;
    buf[0] = 0;
    if (t->rank == 0) {
        snprintf(buf, cap, "scalar");
    }
    for (int i = 0; i < t->rank && at < cap; i++) {
        at += (size_t)snprintf(buf + at, cap - at, "%s%lld", i ? "x" : "", (long long)t->shape[i]);
    }
}

static const char *role_text(const struct qx_item *item)
{
    return item->role == QX_ROLE_LINEAR      ? "linear"
           : item->role == QX_ROLE_EMBEDDING ? "embedding"
                                             : "other";
}

static void stats_json(struct qx_jw *w, const struct qx_stats *st)
{
    const struct {
        const char *key;
        double value;
    } figures[] = {{"min", st->min}, {"max", st->max},       {"mean", st->mean},
                   {"std", st->std}, {"absmax", st->absmax}, {"p999", st->p999}};
    qx_jw_object(w);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        qx_jw_key(w, figures[i].key);
        qx_jw_num(w, figures[i].value);
    }
    qx_jw_key(w, "zeros");
    qx_jw_int(w, st->n_zero);
    qx_jw_key(w, "nan");
    qx_jw_int(w, st->n_nan);
    qx_jw_key(w, "inf");
    qx_jw_int(w, st->n_inf);
    qx_jw_end(w);
}

/* 64 equal cells over [min, max]. */
static enum qx_status hist_json(struct qx_jw *w, struct qx_session *s, int64_t item,
                                const struct qx_stats *st, struct qx_error *err)
{
    double cells[HIST_CELLS], below, beyond;
    struct qx_hist *h = NULL;
    enum qx_status status = qx_session_run_hist(s, item, ui_batch_ctl(), &h, err);
    if (status != QX_OK) {
        return status;
    }
    qx_hist_fold(h, st->min, st->max, HIST_CELLS, cells, &below, &beyond);
    cells[HIST_CELLS - 1] += beyond;
    qx_hist_unref(h);
    qx_jw_key(w, "hist");
    qx_jw_object(w);
    qx_jw_key(w, "lo");
    qx_jw_num(w, st->min);
    qx_jw_key(w, "hi");
    qx_jw_num(w, st->max);
    qx_jw_key(w, "counts");
    qx_jw_array(w);
    for (int i = 0; i < HIST_CELLS; i++) {
        qx_jw_num(w, cells[i]);
    }
    qx_jw_end(w);
    qx_jw_end(w);
    return QX_OK;
}

/* "stats": an object, or null with a reason. */
static enum qx_status tensor_stats_json(struct qx_jw *w, struct qx_session *s, int64_t item,
                                        const struct ui_args *args, struct qx_error *err)
{
    const struct qx_tensor *t = qx_session_item(s, item)->tensor;
    if (!args->stats && !args->hist) {
        qx_jw_key(w, "stats");
        qx_jw_null(w);
        return QX_OK;
    }
    struct qx_stats st;
    const char *reason = t->reason ? t->reason : t->numel == 0 ? "the tensor is empty" : NULL;
    if (!reason) {
        enum qx_status status = qx_session_run_stats(s, item, ui_batch_ctl(), &st, err);
        if (status != QX_OK) {
            return status;
        }
    }
    qx_jw_key(w, "stats");
    if (reason) {
        qx_jw_null(w);
        qx_jw_key(w, "reason");
        qx_jw_str(w, reason);
        return QX_OK;
    }
    stats_json(w, &st);
    return args->hist && st.n > 0 ? hist_json(w, s, item, &st, err) : QX_OK;
}

static enum qx_status tensor_json(struct qx_jw *w, struct qx_session *s, int64_t i,
                                  const struct ui_args *args, struct qx_error *err)
{
    const struct qx_item *item = qx_session_item(s, i);
    const struct qx_tensor *t = item->tensor;
    qx_jw_object(w);
    qx_jw_key(w, "name");
    qx_jw_str(w, t->name);
    qx_jw_key(w, "shape");
    qx_jw_array(w);
    for (int d = 0; d < t->rank; d++) {
        qx_jw_int(w, t->shape[d]);
    }
    qx_jw_end(w);
    qx_jw_key(w, "dtype");
    qx_jw_str(w, qx_dtype_get(t->dtype)->name);
    qx_jw_key(w, "bytes");
    qx_jw_int(w, (int64_t)t->bytes);
    qx_jw_key(w, "file");
    qx_jw_str(w, qx_model_file(qx_session_model(s), t->file));
    qx_jw_key(w, "offset");
    qx_jw_int(w, (int64_t)t->offset);
    qx_jw_key(w, "role");
    qx_jw_str(w, role_text(item));
    enum qx_status status = tensor_stats_json(w, s, i, args, err);
    qx_jw_end(w);
    return status;
}

static bool is_listed(const struct ui_args *args, const struct qx_item *item)
{
    return !args->layers || qx_str_glob(args->layers, item->tensor->name) ||
           qx_str_glob(args->layers, item->alias);
}

static int info_json(const struct ui_args *args, struct qx_session *s)
{
    const struct qx_model *m = qx_session_model(s);
    const struct qx_net *net = qx_session_net(s);
    struct qx_error err = {.offset = -1};
    struct qx_jw *w = ui_json_begin(args, "info");
    qx_jw_key(w, "model");
    qx_jw_object(w);
    qx_jw_key(w, "path");
    qx_jw_str(w, qx_model_path(m));
    qx_jw_key(w, "format");
    qx_jw_str(w, qx_model_format(m));
    qx_jw_key(w, "arch");
    qx_jw_str(w, net ? qx_net_arch(net) : NULL);
    qx_jw_key(w, "params");
    qx_jw_int(w, qx_model_params(m));
    qx_jw_key(w, "bytes");
    qx_jw_int(w, (int64_t)qx_model_bytes(m));
    qx_jw_end(w);
    qx_jw_key(w, "tensors");
    qx_jw_array(w);
    qx_ctl_total(ui_batch_ctl(), qx_session_n_items(s));
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        if (is_listed(args, qx_session_item(s, i)) && tensor_json(w, s, i, args, &err) != QX_OK) {
            qx_jw_free(w);
            return ui_report(args, &err);
        }
    }
    qx_jw_end(w);
    return ui_json_print(w);
}

static enum qx_status row_print(const struct ui_args *args, struct qx_session *s, int64_t i,
                                int name_w, struct qx_error *err)
{
    const struct qx_item *item = qx_session_item(s, i);
    const struct qx_tensor *t = item->tensor;
    char shape[64];
    shape_text(t, shape, sizeof shape);
    bool more = args->stats || t->reason;
    ui_print_name(t->name, name_w);
    printf("  %-18s %-8s %12llu  %-*s", shape, qx_dtype_get(t->dtype)->name,
           (unsigned long long)t->bytes, more ? 9 : 0, role_text(item));
    if (args->stats && t->reason) {
        printf("  %s", t->reason);
    } else if (args->stats && t->numel > 0) {
        struct qx_stats st;
        enum qx_status status = qx_session_run_stats(s, i, ui_batch_ctl(), &st, err);
        if (status != QX_OK) {
            return status;
        }
        printf("  %11.4g %11.4g %11.4g %11.4g %11.4g", st.min, st.max, st.mean, st.std, st.p999);
        if (st.n_nan + st.n_inf) {
            printf("  %lld NaN, %lld Inf", (long long)st.n_nan, (long long)st.n_inf);
        }
    } else if (t->reason) {
        printf("  %s", t->reason);
    }
    printf("\n");
    return QX_OK;
}

static int info_text(const struct ui_args *args, struct qx_session *s)
{
    const struct qx_model *m = qx_session_model(s);
    const struct qx_net *net = qx_session_net(s);
    int name_w = 6;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        char name[256];
        int len =
            ui_text_width(ui_safe_text(qx_session_item(s, i)->tensor->name, name, sizeof name));
        name_w = len > name_w && len <= 60 ? len : name_w;
    }
    printf("%s: %s, %d file%s, %lld tensor%s, %lld values, %llu bytes\n", qx_model_path(m),
           qx_model_format(m), qx_model_n_files(m), qx_model_n_files(m) == 1 ? "" : "s",
           (long long)qx_session_n_items(s), qx_session_n_items(s) == 1 ? "" : "s",
           (long long)qx_model_params(m), (unsigned long long)qx_model_bytes(m));
    if (net) {
        printf("network: %s (%s), %d layers, %d classes\n", qx_net_name(net), qx_net_task(net),
               qx_net_n_layers(net), qx_net_n_classes(net));
    } else {
        printf("no network: %s\n", qx_session_net_reason(s));
    }
    if (qx_model_note(m)) {
        printf("note: %s\n", qx_model_note(m));
    }
    printf("\n%-*s  %-18s %-8s %12s  %-9s", name_w, "tensor", "shape", "dtype", "bytes", "role");
    if (args->stats) {
        printf("  %11s %11s %11s %11s %11s", "min", "max", "mean", "std", "p99.9|x|");
    }
    printf("\n");
    struct qx_error err = {.offset = -1};
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        if (is_listed(args, qx_session_item(s, i)) &&
            row_print(args, s, i, name_w, &err) != QX_OK) {
            return ui_report(args, &err);
        }
    }
    return UI_EXIT_OK;
}

static int info_run(const struct ui_args *args)
{
    int code;
    struct qx_session *s = ui_open_batch(args, &code);
    if (!s) {
        return code;
    }
    if (args->layers) {
        bool any = false;
        for (int64_t i = 0; i < qx_session_n_items(s); i++) {
            any = any || is_listed(args, qx_session_item(s, i));
        }
        if (!any) {
            qx_session_close(&s);
            return ui_usage_error(args, "--layers %s matches no tensor", args->layers);
        }
    }
    code = args->json ? info_json(args, s) : info_text(args, s);
    qx_session_close(&s);
    return code;
}

const struct ui_verb ui_verb_info = {
    .name = "info",
    .usage = "MODEL [--stats] [--hist] [--layers GLOB] [--json]",
    .help = "List the tensors of a checkpoint: names, shapes, dtypes, statistics.",
    .example = "qexplore info samples/fashion-cnn --stats",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_INFO | UI_FLAGS_SESSION,
    .min_positional = 1,
    .max_positional = 1,
    .run = info_run,
};

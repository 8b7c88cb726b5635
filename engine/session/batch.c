/* Whole-model work in the caller's thread. */
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <string.h>

static bool in_scope(const struct qx_item *it, enum qx_scope scope)
{
    return it->role == QX_ROLE_LINEAR || (scope == QX_SCOPE_ALL && it->role == QX_ROLE_EMBEDDING);
}

static bool is_named(const struct qx_item *it, const char *glob)
{
    return qx_str_glob(glob, it->tensor->name) || qx_str_glob(glob, it->alias);
}

bool qx_session_match(const struct qx_session *s, int64_t item, const char *glob)
{
    const bool is_first = strcmp(glob, "first") == 0, is_last = strcmp(glob, "last") == 0;
    const bool is_both = strcmp(glob, "ends") == 0;
    const struct qx_item *it = &s->items.v[item];
    bool is_word = s->net && (is_first || is_last || is_both);
    for (int64_t i = 0; is_word && i < s->items.n; i++) {
        is_word = !is_named(&s->items.v[i], glob);
    }
    if (!is_word) {
        return is_named(it, glob);
    }
    const int layer = qx_net_layer_of_tensor(s->net, item);
    return layer >= 0 && ((!is_last && qx_net_layer_is_end(s->net, layer, false)) ||
                          (!is_first && qx_net_layer_is_end(s->net, layer, true)));
}

void qx_session_select(const struct qx_session *s, enum qx_scope scope, const char *glob, bool *out)
{
    for (int64_t i = 0; i < s->items.n; i++) {
        const struct qx_item *it = &s->items.v[i];
        const char *name = it->tensor->name;
        bool named = glob && (strcmp(glob, name) == 0 || strcmp(glob, it->alias) == 0);
        bool matched = !glob || qx_str_glob(glob, name) || qx_str_glob(glob, it->alias);
        out[i] = it->can_quantize && (named || (matched && in_scope(it, scope)));
    }
}

static enum qx_status item_hist(struct qx_session *s, int64_t item, const struct qx_setting *set,
                                struct qx_ctl *ctl, const struct qx_hist **out,
                                struct qx_error *err)
{
    struct qx_hist_spec spec = qx_setting_spec(set, s->items.v[item].channels);
    return qx_cache_build(s, item, &spec, ctl, out, err);
}

static bool is_open(const struct qx_session *s, int64_t item)
{
    return qx_setting_open(&s->now.set[item]) || s->pending.state[item] != QX_PENDING_NONE;
}

static enum qx_status item_resolve(struct qx_session *s, int64_t item, struct qx_ctl *ctl,
                                   struct qx_error *err)
{
    struct qx_setting set = s->now.set[item];
    if (!is_open(s, item)) {
        return QX_OK;
    }
    const struct qx_hist *hist;
    enum qx_status status = item_hist(s, item, &set, ctl, &hist, err);
    if (status == QX_OK) {
        qx_pending_resolve(s, item, hist, true);
    }
    return status;
}

enum qx_status qx_session_run_resolve(struct qx_session *s, struct qx_ctl *ctl,
                                      struct qx_error *err)
{
    enum { PASSES = 4 }; /* over the values: three to resolve, one to measure the error later */
    int64_t total = 0;
    for (int64_t i = 0; i < s->items.n; i++) {
        total += is_open(s, i) ? PASSES * s->items.v[i].tensor->numel : 0;
    }
    if (total > 0 && ctl) {
        atomic_store(&ctl->done, 0);
        qx_ctl_total(ctl, total);
    }
    enum qx_status status = QX_OK;
    for (int64_t i = 0; i < s->items.n && status == QX_OK; i++) {
        struct qx_ctl part = {.parent = ctl};
        status = item_resolve(s, i, &part, err);
    }
    if (status == QX_OK) {
        status = qx_ranges_resolve_recipe(s, ctl, err);
    }
    return status == QX_OK ? qx_methods_resolve_recipe(s, ctl, err) : status;
}

enum qx_status qx_session_run_metrics(struct qx_session *s, int64_t item, struct qx_ctl *ctl,
                                      struct qx_metrics *out, struct qx_error *err)
{
    const struct qx_item *it = &s->items.v[item];
    if (!it->can_quantize) {
        return qx_fail_at(err, QX_EUNSUPPORTED, NULL, it->tensor->name, -1,
                          "'%s' cannot be quantized. %s", it->tensor->name, it->reason);
    }
    enum qx_status status = item_resolve(s, item, ctl, err);
    const struct qx_metrics *known =
        status == QX_OK ? qx_exact_find(&s->exact, item, &s->now.set[item]) : NULL;
    if (known) {
        *out = *known;
        return QX_OK;
    }
    if (status == QX_OK) {
        status =
            qx_metric_exact(it->tensor, it->channels, &s->now.set[item], s->pool, ctl, out, err);
    }
    if (status == QX_OK) {
        qx_exact_put(&s->exact, item, &s->now.set[item], out);
        qx_model_dontneed(s->model, it->tensor);
    }
    return status;
}

enum qx_status qx_session_run_hist(struct qx_session *s, int64_t item, struct qx_ctl *ctl,
                                   struct qx_hist **out, struct qx_error *err)
{
    const struct qx_item *it = &s->items.v[item];
    const struct qx_hist *hist;
    if (it->tensor->reason) {
        return qx_fail_at(err, QX_EUNSUPPORTED, NULL, it->tensor->name, -1, "%s",
                          it->tensor->reason);
    }
    struct qx_setting plain = qx_setting_int(8);
    plain.gran = QX_GRAN_TENSOR;
    enum qx_status status = item_hist(s, item, &plain, ctl, &hist, err);
    if (status == QX_OK) {
        *out = qx_hist_ref((struct qx_hist *)(uintptr_t)hist);
        qx_model_dontneed(s->model, it->tensor);
    }
    return status;
}

enum qx_status qx_session_run_stats(struct qx_session *s, int64_t item, struct qx_ctl *ctl,
                                    struct qx_stats *out, struct qx_error *err)
{
    struct qx_hist *hist;
    enum qx_status status = qx_session_run_hist(s, item, ctl, &hist, err);
    if (status == QX_OK) {
        *out = *qx_hist_stats(hist);
        qx_hist_unref(hist);
    }
    return status;
}

/* The settings of the layers, resolved; free with qx_mem_free. */
static enum qx_status settings_take(struct qx_session *s, struct qx_ctl *ctl,
                                    struct qx_setting **out, struct qx_error *err)
{
    enum qx_status status = qx_measure_ready(s, err);
    if (status != QX_OK && err) {
        qx_error_context(err, "cannot measure");
    }
    status = status == QX_OK ? qx_session_run_resolve(s, ctl, err) : status;
    if (status != QX_OK) {
        return status;
    }
    const int n = qx_net_n_layers(s->net);
    struct qx_setting *v = qx_mem_array((size_t)n + 1, sizeof *v);
    if (!v) {
        return qx_fail_nomem(err, ((size_t)n + 1) * sizeof *v);
    }
    for (int i = 0; i < n; i++) {
        v[i] = s->now.set[qx_net_layer(s->net, i)->tensor];
    }
    *out = v;
    return QX_OK;
}

enum qx_status qx_session_run_eval(struct qx_session *s, const struct qx_eval_options *options,
                                   struct qx_ctl *ctl, struct qx_eval_result **out,
                                   struct qx_error *err)
{
    struct qx_setting *v = NULL;
    enum qx_status status = settings_take(s, ctl, &v, err);
    if (status == QX_OK) {
        status = qx_measure_run(s, v, options, ctl, out, err);
    }
    qx_mem_free(v);
    return status;
}

enum qx_status qx_session_run_beside(struct qx_session *s, const struct qx_eval_options *options,
                                     struct qx_ctl *ctl, struct qx_beside *out,
                                     struct qx_error *err)
{
    struct qx_setting *v = NULL;
    enum qx_status status = settings_take(s, ctl, &v, err);
    if (status == QX_OK) {
        status = qx_measure_beside(s, v, options, ctl, out, err);
    }
    qx_mem_free(v);
    return status;
}

/* Rows of the map, and what tasks are made from. */
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <string.h>

bool qx_search_can(const struct qx_session *s)
{
    return s->net && s->data;
}

static struct qx_sens_layer row_of(const struct qx_item *it)
{
    return (struct qx_sens_layer){it->tensor, it->channels,
                                  it->can_quantize && it->role != QX_ROLE_OTHER,
                                  it->role == QX_ROLE_EMBEDDING};
}

/* q, k and v, gate and up: linear layers of a network on sequences that read the same values. */
static void ties_find(const struct qx_session *s, int n_rows, int *tie)
{
    for (int i = 0; i < n_rows; i++) {
        struct qx_net_product mine, other;
        tie[i] = -1;
        if (!s->net || !qx_net_input_is_sequence(s->net) ||
            !qx_net_layer_product(s->net, i, &mine)) {
            continue;
        }
        for (int k = 0; k < i && tie[i] < 0; k++) {
            if (qx_net_layer_product(s->net, k, &other) && other.input == mine.input) {
                tie[i] = tie[k] = k;
            }
        }
    }
}

/* With a network its layers, in order: the table's indices are theirs. Else what may be weights. */
enum qx_status qx_search_rows(struct qx_session *s, struct qx_error *err)
{
    struct qx_search *r = &s->search;
    if (r->n_rows > 0) {
        return QX_OK;
    }
    const size_t n = (size_t)(s->net ? qx_net_n_layers(s->net) : s->items.n) + 1;
    struct qx_sens_layer *layers = qx_mem_array(n, sizeof *layers);
    int64_t *item = qx_mem_array(n, sizeof *item);
    const char **name = qx_mem_array(n, sizeof *name);
    int *tie = qx_mem_array(n, sizeof *tie);
    if (!layers || !item || !name || !tie) {
        qx_mem_free(tie);
        qx_mem_free(layers);
        qx_mem_free(item);
        qx_mem_free(name);
        return qx_fail_nomem(err, n * sizeof *layers);
    }
    int k = 0;
    for (int64_t i = 0; i < (int64_t)n - 1; i++) {
        const int64_t at = s->net ? qx_net_layer(s->net, (int)i)->tensor : i;
        const struct qx_item *it = &s->items.v[at];
        if (s->net || row_of(it).can) {
            layers[k] = row_of(it);
            name[k] = it->tensor->name;
            item[k++] = at;
        }
    }
    ties_find(s, k, tie);
    r->tie = tie;
    r->layers = layers;
    r->item = item;
    r->name = name;
    r->n_rows = k;
    return k > 0 ? QX_OK : qx_fail(err, QX_EDATA, "the model has no linear layers");
}

bool *qx_search_default(const struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    bool *on = qx_mem_array((size_t)r->n_rows + 1, sizeof *on);
    for (int i = 0; on && i < r->n_rows; i++) {
        on[i] = !r->layers[i].is_table || !qx_setting_is_fp32(&s->now.set[r->item[i]]);
    }
    return on;
}

int qx_search_columns(const struct qx_session *s, struct qx_sens_column *out)
{
    int n = s->search.n_columns;
    if (n > 0) {
        memcpy(out, s->search.column, (size_t)n * sizeof *out);
    } else {
        qx_sens_columns_parse("2,3,4,5,6,8", out, &n, NULL);
    }
    return n;
}

bool qx_search_has_act(const struct qx_sens_column *columns, int n)
{
    bool any = false;
    for (int i = 0; i < n; i++) {
        any = any || columns[i].site == QX_SITE_A;
    }
    return any;
}

struct qx_setting *qx_search_settings(const struct qx_session *s)
{
    struct qx_setting *v = qx_mem_array((size_t)s->search.n_rows + 1, sizeof *v);
    for (int i = 0; v && i < s->search.n_rows; i++) {
        v[i] = s->now.set[s->search.item[i]];
    }
    return v;
}

/* Bits and ranges do not count: every column brings its own. */
uint64_t qx_search_key(const struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    struct qx_sens_column column[QX_SENS_COLUMNS];
    const int n = qx_search_columns(s, column);
    uint64_t key = 1;
    for (int i = 0; i < n; i++) {
        const int v[2] = {(int)column[i].site, column[i].bits};
        key = qx_hash64(v, sizeof v, key);
        key = qx_hash64(column[i].format->name, strlen(column[i].format->name), key);
    }
    for (int i = 0; i < r->n_rows; i++) {
        struct qx_setting set = s->now.set[r->item[i]];
        if (!qx_format_is_scaled(set.format)) {
            set = qx_setting_int(4);
        }
        const bool is_off = r->layers[i].is_table && qx_setting_is_fp32(&s->now.set[r->item[i]]);
        const int v[] = {set.sym,           (int)set.gran,    (int)set.group,
                         (int)set.scale,    set.act.bits > 0, set.act.sym,
                         (int)set.act.gran, set.act.dynamic,  is_off};
        key = qx_hash64(v, sizeof v, key);
        if (strcmp(set.calib->name, "manual") != 0) {
            key = qx_hash64(set.calib->name, strlen(set.calib->name), key);
            key = qx_hash64(&set.param, sizeof set.param, key);
        }
    }
    return key;
}

enum qx_status qx_search_map(struct qx_session *s, const struct qx_setting *now,
                             const struct qx_sens_column *columns, int n_columns,
                             const bool *select, struct qx_ctl *ctl, struct qx_sens **out,
                             struct qx_error *err)
{
    const struct qx_search *r = &s->search;
    struct qx_calibration *inputs = NULL;
    struct qx_sens_layer *rows = qx_mem_array((size_t)r->n_rows + 1, sizeof *rows);
    enum qx_status st = rows ? QX_OK : qx_fail_nomem(err, (size_t)r->n_rows * sizeof *rows);
    if (st == QX_OK && s->net && qx_search_has_act(columns, n_columns)) {
        st = qx_ranges_get(s, ctl, &inputs, err);
    }
    for (int i = 0; st == QX_OK && i < r->n_rows; i++) {
        rows[i] = r->layers[i];
        rows[i].can = rows[i].can && (!select || select[i]);
    }
    if (st == QX_OK) {
        st = qx_sens_new(rows, r->n_rows, now, inputs, columns, n_columns, s->pool, ctl, out, err);
    }
    qx_calibration_unref(inputs);
    qx_mem_free(rows);
    return st;
}

static enum qx_status change_of(struct qx_session *s, int row, struct qx_setting *set,
                                const struct qx_calibration *inputs, struct qx_predict_layer *out,
                                struct qx_ctl *ctl, struct qx_error *err)
{
    const struct qx_sens_layer *l = &s->search.layers[row];
    const struct qx_hist_spec spec = qx_setting_spec(set, l->channels);
    struct qx_hist *hist = NULL;
    struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
    enum qx_status st = QX_OK;
    *out = (struct qx_predict_layer){.key = {0}};
    if (qx_setting_is_fp32(set)) {
        return QX_OK;
    }
    st = qx_hist_build(l->tensor, &spec, 0, s->pool, &quiet, &hist, err);
    if (st == QX_OK && qx_format_is_scaled(set->format)) {
        st = qx_setting_resolve(set, hist, err);
    }
    const struct qx_observed *o = inputs ? qx_calibration_layer(inputs, row) : NULL;
    if (st == QX_OK && qx_format_is_scaled(set->format) && qx_act_open(&set->act)) {
        st = qx_act_resolve(&set->act, o, err);
    }
    st = st == QX_OK ? qx_predict_layer_of(set, hist, o, out, err) : st;
    qx_hist_unref(hist);
    return st;
}

enum qx_status qx_search_change(struct qx_session *s, struct qx_setting *now,
                                struct qx_predict_layer *change, struct qx_ctl *ctl,
                                struct qx_error *err)
{
    struct qx_calibration *inputs = NULL;
    enum qx_status st = QX_OK;
    bool any = false;
    for (int i = 0; i < s->search.n_rows; i++) {
        any = any || (qx_format_is_scaled(now[i].format) && now[i].act.bits > 0);
    }
    if (any && s->net) {
        st = qx_ranges_get(s, ctl, &inputs, err);
    }
    for (int i = 0; st == QX_OK && i < s->search.n_rows; i++) {
        st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the search was cancelled")
                                 : change_of(s, i, &now[i], inputs, &change[i], ctl, err);
    }
    qx_calibration_unref(inputs);
    return st;
}

void qx_search_input(const struct qx_session *s, const struct qx_mixed_options *o,
                     const struct qx_sens *map, const struct qx_setting *now,
                     struct qx_mixed_input *out)
{
    const struct qx_search *r = &s->search;
    struct qx_sums sums;
    qx_sums_of(s, &s->now, &sums);
    double free_bytes = 0;
    for (int i = 0; i < r->n_rows; i++) {
        const struct qx_item *it = &s->items.v[r->item[i]];
        if (qx_mixed_is_on(map, i) && !(o->keep && o->keep[i])) {
            free_bytes +=
                (double)qx_setting_tensor_bytes(&s->now.set[r->item[i]], it->tensor, it->channels);
        }
    }
    *out = (struct qx_mixed_input){.map = map,
                                   .layers = r->layers,
                                   .tie = r->tie,
                                   .names = r->name,
                                   .now = now,
                                   .n_float = (double)sums.n_float,
                                   .rest_float_bytes = (double)sums.float_bytes - free_bytes,
                                   .rest_bytes =
                                       (double)(sums.float_bytes + sums.other_bytes) - free_bytes,
                                   .scale = {.fp32_accuracy = (double)NAN},
                                   .options = o};
}

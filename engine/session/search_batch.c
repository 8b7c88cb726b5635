/* Map and plan in the caller's thread. */
#include "base/error.h"
#include "base/mem.h"
#include "session/recipe_json.h"
#include "session/session_impl.h"

#include <math.h>
#include <string.h>

/* Cancelled: what is done counts. */
static bool is_cut_short(enum qx_status *st, bool *is_cut)
{
    if (*st == QX_ECANCELLED) {
        *is_cut = true;
        *st = QX_OK;
    }
    return *is_cut;
}

static void progress_begin(struct qx_ctl *ctl, int64_t total)
{
    if (ctl) {
        atomic_store(&ctl->done, 0);
        qx_ctl_total(ctl, total);
    }
}

/* All sites that the prediction wants. */
static enum qx_status sites_measure(struct qx_session *s, bool has_act, struct qx_ctl *ctl,
                                    struct qx_error *err)
{
    struct qx_predict_entry *e = NULL;
    enum qx_status st;
    progress_begin(ctl, qx_survey_missing(s, has_act));
    do {
        struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
        qx_predict_entry_unref(e);
        st = qx_survey_lite(s, has_act, &quiet, &e, err);
        qx_ctl_add(ctl, 1);
    } while (st == QX_OK && e);
    return st;
}

static enum qx_status cell_measure(struct qx_session *s, struct qx_sens *map, int layer, int column,
                                   bool is_kept, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_predict_entry *e = NULL;
    struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
    const enum qx_status st =
        qx_survey_cell(s, layer, qx_sens_column_at(map, column)->site,
                       qx_sens_setting(map, layer, column), is_kept, &quiet, &e, err);
    if (st == QX_OK && e) {
        qx_sens_take(map, layer, column, qx_predict_table_base(s->survey.table), e);
        qx_predict_entry_unref(e);
    }
    return st;
}

/* What earlier runs measured is taken from its files. */
static enum qx_status cells_load(struct qx_session *s, struct qx_sens *map, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < qx_sens_n_layers(map); i++) {
        for (int c = 0; st == QX_OK && c < qx_sens_n_columns(map); c++) {
            if (qx_sens_cell_at(map, i, c)->basis != QX_SENS_NONE) {
                st = cell_measure(s, map, i, c, true, NULL, err);
            }
        }
    }
    return st;
}

static enum qx_status cells_measure(struct qx_session *s, struct qx_sens *map, int n,
                                    struct qx_ctl *ctl, bool *is_cut, struct qx_error *err)
{
    const int open = qx_sens_count(map, QX_SENS_PREDICTED) + qx_sens_count(map, QX_SENS_RANK);
    int layer, column;
    n = n < 0 || n > open ? open : n;
    progress_begin(ctl, n);
    for (int i = 0; i < n && qx_sens_next(map, &layer, &column); i++) {
        enum qx_status st = cell_measure(s, map, layer, column, false, ctl, err);
        if (is_cut_short(&st, is_cut) || st != QX_OK) {
            return st;
        }
        qx_ctl_add(ctl, 1);
    }
    return QX_OK;
}

/* Rows of the items selected. */
static bool *rows_of(const struct qx_session *s, const bool *select)
{
    const struct qx_search *r = &s->search;
    if (!select) {
        return qx_search_default(s);
    }
    bool *rows = qx_mem_array((size_t)r->n_rows + 1, sizeof *rows);
    for (int i = 0; rows && i < r->n_rows; i++) {
        rows[i] = select[r->item[i]];
    }
    return rows;
}

/* Does the recipe quantize inputs? Plans start from it. */
static bool any_act(const struct qx_session *s, const struct qx_setting *now)
{
    bool any = false;
    for (int i = 0; i < s->search.n_rows; i++) {
        any = any || (now[i].format->kind == QX_FORMAT_AFFINE && now[i].act.bits > 0);
    }
    return any;
}

static enum qx_status map_fill(struct qx_session *s, struct qx_sens *map, bool has_act,
                               int n_measure, struct qx_ctl *ctl, bool *is_cut,
                               struct qx_error *err)
{
    enum qx_status st = qx_survey_open(s, has_act, NULL, ctl, err);
    st = st == QX_OK ? cells_load(s, map, err) : st;
    if (st == QX_OK) {
        st = sites_measure(s, has_act, ctl, err);
        is_cut_short(&st, is_cut);
    }
    st = st == QX_OK ? qx_sens_fill(map, s->survey.table, err) : st;
    if (st == QX_OK && !*is_cut) {
        st = cells_measure(s, map, n_measure, ctl, is_cut, err);
    }
    s->search.n_rows_p =
        s->survey.table ? qx_predict_base_n(qx_predict_table_base(s->survey.table)) : 0;
    return st;
}

enum qx_status qx_session_run_map(struct qx_session *s, const struct qx_sens_column *columns, int n,
                                  const bool *select, int n_measure, struct qx_ctl *ctl,
                                  struct qx_sens **out, bool *is_cut, struct qx_error *err)
{
    struct qx_sens *map = NULL;
    *is_cut = false;
    enum qx_status st = qx_measure_ready(s, err);
    st = st == QX_OK ? qx_search_rows(s, err) : st;
    if (st != QX_OK) {
        return st;
    }
    struct qx_setting *now = qx_search_settings(s);
    bool *rows = rows_of(s, select);
    st = now && rows ? qx_search_map(s, now, columns, n, rows, ctl, &map, err)
                     : qx_fail_nomem(err, (size_t)s->search.n_rows * sizeof *now);
    if (st == QX_OK) {
        st = map_fill(s, map, qx_search_has_act(columns, n) || any_act(s, now), n_measure, ctl,
                      is_cut, err);
    }
    qx_mem_free(now);
    qx_mem_free(rows);
    if (st != QX_OK) {
        qx_sens_free(map);
        return st;
    }
    *out = map;
    return QX_OK;
}

/* ---- the plan ---- */

static struct qx_setting *point_settings(const struct qx_sens *map, const struct qx_mixed *p, int i,
                                         const struct qx_setting *now)
{
    const int n = qx_sens_n_layers(map);
    struct qx_setting *v = qx_mem_array((size_t)n + 1, sizeof *v);
    for (int k = 0; v && k < n; k++) {
        v[k] = qx_mixed_setting(map, now, k, i < 0 ? -1 : qx_mixed_column(p, i, k));
    }
    return v;
}

/* Accuracy of float32 on all rows: what predicted values start from. */
static enum qx_status fp32_measure(struct qx_session *s, struct qx_ctl *ctl,
                                   struct qx_eval_result **out, struct qx_error *err)
{
    const int n = s->search.n_rows;
    struct qx_setting *v = qx_mem_array((size_t)n + 1, sizeof *v);
    enum qx_status st = v ? QX_OK : qx_fail_nomem(err, (size_t)n * sizeof *v);
    for (int i = 0; v && i < n; i++) {
        v[i] = qx_setting_fp32();
    }
    if (st == QX_OK && qx_measure_has_truth(s)) {
        st = qx_measure_run(s, v, NULL, ctl, out, err);
    }
    qx_mem_free(v);
    return st;
}

static enum qx_status point_measure(struct qx_session *s, const struct qx_sens *map,
                                    struct qx_mixed *p, int i, const struct qx_setting *now,
                                    const struct qx_eval_result *fp32, struct qx_ctl *ctl,
                                    struct qx_error *err)
{
    struct qx_setting *v = point_settings(map, p, i, now);
    struct qx_eval_result *r = NULL;
    const struct qx_predict_scale scale = qx_measure_scale(s, fp32);
    struct qx_eval_pair pair;
    enum qx_status st = v ? qx_measure_run(s, v, NULL, ctl, &r, err)
                          : qx_fail_nomem(err, (size_t)s->search.n_rows * sizeof *v);
    if (st == QX_OK && qx_eval_compare(fp32, r, &pair, err) == QX_OK) {
        qx_mixed_measured(p, i, qx_predict_value(&scale, r), qx_measure_flip(&pair), r->n);
    }
    qx_eval_result_free(r);
    qx_mem_free(v);
    return st;
}

/* The suggestion first, then its neighbours down the front. */
static enum qx_status points_measure(struct qx_session *s, const struct qx_sens *map,
                                     struct qx_mixed *p, int n, const struct qx_setting *now,
                                     const struct qx_eval_result *fp32, struct qx_ctl *ctl,
                                     bool *is_cut, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = qx_mixed_best(p); st == QX_OK && i >= 0 && n > 0; i--, n--) {
        st = point_measure(s, map, p, i, now, fp32, ctl, err);
        if (is_cut_short(&st, is_cut)) {
            break;
        }
    }
    return st;
}

static enum qx_status plan_run(struct qx_session *s, const struct qx_sens *map,
                               const struct qx_mixed_options *o, int n_measure,
                               struct qx_setting *now, struct qx_predict_layer *change, double *ms,
                               struct qx_ctl *ctl, struct qx_mixed **out, bool *is_cut,
                               struct qx_error *err)
{
    struct qx_mixed_input in;
    struct qx_eval_result *fp32 = NULL;
    struct qx_mixed *p = NULL;
    enum qx_status st = qx_search_change(s, now, change, ctl, err);
    qx_search_input(s, o, map, now, &in);
    in.table = s->survey.table;
    in.change = change;
    st = st == QX_OK ? fp32_measure(s, ctl, &fp32, err) : st;
    if (st == QX_OK && ms) {
        st = qx_search_latency(s, map, now, ctl, ms, &in.rest_ms, err);
        in.latency_ms = ms;
        in.rest_ms += st == QX_OK ? qx_search_kept_ms(map, o, ms) : 0.0;
    }
    in.scale = qx_measure_scale(s, fp32);
    s->search.fp32 = !fp32 ? 1.0 : in.scale.is_words ? fp32->perplexity : in.scale.fp32_accuracy;
    if (st == QX_OK) {
        progress_begin(ctl, 0);
        st = qx_mixed_make(&in, ctl, &p, err);
    }
    if (st == QX_OK && fp32) {
        st = points_measure(s, map, p, n_measure, now, fp32, ctl, is_cut, err);
    }
    qx_eval_result_free(fp32);
    if (st != QX_OK) {
        qx_mixed_free(p);
        return st;
    }
    *out = p;
    return QX_OK;
}

enum qx_status qx_session_run_mixed(struct qx_session *s, const struct qx_sens *map,
                                    const struct qx_mixed_options *options, int n_measure,
                                    struct qx_ctl *ctl, struct qx_mixed **out, bool *is_cut,
                                    struct qx_error *err)
{
    struct qx_setting *now = qx_search_settings(s);
    struct qx_predict_layer *change =
        qx_mem_zalloc(((size_t)s->search.n_rows + 1) * sizeof *change);
    const size_t cells =
        (size_t)qx_sens_n_layers(map) * (size_t)qx_sens_n_columns(map) * sizeof(double);
    double *ms = options->by_latency ? qx_mem_zalloc(cells + 1) : NULL;
    *is_cut = false;
    const enum qx_status st =
        now && change && (ms || !options->by_latency)
            ? plan_run(s, map, options, n_measure, now, change, ms, ctl, out, is_cut, err)
            : qx_fail_nomem(err, cells);
    qx_mem_free(ms);
    qx_mem_free(now);
    qx_mem_free(change);
    return st;
}

double qx_session_mixed_fp32(const struct qx_session *s)
{
    return s->search.fp32;
}

bool qx_session_mixed_recipe(struct qx_session *s, const struct qx_sens *map,
                             const struct qx_mixed *p, int i, struct qx_jw *w)
{
    struct qx_recipe r = {0};
    if (qx_recipe_init(&r, s->items.n, NULL) != QX_OK) {
        return false;
    }
    qx_recipe_copy(&r, &s->now);
    struct qx_setting *now = qx_search_settings(s);
    struct qx_setting *v = now ? point_settings(map, p, i, now) : NULL;
    for (int k = 0; v && k < s->search.n_rows; k++) {
        if (qx_mixed_column(p, i, k) >= 0) {
            r.set[s->search.item[k]] = v[k];
            r.origin[s->search.item[k]] = QX_ORIGIN_SEARCH;
        }
    }
    if (v) {
        qx_recipe_put(w, &r, &s->items, s->model, NULL);
    }
    const bool is_written = v != NULL;
    qx_mem_free(now);
    qx_mem_free(v);
    qx_recipe_release(&r);
    return is_written;
}

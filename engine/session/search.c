/* Map and plan in the background: one task at a time builds the map, measures a site, or makes a plan; the
 * host takes each result in and asks for what is most useful next. */
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRIORITY = -1 }; /* a measurement of the recipe goes first */

static void exact_forget(struct qx_search *r)
{
    for (int i = 0; i < r->n_exact; i++) {
        qx_predict_entry_unref(r->exact[i]);
    }
    qx_mem_free(r->exact);
    r->exact = NULL;
    r->n_exact = 0;
}

void qx_search_release(struct qx_session *s)
{
    struct qx_search *r = &s->search;
    qx_sens_free(r->map);
    qx_sens_free(r->plan_map);
    qx_mixed_free(r->plan);
    qx_predict_table_unref(r->table);
    exact_forget(r);
    qx_mem_free(r->layers);
    qx_mem_free(r->item);
    qx_mem_free(r->name);
    qx_mem_free(r->tie);
    qx_mem_free(r->plan_keep);
    qx_mem_free(r->plan_tie);
}

static void failed(struct qx_session *s, const struct qx_task *t)
{
    struct qx_search *r = &s->search;
    r->is_paused = true;
    r->n_left = 0;
    r->ask_layer = -1;
    if (t->status != QX_ECANCELLED) {
        qx_str_copy(r->reason, sizeof r->reason, t->err.text);
        qx_log(QX_LOG_ERROR, "%s", t->err.text);
    }
}

/* A result is no news in the job list; a failure is. */
static void job_end(struct qx_session *s, struct qx_task *t)
{
    if (t->status == QX_OK) {
        qx_jobs_forget(&s->jobs, t);
    }
    qx_jobs_finish(&s->jobs, t, NULL);
    s->news |= QX_NEWS_MAP | QX_NEWS_JOBS;
}

static void submit(struct qx_session *s, struct qx_task *t, const char *title)
{
    t->priority = PRIORITY;
    struct qx_job *job = qx_jobs_add(&s->jobs, t, QX_JOB_SEARCH);
    if (job) {
        qx_str_copy(job->info.title, sizeof job->info.title, title);
    }
    s->news |= QX_NEWS_MAP | QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, t);
}

/* ---- the map ---- */

struct map_task {
    struct qx_task task;
    struct qx_session *s;
    uint64_t key;
    struct qx_setting *now; /* [rows] */
    bool *select;           /* [rows] */
    struct qx_sens_column column[QX_SENS_COLUMNS];
    int n_columns;
    struct qx_sens *map;
};

static void map_drop(struct qx_task *t)
{
    struct map_task *m = (struct map_task *)t;
    qx_sens_free(m->map);
    qx_mem_free(m->now);
    qx_mem_free(m->select);
    qx_mem_free(m);
}

static enum qx_status map_run(struct qx_task *t, struct qx_error *err)
{
    struct map_task *m = (struct map_task *)t;
    return qx_search_map(m->s, m->now, m->column, m->n_columns, m->select, &t->ctl, &m->map, err);
}

static void map_done(struct qx_session *s, struct qx_task *t)
{
    struct map_task *m = (struct map_task *)t;
    struct qx_search *r = &s->search;
    r->task_map = NULL;
    if (t->status == QX_OK) {
        qx_sens_free(r->map);
        r->map = m->map;
        r->map_key = m->key;
        m->map = NULL;
        r->fill_row = 0;
    } else {
        r->failed_key = m->key;
        failed(s, t);
    }
    job_end(s, t);
}

static void map_submit(struct qx_session *s, uint64_t key)
{
    struct map_task *m = qx_mem_zalloc(sizeof *m);
    struct qx_setting *now = m ? qx_search_settings(s) : NULL;
    bool *select = now ? qx_search_default(s) : NULL;
    if (!select) {
        qx_mem_free(now);
        qx_mem_free(m);
        s->search.failed_key = key;
        return;
    }
    m->task = (struct qx_task){.run = map_run, .done = map_done, .drop = map_drop};
    m->s = s;
    m->key = key;
    m->now = now;
    m->select = select;
    m->n_columns = qx_search_columns(s, m->column);
    s->search.task_map = &m->task;
    submit(s, &m->task, "settings of the sensitivity map");
}

/* ---- one site ---- */

struct site_task {
    struct qx_task task;
    struct qx_session *s;
    bool has_act;
    uint64_t key; /* of the map that it is for */
    int layer, column;
    enum qx_site site;
    struct qx_setting set;
    struct qx_predict_base *base; /* P, when it is known; then of the entry */
    struct qx_predict_entry *entry;
};

static void site_drop(struct qx_task *t)
{
    struct site_task *e = (struct site_task *)t;
    qx_predict_entry_unref(e->entry);
    qx_predict_base_unref(e->base);
    qx_mem_free(e);
}

static enum qx_status site_run(struct qx_task *t, struct qx_error *err)
{
    struct site_task *e = (struct site_task *)t;
    enum qx_status st = qx_survey_open(e->s, e->has_act, e->base, &t->ctl, err);
    if (st == QX_OK) {
        st = qx_survey_cell(e->s, e->layer, e->site, &e->set, false, &t->ctl, &e->entry, err);
    }
    if (st == QX_OK) {
        qx_predict_base_unref(e->base);
        e->base = qx_predict_base_ref(qx_predict_table_base(e->s->survey.table));
    }
    return st;
}

/* Among those that go into every table from now on; without memory it is measured again one day. */
static void exact_keep(struct qx_search *r, struct qx_predict_entry *entry)
{
    const size_t n = (size_t)r->n_exact;
    if ((n & (n - 1)) == 0) { /* full at powers of two */
        struct qx_predict_entry **v = qx_mem_realloc(r->exact, (n > 0 ? 2 * n : 1) * sizeof *v);
        if (!v) {
            return;
        }
        r->exact = v;
    }
    r->exact[r->n_exact++] = qx_predict_entry_ref(entry);
}

static void cell_taken(struct qx_session *s, const struct site_task *e)
{
    struct qx_search *r = &s->search;
    const double took = e->task.end_s - e->task.start_s;
    r->cell_s = r->cell_s > 0 ? 0.7 * r->cell_s + 0.3 * took : took;
    exact_keep(r, e->entry);
    qx_predictor_take(s, e->entry);
    if (r->map && r->map_key == e->key) {
        qx_sens_take(r->map, e->layer, e->column, e->base, e->entry);
    }
    if (r->ask_layer == e->layer && r->ask_column == e->column) {
        r->ask_layer = -1;
    } else {
        r->n_left -= r->n_left > 0;
    }
    r->n_rows_p = qx_predict_base_n(e->base);
    r->table_is_old = true;
}

static void site_done(struct qx_session *s, struct qx_task *t)
{
    s->search.task_site = NULL;
    if (t->status != QX_OK) {
        failed(s, t);
    } else {
        cell_taken(s, (struct site_task *)t);
    }
    job_end(s, t);
}

static void site_title(const struct qx_session *s, const struct site_task *e, char *text,
                       size_t cap)
{
    char column[24];
    const struct qx_search *r = &s->search;
    snprintf(text, cap, "%s alone at %s, %d to go", s->items.v[r->item[e->layer]].alias,
             qx_sens_column_text(qx_sens_column_at(r->map, e->column), column, sizeof column),
             r->n_left);
}

static void site_submit(struct qx_session *s, int layer, int column)
{
    struct qx_search *r = &s->search;
    struct qx_sens_column columns[QX_SENS_COLUMNS];
    struct site_task *e = qx_mem_zalloc(sizeof *e);
    char title[128];
    if (!e) {
        r->is_paused = true;
        return;
    }
    e->task = (struct qx_task){.run = site_run, .done = site_done, .drop = site_drop};
    e->s = s;
    e->has_act = qx_search_has_act(columns, qx_search_columns(s, columns));
    e->key = r->map_key;
    e->layer = layer;
    e->column = column;
    e->site = qx_sens_column_at(r->map, column)->site;
    e->set = *qx_sens_setting(r->map, layer, column);
    e->base =
        s->predictor.table ? qx_predict_base_ref(qx_predict_table_base(s->predictor.table)) : NULL;
    r->task_site = &e->task;
    site_title(s, e, title, sizeof title);
    submit(s, &e->task, title);
}

/* A cell asked for, then the cells most worth it. */
static void site_next(struct qx_session *s)
{
    struct qx_search *r = &s->search;
    int layer, column;
    if (r->ask_layer >= 0) {
        site_submit(s, r->ask_layer, r->ask_column);
    } else if (r->n_left > 0 && qx_sens_next(r->map, &layer, &column)) {
        site_submit(s, layer, column);
    } else {
        r->n_left = 0;
    }
}

/* ---- predictions ---- */

/* The predictor's table with the cells measured here. */
static void table_make(struct qx_session *s)
{
    struct qx_search *r = &s->search;
    struct qx_predict_table *t = qx_predict_table_ref(s->predictor.table);
    const int64_t n_rows = qx_predict_base_n(qx_predict_table_base(t));
    if (n_rows != r->n_rows_p) { /* P has grown: they are no entries of this table */
        exact_forget(r);
    }
    for (int i = 0; i < r->n_exact; i++) {
        struct qx_predict_entry_info info;
        struct qx_predict_table *more = NULL;
        qx_predict_entry_look(r->exact[i], &info);
        const enum qx_site site = info.spec.family >= QX_FAMILY_A_ROUND ? QX_SITE_A : QX_SITE_W;
        if (!qx_predict_table_has_exact(t, info.spec.layer, site, info.key) &&
            qx_predict_table_add(t, r->exact[i], &more, NULL) == QX_OK) {
            qx_predict_table_unref(t);
            t = more;
        }
    }
    qx_predict_table_unref(r->table);
    r->table = t;
    r->table_is_old = false;
    r->n_rows_p = n_rows;
}

/* Rows of the map follow the table, for at most about budget_s a turn. */
static void rows_fill(struct qx_session *s, double budget_s)
{
    struct qx_search *r = &s->search;
    const double end = qx_clock_s() + budget_s;
    const int n = s->predictor.table ? qx_predict_table_n(s->predictor.table) : 0;
    const bool is_other =
        n > 0 && qx_predict_base_n(qx_predict_table_base(s->predictor.table)) != r->n_rows_p;
    if (n > 0 && (n != r->n_seen || is_other)) {
        table_make(s);
        r->n_seen = n;
        r->fill_row = 0;
    } else if (n > 0 && r->table_is_old) {
        table_make(s); /* the cells know it already */
    }
    while (r->map && r->table && r->fill_row < r->n_rows) {
        qx_sens_fill_row(r->map, r->fill_row++, r->table, NULL);
        s->news |= QX_NEWS_MAP;
        if (qx_clock_s() > end) {
            return;
        }
    }
}

/* ---- the plan ---- */

struct plan_task {
    struct qx_task task;
    struct qx_session *s;
    struct qx_mixed_input in;
    struct qx_mixed_options options;
    struct qx_setting *now;
    struct qx_predict_layer *change;
    struct qx_sens *map; /* a copy */
    struct qx_predict_table *table;
    struct qx_predict_point *points[QX_POINTS_KEPT];
    bool *keep;
    int *tie;
    double *ms; /* [rows, columns] NULL = not asked for */
    struct qx_mixed *plan;
};

static void plan_drop(struct qx_task *t)
{
    struct plan_task *p = (struct plan_task *)t;
    qx_mixed_free(p->plan);
    qx_sens_free(p->map);
    qx_predict_table_unref(p->table);
    qx_mem_free(p->now);
    qx_mem_free(p->change);
    qx_mem_free(p->keep);
    qx_mem_free(p->tie);
    qx_mem_free(p->ms);
    for (int i = 0; i < p->in.n_points; i++) {
        qx_predict_point_unref(p->points[i]);
    }
    qx_mem_free(p);
}

static enum qx_status plan_run(struct qx_task *t, struct qx_error *err)
{
    struct plan_task *p = (struct plan_task *)t;
    struct qx_ctl quiet = {.parent = &t->ctl, .is_quiet = true};
    enum qx_status st = qx_search_change(p->s, p->now, p->change, &quiet, err);
    if (st == QX_OK && p->options.by_latency) {
        const size_t cells = (size_t)qx_sens_n_layers(p->map) * (size_t)qx_sens_n_columns(p->map);
        p->ms = qx_mem_zalloc((cells + 1) * sizeof *p->ms);
        st = p->ms ? qx_search_latency(p->s, p->map, p->now, &quiet, p->ms, &p->in.rest_ms, err)
                   : qx_fail_nomem(err, cells * sizeof *p->ms);
        p->in.latency_ms = p->ms;
        p->in.rest_ms += st == QX_OK ? qx_search_kept_ms(p->map, &p->options, p->ms) : 0.0;
    }
    return st == QX_OK ? qx_mixed_make(&p->in, &t->ctl, &p->plan, err) : st;
}

static void plan_done(struct qx_session *s, struct qx_task *t)
{
    struct plan_task *p = (struct plan_task *)t;
    struct qx_search *r = &s->search;
    r->task_plan = NULL;
    if (t->status == QX_OK) {
        qx_mixed_free(r->plan);
        qx_sens_free(r->plan_map);
        r->plan = p->plan;
        r->plan_map = p->map;
        p->plan = NULL;
        p->map = NULL;
        r->plan_reason[0] = 0;
    } else {
        qx_str_copy(r->plan_reason, sizeof r->plan_reason, t->err.text);
    }
    job_end(s, t);
}

static struct plan_task *plan_new(struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    const size_t n = (size_t)r->n_rows + 1;
    struct plan_task *p = qx_mem_zalloc(sizeof *p);
    if (!p) {
        return NULL;
    }
    p->now = qx_search_settings(s);
    p->change = qx_mem_zalloc(n * sizeof *p->change);
    p->keep = r->plan_keep ? qx_mem_array(n, sizeof *p->keep) : NULL;
    p->tie = r->plan_tie ? qx_mem_array(n, sizeof *p->tie) : NULL;
    if (!p->now || !p->change || (r->plan_keep && !p->keep) || (r->plan_tie && !p->tie) ||
        qx_sens_copy(r->map, &p->map, NULL) != QX_OK) {
        plan_drop(&p->task);
        return NULL;
    }
    if (p->keep) {
        memcpy(p->keep, r->plan_keep, (n - 1) * sizeof *p->keep);
    }
    if (p->tie) {
        memcpy(p->tie, r->plan_tie, (n - 1) * sizeof *p->tie);
    }
    return p;
}

static void plan_submit(struct qx_session *s)
{
    struct qx_search *r = &s->search;
    struct plan_task *p = plan_new(s);
    r->plan_wanted = false;
    if (!p) {
        qx_str_copy(r->plan_reason, sizeof r->plan_reason, "out of memory");
        return;
    }
    p->task = (struct qx_task){.run = plan_run, .done = plan_done, .drop = plan_drop};
    p->s = s;
    p->options = r->plan_options;
    p->options.keep = p->keep;
    p->options.tie = p->tie;
    p->table = r->table ? qx_predict_table_ref(r->table) : NULL;
    qx_search_input(s, &p->options, p->map, p->now, &p->in);
    p->in.table = p->table;
    p->in.change = p->change;
    const struct qx_eval_result *fp32 = qx_session_result(s, QX_WHICH_FP32);
    if (s->net && s->data) {
        p->in.scale = qx_measure_scale(s, fp32);
    }
    for (; p->in.n_points < s->predictor.n_points; p->in.n_points++) {
        p->points[p->in.n_points] = qx_predict_point_ref(s->predictor.points[p->in.n_points]);
    }
    p->in.points = p->points;
    p->in.seed = s->seed;
    r->task_plan = &p->task;
    submit(s, &p->task, "front of recipes");
}

/* ---- what is due ---- */

/* Every cell that can be predicted is, or nothing can. */
static bool is_predicted(const struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    const struct qx_predictor *p = &s->predictor;
    const bool is_coming = qx_search_can(s) && p->is_on && !p->has_failed;
    return r->map && !r->task_map && !r->map_is_due &&
           (!is_coming || (r->table && r->fill_row >= r->n_rows &&
                           (p->is_complete || qx_sens_count(r->map, QX_SENS_RANK) == 0)));
}

void qx_search_work(struct qx_session *s)
{
    struct qx_search *r = &s->search;
    if (s->is_batch || !r->is_wanted || qx_search_rows(s, NULL) != QX_OK) {
        return;
    }
    if (r->map_revision != s->revision || r->map_key == 0) {
        const uint64_t key = qx_search_key(s);
        r->map_revision = s->revision;
        r->map_is_due = key != r->map_key && key != r->failed_key;
    }
    if (r->map_is_due && !r->task_map) {
        r->map_is_due = false;
        map_submit(s, qx_search_key(s));
    }
    rows_fill(s, 0.002);
    if (r->plan && r->measured_key != s->measure.last_key) {
        r->measured_key = s->measure.last_key;
        qx_search_measured(s);
    }
    if (r->map && r->map_key != 0 && !r->task_map && !r->task_site && !r->is_paused &&
        qx_search_can(s)) {
        site_next(s);
    }
    if (r->plan_wanted && !r->task_plan && is_predicted(s)) {
        plan_submit(s);
    }
}

bool qx_search_fills(const struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    return r->is_wanted && r->map && r->table && r->fill_row < r->n_rows;
}

bool qx_search_idle(const struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    return !r->is_wanted || (!r->map_is_due && !r->plan_wanted && !qx_search_fills(s));
}

void qx_search_retry(struct qx_session *s)
{
    s->search.is_paused = false;
    s->search.failed_key = 0;
    s->search.reason[0] = 0;
    qx_search_work(s);
}

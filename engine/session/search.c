/* Map and plan in the background: one task at a time builds the map, measures a site, or makes a plan; the
 * host takes each result in and asks for what is most useful next. */
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRIORITY = -1 }; /* a measurement of the recipe goes first */

void qx_search_release(struct qx_session *s)
{
    struct qx_search *r = &s->search;
    qx_sens_free(r->map);
    qx_sens_free(r->plan_map);
    qx_mixed_free(r->plan);
    qx_predict_table_unref(r->table);
    qx_predict_mix_free(r->mix);
    qx_predict_anchors_unref(r->scale);
    qx_mem_free(r->layers);
    qx_mem_free(r->item);
    qx_mem_free(r->name);
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
    struct qx_sens_column column[QX_SENS_COLUMNS];
    int n_columns;
    struct qx_sens *map;
    struct qx_predict_table *table; /* a reference; NULL = nothing is measured yet */
};

static void map_drop(struct qx_task *t)
{
    struct map_task *m = (struct map_task *)t;
    qx_sens_free(m->map);
    qx_predict_table_unref(m->table);
    qx_mem_free(m->now);
    qx_mem_free(m);
}

/* Cells that were measured for this setting before, in this session or an earlier one. */
static enum qx_status cells_load(struct map_task *m, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < qx_sens_n_layers(m->map); i++) {
        for (int c = 0; st == QX_OK && c < m->n_columns; c++) {
            struct qx_predict_entry *e = NULL;
            if (qx_sens_cell_at(m->map, i, c)->basis != QX_SENS_NONE) {
                st = qx_survey_cell(m->s, i, m->column[c].site, qx_sens_setting(m->map, i, c), true,
                                    NULL, &e, err);
            }
            qx_predict_entry_unref(e);
        }
    }
    return st;
}

static enum qx_status map_run(struct qx_task *t, struct qx_error *err)
{
    struct map_task *m = (struct map_task *)t;
    enum qx_status st =
        qx_search_map(m->s, m->now, m->column, m->n_columns, NULL, &t->ctl, &m->map, err);
    if (st == QX_OK && m->s->survey.table) {
        st = cells_load(m, err);
        m->table = qx_predict_table_ref(m->s->survey.table);
        st = st == QX_OK ? qx_sens_fill(m->map, m->table, err) : st;
    }
    return st;
}

static void table_take(struct qx_search *r, struct qx_predict_table **table)
{
    if (*table) {
        qx_predict_table_unref(r->table);
        r->table = *table;
        *table = NULL;
    }
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
        table_take(r, &m->table);
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
    if (!now) {
        qx_mem_free(m);
        s->search.failed_key = key;
        return;
    }
    m->task = (struct qx_task){.run = map_run, .done = map_done, .drop = map_drop};
    m->s = s;
    m->key = key;
    m->now = now;
    m->n_columns = qx_search_columns(s, m->column);
    s->search.task_map = &m->task;
    submit(s, &m->task, "settings of the sensitivity map");
}

/* ---- one site ---- */

struct site_task {
    struct qx_task task;
    struct qx_session *s;
    bool has_act;
    uint64_t key;      /* of the map that it is for */
    int layer, column; /* layer -1: the next of the lite table */
    enum qx_site site;
    struct qx_setting set;
    bool is_first; /* the survey was opened by it */
    struct qx_predict_entry *entry;
    struct qx_predict_table *table;
};

static void site_drop(struct qx_task *t)
{
    struct site_task *e = (struct site_task *)t;
    qx_predict_entry_unref(e->entry);
    qx_predict_table_unref(e->table);
    qx_mem_free(e);
}

static enum qx_status site_run(struct qx_task *t, struct qx_error *err)
{
    struct site_task *e = (struct site_task *)t;
    e->is_first = e->s->survey.table == NULL;
    enum qx_status st = qx_survey_open(e->s, e->has_act, &t->ctl, err);
    if (st == QX_OK && e->layer < 0) {
        st = qx_survey_lite(e->s, e->has_act, &t->ctl, &e->entry, err);
    } else if (st == QX_OK) {
        st = qx_survey_cell(e->s, e->layer, e->site, &e->set, false, &t->ctl, &e->entry, err);
    }
    if (st == QX_OK) {
        e->table = qx_predict_table_ref(e->s->survey.table);
    }
    return st;
}

static void cell_taken(struct qx_search *r, const struct site_task *e)
{
    const double took = e->task.end_s - e->task.start_s;
    r->cell_s = isnan(r->cell_s) || r->cell_s <= 0 ? took : 0.7 * r->cell_s + 0.3 * took;
    if (r->map && r->map_key == e->key) {
        qx_sens_take(r->map, e->layer, e->column, qx_predict_table_base(r->table), e->entry);
    }
    if (r->ask_layer == e->layer && r->ask_column == e->column) {
        r->ask_layer = -1;
    } else {
        r->n_left -= r->n_left > 0;
    }
}

static void lite_taken(struct qx_search *r, const struct site_task *e)
{
    struct qx_predict_entry_info info;
    if (!e->entry) {
        r->is_complete = true;
    } else if (r->map && r->map_key == e->key) {
        qx_predict_entry_look(e->entry, &info);
        qx_sens_fill_row(r->map, info.spec.layer, r->table, NULL);
    }
}

static void site_done(struct qx_session *s, struct qx_task *t)
{
    struct site_task *e = (struct site_task *)t;
    struct qx_search *r = &s->search;
    r->task_site = NULL;
    if (t->status != QX_OK) {
        failed(s, t);
    } else {
        table_take(r, &e->table);
        if (e->is_first) {
            r->map_key = 0; /* once more: what files hold is measured already */
        }
        if (e->layer < 0) {
            lite_taken(r, e);
        } else {
            cell_taken(r, e);
        }
    }
    job_end(s, t);
}

static void site_title(const struct qx_session *s, const struct site_task *e, char *text,
                       size_t cap)
{
    char column[24];
    const struct qx_search *r = &s->search;
    if (e->layer < 0) {
        snprintf(text, cap, "sites for the prediction");
    } else {
        snprintf(text, cap, "%s alone at %s, %d to go", s->items.v[r->item[e->layer]].alias,
                 qx_sens_column_text(qx_sens_column_at(r->map, e->column), column, sizeof column),
                 r->n_left);
    }
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
    if (layer >= 0) {
        e->site = qx_sens_column_at(r->map, column)->site;
        e->set = *qx_sens_setting(r->map, layer, column);
    }
    r->task_site = &e->task;
    site_title(s, e, title, sizeof title);
    submit(s, &e->task, title);
}

/* A cell asked for, then the prediction's sites, then the cells most worth it. */
static void site_next(struct qx_session *s)
{
    struct qx_search *r = &s->search;
    int layer, column;
    if (r->ask_layer >= 0) {
        site_submit(s, r->ask_layer, r->ask_column);
    } else if (!r->is_complete) {
        site_submit(s, -1, 0);
    } else if (r->n_left > 0 && qx_sens_next(r->map, &layer, &column)) {
        site_submit(s, layer, column);
    } else {
        r->n_left = 0;
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
    bool *keep;
    int *tie;
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
    qx_mem_free(p);
}

static enum qx_status plan_run(struct qx_task *t, struct qx_error *err)
{
    struct plan_task *p = (struct plan_task *)t;
    struct qx_ctl quiet = {.parent = &t->ctl, .is_quiet = true};
    enum qx_status st = QX_OK;
    if (p->options.by_latency) {
        st = qx_fail(err, QX_EUNSUPPORTED, "latency is measured on the command line");
    }
    st = st == QX_OK ? qx_search_change(p->s, p->now, p->change, &quiet, err) : st;
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
    qx_search_input(s, &p->options, p->now, &p->in);
    p->in.map = p->map;
    p->in.table = p->table;
    p->in.change = p->change;
    const struct qx_eval_result *fp32 = qx_session_result(s, QX_WHICH_FP32);
    p->in.acc0 = fp32 ? fp32->accuracy : (double)NAN;
    p->in.n_rows = s->data ? qx_dataset_n(s->data) : 0;
    r->task_plan = &p->task;
    submit(s, &p->task, "front of recipes");
}

/* ---- what is due ---- */

/* The prediction is as good as it gets without asking for more. */
static bool is_predicted(const struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    return r->map && !r->task_map && !r->map_is_due &&
           (r->is_complete || r->is_paused || !qx_search_can(s));
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
    if (r->map && r->map_key != 0 && !r->task_map && !r->task_site && !r->is_paused &&
        qx_search_can(s)) {
        site_next(s);
    }
    if (r->plan_wanted && !r->task_plan && is_predicted(s)) {
        plan_submit(s);
    }
}

bool qx_search_idle(const struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    return !r->is_wanted || (!r->map_is_due && !r->plan_wanted);
}

void qx_search_retry(struct qx_session *s)
{
    s->search.is_paused = false;
    s->search.failed_key = 0;
    s->search.reason[0] = 0;
    qx_search_work(s);
}

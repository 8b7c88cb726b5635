#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/str.h"
#include "qx/cpu.h"
#include "session/session_impl.h"

#include <string.h>
#include <limits.h>
#include <unistd.h>

static const double file_check_every_s = 2;

/* ---- opening ---- */

static enum qx_status net_open(struct qx_session *s, int64_t context, struct qx_error *err)
{
    struct qx_error why;
    enum qx_status status = qx_net_open_with(s->model, context, &s->net, &why);
    if (status == QX_OK) {
        return QX_OK;
    }
    if (status == QX_ENOMEM || status == QX_ERANGE) {
        *err = why;
        return status;
    }
    s->net_error = why;
    s->data_error = why;
    if (status != QX_EUNSUPPORTED) {
        qx_log(QX_LOG_ERROR, "%s", why.text);
    }
    return QX_OK;
}

static uint64_t default_budget(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages / 4 * (uint64_t)page : (uint64_t)1 << 30;
}

static enum qx_status tables_make(struct qx_session *s, const struct qx_session_options *o,
                                  struct qx_error *err)
{
    int64_t n = s->items.n;
    enum qx_status status = qx_recipe_init(&s->now, n, err);
    if (status == QX_OK) {
        status = qx_recipe_init(&s->a, n, err);
    }
    for (int64_t i = 0; status == QX_OK && i < n; i++) {
        s->now.set[i].importance = s->items.v[i].importance;
    }
    if (status == QX_OK) {
        status = qx_cache_init(&s->cache, n, o->mem_bytes ? o->mem_bytes : default_budget(),
                               o->cache_dir, err);
    }
    qx_tries_init(s);
    if (status == QX_OK) {
        status = qx_measure_init(s, err);
    }
    if (status == QX_OK) {
        status = qx_predictor_init(s, o->predict, err);
    }
    s->pending.item = qx_mem_array((size_t)n + 1, sizeof *s->pending.item);
    s->pending.place = qx_mem_array((size_t)n + 1, sizeof *s->pending.place);
    s->pending.state = qx_mem_zalloc((size_t)n + 1);
    if (status == QX_OK && (!s->pending.item || !s->pending.place || !s->pending.state)) {
        status = qx_fail_nomem(err, ((size_t)n + 1) * sizeof *s->pending.item);
    }
    if (status == QX_OK) {
        qx_sums_of(s, &s->now, &s->sums);
    }
    return status;
}

static enum qx_status data_options_copy(struct qx_session *s, const struct qx_session_options *o,
                                        struct qx_error *err)
{
    const char *const from[] = {o->data.text_column, o->data.label_column, o->data.tokenizer,
                                o->datasets_dir};
    const char **const to[] = {&s->data_options.text_column, &s->data_options.label_column,
                               &s->data_options.tokenizer, &s->datasets_dir};
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        *to[i] = from[i] ? qx_arena_strdup(&s->texts, from[i]) : NULL;
        if (from[i] && !*to[i]) {
            return qx_fail_nomem(err, strlen(from[i]));
        }
    }
    return QX_OK;
}

/* A file that speaks of no tensor here was made for another model. */
static enum qx_status imatrix_open(struct qx_session *s, const char *path, struct qx_error *err)
{
    enum qx_status status = qx_imatrix_open(path, &s->imatrix, err);
    const int64_t n = status == QX_OK ? qx_items_weigh(&s->items, s->imatrix) : 0;
    if (n > 0) {
        qx_log(QX_LOG_INFO, "%s: importance of the inputs of %lld tensors", path, (long long)n);
    } else if (status == QX_OK) {
        status = qx_fail_at(err, QX_EDATA, path, NULL, -1,
                            "%.150s fits no weight of this model: its first tensor is '%.60s'",
                            path, qx_imatrix_name(s->imatrix, 0));
    }
    return status;
}

static enum qx_status parts_open(struct qx_session *s, const char *path,
                                 const struct qx_session_options *o, struct qx_error *err)
{
    enum qx_status status = qx_model_open(path, &s->model, err);
    s->seed = o->seed;
    if (status == QX_OK) {
        status = data_options_copy(s, o, err);
    }
    if (status == QX_OK && o->calib) {
        s->ranges.source = qx_mem_strdup(o->calib);
        status = s->ranges.source ? QX_OK : qx_fail_nomem(err, strlen(o->calib) + 1);
    }
    if (status == QX_OK) {
        s->file_hash = qx_cache_file_hash(s->model);
        s->threads = o->threads > 0 ? o->threads : qx_cpu_get()->n_cores;
        status = qx_pool_new(s->threads, &s->pool, err);
    }
    if (status == QX_OK) {
        s->data_options.seed = o->seed;
        s->data_options.pool = s->pool;
        s->data_options.ctl = s->is_batch ? o->data.ctl : NULL;
        status = net_open(s, o->context, err);
    }
    if (status == QX_OK) {
        status = qx_data_open(s, o->data_path, o->predict, err);
    }
    s->data_options.ctl = NULL; /* tasks have their own */
    if (status == QX_OK) {
        status = qx_items_build(&s->items, s->model, s->net, err);
    }
    if (status == QX_OK && o->imatrix) {
        status = imatrix_open(s, o->imatrix, err);
    }
    if (status == QX_OK) {
        status = tables_make(s, o, err);
    }
    if (status == QX_OK && !s->is_batch) {
        status = qx_lane_start(&s->preview, "qx-preview", false, &s->bell, err);
    }
    if (status == QX_OK && !s->is_batch) {
        status = qx_lane_start(&s->queue, "qx-queue", true, &s->bell, err);
    }
    if (status == QX_OK) {
        status = qx_autosave_open(s, o, err);
    }
    return status;
}

enum qx_status qx_session_open(const char *path, const struct qx_session_options *options,
                               struct qx_session **out, struct qx_error *err)
{
    struct qx_error why; /* err may be NULL */
    struct qx_session *s = qx_mem_zalloc(sizeof *s);
    if (!s) {
        return qx_fail_nomem(err, sizeof *s);
    }
    s->is_batch = options->batch;
    s->exact.wanted = -1;
    s->leads.profile.item = -1;
    s->save.lock_fd = s->log.fd = -1;
    qx_bell_init(&s->bell, options->wake, options->wake_arg);
    pthread_mutex_init(&s->measure.weights_lock, NULL);
    qx_ranges_init(s);
    qx_methods_init(s);
    qx_formats_init(s);
    enum qx_status status = parts_open(s, path, options, &why);
    if (status != QX_OK) {
        if (err) {
            *err = why;
        }
        s->save.is_read_only = true; /* nothing was edited: nothing to save */
        qx_session_close(&s);
        return status;
    }
    s->file_check_s = qx_clock_s() + file_check_every_s;
    qx_ranges_touched(s);
    qx_methods_touched(s);
    qx_measure_touched(s);
    qx_measure_work(s, qx_clock_s());
    qx_own_text_start(s);
    qx_cache_prune_later(s);
    *out = s;
    return QX_OK;
}

void qx_session_close(struct qx_session **session)
{
    struct qx_session *s = session ? *session : NULL;
    if (!s) {
        return;
    }
    qx_lane_stop(&s->preview);
    qx_lane_stop(&s->queue);
    qx_autosave_close(s);
    qx_jobs_release(&s->jobs);
    qx_predictor_release(s);
    qx_measure_release(s);
    qx_search_release(s);
    qx_survey_release(&s->survey);
    qx_tries_release(s);
    qx_trainer_release(s);
    qx_ranges_release(s);
    qx_methods_release(s);
    qx_formats_release(s);
    qx_pictures_release(s);
    qx_replayer_release(s);
    qx_leads_release(s);
    qx_cache_release(&s->cache);
    qx_undo_release(&s->undo);
    qx_recipe_release(&s->now);
    qx_recipe_release(&s->a);
    qx_mem_free(s->pending.item);
    qx_mem_free(s->pending.place);
    qx_mem_free(s->pending.state);
    qx_items_release(&s->items);
    qx_imatrix_free(s->imatrix);
    qx_dataset_close(&s->data);
    qx_own_text_release(&s->own);
    qx_arena_release(&s->texts);
    qx_net_close(&s->net);
    qx_pool_free(s->pool);
    qx_model_close(&s->model);
    pthread_mutex_destroy(&s->measure.weights_lock);
    qx_bell_release(&s->bell);
    qx_mem_free(s);
    *session = NULL;
}

/* ---- what it holds ---- */

const struct qx_model *qx_session_model(const struct qx_session *s)
{
    return s->model;
}

const struct qx_net *qx_session_net(const struct qx_session *s)
{
    return s->net;
}

const struct qx_dataset *qx_session_data(const struct qx_session *s)
{
    return s->data;
}

const char *qx_session_net_reason(const struct qx_session *s)
{
    return s->net_error.text;
}

const char *qx_session_data_reason(const struct qx_session *s)
{
    return s->data_error.text;
}

int qx_session_threads(const struct qx_session *s)
{
    return s->threads;
}

const struct qx_imatrix *qx_session_imatrix(const struct qx_session *s)
{
    return s->imatrix;
}

int64_t qx_session_n_important(const struct qx_session *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->items.n; i++) {
        n += s->items.v[i].importance != NULL;
    }
    return n;
}

int64_t qx_session_n_items(const struct qx_session *s)
{
    return s->items.n;
}

const struct qx_item *qx_session_item(const struct qx_session *s, int64_t i)
{
    return &s->items.v[i];
}

int64_t qx_session_find(const struct qx_session *s, const char *name, struct qx_error *err)
{
    return qx_items_find(&s->items, name, err);
}

/* ---- figures ---- */

const struct qx_hist *qx_session_hist(struct qx_session *s, int64_t item,
                                      const struct qx_setting *setting, enum qx_hist_state *state)
{
    const struct qx_item *it = &s->items.v[item];
    *state = QX_HIST_FAILED;
    if (it->tensor->reason || !qx_dtype_get(it->tensor->dtype)->is_readable) {
        return NULL;
    }
    struct qx_hist_spec spec = qx_setting_spec(setting, it->channels);
    const struct qx_cache_entry *e = qx_cache_want(s, item, &spec);
    *state = e ? e->state : QX_HIST_WAITING;
    return e ? e->hist : NULL;
}

bool qx_session_metrics(struct qx_session *s, int64_t item, struct qx_metrics *out)
{
    const struct qx_setting *setting = &s->now.set[item];
    enum qx_hist_state state;
    if (qx_setting_open(setting)) {
        return false;
    }
    const struct qx_metrics *exact = qx_exact_find(&s->exact, item, setting);
    if (exact) {
        *out = *exact;
        return true;
    }
    const struct qx_hist *hist = qx_session_hist(s, item, setting, &state);
    if (!hist || qx_metric_hist(hist, setting, out, NULL) != QX_OK) {
        return false;
    }
    if (state == QX_HIST_SAMPLED ||
        qx_setting_awaits(setting)) { /* rounded to nearest, until then */
        out->basis = QX_BASIS_SAMPLED;
    }
    return true;
}

void qx_session_want_exact(struct qx_session *s, int64_t item)
{
    if (s->items.v[item].can_quantize) {
        s->exact.wanted = item;
        s->predictor.selected = s->net ? qx_net_layer_of_tensor(s->net, item) : -1;
        qx_exact_work(s);
    }
}

/* ---- jobs ---- */

int qx_session_n_jobs(const struct qx_session *s)
{
    return s->jobs.n;
}

bool qx_session_job(const struct qx_session *s, int i, struct qx_job_info *out)
{
    if (i < 0 || i >= s->jobs.n) {
        return false;
    }
    qx_job_look(&s->jobs.v[i], out);
    return true;
}

void qx_session_cancel(struct qx_session *s, int id)
{
    struct qx_job *job = qx_jobs_find(&s->jobs, id);
    if (job && job->task) {
        if (job->kind == QX_JOB_EVAL) {
            qx_measure_cancelled(s, job->task);
        }
        qx_task_cancel(job->task);
    }
}

bool qx_session_cancel_top(struct qx_session *s)
{
    for (int i = 0; i < s->jobs.n; i++) {
        if (s->jobs.v[i].task) {
            qx_session_cancel(s, s->jobs.v[i].info.id);
            return true;
        }
    }
    return false;
}

/* Under the recipe of now, which is what the user sees. */
static bool retry_write(struct qx_session *s, const struct qx_job *job)
{
    struct qx_error why;
    char path[PATH_MAX];
    qx_str_copy(path, sizeof path, job->path ? job->path : "");
    if (!path[0] || qx_session_write(s, path, &why) != QX_OK) {
        qx_log(QX_LOG_ERROR, "%s", path[0] ? why.text : "the folder's name is lost");
        return false;
    }
    return true;
}

bool qx_session_retry(struct qx_session *s, int id)
{
    const struct qx_job *job = qx_jobs_find(&s->jobs, id);
    if (!job || job->task) {
        return false;
    }
    if (job->kind == QX_JOB_EVAL) {
        qx_measure_retry(s, job->which);
    } else if (job->kind == QX_JOB_BESIDE) {
        s->beside.failed_key = 0;
        qx_session_beside(s, job->which);
    } else if (job->kind == QX_JOB_HIST) {
        struct qx_hist_spec spec = qx_setting_spec(&job->setting, s->items.v[job->item].channels);
        qx_cache_retry(s, job->item, &spec);
    } else if (job->kind == QX_JOB_WRITE) {
        return retry_write(s, job);
    } else if (job->kind == QX_JOB_SEARCH) {
        qx_search_retry(s);
    } else if (job->kind == QX_JOB_BENCH) {
        qx_session_bench(s, (int)job->item);
    } else if (job->kind == QX_JOB_TRAIN) {
        return qx_session_train(s, NULL, &s->trainer.options, NULL) == QX_OK;
    } else if (job->kind == QX_JOB_METHOD) {
        qx_methods_retry(s);
    } else if (job->kind == QX_JOB_INPUTS) {
        s->formats.refused_layer = -1;
    } else if (job->kind == QX_JOB_FORMATS) {
        return qx_formats_measure_retry(s, job->item, &job->setting);
    } else if (job->kind == QX_JOB_CALIB) {
        qx_ranges_retry(s);
        qx_ranges_start(s);
    } else if (job->kind == QX_JOB_OWN_TEXT) {
        qx_own_text_start(s);
    } else if (job->kind == QX_JOB_TRY) {
        qx_tries_retry(s);
    } else {
        qx_session_want_exact(s, job->item);
    }
    return true;
}

void qx_session_clear_jobs(struct qx_session *s)
{
    qx_jobs_clear(&s->jobs);
}

/* ---- turning the wheel ---- */

static void lane_collect(struct qx_session *s, struct qx_lane *lane)
{
    struct qx_task *t = qx_lane_take(lane);
    while (t) {
        struct qx_task *next = t->next;
        t->done(s, t);
        t->drop(t);
        t = next;
    }
}

static void file_check(struct qx_session *s, double now_s)
{
    if (now_s < s->file_check_s) {
        return;
    }
    s->file_check_s = now_s + file_check_every_s;
    if (!s->file_changed && qx_model_changed(s->model)) {
        s->file_changed = true;
        s->news |= QX_NEWS_FILE;
        qx_log(QX_LOG_WARN, "%s changed on disk: what is shown is of the file as it was opened",
               qx_model_path(s->model));
    }
}

unsigned qx_session_poll(struct qx_session *s)
{
    if (!s->is_batch) {
        double now_s = qx_clock_s();
        lane_collect(s, &s->preview);
        lane_collect(s, &s->queue);
        qx_pending_work(s, 0.002);
        qx_ranges_work(s, 0.002);
        qx_exact_work(s);
        qx_methods_work(s, now_s);
        qx_measure_work(s, now_s);
        qx_replayer_work(s);
        qx_predictor_work(s);
        qx_formats_work(s);
        qx_leads_work(s, 0.001);
        qx_search_work(s);
        qx_tries_work(s);
        qx_trainer_work(s);
        qx_autosave_work(s, now_s);
        file_check(s, now_s);
    }
    qx_cache_evict(&s->cache);
    if (qx_jobs_any_live(&s->jobs)) {
        s->news |= QX_NEWS_JOBS | QX_NEWS_GAUGE; /* progress */
    }
    unsigned news = s->news;
    s->news = 0;
    return news;
}

static bool save_waits(const struct qx_session *s)
{
    return s->save.is_dirty && s->save.recipe_path && !s->save.is_read_only;
}

int qx_session_timeout_ms(const struct qx_session *s)
{
    enum { PROGRESS_MS = 100, PENDING_MS = 5 };
    if (s->is_batch) {
        return -1;
    }
    double now_s = qx_clock_s(), left = s->file_check_s - now_s;
    double due = qx_measure_due(s, now_s);
    left = due >= 0 && due < left ? due : left;
    due = qx_methods_due(s, now_s);
    left = due >= 0 && due < left ? due : left;
    due = qx_predictor_due(s, now_s);
    left = due >= 0 && due < left ? due : left;
    if (save_waits(s) && s->save.due_s - now_s < left) {
        left = s->save.due_s - now_s;
    }
    int ms = left > 0 ? (int)(left * 1000) + 1 : 0;
    if (qx_jobs_any_live(&s->jobs) && ms > PROGRESS_MS) {
        ms = PROGRESS_MS;
    }
    const bool chooses = qx_pending_open(s) || qx_search_fills(s) || qx_leads_waits(s) ||
                         (qx_ranges_pending(s) && !s->ranges.task);
    return chooses && ms > PENDING_MS ? PENDING_MS : ms;
}

bool qx_session_idle(const struct qx_session *s)
{
    if (s->is_batch) {
        return true;
    }
    return s->preview.n_out == 0 && s->queue.n_out == 0 && !qx_pending_open(s) &&
           !qx_ranges_pending(s) && !qx_methods_pending(s) && s->exact.wanted < 0 &&
           qx_search_idle(s) && qx_formats_idle(s) && !qx_leads_waits(s) &&
           qx_measure_due(s, qx_clock_s()) < 0 && !qx_predictor_exact_waits(s) &&
           (!save_waits(s) || s->save.has_failed);
}

void qx_session_settle(struct qx_session *s, int max_ms)
{
    double end = qx_clock_s() + max_ms / 1000.0;
    for (;;) {
        unsigned news = qx_session_poll(s);
        double left = end - qx_clock_s();
        s->news |= news; /* the host has not heard it */
        if (qx_session_idle(s) || left <= 0) {
            return;
        }
        int ms = qx_session_timeout_ms(s);
        ms = ms < 0 || ms > left * 1000 ? (int)(left * 1000) + 1 : ms;
        if (ms > 0) {
            qx_bell_wait(&s->bell, ms);
        }
    }
}

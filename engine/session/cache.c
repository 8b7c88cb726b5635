#include "session/cache.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SMALL_ELEMS = 1 << 20, /* built at once, without a sample before */
    SAMPLE_ELEMS = 262144,
    LISTED_ELEMS = 1 << 24,    /* builds long enough to be shown as jobs */
    DISK_MAX_BYTES = 64 << 20, /* larger ones are as soon built as read back */
    MAX_TASKS = 256
};

/* Priorities in the preview lane. */
enum { FULL_BUILD = 0, FIRST_PAINT = 2 };

/* ---- identity ---- */

uint64_t qx_cache_file_hash(const struct qx_model *model)
{
    const char *id = qx_model_id(model);
    uint64_t h = qx_hash64(id, strlen(id), 1);
    for (int i = 0; i < qx_model_n_files(model); i++) {
        struct stat st;
        if (stat(qx_model_file(model, i), &st) == 0) {
            int64_t v[5] = {(int64_t)st.st_dev, (int64_t)st.st_ino, (int64_t)st.st_size,
                            (int64_t)st.st_mtim.tv_sec, (int64_t)st.st_mtim.tv_nsec};
            h = qx_hash64(v, sizeof v, h);
        }
    }
    return h;
}

static bool spec_equal(const struct qx_hist_spec *a, const struct qx_hist_spec *b)
{
    return a->gran == b->gran && a->sym == b->sym &&
           (a->gran != QX_GRAN_GROUP || a->group == b->group);
}

static uint64_t disk_key(const struct qx_session *s, int64_t item, const struct qx_hist_spec *spec)
{
    const char *name = s->items.v[item].tensor->name;
    int64_t v[6] = {spec->gran,
                    spec->gran == QX_GRAN_GROUP ? spec->group : 0,
                    spec->sym,
                    spec->channels.outer,
                    spec->channels.count,
                    spec->channels.inner};
    uint64_t h = qx_hash64(name, strlen(name), s->file_hash);
    return qx_hash64(v, sizeof v, h);
}

/* ---- entries ---- */

enum qx_status qx_cache_init(struct qx_cache *c, int64_t n_items, uint64_t budget, const char *dir,
                             struct qx_error *err)
{
    *c = (struct qx_cache){.budget = budget};
    size_t bytes = ((size_t)n_items + 1) * sizeof *c->of_item;
    c->of_item = qx_mem_zalloc(bytes);
    if (!c->of_item) {
        return qx_fail_nomem(err, bytes);
    }
    if (dir) {
        struct qx_error why;
        c->dir = qx_fs_join(dir, "histograms");
        if (!c->dir || qx_fs_mkdirs(c->dir, &why) != QX_OK) {
            qx_log(QX_LOG_WARN, "histograms are not kept on disk: %s",
                   c->dir ? why.text : "out of memory");
            qx_mem_free(c->dir);
            c->dir = NULL;
        }
    }
    return QX_OK;
}

static void list_remove(struct qx_cache *c, struct qx_cache_entry *e)
{
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void list_add(struct qx_cache *c, struct qx_cache_entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
    e->used = ++c->clock;
}

static void entry_touch(struct qx_cache *c, struct qx_cache_entry *e)
{
    list_remove(c, e);
    list_add(c, e);
}

static void entry_free(struct qx_cache *c, struct qx_cache_entry *e)
{
    struct qx_cache_entry **p = &c->of_item[e->item];
    while (*p != e) {
        p = &(*p)->next_of_item;
    }
    *p = e->next_of_item;
    list_remove(c, e);
    c->bytes -= e->bytes;
    qx_hist_unref(e->hist);
    qx_mem_free(e);
}

void qx_cache_release(struct qx_cache *c)
{
    while (c->newest) {
        entry_free(c, c->newest);
    }
    qx_mem_free(c->of_item);
    qx_mem_free(c->dir);
    *c = (struct qx_cache){0};
}

struct qx_cache_entry *qx_cache_find(struct qx_cache *c, int64_t item,
                                     const struct qx_hist_spec *spec)
{
    for (struct qx_cache_entry *e = c->of_item[item]; e; e = e->next_of_item) {
        if (spec_equal(&e->spec, spec)) {
            entry_touch(c, e);
            return e;
        }
    }
    return NULL;
}

const struct qx_hist *qx_cache_any(const struct qx_cache *c, int64_t item)
{
    const struct qx_hist *found = NULL;
    for (const struct qx_cache_entry *e = c->of_item[item]; e; e = e->next_of_item) {
        if (e->hist && (!found || e->state == QX_HIST_READY)) {
            found = e->hist;
        }
    }
    return found;
}

static struct qx_cache_entry *entry_add(struct qx_cache *c, int64_t item,
                                        const struct qx_hist_spec *spec)
{
    struct qx_cache_entry *e = qx_mem_zalloc(sizeof *e);
    if (e) {
        e->item = item;
        e->spec = *spec;
        e->state = QX_HIST_WAITING;
        e->next_of_item = c->of_item[item];
        c->of_item[item] = e;
        list_add(c, e);
    }
    return e;
}

/* Takes over the reference. */
static void entry_put(struct qx_cache *c, struct qx_cache_entry *e, struct qx_hist *hist,
                      enum qx_hist_state state)
{
    c->bytes -= e->bytes;
    qx_hist_unref(e->hist);
    e->hist = hist;
    e->state = state;
    e->bytes = qx_hist_bytes(hist);
    entry_touch(c, e); /* the host shall see it once */
    c->bytes += e->bytes;
}

void qx_cache_evict(struct qx_cache *c)
{
    struct qx_cache_entry *e = c->oldest;
    while (e && c->bytes > c->budget && e->used <= c->clock_at_poll) {
        struct qx_cache_entry *newer = e->newer;
        if (e->hist && !e->task) {
            entry_free(c, e);
        }
        e = newer;
    }
    c->clock_at_poll = c->clock;
}

/* ---- builds ---- */

struct build {
    struct qx_task task;
    struct qx_cache_entry *entry; /* host's; the worker does not look */
    const struct qx_model *model;
    const struct qx_tensor *tensor;
    struct qx_hist_spec spec;
    int64_t n_sample;
    struct qx_pool *pool;
    char *path; /* cache file, NULL = none */
    uint64_t key;
    struct qx_hist *hist; /* result */
    bool is_exact;
};

static void build_drop(struct qx_task *t)
{
    struct build *b = (struct build *)t;
    qx_hist_unref(b->hist);
    qx_mem_free(b->path);
    qx_mem_free(b);
}

static enum qx_status hist_make(const struct qx_tensor *t, const struct qx_hist_spec *spec,
                                int64_t n_sample, const char *path, uint64_t key,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_hist **out,
                                bool *is_exact, struct qx_error *err)
{
    *is_exact = true;
    if (path && qx_hist_load(path, key, out, NULL) == QX_OK) {
        return QX_OK;
    }
    *is_exact = n_sample == 0;
    enum qx_status status = qx_hist_build(t, spec, n_sample, pool, ctl, out, err);
    if (status == QX_OK && path && *is_exact && qx_hist_bytes(*out) <= DISK_MAX_BYTES) {
        struct qx_error why;
        if (qx_hist_save(*out, path, key, &why) != QX_OK) {
            qx_log(QX_LOG_WARN, "the histogram of '%s' is not kept on disk: %s", t->name, why.text);
        }
    }
    return status;
}

static enum qx_status build_run(struct qx_task *t, struct qx_error *err)
{
    struct build *b = (struct build *)t;
    enum qx_status status = hist_make(b->tensor, &b->spec, b->n_sample, b->path, b->key, b->pool,
                                      &t->ctl, &b->hist, &b->is_exact, err);
    qx_model_dontneed(b->model, b->tensor); /* memory stays flat while one browses */
    return status;
}

/* Cache file of a histogram worth keeping; NULL otherwise. */
static char *disk_path(const struct qx_session *s, int64_t item, uint64_t key)
{
    if (!s->cache.dir || s->items.v[item].tensor->numel <= SMALL_ELEMS) {
        return NULL;
    }
    char name[32];
    snprintf(name, sizeof name, "%016" PRIx64 ".qxh", key);
    return qx_fs_join(s->cache.dir, name);
}

static bool build_submit(struct qx_session *s, struct qx_cache_entry *e, bool full);

static void build_done(struct qx_session *s, struct qx_task *t)
{
    struct build *b = (struct build *)t;
    struct qx_cache_entry *e = b->entry;
    const struct qx_tensor *tensor = b->tensor;
    e->task = NULL;
    s->cache.n_tasks--;
    s->cache.n_full -= t->priority == FULL_BUILD;
    if (t->status == QX_ECANCELLED && e->is_preempted) {
        qx_jobs_forget(&s->jobs, t); /* it starts again */
    }
    qx_jobs_finish(&s->jobs, t, t->status == QX_OK ? "done" : NULL);
    s->news |= QX_NEWS_HIST | QX_NEWS_METRICS | (t->job ? QX_NEWS_JOBS : 0);
    if (e->state == QX_HIST_READY) {
        e->is_preempted = false; /* built in the host's thread meanwhile */
    } else if (t->status == QX_OK) {
        entry_put(&s->cache, e, b->hist, b->is_exact ? QX_HIST_READY : QX_HIST_SAMPLED);
        b->hist = NULL;
        if (!b->is_exact) {
            build_submit(s, e, true);
        }
    } else if (t->status == QX_ECANCELLED && e->is_preempted) {
        e->is_preempted = false;
        build_submit(s, e, true);
    } else {
        if (t->status != QX_ECANCELLED) {
            qx_log(QX_LOG_ERROR, "%s", t->err.text);
        }
        e->state = e->hist ? QX_HIST_SAMPLED : QX_HIST_FAILED;
    }
    if (qx_model_torn(s->model, tensor)) {
        s->news |= QX_NEWS_FILE;
    }
}

static bool build_submit(struct qx_session *s, struct qx_cache_entry *e, bool full)
{
    struct build *b = qx_mem_zalloc(sizeof *b);
    if (!b || !s->preview.is_started) {
        qx_mem_free(b);
        return false;
    }
    const struct qx_tensor *t = s->items.v[e->item].tensor;
    bool direct = t->numel <= SMALL_ELEMS;
    b->task = (struct qx_task){.run = build_run, .done = build_done, .drop = build_drop};
    b->task.priority = full ? FULL_BUILD : FIRST_PAINT;
    b->entry = e;
    b->model = s->model;
    b->tensor = t;
    b->spec = e->spec;
    b->n_sample = full || direct ? 0 : SAMPLE_ELEMS;
    /* what is over in milliseconds must not wait for a measurement's turn on the pool */
    b->pool = full ? s->pool : NULL;
    b->key = disk_key(s, e->item, &e->spec);
    b->path = disk_path(s, e->item, b->key);
    if (full && t->numel >= LISTED_ELEMS) {
        struct qx_job *job = qx_jobs_add(&s->jobs, &b->task, QX_JOB_HIST);
        if (job) {
            job->item = e->item;
            job->setting = s->now.set[e->item];
            snprintf(job->info.title, sizeof job->info.title, "histogram of %.100s", t->name);
        }
        s->news |= QX_NEWS_JOBS;
    }
    e->task = &b->task;
    s->cache.n_tasks++;
    s->cache.n_full += full;
    qx_lane_submit(&s->preview, &b->task);
    return true;
}

/* First paint of something new goes before the full builds that run. */
static void preempt_full(struct qx_session *s, const struct qx_cache_entry *but)
{
    int left = s->cache.n_full;
    for (struct qx_cache_entry *e = s->cache.newest; e && left > 0; e = e->older) {
        left -= e->task && e->task->priority == FULL_BUILD;
        if (e != but && e->task && e->task->priority == FULL_BUILD &&
            qx_task_state(e->task) == QX_JOB_RUNNING) {
            e->is_preempted = true;
            qx_task_cancel(e->task);
        }
    }
}

struct qx_cache_entry *qx_cache_want(struct qx_session *s, int64_t item,
                                     const struct qx_hist_spec *spec)
{
    struct qx_cache_entry *e = qx_cache_find(&s->cache, item, spec);
    if (e && (e->hist || e->task || e->state == QX_HIST_FAILED)) {
        return e;
    }
    if (!s->preview.is_started || s->cache.n_tasks >= MAX_TASKS) {
        return e;
    }
    if (!e) {
        e = entry_add(&s->cache, item, spec);
    }
    if (e && build_submit(s, e, false)) {
        preempt_full(s, e);
        qx_exact_preempt(s);
    }
    return e;
}

void qx_cache_retry(struct qx_session *s, int64_t item, const struct qx_hist_spec *spec)
{
    struct qx_cache_entry *e = qx_cache_find(&s->cache, item, spec);
    if (e && e->state != QX_HIST_READY && !e->task) {
        e->state = e->hist ? QX_HIST_SAMPLED : QX_HIST_WAITING;
        build_submit(s, e, e->hist != NULL);
    }
}

enum qx_status qx_cache_build(struct qx_session *s, int64_t item, const struct qx_hist_spec *spec,
                              struct qx_ctl *ctl, const struct qx_hist **out, struct qx_error *err)
{
    struct qx_cache_entry *e = qx_cache_find(&s->cache, item, spec);
    if (e && e->state == QX_HIST_READY) {
        *out = e->hist;
        return QX_OK;
    }
    if (!e) {
        qx_cache_evict(&s->cache);
        e = entry_add(&s->cache, item, spec);
    }
    if (!e) {
        return qx_fail_nomem(err, sizeof *e);
    }
    uint64_t key = disk_key(s, item, spec);
    char *path = disk_path(s, item, key);
    struct qx_hist *hist = NULL;
    bool is_exact;
    const struct qx_tensor *t = s->items.v[item].tensor;
    /* a hand that waits for milliseconds must not wait for a measurement's turn on the pool */
    struct qx_pool *pool = !s->is_batch && t->numel <= SMALL_ELEMS ? NULL : s->pool;
    enum qx_status status = hist_make(t, spec, 0, path, key, pool, ctl, &hist, &is_exact, err);
    qx_mem_free(path);
    if (status == QX_OK) {
        entry_put(&s->cache, e, hist, QX_HIST_READY);
        *out = hist;
    }
    return status;
}

/* Keeping the recipe: where, under which lock, when. */
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/recipe_json.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECIPE_MAX_BYTES = 64 << 20, SAVE_PRIORITY = 3 };

static const double retry_s = 10; /* after a failed write */

/* ---- places ---- */

/* dir/name.suffix with a name that is one path component; NULL when out of memory. */
static char *place(const char *dir, const char *name, const char *suffix)
{
    char text[240];
    snprintf(text, sizeof text, "%.200s%s", name, suffix);
    for (char *c = text; *c; c++) {
        *c = *c == '/' ? '_' : *c;
    }
    return qx_fs_join(dir, text);
}

static bool state_dir_make(struct qx_session *s, const char *state_dir)
{
    struct qx_error why;
    s->state_dir = qx_fs_join(state_dir, qx_model_id(s->model));
    if (s->state_dir && qx_fs_mkdirs(s->state_dir, &why) == QX_OK) {
        return true;
    }
    qx_log(QX_LOG_WARN, "edits are not saved: %s", s->state_dir ? why.text : "out of memory");
    qx_mem_free(s->state_dir);
    s->state_dir = NULL;
    return false;
}

/* The same recipe has the same number, from whatever folder it is named; a new file, by its folder. */
static uint64_t path_hash(const char *path)
{
    char full[PATH_MAX], folder[PATH_MAX];
    const char *base = qx_fs_basename(path);
    uint64_t h = qx_hash64(base, strlen(base), 0);
    snprintf(folder, sizeof folder, "%.*s", (int)(base - path), path);
    if (realpath(folder[0] ? folder : ".", full)) {
        h = qx_hash64(full, strlen(full), h);
    }
    return h;
}

/* Names of recipe, log and lock. False when nothing can be saved. */
static bool places_find(struct qx_session *s, const struct qx_session_options *o, char **lock)
{
    bool has_dir = o->state_dir && state_dir_make(s, o->state_dir);
    char name[64];
    snprintf(name, sizeof name, "%.60s", qx_model_name(s->model));
    if (o->recipe_path) {
        s->save.recipe_path = qx_mem_strdup(o->recipe_path);
        snprintf(name, sizeof name, "recipe-%016" PRIx64, path_hash(o->recipe_path));
    } else if (has_dir) {
        s->save.recipe_path = place(s->state_dir, name, ".qexplore.json");
    }
    if (has_dir) {
        s->save.log_path = place(s->state_dir, name, ".log");
        s->save.results_path = place(s->state_dir, name, ".measured.json");
        *lock = place(s->state_dir, name, ".lock");
    }
    return s->save.recipe_path != NULL;
}

static void lock_take(struct qx_session *s, const char *path)
{
    struct qx_error why;
    if (!path) {
        return;
    }
    if (qx_fs_lock(path, &s->save.lock_fd, &why) != QX_OK) {
        qx_log(QX_LOG_WARN, "%s", why.text);
        s->save.lock_fd = -1;
    } else if (s->save.lock_fd < 0) {
        s->save.is_read_only = true;
        qx_log(QX_LOG_WARN, "the recipe of this model is open elsewhere: edits here are not saved");
    }
}

/* ---- resuming ---- */

/* Blocks that were searched by an imatrix come out otherwise without it. */
static enum qx_status imatrix_check(const struct qx_session *s, const char *path,
                                    const struct qx_recipe *r, bool is_named, struct qx_error *err)
{
    if (r->imatrix_key == 0 || r->imatrix_key == s->items.imatrix_key) {
        return QX_OK;
    }
    const char *which = s->items.imatrix_key ? "another imatrix than the one given"
                                             : "an imatrix, and none is given";
    if (is_named) {
        return qx_fail_at(err, QX_EDATA, path, NULL, -1,
                          "%.150s chooses blocks by %s: name its file with --imatrix FILE", path,
                          which);
    }
    qx_log(QX_LOG_WARN, "the saved recipe chose blocks by %s (--imatrix FILE)", which);
    return QX_OK;
}

/* is_named: by the user, not found in the state folder. */
static enum qx_status recipe_file_read(struct qx_session *s, const char *path, bool is_named,
                                       struct qx_recipe *out, struct qx_error *err)
{
    struct qx_json *json = NULL;
    enum qx_status status = qx_json_load(path, RECIPE_MAX_BYTES, &json, err);
    if (status == QX_OK) {
        status = qx_recipe_read(json, path, &s->items, out, err);
    }
    if (status == QX_OK) {
        status = qx_methods_check_recipe(s, out, err);
        status = status == QX_OK ? imatrix_check(s, path, out, is_named, err) : status;
        if (status != QX_OK) {
            qx_error_context(err, "%s", path);
            qx_recipe_release(out);
        }
    }
    qx_json_free(json);
    return status;
}

static void set_aside(const char *path, const char *suffix)
{
    char aside[4096];
    int n = snprintf(aside, sizeof aside, "%s%s", path, suffix);
    if (n > 0 && n < (int)sizeof aside && rename(path, aside) == 0) {
        qx_log(QX_LOG_INFO, "kept %s as %s", path, aside);
    }
}

static bool is_newer(const char *a, const char *b)
{
    struct stat x, y;
    if (stat(a, &x) != 0 || stat(b, &y) != 0) {
        return false;
    }
    return x.st_mtim.tv_sec > y.st_mtim.tv_sec ||
           (x.st_mtim.tv_sec == y.st_mtim.tv_sec && x.st_mtim.tv_nsec > y.st_mtim.tv_nsec);
}

/* Does the file say what the log ends with (but for ranges that calibrators chose since)? Takes those
 * ranges over. */
static bool ranges_adopt(struct qx_session *s, const struct qx_recipe *file)
{
    for (int64_t i = 0; i < file->n; i++) {
        if (!qx_setting_resolves_to(&s->now.set[i], &file->set[i]) &&
            !qx_setting_resolves_to(&file->set[i], &s->now.set[i])) {
            return false;
        }
    }
    for (int64_t i = 0; i < file->n; i++) {
        if (qx_setting_open(&s->now.set[i]) && file->set[i].has_range) {
            qx_item_set(s, i, &file->set[i], s->now.origin[i]);
            qx_undo_resolve(&s->undo, i, &file->set[i]);
        }
    }
    return true;
}

/* Bring recipe file and log together. The log wins when it is the newer one (a crash came between the
 * two writes); else the difference becomes one more step. */
static enum qx_status recipe_resume(struct qx_session *s, bool is_named, bool has_log,
                                    struct qx_error *err)
{
    struct qx_recipe file = {0};
    struct qx_error why;
    if (!qx_fs_exists(s->save.recipe_path)) {
        return QX_OK;
    }
    enum qx_status status = recipe_file_read(s, s->save.recipe_path, is_named, &file, &why);
    if (status != QX_OK && (is_named || status == QX_ENOMEM)) {
        if (err) {
            *err = why;
        }
        return status;
    }
    if (status != QX_OK) {
        qx_log(QX_LOG_ERROR, "the saved recipe is not resumed: %s", why.text);
        if (!s->save.is_read_only) {
            set_aside(s->save.recipe_path, ".bad");
        }
        return QX_OK;
    }
    s->now.notes = file.notes;
    file.notes = NULL;
    bool log_wins = has_log && !is_named && is_newer(s->save.log_path, s->save.recipe_path);
    if (!ranges_adopt(s, &file) && !log_wins) {
        status = qx_recipe_replace(s, &file, QX_STEP_LOAD, err);
    }
    qx_recipe_release(&file);
    return status;
}

enum qx_status qx_autosave_open(struct qx_session *s, const struct qx_session_options *o,
                                struct qx_error *err)
{
    char *lock = NULL;
    s->save.lock_fd = s->log.fd = -1;
    if (o->batch) {
        return o->recipe_path ? qx_session_load_recipe(s, o->recipe_path, err) : QX_OK;
    }
    bool has_place = places_find(s, o, &lock);
    lock_take(s, lock);
    qx_mem_free(lock);
    if (s->save.results_path && qx_measure_can(s)) {
        qx_results_load(s, s->save.results_path);
    }
    if (!has_place) {
        return QX_OK;
    }
    bool has_log = false;
    if (o->fresh && !o->recipe_path && !s->save.is_read_only) {
        set_aside(s->save.recipe_path, ".old");
    }
    if (s->save.log_path && !o->fresh) {
        has_log = qx_edit_log_replay(s, s->save.log_path);
    } else {
        s->log.must_rewrite = true;
    }
    s->log.is_on = s->save.log_path && !s->save.is_read_only;
    enum qx_status status = o->fresh && !o->recipe_path
                                ? QX_OK
                                : recipe_resume(s, o->recipe_path != NULL, has_log, err);
    s->n_resumed = s->undo.pos;
    s->save.is_dirty = false;
    return status;
}

/* ---- writing ---- */

struct save_task {
    struct qx_task task;
    char *path, *text;
    size_t len;
};

static enum qx_status save_run(struct qx_task *t, struct qx_error *err)
{
    struct save_task *v = (struct save_task *)t;
    return qx_fs_write_atomic(v->path, v->text, v->len, err);
}

static void save_failed(struct qx_session *s, const struct qx_error *why)
{
    if (!s->save.has_failed) {
        qx_log(QX_LOG_ERROR, "the recipe is not saved: %s", why->text);
    }
    s->save.has_failed = true;
    s->save.is_dirty = true;
    s->save.due_s = qx_clock_s() + retry_s;
}

static void save_done(struct qx_session *s, struct qx_task *t)
{
    s->save.task = NULL;
    if (t->status == QX_OK) {
        s->save.has_failed = false;
    } else {
        save_failed(s, &t->err);
    }
}

static void save_drop(struct qx_task *t)
{
    struct save_task *v = (struct save_task *)t;
    qx_mem_free(v->path);
    qx_free_text(v->text);
    qx_mem_free(v);
}

static char *recipe_text(struct qx_session *s, size_t *len)
{
    return qx_recipe_write(&s->now, &s->items, s->model, s->pending.state, len);
}

static enum qx_status save_here(struct qx_session *s, const char *path, struct qx_error *err)
{
    size_t len;
    char *text = recipe_text(s, &len);
    if (!text) {
        return qx_fail(err, QX_ENOMEM, "out of memory for the text of the recipe");
    }
    enum qx_status status = qx_fs_write_atomic(path, text, len, err);
    qx_free_text(text);
    return status;
}

/* Syncing a file may take longer than a frame: a job does it. */
static bool save_submit(struct qx_session *s)
{
    struct save_task *v = qx_mem_zalloc(sizeof *v);
    if (!v) {
        return false;
    }
    v->task = (struct qx_task){
        .run = save_run, .done = save_done, .drop = save_drop, .priority = SAVE_PRIORITY};
    v->path = qx_mem_strdup(s->save.recipe_path);
    v->text = recipe_text(s, &v->len);
    if (!v->path || !v->text) {
        save_drop(&v->task);
        return false;
    }
    s->save.task = &v->task;
    qx_lane_submit(&s->preview, &v->task);
    return true;
}

void qx_autosave_work(struct qx_session *s, double now_s)
{
    struct qx_error why;
    if (!s->save.is_dirty || !s->save.recipe_path || s->save.is_read_only || s->is_batch ||
        s->save.task || now_s < s->save.due_s) {
        return;
    }
    enum qx_status status = qx_edit_log_write(s, &why);
    if (status != QX_OK && !s->save.has_failed) {
        qx_log(QX_LOG_WARN, "%s", why.text);
    }
    s->save.is_dirty = false;
    if (isinf(now_s) || !s->preview.is_started || !save_submit(s)) {
        status = save_here(s, s->save.recipe_path, &why);
        if (status != QX_OK) {
            save_failed(s, &why);
        }
    }
}

void qx_autosave_close(struct qx_session *s)
{
    s->save.task = NULL; /* the lanes have stopped: what was out may not be on disk */
    s->save.is_dirty = s->save.is_dirty || s->n_moves > 0;
    s->save.has_failed = false; /* the last try: a failure is told, whatever was told before */
    qx_autosave_work(s, INFINITY);
    qx_edit_log_close(s);
    if (s->save.results_path && s->measure.has_new && !s->save.is_read_only) {
        qx_results_save(s, s->save.results_path);
    }
    if (s->save.lock_fd >= 0) {
        close(s->save.lock_fd);
    }
    qx_mem_free(s->save.recipe_path);
    qx_mem_free(s->save.log_path);
    qx_mem_free(s->save.results_path);
    qx_mem_free(s->state_dir);
}

enum qx_status qx_session_save_recipe(struct qx_session *s, const char *path, struct qx_error *err)
{
    return save_here(s, path, err);
}

enum qx_status qx_session_load_recipe(struct qx_session *s, const char *path, struct qx_error *err)
{
    struct qx_recipe file = {0};
    enum qx_status status = recipe_file_read(s, path, true, &file, err);
    if (status == QX_OK) {
        status = qx_recipe_replace(s, &file, QX_STEP_LOAD, err);
    }
    if (status == QX_OK) {
        qx_mem_free(s->now.notes);
        s->now.notes = file.notes;
        file.notes = NULL;
    }
    qx_recipe_release(&file);
    return status;
}

bool qx_session_read_only(const struct qx_session *s)
{
    return s->save.is_read_only;
}

int qx_session_resumed(const struct qx_session *s)
{
    return s->n_resumed;
}

const char *qx_session_recipe_path(const struct qx_session *s)
{
    return s->save.recipe_path && !s->save.is_read_only && !s->is_batch ? s->save.recipe_path : "";
}

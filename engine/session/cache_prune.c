/* The cache folder stays below a size: when it has grown beyond, its oldest files go. */
#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PRUNE_PRIORITY = -1 };

static const uint64_t disk_limit_bytes = (uint64_t)2 << 30;

struct aged {
    const char *path;
    uint64_t bytes;
    int64_t time;
};

static int oldest_first(const void *a, const void *b)
{
    const struct aged *x = a, *y = b;
    return (x->time > y->time) - (x->time < y->time);
}

int64_t qx_cache_prune(const char *dir, uint64_t limit_bytes)
{
    struct qx_arena arena = {0};
    char **names;
    size_t n = 0, k = 0;
    uint64_t sum = 0;
    int64_t removed = 0;
    struct aged *v = NULL;
    if (qx_fs_list(dir, &arena, &names, &n, NULL) == QX_OK) {
        v = qx_arena_array(&arena, n + 1, sizeof *v);
    }
    for (size_t i = 0; v && i < n; i++) {
        struct stat st;
        char *path = qx_arena_printf(&arena, "%s/%s", dir, names[i]);
        if (path && qx_str_ends(path, ".qxh") && stat(path, &st) == 0) {
            v[k++] = (struct aged){path, (uint64_t)st.st_size, (int64_t)st.st_mtime};
            sum += (uint64_t)st.st_size;
        }
    }
    if (v && sum > limit_bytes) {
        qsort(v, k, sizeof *v, oldest_first);
    }
    for (size_t i = 0; i < k && sum > limit_bytes; i++) {
        if (unlink(v[i].path) == 0) {
            sum -= v[i].bytes;
            removed++;
        }
    }
    qx_arena_release(&arena);
    return removed;
}

struct prune_task {
    struct qx_task task;
    char *dir;
};

static enum qx_status prune_run(struct qx_task *t, struct qx_error *err)
{
    (void)err;
    int64_t n = qx_cache_prune(((struct prune_task *)t)->dir, disk_limit_bytes);
    if (n > 0) {
        qx_log(QX_LOG_INFO, "%lld old histograms removed from the cache", (long long)n);
    }
    return QX_OK;
}

static void prune_done(struct qx_session *s, struct qx_task *t)
{
    (void)s;
    (void)t;
}

static void prune_drop(struct qx_task *t)
{
    qx_mem_free(((struct prune_task *)t)->dir);
    qx_mem_free(t);
}

void qx_cache_prune_later(struct qx_session *s)
{
    if (!s->cache.dir || !s->preview.is_started) {
        return;
    }
    struct prune_task *p = qx_mem_zalloc(sizeof *p);
    char *dir = qx_mem_strdup(s->cache.dir);
    if (!p || !dir) {
        qx_mem_free(p);
        qx_mem_free(dir);
        return;
    }
    p->task = (struct qx_task){
        .run = prune_run, .done = prune_done, .drop = prune_drop, .priority = PRUNE_PRIORITY};
    p->dir = dir;
    qx_lane_submit(&s->preview, &p->task);
}

#include "base/fs.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum qx_status fail_io(struct qx_error *err, const char *verb, const char *path)
{
    int code = errno;
    bool is_full = code == ENOSPC || code == EDQUOT;
    const char *advice = is_full ? "; free some space and try again" : "";
    if (code == EACCES || code == EROFS) {
        advice = "; check the permissions of the file and its folder";
    }
    return qx_fail_at(err, is_full ? QX_ENOSPC : QX_EIO, path, NULL, -1, "cannot %s '%s': %s%s",
                      verb, path, strerror(code), advice);
}

/* Reads until end of file; the size is only a hint because files under /proc report 0. */
static enum qx_status read_all(int fd, const char *path, size_t max_bytes, char **out, size_t *len,
                               struct qx_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return fail_io(err, "read", path);
    }
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return fail_io(err, "read", path);
    }
    size_t cap = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size : 4096;
    size_t n = 0;
    cap = cap > max_bytes ? max_bytes : cap;
    char *data = qx_mem_alloc(cap + 2);
    if (!data) {
        return qx_fail_nomem(err, cap + 2);
    }
    for (;;) {
        ssize_t got = read(fd, data + n, cap + 1 - n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            qx_mem_free(data);
            return fail_io(err, "read", path);
        }
        n += (size_t)got;
        if (got == 0 || n > max_bytes) {
            break;
        }
        if (n == cap + 1) {
            cap = cap > max_bytes / 2 ? max_bytes : cap * 2;
            char *bigger = qx_mem_realloc(data, cap + 2);
            if (!bigger) {
                qx_mem_free(data);
                return qx_fail_nomem(err, cap + 2);
            }
            data = bigger;
        }
    }
    if (n > max_bytes) {
        qx_mem_free(data);
        return qx_fail_at(err, QX_ERANGE, path, NULL, -1,
                          "cannot read '%s': it is larger than the %zu bytes allowed for its kind",
                          path, max_bytes);
    }
    data[n] = '\0';
    *out = data;
    *len = n;
    return QX_OK;
}

enum qx_status qx_fs_read(const char *path, size_t max_bytes, char **out, size_t *len,
                          struct qx_error *err)
{
    /* a pipe that nobody writes to would not open: it reads as empty */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fcntl(fd, F_SETFL, 0) != 0) {
        enum qx_status failed = fail_io(err, "open", path);
        if (fd >= 0) {
            close(fd);
        }
        return failed;
    }
    size_t cap = max_bytes > SIZE_MAX / 4 ? SIZE_MAX / 4 : max_bytes;
    enum qx_status st = read_all(fd, path, cap, out, len, err);
    close(fd);
    return st;
}

static enum qx_status mkdir_one(const char *path, struct qx_error *err)
{
    if (mkdir(path, 0777) == 0) {
        return QX_OK;
    }
    if (errno == EEXIST && qx_fs_is_dir(path)) {
        return QX_OK;
    }
    return fail_io(err, "create the folder", path);
}

enum qx_status qx_fs_mkdirs(const char *path, struct qx_error *err)
{
    if (qx_fs_is_dir(path)) {
        return QX_OK;
    }
    char *copy = qx_mem_strdup(path);
    if (!copy) {
        return qx_fail_nomem(err, strlen(path) + 1);
    }
    enum qx_status st = QX_OK;
    for (char *p = copy + 1; *copy && *p && st == QX_OK; p++) {
        if (*p == '/') {
            *p = '\0';
            st = qx_fs_is_dir(copy) ? QX_OK : mkdir_one(copy, err);
            *p = '/';
        }
    }
    if (st == QX_OK) {
        st = mkdir_one(copy, err);
    }
    qx_mem_free(copy);
    return st;
}

bool qx_fs_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool qx_fs_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *qx_fs_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    if (n == 0 || name[0] == '/') {
        return qx_mem_strdup(name);
    }
    bool needs_slash = dir[n - 1] != '/' && name[0] != '\0';
    size_t m = strlen(name);
    char *path = qx_mem_alloc(n + needs_slash + m + 1);
    if (path) {
        memcpy(path, dir, n);
        if (needs_slash) {
            path[n] = '/';
        }
        memcpy(path + n + needs_slash, name, m + 1);
    }
    return path;
}

const char *qx_fs_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int by_name(const void *a, const void *b)
{
    return qx_str_natcmp(*(char *const *)a, *(char *const *)b);
}

/* Reads d into *names; names grow by doubling inside the arena. */
static enum qx_status read_names(DIR *d, const char *dir, struct qx_arena *arena, char ***names,
                                 size_t *n, struct qx_error *err)
{
    size_t cap = 64, count = 0;
    char **list = qx_arena_array(arena, cap, sizeof *list);
    struct dirent *e;
    errno = 0;
    while (list && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        if (count == cap) {
            char **bigger = qx_arena_array(arena, cap * 2, sizeof *list);
            if (!bigger) {
                return qx_fail_nomem(err, cap * 2 * sizeof *list);
            }
            memcpy(bigger, list, cap * sizeof *list);
            list = bigger;
            cap *= 2;
        }
        list[count] = qx_arena_strdup(arena, e->d_name);
        if (!list[count++]) {
            return qx_fail_nomem(err, strlen(e->d_name) + 1);
        }
        errno = 0;
    }
    if (!list) {
        return qx_fail_nomem(err, cap * sizeof *list);
    }
    if (errno != 0) {
        return fail_io(err, "list", dir);
    }
    qsort(list, count, sizeof *list, by_name);
    *names = list;
    *n = count;
    return QX_OK;
}

enum qx_status qx_fs_list(const char *dir, struct qx_arena *arena, char ***names, size_t *n,
                          struct qx_error *err)
{
    DIR *d = opendir(*dir ? dir : ".");
    if (!d) {
        return fail_io(err, "list", dir);
    }
    enum qx_status st = read_names(d, dir, arena, names, n, err);
    closedir(d);
    return st;
}

enum qx_status qx_fs_lock(const char *path, int *fd, struct qx_error *err)
{
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f < 0) {
        return fail_io(err, "create the lock", path);
    }
    if (flock(f, LOCK_EX | LOCK_NB) != 0) {
        int code = errno;
        close(f);
        errno = code;
        if (code != EWOULDBLOCK) {
            return fail_io(err, "lock", path);
        }
        f = -1;
    }
    *fd = f;
    return QX_OK;
}

double qx_clock_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

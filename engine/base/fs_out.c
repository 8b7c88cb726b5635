/* Atomic writes: a temporary file in the target's folder, fsync, rename. */
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 };

struct qx_fs_out {
    int fd;
    char *path; /* final name, symbolic links resolved */
    char *temp; /* NULL when a device is written directly */
    size_t n;   /* bytes waiting in chunk */
    char chunk[CHUNK];
};

static enum qx_status fail_write(struct qx_error *err, const char *path, int code)
{
    const char *advice = "";
    const bool is_full = code == ENOSPC || code == EDQUOT || code == EFBIG;
    if (code == EFBIG) {
        advice = "; raise the limit on the size of files (ulimit -f) or choose another disk";
    } else if (is_full) {
        advice = "; free some space and try again";
    } else if (code == EACCES || code == EROFS || code == EPERM) {
        advice = "; choose a folder you may write to";
    } else if (code == ENOENT) {
        advice = "; create its folder first";
    }
    return qx_fail_at(err, is_full ? QX_ENOSPC : QX_EIO, path, NULL, -1, "cannot write '%s': %s%s",
                      path, strerror(code), advice);
}

static void out_free(struct qx_fs_out *o)
{
    if (o->fd >= 0) {
        close(o->fd);
    }
    qx_mem_free(o->path);
    qx_mem_free(o->temp);
    qx_mem_free(o);
}

/* The file a symbolic link leads to, so that rename replaces the file and not the link. */
static char *resolve(const char *path)
{
    char *real = realpath(path, NULL);
    char *copy = qx_mem_strdup(real ? real : path);
    free(real); /* libc's allocation */
    return copy;
}

/* Creates o->temp beside o->path with a name nobody has. */
static int open_temp(struct qx_fs_out *o, mode_t mode)
{
    static atomic_uint serial;
    const char *base = qx_fs_basename(o->path);
    size_t dir_len = (size_t)(base - o->path), cap = strlen(o->path) + 48;
    o->temp = qx_mem_alloc(cap);
    if (!o->temp) {
        errno = ENOMEM;
        return -1;
    }
    for (int attempt = 0; attempt < 100; attempt++) {
        /* 200 bytes of the name leave room for the suffix within NAME_MAX. */
        snprintf(o->temp, cap, "%.*s.%.200s.%ld-%u.tmp", (int)dir_len, o->path, base,
                 (long)getpid(), atomic_fetch_add(&serial, 1));
        int fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

enum qx_status qx_fs_out_begin(const char *path, struct qx_fs_out **out, struct qx_error *err)
{
    struct qx_fs_out *o = qx_mem_alloc(sizeof *o);
    if (!o) {
        return qx_fail_nomem(err, sizeof *o);
    }
    o->fd = -1;
    o->temp = NULL;
    o->n = 0;
    o->path = resolve(path);
    if (!o->path) {
        out_free(o);
        return qx_fail_nomem(err, strlen(path) + 1);
    }
    struct stat st;
    bool exists = stat(o->path, &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) {
        out_free(o);
        return fail_write(err, path, EISDIR);
    }
    if (exists && !S_ISREG(st.st_mode)) {
        o->fd = open(o->path, O_WRONLY | O_CLOEXEC);
    } else {
        o->fd = open_temp(o, exists ? st.st_mode & 0777 : 0666);
    }
    if (o->fd < 0) {
        int code = errno;
        out_free(o);
        return code == ENOMEM ? qx_fail_nomem(err, strlen(path)) : fail_write(err, path, code);
    }
    *out = o;
    return QX_OK;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return false;
        }
        p += done;
        n -= (size_t)done;
    }
    return true;
}

enum qx_status qx_fs_out_write(struct qx_fs_out *o, const void *data, size_t len,
                               struct qx_error *err)
{
    if (len < CHUNK - o->n) {
        if (len > 0) {
            memcpy(o->chunk + o->n, data, len);
        }
        o->n += len;
        return QX_OK;
    }
    if (!write_all(o->fd, o->chunk, o->n)) {
        return fail_write(err, o->path, errno);
    }
    o->n = 0;
    return write_all(o->fd, data, len) ? QX_OK : fail_write(err, o->path, errno);
}

enum qx_status qx_fs_out_commit(struct qx_fs_out *o, struct qx_error *err)
{
    bool ok = write_all(o->fd, o->chunk, o->n);
    /* Devices and pipes refuse fsync with EINVAL; nothing is lost there. */
    ok = ok && (fsync(o->fd) == 0 || !o->temp);
    int code = errno;
    if (close(o->fd) != 0 && ok) {
        ok = false;
        code = errno;
    }
    o->fd = -1;
    if (ok && o->temp && rename(o->temp, o->path) != 0) {
        ok = false;
        code = errno;
    }
    enum qx_status st = QX_OK;
    if (!ok) {
        st = fail_write(err, o->path, code);
        if (o->temp) {
            unlink(o->temp);
        }
    }
    out_free(o);
    return st;
}

void qx_fs_out_abort(struct qx_fs_out *o)
{
    if (!o) {
        return;
    }
    if (o->temp) {
        unlink(o->temp);
    }
    out_free(o);
}

enum qx_status qx_fs_write_atomic(const char *path, const void *data, size_t len,
                                  struct qx_error *err)
{
    struct qx_fs_out *o;
    enum qx_status st = qx_fs_out_begin(path, &o, err);
    if (st != QX_OK) {
        return st;
    }
    st = qx_fs_out_write(o, data, len, err);
    if (st != QX_OK) {
        qx_fs_out_abort(o);
        return st;
    }
    return qx_fs_out_commit(o, err);
}

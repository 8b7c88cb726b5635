#include "base/mapfile.h"
#include "base/error.h"
#include "base/mem.h"
#include "qx/mapfault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = 4096 };

/* One mapping. A slot is free while `bytes` is 0; `start` is set before and cleared after it. */
struct slot {
    _Atomic uintptr_t start;
    _Atomic size_t bytes;
    atomic_bool torn;
};

static struct slot slots[SLOTS];
static atomic_int n_slots_used; /* slots at or above this were never used */
static atomic_size_t page_bytes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Index of a filled slot, or -1 when the table is full. */
static int slot_take(const void *start, size_t bytes)
{
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < SLOTS && atomic_load(&slots[i].bytes) != 0) {
        i++;
    }
    if (i < SLOTS) {
        atomic_store(&slots[i].torn, false);
        atomic_store(&slots[i].start, (uintptr_t)start);
        atomic_store(&slots[i].bytes, bytes);
        if (i >= atomic_load(&n_slots_used)) {
            atomic_store(&n_slots_used, i + 1);
        }
    }
    pthread_mutex_unlock(&lock);
    return i < SLOTS ? i : -1;
}

static void slot_drop(int i)
{
    pthread_mutex_lock(&lock);
    atomic_store(&slots[i].bytes, 0);
    atomic_store(&slots[i].start, 0);
    pthread_mutex_unlock(&lock);
}

bool qx_map_fault(void *addr)
{
    uintptr_t at = (uintptr_t)addr;
    size_t page = atomic_load(&page_bytes);
    int n = atomic_load(&n_slots_used);
    for (int i = 0; i < n; i++) {
        size_t bytes = atomic_load(&slots[i].bytes);
        uintptr_t start = atomic_load(&slots[i].start);
        size_t span = (bytes + page - 1) & ~(page - 1);
        if (bytes == 0 || at < start || at - start >= span) {
            continue;
        }
        int saved = errno;
        void *torn = (void *)(at & ~(uintptr_t)(page - 1));
        void *got = mmap(torn, page, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        atomic_store(&slots[i].torn, true);
        errno = saved;
        return got == torn;
    }
    return false;
}

static enum qx_status map_fd(int fd, const char *path, struct qx_mapfile *m, struct qx_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return qx_fail_at(err, QX_EIO, path, NULL, -1, "cannot read the size of '%s': %s", path,
                          strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return qx_fail_at(err, QX_EIO, path, NULL, -1, "cannot map '%s': it is %s, not a file",
                          path, S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    }
    m->size = (uint64_t)st.st_size;
    m->dev = st.st_dev;
    m->ino = st.st_ino;
    m->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (m->size == 0) {
        return QX_OK;
    }
    void *p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        return qx_fail_at(err, errno == ENOMEM ? QX_ENOMEM : QX_EIO, path, NULL, -1,
                          "cannot map '%s' (%llu bytes): %s", path, (unsigned long long)m->size,
                          strerror(errno));
    }
    m->slot = slot_take(p, m->size);
    if (m->slot < 0) {
        munmap(p, m->size);
        return qx_fail_at(err, QX_EUNSUPPORTED, path, NULL, -1,
                          "cannot map '%s': %d files are mapped already; close a model first", path,
                          (int)SLOTS);
    }
    m->data = p;
    return QX_OK;
}

enum qx_status qx_mapfile_open(const char *path, struct qx_mapfile *out, struct qx_error *err)
{
    atomic_store(&page_bytes, (size_t)sysconf(_SC_PAGESIZE));
    struct qx_mapfile m = {0};
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return qx_fail_at(err, QX_EIO, path, NULL, -1, "cannot open '%s': %s", path,
                          strerror(errno));
    }
    enum qx_status st = QX_OK;
    m.path = qx_mem_strdup(path);
    if (!m.path) {
        st = qx_fail_nomem(err, strlen(path) + 1);
    } else {
        st = map_fd(fd, path, &m, err);
    }
    close(fd);
    if (st != QX_OK) {
        qx_mem_free(m.path);
        return st;
    }
    *out = m;
    return QX_OK;
}

void qx_mapfile_close(struct qx_mapfile *m)
{
    if (m->data) {
        munmap((void *)(uintptr_t)m->data, m->size);
        slot_drop(m->slot);
    }
    qx_mem_free(m->path);
    *m = (struct qx_mapfile){0};
}

bool qx_mapfile_changed(const struct qx_mapfile *m)
{
    struct stat st;
    if (!m->path || stat(m->path, &st) != 0) {
        return true;
    }
    int64_t mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return (uint64_t)st.st_size != m->size || st.st_dev != m->dev || st.st_ino != m->ino ||
           mtime_ns != m->mtime_ns;
}

bool qx_mapfile_torn(const struct qx_mapfile *m)
{
    return m->data && atomic_load(&slots[m->slot].torn);
}

void qx_mapfile_dontneed(const struct qx_mapfile *m, uint64_t offset, uint64_t bytes)
{
    if (!m->data || offset >= m->size) {
        return;
    }
    uint64_t page = atomic_load(&page_bytes);
    uint64_t end = bytes > m->size - offset ? m->size : offset + bytes;
    uint64_t first = (offset + page - 1) & ~(page - 1); /* whole pages only: others may be in use */
    uint64_t last = end == m->size ? (end + page - 1) & ~(page - 1) : end & ~(page - 1);
    /* A torn file keeps its zero pages: dropping them is harmless, they fault as zeros again. */
    if (first < last) {
        madvise((void *)(uintptr_t)(m->data + first), last - first, MADV_DONTNEED);
    }
}

void qx_map_dontneed(const void *p, size_t bytes)
{
    uintptr_t at = (uintptr_t)p;
    uintptr_t page = atomic_load(&page_bytes);
    int n = atomic_load(&n_slots_used);
    for (int i = 0; i < n; i++) {
        size_t size = atomic_load(&slots[i].bytes);
        uintptr_t start = atomic_load(&slots[i].start);
        if (size == 0 || at < start || at - start >= size || bytes > size - (at - start)) {
            continue;
        }
        uintptr_t first = (at + page - 1) & ~(page - 1), last = (at + bytes) & ~(page - 1);
        if (first < last) {
            madvise((void *)first, last - first, MADV_DONTNEED);
        }
        return;
    }
}

/* A file mapped read-only, surviving truncation while mapped. */
#ifndef QX_BASE_MAPFILE_H
#define QX_BASE_MAPFILE_H

#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qx_mapfile {
    const uint8_t *data; /* NULL when the file is empty */
    uint64_t size;
    uint64_t dev, ino;
    int64_t mtime_ns;
    char *path; /* as given, owned */
    int slot;   /* place in the fault table, private */
};

/* Map a regular file. QX_EIO (missing, unreadable, a directory, a device), QX_ENOMEM. */
enum qx_status qx_mapfile_open(const char *path, struct qx_mapfile *out, struct qx_error *err);
void qx_mapfile_close(struct qx_mapfile *m); /* struct is zero afterwards; zero struct allowed */

/* Size, mtime, inode differ from when it was mapped, or the path is gone. */
bool qx_mapfile_changed(const struct qx_mapfile *m);
/* A read past the end of the shrunken file was caught (since mapping). */
bool qx_mapfile_torn(const struct qx_mapfile *m);
/* Drop clean pages of [offset, offset+bytes) from this process's resident set. */
void qx_mapfile_dontneed(const struct qx_mapfile *m, uint64_t offset, uint64_t bytes);
/* The same for memory that may belong to a map: whole pages inside [p, p+bytes) of a map are dropped and
 * come again when read, other memory stays. Any thread; for streams that read a large file once. */
void qx_map_dontneed(const void *p, size_t bytes);

#endif

/* Files: whole reads, atomic writes, folders, locks. */
#ifndef QX_BASE_FS_H
#define QX_BASE_FS_H

#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole file into a fresh NUL-terminated buffer (free with qx_mem_free). QX_EIO; QX_ERANGE when
 * larger than max_bytes. */
enum qx_status qx_fs_read(const char *path, size_t max_bytes, char **out, size_t *len,
                          struct qx_error *err);
/* Write through a temporary file in the same folder, fsync, rename. On failure the old file stands
 * and the temporary is gone. QX_ENOSPC (disk or quota full), QX_EIO (read-only folder and the rest). */
enum qx_status qx_fs_write_atomic(const char *path, const void *data, size_t len,
                                  struct qx_error *err);
/* The same for streamed output: begin, any number of writes, then commit or abort. An existing path
 * that is a device or pipe is written directly. */
struct qx_fs_out;
enum qx_status qx_fs_out_begin(const char *path, struct qx_fs_out **out, struct qx_error *err);
enum qx_status qx_fs_out_write(struct qx_fs_out *o, const void *data, size_t len,
                               struct qx_error *err);
enum qx_status qx_fs_out_commit(struct qx_fs_out *o, struct qx_error *err); /* frees o always */
void qx_fs_out_abort(struct qx_fs_out *o);                                  /* NULL allowed */

enum qx_status qx_fs_mkdirs(const char *path, struct qx_error *err);
bool qx_fs_exists(const char *path);
bool qx_fs_is_dir(const char *path);
/* "a" + "b" -> "a/b"; "" or absolute b handled; fresh string, NULL when out of memory. */
char *qx_fs_join(const char *dir, const char *name);
const char *qx_fs_basename(const char *path);
/* Names in a folder, natural order, without "." and ".."; array and strings in the arena. */
struct qx_arena;
enum qx_status qx_fs_list(const char *dir, struct qx_arena *arena, char ***names, size_t *n,
                          struct qx_error *err);
/* Advisory lock file. *fd = -1 and QX_OK when another process holds it. Release by close(fd). */
enum qx_status qx_fs_lock(const char *path, int *fd, struct qx_error *err);

double qx_clock_s(void); /* monotonic seconds */

#endif

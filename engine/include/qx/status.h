/* Status codes and the error record that every fallible engine function fills. */
#ifndef QX_STATUS_H
#define QX_STATUS_H

#include <stdint.h>

/* One row per status: enumerator, short meaning. */
#define QX_STATUS_LIST(X)                                   \
    X(OK, "success")                                        \
    X(ENOMEM, "out of memory")                              \
    X(EIO, "the operating system refused a file operation") \
    X(ENOSPC, "no space left on the device")                \
    X(EFORMAT, "the file breaks a rule of its format")      \
    X(EDATA, "the data cannot serve this purpose")          \
    X(ENAME, "unknown name")                                \
    X(ERANGE, "a value lies outside its range")             \
    X(EUNSUPPORTED, "valid, but not supported here")        \
    X(ECANCELLED, "cancelled by the user")                  \
    X(EBUG, "a defect in qexplore")

enum qx_status {
#define QX_STATUS_ENUM(name, text) QX_##name,
    QX_STATUS_LIST(QX_STATUS_ENUM)
#undef QX_STATUS_ENUM
};

/* What went wrong, finished for the user.
 *   text    one sentence: what failed, where, why, what to do next; no trailing newline
 *   file, tensor  "" when they do not apply
 *   offset  byte offset in `file`, -1 when it does not apply
 *   line    1-based line in `file`, 0 when it does not apply
 * Functions take `struct qx_error *err` last; NULL is allowed; untouched on success. */
struct qx_error {
    enum qx_status status;
    char text[512];
    char file[256];
    char tensor[160];
    int64_t offset;
    int line;
};

/* Short meaning of a status ("out of memory"). Never NULL. Any thread. */
const char *qx_status_text(enum qx_status status);

#endif

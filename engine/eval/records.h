/* Texts with labels from a file: TSV, CSV (RFC 4180, or with semicolons), or JSON lines; or texts alone, one a line. */
#ifndef QX_EVAL_RECORDS_H
#define QX_EVAL_RECORDS_H

#include "qx/status.h"

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qx_record {
    const char *text; /* len bytes of valid UTF-8, NUL-terminated */
    size_t len;
    const char *label; /* as written; NULL without a label column */
    int64_t line;      /* where it begins in the file, from 1 */
};
struct qx_records {
    struct qx_arena arena; /* of the texts */
    struct qx_record *row; /* [n]; owned */
    int64_t n;
    char text_column[64], label_column[64]; /* name, or number from 1; label: "" = none */
    bool is_guessed;                        /* one of them was not named */
};

/* Does the name end like a file of records (.tsv .csv .jsonl .ndjson .txt)? */
bool qx_records_is_file(const char *path);
/* All records. text_column, label_column: a name of the first line (of an object, in JSON lines) or a
 * number from 1; NULL = guessed: a well-known name, else the column of the longest texts, and of those
 * left the one of the fewest different values. A first line is a header when it holds a name that was
 * asked for or a well-known one.
 * QX_EIO, QX_ENOMEM, QX_ERANGE (more than 1 GiB); QX_EDATA names line and column: a line with more or
 * fewer fields, an unclosed quote, text that is no UTF-8, no such column, nothing to read. */
enum qx_status qx_records_read(const char *path, const char *text_column, const char *label_column,
                               struct qx_records *out, struct qx_error *err);
void qx_records_release(struct qx_records *r); /* zeroed struct allowed */

#endif

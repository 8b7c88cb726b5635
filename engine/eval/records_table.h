/* A file of records as a table of fields, before anyone knows which column is which. */
#ifndef QX_EVAL_RECORDS_TABLE_H
#define QX_EVAL_RECORDS_TABLE_H

#include "eval/records.h"

#include "base/buf.h"

struct qx_field {
    const char *text; /* in the arena; NULL: the object has no such member */
    size_t len;
};
struct qx_table {
    struct qx_arena *arena;
    const char *path;
    struct qx_buf fields; /* of struct qx_field, row after row */
    struct qx_buf lines;  /* of int64_t, a row each */
    int64_t n_rows, n_columns;
    const char **names; /* [n_columns] in the arena, of JSON lines; else NULL */
};
const struct qx_field *qx_table_at(const struct qx_table *t, int64_t row, int64_t column);
/* Ends the row that began at `line`: QX_EDATA when it has another number of fields than the first. */
enum qx_status qx_table_row(struct qx_table *t, int64_t line, struct qx_error *err);
enum qx_status qx_table_field(struct qx_table *t, const char *text, size_t len, int64_t line,
                              struct qx_error *err);

/* The readers: text[len] is the whole file. */
enum qx_status qx_table_read_tsv(struct qx_table *t, const char *text, size_t len,
                                 struct qx_error *err);
enum qx_status qx_table_read_lines(struct qx_table *t, const char *text, size_t len,
                                   struct qx_error *err);
enum qx_status qx_table_read_csv(struct qx_table *t, const char *text, size_t len,
                                 struct qx_error *err);
enum qx_status qx_table_read_jsonl(struct qx_table *t, const char *text, size_t len,
                                   struct qx_error *err);

#endif

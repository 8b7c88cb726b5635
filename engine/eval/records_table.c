/* Readers of tables: TSV (no quotes, as most data sets have it), CSV (RFC 4180, or with semicolons), JSON
 * lines. */
#include "eval/records_table.h"

#include "qx/json.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum { MAX_COLUMNS = 1024 };

const struct qx_field *qx_table_at(const struct qx_table *t, int64_t row, int64_t column)
{
    return (const struct qx_field *)(const void *)t->fields.data + row * t->n_columns + column;
}

static int64_t fields_open(const struct qx_table *t)
{
    return (int64_t)(t->fields.len / sizeof(struct qx_field)) - t->n_rows * t->n_columns;
}

enum qx_status qx_table_field(struct qx_table *t, const char *text, size_t len, int64_t line,
                              struct qx_error *err)
{
    struct qx_field f = {NULL, len};
    const int64_t column = fields_open(t) + 1;
    if (text && (!qx_utf8_valid(text, len) || memchr(text, '\0', len))) {
        return qx_fail(err, QX_EDATA,
                       "%s: line %lld, column %lld is no UTF-8 text; convert the file with iconv",
                       t->path, (long long)line, (long long)column);
    }
    if (column > MAX_COLUMNS) {
        return qx_fail(err, QX_EDATA, "%s: line %lld has more than %d columns", t->path,
                       (long long)line, MAX_COLUMNS);
    }
    if (text && !(f.text = qx_arena_strndup(t->arena, text, len))) {
        return qx_fail_nomem(err, len);
    }
    qx_buf_add(&t->fields, &f, sizeof f);
    return t->fields.oom ? qx_fail_nomem(err, t->fields.len) : QX_OK;
}

enum qx_status qx_table_row(struct qx_table *t, int64_t line, struct qx_error *err)
{
    if (t->n_rows == 0) {
        t->n_columns = fields_open(t);
    }
    if (fields_open(t) != t->n_columns) {
        return qx_fail(err, QX_EDATA, "%s: line %lld has %lld columns; the first line has %lld",
                       t->path, (long long)line, (long long)fields_open(t),
                       (long long)t->n_columns);
    }
    t->n_rows++;
    qx_buf_add(&t->lines, &line, sizeof line);
    return t->lines.oom ? qx_fail_nomem(err, t->lines.len) : QX_OK;
}

/* Lines with anything in them, cut into fields at `separator` (0: not cut). */
static enum qx_status lines_read(struct qx_table *t, const char *text, size_t len, char separator,
                                 struct qx_error *err)
{
    enum qx_status st = QX_OK;
    int64_t line = 1;
    for (size_t at = 0; at < len && st == QX_OK; line++) {
        const char *end = memchr(text + at, '\n', len - at);
        const size_t stop = end ? (size_t)(end - text) : len;
        const size_t n = stop > at && text[stop - 1] == '\r' ? stop - 1 : stop;
        for (size_t from = at; n > at && from <= n && st == QX_OK;) {
            const char *cut = separator ? memchr(text + from, separator, n - from) : NULL;
            const size_t to = cut ? (size_t)(cut - text) : n;
            st = qx_table_field(t, text + from, to - from, line, err);
            from = to + 1;
        }
        st = n > at && st == QX_OK ? qx_table_row(t, line, err) : st;
        at = stop + 1;
    }
    return st;
}

enum qx_status qx_table_read_tsv(struct qx_table *t, const char *text, size_t len,
                                 struct qx_error *err)
{
    return lines_read(t, text, len, '\t', err);
}

enum qx_status qx_table_read_lines(struct qx_table *t, const char *text, size_t len,
                                   struct qx_error *err)
{
    return lines_read(t, text, len, '\0', err);
}

/* Spreadsheets write semicolons where the comma is the decimal sign: a first line with semicolons and no
 * comma, quotes aside, says so. */
static char csv_separator(const char *text, size_t len)
{
    bool is_quoted = false, has_semicolon = false;
    for (size_t i = 0; i < len && (is_quoted || text[i] != '\n'); i++) {
        is_quoted ^= text[i] == '"';
        if (!is_quoted && text[i] == ',') {
            return ',';
        }
        has_semicolon |= !is_quoted && text[i] == ';';
    }
    return has_semicolon ? ';' : ',';
}

/* One field from *at on, its quotes taken off; *at behind it. */
static enum qx_status csv_field(struct qx_table *t, const char *text, size_t len, char separator,
                                size_t *at, int64_t *line, struct qx_error *err)
{
    const int64_t first = *line;
    struct qx_buf field = {0};
    bool is_closed = true;
    size_t i = *at;
    if (i < len && text[i] == '"') {
        is_closed = false;
        for (i++; i < len && !is_closed; i++) {
            *line += text[i] == '\n';
            if (text[i] != '"') {
                qx_buf_add(&field, text + i, 1);
            } else if (i + 1 < len && text[i + 1] == '"') {
                qx_buf_add(&field, text + i++, 1);
            } else {
                is_closed = true;
            }
        }
    }
    size_t to = i;
    while (to < len && text[to] != separator && text[to] != '\n') {
        to++;
    }
    size_t n = to - i;
    n -= n > 0 && text[to - 1] == '\r' && (to == len || text[to] == '\n');
    qx_buf_add(&field, text + i, n);
    *at = to;
    enum qx_status st = QX_OK;
    if (!is_closed) {
        st = qx_fail(err, QX_EDATA, "%s: the quote that opens in line %lld is never closed",
                     t->path, (long long)first);
    } else if (field.oom) {
        st = qx_fail_nomem(err, field.len);
    } else {
        st = qx_table_field(t, field.data ? field.data : "", field.len, first, err);
    }
    qx_buf_release(&field);
    return st;
}

enum qx_status qx_table_read_csv(struct qx_table *t, const char *text, size_t len,
                                 struct qx_error *err)
{
    const char separator = csv_separator(text, len);
    enum qx_status st = QX_OK;
    int64_t line = 1;
    for (size_t at = 0; at < len && st == QX_OK; line++) {
        const int64_t first = line;
        if (text[at] == '\n' || (text[at] == '\r' && at + 1 < len && text[at + 1] == '\n')) {
            at += text[at] == '\r' ? 2 : 1;
            continue;
        }
        st = csv_field(t, text, len, separator, &at, &line, err);
        while (st == QX_OK && at < len && text[at] == separator) {
            at++;
            st = csv_field(t, text, len, separator, &at, &line, err);
        }
        st = st == QX_OK ? qx_table_row(t, first, err) : st;
        at++;
    }
    return st;
}

/* ---- JSON lines: the columns are the members of the first object ---- */

static enum qx_status names_take(struct qx_table *t, const struct qx_jval *object, int64_t line,
                                 struct qx_error *err)
{
    const size_t n = qx_jlen(object);
    if (n == 0 || n > MAX_COLUMNS) {
        return qx_fail(err, QX_EDATA, "%s: the object of line %lld has %zu members, not 1 to %d",
                       t->path, (long long)line, n, MAX_COLUMNS);
    }
    t->names = qx_arena_array(t->arena, n, sizeof *t->names);
    if (!t->names) {
        return qx_fail_nomem(err, n * sizeof *t->names);
    }
    int64_t i = 0;
    for (const struct qx_jval *v = qx_jfirst(object); v; v = qx_jnext(v)) {
        t->names[i] = qx_arena_strdup(t->arena, qx_jkey(v));
        if (!t->names[i++]) {
            return qx_fail_nomem(err, strlen(qx_jkey(v)));
        }
    }
    t->n_columns = i;
    return QX_OK;
}

static enum qx_status object_read(struct qx_table *t, const struct qx_jval *object, int64_t line,
                                  struct qx_error *err)
{
    char number[32];
    enum qx_status st = t->names ? QX_OK : names_take(t, object, line, err);
    for (int64_t i = 0; i < t->n_columns && st == QX_OK; i++) {
        const struct qx_jval *v = qx_jget(object, t->names[i]);
        const char *text = qx_jstr(v, NULL);
        if (!text && qx_jis_number(v)) {
            snprintf(number, sizeof number, "%.15g", qx_jnum(v, 0));
            text = number;
        } else if (!text && qx_jis_bool(v)) {
            text = qx_jbool(v, false) ? "true" : "false";
        }
        st = qx_table_field(t, text, text ? strlen(text) : 0, line, err);
    }
    return st == QX_OK ? qx_table_row(t, line, err) : st;
}

enum qx_status qx_table_read_jsonl(struct qx_table *t, const char *text, size_t len,
                                   struct qx_error *err)
{
    enum qx_status st = QX_OK;
    char what[256];
    int64_t line = 1;
    for (size_t at = 0; at < len && st == QX_OK; line++) {
        const char *end = memchr(text + at, '\n', len - at);
        const size_t stop = end ? (size_t)(end - text) : len;
        size_t n = stop - at;
        while (n > 0 && (text[at + n - 1] == '\r' || text[at + n - 1] == ' ')) {
            n--;
        }
        struct qx_json *json = NULL;
        if (n > 0) {
            snprintf(what, sizeof what, "%.200s: line %lld", t->path, (long long)line);
            st = qx_json_parse(text + at, n, what, &json, err);
        }
        if (json && st == QX_OK) {
            st = qx_jis_object(qx_json_root(json))
                     ? object_read(t, qx_json_root(json), line, err)
                     : qx_fail(err, QX_EDATA, "%s: line %lld is no JSON object", t->path,
                               (long long)line);
        }
        qx_json_free(json);
        at = stop + 1;
    }
    return st;
}

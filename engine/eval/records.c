/* Which column is which, and the records. */
#include "eval/records_table.h"

#include "qx/text.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_BYTES = 1 << 30 };
/* A column with more different values than this holds no classes. */
enum { MAX_LABELS = 1000 };

static const struct {
    const char *ending;
    enum qx_status (*read)(struct qx_table *t, const char *text, size_t len, struct qx_error *err);
} readers[] = {{".tsv", qx_table_read_tsv},
               {".csv", qx_table_read_csv},
               {".jsonl", qx_table_read_jsonl},
               {".ndjson", qx_table_read_jsonl},
               {".txt", qx_table_read_lines}};

static const char *const text_names[] = {"text",    "sentence", "tweet", "review", "content",
                                         "comment", "message",  "body",  "title",  "premise"};
static const char *const label_names[] = {"label",    "labels",   "class",  "sentiment",
                                          "category", "target",   "intent", "emotion",
                                          "label_id", "polarity", "stars"};
enum { N_TEXT = sizeof text_names / sizeof text_names[0] };
enum { N_LABEL = sizeof label_names / sizeof label_names[0] };

static size_t reader_of(const char *path)
{
    size_t i = 0;
    while (i < sizeof readers / sizeof readers[0] && !qx_str_ends(path, readers[i].ending)) {
        i++;
    }
    return i;
}

bool qx_records_is_file(const char *path)
{
    return reader_of(path) < sizeof readers / sizeof readers[0];
}

struct columns {
    struct qx_table *t;
    int64_t first_row;   /* 1 behind a header */
    int64_t text, label; /* -1: not known */
};

static const char *name_of(const struct columns *c, int64_t column)
{
    return c->t->names        ? c->t->names[column]
           : c->first_row > 0 ? qx_table_at(c->t, 0, column)->text
                              : NULL;
}

/* Column of the first row (or member) that has the name; -1. */
static int64_t name_find(const struct qx_table *t, const char *name)
{
    for (int64_t i = 0; i < t->n_columns; i++) {
        const char *have = t->names ? t->names[i] : qx_table_at(t, 0, i)->text;
        if (strcasecmp(have, name) == 0) {
            return i;
        }
    }
    return -1;
}

static int64_t known_find(const struct qx_table *t, const char *const *names, int n)
{
    int64_t column = -1;
    for (int i = 0; i < n && column < 0; i++) {
        column = name_find(t, names[i]);
    }
    return column;
}

/* The column a user means: a number from 1, else a name; -1. */
static int64_t asked_column(const struct qx_table *t, const char *name, bool *is_name)
{
    char *end;
    const long number = strtol(name, &end, 10);
    *is_name = end == name || *end != '\0';
    if (*is_name) {
        return name_find(t, name);
    }
    return number >= 1 && number <= t->n_columns ? number - 1 : -1;
}

static enum qx_status asked_find(struct columns *c, const char *name, int64_t *column,
                                 struct qx_error *err)
{
    bool is_name = false;
    *column = name ? asked_column(c->t, name, &is_name) : -1;
    if (name && *column < 0) {
        return qx_fail(err, QX_EDATA,
                       "%s has no column '%.60s' in its first line; name one of its %lld columns "
                       "or its number from 1",
                       c->t->path, name, (long long)c->t->n_columns);
    }
    c->first_row = c->first_row || (is_name && !c->t->names);
    return QX_OK;
}

static int64_t longest_column(const struct columns *c, int64_t but)
{
    int64_t best = -1;
    double most = -1.0;
    for (int64_t i = 0; i < c->t->n_columns; i++) {
        double sum = 0.0;
        for (int64_t r = c->first_row; r < c->t->n_rows && i != but; r++) {
            sum += (double)qx_table_at(c->t, r, i)->len;
        }
        if (i != but && sum > most) {
            most = sum;
            best = i;
        }
    }
    return best;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Number of different values, MAX_LABELS + 1 for more; -1 without memory. */
static int64_t n_different(const struct columns *c, int64_t column)
{
    const int64_t n = c->t->n_rows - c->first_row;
    const char **values = qx_mem_array((size_t)n + 1, sizeof *values);
    if (!values) {
        return -1;
    }
    for (int64_t r = 0; r < n; r++) {
        const char *text = qx_table_at(c->t, c->first_row + r, column)->text;
        values[r] = text ? text : "";
    }
    qsort(values, (size_t)n, sizeof *values, by_text);
    int64_t count = n > 0;
    for (int64_t r = 1; r < n && count <= MAX_LABELS; r++) {
        count += strcmp(values[r - 1], values[r]) != 0;
    }
    qx_mem_free(values);
    return count;
}

/* The column of the fewest different values, at least two and far fewer than rows; -1: none. */
static enum qx_status label_guess(struct columns *c, struct qx_error *err)
{
    int64_t fewest = MAX_LABELS + 1;
    for (int64_t i = 0; i < c->t->n_columns; i++) {
        const int64_t n = i == c->text ? fewest : n_different(c, i);
        if (n < 0) {
            return qx_fail_nomem(err, (size_t)c->t->n_rows * sizeof(char *));
        }
        const bool is_few = n * 2 <= c->t->n_rows - c->first_row || c->t->n_columns == 2;
        if (n >= 2 && n < fewest && is_few) {
            fewest = n;
            c->label = i;
        }
    }
    return QX_OK;
}

static enum qx_status columns_find(struct columns *c, const char *text, const char *label,
                                   struct qx_error *err)
{
    const struct qx_table *t = c->t;
    const int64_t known_text = known_find(t, text_names, N_TEXT);
    const int64_t known_label = known_find(t, label_names, N_LABEL);
    c->first_row = !t->names && (known_text >= 0 || known_label >= 0);
    enum qx_status st = asked_find(c, text, &c->text, err);
    if (st == QX_OK) {
        st = asked_find(c, label, &c->label, err);
    }
    if (st == QX_OK && c->label < 0 && known_label != c->text && t->n_columns > 1) {
        c->label = known_label;
    }
    if (st == QX_OK && c->text < 0) {
        c->text =
            known_text >= 0 && known_text != c->label ? known_text : longest_column(c, c->label);
    }
    if (st == QX_OK && c->label < 0) {
        st = label_guess(c, err);
    }
    if (st == QX_OK && (c->text < 0 || c->text == c->label)) {
        st = qx_fail(err, QX_EDATA, "%s: text and label cannot be the same column", t->path);
    }
    return st;
}

static void column_text(const struct columns *c, int64_t column, char *buf, size_t cap)
{
    if (column < 0) {
        buf[0] = '\0';
    } else if (name_of(c, column)) {
        qx_str_copy(buf, cap, name_of(c, column));
    } else {
        snprintf(buf, cap, "%lld", (long long)column + 1);
    }
}

static enum qx_status rows_take(const struct columns *c, struct qx_records *out,
                                struct qx_error *err)
{
    const struct qx_table *t = c->t;
    const int64_t n = t->n_rows - c->first_row;
    if (n < 1) {
        return qx_fail(err, QX_EDATA, "%s holds no rows%s", t->path,
                       c->first_row ? " below its header" : "");
    }
    out->row = qx_mem_array((size_t)n, sizeof *out->row);
    if (!out->row) {
        return qx_fail_nomem(err, (size_t)n * sizeof *out->row);
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t r = c->first_row + i;
        const struct qx_field *text = qx_table_at(t, r, c->text);
        struct qx_record *row = &out->row[i];
        memcpy(&row->line, t->lines.data + (size_t)r * sizeof row->line, sizeof row->line);
        row->text = text->text;
        row->len = text->len;
        row->label = c->label >= 0 ? qx_table_at(t, r, c->label)->text : NULL;
        if (!row->text || (c->label >= 0 && !row->label)) {
            return qx_fail(err, QX_EDATA, "%s: line %lld has no '%.60s'", t->path,
                           (long long)row->line, name_of(c, row->text ? c->label : c->text));
        }
    }
    out->n = n;
    return QX_OK;
}

enum qx_status qx_records_read(const char *path, const char *text_column, const char *label_column,
                               struct qx_records *out, struct qx_error *err)
{
    struct qx_records records = {0};
    struct qx_table t = {.arena = &records.arena, .path = path};
    struct columns c = {.t = &t, .text = -1, .label = -1};
    char *text = NULL;
    size_t len = 0;
    enum qx_status st = qx_fs_read(path, MAX_BYTES, &text, &len, err);
    if (st == QX_OK) {
        const size_t mark = len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        st = readers[reader_of(path)].read(&t, text + mark, len - mark, err);
    }
    if (st == QX_OK && t.n_rows == 0) {
        st = qx_fail(err, QX_EDATA, "%s is empty", path);
    }
    if (st == QX_OK) {
        st = columns_find(&c, text_column, label_column, err);
    }
    if (st == QX_OK) {
        st = rows_take(&c, &records, err);
    }
    if (st == QX_OK) {
        column_text(&c, c.text, records.text_column, sizeof records.text_column);
        column_text(&c, c.label, records.label_column, sizeof records.label_column);
        records.is_guessed = !text_column || (!label_column && c.label >= 0);
        *out = records;
    } else {
        qx_records_release(&records);
    }
    qx_buf_release(&t.fields);
    qx_buf_release(&t.lines);
    qx_mem_free(text);
    return st;
}

void qx_records_release(struct qx_records *r)
{
    qx_arena_release(&r->arena);
    qx_mem_free(r->row);
    *r = (struct qx_records){0};
}

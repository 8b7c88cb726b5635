/* Texts as rows: the model's own tokenizer makes their ids when the file is opened. For a language model
 * they are documents in windows, and plain text is one document. */
#include "eval/dataset.h"

#include "eval/records.h"
#include "qx/tokenizer.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

/* Of a plain text: its ids, and a few copies on the way to them, are in memory at once. */
enum { MAX_BYTES = 256 << 20 };

/* "positive, neutral, negative", cut when it does not fit. */
static const char *classes_text(const struct qx_net *net, char *buf, size_t cap)
{
    size_t len = 0;
    buf[0] = '\0';
    for (int c = 0; c < qx_net_n_classes(net) && len + 4 < cap; c++) {
        len += (size_t)snprintf(buf + len, cap - len, "%s%s", c ? ", " : "",
                                qx_net_class_name(net, c));
    }
    return buf;
}

static enum qx_status labels_take(struct qx_dataset *d, const struct qx_net *net,
                                  const struct qx_records *r, struct qx_error *err)
{
    char names[160];
    if (!r->label_column[0] || strcmp(qx_net_task(net), "classification") != 0) {
        return QX_OK;
    }
    d->labels = qx_mem_array((size_t)r->n, sizeof *d->labels);
    if (!d->labels) {
        return qx_fail_nomem(err, (size_t)r->n * sizeof *d->labels);
    }
    for (int64_t i = 0; i < r->n; i++) {
        d->labels[i] = qx_label_class(net, r->row[i].label);
        if (d->labels[i] < 0) {
            return qx_fail_at(err, QX_EDATA, d->path, NULL, -1,
                              "%s: line %lld: the label '%.40s' (column %s) is none of the "
                              "network's classes: %s; name another column with --label-col",
                              d->path, (long long)r->row[i].line, r->row[i].label, r->label_column,
                              classes_text(net, names, sizeof names));
        }
    }
    return QX_OK;
}

/* Ids of all texts, at most max_ids (0: all) of each, and where each text's begin: *begin [n + 1]. */
static enum qx_status ids_take(struct qx_dataset *d, const struct qx_tokenizer *t,
                               const struct qx_records *r, int64_t max_ids, int64_t **begin,
                               struct qx_error *err)
{
    struct qx_ids ids = {0};
    enum qx_status st = QX_OK;
    *begin = qx_mem_array((size_t)r->n + 1, sizeof **begin);
    if (!*begin) {
        return qx_fail_nomem(err, (size_t)r->n * sizeof **begin);
    }
    for (int64_t i = 0; i < r->n && st == QX_OK; i++) {
        (*begin)[i] = ids.n;
        st = qx_tokenizer_encode(t, r->row[i].text, r->row[i].len, 0, max_ids, &ids, err);
        if (st == QX_OK && ids.n == (*begin)[i]) {
            st = qx_fail(err, QX_EDATA, "the text is empty");
        }
        if (st != QX_OK) {
            qx_error_context(err, "%s: line %lld", d->path, (long long)r->row[i].line);
        }
    }
    (*begin)[r->n] = ids.n;
    d->ids = ids.id; /* closing the data frees it, after an error too */
    return st;
}

static uint64_t hash_of(const struct qx_dataset *d, int64_t n_ids)
{
    const size_t n = (size_t)d->n, edges = d->is_documents ? 2 * n : n + 1;
    uint64_t h = qx_hash64(d->ids, (size_t)n_ids * sizeof *d->ids, 0);
    h = qx_hash64(d->first, edges * sizeof *d->first, h);
    return d->labels ? qx_hash64(d->labels, n * sizeof *d->labels, h) : h;
}

/* ---- rows of their own ---- */

static void columns_text(const struct qx_records *r, char *buf, size_t cap)
{
    snprintf(buf, cap, "text from column %s, %s%s%s", r->text_column,
             r->label_column[0] ? "labels from " : "no labels", r->label_column,
             r->is_guessed ? " (guessed)" : "");
}

static void note_write(struct qx_dataset *d, const struct qx_records *r,
                       const struct qx_tokenizer *t)
{
    char cut[96] = "", columns[192];
    int64_t n_cut = 0;
    for (int64_t i = 0; i < d->n; i++) {
        n_cut += d->first[i + 1] - d->first[i] == d->sample_size;
    }
    if (n_cut > 0) {
        snprintf(cut, sizeof cut, "; %lld texts fill all %lld places and may be cut",
                 (long long)n_cut, (long long)d->sample_size);
    }
    columns_text(r, columns, sizeof columns);
    snprintf(d->note, sizeof d->note, "%s; %s%s", columns, qx_tokenizer_kind(t), cut);
}

static enum qx_status rows_open(struct qx_dataset *d, const struct qx_net *net,
                                const struct qx_dataset_options *options,
                                const struct qx_tokenizer *t, struct qx_error *err)
{
    struct qx_records r = {0};
    enum qx_status st =
        qx_records_read(d->path, options->text_column, options->label_column, &r, err);
    if (st == QX_OK) {
        st = labels_take(d, net, &r, err);
    }
    if (st == QX_OK) {
        st = ids_take(d, t, &r, d->sample_size, &d->first, err);
    }
    if (st == QX_OK) {
        d->n = r.n;
        d->hash = hash_of(d, d->first[d->n]);
        note_write(d, &r, t);
    }
    qx_records_release(&r);
    return st;
}

/* ---- documents of a language model ---- */

static enum qx_status utf8_check(const char *path, const char *text, size_t len,
                                 struct qx_error *err)
{
    int64_t line = 1;
    for (size_t at = 0, stop; at < len; at = stop + 1, line++) {
        const char *end = memchr(text + at, '\n', len - at);
        stop = end ? (size_t)(end - text) : len;
        if (!qx_utf8_valid(text + at, stop - at)) {
            return qx_fail_at(err, QX_EDATA, path, NULL, -1,
                              "%s: line %lld is no UTF-8 text; convert the file with iconv", path,
                              (long long)line);
        }
    }
    return QX_OK;
}

/* Records, or the whole file as one. */
static enum qx_status documents_read(struct qx_dataset *d, const struct qx_dataset_options *options,
                                     const struct qx_tokenizer *t, struct qx_records *r,
                                     int64_t **begin, char *columns, size_t cap,
                                     struct qx_error *err)
{
    enum qx_status st;
    if (!qx_str_ends(d->path, ".txt")) {
        st = qx_records_read(d->path, options->text_column, options->label_column, r, err);
        columns_text(r, columns, cap);
        return st == QX_OK ? ids_take(d, t, r, 0, begin, err) : st;
    }
    char *text = NULL;
    size_t len = 0;
    struct qx_record whole = {.line = 1};
    const struct qx_records one = {.row = &whole, .n = 1};
    qx_str_copy(columns, cap, "all of the text");
    st = qx_fs_read(d->path, MAX_BYTES, &text, &len, err);
    if (st == QX_OK) {
        const size_t mark = len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        whole.text = text + mark;
        whole.len = len - mark;
        st = utf8_check(d->path, whole.text, whole.len, err);
    }
    st = st == QX_OK ? ids_take(d, t, &one, 0, begin, err) : st;
    qx_mem_free(text);
    return st;
}

static enum qx_status documents_open(struct qx_dataset *d, const struct qx_net *net,
                                     const struct qx_dataset_options *options,
                                     const struct qx_tokenizer *t, struct qx_error *err)
{
    struct qx_records r = {0};
    int64_t *begin = NULL;
    char columns[192] = "";
    enum qx_status st = documents_read(d, options, t, &r, &begin, columns, sizeof columns, err);
    const int64_t n_texts = r.row ? r.n : 1;
    if (st == QX_OK) {
        st = qx_documents_windows(d, net, begin, n_texts, err);
    }
    if (st == QX_OK) {
        d->hash = hash_of(d, begin[n_texts]);
        snprintf(d->note, sizeof d->note,
                 "%s; %s; %lld tokens, at most %lld at once, in windows that begin %lld apart",
                 columns, qx_tokenizer_kind(t), (long long)begin[n_texts], (long long)d->window,
                 (long long)d->stride);
    }
    qx_mem_free(begin);
    qx_records_release(&r);
    return st;
}

static enum qx_status texts_open(struct qx_dataset *d, const struct qx_net *net,
                                 const struct qx_dataset_options *options, struct qx_error *err)
{
    struct qx_tokenizer *t = NULL;
    if (!qx_net_input_is_sequence(net)) {
        return qx_fail_at(err, QX_EDATA, d->path, NULL, -1,
                          "%s holds texts; this network takes numbers, not tokens", d->path);
    }
    d->sample_size = qx_net_sample_size(net);
    enum qx_status st = qx_tokenizer_open(
        options->tokenizer ? options->tokenizer : qx_model_tokenizer(qx_net_model(net)), &t, err);
    if (st == QX_OK) {
        st = strcmp(qx_net_task(net), "language-modelling") == 0
                 ? documents_open(d, net, options, t, err)
                 : rows_open(d, net, options, t, err);
    }
    qx_tokenizer_close(&t);
    return st;
}

static enum qx_status texts_read(const struct qx_dataset *d, int64_t first, int64_t n, float *x,
                                 struct qx_error *err)
{
    if (d->is_documents) {
        return qx_documents_read(d, first, n, x, err);
    }
    for (int64_t row = first; row < first + n; row++, x += d->sample_size) {
        const int64_t len = d->first[row + 1] - d->first[row];
        for (int64_t i = 0; i < d->sample_size; i++) {
            x[i] = i < len ? (float)d->ids[d->first[row] + i] : -1.0f;
        }
    }
    return QX_OK;
}

const struct qx_dataset_kind qx_dataset_texts = {
    .is_file = qx_records_is_file, .open = texts_open, .read = texts_read};

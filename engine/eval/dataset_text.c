/* Texts with labels as rows: the model's own tokenizer makes their ids when the file is opened. */
#include "eval/dataset.h"

#include "eval/records.h"
#include "qx/tokenizer.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

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

static enum qx_status ids_take(struct qx_dataset *d, const struct qx_tokenizer *t,
                               const struct qx_records *r, int64_t *n_cut, struct qx_error *err)
{
    struct qx_ids ids = {0};
    enum qx_status st = QX_OK;
    d->first = qx_mem_array((size_t)r->n + 1, sizeof *d->first);
    if (!d->first) {
        return qx_fail_nomem(err, (size_t)r->n * sizeof *d->first);
    }
    for (int64_t i = 0; i < r->n && st == QX_OK; i++) {
        d->first[i] = ids.n;
        st = qx_tokenizer_encode(t, r->row[i].text, r->row[i].len, 0, d->sample_size, &ids, err);
        if (st == QX_OK && ids.n == d->first[i]) {
            st = qx_fail(err, QX_EDATA, "the text is empty");
        }
        if (st != QX_OK) {
            qx_error_context(err, "%s: line %lld", d->path, (long long)r->row[i].line);
        } else {
            *n_cut += ids.n - d->first[i] == d->sample_size;
        }
    }
    d->first[r->n] = ids.n;
    d->ids = ids.id; /* closing the data frees it, after an error too */
    d->n = r->n;
    return st;
}

static uint64_t hash_of(const struct qx_dataset *d)
{
    const size_t n = (size_t)d->n;
    uint64_t h = qx_hash64(d->ids, (size_t)d->first[n] * sizeof *d->ids, 0);
    h = qx_hash64(d->first, (n + 1) * sizeof *d->first, h);
    return d->labels ? qx_hash64(d->labels, n * sizeof *d->labels, h) : h;
}

static void note_write(struct qx_dataset *d, const struct qx_records *r,
                       const struct qx_tokenizer *t, int64_t n_cut)
{
    char cut[96] = "";
    if (n_cut > 0) {
        snprintf(cut, sizeof cut, "; %lld texts fill all %lld places and may be cut",
                 (long long)n_cut, (long long)d->sample_size);
    }
    snprintf(d->note, sizeof d->note, "text from column %s, %s%s%s; %s%s", r->text_column,
             r->label_column[0] ? "labels from " : "no labels", r->label_column,
             r->is_guessed ? " (guessed)" : "", qx_tokenizer_kind(t), cut);
}

static enum qx_status texts_open(struct qx_dataset *d, const struct qx_net *net,
                                 const struct qx_dataset_options *options, struct qx_error *err)
{
    struct qx_tokenizer *t = NULL;
    struct qx_records r = {0};
    int64_t n_cut = 0;
    if (!qx_net_input_is_sequence(net)) {
        return qx_fail_at(err, QX_EDATA, d->path, NULL, -1,
                          "%s holds texts; this network takes numbers, not tokens", d->path);
    }
    d->sample_size = qx_net_sample_size(net);
    enum qx_status st = qx_tokenizer_open(
        options->tokenizer ? options->tokenizer : qx_model_folder(qx_net_model(net)), &t, err);
    if (st == QX_OK) {
        st = qx_records_read(d->path, options->text_column, options->label_column, &r, err);
    }
    if (st == QX_OK) {
        st = labels_take(d, net, &r, err);
    }
    if (st == QX_OK) {
        st = ids_take(d, t, &r, &n_cut, err);
    }
    if (st == QX_OK) {
        d->hash = hash_of(d);
        note_write(d, &r, t, n_cut);
    }
    qx_records_release(&r);
    qx_tokenizer_close(&t);
    return st;
}

static enum qx_status texts_read(const struct qx_dataset *d, int64_t first, int64_t n, float *x,
                                 struct qx_error *err)
{
    (void)err;
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

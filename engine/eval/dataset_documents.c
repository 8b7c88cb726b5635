/* Data of language models: tokens of documents that lie one behind the other. In a file of tensors
 * (model-folder.md section 4): input_ids [n], doc_offsets [docs + 1], and optionally loss_mask [n]; of texts
 * the ids that the tokenizer made, cut into windows. */
#include "eval/dataset.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

static enum qx_status get_flat(const struct qx_dataset *d, const char *name, bool is_needed,
                               const struct qx_tensor **out, struct qx_error *err)
{
    const int64_t i = qx_model_find(d->model, name);
    *out = i >= 0 ? qx_model_tensor(d->model, i) : NULL;
    if (!*out) {
        return is_needed
                   ? qx_fail_at(err, QX_EDATA, d->path, NULL, -1,
                                "%s: there is no tensor '%s', which a language model's data needs",
                                d->path, name)
                   : QX_OK;
    }
    const struct qx_dtype_info *info = qx_dtype_get((*out)->dtype);
    if ((*out)->rank != 1 || info->is_float || !info->is_readable || (*out)->reason) {
        return qx_fail_at(err, QX_EDATA, d->path, name, -1,
                          "%s: '%s' is %s with %d axes; a list of whole numbers is needed", d->path,
                          name, info->name, (*out)->rank);
    }
    return QX_OK;
}

static int64_t offset_at(const struct qx_tensor *t, int64_t i)
{
    int64_t v;
    memcpy(&v, t->data + (size_t)i * sizeof v, sizeof v);
    return v;
}

/* Documents of at least two tokens become rows. */
static enum qx_status find_rows(struct qx_dataset *d, const struct qx_tensor *t,
                                struct qx_error *err)
{
    const int64_t n = t->numel - 1;
    if (t->dtype != QX_DTYPE_I64 || n < 1 || offset_at(t, 0) != 0 ||
        offset_at(t, n) != d->x->numel) {
        return qx_fail_at(err, QX_EDATA, d->path, t->name, -1,
                          "%s: 'doc_offsets' must be I64 and run from 0 to the %lld tokens",
                          d->path, (long long)d->x->numel);
    }
    d->first = qx_mem_array((size_t)n, 2 * sizeof *d->first);
    if (!d->first) {
        return qx_fail_nomem(err, (size_t)n * 2 * sizeof *d->first);
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = offset_at(t, i), to = offset_at(t, i + 1);
        if (to < from || to > d->x->numel) {
            return qx_fail_at(err, QX_EDATA, d->path, t->name, -1,
                              "%s: 'doc_offsets' falls from %lld to %lld at document %lld", d->path,
                              (long long)from, (long long)to, (long long)i);
        }
        if (to - from - 1 > d->sample_size) {
            return qx_fail_at(err, QX_EDATA, d->path, t->name, -1,
                              "%s: document %lld has %lld tokens; the network takes %lld and the "
                              "one behind them: cut it into shorter ones",
                              d->path, (long long)i, (long long)(to - from),
                              (long long)d->sample_size);
        }
        if (to - from >= 2) {
            d->first[2 * d->n] = from;
            d->first[2 * d->n++ + 1] = to;
        }
    }
    return d->n > 0 ? QX_OK
                    : qx_fail_at(err, QX_EDATA, d->path, t->name, -1,
                                 "%s: no document has two tokens", d->path);
}

enum qx_status qx_documents_open(struct qx_dataset *d, const struct qx_net *net,
                                 struct qx_error *err)
{
    const struct qx_tensor *offsets = NULL;
    d->is_documents = true;
    d->sample_size = qx_net_sample_size(net);
    enum qx_status st = get_flat(d, "input_ids", true, &d->x, err);
    if (st == QX_OK) {
        st = get_flat(d, "doc_offsets", true, &offsets, err);
    }
    if (st == QX_OK) {
        st = get_flat(d, "loss_mask", false, &d->mask, err);
    }
    if (st == QX_OK && d->mask && d->mask->numel != d->x->numel) {
        st = qx_fail_at(err, QX_EDATA, d->path, "loss_mask", -1,
                        "%s: 'loss_mask' has %lld values for %lld tokens", d->path,
                        (long long)d->mask->numel, (long long)d->x->numel);
    }
    return st == QX_OK ? find_rows(d, offsets, err) : st;
}

enum qx_status qx_documents_windows(struct qx_dataset *d, const struct qx_net *net,
                                    const int64_t *begin, int64_t n_texts, struct qx_error *err)
{
    int64_t most = 0;
    d->is_documents = true;
    d->window = qx_net_window(net);
    d->stride = (d->window + 1) / 2;
    for (int64_t i = 0; i < n_texts; i++) {
        most += (begin[i + 1] - begin[i]) / d->stride + 1;
    }
    d->first = qx_mem_array((size_t)most + 1, 2 * sizeof *d->first);
    d->counts_from = qx_mem_array((size_t)most + 1, sizeof *d->counts_from);
    if (!d->first || !d->counts_from) {
        return qx_fail_nomem(err, ((size_t)most + 1) * 3 * sizeof *d->first);
    }
    for (int64_t i = 0; i < n_texts; i++) {
        int64_t counted = begin[i] + 1; /* tokens before it have been predicted */
        for (int64_t from = begin[i]; counted < begin[i + 1]; from += d->stride) {
            const int64_t left = begin[i + 1] - from;
            const int64_t n = left < d->window + 1 ? left : d->window + 1;
            d->first[2 * d->n] = from;
            d->first[2 * d->n + 1] = from + n;
            d->counts_from[d->n++] = counted;
            counted = from + n;
        }
    }
    return d->n > 0 ? QX_OK
                    : qx_fail_at(err, QX_EDATA, d->path, NULL, -1, "%s: no text has two tokens",
                                 d->path);
}

/* Tokens first .. first+n-1 of all. */
static enum qx_status tokens_read(const struct qx_dataset *d, int64_t first, int64_t n, float *out,
                                  struct qx_error *err)
{
    if (!d->ids) {
        return qx_tensor_read(d->x, first, n, out, err);
    }
    for (int64_t i = 0; i < n; i++) {
        out[i] = (float)d->ids[first + i];
    }
    return QX_OK;
}

enum qx_status qx_documents_read(const struct qx_dataset *d, int64_t first, int64_t n, float *x,
                                 struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int64_t row = first; st == QX_OK && row < first + n; row++, x += d->sample_size) {
        const int64_t len = d->first[2 * row + 1] - d->first[2 * row] - 1;
        st = tokens_read(d, d->first[2 * row], len, x, err);
        for (int64_t i = 0; st == QX_OK && i < d->sample_size; i++) {
            x[i] = i >= len ? -1.0f : x[i];
            if (i < len && !(x[i] >= 0.0f)) {
                st = qx_fail_at(err, QX_EDATA, d->path, "input_ids", -1,
                                "%s: token %lld is %.9g; ids count from 0", d->path,
                                (long long)(d->first[2 * row] + i), (double)x[i]);
            }
        }
    }
    return st;
}

int64_t qx_documents_places(const struct qx_dataset *d, int64_t row)
{
    return d->first[2 * row + 1] - d->first[2 * row] - 1;
}

enum qx_status qx_documents_next(const struct qx_dataset *d, int64_t row, float *next,
                                 float *counts, struct qx_error *err)
{
    const int64_t n = qx_documents_places(d, row), from = d->first[2 * row] + 1;
    enum qx_status st = tokens_read(d, from, n, next, err);
    if (st == QX_OK && d->mask) {
        return qx_tensor_read(d->mask, from, n, counts, err);
    }
    for (int64_t i = 0; i < n; i++) {
        counts[i] = !d->counts_from || from + i >= d->counts_from[row] ? 1.0f : 0.0f;
    }
    return st;
}

/* The row in which token `at` counts; -1. */
static int64_t row_of(const struct qx_dataset *d, int64_t at)
{
    for (int64_t row = 0; row < d->n; row++) {
        const int64_t from = d->counts_from ? d->counts_from[row] : d->first[2 * row] + 1;
        if (at >= from && at < d->first[2 * row + 1]) {
            return row;
        }
    }
    return -1;
}

enum qx_status qx_dataset_before(const struct qx_dataset *data, int64_t at, int64_t most,
                                 int32_t *ids, int64_t *n, struct qx_error *err)
{
    enum { PIECE = 64 };
    float piece[PIECE];
    if (!data->is_documents) {
        return qx_fail(err, QX_EUNSUPPORTED, "%s holds no documents of tokens", data->path);
    }
    const int64_t row = row_of(data, at);
    if (row < 0) {
        return qx_fail(err, QX_ERANGE, "%s: token %lld is not among those that count", data->path,
                       (long long)at);
    }
    const int64_t begin = data->first[2 * row];
    const int64_t from = at - begin > most ? at - most : begin;
    enum qx_status st = QX_OK;
    for (int64_t i = from; st == QX_OK && i < at; i += PIECE) {
        const int64_t k = at - i < PIECE ? at - i : PIECE;
        st = tokens_read(data, i, k, piece, err);
        for (int64_t j = 0; st == QX_OK && j < k; j++) {
            ids[i - from + j] = (int32_t)piece[j];
        }
    }
    *n = at - from;
    return st;
}

/* Rows to measure on, from whatever file they are in: one row of the table for each kind of file. */
#include "eval/dataset.h"

#include "base/error.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static const struct qx_dataset_kind *const kinds[] = {&qx_dataset_self, &qx_dataset_texts,
                                                      &qx_dataset_images, &qx_dataset_tensors};

static const struct qx_dataset_kind *kind_of(const char *path)
{
    int i = 0;
    while (kinds[i]->is_file && !kinds[i]->is_file(path)) {
        i++;
    }
    return kinds[i];
}

enum qx_status qx_dataset_open_with(const char *path, const struct qx_net *net,
                                    const struct qx_dataset_options *options,
                                    struct qx_dataset **out, struct qx_error *err)
{
    static const struct qx_dataset_options defaults;
    struct qx_dataset *d = qx_mem_zalloc(sizeof *d);
    if (!d) {
        return qx_fail_nomem(err, sizeof *d);
    }
    d->kind = kind_of(path);
    d->path = qx_mem_strdup(path);
    const enum qx_status st = d->path ? d->kind->open(d, net, options ? options : &defaults, err)
                                      : qx_fail_nomem(err, sizeof *d);
    if (st != QX_OK) {
        qx_dataset_close(&d);
        return st;
    }
    snprintf(d->hash_text, sizeof d->hash_text, "%016llx", (unsigned long long)d->hash);
    *out = d;
    return QX_OK;
}

enum qx_status qx_dataset_open(const char *path, const struct qx_net *net, struct qx_dataset **out,
                               struct qx_error *err)
{
    return qx_dataset_open_with(path, net, NULL, out, err);
}

void qx_dataset_close(struct qx_dataset **data)
{
    if (!data || !*data) {
        return;
    }
    qx_model_close(&(*data)->model);
    qx_mem_free((*data)->labels);
    qx_mem_free((*data)->ids);
    qx_mem_free((*data)->first);
    qx_mem_free((*data)->counts_from);
    qx_mem_free((*data)->bytes);
    qx_mem_free((*data)->path);
    qx_mem_free(*data);
    *data = NULL;
}

bool qx_dataset_windows(const struct qx_dataset *data, int64_t *window, int64_t *stride)
{
    *window = data->window;
    *stride = data->stride;
    return data->window > 0;
}

int64_t qx_dataset_n(const struct qx_dataset *data)
{
    return data->n;
}

const char *qx_dataset_path(const struct qx_dataset *data)
{
    return data->path;
}

const char *qx_dataset_hash(const struct qx_dataset *data)
{
    return data->hash_text;
}

const char *qx_dataset_note(const struct qx_dataset *data)
{
    return data->note;
}

int qx_dataset_label(const struct qx_dataset *data, int64_t row)
{
    return data->labels && row >= 0 && row < data->n ? data->labels[row] : -1;
}

enum qx_status qx_dataset_read(const struct qx_dataset *data, int64_t first, int64_t n, float *x,
                               struct qx_error *err)
{
    if (first < 0 || n < 0 || first > data->n - n) {
        return qx_fail(err, QX_ERANGE, "rows %lld to %lld of %lld were asked for", (long long)first,
                       (long long)(first + n), (long long)data->n);
    }
    return data->kind->read(data, first, n, x, err);
}

enum qx_status qx_dataset_next(const struct qx_dataset *data, int64_t row, float *next,
                               float *counts, int64_t *n, struct qx_error *err)
{
    if (!data->is_documents || row < 0 || row >= data->n) {
        return qx_fail(err, QX_EUNSUPPORTED, "%s holds no document %lld", data->path,
                       (long long)row);
    }
    *n = qx_documents_places(data, row);
    return qx_documents_next(data, row, next, counts, err);
}

enum qx_status qx_dataset_need_labels(const struct qx_dataset *data, struct qx_error *err)
{
    return data->labels
               ? QX_OK
               : qx_fail(err, QX_EDATA,
                         "%.150s holds no labels, which accuracy and training need: a tensor "
                         "'labels', the column that --label-col names, or the file of "
                         "labels beside idx images",
                         data->path);
}

int qx_label_class(const struct qx_net *net, const char *label)
{
    char *end;
    const int n = qx_net_n_classes(net);
    for (int c = 0; c < n; c++) {
        if (strcasecmp(qx_net_class_name(net, c), label) == 0) {
            return c;
        }
    }
    const long number = strtol(label, &end, 10);
    return end != label && *end == '\0' && number >= 0 && number < n ? (int)number : -1;
}

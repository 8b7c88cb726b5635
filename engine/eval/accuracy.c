/* Accuracy of a network on labelled rows. */
#include "eval/dataset.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "eval/nonfinite.h"
#include "eval/rows.h"
#include "eval/score.h"
#include "eval/words.h"

#include <math.h>
#include <string.h>

/* Input values read at once: rows are run in chunks of about this size. */
#define CHUNK_FLOATS (INT64_C(1) << 22)
#define CHUNK_ROWS   4096

void qx_wilson(int64_t correct, int64_t n, double *lo, double *hi)
{
    if (n <= 0) {
        *lo = 0.0;
        *hi = 1.0;
        return;
    }
    const double z = 1.96, p = (double)correct / (double)n, zz = z * z / (double)n;
    const double centre = (p + zz / 2.0) / (1.0 + zz);
    const double half = z * sqrt(p * (1.0 - p) / (double)n + zz / (4.0 * (double)n)) / (1.0 + zz);
    *lo = centre - half < 0.0 || correct == 0 ? 0.0 : centre - half;
    *hi = centre + half > 1.0 || correct == n ? 1.0 : centre + half;
}

/* Class of the largest logit, the lowest on a tie; NaN is never the largest. */
int32_t qx_score_class(const float *logits, int n_classes)
{
    int32_t best = 0;
    for (int32_t c = 1; c < n_classes; c++) {
        best = logits[c] > logits[best] || (isnan(logits[best]) && !isnan(logits[c])) ? c : best;
    }
    return best;
}

/* Logit of the label minus the largest other one. */
float qx_score_margin(const float *logits, int n_classes, int32_t label)
{
    float other = -INFINITY;
    for (int32_t c = 0; c < n_classes; c++) {
        other = c != label && logits[c] > other ? logits[c] : other;
    }
    return logits[label] - other;
}

/* F1 of each class that occurs as label or as prediction, averaged; 0/0 counts as 0. */
static enum qx_status macro_f1(const struct qx_eval_result *r, int n_classes, double *out,
                               struct qx_error *err)
{
    int64_t *count = qx_mem_zalloc((size_t)n_classes * 3 * sizeof *count);
    if (!count) {
        return qx_fail_nomem(err, (size_t)n_classes * 3 * sizeof *count);
    }
    int64_t *hits = count, *labels = count + n_classes, *predictions = count + 2 * n_classes;
    for (int64_t i = 0; i < r->n; i++) {
        hits[r->label[i]] += r->label[i] == r->predicted[i];
        labels[r->label[i]]++;
        predictions[r->predicted[i]]++;
    }
    double sum = 0.0;
    int n = 0;
    for (int c = 0; c < n_classes; c++) {
        const int64_t both = labels[c] + predictions[c];
        sum += both > 0 ? 2.0 * (double)hits[c] / (double)both : 0.0;
        n += both > 0;
    }
    qx_mem_free(count);
    *out = n ? sum / n : 0.0;
    return QX_OK;
}

enum qx_status qx_score_new(int64_t n, struct qx_eval_result **out, struct qx_error *err)
{
    struct qx_eval_result *r = qx_mem_zalloc(sizeof *r);
    if (!r) {
        return qx_fail_nomem(err, sizeof *r);
    }
    r->n = n;
    r->ce = r->perplexity = r->perplexity_error = NAN;
    r->rows = qx_mem_array((size_t)n, sizeof *r->rows);
    r->predicted = qx_mem_array((size_t)n, sizeof *r->predicted);
    r->margin = qx_mem_array((size_t)n, sizeof *r->margin);
    r->label = qx_mem_array((size_t)n, sizeof *r->label);
    if (!r->rows || !r->predicted || !r->margin || !r->label) {
        qx_eval_result_free(r);
        return qx_fail_nomem(err, (size_t)n * sizeof *r->rows);
    }
    *out = r;
    return QX_OK;
}

void qx_eval_result_free(struct qx_eval_result *r)
{
    if (r) {
        qx_mem_free(r->rows);
        qx_mem_free(r->predicted);
        qx_mem_free(r->margin);
        qx_mem_free(r->label);
        qx_mem_free(r->nll);
        qx_mem_free(r->kl);
        qx_mem_free(r);
    }
}

enum qx_status qx_eval_result_new(const struct qx_net *net, const struct qx_dataset *data,
                                  struct qx_eval_result **out, struct qx_error *err)
{
    struct qx_eval_result *r = NULL;
    if (data->is_documents) {
        return qx_words_new(net, data, 0, out, err);
    }
    const enum qx_status st = qx_score_new(qx_dataset_n(data), &r, err);
    for (int64_t i = 0; st == QX_OK && i < r->n; i++) {
        r->rows[i] = i;
        r->label[i] = qx_dataset_label(data, i);
    }
    if (st == QX_OK) {
        *out = r;
    }
    return st;
}

enum qx_status qx_eval_result_finish(struct qx_eval_result *r, struct qx_error *err)
{
    r->correct = 0;
    for (int64_t i = 0; i < r->n; i++) {
        r->correct += r->predicted[i] == r->label[i];
    }
    r->accuracy = (double)r->correct / (double)r->n;
    qx_wilson(r->correct, r->n, &r->ci_lo, &r->ci_hi);
    return r->nll ? qx_words_finish(r, err) : QX_OK;
}

enum qx_status qx_score_read(const struct qx_dataset *data, const struct qx_eval_result *r,
                             int64_t first, int64_t n, int64_t sample, float *x,
                             struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int64_t i = 0; st == QX_OK && i < n;) {
        int64_t run = 1;
        while (i + run < n && r->rows[first + i + run] == r->rows[first + i] + run) {
            run++;
        }
        st = qx_dataset_read(data, r->rows[first + i], run, x + i * sample, err);
        i += run;
    }
    return st;
}

void qx_score_rows(const struct qx_dataset *data, struct qx_eval_result *r, int64_t first,
                   int64_t n, const float *logits, int n_classes)
{
    for (int64_t i = first; i < first + n; i++) {
        const float *row = logits + (i - first) * n_classes;
        r->label[i] = qx_dataset_label(data, r->rows[i]);
        r->predicted[i] = qx_score_class(row, n_classes);
        r->margin[i] = qx_score_margin(row, n_classes, r->label[i]);
        r->correct += r->predicted[i] == r->label[i];
    }
}

/* Rows with a logit that is NaN. */
static int64_t count_nan(const float *logits, int64_t n, int n_classes)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < n; i++) {
        int c = 0;
        while (c < n_classes && !isnan(logits[i * n_classes + c])) {
            c++;
        }
        rows += c < n_classes;
    }
    return rows;
}

/* Run all chosen rows, chunk by chunk. */
static enum qx_status run_all(const struct qx_net *net, const struct qx_dataset *data,
                              struct qx_weights *w, struct qx_pool *pool, struct qx_ctl *ctl,
                              struct qx_eval_result *r, struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(net);
    const int n_classes = qx_net_n_classes(net);
    int64_t n_nan = 0;
    int64_t chunk = CHUNK_FLOATS / sample / 64 * 64;
    chunk = chunk < 64 ? 64 : chunk > CHUNK_ROWS ? CHUNK_ROWS : chunk;
    chunk = chunk > r->n ? r->n : chunk;
    float *x = qx_mem_array((size_t)chunk, (size_t)sample * sizeof *x);
    float *logits = qx_mem_array((size_t)chunk, (size_t)n_classes * sizeof *logits);
    enum qx_status st =
        x && logits ? QX_OK : qx_fail_nomem(err, (size_t)(chunk * sample) * sizeof *x);
    for (int64_t first = 0; st == QX_OK && first < r->n; first += chunk) {
        const int64_t n = chunk < r->n - first ? chunk : r->n - first;
        st = qx_score_read(data, r, first, n, sample, x, err);
        if (st == QX_OK) {
            st = qx_net_run(net, w, x, n, logits, &r->report, pool, ctl, err);
        }
        if (st == QX_OK) {
            qx_score_rows(data, r, first, n, logits, n_classes);
            n_nan += count_nan(logits, n, n_classes);
        }
    }
    if (st == QX_OK) { /* NaN in the data is the row's own: it loses */
        st = qx_fail_nonfinite(net, n_nan, r->n, "rows", err);
    }
    if (st == QX_OK && n_nan == r->n) {
        st = qx_fail(
            err, QX_EDATA,
            "all %lld rows come out as no numbers, so there is nothing to measure: look for "
            "NaN in the data, and for weights too large for float32",
            (long long)r->n);
    }
    qx_mem_free(x);
    qx_mem_free(logits);
    return st;
}

/* `want` of the measured rows, evenly spread, on both engines, a few at a time. */
static enum qx_status compare(const struct qx_net *net, const struct qx_dataset *data,
                              const struct qx_weights *w, int64_t want, struct qx_pool *pool,
                              struct qx_ctl *ctl, struct qx_eval_result *r, struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(net), step = qx_net_tile_rows(net);
    const int64_t n_nonfinite = r->report.n_nonfinite, n_all = want < r->n ? want : r->n;
    struct qx_ctl silent = {.parent = NULL};
    enum qx_status st = QX_OK;
    float *x = qx_mem_array((size_t)step, (size_t)sample * sizeof *x);
    if (!x) {
        return qx_fail_nomem(err, (size_t)(step * sample) * sizeof *x);
    }
    for (int64_t first = 0; st == QX_OK && first < n_all; first += step) {
        const int64_t n = step < n_all - first ? step : n_all - first;
        for (int64_t i = 0; st == QX_OK && i < n; i++) {
            st = qx_dataset_read(data, r->rows[(first + i) * r->n / n_all], 1, x + i * sample, err);
        }
        if (st == QX_OK && qx_cancel_test(ctl)) {
            st = qx_fail(err, QX_ECANCELLED, "the measurement was cancelled");
        }
        if (st == QX_OK) {
            st = qx_net_compare(net, w, x, n, &r->report, pool, &silent, err);
        }
    }
    r->report.n_nonfinite = n_nonfinite;
    qx_mem_free(x);
    return st;
}

enum qx_status qx_eval_run(const struct qx_net *net, const struct qx_dataset *data,
                           struct qx_weights *w, const struct qx_eval_options *options,
                           struct qx_pool *pool, struct qx_ctl *ctl, struct qx_eval_result **out,
                           struct qx_error *err)
{
    const double start = qx_clock_s();
    const int64_t all = qx_dataset_n(data), most = options ? options->max_samples : 0;
    struct qx_eval_result *r = NULL;
    if (data->is_documents) {
        return qx_words_run(net, data, w, options, pool, ctl, out, err);
    }
    if (strcmp(qx_net_task(net), "embedding") == 0) {
        return qx_fail(err, QX_EDATA,
                       "An encoder without a classifier has no accuracy: Compare and `eval` set "
                       "its embeddings beside FP32's.");
    }
    enum qx_status st = qx_dataset_need_labels(data, err);
    if (st == QX_OK) {
        st = qx_score_new(most > 0 && most < all ? most : all, &r, err);
    }
    if (st != QX_OK) {
        return st;
    }
    qx_rows_draw(all, r->n, options ? options->seed : 0, r->rows);
    qx_ctl_total(ctl, r->n * QX_ROW_STEPS);
    st = qx_weights_prepare(w, options ? options->engine : QX_ENGINE_AUTO, pool, ctl, err);
    if (st == QX_OK) {
        r->engine = qx_weights_engine(w);
        st = run_all(net, data, w, pool, ctl, r, err);
    }
    r->time_s = qx_clock_s() - start;
    if (st == QX_OK && options && options->compare_rows > 0 && r->engine == QX_ENGINE_INTEGER) {
        st = compare(net, data, w, options->compare_rows, pool, ctl, r, err);
    }
    if (st == QX_OK) {
        st = macro_f1(r, qx_net_n_classes(net), &r->macro_f1, err);
    }
    if (st == QX_OK) {
        st = qx_eval_result_finish(r, err);
    }
    if (st != QX_OK) {
        qx_eval_result_free(r);
        return st;
    }
    *out = r;
    return QX_OK;
}

#include "method/teach.h"

#include "base/error.h"
#include "base/mem.h"
#include "method/loss.h"

#include <string.h>

/* Answers of a row at most. */
static int64_t answers(const struct qx_batch *b)
{
    return b->is_words ? b->sample : 1;
}

enum qx_status qx_batch_new(struct qx_batch *b, const struct qx_net *net, int64_t most,
                            bool has_teacher, struct qx_error *err)
{
    *b = (struct qx_batch){.net = net,
                           .is_words = qx_net_is_words(net),
                           .classes = qx_net_n_classes(net),
                           .most = most,
                           .sample = qx_net_sample_size(net)};
    const size_t sample = (size_t)b->sample;
    size_t n, floats;
    if (!qx_size_mul((size_t)most, (size_t)answers(b), &n) ||
        !qx_size_mul(n, (size_t)b->classes * sizeof *b->q, &floats)) {
        return qx_fail_nomem(err, SIZE_MAX);
    }
    b->x = qx_mem_array((size_t)most, sample * sizeof *b->x);
    b->labels = qx_mem_array(n, sizeof *b->labels);
    b->right = qx_mem_zalloc((size_t)most * sizeof *b->right);
    b->next = b->is_words ? qx_mem_array(sample, 2 * sizeof *b->next) : NULL;
    b->q = has_teacher ? qx_mem_alloc(floats) : NULL;
    b->q_log_q = has_teacher ? qx_mem_array(n, sizeof *b->q_log_q) : NULL;
    return b->x && b->labels && b->right && (b->next || !b->is_words) &&
                   ((b->q && b->q_log_q) || !has_teacher)
               ? QX_OK
               : qx_fail_nomem(err, floats);
}

void qx_batch_release(struct qx_batch *b)
{
    qx_mem_free(b->x);
    qx_mem_free(b->labels);
    qx_mem_free(b->right);
    qx_mem_free(b->next);
    qx_mem_free(b->q);
    qx_mem_free(b->q_log_q);
}

/* The token behind each place of the row that counts. */
static enum qx_status words_read(struct qx_batch *b, const struct qx_dataset *data, int64_t row,
                                 int32_t *labels, struct qx_error *err)
{
    const float *counts = b->next + b->sample;
    int64_t n;
    enum qx_status st = qx_dataset_next(data, row, b->next, b->next + b->sample, &n, err);
    for (int64_t i = 0; st == QX_OK && i < b->sample; i++) {
        labels[i] = -1;
        if (i >= n || counts[i] == 0.0f) {
            continue;
        }
        if (!(b->next[i] >= 0.0f && b->next[i] < (float)b->classes)) {
            return qx_fail(err, QX_EDATA,
                           "%s: row %lld holds the id %.9g; the vocabulary has %d entries",
                           qx_dataset_path(data), (long long)row, (double)b->next[i], b->classes);
        }
        labels[i] = (int32_t)b->next[i];
        b->n_answers++;
    }
    return st;
}

static enum qx_status label_read(struct qx_batch *b, const struct qx_dataset *data, int64_t row,
                                 int32_t *label, struct qx_error *err)
{
    *label = qx_dataset_label(data, row);
    b->n_answers++;
    return *label >= 0 ? QX_OK
                       : qx_fail(err, QX_EDATA, "row %lld of %s has no label: training needs them",
                                 (long long)row, qx_dataset_path(data));
}

enum qx_status qx_batch_read(struct qx_batch *b, const struct qx_dataset *data, const int64_t *rows,
                             int64_t n, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    b->n = n;
    b->n_answers = 0;
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        st = qx_dataset_read(data, rows[i], 1, b->x + i * b->sample, err);
        if (st == QX_OK) {
            int32_t *labels = b->labels + i * answers(b);
            st = b->is_words ? words_read(b, data, rows[i], labels, err)
                             : label_read(b, data, rows[i], labels, err);
        }
    }
    return st;
}

/* ---- the loss ---- */

static int class_of(const float *x, int n)
{
    int best = 0;
    for (int c = 1; c < n; c++) {
        best = x[c] > x[best] ? c : best;
    }
    return best;
}

static double cost(void *arg, int64_t first, int64_t n, const int64_t *start, const float *logits,
                   float *d_logits)
{
    struct qx_batch *b = arg;
    const struct qx_loss l = {.classes = b->classes,
                              .share = b->share,
                              .temperature = b->temperature,
                              .scale = 1.0 / (double)(b->n_answers > 0 ? b->n_answers : 1)};
    double sum = 0.0;
    for (int64_t r = 0; r < n; r++) {
        const int64_t places = start ? start[r + 1] - start[r] : 1;
        const int64_t at = (first + r) * answers(b);
        const int64_t from = (start ? start[r] : r) * b->classes;
        b->right[first + r] = 0;
        for (int64_t i = 0; i < places; i++) {
            const float *x = logits + from + i * b->classes;
            float *d = d_logits ? d_logits + from + i * b->classes : NULL;
            const int32_t label = b->labels[at + i];
            if (label < 0) {
                for (int c = 0; d && c < b->classes; c++) {
                    d[c] = 0.0f;
                }
                continue;
            }
            sum += qx_loss_row(&l, x, label, b->q ? b->q + (at + i) * b->classes : NULL,
                               b->q ? b->q_log_q[at + i] : 0.0, d);
            b->right[first + r] += !d && class_of(x, b->classes) == label;
        }
    }
    return sum;
}

struct qx_tape_loss qx_batch_loss(struct qx_batch *b)
{
    return (struct qx_tape_loss){b, cost};
}

/* ---- the teacher ---- */

enum qx_status qx_teacher_new(struct qx_teacher *t, const struct qx_net *net, struct qx_error *err)
{
    *t = (struct qx_teacher){.n_kept = 0};
    return qx_weights_new(net, &t->weights, err);
}

void qx_teacher_release(struct qx_teacher *t)
{
    qx_weights_free(t->weights);
    qx_mem_free(t->q);
    qx_mem_free(t->q_log_q);
}

/* Of a classifier: the answers to the batch. */
static enum qx_status batch_answer(const struct qx_teacher *t, const struct qx_batch *b, float *q,
                                   double *q_log_q, struct qx_pool *pool, struct qx_ctl *ctl,
                                   struct qx_error *err)
{
    struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
    const enum qx_status st = qx_net_forward(b->net, t->weights, b->x, b->n, q, pool, &quiet, err);
    for (int64_t i = 0; st == QX_OK && i < b->n; i++) {
        float *row = q + i * b->classes;
        q_log_q[i] = qx_loss_teacher(row, b->classes, b->temperature, row);
    }
    return st;
}

enum qx_status qx_teacher_keep(struct qx_teacher *t, struct qx_batch *b,
                               const struct qx_dataset *data, const int64_t *rows, int64_t n,
                               struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const int classes = b->classes;
    t->q = qx_mem_array((size_t)n, (size_t)classes * sizeof *t->q);
    t->q_log_q = qx_mem_array((size_t)n, sizeof *t->q_log_q);
    enum qx_status st =
        t->q && t->q_log_q ? QX_OK : qx_fail_nomem(err, (size_t)n * (size_t)classes * sizeof *t->q);
    for (int64_t first = 0; st == QX_OK && first < n; first += b->most) {
        const int64_t m = b->most < n - first ? b->most : n - first;
        st = qx_batch_read(b, data, rows + first, m, err);
        if (st == QX_OK) {
            st = batch_answer(t, b, t->q + first * classes, t->q_log_q + first, pool, ctl, err);
        }
    }
    t->n_kept = n;
    return st;
}

static void places_take(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    const struct qx_batch *b = arg;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = row * b->sample + first + i;
        b->q_log_q[at] = qx_loss_teacher(logits + i * b->classes, b->classes, b->temperature,
                                         b->q + at * b->classes);
    }
}

enum qx_status qx_teacher_ask(const struct qx_teacher *t, struct qx_batch *b, const int64_t *kept,
                              struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    if (b->is_words) {
        struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
        return qx_net_run_places(b->net, t->weights, b->x, b->n, places_take, b, NULL, pool, &quiet,
                                 err);
    }
    for (int64_t i = 0; t->n_kept > 0 && i < b->n; i++) {
        memcpy(b->q + i * b->classes, t->q + kept[i] * b->classes,
               (size_t)b->classes * sizeof *b->q);
        b->q_log_q[i] = t->q_log_q[kept[i]];
    }
    return t->n_kept > 0 ? QX_OK : batch_answer(t, b, b->q, b->q_log_q, pool, ctl, err);
}

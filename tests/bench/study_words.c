/* Rows of language models: whole documents, every place that counts an answer over the whole vocabulary. */
#include "study.h"

#include "eval/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void study_words_load(struct study *s, struct study_rows *r)
{
    struct qx_error err;
    const int64_t sample = qx_net_sample_size(s->net);
    float *next = study_take((size_t)sample * 2, sizeof *next);
    int64_t cap = 0;
    r->n_inputs = r->n;
    r->n = 0;
    r->x = study_take((size_t)(r->n_inputs * sample), sizeof *r->x);
    r->first = study_take((size_t)r->n_inputs + 1, sizeof *r->first);
    for (int64_t k = 0; k < r->n_inputs; k++) {
        cap += qx_documents_places(s->data, r->row[k]);
    }
    r->label = study_take((size_t)cap, sizeof *r->label);
    r->place = study_take((size_t)cap, sizeof *r->place);
    for (int64_t k = 0; k < r->n_inputs; k++) {
        study_check(qx_dataset_read(s->data, r->row[k], 1, r->x + k * sample, &err), &err);
        study_check(qx_documents_next(s->data, r->row[k], next, next + sample, &err), &err);
        for (int64_t i = 0; i < qx_documents_places(s->data, r->row[k]); i++) {
            if (next[sample + i] != 0.0f) {
                r->place[r->n] = i;
                r->label[r->n++] = (int)next[i];
            }
        }
        r->first[k + 1] = r->n;
    }
    free(next);
}

struct taker {
    const struct study_rows *rows;
    float *z;
    size_t row;
};

static void take(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    const struct taker *t = arg;
    for (int64_t i = t->rows->first[row]; i < t->rows->first[row + 1]; i++) {
        const int64_t at = t->rows->place[i] - first;
        if (at >= 0 && at < n) {
            memcpy(t->z + (size_t)i * t->row, logits + (size_t)at * t->row, t->row * sizeof *t->z);
        }
    }
}

void study_words_run(struct study *s, const struct study_rows *rows, float *z)
{
    struct qx_error err;
    struct taker t = {rows, z, (size_t)s->n_classes};
    study_check(qx_net_run_places(s->net, s->weights, rows->x, rows->n_inputs, take, &t, NULL,
                                  s->pool, NULL, &err),
                &err);
}

void study_words_taken(const struct study *s, const struct qx_predict_base *base, bool *taken)
{
    const int64_t *token = qx_predict_base_rows(base), *first = s->data->first;
    for (int64_t i = 0, k = 0; i < qx_predict_base_n(base); i++) {
        while (first[2 * k + 1] <= token[i]) {
            k++;
        }
        taken[k] = true;
    }
}

int64_t study_words_documents(const struct study *s, int64_t tokens)
{
    int64_t all = 0;
    const int64_t n = qx_dataset_n(s->data);
    for (int64_t k = 0; k < n; k++) {
        all += qx_documents_places(s->data, k);
    }
    return 1 + tokens * n / all;
}

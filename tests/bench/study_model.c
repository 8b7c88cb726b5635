/* Opening a model for the study, and dividing its evaluation rows. */
#include "study.h"

#include "base/mem.h"
#include "base/pool.h"
#include "base/str.h"
#include "qx/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t row_seed = 1;

void study_die(const char *what)
{
    fprintf(stderr, "predict_study: %s\n", what);
    exit(1);
}

void study_check(enum qx_status st, const struct qx_error *err)
{
    if (st != QX_OK) {
        study_die(err->text);
    }
}

void *study_take(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p) {
        study_die("out of memory");
    }
    return p;
}

const struct qx_tensor *study_tensor(const struct study *s, int layer)
{
    return qx_model_tensor(s->model, qx_net_layer(s->net, layer)->tensor);
}

/* The rows of P as the predictor drew them. */
static void rows_copy(struct study_rows *r, const struct qx_predict_base *base, bool *taken)
{
    r->n = qx_predict_base_n(base);
    r->row = study_take((size_t)r->n, sizeof *r->row);
    memcpy(r->row, qx_predict_base_rows(base), (size_t)r->n * sizeof *r->row);
    for (int64_t i = 0; i < r->n; i++) {
        taken[r->row[i]] = true;
    }
}

/* The documents that P's places are of, whole. */
static void documents_copy(const struct study *s, struct study_rows *r, bool *taken)
{
    const int64_t n = qx_dataset_n(s->data);
    study_words_taken(s, qx_predict_probe_base(s->probe), taken);
    r->row = study_take((size_t)n, sizeof *r->row);
    for (int64_t i = 0; i < n; i++) {
        if (taken[i]) {
            r->row[r->n++] = i;
        }
    }
}

/* At most k of the rows that are not taken, by seed. */
static void rows_draw(struct study_rows *r, int64_t k, const bool *taken, int64_t n, uint64_t seed)
{
    int64_t *left = study_take((size_t)n, sizeof *left), n_left = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!taken[i]) {
            left[n_left++] = i;
        }
    }
    struct qx_rng rng;
    qx_rng_init(&rng, seed);
    r->row = study_take((size_t)(k < n_left ? k : n_left), sizeof *r->row);
    for (int64_t i = 0; i < n_left && r->n < k; i++) { /* Knuth 3.4.2 S */
        if (qx_rng_below(&rng, (uint64_t)(n_left - i)) < (uint64_t)(k - r->n)) {
            r->row[r->n++] = left[i];
        }
    }
    free(left);
}

static void rows_load(struct study *s, struct study_rows *r)
{
    struct qx_error err;
    const int64_t sample = qx_net_sample_size(s->net);
    if (s->is_words) {
        study_words_load(s, r);
        r->z0 = study_take((size_t)(r->n * s->n_classes), sizeof *r->z0);
        study_words_run(s, r, r->z0);
        r->ce0 = -log(study_score(s, r, r->z0).accuracy); /* against none */
        r->accuracy0 = 1.0;
        return;
    }
    r->x = study_take((size_t)(r->n * sample), sizeof *r->x);
    r->label = study_take((size_t)r->n, sizeof *r->label);
    r->z0 = study_take((size_t)(r->n * s->n_classes), sizeof *r->z0);
    for (int64_t i = 0; i < r->n; i++) {
        study_check(qx_dataset_read(s->data, r->row[i], 1, r->x + i * sample, &err), &err);
        r->label[i] = qx_dataset_label(s->data, r->row[i]);
    }
    study_check(qx_net_forward(s->net, s->weights, r->x, r->n, r->z0, s->pool, NULL, &err), &err);
    r->accuracy0 = study_score(s, r, r->z0).accuracy;
}

static void rows_release(struct study_rows *r)
{
    free(r->row);
    free(r->x);
    free(r->label);
    free(r->z0);
    free(r->first);
    free(r->place);
}

static void spans_find(struct study *s)
{
    struct qx_error err;
    for (int l = 0; l < s->n_layers; l++) {
        const struct qx_tensor *t = study_tensor(s, l);
        float *w = study_take((size_t)t->numel, sizeof *w);
        study_check(qx_tensor_read(t, 0, t->numel, w, &err), &err);
        for (int64_t i = 0; i < t->numel; i++) {
            s->span[l].lo = fmin(s->span[l].lo, w[i]);
            s->span[l].hi = fmax(s->span[l].hi, w[i]);
        }
        free(w);
    }
}

static void calibrate(struct study *s)
{
    char path[1024];
    struct qx_dataset *data = NULL;
    struct qx_error err;
    snprintf(path, sizeof path, "%s/calib.safetensors", qx_model_folder(s->model));
    study_check(qx_dataset_open(path, s->net, &data, &err), &err);
    study_check(
        qx_calibration_run(s->net, data, qx_dataset_n(data), 0, s->pool, NULL, &s->calib, &err),
        &err);
    qx_dataset_close(&data);
}

struct study *study_open(const char *folder, int64_t p_rows, int64_t max_rows,
                         struct study_truth *truth)
{
    char path[1024];
    struct qx_error err;
    struct study *s = study_take(1, sizeof *s);
    s->truth = truth;
    study_check(qx_pool_new(qx_cpu_get()->n_cores, &s->pool, &err), &err);
    study_check(qx_model_open(folder, &s->model, &err), &err);
    study_check(qx_net_open(s->model, &s->net, &err), &err);
    study_check(qx_weights_new(s->net, &s->weights, &err), &err);
    snprintf(path, sizeof path, "%s/eval.safetensors", folder);
    study_check(qx_dataset_open(path, s->net, &s->data, &err), &err);
    s->name = qx_net_name(s->net);
    s->n_layers = qx_net_n_layers(s->net);
    s->n_classes = qx_net_n_classes(s->net);
    s->span = study_take((size_t)s->n_layers, sizeof *s->span);
    spans_find(s);
    calibrate(s);

    const int64_t n = qx_dataset_n(s->data);
    bool *taken = study_take((size_t)n, sizeof *taken);
    study_check(qx_predict_probe_new(s->net, s->data, s->calib, NULL, p_rows, row_seed, s->pool,
                                     NULL, &s->probe, &err),
                &err);
    s->is_words = qx_net_is_words(s->net);
    if (s->is_words) {
        documents_copy(s, &s->p, taken);
    } else {
        rows_copy(&s->p, qx_predict_probe_base(s->probe), taken);
    }
    const int64_t most = s->is_words ? study_words_documents(s, 4 * max_rows) : max_rows;
    rows_draw(&s->e, most, taken, n, row_seed + 1);
    free(taken);
    rows_load(s, &s->p);
    rows_load(s, &s->e);
    s->key =
        qx_hash64(s->e.row, (size_t)(s->is_words ? s->e.n_inputs : s->e.n) * sizeof *s->e.row, 0);
    s->key = qx_hash64(s->e.z0, (size_t)(s->e.n * s->n_classes) * sizeof *s->e.z0, s->key);
    return s;
}

void study_close(struct study *s)
{
    rows_release(&s->p);
    rows_release(&s->e);
    free(s->span);
    qx_predict_probe_free(s->probe);
    qx_calibration_unref(s->calib);
    qx_weights_free(s->weights);
    qx_dataset_close(&s->data);
    qx_net_close(&s->net);
    qx_model_close(&s->model);
    qx_pool_free(s->pool);
    free(s);
}

#include "eval/places.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "eval/dataset.h"
#include "eval/rows.h"
#include "eval/similarity.h"
#include "kernels/kernels.h"
#include "qx/predict.h"

#include <math.h>
#include <string.h>

enum { N_IDS = QX_PLACES_SLOTS - 1 };

void qx_places_free(struct qx_places *p)
{
    if (p) {
        qx_mem_free(p->x);
        qx_mem_free(p->rows);
        qx_mem_free(p->labels);
        qx_mem_free(p->documents);
        qx_mem_free(p->first);
        qx_mem_free(p->place);
        qx_mem_free(p->end);
        qx_mem_free(p->ids);
        qx_mem_free(p->embeddings);
        qx_mem_free(p);
    }
}

static enum qx_status inputs_read(struct qx_places *p, const struct qx_dataset *data,
                                  const int64_t *rows, struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(p->net);
    p->x = qx_mem_array((size_t)p->n_inputs, (size_t)sample * sizeof *p->x);
    if (!p->x) {
        return qx_fail_nomem(err, (size_t)(p->n_inputs * sample) * sizeof *p->x);
    }
    enum qx_status st = QX_OK;
    for (int64_t i = 0; st == QX_OK && i < p->n_inputs; i++) {
        st = qx_dataset_read(data, rows[i], 1, p->x + i * sample, err);
    }
    return st;
}

static enum qx_status answers_alloc(struct qx_places *p, int64_t n, bool has_labels,
                                    struct qx_error *err)
{
    p->n = n;
    p->rows = qx_mem_array((size_t)n, sizeof *p->rows);
    p->labels = has_labels ? qx_mem_array((size_t)n, sizeof *p->labels) : NULL;
    return p->rows && (!has_labels || p->labels) ? QX_OK
                                                 : qx_fail_nomem(err, (size_t)n * sizeof *p->rows);
}

/* ---- rows of the data ---- */

static bool gives_embeddings(const struct qx_net *net)
{
    return strcmp(qx_net_task(net), "embedding") == 0;
}

static enum qx_status embeddings_alloc(struct qx_places *p, const struct qx_dataset *data,
                                       struct qx_error *err)
{
    const size_t bytes = (size_t)qx_net_n_classes(p->net) * sizeof *p->embeddings;
    if (p->n < 3) {
        return qx_fail(err, QX_EDATA,
                       "%s: %lld rows are too few to compare similarities; 3 are needed",
                       qx_dataset_path(data), (long long)p->n);
    }
    p->n_classes = p->n_tops = (int)p->n;
    p->embeddings = qx_mem_array((size_t)p->n, bytes);
    return p->embeddings ? QX_OK : qx_fail_nomem(err, (size_t)p->n * bytes);
}

static enum qx_status rows_fill(struct qx_places *p, const struct qx_dataset *data,
                                const int64_t *rows, int64_t n, uint64_t seed, struct qx_error *err)
{
    const int64_t all = qx_dataset_n(data);
    n = rows || n < all ? n : all;
    enum qx_status st = answers_alloc(p, n, qx_dataset_label(data, 0) >= 0, err);
    p->n_inputs = n;
    p->n_classes = p->n_tops = qx_net_n_classes(p->net);
    if (st == QX_OK && gives_embeddings(p->net)) {
        st = embeddings_alloc(p, data, err);
    }
    if (st == QX_OK && rows) {
        memcpy(p->rows, rows, (size_t)n * sizeof *rows);
    } else if (st == QX_OK) {
        qx_rows_draw(all, n, seed, p->rows);
    }
    for (int64_t i = 0; st == QX_OK && p->labels && i < n; i++) {
        p->labels[i] = qx_dataset_label(data, p->rows[i]);
    }
    return st == QX_OK ? inputs_read(p, data, p->rows, err) : st;
}

/* ---- places of documents ---- */

static int64_t places_of(const struct qx_dataset *d, int64_t document)
{
    const int64_t n = qx_documents_places(d, document);
    return n < QX_PREDICT_PREFIX ? n : QX_PREDICT_PREFIX;
}

/* Where a document is cut: so many places behind the first that counts. */
static int64_t end_of(const float *counts, int64_t n)
{
    int64_t first = 0;
    while (first < n && counts[first] == 0.0f) {
        first++;
    }
    return n - first < QX_PREDICT_PREFIX ? n : first + QX_PREDICT_PREFIX;
}

/* What lies behind is not run. */
static void inputs_cut(struct qx_places *p)
{
    const int64_t sample = qx_net_sample_size(p->net);
    for (int64_t k = 0; k < p->n_inputs; k++) {
        for (int64_t i = p->end[k]; i < sample; i++) {
            p->x[k * sample + i] = -1.0f;
        }
    }
}

/* Documents in the order of a lot until they have `want` places, then ascending: documents [n_inputs]. */
static enum qx_status documents_draw(struct qx_places *p, const struct qx_dataset *d, int64_t want,
                                     uint64_t seed, struct qx_error *err)
{
    const int64_t all = qx_dataset_n(d);
    int64_t *lot = qx_mem_array((size_t)all, sizeof *lot), have = 0;
    struct qx_rng rng;
    if (!lot) {
        return qx_fail_nomem(err, (size_t)all * sizeof *lot);
    }
    for (int64_t i = 0; i < all; i++) {
        lot[i] = i;
    }
    qx_rng_init(&rng, seed);
    for (; p->n_inputs < all && have < want; p->n_inputs++) {
        const int64_t at = p->n_inputs, k = at + (int64_t)qx_rng_below(&rng, (uint64_t)(all - at));
        const int64_t document = lot[k];
        lot[k] = lot[at];
        int64_t i = at; /* among those drawn before */
        for (; i > 0 && lot[i - 1] > document; i--) {
            lot[i] = lot[i - 1];
        }
        lot[i] = document;
        have += places_of(d, document);
    }
    p->documents = lot;
    return QX_OK;
}

/* Every place of the documents that counts becomes an answer, with its token as label. */
static enum qx_status answers_all(struct qx_places *p, const struct qx_dataset *d,
                                  struct qx_error *err)
{
    const size_t sample = (size_t)qx_net_sample_size(p->net);
    float *next = qx_mem_array(sample, 2 * sizeof *next);
    int64_t all = 0, n = 0;
    for (int64_t k = 0; k < p->n_inputs; k++) {
        all += places_of(d, p->documents[k]);
    }
    p->end = qx_mem_zalloc((size_t)p->n_inputs * sizeof *p->end);
    p->first = qx_mem_zalloc(((size_t)p->n_inputs + 1) * sizeof *p->first);
    p->place = qx_mem_array((size_t)all, sizeof *p->place);
    enum qx_status st = next && p->first && p->place && p->end ? answers_alloc(p, all, true, err)
                                                               : qx_fail_nomem(err, (size_t)all);
    for (int64_t k = 0; st == QX_OK && k < p->n_inputs; k++) {
        const int64_t document = p->documents[k];
        st = qx_documents_next(d, document, next, next + sample, err);
        p->end[k] = end_of(next + sample, qx_documents_places(d, document));
        for (int64_t i = 0; st == QX_OK && i < p->end[k]; i++) {
            if (!(next[i] >= 0.0f && next[i] < (float)p->n_vocabulary)) {
                st = qx_fail_at(err, QX_EDATA, d->path, "input_ids", -1,
                                "%s: document %lld, token %lld holds the id %.9g; the vocabulary "
                                "has %d entries",
                                d->path, (long long)document, (long long)i + 1, (double)next[i],
                                p->n_vocabulary);
            } else if (next[sample + (size_t)i] != 0.0f) {
                p->rows[n] = d->first[2 * document] + 1 + i;
                p->place[n] = i;
                p->labels[n++] = (int32_t)next[i];
            }
        }
        p->first[k + 1] = n;
    }
    qx_mem_free(next);
    p->n = n;
    return st;
}

/* A mask may leave too few of the places that were drawn. */
static void draw_forget(struct qx_places *p)
{
    qx_mem_free(p->rows);
    qx_mem_free(p->labels);
    qx_mem_free(p->documents);
    qx_mem_free(p->first);
    qx_mem_free(p->place);
    qx_mem_free(p->end);
    p->end = NULL;
    p->rows = p->documents = p->first = p->place = NULL;
    p->labels = NULL;
    p->n = p->n_inputs = 0;
}

/* n of them stay. */
static enum qx_status answers_draw(struct qx_places *p, int64_t n, uint64_t seed,
                                   struct qx_error *err)
{
    n = n < p->n ? n : p->n;
    int64_t *kept = qx_mem_array((size_t)n, sizeof *kept), at = 0;
    if (!kept) {
        return qx_fail_nomem(err, (size_t)n * sizeof *kept);
    }
    qx_rows_draw(p->n, n, seed, kept);
    for (int64_t k = 0; k < p->n_inputs; k++) {
        const int64_t end = p->first[k + 1];
        for (; at < n && kept[at] < end; at++) {
            p->rows[at] = p->rows[kept[at]];
            p->place[at] = p->place[kept[at]];
            p->labels[at] = p->labels[kept[at]];
        }
        p->first[k + 1] = at;
    }
    p->n = n;
    qx_mem_free(kept);
    return QX_OK;
}

static enum qx_status words_fill(struct qx_places *p, const struct qx_dataset *data, int64_t n,
                                 int64_t spread, uint64_t seed, struct qx_error *err)
{
    p->is_words = true;
    p->n_vocabulary = qx_net_n_classes(p->net);
    p->n_classes = p->n_vocabulary <= QX_PLACES_SLOTS ? p->n_vocabulary : (int)QX_PLACES_SLOTS;
    p->n_tops = p->n_vocabulary <= QX_PLACES_SLOTS ? p->n_vocabulary : N_IDS;
    enum qx_status st = QX_OK;
    for (int64_t want = spread * n; st == QX_OK && p->n < n; want *= 2) {
        if (p->n_inputs == qx_dataset_n(data)) {
            break; /* all there is */
        }
        draw_forget(p);
        st = documents_draw(p, data, want, seed, err);
        st = st == QX_OK ? answers_all(p, data, err) : st;
    }
    if (st == QX_OK && p->n == 0) {
        st = qx_fail(err, QX_EDATA, "%s: loss_mask leaves no token to count", data->path);
    }
    if (st == QX_OK) {
        st = answers_draw(p, n, seed, err);
    }
    if (st == QX_OK && p->n_vocabulary > QX_PLACES_SLOTS) {
        p->ids = qx_mem_array((size_t)p->n, N_IDS * sizeof *p->ids);
        st = p->ids ? QX_OK : qx_fail_nomem(err, (size_t)p->n * N_IDS * sizeof *p->ids);
    }
    st = st == QX_OK ? inputs_read(p, data, p->documents, err) : st;
    if (st == QX_OK) {
        inputs_cut(p);
    }
    return st;
}

enum qx_status qx_places_new(const struct qx_net *net, const struct qx_dataset *data,
                             const int64_t *rows, int64_t n, int64_t spread, uint64_t seed,
                             struct qx_places **out, struct qx_error *err)
{
    struct qx_places *p = qx_mem_zalloc(sizeof *p);
    if (!p) {
        return qx_fail_nomem(err, sizeof *p);
    }
    p->net = net;
    const enum qx_status st = data->is_documents ? words_fill(p, data, n, spread, seed, err)
                                                 : rows_fill(p, data, rows, n, seed, err);
    if (st != QX_OK) {
        qx_places_free(p);
        return st;
    }
    *out = p;
    return QX_OK;
}

/* ---- running ---- */

/* The likeliest tokens, best first, the lowest id winning a tie; the token that follows among them or, in
 * the last slot, beside them. Its slot becomes the label. */
static void ids_choose(const float *z, int n, int32_t *ids, int32_t *label)
{
    int have = 0, slot = 0;
    for (int c = 0; c < n; c++) {
        if (have == N_IDS && !(z[c] > z[ids[N_IDS - 1]])) {
            continue;
        }
        int i = have < N_IDS ? have++ : N_IDS - 1;
        for (; i > 0 && z[c] > z[ids[i - 1]]; i--) {
            ids[i] = ids[i - 1];
        }
        ids[i] = c;
    }
    while (slot < N_IDS - 1 && ids[slot] != *label) {
        slot++;
    }
    ids[slot] = *label;
    *label = slot;
}

/* Log of the sum of exp over all but the chosen; z is overwritten. */
static float rest_of(float *z, int n, const int32_t *ids)
{
    int top = 0;
    for (int i = 0; i < N_IDS; i++) {
        z[ids[i]] = -INFINITY;
    }
    for (int c = 1; c < n; c++) {
        top = z[c] > z[top] ? c : top;
    }
    const float most = z[top];
    qxk_get()->softmax(z, n, 1.0f, NULL, z);
    return most - logf(z[top]);
}

struct answers {
    struct qx_places *p;
    float *z;
};

static void answer_take(struct qx_places *p, int64_t i, float *all, float *z)
{
    if (!p->ids) {
        memcpy(z, all, (size_t)p->n_classes * sizeof *z);
        return;
    }
    int32_t *ids = p->ids + i * N_IDS;
    if (!p->has_ids) {
        ids_choose(all, p->n_vocabulary, ids, &p->labels[i]);
    }
    for (int c = 0; c < N_IDS; c++) {
        z[c] = all[ids[c]];
    }
    z[N_IDS] = rest_of(all, p->n_vocabulary, ids);
}

static void answers_take(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    const struct answers *a = arg;
    struct qx_places *p = a->p;
    for (int64_t i = p->first[row]; i < p->first[row + 1]; i++) {
        const int64_t at = p->place[i] - first;
        if (at >= 0 && at < n) {
            answer_take(p, i, logits + at * p->n_vocabulary, a->z + i * p->n_classes);
        }
    }
}

static enum qx_status similarities_take(struct qx_places *p, float *z, struct qx_error *err)
{
    const int d = qx_net_n_classes(p->net);
    for (int64_t i = 0; i < p->n; i++) {
        if (!qx_unit_make(p->embeddings + i * d, d)) {
            return qx_fail(
                err, QX_EDATA,
                "the embedding of row %lld is zero or no number, so it is similar to nothing",
                (long long)p->rows[i]);
        }
    }
    qx_similarity_logits(p->embeddings, p->n, d, z);
    return QX_OK;
}

enum qx_status qx_places_run(struct qx_places *p, const struct qx_weights *w,
                             const struct qx_net_cut *cut, float *z, struct qx_pool *pool,
                             struct qx_ctl *ctl, struct qx_error *err)
{
    struct answers a = {p, z};
    enum qx_status st;
    if (!p->is_words) {
        float *to = p->embeddings ? p->embeddings : z;
        st = cut ? qx_net_run_from(p->net, w, cut, to, NULL, pool, ctl, err)
                 : qx_net_run(p->net, w, p->x, p->n_inputs, to, NULL, pool, ctl, err);
        return st == QX_OK && p->embeddings ? similarities_take(p, z, err) : st;
    }
    st = cut ? qx_net_run_places_from(p->net, w, cut, answers_take, &a, NULL, pool, ctl, err)
             : qx_net_run_places(p->net, w, p->x, p->n_inputs, answers_take, &a, NULL, pool, ctl,
                                 err);
    p->has_ids |= st == QX_OK;
    return st;
}

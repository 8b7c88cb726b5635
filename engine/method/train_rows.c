/* Which rows are trained on, in which order, and what is done to them: all by seed. */
#include "method/augment.h"
#include "method/train_impl.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

#define HELD_OUT_SHARE  0.05 /* of the rows, at most HELD_OUT_MOST */
#define HELD_OUT_MOST   1000
#define ROWS_LEAST      64
#define DOCUMENTS_LEAST 16
#define MIX             UINT64_C(0x9E3779B97F4A7C15)

static void shuffle(int64_t *v, int64_t n, uint64_t seed)
{
    struct qx_rng r;
    qx_rng_init(&r, seed);
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t k = (int64_t)qx_rng_below(&r, (uint64_t)i + 1), keep = v[i];
        v[i] = v[k];
        v[k] = keep;
    }
}

enum qx_status qx_train_rows_draw(struct qx_train *t, struct qx_error *err)
{
    const int64_t all = qx_dataset_n(t->data);
    int64_t n = t->o.max_rows > 0 && t->o.max_rows < all ? t->o.max_rows : all;
    const int least = qx_net_is_words(t->net) ? DOCUMENTS_LEAST : ROWS_LEAST;
    if (n < least) {
        return qx_fail(err, QX_EDATA, "%lld rows are too few to train on: %d are needed",
                       (long long)n, least);
    }
    const enum qx_status st =
        qx_net_is_words(t->net) ? QX_OK : qx_dataset_need_labels(t->data, err);
    if (st != QX_OK) {
        return st;
    }
    t->n_held_out = (int64_t)ceil(HELD_OUT_SHARE * (double)n);
    t->n_held_out = t->n_held_out > HELD_OUT_MOST ? HELD_OUT_MOST : t->n_held_out;
    t->n_train = n - t->n_held_out;
    t->n_epoch = t->o.epoch_rows > 0 && t->o.epoch_rows < t->n_train ? t->o.epoch_rows : t->n_train;
    t->o.batch = t->o.batch < t->n_epoch ? t->o.batch : t->n_epoch;
    t->n_steps = t->o.epochs * (t->n_epoch / t->o.batch);
    const int64_t eval = qx_dataset_n(t->eval), most = all > eval ? all : eval;
    t->order = qx_mem_array((size_t)most, sizeof *t->order);
    t->count = qx_mem_array((size_t)most, sizeof *t->count);
    t->deck = qx_mem_array((size_t)t->n_train, sizeof *t->deck);
    t->shuffled = qx_mem_array((size_t)t->n_epoch, sizeof *t->shuffled);
    t->rows = qx_mem_array((size_t)t->o.batch, sizeof *t->rows);
    if (!t->order || !t->count || !t->deck || !t->shuffled || !t->rows) {
        return qx_fail_nomem(err, (size_t)most * sizeof *t->order);
    }
    for (int64_t i = 0; i < most; i++) {
        t->order[i] = t->count[i] = i;
    }
    shuffle(t->order, all, t->o.seed);
    return t->o.augment ? qx_augment_check(t->net, err) : QX_OK;
}

enum qx_status qx_train_rows_longest(struct qx_train *t, int64_t *longest, struct qx_error *err)
{
    const struct qx_dataset *const both[2] = {t->data, t->eval};
    enum qx_status st = QX_OK;
    *longest = 0;
    for (int i = 0; i < 2 && qx_net_input_is_sequence(t->net); i++) {
        const int64_t n = qx_dataset_n(both[i]);
        for (int64_t row = 0; st == QX_OK && row < n; row++) {
            st = qx_dataset_read(both[i], row, 1, t->batch.x, err);
            const int64_t places = st == QX_OK ? qx_net_places(t->net, t->batch.x) : 0;
            *longest = places > *longest ? places : *longest;
        }
    }
    return st;
}

/* All rows in the order of the i-th time over them. */
static void deck_shuffle(struct qx_train *t, int64_t i)
{
    memcpy(t->deck, t->count, (size_t)t->n_train * sizeof *t->deck);
    shuffle(t->deck, t->n_train, t->o.seed ^ ((uint64_t)(i + 1) * MIX));
}

void qx_train_rows_epoch(struct qx_train *t, int epoch)
{
    int64_t at = (epoch - 1) * t->n_epoch;
    deck_shuffle(t, at / t->n_train);
    for (int64_t i = 0; i < t->n_epoch; i++, at++) {
        if (i > 0 && at % t->n_train == 0) {
            deck_shuffle(t, at / t->n_train);
        }
        t->shuffled[i] = t->deck[at % t->n_train];
    }
}

enum qx_status qx_train_rows_read(struct qx_train *t, int64_t first, struct qx_error *err)
{
    for (int64_t i = 0; i < t->o.batch; i++) {
        t->rows[i] = t->order[t->shuffled[first + i]];
    }
    const enum qx_status st = qx_batch_read(&t->batch, t->data, t->rows, t->o.batch, err);
    if (st == QX_OK && t->o.augment) {
        struct qx_rng r;
        qx_rng_init(&r, ~t->o.seed ^ ((uint64_t)(t->step + 1) * MIX));
        qx_augment_rows(t->net, t->o.augment, &r, t->batch.x, t->batch.n);
    }
    return st;
}

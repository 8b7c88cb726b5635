/* A training on disk, from which it goes on bit by bit: everything that learns, the optimizer's moments, and
 * the best so far. Host byte order; a checksum at the end; written aside and renamed. */
#include "method/train_impl.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

#define MAGIC    UINT64_C(0x33304e5254585121) /* "!QXTRN03" */
#define HASH     UINT64_C(0xCBF29CE484222325) /* FNV-1a */
#define HASH_BY  UINT64_C(0x100000001B3)
#define MAX_FILE (INT64_C(1) << 36)

struct header {
    uint64_t magic, key;
    int64_t n_values, n_moments, n_layers, step;
    int32_t epoch, best_epoch;
    double best_loss, best_accuracy, best_perplexity, ptq, ptq_perplexity;
};

static uint64_t hash_more(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ p[i]) * HASH_BY;
    }
    return h;
}

/* What must be the same for the training to go on: rows, options, settings. The stored weights and the rows
 * are those of their files' hashes. */
uint64_t qx_train_key(const struct qx_train *t)
{
    const struct qx_train_options *o = &t->o;
    const double number[] = {o->epochs, (double)o->batch,   (double)o->max_rows,
                             o->rate,   o->warmup,          o->weight_decay,
                             o->clip,   o->distill,         o->temperature,
                             o->freeze, o->patience,        (double)o->seed,
                             o->dampen, (double)o->augment, (double)o->epoch_rows};
    uint64_t h = hash_more(HASH, number, sizeof number);
    h = hash_more(h, o->quantizer->name, strlen(o->quantizer->name));
    h = hash_more(h, o->optimizer->name, strlen(o->optimizer->name));
    h = hash_more(h, qx_dataset_hash(t->data), strlen(qx_dataset_hash(t->data)));
    h = hash_more(h, qx_dataset_hash(t->eval), strlen(qx_dataset_hash(t->eval)));
    for (int i = 0; i < qx_tape_n_params(t->tape); i++) {
        const struct qx_param *p = qx_tape_param(t->tape, i);
        h = hash_more(h, p->value, (size_t)p->n * sizeof *p->value);
    }
    for (int i = 0; i < t->qat.n; i++) {
        const struct qx_setting *s = &t->qat.v[i].set;
        const int64_t kind[] = {t->qat.v[i].layer, s->bits,           s->sym,      (int64_t)s->gran,
                                s->group,          (int64_t)s->scale, s->act.bits, s->act.sym};
        const double range[] = {s->range.lo, s->range.hi, s->act.range.lo, s->act.range.hi};
        h = hash_more(h, kind, sizeof kind);
        h = hash_more(h, range, sizeof range);
        h = hash_more(h, s->format->name, strlen(s->format->name));
    }
    return h;
}

struct part {
    void *data;
    size_t bytes;
};
enum { N_PARTS = 8 };

/* The arrays of the file, in order. */
static void parts_of(struct qx_train *t, struct qx_train_kept *now, struct header *h,
                     struct part *part)
{
    const size_t values = (size_t)t->n_values * sizeof(float), n = (size_t)t->qat.n;
    part[0] = (struct part){h, sizeof *h};
    part[1] = (struct part){now->values, values};
    part[2] = (struct part){now->range, n * sizeof *now->range};
    part[3] = (struct part){now->act, n * sizeof *now->act};
    part[4] = (struct part){t->moments, (size_t)t->n_moments * sizeof *t->moments};
    part[5] = (struct part){t->best.values, values};
    part[6] = (struct part){t->best.range, n * sizeof *t->best.range};
    part[7] = (struct part){t->best.act, n * sizeof *t->best.act};
}

static enum qx_status file_write(const char *path, const struct part *part, struct qx_error *err)
{
    struct qx_fs_out *out = NULL;
    uint64_t sum = HASH;
    enum qx_status st = qx_fs_out_begin(path, &out, err);
    if (st != QX_OK) {
        return st;
    }
    for (int i = 0; st == QX_OK && i < N_PARTS; i++) {
        sum = hash_more(sum, part[i].data, part[i].bytes);
        st = qx_fs_out_write(out, part[i].data, part[i].bytes, err);
    }
    if (st == QX_OK) {
        st = qx_fs_out_write(out, &sum, sizeof sum, err);
    }
    if (st != QX_OK) {
        qx_fs_out_abort(out);
        return st;
    }
    return qx_fs_out_commit(out, err);
}

void qx_train_save(struct qx_train *t, const struct qx_trained *out)
{
    struct qx_error err;
    struct qx_train_kept now = {0};
    struct part part[N_PARTS];
    struct header h = {.magic = MAGIC,
                       .key = t->key,
                       .n_values = t->n_values,
                       .n_moments = t->n_moments,
                       .n_layers = t->qat.n,
                       .step = t->step,
                       .epoch = out->epochs,
                       .best_epoch = t->best_epoch,
                       .best_loss = t->best_loss,
                       .best_accuracy = t->best_accuracy,
                       .best_perplexity = t->best_perplexity,
                       .ptq = out->ptq,
                       .ptq_perplexity = out->ptq_perplexity};
    enum qx_status st = qx_train_kept_new(t, &now, &err);
    if (st == QX_OK) {
        qx_train_keep(t, &now);
        parts_of(t, &now, &h, part);
        st = file_write(t->o.checkpoint, part, &err);
    }
    qx_train_kept_free(&now);
    if (st != QX_OK) { /* the training goes on; only a resume is lost */
        qx_log(QX_LOG_WARN, "no checkpoint after epoch %d: %s", out->epochs, err.text);
    }
}

static enum qx_status parts_read(const char *path, const char *bytes, size_t len,
                                 const struct part *part, struct qx_error *err)
{
    size_t total = sizeof(uint64_t), at = 0;
    uint64_t sum = HASH, stored;
    for (int i = 0; i < N_PARTS; i++) {
        total += part[i].bytes;
    }
    if (len == total) {
        sum = hash_more(sum, bytes, len - sizeof sum);
        memcpy(&stored, bytes + len - sizeof stored, sizeof stored);
    }
    if (len != total || sum != stored) {
        return qx_fail_at(err, QX_EFORMAT, path, NULL, -1,
                          "'%s' is no checkpoint of this training, or it is damaged", path);
    }
    for (int i = 0; i < N_PARTS; i++) {
        memcpy(part[i].data, bytes + at, part[i].bytes);
        at += part[i].bytes;
    }
    return QX_OK;
}

enum qx_status qx_train_load(struct qx_train *t, struct qx_trained *out, struct qx_error *err)
{
    struct qx_train_kept now = {0};
    struct part part[N_PARTS];
    struct header h = {0};
    const char *path = t->o.checkpoint;
    char *bytes = NULL;
    size_t len = 0;
    enum qx_status st = qx_train_kept_new(t, &now, err);
    if (st == QX_OK) {
        st = qx_fs_read(path, (size_t)MAX_FILE, &bytes, &len, err);
    }
    if (st == QX_OK && len >= sizeof h) {
        memcpy(&h, bytes, sizeof h);
        if (h.magic == MAGIC && h.key != t->key) {
            st = qx_fail_at(err, QX_EDATA, path, NULL, -1,
                            "'%s' is of a training with other rows, weights or options", path);
        }
    }
    if (st == QX_OK) {
        parts_of(t, &now, &h, part);
        st = parts_read(path, bytes, len, part, err);
    }
    if (st == QX_OK) {
        qx_train_restore(t, &now);
        t->step = h.step;
        t->best_epoch = h.best_epoch;
        t->best_loss = h.best_loss;
        t->best_accuracy = h.best_accuracy;
        t->best_perplexity = h.best_perplexity;
        out->epochs = h.epoch;
        out->ptq = h.ptq;
        out->ptq_perplexity = h.ptq_perplexity;
    }
    qx_mem_free(bytes);
    qx_train_kept_free(&now);
    return st;
}

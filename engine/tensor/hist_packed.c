/* A histogram folded up: the sums of its bins, from which it is made again, bit by bit. */
#include "base/error.h"
#include "base/mem.h"
#include "tensor/hist_priv.h"

#include <pthread.h>
#include <string.h>

struct qx_hist_packed *qx_hist_pack(const struct qx_hist_sums *sums, const uint64_t *lin,
                                    float key_scale, float lin_scale)
{
    struct qx_hist_packed *p = qx_mem_zalloc(sizeof *p + sums->bytes + QX_SUMS_ROOM);
    if (p) {
        p->bytes = sums->bytes;
        p->key_scale = key_scale;
        p->lin_scale = lin_scale;
        memcpy(p->lin, lin, sizeof p->lin);
        memcpy(p->width, sums->width, sizeof p->width);
        if (sums->bytes > 0) {
            memcpy(p->data, sums->data, sums->bytes);
        }
    }
    return p;
}

void qx_hist_packed_free(struct qx_hist_packed *p)
{
    qx_mem_free(p);
}

const struct qx_stats *qx_hist_packed_stats(const struct qx_hist_packed *p)
{
    return &p->stats;
}

enum qx_status qx_hist_unpack(const struct qx_hist_packed *p, struct qx_hist **out,
                              struct qx_error *err)
{
    struct qx_hist *h = qx_hist_new();
    struct qxk_hist *acc = qx_mem_zalloc(sizeof *acc);
    bool ok = h && acc;
    if (ok) {
        h->f.spec = (struct qx_hist_spec){
            .gran = QX_GRAN_TENSOR, .sym = true, .channels = {1, 1, p->stats.n}};
        h->f.stats = p->stats;
        h->f.lin_top = p->stats.n > 0 ? p->stats.absmax : 0.0;
        qx_hist_sums_read(p->width, p->data, acc->half);
        memcpy(acc->lin, p->lin, sizeof acc->lin);
        ok = qx_hist_whole_unit(h) && qx_hist_fill_floats(h, p->key_scale, p->lin_scale, acc);
    }
    qx_mem_free(acc);
    if (!ok) {
        qx_hist_unref(h);
        return qx_fail_nomem(err, sizeof *acc);
    }
    h->tables.a_min = h->f.a_min;
    h->tables.a_max = h->f.a_max;
    *out = h;
    return QX_OK;
}

/* ---- as bytes ---- */

const void *qx_hist_packed_data(const struct qx_hist_packed *p, size_t *len)
{
    *len = sizeof *p + (size_t)p->bytes;
    return p;
}

enum qx_status qx_hist_packed_read(const void *data, size_t len, struct qx_hist_packed **out)
{
    if (len < sizeof **out) {
        return QX_EFORMAT;
    }
    struct qx_hist_packed *p = qx_mem_zalloc(len + QX_SUMS_ROOM);
    if (!p) {
        return QX_ENOMEM;
    }
    memcpy(p, data, len);
    if (p->bytes != len - sizeof *p || qx_hist_sums_bytes(p->width) != p->bytes ||
        !(p->key_scale > 0.0f)) {
        qx_mem_free(p);
        return QX_EFORMAT;
    }
    *out = p;
    return QX_OK;
}

/* ---- the last ones that were asked for ---- */

struct qx_hist_shelf {
    pthread_mutex_t lock;
    struct {
        const struct qx_hist_packed *of;
        struct qx_hist *hist;
    } place[QX_HIST_SHELF];
    int next; /* the oldest */
};

struct qx_hist_shelf *qx_hist_shelf_new(void)
{
    struct qx_hist_shelf *s = qx_mem_zalloc(sizeof *s);
    if (s) {
        pthread_mutex_init(&s->lock, NULL);
    }
    return s;
}

void qx_hist_shelf_free(struct qx_hist_shelf *s)
{
    for (int i = 0; s && i < QX_HIST_SHELF; i++) {
        qx_hist_unref(s->place[i].hist);
    }
    if (s) {
        pthread_mutex_destroy(&s->lock);
        qx_mem_free(s);
    }
}

enum qx_status qx_hist_shelf_take(struct qx_hist_shelf *s, const struct qx_hist_packed *p,
                                  struct qx_hist **out, struct qx_error *err)
{
    struct qx_hist *h = NULL;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < QX_HIST_SHELF && !h; i++) {
        h = s->place[i].of == p ? qx_hist_ref(s->place[i].hist) : NULL;
    }
    pthread_mutex_unlock(&s->lock);
    if (h) {
        *out = h;
        return QX_OK;
    }
    enum qx_status st = qx_hist_unpack(p, &h, err);
    if (st != QX_OK) {
        return st;
    }
    pthread_mutex_lock(&s->lock);
    struct qx_hist *old = s->place[s->next].hist;
    s->place[s->next].of = p;
    s->place[s->next].hist = qx_hist_ref(h);
    s->next = (s->next + 1) % QX_HIST_SHELF;
    pthread_mutex_unlock(&s->lock);
    qx_hist_unref(old);
    *out = h;
    return QX_OK;
}

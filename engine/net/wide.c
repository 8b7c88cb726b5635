#include "net/wide.h"

#include "base/error.h"
#include "base/mem.h"

#include <pthread.h>

struct copy {
    float *v;
    int taken;
};

struct qx_wide {
    pthread_mutex_t lock; /* held while a copy is made, so that nobody makes it twice */
    struct copy *copies;  /* [values] */
};

enum qx_status qx_wide_new(int n, struct qx_wide **out, struct qx_error *err)
{
    struct qx_wide *w = qx_mem_zalloc(sizeof *w);
    struct copy *copies = qx_mem_zalloc(((size_t)n + 1) * sizeof *copies);
    if (!w || !copies) {
        qx_mem_free(w);
        qx_mem_free(copies);
        return qx_fail_nomem(err, ((size_t)n + 1) * sizeof *copies);
    }
    pthread_mutex_init(&w->lock, NULL);
    w->copies = copies;
    *out = w;
    return QX_OK;
}

void qx_wide_free(struct qx_wide *w)
{
    if (w) {
        pthread_mutex_destroy(&w->lock);
        qx_mem_free(w->copies);
        qx_mem_free(w);
    }
}

static enum qx_status widen(const struct qx_tensor *t, float **out, struct qx_error *err)
{
    float *p = qx_mem_aligned((size_t)t->numel * sizeof *p);
    if (!p) {
        return qx_fail_nomem(err, (size_t)t->numel * sizeof *p);
    }
    const enum qx_status st = qx_tensor_read(t, 0, t->numel, p, err);
    if (st != QX_OK) {
        qx_mem_free(p);
        return st;
    }
    *out = p;
    return QX_OK;
}

enum qx_status qx_wide_take(const struct qx_net *net, const struct qx_value *v, const float **out,
                            struct qx_error *err)
{
    struct copy *c = &net->wide->copies[v->index];
    pthread_mutex_lock(&net->wide->lock);
    const enum qx_status st =
        c->v ? QX_OK : widen(qx_model_tensor(net->model, v->tensor), &c->v, err);
    if (st == QX_OK) {
        c->taken++;
        *out = c->v;
    }
    pthread_mutex_unlock(&net->wide->lock);
    return st;
}

void qx_wide_drop(const struct qx_net *net, const struct qx_value *v)
{
    struct copy *c = &net->wide->copies[v->index];
    pthread_mutex_lock(&net->wide->lock);
    if (--c->taken == 0) {
        qx_mem_free(c->v);
        c->v = NULL;
    }
    pthread_mutex_unlock(&net->wide->lock);
}

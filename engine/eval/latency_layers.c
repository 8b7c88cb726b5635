/* What each layer takes of a sample's time, from passes that go on from it. */
#include "qx/bench.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

#include <math.h>

enum { ROUNDS_LEAST = 3, ROUNDS_MOST = 25 };
static const double time_s = 2.0;

struct timing {
    const struct qx_net *net;
    const struct qx_weights *w;
    const float *x;
    int n;                   /* layers */
    struct qx_net_cut **cut; /* [n] */
    double *time;            /* [n + 1, ROUNDS_MOST] seconds from layer i; last: the whole pass */
    float *logits;
};

static void release(struct timing *t)
{
    for (int i = 0; t->cut && i < t->n; i++) {
        qx_net_cut_free(t->cut[i]);
    }
    qx_mem_free(t->cut);
    qx_mem_free(t->time);
    qx_mem_free(t->logits);
}

static enum qx_status init(struct timing *t, struct qx_error *err)
{
    t->n = qx_net_n_layers(t->net);
    const size_t n = (size_t)t->n;
    t->cut = qx_mem_zalloc((n + 1) * sizeof *t->cut);
    t->time = qx_mem_array((n + 1) * ROUNDS_MOST, sizeof *t->time);
    t->logits = qx_mem_array((size_t)qx_net_n_classes(t->net), sizeof *t->logits);
    enum qx_status st = t->cut && t->time && t->logits
                            ? QX_OK
                            : qx_fail_nomem(err, (n + 1) * ROUNDS_MOST * sizeof *t->time);
    for (int i = 0; st == QX_OK && i < t->n; i++) {
        st = qx_net_cut_new(t->net, t->w, i, t->x, 1, NULL, &t->cut[i], NULL, NULL, err);
    }
    return st;
}

/* One pass from every layer, and a whole one. */
static enum qx_status round_run(struct timing *t, int round, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i <= t->n; i++) {
        const double start = qx_clock_s();
        st = i < t->n ? qx_net_run_from(t->net, t->w, t->cut[i], t->logits, NULL, NULL, NULL, err)
                      : qx_net_run(t->net, t->w, t->x, 1, t->logits, NULL, NULL, NULL, err);
        t->time[i * ROUNDS_MOST + round] = qx_clock_s() - start;
    }
    return st;
}

/* Median of the rounds; sorts them. */
static double median(double *v, int n)
{
    for (int i = 1; i < n; i++) {
        for (int k = i; k > 0 && v[k] < v[k - 1]; k--) {
            const double x = v[k];
            v[k] = v[k - 1];
            v[k - 1] = x;
        }
    }
    return 1e3 * v[n / 2];
}

enum qx_status qx_latency_layers(const struct qx_net *net, const struct qx_weights *w,
                                 const float *x, struct qx_ctl *ctl, double *layer_ms,
                                 double *rest_ms, struct qx_error *err)
{
    struct timing t = {.net = net, .w = w, .x = x};
    enum qx_status st = init(&t, err);
    st = st == QX_OK ? round_run(&t, 0, err) : st; /* warms up */
    const double start = qx_clock_s();
    int rounds = 0;
    while (st == QX_OK && rounds < ROUNDS_MOST &&
           (rounds < ROUNDS_LEAST || qx_clock_s() - start < time_s)) {
        st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the timing was cancelled")
                                 : round_run(&t, rounds++, err);
    }
    if (st == QX_OK) {
        double next = 0.0, whole = median(t.time + t.n * ROUNDS_MOST, rounds);
        for (int i = t.n - 1; i >= 0; i--) {
            const double from = fmax(median(t.time + i * ROUNDS_MOST, rounds), next);
            layer_ms[i] = from - next;
            next = from;
        }
        *rest_ms = fmax(whole - next, 0.0);
    }
    release(&t);
    return st;
}

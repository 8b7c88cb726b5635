/* Times of repeated runs, and what may be said of them. */
#include "qx/bench.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

enum { RUNS_MOST = 100000 };

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank: the smallest time that at least `percent` of the runs do not exceed. */
static double rank(const double *sorted, int n, double percent)
{
    int i = (int)ceil(percent / 100.0 * n);
    return sorted[i < 1 ? 0 : i - 1] * 1e3;
}

void qx_latency_of(double *times, int n, int n_warmup, struct qx_latency *out)
{
    const double none = (double)NAN;
    *out = (struct qx_latency){n_warmup, n, none, none, none, none, none};
    if (n < 1) {
        return;
    }
    double sum = 0.0;
    qsort(times, (size_t)n, sizeof *times, by_value);
    for (int i = 0; i < n; i++) {
        sum += times[i];
    }
    out->best_ms = times[0] * 1e3;
    out->mean_ms = sum / n * 1e3;
    if (n >= QX_LATENCY_RUNS) {
        out->p5_ms = rank(times, n, 5);
        out->p50_ms = rank(times, n, 50);
        out->p95_ms = rank(times, n, 95);
    }
}

double qx_latency_ms(const struct qx_latency *l)
{
    return l->n_runs >= QX_LATENCY_RUNS ? l->p50_ms : l->mean_ms;
}

static enum qx_status step_once(qx_latency_fn *step, void *arg, struct qx_ctl *ctl, double *time,
                                struct qx_error *err)
{
    if (qx_cancel_test(ctl)) {
        return qx_fail(err, QX_ECANCELLED, "the benchmark was cancelled");
    }
    const double start = qx_clock_s();
    const enum qx_status st = step(arg, err);
    *time = qx_clock_s() - start;
    return st;
}

enum qx_status qx_latency_measure(qx_latency_fn *step, void *arg, int n_warmup, int n_runs,
                                  struct qx_ctl *ctl, struct qx_latency *out, struct qx_error *err)
{
    if (n_runs < 1 || n_runs > RUNS_MOST || n_warmup < 0 || n_warmup > RUNS_MOST) {
        return qx_fail(err, QX_ERANGE,
                       "%d runs after %d that warm up: choose 1 to %d runs after 0 to %d", n_runs,
                       n_warmup, RUNS_MOST, RUNS_MOST);
    }
    double *times = qx_mem_array((size_t)n_runs, sizeof *times);
    if (!times) {
        return qx_fail_nomem(err, (size_t)n_runs * sizeof *times);
    }
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < n_warmup; i++) {
        st = step_once(step, arg, ctl, &times[0], err);
    }
    for (int i = 0; st == QX_OK && i < n_runs; i++) {
        st = step_once(step, arg, ctl, &times[i], err);
    }
    if (st == QX_OK) {
        qx_latency_of(times, n_runs, n_warmup, out);
    }
    qx_mem_free(times);
    return st;
}

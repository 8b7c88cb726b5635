/* Figures over pairs of predicted and true values. */
#include "study.h"

#include <math.h>
#include <stdlib.h>

struct ranked {
    double value;
    int at;
};

static int by_value(const void *a, const void *b)
{
    const double x = ((const struct ranked *)a)->value, y = ((const struct ranked *)b)->value;
    return (x > y) - (x < y);
}

static void rank(const double *x, int n, double *out)
{
    struct ranked *r = study_take((size_t)n, sizeof *r);
    for (int i = 0; i < n; i++) {
        r[i] = (struct ranked){x[i], i};
    }
    qsort(r, (size_t)n, sizeof *r, by_value);
    for (int i = 0, end; i < n; i = end) {
        for (end = i; end < n && r[end].value == r[i].value; end++) {
        }
        for (int k = i; k < end; k++) {
            out[r[k].at] = 0.5 * (i + end - 1);
        }
    }
    free(r);
}

double study_spearman(const double *a, const double *b, int n)
{
    if (n < 3) {
        return NAN;
    }
    double *ra = study_take((size_t)n, sizeof *ra), *rb = study_take((size_t)n, sizeof *rb);
    rank(a, n, ra);
    rank(b, n, rb);
    const double mean = 0.5 * (n - 1);
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (int i = 0; i < n; i++) {
        ab += (ra[i] - mean) * (rb[i] - mean);
        aa += (ra[i] - mean) * (ra[i] - mean);
        bb += (rb[i] - mean) * (rb[i] - mean);
    }
    free(ra);
    free(rb);
    return ab / sqrt(aa * bb);
}

double study_r2(const double *predicted, const double *truth, int n)
{
    double mean = 0.0, residual = 0.0, total = 0.0;
    for (int i = 0; i < n; i++) {
        mean += truth[i] / n;
    }
    for (int i = 0; i < n; i++) {
        residual += (predicted[i] - truth[i]) * (predicted[i] - truth[i]);
        total += (truth[i] - mean) * (truth[i] - mean);
    }
    return n < 3 ? NAN : 1.0 - residual / total;
}

double study_r2_log10(const double *predicted, const double *truth, int n)
{
    const double floor = 1e-9;
    double *p = study_take((size_t)n, sizeof *p), *t = study_take((size_t)n, sizeof *t);
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (truth[i] > floor) {
            p[kept] = log10(fmax(predicted[i], floor));
            t[kept++] = log10(truth[i]);
        }
    }
    const double r2 = study_r2(p, t, kept);
    free(p);
    free(t);
    return r2;
}

static int by_number(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double study_median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_number);
    return n == 0 ? NAN : 0.5 * (x[(n - 1) / 2] + x[n / 2]);
}

int study_regime(double drop)
{
    return drop < 5.0 ? 0 : drop <= 15.0 ? 1 : 2;
}

struct study_errors study_mae(const double *predicted, const double *truth, int n)
{
    struct study_errors e = {0};
    for (int i = 0; i < n; i++) {
        const int r = study_regime(truth[i]);
        e.n[r]++;
        e.mae[r] += fabs(predicted[i] - truth[i]);
        e.bias[r] += predicted[i] - truth[i];
    }
    for (int r = 0; r < STUDY_REGIMES; r++) {
        e.mae[r] = e.n[r] ? e.mae[r] / e.n[r] : NAN;
        e.bias[r] = e.n[r] ? e.bias[r] / e.n[r] : NAN;
    }
    return e;
}

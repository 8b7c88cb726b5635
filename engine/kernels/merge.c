/* Joining the results of blocks: runs once per block, so one version serves every rung. */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

struct qxk_stats qxk_stats_zero(void)
{
    return (struct qxk_stats){.min = INFINITY, .max = -INFINITY};
}

void qxk_stats_merge(struct qxk_stats *a, const struct qxk_stats *b)
{
    a->sum += b->sum;
    a->sumsq += b->sumsq;
    a->min = b->min < a->min ? b->min : a->min;
    a->max = b->max > a->max ? b->max : a->max;
    a->absmax = b->absmax > a->absmax ? b->absmax : a->absmax;
    a->n_finite += b->n_finite;
    a->n_zero += b->n_zero;
    a->n_nan += b->n_nan;
    a->n_posinf += b->n_posinf;
    a->n_neginf += b->n_neginf;
}

void qxk_error_merge(struct qxk_error *a, const struct qxk_error *b)
{
    a->sse += b->sse;
    a->sae += b->sae;
    a->se += b->se;
    a->sxx += b->sxx;
    a->sxy += b->sxy;
    a->syy += b->syy;
    a->max_abs = b->max_abs > a->max_abs ? b->max_abs : a->max_abs;
    a->n += b->n;
    a->n_low += b->n_low;
    a->n_high += b->n_high;
    a->n_nonfinite += b->n_nonfinite;
}

bool qxk_hist_flush_half(struct qxk_hist_work *work, int first, int n, struct qxk_halfbin *acc)
{
    const uint64_t s1_mask = ((uint64_t)1 << 40) - 1;
    bool any = false;
    for (int i = 0; i < n; i++) {
        const uint64_t n_s1 = work->half[first + i].n_s1;
        if (n_s1 != 0) {
            acc[i].n += n_s1 >> 40;
            acc[i].s1 += n_s1 & s1_mask;
            acc[i].s2 += work->half[first + i].s2;
            work->half[first + i].n_s1 = 0;
            work->half[first + i].s2 = 0;
            any = true;
        }
    }
    return any;
}

uint64_t qxk_hist_flush_rest(struct qxk_hist_work *work, uint64_t *lin)
{
    const uint64_t n_nonfinite = work->n_nonfinite;
    for (int i = 0; i < QXK_LIN_BINS; i++) {
        lin[i] += work->lin[0][i] + work->lin[1][i];
    }
    memset(work->lin, 0, sizeof work->lin);
    work->n_nonfinite = 0;
    work->n_pending = 0;
    return n_nonfinite;
}

void qxk_hist_flush(struct qxk_hist_work *work, struct qxk_hist *acc)
{
    qxk_hist_flush_half(work, 0, QXK_HALF_BINS, acc->half);
    acc->n_nonfinite += qxk_hist_flush_rest(work, acc->lin);
}

void qxk_hist_u16_flush(struct qxk_hist_u16_work *work, uint64_t *acc)
{
    for (int i = 0; i < QXK_HALF_BINS; i++) {
        acc[i] += (uint64_t)work->n[0][i] + work->n[1][i];
    }
    memset(work, 0, sizeof *work);
}

float qxk_half_width(uint32_t index)
{
    int e = (int)(index >> 10 & 31);
    return ldexpf(1.0f, (e > 1 ? e : 1) - 25);
}

float qxk_half_edge(uint32_t index)
{
    int e = (int)(index >> 10 & 31), man = (int)(index & 1023);
    float edge = ldexpf((float)(e > 0 ? man + 1024 : man), (e > 1 ? e : 1) - 25);
    return index & 0x8000 ? -edge : edge;
}

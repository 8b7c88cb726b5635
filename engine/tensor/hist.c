/* A finished histogram: ownership and the questions that displays and calibrators ask. */
#include "base/mem.h"
#include "tensor/hist_priv.h"

#include <stdlib.h>

struct qx_hist *qx_hist_new(void)
{
    struct qx_hist *h = qx_mem_zalloc(sizeof *h);
    if (h) {
        atomic_store(&h->refs, 1);
        h->bytes = sizeof *h;
    }
    return h;
}

struct qx_hist *qx_hist_ref(struct qx_hist *h)
{
    atomic_fetch_add(&h->refs, 1);
    return h;
}

void qx_hist_unref(struct qx_hist *h)
{
    if (h && atomic_fetch_sub(&h->refs, 1) == 1) {
        qx_arena_release(&h->arena);
        qx_mem_free(h);
    }
}

void *qx_hist_array(struct qx_hist *h, size_t n, size_t size)
{
    size_t bytes;
    if (!qx_size_mul(n, size, &bytes) || !qx_size_add(bytes, 63, &bytes)) {
        return NULL;
    }
    char *p = qx_arena_alloc(&h->arena, bytes);
    if (!p) {
        return NULL;
    }
    h->bytes += bytes;
    return p + (-(uintptr_t)p & 63);
}

bool qx_hist_units_new(struct qx_hist *h, int64_t n)
{
    float *all = qx_hist_array(h, (size_t)n, 3 * sizeof *all);
    if (all) {
        h->units = (struct qx_units){n, all, all + n, all + 2 * n};
        h->f.n_units = n;
    }
    return all != NULL;
}

bool qx_hist_table_new(struct qx_hist *h, struct qx_hist_table *t, struct qx_hist_line **lines,
                       uint16_t **first)
{
    *lines = qx_hist_array(h, (size_t)t->n_lines + 1, sizeof **lines);
    *first = qx_hist_array(h, (size_t)t->n_bins, sizeof **first);
    t->lines = *lines;
    t->first = *first;
    return *lines && *first;
}

/* Kernel index (sign and magnitude) of a bin in value order. */
static uint32_t index_of(int bin)
{
    return bin >= 32768 ? (uint32_t)(bin - 32768) : 0x8000u | (uint32_t)(32767 - bin);
}

bool qx_hist_fill_main(struct qx_hist *h, double key_scale, qx_hist_acc_fn *fn, const void *arg)
{
    struct qx_hist_table *t = &h->tables.main;
    struct qx_hist_line *lines;
    struct qx_hist_fill fill = {0};
    uint16_t *first;
    int n = 0;
    t->n_bins = QX_HIST_BINS;
    t->key_scale = key_scale;
    for (int bin = 0; bin < QX_HIST_BINS; bin++) {
        struct qx_hist_acc acc;
        fn(arg, index_of(bin), 0.0, &acc);
        n += acc.n > 0;
    }
    t->n_lines = n;
    if (!qx_hist_table_new(h, t, &lines, &first)) {
        return false;
    }
    n = 0;
    for (int bin = 0; bin < QX_HIST_BINS; bin++) {
        struct qx_hist_acc acc;
        uint32_t index = index_of(bin);
        double step = (double)qxk_half_width(index) / 8192.0 / key_scale;
        fn(arg, index, bin < 32768 ? -step : step, &acc);
        if (acc.n > 0) {
            qx_hist_line_set(&lines[n++], &fill, bin, qx_hist_origin(t, bin), &acc);
        }
    }
    qx_hist_table_finish(&fill, lines, n, first, QX_HIST_BINS);
    return true;
}

/* ---- accessors ---- */

const struct qx_hist_spec *qx_hist_spec(const struct qx_hist *h)
{
    return &h->f.spec;
}

const struct qx_stats *qx_hist_stats(const struct qx_hist *h)
{
    return &h->f.stats;
}

const struct qx_units *qx_hist_units(const struct qx_hist *h)
{
    return &h->units;
}

const struct qx_hist_tables *qx_hist_tables(const struct qx_hist *h)
{
    return &h->tables;
}

bool qx_hist_lossless(const struct qx_hist *h)
{
    return h->f.is_lossless;
}

bool qx_hist_rounded(const struct qx_hist *h)
{
    return h->f.is_rounded;
}

uint64_t qx_hist_bytes(const struct qx_hist *h)
{
    return h->bytes;
}

const double *qx_hist_linear(const struct qx_hist *h, double *top)
{
    *top = h->f.lin_top;
    return h->f.lin;
}

/* ---- folding for display ---- */

struct fold {
    double lo, hi, inv; /* inv: cells per unit */
    int n_cells;
    double *out, *below, *beyond;
};

/* `mass` spread evenly over [a, b], or all at a when b <= a. */
static void spread(const struct fold *f, double a, double b, double mass)
{
    if (!(b > a)) {
        double cell = (a - f->lo) * f->inv;
        if (a < f->lo) {
            *f->below += mass;
        } else if (a > f->hi) {
            *f->beyond += mass;
        } else {
            f->out[cell >= f->n_cells ? f->n_cells - 1 : (int)cell] += mass;
        }
        return;
    }
    double density = mass / (b - a);
    if (a < f->lo) {
        *f->below += density * (fmin(b, f->lo) - a);
        a = f->lo;
    }
    if (b > f->hi) {
        *f->beyond += density * (b - fmax(a, f->hi));
        b = f->hi;
    }
    double from = (a - f->lo) * f->inv, to = (b - f->lo) * f->inv;
    for (int i = (int)from; from < to && i < f->n_cells; i++) {
        double end = fmin(to, i + 1.0);
        f->out[i] += density * (end - from) / f->inv;
        from = end;
    }
}

void qx_hist_fold(const struct qx_hist *h, double lo, double hi, int n_cells, double *out,
                  double *below, double *beyond)
{
    const struct qx_hist_table *t = &h->tables.main;
    double lost[2];
    struct fold f = {.lo = lo, .hi = hi, .n_cells = n_cells, .out = out};
    f.inv = hi > lo ? n_cells / (hi - lo) : 0.0;
    f.below = below ? below : &lost[0];
    f.beyond = beyond ? beyond : &lost[1];
    *f.below = *f.beyond = 0.0;
    for (int i = 0; i < n_cells; i++) {
        out[i] = 0.0;
    }
    for (int i = 0; i < t->n_lines; i++) {
        const struct qx_hist_line *line = &t->lines[i];
        double half = (double)line->radius;
        if (half == 0.0 && h->f.spacing > 0.0 && line->mean != 0.0) {
            /* A narrow dtype's value stands for all that round to it: without this, cells that hold
             * one more of its values than their neighbours would show as teeth. */
            half = 0.5 * h->f.spacing * ldexp(1.0, ilogb(line->mean));
        }
        spread(&f, line->mean - half, line->mean + half, line[1].n0 - line->n0);
    }
}

/* ---- quantiles ---- */

static double rank_of(double p, double n)
{
    double rank = ceil(p * n - 1e-9);
    return rank < 1.0 ? 1.0 : rank > n ? n : rank;
}

double qx_hist_quantile(const struct qx_hist *h, double p)
{
    const struct qx_hist_table *t = &h->tables.main;
    double n = t->n_lines > 0 ? t->lines[t->n_lines].n0 : 0.0;
    if (!(n > 0.0)) {
        return NAN;
    }
    double rank = rank_of(p, n);
    int lo = 0, hi = t->n_lines - 1; /* the first line that ends at or above the rank */
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (t->lines[mid + 1].n0 >= rank) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    const struct qx_hist_line *line = &t->lines[lo];
    double mass = line[1].n0 - line->n0;
    return line->mean + (double)line->radius * (2.0 * (rank - line->n0 - 0.5) / mass - 1.0);
}

/* Share of a bin's mass with magnitude at most v. */
static double mass_within(const struct qx_hist_line *line, double v)
{
    double mass = line[1].n0 - line->n0, mean = fabs(line->mean), radius = (double)line->radius;
    if (radius == 0.0) {
        return mean <= v ? mass : 0.0;
    }
    double share = (v - (mean - radius)) / (2.0 * radius);
    return mass * fmin(1.0, fmax(0.0, share));
}

/* The line of the bin, or NULL when it is empty. */
static const struct qx_hist_line *line_at(const struct qx_hist_table *t, int bin)
{
    int i = t->first[bin];
    return i < t->n_lines && t->lines[i].bin == (uint32_t)bin ? &t->lines[i] : NULL;
}

/* Smallest v at which the two lines (either may be NULL) hold `need` values within v. */
static double solve_pair(const struct qx_hist_line *a, const struct qx_hist_line *b, double need)
{
    const struct qx_hist_line *lines[2] = {a, b};
    double lo = INFINITY, hi = 0.0;
    for (int i = 0; i < 2; i++) {
        if (lines[i]) {
            double mean = fabs(lines[i]->mean), radius = (double)lines[i]->radius;
            lo = fmin(lo, mean - radius);
            hi = fmax(hi, mean + radius);
        }
    }
    for (int step = 0; step < 60; step++) {
        double mid = lo + 0.5 * (hi - lo), held = 0.0;
        for (int i = 0; i < 2; i++) {
            held += lines[i] ? mass_within(lines[i], mid) : 0.0;
        }
        if (held >= need) {
            hi = mid;
        } else {
            lo = mid;
        }
    }
    for (int i = 0; i < 2; i++) { /* land on a point mass exactly */
        if (lines[i] && lines[i]->radius == 0.0f && fabs(fabs(lines[i]->mean) - hi) <= 1e-12 * hi) {
            return fabs(lines[i]->mean);
        }
    }
    return hi;
}

double qx_hist_quantile_abs(const struct qx_hist *h, double p)
{
    const struct qx_hist_table *t = &h->tables.main;
    double n = t->n_lines > 0 ? t->lines[t->n_lines].n0 : 0.0, seen = 0.0;
    if (!(n > 0.0)) {
        return NAN;
    }
    double rank = rank_of(p, n);
    for (int mag = 0; mag < 32768; mag++) {
        const struct qx_hist_line *a = line_at(t, 32768 + mag), *b = line_at(t, 32767 - mag);
        double mass = (a ? a[1].n0 - a->n0 : 0.0) + (b ? b[1].n0 - b->n0 : 0.0);
        if (mass > 0.0 && seen + mass >= rank) {
            /* Half a value early: rank r of m equal parts of a box is the middle of part r. */
            bool has_box = (a && a->radius > 0.0f) || (b && b->radius > 0.0f);
            return solve_pair(a, b, rank - seen - (has_box ? 0.5 : 0.0));
        }
        seen += mass;
    }
    return NAN;
}

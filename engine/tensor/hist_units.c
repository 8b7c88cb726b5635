/* Granularity channel and group: the range of every unit, then one histogram of u = x / a for all of
 * them, weighted by a and a^2 (ux.md 4.3); asymmetric ones also by class of rho, where zero lies. */
#include "base/error.h"
#include "base/mem.h"
#include "tensor/hist_priv.h"

#include <float.h>

#define KEY_SCALE 32768.0 /* u = 1 lands on 2^15 */

/* Sums of one tile at a time; added into the total in tile order. */
struct slot {
    struct qxk_wbin *bins;       /* [65536] */
    struct qx_hist_acc *classes; /* [n_classes][2048], asymmetric only */
    struct qx_rows_buf buf;
};

struct pass {
    const struct qx_hist_job *job;
    struct qx_rows rows;
    float *lo, *hi, *absmax; /* of the units */
    bool sym;
    int n_classes;
    int class_of[QX_HIST_CLASSES]; /* index of a rho class among those in use, -1: none */
    struct qx_hist_table class_tables[QX_HIST_CLASSES];
    struct slot *slots; /* [n_slots + 1]; the last holds the total */
    int n_slots;
    int64_t first_tile; /* of this round */
};

struct tile_arg {
    struct pass *p;
    struct slot *slot;
};

static bool is_cancelled(const struct pass *p, enum qx_status *st)
{
    if (qx_cancel_test(p->job->ctl)) {
        *st = qx_fail(p->job->err, QX_ECANCELLED, "the histogram was cancelled");
        return true;
    }
    return false;
}

/* ---- ranges ---- */

static void range_run(void *arg, int64_t unit, const float *x, size_t n)
{
    struct pass *p = ((struct tile_arg *)arg)->p;
    float lo = p->lo[unit], hi = p->hi[unit];
    if (n >= 256) {
        struct qxk_stats s;
        qxk_get()->stats_f32(x, n, &s);
        lo = s.min < lo ? s.min : lo;
        hi = s.max > hi ? s.max : hi;
    } else {
        for (size_t i = 0; i < n; i++) {
            bool finite = fabsf(x[i]) <= FLT_MAX;
            lo = finite && x[i] < lo ? x[i] : lo;
            hi = finite && x[i] > hi ? x[i] : hi;
        }
    }
    p->lo[unit] = lo;
    p->hi[unit] = hi;
}

static void range_tile(void *arg, int64_t i, int worker)
{
    struct pass *p = arg;
    struct tile_arg a = {p, NULL};
    (void)worker;
    qx_rows_tile(&p->rows, p->first_tile + i, &p->slots[i].buf, p->job->ctl, range_run, &a);
}

/* A unit's a: its weight, by which its values are divided. 0 for units of zeros (and of values so
 * small that 1 / a overflows). */
static float unit_scale(const struct pass *p, int64_t unit)
{
    float a = p->sym ? p->absmax[unit] : fmaxf(p->hi[unit], 0.0f) - fminf(p->lo[unit], 0.0f);
    return a < FLT_MIN ? 0.0f : fminf(a, FLT_MAX);
}

static double unit_rho(const struct pass *p, int64_t unit, double a)
{
    return a > 0.0 ? -fmin((double)p->lo[unit], 0.0) / a : 0.0;
}

static int rho_class(double rho)
{
    int c = (int)(rho * QX_HIST_CLASSES);
    return c < 0 ? 0 : c < QX_HIST_CLASSES ? c : QX_HIST_CLASSES - 1;
}

static void ranges_finish(struct pass *p)
{
    struct qx_hist *h = p->job->h;
    float a_min = INFINITY, a_max = 0.0f;
    for (int64_t u = 0; u < h->units.n; u++) {
        if (p->lo[u] > p->hi[u]) { /* nothing finite */
            p->lo[u] = p->hi[u] = 0.0f;
        }
        p->absmax[u] = fmaxf(fabsf(p->lo[u]), fabsf(p->hi[u]));
        float a = unit_scale(p, u);
        if (a > 0.0f) {
            a_min = fminf(a_min, a);
            a_max = fmaxf(a_max, a);
        }
    }
    h->f.a_max = a_max;
    h->f.a_min = a_max > 0.0f ? a_min : 0.0f;
}

/* Runs fn for the tiles of one round after another; after each, `merge` when it is not NULL. */
static enum qx_status run_rounds(struct pass *p, qx_pool_fn *fn, void (*merge)(struct pass *, int))
{
    enum qx_status st = QX_OK;
    for (int64_t tile = 0; tile < p->rows.n_tiles; tile += p->n_slots) {
        int64_t left = p->rows.n_tiles - tile;
        int n = left < p->n_slots ? (int)left : p->n_slots;
        p->first_tile = tile;
        qx_pool_for(p->job->pool, n, fn, p);
        if (is_cancelled(p, &st)) {
            return st;
        }
        if (merge) {
            merge(p, n);
        }
    }
    return st;
}

/* ---- classes of rho ---- */

static void classes_find(struct pass *p)
{
    double rho_min[QX_HIST_CLASSES], rho_max[QX_HIST_CLASSES], sum[QX_HIST_CLASSES] = {0};
    int64_t n[QX_HIST_CLASSES] = {0}, n_scaled[QX_HIST_CLASSES] = {0};
    for (int64_t u = 0; u < p->job->h->units.n; u++) {
        double a = (double)unit_scale(p, u), rho = unit_rho(p, u, a);
        int c = rho_class(rho);
        rho_min[c] = n[c] == 0 ? rho : fmin(rho_min[c], rho);
        rho_max[c] = n[c] == 0 ? rho : fmax(rho_max[c], rho);
        n[c]++;
        n_scaled[c] += a > 0.0;
        sum[c] += rho;
    }
    for (int c = 0; c < QX_HIST_CLASSES; c++) {
        p->class_of[c] = n[c] > 0 ? p->n_classes : -1;
        if (n[c] > 0) {
            struct qx_hist_table *t = &p->class_tables[p->n_classes++];
            t->is_linear = true;
            t->n_bins = QX_HIST_CLASS_BINS;
            t->lin_lo = -rho_max[c];
            t->lin_inv = QX_HIST_CLASS_BINS / (1.0 - rho_min[c] + rho_max[c]);
            t->rho = n_scaled[c] > 0 ? sum[c] / (double)n_scaled[c] : 0.0;
        }
    }
}

/* ---- the normalised histogram ---- */

static void zero_run(const struct pass *p, struct slot *slot, const float *x, size_t n)
{
    double n_finite = 0.0;
    for (size_t i = 0; i < n; i++) {
        n_finite += fabsf(x[i]) <= FLT_MAX;
    }
    slot->bins[0].n += n_finite;
    if (slot->classes && n_finite > 0.0) {
        int c = p->class_of[0], bin = qx_hist_bin(&p->class_tables[c], 0.0);
        slot->classes[c * QX_HIST_CLASS_BINS + bin].n += n_finite;
    }
}

/* The values of one run into the table of its unit's class. */
static void classes_run(const struct pass *p, struct qx_hist_acc *classes, int64_t unit,
                        const float *x, size_t n, float inv_a, double a)
{
    int c = p->class_of[rho_class(unit_rho(p, unit, a))];
    const struct qx_hist_table *t = &p->class_tables[c];
    struct qx_hist_acc *row = classes + (size_t)c * QX_HIST_CLASS_BINS;
    const double lo = t->lin_lo, inv = t->lin_inv, width = 1.0 / inv, aa = a * a;
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(x[i]) <= FLT_MAX)) {
            continue;
        }
        double at = ((double)(x[i] * inv_a) - lo) * inv;
        at = at > 0.0 ? at : 0.0;
        int bin = at < QX_HIST_CLASS_BINS ? (int)at : QX_HIST_CLASS_BINS - 1;
        double d = (at - (bin + 0.5)) * width;
        struct qx_hist_acc *acc = &row[bin];
        acc->n += 1.0;
        acc->p0 += aa;
        acc->d1 += aa * d;
        acc->d2 += aa * d * d;
        acc->m0 += a;
        acc->md1 += a * d;
    }
}

static void weigh_run(void *arg, int64_t unit, const float *x, size_t n)
{
    struct tile_arg *t = arg;
    const struct pass *p = t->p;
    float a = unit_scale(p, unit);
    if (a == 0.0f) {
        zero_run(p, t->slot, x, n);
        return;
    }
    float inv_a = 1.0f / a;
    if (a * inv_a > 1.0f) { /* the largest value must not land beyond 1 */
        inv_a = nextafterf(inv_a, 0.0f);
    }
    qxk_get()->hist_weighted(t->slot->bins, x, n, inv_a, (float)KEY_SCALE, (double)a);
    if (!t->slot->classes) {
        return;
    }
    classes_run(p, t->slot->classes, unit, x, n, inv_a, (double)a);
}

static void weigh_tile(void *arg, int64_t i, int worker)
{
    struct pass *p = arg;
    struct tile_arg a = {p, &p->slots[i]};
    (void)worker;
    qx_rows_tile(&p->rows, p->first_tile + i, &p->slots[i].buf, p->job->ctl, weigh_run, &a);
}

static void add_doubles(double *to, double *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] += from[i];
        from[i] = 0.0;
    }
}

static size_t class_cells(const struct pass *p)
{
    return (size_t)p->n_classes * QX_HIST_CLASS_BINS;
}

static void merge_round(struct pass *p, int n)
{
    struct slot *total = &p->slots[p->n_slots];
    for (int i = 0; i < n; i++) {
        add_doubles((double *)total->bins, (double *)p->slots[i].bins,
                    QX_HIST_BINS * (sizeof(struct qxk_wbin) / sizeof(double)));
        if (total->classes) {
            add_doubles((double *)total->classes, (double *)p->slots[i].classes,
                        class_cells(p) * (sizeof(struct qx_hist_acc) / sizeof(double)));
        }
    }
}

static void acc_weighted(const void *arg, uint32_t index, double step, struct qx_hist_acc *out)
{
    const struct qxk_wbin *b = &((const struct qxk_wbin *)arg)[index];
    *out = (struct qx_hist_acc){.n = b->n,
                                .p0 = b->a0,
                                .d1 = step * b->a1,
                                .d2 = step * step * b->a2,
                                .m0 = b->m0,
                                .md1 = step * b->m1};
}

static bool fill_class(struct qx_hist *h, struct qx_hist_table *t, const struct qx_hist_acc *acc)
{
    struct qx_hist_line *lines;
    struct qx_hist_fill fill = {0};
    uint16_t *first;
    int n = 0;
    for (int bin = 0; bin < t->n_bins; bin++) {
        t->n_lines += acc[bin].n > 0;
    }
    if (t->n_lines == 0) {
        return true;
    }
    if (!qx_hist_table_new(h, t, &lines, &first)) {
        return false;
    }
    for (int bin = 0; bin < t->n_bins; bin++) {
        if (acc[bin].n > 0) {
            qx_hist_line_set(&lines[n++], &fill, bin, qx_hist_origin(t, bin), &acc[bin]);
        }
    }
    qx_hist_table_finish(&fill, lines, n, first, t->n_bins);
    return true;
}

static bool fill_classes(struct pass *p, const struct qx_hist_acc *acc)
{
    struct qx_hist *h = p->job->h;
    struct qx_hist_table *kept = qx_hist_array(h, (size_t)p->n_classes, sizeof *kept);
    if (!kept) {
        return false;
    }
    h->tables.classes = kept;
    for (int c = 0; c < p->n_classes; c++) {
        struct qx_hist_table *t = &p->class_tables[c];
        if (!fill_class(h, t, acc + (size_t)c * QX_HIST_CLASS_BINS)) {
            return false;
        }
        if (t->n_lines > 0) {
            kept[h->tables.n_classes++] = *t;
        }
    }
    return true;
}

/* Half-key bins of u in [1/2, 1] are as wide as the 2,048 linear bins, the others narrower, and all
 * nest: the fold is exact. */
static void fold_linear(struct qx_hist *h)
{
    const struct qx_hist_table *t = &h->tables.main;
    for (int i = 0; i < t->n_lines; i++) {
        int bin = (int)(fabs(qx_hist_origin(t, (int)t->lines[i].bin)) * QX_HIST_LIN);
        h->f.lin[bin < QX_HIST_LIN ? bin : QX_HIST_LIN - 1] += t->lines[i + 1].n0 - t->lines[i].n0;
    }
}

static bool slot_sums_new(struct pass *p, struct slot *s)
{
    s->bins = qx_mem_aligned(QX_HIST_BINS * sizeof *s->bins);
    s->classes = p->sym ? NULL : qx_mem_zalloc(class_cells(p) * sizeof *s->classes);
    if (s->bins) {
        memset(s->bins, 0, QX_HIST_BINS * sizeof *s->bins);
    }
    return s->bins && (p->sym || s->classes);
}

static enum qx_status weigh(struct pass *p)
{
    struct slot *total = &p->slots[p->n_slots];
    bool ok = true;
    if (!p->sym) {
        classes_find(p);
    }
    for (int i = 0; ok && i <= p->n_slots; i++) {
        ok = slot_sums_new(p, &p->slots[i]);
    }
    if (!ok) {
        return qx_fail_nomem(p->job->err, QX_HIST_BINS * sizeof *total->bins);
    }
    enum qx_status st = run_rounds(p, weigh_tile, merge_round);
    if (st != QX_OK) {
        return st;
    }
    ok = qx_hist_fill_main(p->job->h, KEY_SCALE, acc_weighted, total->bins) &&
         (p->sym || fill_classes(p, total->classes));
    if (!ok) {
        return qx_fail_nomem(p->job->err, QX_HIST_BINS * sizeof(struct qx_hist_line));
    }
    fold_linear(p->job->h);
    return QX_OK;
}

/* ---- the pass ---- */

static bool slots_new(struct pass *p)
{
    p->slots = qx_mem_zalloc(((size_t)p->n_slots + 1) * sizeof *p->slots);
    for (int i = 0; p->slots && i < p->n_slots; i++) {
        struct qx_rows_buf *buf = &p->slots[i].buf;
        buf->in = qx_mem_array(QX_HIST_BLOCK, sizeof(float));
        buf->out = qx_mem_array(QX_HIST_BLOCK, sizeof(float));
        if (!buf->in || !buf->out) {
            return false;
        }
    }
    return p->slots != NULL;
}

static void slots_free(struct pass *p)
{
    for (int i = 0; p->slots && i <= p->n_slots; i++) {
        qx_mem_free(p->slots[i].bins);
        qx_mem_free(p->slots[i].classes);
        qx_mem_free(p->slots[i].buf.in);
        qx_mem_free(p->slots[i].buf.out);
    }
    qx_mem_free(p->slots);
}

static enum qx_status run(struct pass *p)
{
    struct qx_hist *h = p->job->h;
    if (!qx_hist_units_new(h, p->rows.per_row * p->rows.c.count) || !slots_new(p)) {
        return qx_fail_nomem(p->job->err, (size_t)p->rows.per_row * sizeof(float));
    }
    p->lo = (float *)(uintptr_t)h->units.lo;
    p->hi = (float *)(uintptr_t)h->units.hi;
    p->absmax = (float *)(uintptr_t)h->units.absmax;
    for (int64_t u = 0; u < h->units.n; u++) {
        p->lo[u] = INFINITY;
        p->hi[u] = -INFINITY;
    }
    enum qx_status st = run_rounds(p, range_tile, NULL);
    if (st != QX_OK) {
        return st;
    }
    ranges_finish(p);
    return weigh(p);
}

enum qx_status qx_hist_pass_units(const struct qx_hist_job *job)
{
    const struct qx_hist_spec *spec = &job->h->f.spec;
    struct pass p = {.job = job, .sym = spec->sym};
    int64_t n_threads = qx_pool_threads(job->pool);
    p.rows = qx_rows_of(job->t, job->channels, spec->gran == QX_GRAN_GROUP ? spec->group : 0);
    p.n_slots = (int)(p.rows.n_tiles < n_threads ? p.rows.n_tiles : n_threads);
    p.n_slots = p.n_slots < 1 ? 1 : p.n_slots;
    enum qx_status st = run(&p);
    slots_free(&p);
    return st;
}

/* Second moments of a layer's inputs. Columns of a part of the rows are laid down where their row says,
 * whichever thread saw them; the sums are then made block by block, in the order of the rows. */
#include "qx/moments.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { PART_FLOATS = 1 << 23, BLOCK = 128 };

struct gather {
    const struct qx_net *net;
    struct qx_moments *m;
    int layer;
    int64_t rows;   /* of the part */
    float *columns; /* [groups][rows * places][k] */
    int64_t *count; /* [rows] columns of a row */
};

static float *columns_at(const struct gather *g, int64_t group, int64_t row)
{
    const struct qx_net_product *p = &g->m->product;
    return g->columns + (group * g->rows + row) * p->places * p->k;
}

static void tap(void *arg, const struct qx_net_seen *seen)
{
    struct gather *g = arg;
    const int64_t first = seen->tile * qx_net_tile_rows(g->net);
    for (int64_t r = 0; r < seen->rows; r++) {
        for (int64_t i = 0; i < g->m->product.groups; i++) {
            g->count[first + r] =
                qx_net_layer_columns(g->net, seen, r, i, columns_at(g, i, first + r));
        }
    }
}

/* One band of rows of a group's matrix, from the diagonal on. */
static void band_add(void *arg, int64_t at, int worker)
{
    struct gather *g = arg;
    const struct qx_net_product *p = &g->m->product;
    const int64_t bands = (p->k + BLOCK - 1) / BLOCK, group = at / bands, i = at % bands * BLOCK;
    const int64_t m = BLOCK < p->k - i ? BLOCK : p->k - i;
    (void)worker;
    for (int64_t r = 0; r < g->rows; r++) {
        const float *x = columns_at(g, group, r);
        qxk_sgemm(1, 0, m, p->k - i, g->count[r], 1.0f, x + i, p->k, x + i, p->k, 1.0f,
                  g->m->second + (group * p->k + i) * p->k + i, p->k);
    }
}

static void means_add(void *arg, int64_t group, int worker)
{
    struct gather *g = arg;
    const struct qx_net_product *p = &g->m->product;
    float *mean = g->m->mean + group * p->k, *mean_abs = g->m->mean_abs + group * p->k;
    float *lo = g->m->lo + group * p->k, *hi = g->m->hi + group * p->k;
    (void)worker;
    for (int64_t r = 0; r < g->rows; r++) {
        const float *x = columns_at(g, group, r);
        for (int64_t c = 0; c < g->count[r]; c++, x += p->k) {
            for (int64_t j = 0; j < p->k; j++) {
                mean[j] += x[j];
                mean_abs[j] += fabsf(x[j]);
                lo[j] = x[j] < lo[j] ? x[j] : lo[j];
                hi[j] = x[j] > hi[j] ? x[j] : hi[j];
            }
        }
    }
}

/* NaN and infinities would spoil every sum they are in. */
static void clean(struct gather *g)
{
    const struct qx_net_product *p = &g->m->product;
    for (int64_t i = 0; i < p->groups; i++) {
        for (int64_t r = 0; r < g->rows; r++) {
            float *x = columns_at(g, i, r);
            for (int64_t j = 0; j < g->count[r] * p->k; j++) {
                if (!isfinite(x[j])) {
                    x[j] = 0.0f;
                    g->m->n_nonfinite++;
                }
            }
        }
    }
}

static void part_add(struct gather *g, struct qx_pool *pool)
{
    const struct qx_net_product *p = &g->m->product;
    clean(g);
    qx_pool_for(pool, p->groups * ((p->k + BLOCK - 1) / BLOCK), band_add, g);
    qx_pool_for(pool, p->groups, means_add, g);
    for (int64_t r = 0; r < g->rows; r++) {
        g->m->n_columns += g->count[r];
    }
}

static void finish(struct qx_moments *m)
{
    const struct qx_net_product *p = &m->product;
    const float share = m->n_columns > 0 ? 1.0f / (float)m->n_columns : 0.0f;
    for (int64_t i = 0; i < p->groups * p->k; i++) {
        m->mean[i] *= share;
        m->mean_abs[i] *= share;
    }
    for (int64_t g = 0; g < p->groups; g++) {
        float *h = m->second + g * p->k * p->k;
        for (int64_t i = 0; i < p->k; i++) {
            for (int64_t j = i; j < p->k; j++) {
                h[i * p->k + j] *= share;
                h[j * p->k + i] = h[i * p->k + j];
            }
        }
    }
}

static enum qx_status moments_new(const struct qx_net_product *p, struct qx_moments **out,
                                  struct qx_error *err)
{
    size_t square, bytes;
    struct qx_moments *m = qx_mem_zalloc(sizeof *m);
    if (!m) {
        return qx_fail_nomem(err, sizeof *m);
    }
    m->product = *p;
    const bool fits = qx_size_mul((size_t)(p->groups * p->k), (size_t)p->k, &square) &&
                      qx_size_mul(square, sizeof *m->second, &bytes);
    m->second = fits ? qx_mem_zalloc(bytes) : NULL;
    m->mean = qx_mem_zalloc((size_t)(p->groups * p->k) * sizeof *m->mean);
    m->mean_abs = qx_mem_zalloc((size_t)(p->groups * p->k) * sizeof *m->mean_abs);
    m->lo = qx_mem_zalloc((size_t)(p->groups * p->k) * sizeof *m->lo);
    m->hi = qx_mem_zalloc((size_t)(p->groups * p->k) * sizeof *m->hi);
    if (!m->second || !m->mean || !m->mean_abs || !m->lo || !m->hi) {
        qx_moments_free(m);
        return qx_fail_nomem(err, fits ? bytes : 0);
    }
    *out = m;
    return QX_OK;
}

void qx_moments_free(struct qx_moments *m)
{
    if (m) {
        qx_mem_free(m->second);
        qx_mem_free(m->mean);
        qx_mem_free(m->mean_abs);
        qx_mem_free(m->lo);
        qx_mem_free(m->hi);
        qx_mem_free(m);
    }
}

static enum qx_status parts_run(struct gather *g, const struct qx_weights *w,
                                const struct qx_dataset *data, int64_t first_row, int64_t n,
                                int64_t most, float *x, struct qx_pool *pool, struct qx_ctl *ctl,
                                struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int64_t first = 0; st == QX_OK && first < n; first += most) {
        g->rows = most < n - first ? most : n - first;
        memset(g->count, 0, (size_t)g->rows * sizeof *g->count);
        st = qx_dataset_read(data, first_row + first, g->rows, x, err);
        if (st == QX_OK) {
            st = qx_net_tap(g->net, w, x, g->rows, g->layer, tap, g, pool, ctl, err);
        }
        if (st == QX_OK) {
            part_add(g, pool);
        }
    }
    return st;
}

enum qx_status qx_moments_run(const struct qx_net *net, const struct qx_weights *w,
                              const struct qx_dataset *data, int64_t first_row, int64_t n_rows,
                              int layer, struct qx_pool *pool, struct qx_ctl *ctl,
                              struct qx_moments **out, struct qx_error *err)
{
    struct qx_net_product p;
    struct gather g = {.net = net, .layer = layer};
    if (!qx_net_layer_product(net, layer, &p)) {
        return qx_fail(err, QX_EUNSUPPORTED, "the layer multiplies no inputs of float32");
    }
    const int64_t left = qx_dataset_n(data) - first_row, n = n_rows < left ? n_rows : left;
    if (n < 1) {
        return qx_fail(err, QX_EDATA, "there are no rows to look at a layer's inputs");
    }
    const int64_t row = p.groups * p.places * p.k;
    int64_t most = row > 0 ? PART_FLOATS / row : n;
    most = most < 1 ? 1 : most < n ? most : n;
    float *x = qx_mem_array((size_t)most, (size_t)qx_net_sample_size(net) * sizeof *x);
    g.columns = qx_mem_array((size_t)(most * row) + 1, sizeof *g.columns);
    g.count = qx_mem_array((size_t)most, sizeof *g.count);
    enum qx_status st = x && g.columns && g.count
                            ? moments_new(&p, &g.m, err)
                            : qx_fail_nomem(err, (size_t)(most * row) * sizeof *x);
    if (st == QX_OK) {
        st = parts_run(&g, w, data, first_row, n, most, x, pool, ctl, err);
    }
    qx_mem_free(x);
    qx_mem_free(g.columns);
    qx_mem_free(g.count);
    if (st != QX_OK) {
        qx_moments_free(g.m);
        return st;
    }
    finish(g.m);
    *out = g.m;
    return QX_OK;
}

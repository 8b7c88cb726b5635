#include "kernels/gemm.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/pages.h"
#include "kernels/tiles.h"

#include <string.h>

static void pack_panel(struct qxk_w8 *w, const int8_t *codes, int64_t p)
{
    int64_t n0 = p * w->panel, n = w->n - n0 < w->panel ? w->n - n0 : w->panel;
    for (int64_t j = 0; j < n; j++) {
        const int8_t *row = codes + (n0 + j) * w->k;
        int8_t *out = w->data + p * w->k_steps * 4 * w->panel + 4 * j;
        int64_t sum = 0;
        for (int64_t k = 0; k < w->k; k++) {
            out[k / 4 * 4 * w->panel + k % 4] = row[k];
            sum += row[k];
        }
        w->col_sum[n0 + j] = (int32_t)sum;
    }
}

enum qx_status qxk_w8_pack(struct qxk_w8 *w, const int8_t *codes, int64_t n, int64_t k,
                           struct qx_error *err)
{
    if (n < 1 || k < 1 || k > QXK_K_MAX) {
        return qx_fail(err, QX_ERANGE,
                       "cannot pack weights of %lld outputs and %lld inputs: the integer kernels "
                       "take 1 or more outputs and 1 to %lld inputs",
                       (long long)n, (long long)k, (long long)QXK_K_MAX);
    }
    struct qxk_w8 r = {.n = n, .k = k, .panel = qxk_panel_of(n)};
    r.n_panels = (n + r.panel - 1) / r.panel;
    r.k_steps = (k + QXK_K_ALIGN - 1) / QXK_K_ALIGN;
    size_t bytes, columns = (size_t)(r.n_panels * r.panel), sums = columns * sizeof *r.col_sum;
    if (!qx_size_mul(columns, (size_t)r.k_steps * 4, &bytes) || !qx_size_add(bytes, sums, &bytes)) {
        return qx_fail_nomem(err, SIZE_MAX);
    }
    r.data = qxk_pages_alloc(bytes, &r.memory);
    if (!r.data) {
        return qx_fail_nomem(err, bytes);
    }
    r.col_sum = (int32_t *)(void *)(r.data + bytes - sums);
    for (int64_t p = 0; p < r.n_panels; p++) {
        pack_panel(&r, codes, p);
    }
    *w = r;
    return QX_OK;
}

void qxk_w8_release(struct qxk_w8 *w)
{
    qxk_pages_free(w->memory);
    memset(w, 0, sizeof *w);
}

struct task8 {
    const struct qxk_gemm8 *g;
    qxk_gemm8_fn *fn;
    struct qxk_tiles tiles;
};

static void run_tile(void *arg, int64_t i, int worker)
{
    const struct task8 *t = arg;
    struct qxk_tile at = qxk_tile_at(&t->tiles, i);
    (void)worker;
    t->fn(t->g, at.m0, at.m, at.p0, at.n_panels);
}

enum qx_status qxk_gemm8(struct qx_pool *pool, const struct qxk_gemm8 *g, bool is_signed,
                         struct qx_error *err)
{
    if (g->ep.out == QXK_OUT_S32 && g->w->k > QXK_K_SPLIT) {
        return qx_fail(err, QX_ERANGE,
                       "sums over %lld inputs may not fit 32 bits: ask for scaled outputs instead",
                       (long long)g->w->k);
    }
    const struct qxk_table *t = qxk_get();
    struct task8 task = {g, is_signed ? t->gemm_s8s8 : t->gemm_u8s8,
                         qxk_tiles_of(g->m, g->w->n_panels, g->w->k, qx_pool_threads(pool))};
    qx_pool_for(pool, task.tiles.n, run_tile, &task);
    return QX_OK;
}

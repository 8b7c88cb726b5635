#include "kernels/gemm.h"
#include "base/error.h"
#include "base/fp16.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/pages.h"
#include "kernels/tiles.h"

#include <string.h>

static bool is_range_ok(const struct qxk_w4_source *s, int64_t n_groups)
{
    int lo = s->zeros || s->is_table ? 0 : -8;
    for (int64_t i = 0; i < s->k; i++) {
        if (s->codes[i] < lo || s->codes[i] > lo + 15) {
            return false;
        }
    }
    for (int64_t i = 0; s->zeros && i < n_groups; i++) {
        if (s->zeros[i] > 15) {
            return false;
        }
    }
    return true;
}

/* Output n into its column of the panel, 8 inputs to 4 bytes. */
static void pack_row(struct qxk_w4 *w, const struct qxk_w4_source *s, int64_t n)
{
    uint8_t *panel = w->data + n / w->panel * w->n_groups * w->group_bytes;
    int64_t j = n % w->panel;
    int up = s->zeros || s->is_table ? 0 : 8;
    for (int64_t k = 0; k < w->k; k++) {
        uint8_t *record = panel + k / w->group * w->group_bytes;
        int64_t in = k % w->group, at = in / 8 * 4 * w->panel + 4 * j + in % 4;
        record[at] |= (uint8_t)((s->codes[k] + up) << (in / 4 % 2 * 4));
    }
    for (int64_t g = 0; g < w->n_groups; g++) {
        uint8_t *to = panel + g * w->group_bytes + w->group * (w->panel / 2);
        uint16_t half = qx_f32_to_f16(s->scales[g]);
        if (w->is_f16) {
            memcpy(to + 2 * j, &half, 2);
        } else {
            memcpy(to + 4 * j, &s->scales[g], 4);
        }
        if (s->zeros) {
            to[w->panel * (w->is_f16 ? 2 : 4) + j] = s->zeros[g];
        }
    }
}

static enum qx_status refuse(const struct qxk_w4_source *from, struct qx_error *err)
{
    return qx_fail(err, QX_ERANGE,
                   "cannot pack 4-bit weights of %lld outputs and %lld inputs in groups of %d: the "
                   "kernels take 16 codes, groups of 32, 64 or 128 and up to %lld inputs",
                   (long long)from->n, (long long)from->k, from->group, (long long)QXK_K_MAX);
}

enum qx_status qxk_w4_new(struct qxk_w4 *w, const struct qxk_w4_source *from, struct qx_error *err)
{
    int group = from->group;
    bool is_shape = from->n >= 1 && from->k >= 1 && from->k <= QXK_K_MAX;
    if (!is_shape || (group != 32 && group != 64 && group != 128)) {
        return refuse(from, err);
    }
    struct qxk_w4 r = {.n = from->n, .k = from->k, .group = group, .is_f16 = from->is_f16};
    r.has_zeros = from->zeros != NULL;
    r.panel = qxk_panel_of(r.n);
    r.n_panels = (r.n + r.panel - 1) / r.panel;
    r.n_groups = (r.k + group - 1) / group;
    r.group_bytes = (group / 2 + (r.is_f16 ? 2 : 4) + (r.has_zeros ? 1 : 0)) * r.panel;
    size_t bytes;
    if (!qx_size_mul((size_t)r.n_panels, (size_t)(r.n_groups * r.group_bytes), &bytes)) {
        return qx_fail_nomem(err, SIZE_MAX);
    }
    r.data = qxk_pages_alloc(bytes, &r.memory);
    if (!r.data) {
        return qx_fail_nomem(err, bytes);
    }
    *w = r;
    return QX_OK;
}

enum qx_status qxk_w4_put(struct qxk_w4 *w, int64_t o, const struct qxk_w4_source *row,
                          struct qx_error *err)
{
    if (!is_range_ok(row, w->n_groups)) {
        return refuse(row, err);
    }
    pack_row(w, row, o);
    return QX_OK;
}

enum qx_status qxk_w4_pack(struct qxk_w4 *w, const struct qxk_w4_source *from, struct qx_error *err)
{
    struct qxk_w4 r = {0};
    enum qx_status st = qxk_w4_new(&r, from, err);
    for (int64_t o = 0; st == QX_OK && o < from->n; o++) {
        struct qxk_w4_source row = *from;
        row.codes += o * r.k;
        row.scales += o * r.n_groups;
        row.zeros = from->zeros ? from->zeros + o * r.n_groups : NULL;
        st = qxk_w4_put(&r, o, &row, err);
    }
    if (st != QX_OK) {
        qxk_w4_release(&r);
        return st;
    }
    *w = r;
    return QX_OK;
}

void qxk_w4_release(struct qxk_w4 *w)
{
    qxk_pages_free(w->memory);
    memset(w, 0, sizeof *w);
}

struct task4 {
    const struct qxk_gemm4 *g;
    qxk_gemm4_fn *fn;
    struct qxk_tiles tiles;
};

static void run_tile(void *arg, int64_t i, int worker)
{
    const struct task4 *t = arg;
    struct qxk_tile at = qxk_tile_at(&t->tiles, i);
    (void)worker;
    t->fn(t->g, at.m0, at.m, at.p0, at.n_panels);
}

void qxk_gemm4(struct qx_pool *pool, const struct qxk_gemm4 *g)
{
    struct task4 task = {g, qxk_get()->gemm_s8s4,
                         qxk_tiles_of(g->m, g->w->n_panels, g->w->k, qx_pool_threads(pool))};
    qx_pool_for(pool, task.tiles.n, run_tile, &task);
}

#include "kernels/gemm.h"
#include "base/error.h"
#include "base/fp16.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/pages.h"
#include "kernels/tiles.h"

#include <string.h>

static bool is_range_ok(const int8_t *codes, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (codes[i] < -8 || codes[i] > 7) {
            return false;
        }
    }
    return true;
}

/* Codes of one output into its column of the panel, 8 inputs to 4 bytes. */
static void pack_row(struct qxk_w4 *w, const int8_t *codes, const float *scales, uint8_t *panel,
                     int64_t j)
{
    for (int64_t k = 0; k < w->k; k++) {
        uint8_t *record = panel + k / w->group * w->group_bytes;
        int64_t in = k % w->group, at = in / 8 * 4 * QXK_PANEL + 4 * j + in % 4;
        record[at] |= (uint8_t)((codes[k] + 8) << (in / 4 % 2 * 4));
    }
    for (int64_t g = 0; g < w->n_groups; g++) {
        uint8_t *to = panel + g * w->group_bytes + w->group * (QXK_PANEL / 2);
        uint16_t half = qx_f32_to_f16(scales[g]);
        if (w->is_f16) {
            memcpy(to + 2 * j, &half, 2);
        } else {
            memcpy(to + 4 * j, &scales[g], 4);
        }
    }
}

enum qx_status qxk_w4_pack(struct qxk_w4 *w, const int8_t *codes, const float *scales, int64_t n,
                           int64_t k, int group, bool is_f16, struct qx_error *err)
{
    bool is_group = group == 32 || group == 64 || group == 128;
    if (n < 1 || k < 1 || k > QXK_K_MAX || !is_group || !is_range_ok(codes, n * k)) {
        return qx_fail(
            err, QX_ERANGE,
            "cannot pack 4-bit weights of %lld outputs and %lld inputs in groups of %d: "
            "the kernels take codes -8..7, groups of 32, 64 or 128 and up to %lld inputs",
            (long long)n, (long long)k, group, (long long)QXK_K_MAX);
    }
    struct qxk_w4 r = {.n = n, .k = k, .group = group, .is_f16 = is_f16};
    r.n_panels = (n + QXK_PANEL - 1) / QXK_PANEL;
    r.n_groups = (k + group - 1) / group;
    r.group_bytes = group * (QXK_PANEL / 2) + QXK_PANEL * (is_f16 ? 2 : 4);
    size_t bytes;
    if (!qx_size_mul((size_t)r.n_panels, (size_t)(r.n_groups * r.group_bytes), &bytes)) {
        return qx_fail_nomem(err, SIZE_MAX);
    }
    r.data = qxk_pages_alloc(bytes, &r.memory);
    if (!r.data) {
        return qx_fail_nomem(err, bytes);
    }
    for (int64_t i = 0; i < n; i++) {
        uint8_t *panel = r.data + i / QXK_PANEL * r.n_groups * r.group_bytes;
        pack_row(&r, codes + i * k, scales + i * r.n_groups, panel, i % QXK_PANEL);
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

#include "kernels/conv.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "kernels/pages.h"
#include "kernels/rungs.h"

#include <string.h>

enum { TILE_PLACES = 96 }; /* unrolled at a time: 16 blocks of 6 rows, in the second-level cache */

/* One line of the kernel for one place: kernel_x pixels of c codes. */
static uint8_t *copy_line(const struct qxk_image *s, const uint8_t *line, int64_t x0, uint8_t pad,
                          uint8_t *out)
{
    int64_t c = s->c, end = x0 + (s->kernel_x - 1) * s->dilation_x;
    if (line && s->dilation_x == 1 && x0 >= 0 && end < s->w) {
        memcpy(out, line + x0 * c, (size_t)(s->kernel_x * c));
        return out + s->kernel_x * c;
    }
    for (int64_t i = 0, x = x0; i < s->kernel_x; i++, x += s->dilation_x, out += c) {
        if (line && x >= 0 && x < s->w) {
            memcpy(out, line + x * c, (size_t)c);
        } else {
            memset(out, pad, (size_t)c);
        }
    }
    return out;
}

void qxk_im2col_u8(const struct qxk_image *s, const uint8_t *x, uint8_t pad, int64_t p0, int64_t n,
                   uint8_t *out, int64_t ld)
{
    int64_t used = s->kernel_y * s->kernel_x * s->c;
    for (int64_t p = p0; p < p0 + n; p++, out += ld) {
        int64_t y0 = p / s->ow * s->stride_y - s->pad_y, x0 = p % s->ow * s->stride_x - s->pad_x;
        uint8_t *at = out;
        for (int64_t i = 0; i < s->kernel_y; i++) {
            int64_t y = y0 + i * s->dilation_y;
            const uint8_t *line = y >= 0 && y < s->h ? x + y * s->w * s->c : NULL;
            at = copy_line(s, line, x0, pad, at);
        }
        memset(at, 0, (size_t)(ld - used));
    }
}

struct task {
    const struct qxk_image *s;
    const uint8_t *x;
    struct qxk_gemm8 g;
    uint8_t *rows; /* TILE_PLACES * ld per thread */
    int64_t ld;
    uint8_t pad;
};

static void run_tile(void *arg, int64_t i, int worker)
{
    const struct task *t = arg;
    int64_t p0 = i * TILE_PLACES, n = t->g.m - p0 < TILE_PLACES ? t->g.m - p0 : TILE_PLACES;
    int64_t elem = t->g.ep.out == QXK_OUT_S32 || t->g.ep.out == QXK_OUT_F32 ? 4 : 1;
    uint8_t *rows = t->rows + worker * TILE_PLACES * t->ld;
    struct qxk_gemm8 g = t->g;
    qxk_im2col_u8(t->s, t->x, t->pad, p0, n, rows, t->ld);
    g.a = rows;
    g.lda = t->ld;
    g.y = (char *)g.y + p0 * g.ldy * elem;
    qxk_get()->gemm_u8s8(&g, 0, n, 0, g.w->n_panels);
}

enum qx_status qxk_conv8(struct qx_pool *pool, const struct qxk_image *s, const uint8_t *x,
                         const struct qxk_w8 *w, const struct qxk_epilogue *ep, void *y,
                         int64_t ldy, struct qx_error *err)
{
    struct task t = {.s = s, .x = x, .ld = w->k_steps * QXK_K_ALIGN};
    t.g = (struct qxk_gemm8){.w = w, .a = x, .y = y, .m = s->oh * s->ow, .lda = s->c, .ldy = ldy};
    t.g.ep = *ep;
    t.pad = (uint8_t)(ep->a_zero ? *ep->a_zero : 0);
    bool is_plain = s->kernel_y * s->kernel_x == 1 && s->stride_y * s->stride_x == 1 &&
                    s->pad_y + s->pad_x == 0 && s->oh == s->h && s->ow == s->w;
    if (is_plain || (ep->out == QXK_OUT_S32 && w->k > QXK_K_SPLIT)) {
        return qxk_gemm8(pool, &t.g, false, err);
    }
    size_t bytes;
    if (!qx_size_mul((size_t)qx_pool_threads(pool) * TILE_PLACES, (size_t)t.ld, &bytes)) {
        return qx_fail_nomem(err, SIZE_MAX);
    }
    t.rows = qx_mem_aligned(bytes);
    if (!t.rows) {
        return qx_fail_nomem(err, bytes);
    }
    qx_pool_for(pool, (t.g.m + TILE_PLACES - 1) / TILE_PLACES, run_tile, &t);
    qx_mem_free(t.rows);
    return QX_OK;
}

enum qx_status qxk_dw_pack(struct qxk_dw *w, const int8_t *codes, int64_t c, int64_t taps,
                           struct qx_error *err)
{
    if (c < 1 || taps < 1 || taps > QXK_DW_TAPS) {
        return qx_fail(err, QX_ERANGE,
                       "cannot pack depthwise weights of %lld channels and %lld taps: the kernel "
                       "takes 1 or more channels and 1 to %d taps",
                       (long long)c, (long long)taps, QXK_DW_TAPS);
    }
    struct qxk_dw r = {.sums = {.n = c, .k = taps}, .tap_pairs = (taps + 1) / 2};
    int64_t padded = (c + QXK_PANEL - 1) / QXK_PANEL * QXK_PANEL;
    size_t bytes;
    if (!qx_size_mul((size_t)padded, (size_t)(r.tap_pairs * 2) * sizeof *r.data + 4, &bytes)) {
        return qx_fail_nomem(err, SIZE_MAX);
    }
    r.data = qxk_pages_alloc(bytes, &r.sums.memory);
    if (!r.data) {
        return qx_fail_nomem(err, bytes);
    }
    r.sums.col_sum = (int32_t *)(void *)(r.data + padded * r.tap_pairs * 2);
    for (int64_t i = 0; i < c; i++) {
        for (int64_t t = 0; t < taps; t++) {
            r.data[(t / 2 * padded + i) * 2 + t % 2] = codes[i * taps + t];
            r.sums.col_sum[i] += codes[i * taps + t];
        }
    }
    *w = r;
    return QX_OK;
}

void qxk_dw_release(struct qxk_dw *w)
{
    qxk_pages_free(w->sums.memory);
    memset(w, 0, sizeof *w);
}

/* Pointers to the codes of all taps of a place, those outside the image to the padding. */
int64_t qxk_dw_taps(const struct qxk_dwconv *d, int64_t row, int64_t column, const uint8_t **tap)
{
    const struct qxk_image *s = &d->s;
    int64_t n = 0;
    for (int64_t i = 0; i < s->kernel_y; i++) {
        int64_t y = row * s->stride_y - s->pad_y + i * s->dilation_y;
        for (int64_t j = 0; j < s->kernel_x; j++) {
            int64_t x = column * s->stride_x - s->pad_x + j * s->dilation_x;
            bool is_inside = y >= 0 && y < s->h && x >= 0 && x < s->w;
            tap[n++] = is_inside ? d->x + (y * s->w + x) * s->c : d->pad_row;
        }
    }
    if (n % 2) { /* the weights of the last pair's second tap are 0 */
        tap[n] = d->pad_row;
    }
    return n;
}

/* Integer convolutions: depthwise on every rung, and the unrolled product against plain sums. */
#include "shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call_dw {
    qxk_dwconv_fn *fn;
    struct qxk_dwconv d;
    int64_t cut;
};

static void call_dw(void *p)
{
    struct call_dw *c = p;
    c->fn(&c->d, 0, c->cut);
    c->fn(&c->d, c->cut, c->d.s.oh - c->cut);
}

static int64_t places(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad)
{
    return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

static struct qxk_image pick_image(struct qx_rng *r, int64_t c)
{
    struct qxk_image s = {.c = c};
    do {
        s.h = pick(r, 1, 9);
        s.w = pick(r, 1, 9);
        s.kernel_y = pick(r, 1, 5);
        s.kernel_x = pick(r, 1, 5);
        s.stride_y = pick(r, 1, 2);
        s.stride_x = pick(r, 1, 3);
        s.dilation_y = pick(r, 1, 2);
        s.dilation_x = pick(r, 1, 2);
        s.pad_y = pick(r, 0, 2);
        s.pad_x = pick(r, 0, 2);
        s.oh = places(s.h, s.kernel_y, s.stride_y, s.dilation_y, s.pad_y);
        s.ow = places(s.w, s.kernel_x, s.stride_x, s.dilation_x, s.pad_x);
    } while (s.oh < 1 || s.ow < 1 || s.h + 2 * s.pad_y < s.dilation_y * (s.kernel_y - 1) + 1 ||
             s.w + 2 * s.pad_x < s.dilation_x * (s.kernel_x - 1) + 1);
    return s;
}

/* sum over taps and channels of (x - zero) w; groups of one channel when is_depthwise. */
static int64_t plain_sum(const struct qxk_image *s, const uint8_t *x, int zero, const int8_t *w,
                         int64_t place, int64_t n, bool is_depthwise)
{
    int64_t sum = 0, taps = s->kernel_y * s->kernel_x;
    for (int64_t i = 0; i < taps; i++) {
        int64_t y = place / s->ow * s->stride_y - s->pad_y + i / s->kernel_x * s->dilation_y;
        int64_t at = place % s->ow * s->stride_x - s->pad_x + i % s->kernel_x * s->dilation_x;
        if (y < 0 || y >= s->h || at < 0 || at >= s->w) {
            continue;
        }
        const uint8_t *pixel = x + (y * s->w + at) * s->c;
        for (int64_t c = 0; c < s->c && !is_depthwise; c++) {
            sum += (pixel[c] - zero) * w[n * taps * s->c + i * s->c + c];
        }
        sum += is_depthwise ? (pixel[n] - zero) * w[n * taps + i] : 0;
    }
    return sum;
}

static void compare_plain(struct shape_test *t, const struct qxk_image *s, const uint8_t *x,
                          int zero, const int8_t *w, const int32_t *y, int64_t n, int64_t ldy,
                          bool is_depthwise)
{
    for (int64_t p = 0; p < s->oh * s->ow; p++) {
        for (int64_t i = 0; i < n; i++) {
            int64_t want = plain_sum(s, x, zero, w, p, i, is_depthwise);
            if (y[p * ldy + i] != want) {
                printf("FAIL %s place %lld output %lld: %d, plain sum %lld\n", t->op, (long long)p,
                       (long long)i, y[p * ldy + i], (long long)want);
                t->n_bad++;
                return;
            }
        }
    }
}

static void dw_case(struct shape_test *t, enum byte_fill fill, int64_t c, int8_t *codes)
{
    struct qx_rng *r = &t->rng;
    struct qxk_dw w = {0};
    struct call_dw d = {.d.s = pick_image(r, c), .d.w = &w};
    const struct qxk_image *s = &d.d.s;
    uint8_t pad_row[300];
    float scale = 0.01f, scales[300], bias[300];
    int32_t zero = pick(r, 0, 255);
    int64_t taps = s->kernel_y * s->kernel_x, places_n = s->oh * s->ow;
    fill_bytes(r, fill, -128, 127, codes, (size_t)(c * taps));
    qxk_dw_pack(&w, codes, c, taps, NULL);
    for (int i = 0; i < 300; i++) {
        pad_row[i] = (uint8_t)zero;
        scales[i] = 0.001f * (float)pick(r, 1, 50);
        bias[i] = (float)qx_rng_normal(r);
    }
    uint8_t *x = place_input(t, (size_t)(s->h * s->w * c));
    fill_bytes(r, fill, 0, 255, x, (size_t)(s->h * s->w * c));
    d.d.x = x;
    d.d.pad_row = pad_row;
    d.d.ldy = c + pick(r, 0, 5);
    d.d.ep = (struct qxk_epilogue){.out = (enum qxk_out)pick(r, 0, 3),
                                   .a_scale = &scale,
                                   .w_scale = scales,
                                   .w_scale_step = 1,
                                   .a_zero = &zero,
                                   .bias = bias,
                                   .act = QXK_ACT_RELU,
                                   .y_inv_scale = 9.0f,
                                   .y_max = 127.0f};
    d.cut = pick(r, 0, (int)s->oh);
    int64_t elem = d.d.ep.out == QXK_OUT_S32 || d.d.ep.out == QXK_OUT_F32 ? 4 : 1;
    size_t bytes = (size_t)(((places_n - 1) * d.d.ldy + c) * elem);
    d.d.y = place_output(t, bytes);
    struct call_dw ref = d;
    ref.d.y = t->y_ref;
    ref.fn = t->ref->dwconv_u8s8;
    call_dw(&ref);
    if (d.d.ep.out == QXK_OUT_S32) {
        compare_plain(t, s, x, zero, codes, (const int32_t *)(const void *)t->y_ref, c, d.d.ldy,
                      true);
    }
    d.fn = t->rung->dwconv_u8s8;
    char what[100];
    snprintf(what, sizeof what, "fill %d c %lld out %d", (int)fill, (long long)c, (int)d.d.ep.out);
    run_case(t, call_dw, &d, d.d.y, bytes, what);
    qxk_dw_release(&w);
}

/* The driver with its unrolling, on the rung in use. */
static void conv_case(struct shape_test *t, enum byte_fill fill, int64_t c, int8_t *codes)
{
    struct qxk_image s = pick_image(&t->rng, c);
    struct qxk_w8 w = {0};
    int32_t zero = pick(&t->rng, 0, 255);
    int64_t n = pick(&t->rng, 1, 70), k = s.kernel_y * s.kernel_x * c;
    size_t bytes = (size_t)(s.h * s.w * c);
    uint8_t *x = malloc(bytes + 3);
    int32_t *y = malloc((size_t)(s.oh * s.ow * n) * sizeof *y);
    fill_bytes(&t->rng, fill, 0, 255, x, bytes + 3);
    fill_bytes(&t->rng, fill, -127, 127, codes, (size_t)(n * k));
    struct qxk_epilogue ep = {.out = QXK_OUT_S32, .a_zero = &zero};
    if (qxk_w8_pack(&w, codes, n, k, NULL) != QX_OK ||
        qxk_conv8(NULL, &s, x, &w, &ep, y, n, NULL) != QX_OK) {
        t->n_bad++;
    }
    compare_plain(t, &s, x, zero, codes, y, n, n, false);
    qxk_w8_release(&w);
    free(x);
    free(y);
}

void check_dwconv_u8s8(struct shape_test *t)
{
    int8_t *codes = malloc(70 * 25 * 40 + 300 * 25);
    for (int fill = 0; fill < BYTES_FILLS; fill++) {
        for (int c = 1; c <= 40 && t->n_bad < 5; c++) {
            dw_case(t, (enum byte_fill)fill, c, codes);
            conv_case(t, (enum byte_fill)fill, c, codes);
        }
        dw_case(t, (enum byte_fill)fill, 64, codes);
        dw_case(t, (enum byte_fill)fill, pick(&t->rng, 65, 260), codes);
    }
    free(codes);
}

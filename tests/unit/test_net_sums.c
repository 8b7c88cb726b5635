/* Sums of the integer engine against hand loops in 64-bit integers. */
#include "integer_fixture.h"
#include "test_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Whole numbers from lo to hi, the ends included, in a fixed muddle. */
static void fill(float *x, int64_t n, int lo, int hi, unsigned seed)
{
    unsigned s = seed * 2654435761u + 1;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(lo + (int)((s >> 8) % (unsigned)(hi - lo + 1)));
    }
    x[n / 2] = (float)lo;
    x[0] = (float)hi;
}

/* Settings whose scales are exactly 1, so that outputs are the sums themselves. */
struct exact {
    const char *name;
    int w_lo, w_hi, bits;
    bool w_sym;
    int a_lo, a_hi, a_bits; /* range of the codes' values; 0 bits: float32, weights only */
    bool a_sym, dynamic;
};
static const struct exact exacts[] = {
    {"w8 sym, u8 asym", -127, 127, 8, true, -100, 155, 8, false, false},
    {"w8 sym, s8", -127, 127, 8, true, -127, 127, 8, true, false},
    {"w8 sym, u8 all above 0", -127, 127, 8, true, 0, 255, 8, false, false},
    {"w8 asym, u8 asym", -100, 155, 8, false, -100, 155, 8, false, false},
    {"w4 sym, 7 bits", -7, 7, 4, true, -63, 63, 7, true, false},
    {"w2 sym, 2 bits asym", -1, 1, 2, true, -1, 2, 2, false, false},
    {"w3 asym, dynamic s8", -2, 5, 3, false, -127, 127, 8, true, true},
    {"w8 sym, dynamic u8", -127, 127, 8, true, -55, 200, 8, false, true},
    {"w4 asym, u8 asym", -8, 7, 4, false, -100, 155, 8, false, false},
    {"w4 sym, float32", -7, 7, 4, true, -200, 200, 0, true, false},
    {"w4 asym, float32", -8, 7, 4, false, -200, 200, 0, true, false},
    {"w8 sym, float32", -127, 127, 8, true, -200, 200, 0, true, false},
    {"w8 asym, float32", -100, 155, 8, false, -200, 200, 0, true, false},
};

/* group: inputs that share a scale; 0 = one for the tensor. */
static struct qx_setting exact_setting(const struct exact *e, enum qx_act_gran gran, int group)
{
    struct qx_setting s = qx_setting_int(e->bits);
    s.gran = group ? QX_GRAN_GROUP : QX_GRAN_TENSOR;
    s.group = group;
    s.scale = QX_SCALE_F32;
    s.sym = e->w_sym;
    s.calib = qx_calib_find(group ? "minmax" : "manual");
    s.has_range = true;
    s.range = group ? (struct qx_range){-1.0, 1.0} : (struct qx_range){e->w_lo, e->w_hi};
    s.act = (struct qx_act){.bits = e->a_bits, .sym = e->a_sym, .dynamic = e->dynamic};
    s.act.gran = e->dynamic ? gran : QX_ACT_TENSOR;
    s.act.calib = qx_calib_find("manual");
    s.act.has_range = e->a_bits > 0 && !e->dynamic;
    s.act.range = (struct qx_range){e->a_lo, e->a_hi};
    return s;
}

/* Every group of inputs reaches the ends of the range, so that its scale is 1. */
static void fill_groups(float *w, int64_t n, int64_t k, bool is_out_first, int group,
                        const struct exact *e)
{
    for (int64_t i = 0; group && i < n * k; i++) {
        const int64_t in = (is_out_first ? i % k : i / n) % group;
        w[i] = in == 0 ? (float)e->w_hi : in == 1 ? (float)e->w_lo : w[i];
    }
}

/* A group of one value cannot reach both ends. */
static bool has_groups(const struct exact *e, int64_t k, int group)
{
    return group == 0 || e->w_sym || k % group != 1;
}

static void prepare(struct folder *f, const struct exact *e)
{
    integer_prepare(f, e->a_bits ? QX_ENGINE_INTEGER : QX_ENGINE_PACKED);
}

/* Groups that the 4-bit kernel takes, and others. */
static const int groups[] = {32, 64, 128, 16, 5};
enum { N_GROUPS = sizeof groups / sizeof *groups };

struct geometry {
    int c, h, w, oc, kh, kw, group, sh, sw, top, left, bottom, right, dh, dw;
};
static const struct geometry geometries[] = {
    {1, 7, 6, 5, 3, 3, 1, 1, 1, 0, 0, 0, 0, 1, 1},  {3, 8, 7, 70, 3, 2, 1, 1, 1, 1, 0, 1, 1, 1, 1},
    {5, 9, 9, 4, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},  {5, 9, 8, 4, 1, 1, 1, 2, 3, 0, 0, 0, 0, 1, 1},
    {4, 9, 9, 6, 3, 3, 2, 2, 1, 2, 0, 1, 3, 1, 1},  {6, 8, 8, 6, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1},
    {6, 9, 7, 12, 3, 3, 6, 2, 2, 0, 1, 2, 0, 1, 1}, {2, 11, 9, 3, 3, 2, 1, 1, 2, 2, 1, 0, 2, 2, 3},
    {7, 9, 9, 7, 3, 3, 7, 2, 1, 2, 2, 2, 2, 2, 2},  {32, 5, 5, 9, 5, 5, 1, 1, 1, 2, 2, 2, 2, 1, 1},
    {9, 1, 13, 8, 1, 4, 1, 1, 2, 0, 2, 0, 1, 1, 1}, {8, 6, 6, 8, 2, 2, 4, 1, 1, 0, 0, 1, 1, 1, 1},
};

static int out_len(int n, int pads, int k, int dilation, int stride)
{
    return (n + pads - dilation * (k - 1) - 1) / stride + 1;
}

/* One output of one sample, as the definition says, in 64-bit integers. */
static int64_t conv_at(const struct geometry *g, const float *x, const float *w, int o, int y,
                       int xx)
{
    const int icg = g->c / g->group, first = o / (g->oc / g->group) * icg;
    int64_t sum = 0;
    for (int i = 0; i < icg; i++) {
        for (int a = 0; a < g->kh; a++) {
            for (int b = 0; b < g->kw; b++) {
                const int r = y * g->sh - g->top + a * g->dh, q = xx * g->sw - g->left + b * g->dw;
                if (r >= 0 && r < g->h && q >= 0 && q < g->w) {
                    sum += (int64_t)x[((first + i) * g->h + r) * g->w + q] *
                           (int64_t)w[((o * icg + i) * g->kh + a) * g->kw + b];
                }
            }
        }
    }
    return sum;
}

static void check_geometry(const struct geometry *g, const struct exact *e, int group)
{
    const int icg = g->c / g->group, oh = out_len(g->h, g->top + g->bottom, g->kh, g->dh, g->sh);
    const int ow = out_len(g->w, g->left + g->right, g->kw, g->dw, g->sw);
    const int64_t size = g->c * g->h * g->w, n_w = g->oc * icg * g->kh * g->kw;
    float *w = malloc((size_t)n_w * sizeof *w), *x = malloc((size_t)(ROWS * size) * sizeof *x);
    assert_true(w && x);
    fill(w, n_w, e->w_lo, e->w_hi, 3);
    fill_groups(w, g->oc, icg * g->kh * g->kw, true, group, e);
    for (int r = 0; r < ROWS; r++) {
        fill(x + r * size, size, e->a_lo, e->a_hi, 7 + (unsigned)r);
    }
    const struct tensor_spec t = {"w", "F32", 4, {g->oc, icg, g->kh, g->kw}, w};
    model_write("model.safetensors", &t, 1, NULL);
    char nodes[512], input[64];
    snprintf(nodes, sizeof nodes,
             "{'op':'Conv','name':'conv','inputs':['x','w'],'outputs':['c'],'attrs':{'group':%d,"
             "'strides':[%d,%d],'pads':[%d,%d,%d,%d],'dilations':[%d,%d]}},"
             "{'op':'Flatten','name':'f','inputs':['c'],'outputs':['y']}",
             g->group, g->sh, g->sw, g->top, g->left, g->bottom, g->right, g->dh, g->dw);
    snprintf(input, sizeof input, "['N',%d,%d,%d]", g->c, g->h, g->w);
    struct folder f;
    integer_open_written(&f, nodes, input, "y");
    const struct qx_setting s = exact_setting(e, QX_ACT_TOKEN, group);
    integer_apply(&f, 0, &s);
    prepare(&f, e);
    float *have = integer_run(&f, x, ROWS, NULL), *at = have;
    for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < g->oc; o++) {
            for (int p = 0; p < oh * ow; p++, at++) {
                const int64_t want = conv_at(g, x + r * size, w, o, p / ow, p % ow);
                if ((int64_t)*at != want) {
                    fail_msg(
                        "%s, c %d %dx%d group %d, %d share a scale: row %d output %d place %d is "
                        "%.9g, not %lld",
                        e->name, g->c, g->kh, g->kw, g->group, group, r, o, p, (double)*at,
                        (long long)want);
                }
            }
        }
    }
    free(have);
    free(w);
    free(x);
    folder_close(&f);
}

static void sums_of_convolutions_are_those_of_hand_loops(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof geometries / sizeof *geometries; g++) {
        for (size_t e = 0; e < sizeof exacts / sizeof *exacts; e++) {
            check_geometry(&geometries[g], &exacts[e], 0);
            const struct geometry *at = &geometries[g];
            const int k = at->c / at->group * at->kh * at->kw;
            for (int i = 0; i < N_GROUPS; i++) {
                if (has_groups(&exacts[e], k, groups[i])) {
                    check_geometry(at, &exacts[e], groups[i]);
                }
            }
        }
    }
}

/* x [N, tokens, k] times [k, n]; or, with one token, Gemm in both layouts. */
static void check_matrix(int tokens, int k, int n, int layout, const struct exact *e, int group)
{
    static const char *const ops[] = {
        "{'op':'Gemm','name':'m','inputs':['x','w'],'outputs':['y'],'attrs':{'transB':1}}",
        "{'op':'Gemm','name':'m','inputs':['x','w','b'],'outputs':['y'],'attrs':{'alpha':2,"
        "'beta':3}}",
        "{'op':'MatMul','name':'m','inputs':['x','w'],'outputs':['z']},"
        "{'op':'Flatten','name':'f','inputs':['z'],'outputs':['y']}"};
    float *w = malloc((size_t)(k * n) * sizeof *w), *b = calloc((size_t)n, sizeof *b);
    float *x = malloc((size_t)(ROWS * tokens * k) * sizeof *x);
    assert_true(w && b && x);
    fill(w, (int64_t)k * n, e->w_lo, e->w_hi, 5);
    fill_groups(w, n, k, layout == 0, group, e);
    for (int i = 0; i < n; i++) {
        b[i] = (float)(i * 11 - 40);
    }
    for (int r = 0; r < ROWS * tokens; r++) {
        fill(x + r * k, k, e->a_lo, e->a_hi, 9 + (unsigned)r);
    }
    const struct tensor_spec t[] = {{"w", "F32", 2, {layout == 0 ? n : k, layout == 0 ? k : n}, w},
                                    {"b", "F32", 1, {n}, b}};
    model_write("model.safetensors", t, 2, NULL);
    char input[64];
    snprintf(input, sizeof input, layout == 2 ? "['N',%d,%d]" : "['N',%.0d%d]",
             layout == 2 ? tokens : 0, k);
    struct folder f;
    integer_open_written(&f, ops[layout], input, "y");
    const struct qx_setting s = exact_setting(e, QX_ACT_TOKEN, group);
    integer_apply(&f, 0, &s);
    prepare(&f, e);
    float *have = integer_run(&f, x, ROWS, NULL);
    for (int r = 0; r < ROWS * tokens; r++) {
        for (int o = 0; o < n; o++) {
            int64_t want = 0;
            for (int i = 0; i < k; i++) {
                want += (int64_t)x[r * k + i] * (int64_t)w[layout == 0 ? o * k + i : i * n + o];
            }
            want = layout == 1 ? 2 * want + 3 * (int64_t)b[o] : want;
            assert_int_equal((int64_t)have[r * n + o], want);
        }
    }
    free(have);
    free(w);
    free(b);
    free(x);
    folder_close(&f);
}

static void sums_of_matrices_are_those_of_hand_loops(void **state)
{
    static const int shapes[][4] = {/* tokens, k, n, layout */
                                    {1, 33, 7, 0},  {1, 130, 65, 0}, {1, 12, 129, 1},
                                    {5, 19, 20, 2}, {3, 140, 20, 2}, {1, 700, 200, 0}};
    (void)state;
    for (size_t e = 0; e < sizeof exacts / sizeof *exacts; e++) {
        for (size_t m = 0; m < sizeof shapes / sizeof *shapes; m++) {
            const int *s = shapes[m];
            check_matrix(s[0], s[1], s[2], s[3], &exacts[e], 0);
            for (int i = 0; i < N_GROUPS; i++) {
                if (has_groups(&exacts[e], s[1], groups[i])) {
                    check_matrix(s[0], s[1], s[2], s[3], &exacts[e], groups[i]);
                }
            }
        }
    }
}

int test_net_sums(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_convolutions_are_those_of_hand_loops),
        cmocka_unit_test(sums_of_matrices_are_those_of_hand_loops),
    };
    return cmocka_run_group_tests_name("net sums", tests, integer_enter, integer_leave);
}

/* Formats in blocks laid over tensors: rows of any length, [in, out] weights, sizes, sampled figures, threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/pool.h"
#include "format/block.h"
#include "qx/json.h"
#include "qx/matrix.h"
#include "qx/metric.h"
#include "qx/model.h"

/* Nearly normal values whose size differs from row to row. */
static float *values(int64_t rows, int64_t cols)
{
    float *x = malloc((size_t)(rows * cols) * sizeof *x);
    uint32_t seed = 11;

    assert_non_null(x);
    for (int64_t i = 0; i < rows * cols; i++) {
        float sum = 0.0f;

        for (int k = 0; k < 6; k++) {
            seed = seed * 1664525u + 1013904223u;
            sum += (float)(seed >> 8) / 0x1p24f - 0.5f;
        }
        x[i] = sum * (0.02f + 0.01f * (float)(i / cols % 7));
    }
    return x;
}

static struct qx_tensor tensor_of(const float *x, const int64_t *shape)
{
    struct qx_tensor t = {.name = "w", .dtype = QX_DTYPE_F32, .rank = 2, .shape = shape};

    t.numel = shape[0] * shape[1];
    t.data = (const uint8_t *)x;
    t.bytes = (uint64_t)t.numel * sizeof *x;
    return t;
}

/* A row by hand: whole blocks, the last one filled up with the last value. */
static void row_by_hand(const struct qx_format *f, float scale, const float *x, int64_t n, float *y)
{
    for (int64_t at = 0; at < n; at += f->block->n) {
        float in[QX_BLOCK_MOST], out[QX_BLOCK_MOST];
        uint8_t stored[512];

        for (int64_t i = 0; i < f->block->n; i++) {
            in[i] = x[at + i < n ? at + i : n - 1] / scale;
        }
        f->block->encode(in, NULL, 1, stored);
        qx_block_decode(f->block, stored, 1, out);
        for (int64_t i = 0; i < f->block->n && at + i < n; i++) {
            y[at + i] = out[i] * scale;
        }
    }
}

static const int64_t shapes[][2] = {{3, 256}, {5, 27}, {2, 300}, {7, 4100}, {70, 33}};

static void rows_become_what_their_blocks_say(void **state)
{
    struct qx_pool *pool = NULL;

    (void)state;
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const int64_t rows = shapes[k][0], cols = shapes[k][1], turned[2] = {cols, rows};
        float *x = values(rows, cols), *want = values(rows, cols), *y = values(rows, cols);
        float *xt = values(rows, cols), most = 0.0f;

        for (int64_t i = 0; i < rows * cols; i++) {
            xt[i % cols * rows + i / cols] = x[i];
            most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        }
        struct qx_tensor t = tensor_of(x, shapes[k]), tt = tensor_of(xt, turned);
        struct qx_channels c = qx_channels_of(&t, 0), ct = qx_channels_of(&tt, 1);
        for (int i = 0; i < qx_format_count(); i++) {
            struct qx_setting s = qx_setting_of(qx_format_at(i), 0);

            if (!s.format->block) {
                continue;
            }
            float scale = s.format->tensor_top > 0.0f ? most / s.format->tensor_top : 1.0f;
            for (int64_t r = 0; r < rows; r++) {
                row_by_hand(s.format, scale, x + r * cols, cols, want + r * cols);
            }
            assert_int_equal(qx_fakequant(&t, c, &s, pool, NULL, y, NULL, NULL, NULL), QX_OK);
            assert_memory_equal(y, want, (size_t)(rows * cols) * sizeof *y);
            assert_int_equal(qx_fakequant(&tt, ct, &s, NULL, NULL, y, NULL, NULL, NULL), QX_OK);
            for (int64_t j = 0; j < rows * cols; j++) {
                assert_true(y[j % cols * rows + j / cols] == want[j]);
            }
        }
        free(x);
        free(xt);
        free(want);
        free(y);
    }
    qx_pool_free(pool);
}

static void sizes_count_whole_blocks(void **state)
{
    static const struct {
        const char *format;
        int64_t rows, cols;
        uint64_t bytes;
    } cases[] = {{"q8_0", 3, 64, 3 * 2 * 34},       {"q8_0", 3, 65, 3 * 3 * 34},
                 {"q4_k", 5, 256, 5 * 144},         {"q4_k", 5, 257, 5 * 2 * 144},
                 {"nvfp4", 2, 128, 2 * 2 * 36 + 4}, {"mxfp4", 1, 32, 17}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_setting s = qx_setting_of(qx_format_find(cases[i].format), 0);
        struct qx_channels c = {1, cases[i].rows, cases[i].cols};
        int64_t n = cases[i].rows * cases[i].cols;

        assert_int_equal(qx_setting_bytes(&s, n, qx_setting_units(&s, c)), cases[i].bytes);
        assert_int_equal(qx_setting_check(&s, NULL), QX_OK);
    }
    struct qx_setting s = qx_setting_of(qx_format_find("q8_0"), 0);
    struct qx_channels vector = {1, 100, 1};
    assert_int_equal(qx_setting_units(&s, vector), 4); /* one axis: one row */
}

static struct qx_hist *hist_of(const struct qx_tensor *t, const struct qx_setting *s)
{
    struct qx_hist_spec spec = qx_setting_spec(s, qx_channels_of(t, 0));
    struct qx_hist *h = NULL;

    assert_int_equal(spec.gran, QX_GRAN_TENSOR);
    assert_int_equal(qx_hist_build(t, &spec, 0, NULL, NULL, &h, NULL), QX_OK);
    return h;
}

static void pieces_give_the_figures(void **state)
{
    static const int64_t small[2] = {20, 300}, large[2] = {500, 1000};

    (void)state;
    for (int is_large = 0; is_large < 2; is_large++) {
        const int64_t *shape = is_large ? large : small;
        float *x = values(shape[0], shape[1]);
        struct qx_tensor t = tensor_of(x, shape);
        struct qx_channels c = qx_channels_of(&t, 0);

        for (int i = 0; i < qx_format_count(); i++) {
            struct qx_setting s = qx_setting_of(qx_format_at(i), 0);
            struct qx_metrics a, b;

            if (!s.format->block) {
                continue;
            }
            struct qx_hist *h = hist_of(&t, &s);
            assert_int_equal(qx_hist_pieces(h)->is_whole, !is_large);
            assert_int_equal(qx_metric_hist(h, &s, &a, NULL), QX_OK);
            assert_int_equal(qx_metric_exact(&t, c, &s, NULL, NULL, &b, NULL), QX_OK);
            double bound = is_large ? 0.08 : 1e-6;
            assert_true(fabs(a.mse - b.mse) <= bound * b.mse);
            assert_true(fabs(a.mae - b.mae) <= bound * b.mae);
            assert_true(fabs(a.sqnr_db - b.sqnr_db) <= (is_large ? 0.35 : 1e-5));
            assert_true(fabs(a.sum_sq - b.sum_sq) <= 1e-5 * b.sum_sq);
            assert_int_equal(a.bytes, b.bytes);
            assert_int_equal(a.basis, is_large ? QX_BASIS_SAMPLED : QX_BASIS_EXACT);
            assert_int_equal(b.basis, QX_BASIS_EXACT);
            assert_true(fabs(qx_metric_hist_mse(h, &s) - a.mse) <= 1e-9 * a.mse);
            assert_true(a.clipped_low == 0.0 && b.clipped_high == 0.0 && isnan(b.entropy_bits));
            qx_hist_unref(h);
        }
        free(x);
    }
}

static void pieces_survive_the_cache(void **state)
{
    static const int64_t shape[2] = {30, 700};
    float *x = values(shape[0], shape[1]);
    struct qx_tensor t = tensor_of(x, shape);
    struct qx_setting s = qx_setting_of(qx_format_find("q4_k"), 0);
    struct qx_hist *h = hist_of(&t, &s), *again = NULL;
    struct qx_metrics a, b;
    const char *path = "kept-pieces.qxh";

    (void)state;
    assert_int_equal(qx_hist_save(h, path, 5, NULL), QX_OK);
    assert_int_equal(qx_hist_load(path, 5, &again, NULL), QX_OK);
    remove(path);
    assert_int_equal(qx_metric_hist(h, &s, &a, NULL), QX_OK);
    assert_int_equal(qx_metric_hist(again, &s, &b, NULL), QX_OK);
    assert_true(a.mse == b.mse && a.mae == b.mae && a.n == b.n);
    qx_hist_unref(h);
    qx_hist_unref(again);
    free(x);
}

static void what_is_not_finite_becomes_zero(void **state)
{
    static const int64_t shape[2] = {1, 64};
    float *x = values(1, 64), y[64];
    struct qx_tensor t = tensor_of(x, shape);
    struct qx_channels c = qx_channels_of(&t, 0);
    struct qx_setting s = qx_setting_of(qx_format_find("q4_0"), 0);
    int64_t bad = 0;

    (void)state;
    x[3] = NAN;
    x[40] = INFINITY;
    assert_int_equal(qx_fakequant(&t, c, &s, NULL, NULL, y, NULL, &bad, NULL), QX_OK);
    assert_int_equal(bad, 2);
    assert_true(y[3] == 0.0f && y[40] == 0.0f && isfinite(y[4]));
    free(x);
}

static void map_agrees(const struct qx_matrix *m, const struct qx_setting *s, struct qx_hist *h,
                       const float *x, const float *y)
{
    struct qx_matrix_part part = {0, 0, 4, 300, 2, 25};
    struct qx_matrix_map *map = NULL;
    float largest = 0.0f;

    assert_int_equal(qx_matrix_map_new(m, QX_MATRIX_ERROR, s, h, &part, &map, NULL), QX_OK);
    assert_int_equal(qx_matrix_map_run(map, NULL, NULL, NULL), QX_OK);
    for (int64_t r = 2; r < 4; r++) {
        for (int64_t k = 75; k < 100; k++) {
            float e = x[r * 300 + k] - y[r * 300 + k];

            largest = fabsf(e) > fabsf(largest) ? e : largest;
        }
    }
    assert_true(qx_matrix_map_cell(map, 1, 3)->largest == largest);
    qx_matrix_map_unref(map);
    assert_int_equal(qx_matrix_map_new(m, QX_MATRIX_CLIPPED, s, h, &part, &map, NULL), QX_EDATA);
}

static void a_value_shows_its_block(void **state)
{
    static const int64_t shape[2] = {4, 300};
    float *x = values(shape[0], shape[1]), *y = values(shape[0], shape[1]);
    struct qx_tensor t = tensor_of(x, shape);
    struct qx_channels c = qx_channels_of(&t, 0);
    struct qx_matrix m = qx_matrix_of(&t, c);

    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        struct qx_setting s = qx_setting_of(qx_format_at(i), 0);

        if (!s.format->block) {
            continue;
        }
        struct qx_hist *h = hist_of(&t, &s);
        assert_int_equal(qx_fakequant(&t, c, &s, NULL, NULL, y, NULL, NULL, NULL), QX_OK);
        for (int64_t e = 0; e < t.numel; e += 53) {
            struct qx_matrix_value v;

            assert_int_equal(qx_matrix_look(&m, &s, h, e, &v, NULL), QX_OK);
            assert_true(v.is_block && v.has_code && v.x == x[e] && v.approx == y[e]);
            double back = (double)(v.params.scale * (float)v.code - v.min);
            assert_true(fabs(back - (double)y[e]) <= 1e-6 * fabs((double)y[e]) + 1e-8);
        }
        map_agrees(&m, &s, h, x, y);
        qx_hist_unref(h);
    }
    free(x);
    free(y);
}

/* A file's own blocks: every level with its scale and minimum is the value, bit by bit; the map shows the levels. */
static void stored_blocks_show_their_codes(void **state)
{
    struct qx_model *model = NULL;
    struct qx_error err;
    const struct qx_setting fp32 = qx_setting_fp32();
    int n_tensors = 0;
    (void)state;
    assert_int_equal(qx_model_open(QX_SOURCE_ROOT "/tests/golden/gguf/types.gguf", &model, &err),
                     QX_OK);
    for (int64_t i = 0; i < qx_model_n_tensors(model); i++) {
        const struct qx_tensor *t = qx_model_tensor(model, i);
        const struct qx_matrix m = qx_matrix_of(t, qx_channels_of(t, 0));
        const struct qx_block *b = qx_matrix_block(&m, &fp32);
        if (!b) {
            continue;
        }
        const struct qx_matrix_part part = {0, 0, m.rows, m.cols, 1, 1};
        struct qx_matrix_map *map = NULL;
        assert_int_equal(qx_matrix_map_new(&m, QX_MATRIX_CODE, &fp32, NULL, &part, &map, &err),
                         QX_OK);
        assert_int_equal(qx_matrix_map_run(map, NULL, NULL, &err), QX_OK);
        for (int64_t e = 0; e < t->numel; e++) {
            struct qx_matrix_value v;
            assert_int_equal(qx_matrix_look(&m, &fp32, NULL, e, &v, &err), QX_OK);
            assert_true(v.has_code && v.is_block && v.approx == v.x);
            const float level = v.params.scale * (float)v.code;
            assert_true(level - v.min == v.x);
            int64_t row, col;
            qx_matrix_place(&m, e, &row, &col);
            assert_true(qx_matrix_map_cell(map, row, col)->largest == (float)v.code);
        }
        qx_matrix_map_unref(map);
        n_tensors++;
    }
    assert_true(n_tensors > 12);
    qx_model_close(&model);
}

/* Values on the levels of their blocks are counted there, and nowhere else; all others stay within a step of the
 * levels at the ends. */
static void places_are_counted_at_levels(void **state)
{
    enum { LEVELS = 16, CELLS = 160 };
    const struct qx_format *f = qx_format_find("q4_0");
    const struct qx_setting s = qx_setting_of(f, 4);
    const int64_t shape[2] = {2, 64};
    float x[128];
    double counts[CELLS], on = 0.0, all = 0.0;
    struct qx_hist *hist = NULL;
    (void)state;
    for (int i = 0; i < 128; i++) {
        x[i] = (float)(i % LEVELS - 8) * (i < 64 ? 0.25f : 2.0f);
    }
    const struct qx_tensor t = tensor_of(x, shape);
    const struct qx_hist_spec spec = qx_setting_spec(&s, qx_channels_of(&t, 0));
    assert_int_equal(qx_hist_build(&t, &spec, 0, NULL, NULL, &hist, NULL), QX_OK);
    assert_true(qx_metric_block_places(&t, &s, hist, -8.5, 7.5, CELLS, counts));
    for (int i = 0; i < CELLS; i++) {
        on += i % 10 == 5 ? counts[i] : 0.0;
        all += counts[i];
    }
    assert_true(on == 128.0 && all == 128.0);
    assert_true(counts[5] == 8.0); /* level -8: once in 16 */
    const struct qx_setting fp32 = qx_setting_fp32();
    assert_false(qx_metric_block_places(&t, &fp32, hist, -8.5, 7.5, CELLS, counts));
    qx_hist_unref(hist);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_what_their_blocks_say),
        cmocka_unit_test(sizes_count_whole_blocks),
        cmocka_unit_test(pieces_give_the_figures),
        cmocka_unit_test(pieces_survive_the_cache),
        cmocka_unit_test(what_is_not_finite_becomes_zero),
        cmocka_unit_test(a_value_shows_its_block),
        cmocka_unit_test(stored_blocks_show_their_codes),
        cmocka_unit_test(places_are_counted_at_levels),
    };

    return cmocka_run_group_tests_name("quant: formats in blocks", tests, NULL, NULL);
}

/* Pictures and margins of weights against plain loops over qx_fakequant's values and codes. */
#include "base/mem.h"
#include "base/pool.h"
#include "qx/matrix.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct weight {
    struct qx_tensor tensor;
    struct qx_channels channels;
    struct qx_matrix matrix;
    float *x, *approx;
    int16_t *codes;
    struct qx_setting setting;
    struct qx_hist *hist;
};

/* Values with an outlier column, a dead row and (last) infinities and NaN. */
static void weight_open(struct weight *w, int rank, const int64_t *shape, int axis)
{
    memset(w, 0, sizeof(*w));
    int64_t n = 1;
    for (int i = 0; i < rank; i++) {
        n *= shape[i];
    }
    w->x = malloc((size_t)n * sizeof(*w->x));
    w->tensor = (struct qx_tensor){.name = "w",
                                   .dtype = QX_DTYPE_F32,
                                   .rank = rank,
                                   .shape = shape,
                                   .numel = n,
                                   .data = (const uint8_t *)w->x,
                                   .bytes = (uint64_t)n * 4};
    w->channels = qx_channels_of(&w->tensor, axis);
    w->matrix = qx_matrix_of(&w->tensor, w->channels);
    for (int64_t i = 0; i < n; i++) {
        int64_t row, col;
        qx_matrix_place(&w->matrix, i, &row, &col);
        assert_int_equal(qx_matrix_element(&w->matrix, row, col), i);
        assert_true(row < w->matrix.rows && col < w->matrix.cols);
        w->x[i] = sinf((float)i * 1.7f) * (col == 3 ? 6.0f : 1.0f);
        w->x[i] = row == 2 && w->matrix.rows > 1 ? 0.0f : w->x[i];
    }
    w->x[n - 1] = NAN;
    w->x[n / 2] = INFINITY;
}

static void weight_set(struct weight *w, enum qx_gran gran, int64_t group, int bits, bool sym)
{ /* bits 0: NF4 */
    int64_t n = w->tensor.numel, bad = 0;
    qx_hist_unref(w->hist);
    free(w->approx);
    free(w->codes);
    w->setting = bits ? qx_setting_int(bits) : qx_setting_of(qx_format_find("nf4"), 0);
    w->setting.gran = gran;
    w->setting.group = group;
    w->setting.sym = sym;
    w->setting.calib = qx_calib_find("percentile");
    w->setting.param = 97;
    struct qx_hist_spec spec = qx_setting_spec(&w->setting, w->channels);
    assert_int_equal(qx_hist_build(&w->tensor, &spec, 0, NULL, NULL, &w->hist, NULL), QX_OK);
    assert_int_equal(qx_setting_resolve(&w->setting, w->hist, NULL), QX_OK);
    w->approx = malloc((size_t)n * sizeof(*w->approx));
    w->codes = malloc((size_t)n * sizeof(*w->codes));
    assert_int_equal(qx_fakequant(&w->tensor, w->channels, &w->setting, NULL, NULL, w->approx,
                                  w->codes, &bad, NULL),
                     QX_OK);
    assert_int_equal(bad, 2);
}

static void weight_close(struct weight *w)
{
    qx_hist_unref(w->hist);
    free(w->x);
    free(w->approx);
    free(w->codes);
}

/* What the picture shows of an element, the slow way. */
static float oracle(const struct weight *w, enum qx_matrix_what what, int64_t i)
{
    struct qx_matrix_value v;
    assert_int_equal(qx_matrix_look(&w->matrix, &w->setting, w->hist, i, &v, NULL), QX_OK);
    assert_true(v.has_code && v.code == w->codes[i] && v.approx == w->approx[i]);
    switch (what) {
    case QX_MATRIX_CODE:
        return (float)(w->codes[i] - v.params.zero);
    case QX_MATRIX_ERROR:
        return w->x[i] - w->approx[i];
    case QX_MATRIX_CLIPPED:
        return v.is_clipped ? 1.0f : 0.0f;
    default:
        return w->x[i];
    }
}

static void check_block(const struct weight *w, enum qx_matrix_what what,
                        const struct qx_matrix_map *map, int64_t y, int64_t x)
{
    const struct qx_matrix_part *p = qx_matrix_map_part(map);
    const struct qx_matrix_cell *cell = qx_matrix_map_cell(map, y, x);
    double sum = 0, largest = -1;
    int64_t n = 0, bad = 0;
    assert_non_null(cell);
    for (int64_t r = y * p->down; r < (y + 1) * p->down && r < p->rows; r++) {
        for (int64_t c = x * p->across; c < (x + 1) * p->across && c < p->cols; c++) {
            int64_t i = qx_matrix_element(&w->matrix, p->row + r, p->col + c);
            if (!isfinite(w->x[i])) {
                bad++;
                continue;
            }
            double v = (double)oracle(w, what, i);
            n++;
            sum += fabs(v);
            largest = fmax(largest, fabs(v));
        }
    }
    assert_int_equal(cell->n_nonfinite, bad);
    assert_int_equal(cell->element < 0, n == 0);
    if (n > 0) {
        assert_true((double)fabsf(cell->largest) == largest);
        assert_true(cell->largest == oracle(w, what, cell->element));
        assert_true(fabs((double)cell->mean - sum / (double)n) <= 1e-6 * (1 + sum / (double)n));
    }
}

static void check_part(const struct weight *w, const struct qx_matrix_part *part,
                       struct qx_pool *pool)
{
    for (int what = QX_MATRIX_VALUE; what <= QX_MATRIX_CLIPPED; what++) {
        struct qx_matrix_map *map = NULL;
        struct qx_ctl ctl = {0};
        assert_int_equal(qx_matrix_map_new(&w->matrix, (enum qx_matrix_what)what, &w->setting,
                                           w->hist, part, &map, NULL),
                         QX_OK);
        assert_null(qx_matrix_map_cell(map, 0, 0));
        assert_false(qx_matrix_map_done(map));
        assert_int_equal(qx_matrix_map_run(map, pool, &ctl, NULL), QX_OK);
        assert_true(qx_matrix_map_done(map));
        assert_int_equal(atomic_load(&ctl.done), part->rows * part->cols);
        for (int64_t y = 0; y < qx_matrix_map_height(map); y++) {
            for (int64_t x = 0; x < qx_matrix_map_width(map); x++) {
                check_block(w, (enum qx_matrix_what)what, map, y, x);
            }
        }
        qx_matrix_map_unref(map);
    }
}

static void check_margins(const struct weight *w, struct qx_pool *pool)
{
    struct qx_margins *m = NULL;
    const struct qx_matrix *matrix = &w->matrix;
    assert_int_equal(qx_margins_make(matrix, pool, NULL, &m, NULL), QX_OK);
    float *rows = calloc((size_t)matrix->rows, sizeof(*rows));
    float *cols = calloc((size_t)matrix->cols, sizeof(*cols));
    for (int64_t i = 0; i < w->tensor.numel; i++) {
        int64_t r, c;
        qx_matrix_place(matrix, i, &r, &c);
        if (isfinite(w->x[i])) {
            rows[r] = fmaxf(rows[r], fabsf(w->x[i]));
            cols[c] = fmaxf(cols[c], fabsf(w->x[i]));
        }
    }
    assert_memory_equal(m->row_max, rows, (size_t)matrix->rows * sizeof(*rows));
    assert_memory_equal(m->col_max, cols, (size_t)matrix->cols * sizeof(*cols));
    assert_int_equal(m->n_nonfinite, 2);
    assert_int_equal(m->n_dead_rows, matrix->rows > 1);
    int64_t outliers = 0;
    for (int64_t c = 0; c < matrix->cols; c++) {
        outliers += (double)cols[c] > QX_MATRIX_OUTLIER * m->col_median;
    }
    assert_int_equal(m->n_outlier_cols, outliers);
    free(rows);
    free(cols);
    qx_margins_free(m);
}

static const struct {
    int rank, axis;
    int64_t shape[4];
} weights[] = {{2, 0, {17, 40}}, {2, 1, {40, 17}}, {4, 0, {6, 5, 3, 3}},  {4, 1, {7, 9, 3, 2}},
               {1, 0, {75}},     {2, 0, {1, 50}},  {3, 0, {11, 3, 5000}}, {3, 1, {3, 6, 5000}}};

static void pictures_and_margins_are_those_of_plain_loops(void **state)
{
    (void)state;
    struct qx_pool *pool = NULL;
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    for (size_t k = 0; k < sizeof(weights) / sizeof(weights[0]); k++) {
        struct weight w;
        weight_open(&w, weights[k].rank, weights[k].shape, weights[k].axis);
        const struct qx_matrix *m = &w.matrix;
        const int64_t half_r = (m->rows + 1) / 2, half_c = (m->cols + 1) / 2;
        const struct qx_matrix_part parts[] = {
            {0, 0, m->rows, m->cols, 1, m->cols > 5000 ? 7 : 1},
            {0, 0, m->rows, m->cols, 4, m->cols / 7 + 1},
            {m->rows - half_r, m->cols - half_c, half_r, half_c, 3, 5 + m->cols / 100}};
        for (int v = 0; v < 5; v++) {
            weight_set(&w, v < 2 ? (enum qx_gran)v : QX_GRAN_GROUP, 32,
                       v == 4   ? 0
                       : v == 3 ? 3
                                : 5,
                       v != 3);
            for (int p = 0; p < 3; p++) {
                check_part(&w, &parts[p], v % 2 ? pool : NULL);
            }
        }
        check_margins(&w, pool);
        check_margins(&w, NULL);
        weight_close(&w);
    }
    qx_pool_free(pool);
}

static void float_formats_have_errors_and_no_codes(void **state)
{
    (void)state;
    struct weight w;
    struct qx_error err = {0};
    struct qx_matrix_map *map = NULL;
    weight_open(&w, 2, (const int64_t[]){4, 9}, 0);
    struct qx_setting s = qx_setting_fp32();
    const struct qx_matrix_part part = {0, 0, 4, 9, 1, 1};
    s.format = qx_format_find("fp16");
    assert_int_equal(qx_matrix_map_new(&w.matrix, QX_MATRIX_ERROR, &s, NULL, &part, &map, &err),
                     QX_OK);
    assert_int_equal(qx_matrix_map_run(map, NULL, NULL, &err), QX_OK);
    assert_true(qx_matrix_map_cell(map, 0, 1)->largest == w.x[1] - s.format->round(w.x[1]));
    qx_matrix_map_unref(map);
    assert_int_equal(qx_matrix_map_new(&w.matrix, QX_MATRIX_CODE, &s, NULL, &part, &map, &err),
                     QX_EDATA);
    assert_non_null(strstr(err.text, "FP16"));
    s = qx_setting_int(4);
    assert_int_equal(qx_matrix_map_new(&w.matrix, QX_MATRIX_ERROR, &s, NULL, &part, &map, &err),
                     QX_EDATA);
    s.has_range = true;
    s.range = (struct qx_range){-1, 1};
    assert_int_equal(qx_matrix_map_new(&w.matrix, QX_MATRIX_ERROR, &s, NULL, &part, &map, &err),
                     QX_EDATA);
    assert_non_null(strstr(err.text, "units"));
    weight_close(&w);
}

static void cancelling_and_failed_allocations_leave_nothing(void **state)
{
    (void)state;
    struct weight w;
    struct qx_ctl ctl = {0};
    struct qx_error err = {0};
    weight_open(&w, 2, (const int64_t[]){20, 30}, 0);
    const struct qx_matrix_part part = {0, 0, 20, 30, 2, 2};
    const struct qx_setting s = qx_setting_fp32();
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        struct qx_matrix_map *map = NULL;
        qx_mem_fail_at(n);
        st = qx_matrix_map_new(&w.matrix, QX_MATRIX_VALUE, &s, NULL, &part, &map, &err);
        st = st == QX_OK ? qx_matrix_map_run(map, NULL, NULL, &err) : st;
        qx_mem_fail_at(0);
        assert_true(n < 20 && (st == QX_OK || st == QX_ENOMEM));
        qx_matrix_map_unref(map);
    }
    st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        struct qx_margins *m = NULL;
        qx_mem_fail_at(n);
        st = qx_margins_make(&w.matrix, NULL, NULL, &m, &err);
        qx_mem_fail_at(0);
        assert_true(n < 20 && (st == QX_OK || st == QX_ENOMEM) && (st == QX_OK) == (m != NULL));
        qx_margins_free(m);
    }
    struct qx_matrix_map *map = NULL;
    struct qx_margins *m = NULL;
    assert_int_equal(qx_matrix_map_new(&w.matrix, QX_MATRIX_VALUE, &s, NULL, &part, &map, &err),
                     QX_OK);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_matrix_map_run(map, NULL, &ctl, &err), QX_ECANCELLED);
    assert_null(qx_matrix_map_cell(map, 0, 0));
    assert_int_equal(qx_margins_make(&w.matrix, NULL, &ctl, &m, &err), QX_ECANCELLED);
    qx_matrix_map_unref(map);
    weight_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_and_margins_are_those_of_plain_loops),
        cmocka_unit_test(float_formats_have_errors_and_no_codes),
        cmocka_unit_test(cancelling_and_failed_allocations_leave_nothing),
    };
    return cmocka_run_group_tests_name("quant matrix", tests, NULL, NULL);
}

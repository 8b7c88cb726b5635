/* Histograms against expected.txt, which a NumPy script computed element by element
 * (tests/golden/hist/make_hist.py), and properties that hold for any data. */
#include "test_tensor.h"

#include "base/pool.h"
#include "qx/hist.h"
#include "tensor/hist_table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN QX_SOURCE_ROOT "/tests/golden/hist/"

/* ---- golden ---- */

struct golden {
    struct qx_model *model;
    struct qx_hist *h;
    char key[96]; /* of the case, for messages */
    double tiny;  /* values below are denormal: moments hold to this absolute error only */
};

static void check_near(const struct golden *g, const char *what, double got, double want,
                       double tolerance)
{
    bool ok = isnan(want) ? isnan(got) : fabs(got - want) <= tolerance;
    if (!ok) {
        fail_msg("%s: %s is %.17g, expected %.17g +- %g", g->key, what, got, want, tolerance);
    }
}

static void check_relative(const struct golden *g, const char *what, double got, double want,
                           double relative)
{
    check_near(g, what, got, want, relative * fabs(want));
}

static void read_case(struct golden *g, const char *line)
{
    char name[32], gran[16];
    int axis, group, sym, at = 0;
    long long n, n_nan, n_inf, n_zero, first, n_units;
    double want[5];
    int got =
        sscanf(line, "case %31s %15s %d %d %d %lld %lld %lld %lld %lld %lld %lf %lf %lf %lf %lf%n",
               name, gran, &axis, &group, &sym, &n, &n_nan, &n_inf, &n_zero, &first, &n_units,
               &want[0], &want[1], &want[2], &want[3], &want[4], &at);
    assert_int_equal(got, 16);
    snprintf(g->key, sizeof g->key, "%s %s axis %d group %d sym %d", name, gran, axis, group, sym);
    const struct qx_tensor *t = qx_model_tensor(g->model, qx_model_find(g->model, name));
    struct qx_hist_spec spec = {.group = group, .sym = sym, .channels = qx_channels_of(t, axis)};
    spec.gran = *gran == 't' ? QX_GRAN_TENSOR : *gran == 'c' ? QX_GRAN_CHANNEL : QX_GRAN_GROUP;
    struct qx_error err = {0};
    qx_hist_unref(g->h);
    g->h = NULL;
    if (qx_hist_build(t, &spec, 0, NULL, NULL, &g->h, &err) != QX_OK) {
        fail_msg("%s: %s", g->key, err.text);
    }
    const struct qx_stats *s = qx_hist_stats(g->h);
    assert_int_equal(s->n, n);
    assert_int_equal(s->n_nan, n_nan);
    assert_int_equal(s->n_inf, n_inf);
    assert_int_equal(s->n_zero, n_zero);
    assert_int_equal(s->first_nonfinite, first);
    assert_int_equal(qx_hist_units(g->h)->n, n_units);
    assert_true(s->is_exact);
    check_near(g, "min", s->min, want[0], 0.0);
    check_near(g, "max", s->max, want[1], 0.0);
    check_near(g, "mean", s->mean, want[2], 1e-12 * want[3]);
    check_relative(g, "std", s->std, want[3], 1e-12);
    check_relative(g, "p999", s->p999, want[4], 1.0 / 1024);
    g->tiny = s->n > 0 ? s->absmax * 1e-7 : 0.0;
}

static void read_unit(const struct golden *g, const char *line)
{
    long long i;
    double lo, hi, absmax;
    assert_int_equal(sscanf(line, "unit %lld %lf %lf %lf", &i, &lo, &hi, &absmax), 4);
    check_near(g, "unit lo", (double)qx_hist_units(g->h)->lo[i], lo, 0.0);
    check_near(g, "unit hi", (double)qx_hist_units(g->h)->hi[i], hi, 0.0);
    check_near(g, "unit absmax", (double)qx_hist_units(g->h)->absmax[i], absmax, 0.0);
}

static void read_scale(const struct golden *g, const char *line)
{
    double a_min, a_max;
    assert_int_equal(sscanf(line, "scale %lf %lf", &a_min, &a_max), 2);
    check_near(g, "a_min", (double)qx_hist_tables(g->h)->a_min, a_min, 0.0);
    check_near(g, "a_max", (double)qx_hist_tables(g->h)->a_max, a_max, 0.0);
}

/* Prefix sums below the bin of an edge: counts are exact, moments to 1e-6 of the totals. */
static void read_below(const struct golden *g, const char *line)
{
    const struct qx_hist_table *t = &qx_hist_tables(g->h)->main;
    double edge, want[6];
    assert_int_equal(sscanf(line, "below %lf %lf %lf %lf %lf %lf %lf", &edge, &want[0], &want[1],
                            &want[2], &want[3], &want[4], &want[5]),
                     7);
    const struct qx_hist_line *at = &t->lines[t->first[qx_hist_bin(t, edge)]];
    const struct qx_hist_line *all = &t->lines[t->n_lines];
    check_near(g, "count below", at->n0, want[0], 0.0);
    check_near(g, "p0", at->p0, want[1], 1e-12 * all->p0);
    check_near(g, "p1", at->p1, want[2], 1e-6 * sqrt(all->p0 * all->p2));
    check_near(g, "p2", at->p2, want[3], 1e-6 * all->p2);
    check_near(g, "m0", at->m0, want[4], 1e-12 * all->m0);
    check_near(g, "m1", at->m1, want[5], 1e-6 * all->m0);
}

static void read_quantile(const struct golden *g, const char *line)
{
    double p, abs_want, want;
    assert_int_equal(sscanf(line, "quantile %lf %lf %lf", &p, &abs_want, &want), 3);
    double top = qx_hist_spec(g->h)->gran == QX_GRAN_TENSOR ? qx_hist_stats(g->h)->absmax : 1.0;
    /* Within the bin that holds the rank: 2^-10 of the value, 2^-39 of the largest near zero. */
    double floor_width = top * 0x1p-38;
    check_near(g, "quantile_abs", qx_hist_quantile_abs(g->h, p), abs_want,
               fabs(abs_want) / 1024 + floor_width);
    check_near(g, "quantile", qx_hist_quantile(g->h, p), want, fabs(want) / 1024 + floor_width);
}

static void read_coarse(const struct golden *g, const char *line)
{
    double top;
    const double *lin = qx_hist_linear(g->h, &top);
    const char *p = line + strlen("coarse");
    double drift = 0.0;
    for (int cell = 0; cell < 32; cell++) {
        int at = 0;
        double want, got = 0.0;
        assert_int_equal(sscanf(p, "%lf%n", &want, &at), 1);
        p += at;
        for (int i = 0; i < 64; i++) {
            got += lin[cell * 64 + i];
        }
        drift += fabs(got - want);
    }
    /* A value within one float of a cell's edge may stand on either side. */
    check_near(g, "linear bins", drift, 0.0, 0.002 * (double)qx_hist_stats(g->h)->n);
}

static void histograms_equal_the_oracle(void **state)
{
    (void)state;
    struct golden g = {.model = open_ok(GOLDEN "data.safetensors")};
    FILE *f = fopen(GOLDEN "expected.txt", "r");
    char line[1024];
    int n_cases = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        switch (line[0]) {
        case 'c':
            if (line[1] == 'o') {
                read_coarse(&g, line);
            } else {
                read_case(&g, line);
                n_cases++;
            }
            break;
        case 'u':
            read_unit(&g, line);
            break;
        case 's':
            read_scale(&g, line);
            break;
        case 'b':
            read_below(&g, line);
            break;
        default:
            read_quantile(&g, line);
        }
    }
    fclose(f);
    assert_true(n_cases >= 35);
    qx_hist_unref(g.h);
    qx_model_close(&g.model);
}

/* ---- properties ---- */

static uint32_t lcg(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Roughly normal, with channels of different width. */
static float *make_values(int64_t rows, int64_t cols)
{
    float *x = malloc((size_t)(rows * cols) * sizeof *x);
    uint32_t state = 7;
    assert_non_null(x);
    for (int64_t r = 0; r < rows; r++) {
        float width = 0.01f * (float)(1 + r % 13);
        for (int64_t c = 0; c < cols; c++) {
            float sum = 0.0f;
            for (int k = 0; k < 4; k++) {
                sum += (float)lcg(&state) / 16777216.0f - 0.5f;
            }
            x[r * cols + c] = width * sum;
        }
    }
    return x;
}

static struct qx_tensor tensor_of(const float *x, const int64_t *shape)
{
    struct qx_tensor t = {.name = "x", .dtype = QX_DTYPE_F32, .rank = 2, .shape = shape};
    t.numel = shape[0] * shape[1];
    t.data = (const uint8_t *)x;
    t.bytes = (uint64_t)t.numel * 4;
    return t;
}

static struct qx_hist *build(const struct qx_tensor *t, const struct qx_hist_spec *spec,
                             int64_t n_sample, struct qx_pool *pool)
{
    struct qx_hist *h = NULL;
    struct qx_error err = {0};
    if (qx_hist_build(t, spec, n_sample, pool, NULL, &h, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return h;
}

static void assert_same_table(const struct qx_hist_table *a, const struct qx_hist_table *b)
{
    assert_int_equal(a->n_bins, b->n_bins);
    assert_int_equal(a->n_lines, b->n_lines);
    assert_memory_equal(a->first, b->first, (size_t)a->n_bins * sizeof *a->first);
    for (int i = 0; i <= a->n_lines; i++) {
        assert_memory_equal(&a->lines[i], &b->lines[i], sizeof a->lines[i]);
    }
}

static void assert_same(const struct qx_hist *a, const struct qx_hist *b)
{
    const struct qx_hist_tables *x = qx_hist_tables(a), *y = qx_hist_tables(b);
    double top_a, top_b;
    assert_same_table(&x->main, &y->main);
    assert_int_equal(x->n_classes, y->n_classes);
    for (int i = 0; i < x->n_classes; i++) {
        assert_same_table(&x->classes[i], &y->classes[i]);
    }
    assert_memory_equal(qx_hist_linear(a, &top_a), qx_hist_linear(b, &top_b),
                        QX_HIST_LIN * sizeof(double));
    assert_true(top_a == top_b && x->a_min == y->a_min && x->a_max == y->a_max);
    assert_memory_equal(qx_hist_stats(a), qx_hist_stats(b), sizeof(struct qx_stats));
    size_t bytes = (size_t)qx_hist_units(a)->n * sizeof(float);
    assert_memory_equal(qx_hist_units(a)->lo, qx_hist_units(b)->lo, bytes);
    assert_memory_equal(qx_hist_units(a)->hi, qx_hist_units(b)->hi, bytes);
}

static const struct {
    enum qx_gran gran;
    int axis;
    int64_t group;
    bool sym;
} specs[] = {
    {QX_GRAN_TENSOR, 0, 0, true},   {QX_GRAN_CHANNEL, 0, 0, true}, {QX_GRAN_CHANNEL, 1, 0, true},
    {QX_GRAN_CHANNEL, 1, 0, false}, {QX_GRAN_GROUP, 0, 32, false}, {QX_GRAN_GROUP, 1, 100, true},
};
enum { N_SPECS = sizeof specs / sizeof *specs };

static struct qx_hist_spec spec_of(int i, const struct qx_tensor *t)
{
    struct qx_hist_spec s = {specs[i].gran, specs[i].group, specs[i].sym,
                             qx_channels_of(t, specs[i].axis)};
    return s;
}

static void threads_do_not_change_the_result(void **state)
{
    (void)state;
    int64_t shape[2] = {1900, 1301}; /* more than one tile of every pass, uneven */
    float *x = make_values(shape[0], shape[1]);
    struct qx_tensor t = tensor_of(x, shape);
    struct qx_pool *pool = NULL;
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    for (int i = 0; i < N_SPECS; i++) {
        struct qx_hist_spec spec = spec_of(i, &t);
        struct qx_hist *one = build(&t, &spec, 0, NULL), *three = build(&t, &spec, 0, pool);
        assert_same(one, three);
        qx_hist_unref(one);
        qx_hist_unref(three);
    }
    qx_pool_free(pool);
    free(x);
}

static void saved_histograms_load_equal(void **state)
{
    (void)state;
    int64_t shape[2] = {64, 300};
    float *x = make_values(shape[0], shape[1]);
    struct qx_tensor t = tensor_of(x, shape);
    for (int i = 0; i < N_SPECS; i++) {
        struct qx_hist_spec spec = spec_of(i, &t);
        struct qx_hist *h = build(&t, &spec, 0, NULL), *back = NULL;
        assert_int_equal(qx_hist_save(h, scratch_path("h.qxhist"), 42, NULL), QX_OK);
        assert_int_equal(qx_hist_load(scratch_path("h.qxhist"), 42, &back, NULL), QX_OK);
        assert_same(h, back);
        assert_int_equal(qx_hist_spec(back)->group, spec.group);
        assert_int_equal(qx_hist_lossless(back), qx_hist_lossless(h));
        qx_hist_unref(h);
        qx_hist_unref(back);
    }
    free(x);
}

static void damaged_cache_files_are_refused(void **state)
{
    (void)state;
    int64_t shape[2] = {4, 25};
    float *x = make_values(shape[0], shape[1]);
    struct qx_tensor t = tensor_of(x, shape);
    struct qx_hist_spec spec = spec_of(4, &t);
    struct qx_hist *h = build(&t, &spec, 0, NULL), *back = NULL;
    struct qx_error err = {0};
    const char *path = scratch_path("damaged.qxhist");
    assert_int_equal(qx_hist_save(h, path, 1, NULL), QX_OK);
    assert_int_equal(qx_hist_load(path, 2, &back, &err), QX_EFORMAT); /* another key */
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    for (long at = 0; at < size; at += at < 64 ? 1 : 997) {
        fseek(f, at, SEEK_SET);
        int c = fgetc(f);
        fseek(f, at, SEEK_SET);
        fputc(c ^ 0x41, f);
        fflush(f);
        assert_int_equal(qx_hist_load(path, 1, &back, &err), QX_EFORMAT);
        fseek(f, at, SEEK_SET);
        fputc(c, f);
        fflush(f);
    }
    fclose(f);
    assert_int_equal(qx_hist_load(path, 1, &back, &err), QX_OK);
    qx_hist_unref(back);
    back = NULL;
    assert_int_equal(truncate(path, size - 1), 0);
    assert_int_equal(qx_hist_load(path, 1, &back, &err), QX_EFORMAT);
    assert_null(back);
    assert_int_equal(qx_hist_load(scratch_path("absent"), 1, &back, &err), QX_EIO);
    qx_hist_unref(h);
    free(x);
}

static void samples_are_marked_and_close(void **state)
{
    (void)state;
    int64_t shape[2] = {1000, 800};
    float *x = make_values(shape[0], shape[1]);
    struct qx_tensor t = tensor_of(x, shape);
    for (int i = 0; i < N_SPECS; i++) {
        struct qx_hist_spec spec = spec_of(i, &t);
        struct qx_hist *all = build(&t, &spec, 0, NULL), *some = build(&t, &spec, 65536, NULL);
        assert_false(qx_hist_stats(some)->is_exact);
        assert_in_range(qx_hist_stats(some)->n, 30000, 200000);
        assert_int_equal(qx_hist_units(some)->n, qx_hist_units(all)->n);
        for (int64_t u = 0; u < qx_hist_units(all)->n; u++) { /* never wider than the truth */
            assert_true(qx_hist_units(some)->absmax[u] <= qx_hist_units(all)->absmax[u]);
        }
        double a = qx_hist_quantile_abs(all, 0.9), b = qx_hist_quantile_abs(some, 0.9);
        /* u is divided by the range of the part that was read, which is narrower. */
        assert_true(fabs(a - b) < (i == 0 ? 0.05 : 0.5) * a);
        qx_hist_unref(all);
        qx_hist_unref(some);
    }
    free(x);
}

static void cancelled_builds_return_nothing(void **state)
{
    (void)state;
    int64_t shape[2] = {100, 1000};
    float *x = make_values(shape[0], shape[1]);
    struct qx_tensor t = tensor_of(x, shape);
    for (int i = 0; i < N_SPECS; i++) {
        struct qx_hist_spec spec = spec_of(i, &t);
        struct qx_ctl ctl = {0};
        struct qx_hist *h = NULL;
        atomic_store(&ctl.cancel, true);
        assert_int_equal(qx_hist_build(&t, &spec, 0, NULL, &ctl, &h, NULL), QX_ECANCELLED);
        assert_null(h);
        atomic_store(&ctl.cancel, false);
        assert_int_equal(qx_hist_build(&t, &spec, 0, NULL, &ctl, &h, NULL), QX_OK);
        assert_int_equal(atomic_load(&ctl.done), atomic_load(&ctl.total));
        qx_hist_unref(h);
    }
    free(x);
}

static void folding_keeps_the_mass(void **state)
{
    (void)state;
    int64_t shape[2] = {50, 200};
    float *x = make_values(shape[0], shape[1]);
    struct qx_tensor t = tensor_of(x, shape);
    struct qx_hist_spec spec = spec_of(0, &t);
    struct qx_hist *h = build(&t, &spec, 0, NULL);
    static const double limits[][2] = {{-1, 1}, {-0.05, 0.05}, {0.01, 0.02}, {-0.2, -0.1}, {2, 3}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        double cells[37], below, beyond, sum, inside = 0.0;
        double lo = limits[i][0], hi = limits[i][1];
        qx_hist_fold(h, lo, hi, 37, cells, &below, &beyond);
        sum = below + beyond;
        for (int c = 0; c < 37; c++) {
            assert_true(cells[c] >= 0.0);
            sum += cells[c];
            inside += cells[c];
        }
        assert_true(fabs(sum - 10000.0) < 1e-6);
        double want = 0.0;
        for (int64_t k = 0; k < t.numel; k++) {
            want += (double)x[k] >= lo && (double)x[k] <= hi;
        }
        assert_true(fabs(inside - want) <= 3.0);
    }
    qx_hist_unref(h);
    free(x);
}

static void five_weights_are_points(void **state)
{
    (void)state;
    struct qx_model *m = open_ok(GOLDEN "data.safetensors");
    const struct qx_tensor *t = qx_model_tensor(m, qx_model_find(m, "five"));
    struct qx_hist_spec spec = {QX_GRAN_TENSOR, 0, true, qx_channels_of(t, 0)};
    struct qx_hist *h = build(t, &spec, 0, NULL);
    double cells[16], below, beyond;
    assert_true(qx_hist_lossless(h));
    qx_hist_fold(h, -8, 8, 16, cells, &below, &beyond);
    for (int i = 0; i < 16; i++) {
        bool full = i == 6 || i == 7 || i == 8 || i == 9 || i == 15;
        assert_true(cells[i] == (full ? 1.0 : 0.0));
    }
    assert_true(qx_hist_quantile(h, 0.2) == -2.0 && qx_hist_quantile_abs(h, 0.8) == 2.0);
    qx_hist_unref(h);
    qx_model_close(&m);
}

/* Every value is in the main table, in a class (asymmetric units) and in a linear bin, once. */
static void assert_mass(const struct qx_hist *h)
{
    const struct qx_hist_tables *t = qx_hist_tables(h);
    double n = (double)qx_hist_stats(h)->n, classes = 0.0, linear = 0.0, top;
    const double *lin = qx_hist_linear(h, &top);
    assert_true(t->main.lines[t->main.n_lines].n0 == n);
    for (int i = 0; i < t->n_classes; i++) {
        classes += t->classes[i].lines[t->classes[i].n_lines].n0;
    }
    assert_true(classes == (t->n_classes > 0 ? n : 0.0));
    for (int i = 0; i < QX_HIST_LIN; i++) {
        linear += lin[i];
    }
    assert_true(linear == n);
    assert_true(isnan(qx_hist_quantile(h, 0.3)) == (n == 0.0));
    assert_true(isnan(qx_hist_quantile_abs(h, 0.3)) == (n == 0.0));
}

static void any_shape_dtype_and_spec_keeps_every_value(void **state)
{
    (void)state;
    static const enum qx_dtype dtypes[] = {QX_DTYPE_F32,     QX_DTYPE_BF16, QX_DTYPE_F16,
                                           QX_DTYPE_F8_E4M3, QX_DTYPE_I8,   QX_DTYPE_I64};
    static uint8_t raw[8 * 30 * 30 * 30];
    uint32_t seed = 11;
    for (size_t i = 0; i < sizeof raw; i++) {
        raw[i] = (uint8_t)lcg(&seed);
    }
    for (int round = 0; round < 120; round++) {
        int64_t shape[3];
        struct qx_tensor t = {.name = "x", .rank = 3, .shape = shape, .numel = 1, .data = raw};
        for (int i = 0; i < 3; i++) {
            shape[i] = lcg(&seed) % 31; /* 0 too */
            t.numel *= shape[i];
        }
        t.dtype = dtypes[lcg(&seed) % 6];
        for (int gran = 0; gran < 3; gran++) {
            struct qx_hist_spec spec = {(enum qx_gran)gran, 1 + lcg(&seed) % 200, lcg(&seed) & 1,
                                        qx_channels_of(&t, (int)(lcg(&seed) % 3))};
            struct qx_hist *h = build(&t, &spec, round & 1 ? 1 + lcg(&seed) % 3000 : 0, NULL);
            assert_mass(h);
            qx_hist_unref(h);
        }
    }
}

static void unreadable_dtypes_and_bad_specs_are_refused(void **state)
{
    (void)state;
    int64_t shape[2] = {4, 4};
    float x[16] = {0};
    struct qx_tensor t = tensor_of(x, shape);
    struct qx_hist_spec spec = {QX_GRAN_GROUP, 0, true, qx_channels_of(&t, 0)};
    struct qx_hist *h = NULL;
    assert_int_equal(qx_hist_build(&t, &spec, 0, NULL, NULL, &h, NULL), QX_ERANGE);
    spec = (struct qx_hist_spec){QX_GRAN_CHANNEL, 0, true, {1, 4, 5}};
    assert_int_equal(qx_hist_build(&t, &spec, 0, NULL, NULL, &h, NULL), QX_ERANGE);
    t.dtype = QX_DTYPE_F8_E8M0;
    spec = (struct qx_hist_spec){QX_GRAN_TENSOR, 0, true, {1, 4, 4}};
    assert_int_equal(qx_hist_build(&t, &spec, 0, NULL, NULL, &h, NULL), QX_EUNSUPPORTED);
    assert_null(h);
}

/* ---- packed ---- */

static struct qx_hist_packed *packed_of(const float *x, int64_t n, int64_t step)
{
    struct qx_hist_stream *s = NULL;
    struct qx_hist_packed *p = NULL;
    struct qx_hist_stream_work *work = qx_hist_stream_work_new();
    assert_int_equal(qx_hist_stream_new(1, &s, NULL), QX_OK);
    qx_hist_stream_stats(s, 0, x, n);
    qx_hist_stream_turn(s);
    for (int64_t at = 0; at < n; at += step) {
        qx_hist_stream_bins(s, work, x + at, step < n - at ? step : n - at);
    }
    assert_int_equal(qx_hist_stream_take(s, &p, NULL), QX_OK);
    qx_hist_stream_free(s);
    qx_hist_stream_work_free(work);
    return p;
}

/* However the values come; and bytes that no histogram has are refused. */
static void packed_sums_are_one_whatever_the_parts(void **state)
{
    (void)state;
    enum { N = 20000 };
    static float x[N];
    for (int i = 0; i < N; i++) { /* many in one bin, few in most, both signs, one outlier */
        x[i] = i % 3 ? (float)sin((double)i) * ldexpf(1.0f, -(i % 40)) : 0.25f;
    }
    x[7] = 900.0f;
    struct qx_hist_packed *a = packed_of(x, N, N), *b = packed_of(x, N, 13), *c = NULL;
    size_t len[2];
    const void *bytes[2] = {qx_hist_packed_data(a, &len[0]), qx_hist_packed_data(b, &len[1])};
    assert_true(len[0] == len[1]);
    assert_memory_equal(bytes[0], bytes[1], len[0]);
    for (size_t cut = 1; cut < len[0]; cut += len[0] / 50) {
        assert_int_equal(qx_hist_packed_read(bytes[0], len[0] - cut, &c), QX_EFORMAT);
    }
    uint8_t *wrong = malloc(len[0]);
    assert_non_null(wrong);
    memcpy(wrong, bytes[0], len[0]);
    assert_int_equal(qx_hist_packed_read(wrong, len[0], &c), QX_OK);
    qx_hist_packed_free(c);
    const size_t widths = len[0] - *(const uint64_t *)bytes[0] - 3 * 2048;
    for (size_t i = widths; i < widths + 3 * 2048; i += 97) { /* each stands for 32 numbers */
        wrong[i] ^= 9;
        assert_int_equal(qx_hist_packed_read(wrong, len[0], &c), QX_EFORMAT);
        wrong[i] ^= 9;
    }
    free(wrong);
    qx_hist_packed_free(a);
    qx_hist_packed_free(b);
}

int test_tensor_hist(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histograms_equal_the_oracle),
        cmocka_unit_test(threads_do_not_change_the_result),
        cmocka_unit_test(saved_histograms_load_equal),
        cmocka_unit_test(damaged_cache_files_are_refused),
        cmocka_unit_test(samples_are_marked_and_close),
        cmocka_unit_test(cancelled_builds_return_nothing),
        cmocka_unit_test(folding_keeps_the_mass),
        cmocka_unit_test(five_weights_are_points),
        cmocka_unit_test(any_shape_dtype_and_spec_keeps_every_value),
        cmocka_unit_test(unreadable_dtypes_and_bad_specs_are_refused),
        cmocka_unit_test(packed_sums_are_one_whatever_the_parts),
    };
    return cmocka_run_group_tests_name("tensor: histograms", tests, NULL, NULL);
}

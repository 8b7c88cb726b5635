/* Calibrators: the ranges of the NumPy oracle, and properties that every row of the table keeps. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qx/metric.h"
#include "test_quant.h"
#include "test_quant_data.h"

struct row {
    char values[16], gran[16], calib[24];
    int sym, bits;
    double lo, hi;
};

static bool row_read(FILE *f, struct row *r)
{
    char line[256];

    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%15s %15s %d %d %23s %lf %lf", r->values, r->gran, &r->sym, &r->bits,
                   r->calib, &r->lo, &r->hi) == 7) {
            return true;
        }
    }
    return false;
}

static struct qx_range range_of(const struct qx_hist *h, int bits, bool sym, const char *calib)
{
    struct qx_scheme scheme = {bits, sym};
    const struct qx_calibrator *row;
    struct qx_range range;
    struct qx_error err;
    bool has_range;
    double param;

    if (qx_calib_parse(calib, &row, &param, &range, &has_range, &err) != QX_OK ||
        qx_calib_range(h, &scheme, row, param, &range, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return range;
}

static bool close_to(struct qx_range a, struct qx_range b, double tol)
{
    return fabs(a.lo - b.lo) <= tol * fabs(b.lo) && fabs(a.hi - b.hi) <= tol * fabs(b.hi);
}

/* Lossless data (bf16) gives the oracle's range. Of float32 data a percentile is known to a bin's
 * width, and candidates of a search whose errors differ by less than the histogram's bound swap. */
static bool range_agrees(const struct row *r, const struct qx_hist *h, struct qx_range got)
{
    struct qx_range want = {r->lo, r->hi};
    bool is_point = strcmp(r->values, "bf16") == 0 && strcmp(r->gran, "tensor") == 0;
    enum qx_gran gran = qx_hist_spec(h)->gran;
    struct qx_setting a = data_setting(r->bits, r->sym, gran, 0, got.lo, got.hi);
    struct qx_setting b = data_setting(r->bits, r->sym, gran, 0, want.lo, want.hi);
    struct qx_metrics ma, mb;

    if (close_to(got, want, 1e-9)) {
        return true;
    }
    if (is_point) {
        return false;
    }
    if (strncmp(r->calib, "percentile", 10) == 0) {
        return close_to(got, want, 1e-3);
    }
    assert_int_equal(qx_metric_hist(h, &a, &ma, NULL), QX_OK);
    assert_int_equal(qx_metric_hist(h, &b, &mb, NULL), QX_OK);
    return r->calib[0] == 'm' && close_to(got, want, 0.02) &&
           (strcmp(r->calib, "mse") == 0 ? fabs(ma.mse - mb.mse) < 1e-3 * mb.mse
                                         : fabs(ma.mae - mb.mae) < 1e-3 * mb.mae);
}

void calibrators_choose_the_range_of_the_oracle(void **state)
{
    FILE *f = fopen(QX_SOURCE_ROOT "/tests/golden/quant/calib.txt", "r");
    struct qx_hist *tensor = NULL, *channel = NULL;
    struct data d = {0};
    struct row r;
    int which = -1;

    (void)state;
    assert_non_null(f);
    while (row_read(f, &r)) {
        struct qx_range got;
        const struct qx_hist *h;

        if (which < 0 || strcmp(r.values, data_name(which)) != 0) {
            qx_hist_unref(tensor);
            qx_hist_unref(channel);
            data_release(&d);
            d = data_make(++which);
            tensor = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);
            channel = data_hist_spec(&d, QX_GRAN_CHANNEL, 0, true);
        }
        h = r.gran[0] == 't' ? tensor : channel;
        got = range_of(h, r.bits, r.sym, r.calib);
        if (!range_agrees(&r, h, got)) {
            fail_msg("%s %s sym %d %d bits %s: %.10g to %.10g, oracle %.10g to %.10g", r.values,
                     r.gran, r.sym, r.bits, r.calib, got.lo, got.hi, r.lo, r.hi);
        }
    }
    fclose(f);
    qx_hist_unref(tensor);
    qx_hist_unref(channel);
    data_release(&d);
    assert_int_equal(which, DATA_COUNT - 1);
}

/* Layouts on which the properties are tried. */
static const struct layout {
    enum qx_gran gran;
    int64_t group;
    bool sym;
} layouts[] = {{QX_GRAN_TENSOR, 0, true},   {QX_GRAN_TENSOR, 0, false}, {QX_GRAN_CHANNEL, 0, true},
               {QX_GRAN_CHANNEL, 0, false}, {QX_GRAN_GROUP, 64, true},  {QX_GRAN_GROUP, 64, false}};
enum { N_LAYOUTS = sizeof(layouts) / sizeof(layouts[0]) };

static double mse_of(const struct qx_hist *h, const struct layout *l, int bits, struct qx_range r)
{
    struct qx_setting s = data_setting(bits, l->sym, l->gran, l->group, r.lo, r.hi);

    return qx_metric_hist_mse(h, &s);
}

static void range_within(const struct data *d, const struct layout *l, struct qx_range r)
{
    struct qx_range all = data_range(d, l->sym, l->gran, 1.0);

    assert_true(r.lo <= 0.0 && r.hi >= 0.0);
    assert_true(r.lo >= all.lo && r.hi <= all.hi);
    if (l->sym || l->gran != QX_GRAN_TENSOR) {
        assert_true(r.lo == -r.hi);
    }
}

static void properties_hold(const struct data *d, const struct layout *l, int bits)
{
    struct qx_hist *h = data_hist_spec(d, l->gran, l->group, l->sym);
    struct qx_range widest = range_of(h, bits, l->sym, "minmax");
    struct qx_setting s = data_setting(bits, l->sym, l->gran, l->group, widest.lo, widest.hi);
    struct qx_metrics m;
    double last = INFINITY;

    for (int i = 0; i < qx_calib_count(); i++) {
        if (strcmp(qx_calib_at(i)->name, "manual") != 0) {
            struct qx_range r = range_of(h, bits, l->sym, qx_calib_at(i)->name);

            range_within(d, l, r);
            assert_true(r.hi <= widest.hi && r.lo >= widest.lo); /* never wider than minmax */
        }
    }
    assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
    assert_true(m.clipped_low == 0.0 && m.clipped_high == 0.0 && m.mse_clip == 0.0);
    assert_true(mse_of(h, l, bits, range_of(h, bits, l->sym, "mse")) <= mse_of(h, l, bits, widest));
    for (int i = 0; i < 5; i++) {
        static const char *const falling[] = {"percentile:100", "percentile:99.99",
                                              "percentile:99.9", "percentile:99", "percentile:90"};
        struct qx_range r = range_of(h, bits, l->sym, falling[i]);

        assert_true(r.hi - r.lo <= last);
        last = r.hi - r.lo;
    }
    qx_hist_unref(h);
}

void every_calibrator_keeps_its_promises(void **state)
{
    (void)state;
    for (int which = 0; which < DATA_COUNT; which++) {
        struct data d = data_make(which);

        for (int l = 0; l < N_LAYOUTS; l++) {
            properties_hold(&d, &layouts[l], l % 2 ? 8 : 4);
        }
        data_release(&d);
    }
}

void scaling_the_data_scales_the_range(void **state)
{
    struct data d = data_make(2), big;

    (void)state;
    for (int64_t i = 0; i < DATA_N; i++) {
        d.x[i] *= 64.0f; /* a power of two: every bin keeps its values */
    }
    big = data_from(d.x, DATA_ROWS, DATA_COLS);
    for (int l = 0; l < 2; l++) {
        struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, layouts[l].sym);
        struct qx_hist *hb = data_hist_spec(&big, QX_GRAN_TENSOR, 0, layouts[l].sym);

        for (int i = 0; i < qx_calib_count(); i++) {
            if (strcmp(qx_calib_at(i)->name, "manual") != 0) {
                struct qx_range r = range_of(h, 4, layouts[l].sym, qx_calib_at(i)->name);
                struct qx_range rb = range_of(hb, 4, layouts[l].sym, qx_calib_at(i)->name);

                assert_true(fabs(rb.lo - 64.0 * r.lo) <= 1e-9 * fabs(rb.lo));
                assert_true(fabs(rb.hi - 64.0 * r.hi) <= 1e-9 * fabs(rb.hi));
            }
        }
        qx_hist_unref(h);
        qx_hist_unref(hb);
    }
    data_release(&d);
    data_release(&big);
}

static double sqnr_of(const struct qx_hist *h, int bits, const char *calib)
{
    struct qx_range r = range_of(h, bits, true, calib);
    struct qx_setting s = data_setting(bits, true, QX_GRAN_TENSOR, 0, r.lo, r.hi);
    struct qx_metrics m;

    assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
    return m.sqnr_db;
}

/* prediction.md 4: what the table of five distributions says about the calibrators. */
void calibrators_differ_as_the_literature_says(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct data d = data_make(which);
        struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);

        for (int bits = 4; bits <= 8; bits += 4) {
            double best = sqnr_of(h, bits, "mse");

            for (int i = 0; i < qx_calib_count(); i++) {
                if (strcmp(qx_calib_at(i)->name, "manual") != 0) {
                    assert_true(sqnr_of(h, bits, qx_calib_at(i)->name) <= best + 1e-9);
                }
            }
            assert_true(range_of(h, bits, true, "mae").hi <= range_of(h, bits, true, "mse").hi);
            assert_true(sqnr_of(h, bits, "minmax") < best - 0.5 || bits == 8);
        }
        qx_hist_unref(h);
        data_release(&d);
    }
}

/* Behind a ReLU most values are 0: they say nothing about the threshold. */
void zeros_leave_the_divergence_alone(void **state)
{
    static const char *const names[] = {"kl", "kl-full"};
    struct data d = data_make(1);
    float *padded = calloc(5 * DATA_N, sizeof *padded);

    (void)state;
    assert_non_null(padded);
    memcpy(padded, d.x, DATA_N * sizeof *padded);
    struct data with = data_from(padded, 5 * DATA_ROWS, DATA_COLS);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);
    struct qx_hist *hw = data_hist_spec(&with, QX_GRAN_TENSOR, 0, true);
    for (int i = 0; i < 2; i++) {
        for (int bits = 3; bits <= 8; bits++) {
            const double t = range_of(h, bits, true, names[i]).hi;

            assert_true(fabs(range_of(hw, bits, true, names[i]).hi - t) <= 1e-9 * t);
        }
    }
    qx_hist_unref(h);
    qx_hist_unref(hw);
    data_release(&d);
    data_release(&with);
    free(padded);
}

/* Fewer distinct values than levels would all be kept exactly, and the clipping would look free. */
void pixels_are_not_cut_to_what_is_kept_exactly(void **state)
{
    float x[256];

    (void)state;
    for (int i = 0; i < 256; i++) {
        x[i] = (float)i / 255.0f;
    }
    struct data d = data_from(x, 1, 256);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);
    assert_true(range_of(h, 8, true, "kl").hi > 0.5);
    assert_true(range_of(h, 4, true, "kl").hi > 8.0 / 256.0);
    qx_hist_unref(h);
    data_release(&d);
}

void calibrators_refuse_a_histogram_without_values(void **state)
{
    static const float nothing[2] = {NAN, INFINITY};
    struct data d = data_from(nothing, 1, 2);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);
    struct qx_scheme scheme = {8, true};
    struct qx_range r;
    struct qx_error err;

    (void)state;
    for (int i = 0; i < qx_calib_count(); i++) {
        assert_int_equal(qx_calib_range(h, &scheme, qx_calib_at(i), 99.0, &r, &err), QX_EDATA);
    }
    qx_hist_unref(h);
    data_release(&d);
}

void zero_tensor_gets_an_empty_range_and_no_error(void **state)
{
    static const float zeros[8] = {0};
    struct data d = data_from(zeros, 2, 4);

    (void)state;
    for (int l = 0; l < N_LAYOUTS; l++) {
        struct qx_hist *h = data_hist_spec(&d, layouts[l].gran, layouts[l].group, layouts[l].sym);

        for (int i = 0; i < qx_calib_count() - 1; i++) {
            struct qx_range r = range_of(h, 8, layouts[l].sym, qx_calib_at(i)->name);
            struct qx_setting s =
                data_setting(8, layouts[l].sym, layouts[l].gran, layouts[l].group, r.lo, r.hi);
            struct qx_metrics m;

            assert_int_equal(qx_setting_check(&s, NULL), QX_OK);
            assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
            assert_true(m.n == 8 && m.mse == 0.0 && m.mae == 0.0 && isnan(m.sqnr_db));
            assert_true(isnan(m.cosine) && m.levels_used == 1 && m.entropy_bits == 0.0);
            assert_true(m.scale_min == 1.0 && m.scale_max == 1.0);
        }
        qx_hist_unref(h);
    }
    data_release(&d);
}

void calibrator_text_is_parsed_or_explained(void **state)
{
    static const struct {
        const char *text, *name;
        enum qx_status status;
        double param, lo, hi;
    } cases[] = {
        {"mse", "mse", QX_OK, 0, 0, 0},
        {"percentile", "percentile", QX_OK, 99.99, 0, 0},
        {"percentile:99.9", "percentile", QX_OK, 99.9, 0, 0},
        {"percentile:100", "percentile", QX_OK, 100, 0, 0},
        {"manual:0.13", "manual", QX_OK, 0, -0.13, 0.13},
        {"manual:-0.1,0.2", "manual", QX_OK, 0, -0.1, 0.2},
        {"manual:0,0.2", "manual", QX_OK, 0, 0, 0.2},
        {"kl-full", "kl-full", QX_OK, 0, 0, 0},
        {"percentile:0", NULL, QX_ERANGE, 0, 0, 0},
        {"percentile:100.5", NULL, QX_ERANGE, 0, 0, 0},
        {"percentile:", NULL, QX_ERANGE, 0, 0, 0},
        {"percentile:99x", NULL, QX_ERANGE, 0, 0, 0},
        {"percentile:nan", NULL, QX_ERANGE, 0, 0, 0},
        {"mse:3", NULL, QX_ERANGE, 0, 0, 0},
        {"manual", NULL, QX_ERANGE, 0, 0, 0},
        {"manual:", NULL, QX_ERANGE, 0, 0, 0},
        {"manual:-1", NULL, QX_ERANGE, 0, 0, 0},
        {"manual:0", NULL, QX_ERANGE, 0, 0, 0},
        {"manual:0.1,0.2", NULL, QX_ERANGE, 0, 0, 0},
        {"manual:-0.1,0.2,3", NULL, QX_ERANGE, 0, 0, 0},
        {"manual:inf", NULL, QX_ERANGE, 0, 0, 0},
        {"mes", NULL, QX_ENAME, 0, 0, 0},
        {"", NULL, QX_ENAME, 0, 0, 0},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL, QX_ENAME, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct qx_calibrator *row = NULL;
        struct qx_range range = {0};
        struct qx_error err = {0};
        bool has_range;
        double param = 0.0;

        assert_int_equal(qx_calib_parse(cases[i].text, &row, &param, &range, &has_range, &err),
                         cases[i].status);
        if (cases[i].status != QX_OK) {
            assert_true(strlen(err.text) > 10);
            continue;
        }
        assert_string_equal(row->name, cases[i].name);
        assert_true(param == cases[i].param);
        assert_int_equal(has_range, strcmp(row->name, "manual") == 0);
        if (has_range) {
            assert_true(range.lo == cases[i].lo && range.hi == cases[i].hi);
        }
    }
}

void unknown_calibrator_names_the_nearest(void **state)
{
    const struct qx_calibrator *row;
    struct qx_range range;
    struct qx_error err;
    bool has_range;
    double param;

    (void)state;
    assert_int_equal(qx_calib_parse("mes", &row, &param, &range, &has_range, &err), QX_ENAME);
    assert_non_null(strstr(err.text, "'mse'"));
    assert_int_equal(qx_calib_parse("percentil:9", &row, &param, &range, &has_range, &err),
                     QX_ENAME);
    assert_non_null(strstr(err.text, "'percentile'"));
}

void calibrator_rows_are_complete(void **state)
{
    char keys[64] = "", marks[64] = "";

    (void)state;
    for (int i = 0; i < qx_calib_count(); i++) {
        const struct qx_calibrator *c = qx_calib_at(i);

        assert_ptr_equal(qx_calib_find(c->name), c);
        assert_true(strlen(c->title) > 0 && strlen(c->help) > 10);
        assert_non_null(c->range);
        if (c->key) {
            assert_null(strchr(keys, c->key));
            assert_null(strchr(marks, c->mark));
            strncat(keys, &c->key, 1);
            strncat(marks, &c->mark, 1);
        }
    }
    assert_null(qx_calib_find("none"));
    assert_null(qx_calib_at(-1));
    assert_null(qx_calib_at(qx_calib_count()));
}

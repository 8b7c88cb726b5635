/* Histogram and element-wise figures against the NumPy oracle of tests/golden/quant. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "qx/metric.h"
#include "test_quant.h"
#include "test_quant_data.h"

struct row {
    char values[16], gran[16];
    int group, sym, bits;
    double ratio, mse, mae, cosine, low, high, mse_clip, mse_round, bias, entropy, used, scale_min,
        scale_max, sum_sq;
};

static bool row_read(FILE *f, struct row *r)
{
    char line[1024];

    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line,
                   "%15s %15s %d %d %d %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf",
                   r->values, r->gran, &r->group, &r->sym, &r->bits, &r->ratio, &r->mse, &r->mae,
                   &r->cosine, &r->low, &r->high, &r->mse_clip, &r->mse_round, &r->bias,
                   &r->entropy, &r->used, &r->scale_min, &r->scale_max, &r->sum_sq) == 19) {
            return true;
        }
    }
    return false;
}

static enum qx_gran gran_of(const char *name)
{
    return strcmp(name, "tensor") == 0    ? QX_GRAN_TENSOR
           : strcmp(name, "channel") == 0 ? QX_GRAN_CHANNEL
                                          : QX_GRAN_GROUP;
}

static void near(const struct row *r, const char *what, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound)) {
        fail_msg("%s %s:%d sym %d %d bits r %g: %s is %.12g, oracle %.12g, bound %.3g", r->values,
                 r->gran, r->group, r->sym, r->bits, r->ratio, what, got, want, bound);
    }
}

/* Relative bounds of one comparison; counts: of clipped values, as a share of all. */
struct bounds {
    double mse, mae, cosine, count, entropy, bias_of_step;
};

static void metrics_near(const struct row *r, const struct qx_metrics *m, const struct bounds *b)
{
    double step = m->scale_max;

    near(r, "mse", m->mse, r->mse, b->mse * r->mse);
    near(r, "mae", m->mae, r->mae, b->mae * r->mae);
    near(r, "1 - cosine", 1.0 - m->cosine, 1.0 - r->cosine, b->cosine * (1.0 - r->cosine) + 1e-12);
    near(r, "clipped_low", m->clipped_low, r->low, b->count * DATA_N);
    near(r, "clipped_high", m->clipped_high, r->high, b->count * DATA_N);
    near(r, "mse_clip", m->mse_clip, r->mse_clip, b->mse * r->mse);
    near(r, "mse_round", m->mse_round, r->mse_round, b->mse * r->mse);
    near(r, "bias", m->bias, r->bias, b->bias_of_step * step + 1e-11 * fabs(r->bias));
    near(r, "entropy", m->entropy_bits, r->entropy, b->entropy);
    near(r, "scale_min", m->scale_min, r->scale_min, 3e-7 * r->scale_min);
    near(r, "scale_max", m->scale_max, r->scale_max, 3e-7 * r->scale_max);
    near(r, "sum_sq", m->sum_sq, r->sum_sq, 1e-6 * r->sum_sq);
}

static const struct bounds exact = {1e-10, 1e-10, 1e-9, 0.0, 1e-10, 1e-10};

static const struct bounds *bounds_of(const struct row *r, const struct qx_metrics *m)
{
    /* ux.md 4.2 and 4.3; ours hold at 144,000 values, where a bin's box counts for more. */
    static const struct bounds tensor = {1e-4, 1e-4, 1e-3, 1e-4, 1e-4, 1e-4};
    /* Of 16-bit data in units many values tie exactly, and which way a tie falls depends on the unit's
     * own scale in float32: no matter for the squared error, little for the cosine. */
    static const struct bounds unit = {5e-4, 5e-4, 1e-2, 1e-4, 1e-2, 5e-3};
    static const struct bounds unit_asym = {5e-4, 5e-4, 1e-2, 1e-4, 0.1, 5e-3};
    static const struct bounds unit_cut = {0.12, 0.12, 0.3, 0.02, 0.1, 0.1};

    if (m->basis == QX_BASIS_EXACT) {
        return &exact;
    }
    if (strcmp(r->gran, "tensor") == 0) {
        return &tensor;
    }
    return r->sym ? &unit : r->ratio == 1.0 ? &unit_asym : &unit_cut;
}

static double worst_db; /* printed, so that a change of the bound is seen */

static void row_check(const struct row *r, const struct data *d, struct qx_hist *const hists[12])
{
    enum qx_gran gran = gran_of(r->gran);
    struct qx_range range = data_range(d, r->sym, gran, r->ratio);
    struct qx_setting s = data_setting(r->bits, r->sym, gran, r->group, range.lo, range.hi);
    int slot = gran == QX_GRAN_TENSOR ? 0 : gran == QX_GRAN_CHANNEL ? 1 : r->group / 32 + 1;
    const struct qx_hist *h = hists[slot > 3 ? 4 + 6 * !r->sym : slot + 6 * !r->sym];
    struct qx_tensor t = d->tensor;
    struct qx_metrics m;
    struct qx_error err;

    t.shape = d->shape;
    if (qx_metric_hist(h, &s, &m, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    metrics_near(r, &m, bounds_of(r, &m));
    near(r, "mse alone", qx_metric_hist_mse(h, &s), m.mse, 1e-12 * m.mse);
    worst_db = fmax(worst_db, fabs(10.0 * log10(m.mse / r->mse)));
    if (qx_metric_exact(&t, d->channels, &s, NULL, NULL, &m, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    metrics_near(r, &m, &exact);
    assert_int_equal(m.levels_used, (int)r->used);
    assert_int_equal(m.n, DATA_N);
    assert_int_equal(m.basis, QX_BASIS_EXACT);
}

/* Slots: tensor, channel, g32, g64, g128; symmetric, then from 6 on asymmetric. */
static void hists_make(const struct data *d, struct qx_hist *hists[12])
{
    for (int asym = 0; asym < 2; asym++) {
        struct qx_hist **h = hists + 6 * asym;

        h[0] = data_hist_spec(d, QX_GRAN_TENSOR, 0, !asym);
        h[1] = data_hist_spec(d, QX_GRAN_CHANNEL, 0, !asym);
        h[2] = data_hist_spec(d, QX_GRAN_GROUP, 32, !asym);
        h[3] = data_hist_spec(d, QX_GRAN_GROUP, 64, !asym);
        h[4] = data_hist_spec(d, QX_GRAN_GROUP, 128, !asym);
        h[5] = NULL;
    }
}

void metrics_equal_the_oracle_within_their_bound(void **state)
{
    FILE *f = fopen(QX_SOURCE_ROOT "/tests/golden/quant/metrics.txt", "r");
    struct qx_hist *hists[12] = {0};
    struct data d = {0};
    struct row r;
    int which = -1;

    (void)state;
    assert_non_null(f);
    while (row_read(f, &r)) {
        if (which < 0 || strcmp(r.values, data_name(which)) != 0) {
            for (int i = 0; i < 12; i++) {
                qx_hist_unref(hists[i]);
            }
            data_release(&d);
            d = data_make(++which);
            hists_make(&d, hists);
        }
        row_check(&r, &d, hists);
    }
    fclose(f);
    for (int i = 0; i < 12; i++) {
        qx_hist_unref(hists[i]);
    }
    data_release(&d);
    assert_int_equal(which, DATA_COUNT - 1);
    print_message("worst difference of the histogram's SQNR: %.5f dB\n", worst_db);
}

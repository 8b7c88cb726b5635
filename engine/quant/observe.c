/* What calibration saw of a layer's input, and the range that a calibrator makes of it. */
#include <math.h>

#include "base/error.h"
#include "base/mem.h"
#include "qx/quant.h"

/* Without batches a moving average has nothing to move over. */
static enum qx_status ema_range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                                double param, struct qx_range *out, struct qx_error *err)
{
    (void)param;
    return qx_calib_find("minmax")->range(hist, scheme, 0.0, out, err);
}

const struct qx_calibrator qx_calib_ema = {
    .name = "ema",
    .title = "moving average",
    .help = "Moving average of each batch's smallest and largest value: outliers of single batches "
            "fade. The number is the weight of a new batch.",
    .key = 'e',
    .mark = 'E',
    .takes_param = true,
    .param_default = 0.1,
    .range = ema_range};

void qx_observed_release(struct qx_observed *o)
{
    qx_hist_packed_free(o->packed);
    qx_mem_free(o->lo);
    qx_mem_free(o->hi);
    qx_mem_free(o->channel_max);
    qx_mem_free(o->strip);
    *o = (struct qx_observed){0};
}

const struct qx_stats *qx_observed_stats(const struct qx_observed *o)
{
    return qx_hist_packed_stats(o->packed);
}

enum qx_status qx_observed_hist(const struct qx_observed *o, struct qx_hist **out,
                                struct qx_error *err)
{
    return o->shelf ? qx_hist_shelf_take(o->shelf, o->packed, out, err)
                    : qx_hist_unpack(o->packed, out, err);
}

/* r += rate (x - r), starting from the first batch that has finite values. */
static struct qx_range ema_of(const struct qx_observed *o, double rate)
{
    struct qx_range r = {0};
    bool any = false;
    for (int64_t b = 0; b < o->n_batches; b++) {
        if (o->lo[b] > o->hi[b]) {
            continue;
        }
        const double lo = (double)o->lo[b], hi = (double)o->hi[b];
        r.lo = any ? r.lo + rate * (lo - r.lo) : lo;
        r.hi = any ? r.hi + rate * (hi - r.hi) : hi;
        any = true;
    }
    return r;
}

enum qx_status qx_act_resolve(struct qx_act *a, const struct qx_observed *o, struct qx_error *err)
{
    const struct qx_scheme scheme = {a->bits, a->sym};
    struct qx_range r = {0};
    enum qx_status st = qx_act_check(a, err);
    if (st != QX_OK || !qx_act_open(a)) {
        return st;
    }
    if (a->calib == &qx_calib_ema) {
        r = ema_of(o, a->param);
    } else if (qx_observed_stats(o)->n > 0 && qx_observed_stats(o)->absmax > 0.0) {
        struct qx_hist *h = NULL;
        st = qx_observed_hist(o, &h, err);
        st = st == QX_OK ? qx_calib_range(h, &scheme, a->calib, a->param, &r, err) : st;
        qx_hist_unref(h);
    }
    if (st != QX_OK) {
        return st;
    }
    if (a->sym) {
        r.hi = fmax(-r.lo, r.hi);
        r.lo = -r.hi;
    }
    a->range = (struct qx_range){fmin(r.lo, 0.0), fmax(r.hi, 0.0)};
    a->has_range = true;
    return QX_OK;
}

double qx_act_dynamic_db(const struct qx_act *a, const struct qx_observed *o)
{
    const double e = o->sq_err[a->gran][a->sym][a->bits];
    return e > 0.0 && o->sq_x > 0.0 ? 10.0 * log10(o->sq_x / e) : (double)NAN;
}

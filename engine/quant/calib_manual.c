/* Set by hand: the range comes with the setting, never from the data. */
#include "base/error.h"
#include "quant/calib.h"

static enum qx_status range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                            double param, struct qx_range *out, struct qx_error *err)
{
    (void)hist;
    (void)scheme;
    (void)param;
    (void)out;
    return qx_fail(
        err, QX_EDATA,
        "a manual threshold needs its value; write manual:0.13, or choose another calibrator");
}

const struct qx_calibrator qx_calib_manual = {
    .name = "manual",
    .title = "manual",
    .help = "The threshold is set by hand: manual:T, manual:LO,HI, or manual:RATIO per channel.",
    .range = range,
};

/* Nothing is clipped. */
#include "quant/calib.h"

static enum qx_status range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                            double param, struct qx_range *out, struct qx_error *err)
{
    (void)param;
    (void)err;
    *out = qx_range_at(hist, scheme, 1.0);
    return QX_OK;
}

const struct qx_calibrator qx_calib_minmax = {
    .name = "minmax",
    .title = "min-max",
    .help = "The whole range: clips nothing, so one outlier widens every step.",
    .key = 'm',
    .mark = 'X',
    .range = range,
};

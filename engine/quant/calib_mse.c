/* Least mean squared error. */
#include "qx/metric.h"
#include "quant/calib.h"

static enum qx_status range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                            double param, struct qx_range *out, struct qx_error *err)
{
    (void)param;
    (void)err;
    *out = qx_search_range(hist, scheme, qx_metric_hist_mse);
    return QX_OK;
}

const struct qx_calibrator qx_calib_mse = {
    .name = "mse",
    .title = "MSE",
    .help = "The threshold with the least mean squared error: the default for weights.",
    .key = 's',
    .mark = 'M',
    .range = range,
};

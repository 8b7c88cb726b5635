/* Least mean absolute error. */
#include "quant/calib.h"
#include "quant/grid.h"

static enum qx_status range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                            double param, struct qx_range *out, struct qx_error *err)
{
    (void)param;
    (void)err;
    *out = qx_search_range(hist, scheme, qx_metric_hist_mae);
    return QX_OK;
}

const struct qx_calibrator qx_calib_mae = {
    .name = "mae",
    .title = "MAE",
    .help = "The threshold with the least mean absolute error: clips outliers the hardest.",
    .key = 'a',
    .mark = 'A',
    .range = range,
};

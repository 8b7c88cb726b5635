/* Ranges of inputs follow a moving average of each batch's extremes (Jacob et al., arXiv 1712.05877, section
 * 3.1), late: a step is taken with the range of the steps before it, and after a share of the training the
 * ranges freeze. */
#include "method/quantizer.h"

static const struct qx_quantizer_fn fn = {.weights = qx_quantizer_through,
                                          .inputs = qx_quantizer_through};

const struct qx_quantizer qx_quantizer_ema = {
    .name = "ema",
    .title = "EMA",
    .help = "Straight-through gradient; ranges of inputs follow a moving average of the batches "
            "and freeze at the end.",
    .follows_inputs = true,
    .fn = &fn,
};

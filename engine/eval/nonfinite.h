#ifndef QX_EVAL_NONFINITE_H
#define QX_EVAL_NONFINITE_H

#include "qx/net.h"

/* Of n `what` ("rows", "tokens") n_bad came out as no numbers: QX_EDATA names the first tensor of the network
 * that holds NaN or infinity (err's tensor). QX_OK when none does, or n_bad is 0. Reads the weights. */
enum qx_status qx_fail_nonfinite(const struct qx_net *net, int64_t n_bad, int64_t n,
                                 const char *what, struct qx_error *err);

#endif

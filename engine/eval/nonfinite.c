#include "eval/nonfinite.h"

#include "base/error.h"

#include <math.h>

enum { BLOCK = 1024 };

/* Element of the first value that is no finite number; -1. */
static int64_t find_in(const struct qx_tensor *t)
{
    float block[BLOCK];
    for (int64_t first = 0; first < t->numel; first += BLOCK) {
        const int64_t n = t->numel - first < BLOCK ? t->numel - first : BLOCK;
        if (qx_tensor_read(t, first, n, block, NULL) != QX_OK) {
            return -1;
        }
        for (int64_t i = 0; i < n; i++) {
            if (!isfinite(block[i])) {
                return first + i;
            }
        }
    }
    return -1;
}

enum qx_status qx_fail_nonfinite(const struct qx_net *net, int64_t n_bad, int64_t n,
                                 const char *what, struct qx_error *err)
{
    const struct qx_model *model = qx_net_model(net);
    for (int64_t i = 0; n_bad > 0 && i < qx_model_n_tensors(model); i++) {
        const struct qx_tensor *t = qx_model_tensor(model, i);
        const bool is_read = qx_net_uses_tensor(net, i) && qx_dtype_get(t->dtype)->is_float;
        const int64_t at = is_read ? find_in(t) : -1;
        if (at >= 0) {
            return qx_fail_at(err, QX_EDATA, NULL, t->name, -1,
                              "%lld of %lld %s come out as no numbers: '%.100s' holds NaN or "
                              "infinity (its value %lld); mend the weights",
                              (long long)n_bad, (long long)n, what, t->name, (long long)at);
        }
    }
    return QX_OK;
}

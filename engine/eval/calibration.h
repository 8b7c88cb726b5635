/* What calibration saw, as calibrate.c fills it and calibration.c keeps it. */
#ifndef QX_EVAL_CALIBRATION_H
#define QX_EVAL_CALIBRATION_H

#include "qx/eval.h"

#include <stdatomic.h>

struct qx_calibration {
    atomic_int n_refs;
    int n_layers;
    int64_t n_rows;
    struct qx_observed *layers; /* [n_layers] zeroed when new */
};

/* One reference; NULL when out of memory. */
struct qx_calibration *qx_calibration_new(int n_layers, int64_t n_rows);

#endif

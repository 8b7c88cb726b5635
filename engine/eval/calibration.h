/* What calibration saw, as calibrate.c fills it and calibration.c keeps it. */
#ifndef QX_EVAL_CALIBRATION_H
#define QX_EVAL_CALIBRATION_H

#include "qx/eval.h"

#include <stdatomic.h>

/* Layers that read the same value share what was seen of it. */
struct qx_calibration {
    atomic_int n_refs;
    int n_layers, n_inputs;
    int64_t n_rows;
    int *input;                 /* [n_layers] */
    int *reader;                /* [n_inputs] the first layer that reads it */
    struct qx_observed *inputs; /* [n_inputs] zeroed when new */
    struct qx_hist_shelf *shelf;
};

/* One reference; NULL when out of memory. */
struct qx_calibration *qx_calibration_new(const struct qx_net *net, int64_t n_rows);

#endif

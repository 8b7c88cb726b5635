/* Making plans: any thread, from copies. */
#ifndef QX_SESSION_MIXED_H
#define QX_SESSION_MIXED_H

#include "qx/search.h"

/* All that a plan is made from; arrays have one element for each row of the map. */
struct qx_mixed_input {
    const struct qx_sens *map;
    const struct qx_predict_table *table; /* NULL: ranks only */
    const struct qx_sens_layer *layers;
    const char *const *names;
    const int *tie;                        /* where the options name none */
    const struct qx_setting *now;          /* ranges chosen; its act goes with every choice */
    const struct qx_predict_layer *change; /* of now */
    double rest_bytes,
        rest_float_bytes;          /* of all tensors that are no free row: whole, and float ones */
    double n_float;                /* float values of the model */
    struct qx_predict_scale scale; /* fp32_accuracy NaN: not measured */
    struct qx_predict_point *const *points; /* measured recipes, which correct values */
    int n_points;
    uint64_t seed;            /* of the mix */
    const double *latency_ms; /* [rows, columns] NULL = not known */
    double rest_ms;
    const struct qx_mixed_options *options;
};

enum qx_status qx_mixed_make(const struct qx_mixed_input *in, struct qx_ctl *ctl,
                             struct qx_mixed **out, struct qx_error *err);
/* Has the row any cell? */
bool qx_mixed_is_on(const struct qx_sens *map, int layer);
/* The row's setting at a column (-1: now): the map's, with the activations of now where it is an integer. */
struct qx_setting qx_mixed_setting(const struct qx_sens *map, const struct qx_setting *now,
                                   int layer, int column);
/* What that setting does. */
struct qx_predict_layer qx_mixed_change(const struct qx_mixed_input *in, int layer, int column);
/* Value and band of what was predicted. */
void qx_mixed_value(const struct qx_prediction *p, struct qx_point *out);
/* Point i was measured: accuracy on n rows, and how many of them flipped. */
void qx_mixed_measured(struct qx_mixed *p, int i, double accuracy, double flip, int64_t n);

#endif

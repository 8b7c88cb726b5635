/* What suffix replay found at the thresholds that a drag went over: where a row was seen to go. Host thread. */
#ifndef QX_SESSION_FLIP_PATH_H
#define QX_SESSION_FLIP_PATH_H

#include "qx/session.h"

enum { QX_FLIP_STOPS = 64 };

/* One layer's thresholds, all else as it was. */
struct qx_flip_path {
    int layer;       /* -1 = none */
    uint64_t others; /* of the other layers' settings */
    int64_t n_rows;
    int n;                                /* stops */
    struct qx_setting set[QX_FLIP_STOPS]; /* of the layer */
    int64_t *row;                         /* [n_rows] */
    float *lead; /* [QX_FLIP_STOPS, n_rows] below zero: gone; -infinity: float32 has it wrong */
};

void qx_flip_path_release(struct qx_flip_path *p);
/* A replay under the settings set [layers], the last of which the hand moves is `layer`: rows [n]. Another layer or other
 * settings beside it begin anew; the oldest stop makes room. Nothing is kept without memory. */
void qx_flip_path_add(struct qx_flip_path *p, int n_layers, const struct qx_setting *set, int layer,
                      const struct qx_lead *rows, int64_t n);
/* Put what was seen into flips that were composed for the threshold of set [layers]: a tick is measured where the
 * stops lead to it in small steps, and none is left where they went without a row's going. */
void qx_flip_path_refine(const struct qx_flip_path *p, int n_layers, const struct qx_setting *set,
                         int layer, bool is_low, struct qx_flip flip[2]);

/* ---- the threshold that moves (leads.c) ---- */

/* The setting with that end at `place`, a size. */
struct qx_setting qx_threshold_at(const struct qx_setting *set, bool is_low, double place);
double qx_threshold_of(const struct qx_setting *set, bool is_low);

#endif

/* The fake quantizers of a network in training. */
#ifndef QX_METHOD_QAT_H
#define QX_METHOD_QAT_H

#include "method/optim.h"
#include "method/quantizer.h"
#include "qx/grad.h"

/* Of one layer. */
struct qx_qat_layer {
    int layer;
    struct qx_setting set; /* ranges follow what is learned: qx_qat_settle */
    struct qx_param *weight;
    struct qx_channels channels;
    const struct qx_quantizer *quantizer;

    bool has_step;   /* scales of the weight are learned */
    int64_t n_units; /* 1, channels or groups */
    float *step;     /* [n_units] scale */
    float *d_step;   /* [n_units] */
    float *gather;   /* a channel's values side by side, and their gradients: [3][fan-in] */
    double ratio;    /* tensor, not learned: of the range in the largest value */

    bool has_act, has_act_step; /* the input is quantized; its scale is learned */
    struct qxk_affine act;      /* scale is of now */
    float act_step, d_act_step, act_share;
    double sum[QX_TAPE_LANES]; /* gradient by the scale, of each lane */
    float lo[QX_TAPE_LANES], hi[QX_TAPE_LANES];
    bool follows; /* the range follows lo and hi of the batches */
};

struct qx_qat {
    struct qx_tape *tape;
    int n; /* quantized layers */
    double pull;
    struct qx_qat_layer *v;
};

/* Fake quantizers for the layers whose setting is one with a scale; hooked into the tape. */
enum qx_status qx_qat_init(struct qx_qat *q, struct qx_tape *tape, const struct qx_net *net,
                           const struct qx_setting *set, const struct qx_quantizer *quantizer,
                           struct qx_error *err);
void qx_qat_release(struct qx_qat *q);
/* Before a forward: weights in use become the quantized ones. */
void qx_qat_quantize(struct qx_qat *q, struct qx_pool *pool);
/* Before a forward whose gradients are wanted: sums start at 0. */
void qx_qat_begin(struct qx_qat *q);
/* After a backward: gradients by the weights' own values and by the scales. */
void qx_qat_back(struct qx_qat *q, struct qx_pool *pool);
/* After a step: scales stay positive and within the weights; followed ranges move, unless is_frozen. */
void qx_qat_follow(struct qx_qat *q, bool is_frozen);
/* After a step: weights that are not clipped go the share `pull` of the way to their level. */
void qx_qat_dampen(struct qx_qat *q, double pull, struct qx_pool *pool);
/* Weights in units of the last level of their tensor, channel or group, [n] in storage order. One thread at a
 * time for a layer. */
void qx_qat_units(const struct qx_qat_layer *l, float *out);
/* The setting of a layer with the ranges of now. */
struct qx_setting qx_qat_setting(const struct qx_qat_layer *l);

#endif

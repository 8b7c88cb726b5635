/* Pairs of layers between which channels can be scaled: what one divides its outputs by, the other
 * multiplies its inputs' weights by, and the network stays what it is. */
#ifndef QX_LINKS_H
#define QX_LINKS_H

#include "qx/net.h"

/* The inputs of a linear layer are, one by one, outputs of a linear layer before it or of a normalization.
 * Between them lie operations that pass a positive factor of a channel on: Relu, pooling, views, a product
 * with other values, the values of an attention; and, next to the layer before, batch normalization and the
 * bias, which scale with it. Nothing else reads what lies between (of a normalization: only linear layers do). */
enum { QX_LINK_AFFINE = 4 };
struct qx_net_link {
    int consumer; /* layer */
    int producer; /* layer, -1: a normalization */
    int node;     /* of the producer or the normalization, in execution order */
    int64_t n_in, n_out;
    int32_t *
        channel; /* [n_in] which of the n_out outputs each input channel of the consumer is: those of
                         struct qx_overlay's in_scale; owned */
    bool is_rectified; /* a Relu lies between ... */
    bool is_direct;    /* ... and nothing else but views and what scales with the producer */
    int n_affine;      /* nodes that scale and shift each output of the producer */
    int affine[QX_LINK_AFFINE];
};
/* QX_EUNSUPPORTED: there is no such layer (text: why, the end of a sentence); QX_ENOMEM. O(nodes). */
enum qx_status qx_net_link(const struct qx_net *net, int layer, struct qx_net_link *out,
                           struct qx_error *err);
void qx_net_link_release(struct qx_net_link *link); /* zeroed struct allowed */

/* Batch normalization right behind a layer (a bias may lie between): tensors of the model, [n] each. */
struct qx_net_batchnorm {
    int node;
    int64_t n, gamma, beta, mean, variance;
    double epsilon;
};
bool qx_net_layer_batchnorm(const struct qx_net *net, int layer, struct qx_net_batchnorm *out);

/* The tensor whose values, times *by, are added to the outputs of a layer, one each, and that nothing else reads: a
 * bias; or the mean that a batch normalization right behind it takes off (*by = -1). -1: there is none. */
int64_t qx_net_layer_bias(const struct qx_net *net, int layer, double *by);

/* The expected input of each input channel of a layer (those of struct qx_overlay's in_scale), from the batch
 * normalization that lies in front of it, behind Relu, Clip, Flatten, and an average over places: its outputs
 * count as normal, mean beta, deviation |gamma| (arXiv 1906.04721, section 4.2.1). The zeros that pad a window do
 * not count. QX_EUNSUPPORTED: there is none (text: the end of a sentence); QX_ENOMEM. */
enum qx_status qx_net_layer_expected(const struct qx_net *net, int layer, float *mean,
                                     struct qx_error *err);
/* Mean of min(max(x, lo), hi), x normal; lo <= hi may be infinite. deviation 0: x is the mean. */
double qx_clipped_normal_mean(double mean, double deviation, double lo, double hi);

/* ---- stored values rewritten, so that factors are nowhere but in them ---- */

struct qx_rewrite;
enum qx_status qx_rewrite_new(const struct qx_net *net, struct qx_rewrite **out,
                              struct qx_error *err);
void qx_rewrite_free(struct qx_rewrite *r); /* NULL allowed */
/* Values of a tensor of the model in storage order; NULL: as stored. Borrowed. */
const float *qx_rewrite_get(const struct qx_rewrite *r, int64_t tensor);
/* Values that count as stored from here on: [numel] of the tensor, copied. QX_ENOMEM. */
enum qx_status qx_rewrite_put(struct qx_rewrite *r, int64_t tensor, const float *values,
                              struct qx_error *err);
/* bias[outputs] is added to what a layer gives. QX_EUNSUPPORTED: it has no bias to take it. */
enum qx_status qx_rewrite_bias(struct qx_rewrite *r, int layer, const float *bias,
                               struct qx_error *err);
/* The outputs of the link's producer come divided by factor[n_out]: its weight, its bias, a batch
 * normalization behind it (which becomes part of the weight first), or the factors of a normalization.
 * QX_EUNSUPPORTED: something there is no value of an output each. */
enum qx_status qx_rewrite_outputs(struct qx_rewrite *r, const struct qx_net_link *link,
                                  const float *factor, struct qx_error *err);
/* The weights of a layer's inputs are multiplied by factor[input channels], as the link counts them. */
enum qx_status qx_rewrite_inputs(struct qx_rewrite *r, int layer, const float *factor,
                                 struct qx_error *err);
/* Passes under w use them from now on, in float32; r must outlive that. NULL: the stored ones again. */
enum qx_status qx_weights_rewrite(struct qx_weights *w, const struct qx_rewrite *r,
                                  struct qx_error *err);

#endif

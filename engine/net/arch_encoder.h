/* Encoders of the BERT kind: embeddings, normalized after each half of a layer, a head on the first
 * place or the mean over all places. They differ in names alone. */
#ifndef QX_NET_ARCH_ENCODER_H
#define QX_NET_ARCH_ENCODER_H

#include "arch_build.h"

struct qx_encoder_family {
    const char *const *types;    /* model_type, NULL behind the last */
    const char *const *prefixes; /* of tensor names, NULL behind the last */
    /* keys of config.json */
    const char *hidden, *layers, *heads, *inner, *act;
    double epsilon; /* unless layer_norm_eps says otherwise */
    bool skips_pad; /* the first place has the position pad_token_id + 1 */
    /* tensors, behind the prefix; token_type NULL: there is none */
    const char *word, *position, *token_type, *norm;
    const char *layer; /* "encoder.layer.", before number and dot */
    const char *query, *key, *value, *out, *out_norm, *up, *down, *down_norm; /* behind `layer` */
    /* head: dense, its activation (an operation), classes */
    const char *dense, *dense_act, *classes;
    bool dense_has_prefix;
};

bool qx_encoder_probe(const struct qx_encoder_family *f, const struct qx_model *model,
                      const struct qx_jval *root);
enum qx_status qx_encoder_build(const struct qx_encoder_family *f, struct qx_net *net,
                                const struct qx_jval *root, struct qx_error *err);

#endif

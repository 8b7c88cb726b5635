/* Cross-layer equalization: factors of the channels between layers (Nagel et al. 2019, arXiv 1906.04721,
 * section 4.1). */
#ifndef QX_METHOD_EQUAL_H
#define QX_METHOD_EQUAL_H

#include "qx/links.h"
#include "qx/method.h"

/* Of one layer; NULL: ones. */
struct qx_equal_factors {
    float *in; /* [n_in of its link] its inputs are divided by */
    float *
        out; /* [outputs] its outputs are multiplied by, batch normalization behind them included */
    int n_links; /* with how many layers it is equalized */
    bool has_batchnorm;
};
/* Of a network under settings. */
struct qx_equalizer {
    int n;
    struct qx_equal_factors *v; /* [n] layers */
};
/* Factors of all layers whose setting names cle. set: [layers]. Memory: the weights of those that hang
 * together. QX_ENOMEM, QX_ECANCELLED. */
enum qx_status qx_equalizer_new(const struct qx_net *net, const struct qx_setting *set,
                                struct qx_ctl *ctl, struct qx_equalizer **out,
                                struct qx_error *err);
void qx_equalizer_free(struct qx_equalizer *e); /* NULL allowed */
/* Does the setting name a method? */
bool qx_setting_names(const struct qx_setting *s, const char *method);

#endif

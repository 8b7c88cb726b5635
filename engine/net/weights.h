#ifndef QX_NET_WEIGHTS_H
#define QX_NET_WEIGHTS_H

#include "net/graph.h"

/* One initializer. */
struct qx_weight {
    const float
        *data; /* what the forward pass reads: stored or changed; NULL: read in place or missing */
    bool is_in_file;           /* no float32 values: a pass reads the file's where it needs them */
    const float *stored;       /* in the mapping, or widened; NULL: not widened now */
    float *changed;            /* owned, NULL until needed */
    bool is_widened;           /* stored was taken from the network's copies (wide.h) */
    struct qx_setting setting; /* of data */
};

struct qx_exec;
struct qx_weights {
    const struct qx_net *net;
    struct qx_weight *values; /* [net->n_values]; unused for computed values */
    bool has_act;             /* some layer quantizes its input; set by apply and prepare */
    enum qx_engine engine;    /* not AUTO */
    struct qx_exec *exec;     /* INTEGER, PACKED: made by prepare */
    struct qx_exec *old; /* INTEGER's before a layer changed: what still holds is taken from it */
    bool
        is_slim; /* data of some layers are NULL: of what a program keeps packed, or until prepare */
    bool is_lazy; /* stored values are widened only while they are read */
    bool
        is_thin; /* widened copies would take too much: stored values stay in the file, if need be */
};

/* Does nobody but passes, node by node, read this initializer's float32 values? */
bool qx_weight_may_stay(const struct qx_net *net, int value);
/* From now on stored values that passes alone read stay in the file, as they do where copies of all of them would
 * take more than 1 GiB; right after qx_weights_new. */
void qx_weights_thin(struct qx_weights *w);

#endif

#ifndef QX_NET_WEIGHTS_H
#define QX_NET_WEIGHTS_H

#include "net/graph.h"

/* One initializer. */
struct qx_weight {
    const float *data;         /* what the forward pass reads: stored or changed */
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
};

#endif

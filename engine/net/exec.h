/* How a network runs under its settings: which nodes are products with packed weights, what is fused into
 * them, and in which form each value lies in memory between them. */
#ifndef QX_NET_EXEC_H
#define QX_NET_EXEC_H

#include "net/weights.h"

#include "kernels/kernels.h"

/* Activations are stored as u8 whatever the setting: symmetric codes with 128 added. */
struct qx_codes {
    float scale;
    int32_t zero, min, max;
};
struct qx_codes qx_codes_of(const struct qx_qparams *p);

/* A value between nodes. LAST and CODES of a shape [n, c, h, w] are [n, h, w, c]; codes that are not
 * is_last lie as the shape says. */
enum qx_form { QX_FORM_PLAIN, QX_FORM_LAST, QX_FORM_CODES };
struct qx_exec_value {
    enum qx_form form;
    struct qx_codes codes;
    bool is_last;      /* CODES: channels last ... */
    int64_t c, places; /* ... of this many channels and places, per sample */
};

enum qx_exec_kind {
    QX_EXEC_FLOAT,  /* the operation's own forward pass */
    QX_EXEC_LINEAR, /* product with packed weights */
    QX_EXEC_CODES,  /* Relu, MaxPool on codes */
    QX_EXEC_LAST,   /* MaxPool, GlobalAveragePool on LAST */
    QX_EXEC_NORM,   /* LayerNormalization with the sum before it and the codes behind it */
    QX_EXEC_NONE    /* view, or part of the product before */
};

struct qx_qlinear;
struct qx_packed;
struct qx_exec_node {
    enum qx_exec_kind kind;
    struct qx_qlinear *linear; /* LINEAR; owned */
    int out;                   /* value that it fills: behind what is fused */
    /* NORM */
    const struct qx_node *sum;       /* the Add whose result it reads; NULL: none */
    const struct qx_qlinear *reader; /* first product that quantizes its rows; NULL: none */
};

/* Values from behind node `from` to the inputs of node `to` come divided. */
struct qx_fold {
    int from, to;
    uint64_t hash;
};

struct qx_exec {
    const struct qx_net *net;
    struct qx_exec_node *nodes;   /* [n_nodes] */
    struct qx_exec_value *values; /* [n_values] */
    struct qx_packed *
        *packed; /* [n_values] weights that FLOAT nodes decode as they run; NULL: float32 */
    const struct qx_qlinear *
        *tied;             /* [n_values] the product from whose codes a table's rows come */
    float **own;           /* [n_values] initializers that the program has changed; NULL: stored */
    struct qx_fold *folds; /* [n_folds] values between nodes that are divided here */
    int n_folds;
    int64_t wide_floats;    /* of the largest of the packed that are decoded as a whole */
    struct qx_setting *set; /* [n_values] of the weights that it packs */
};

/* The program in use, or NULL for the simulation. */
const struct qx_exec *qx_weights_exec(const struct qx_weights *w);
/* The setting of a node's input: NULL when it stays float32. */
const struct qx_act *qx_node_act(const struct qx_weights *w, const struct qx_node *node);
/* Does any layer quantize its input? */
bool qx_weights_has_act(const struct qx_weights *w);

/* Make the program. What `old` (of the same weights earlier; NULL allowed) packed under the same settings is
 * taken out of it, which leaves it only to be freed. QX_EUNSUPPORTED names the first node that no integer
 * kernel runs. */
enum qx_status qx_exec_new(const struct qx_weights *w, struct qx_exec *old, struct qx_pool *pool,
                           struct qx_ctl *ctl, struct qx_exec **out, struct qx_error *err);
void qx_exec_free(struct qx_exec *e); /* NULL allowed */
/* What a worker needs beside the layout's workspace. */
void qx_exec_room(const struct qx_exec *e, const struct qx_layout *l, size_t *scratch_bytes,
                  size_t *kept_bytes);
/* Does some node read this initializer as float32? */
bool qx_exec_reads(const struct qx_exec *e, const struct qx_value *v);
/* Bytes of its packed forms; 0 = none. */
size_t qx_exec_bytes(const struct qx_exec *e, const struct qx_value *v);

/* ---- qtable.c: tables whose rows are looked up ---- */

/* Pack them, where no product has their codes already. After everything is finished. */
enum qx_status qx_exec_tables(struct qx_exec *e, const struct qx_weights *w, struct qx_pool *pool,
                              struct qx_ctl *ctl, struct qx_error *err);
static inline bool qx_exec_has_table(const struct qx_exec *e, int value)
{
    return e->tied[value] || e->packed[value];
}
void qx_exec_table_row(const struct qx_exec *e, int value, int64_t i, float *out);

/* ---- fuse.c: what becomes part of a product, and the forms of values ---- */

enum qx_status qx_exec_fuse(struct qx_exec *e, const struct qx_weights *w, struct qx_error *err);
enum qx_status qx_exec_forms(struct qx_exec *e, struct qx_error *err);

/* Factors of inputs go into what comes before them, where it can take them (fold.c). After fusing. */
enum qx_status qx_exec_fold(struct qx_exec *e, const struct qx_weights *w, struct qx_error *err);
/* What is divided of the values alive before a node: 0 = nothing. e: NULL allowed. */
uint64_t qx_exec_folded(const struct qx_exec *e, int node);

/* Layer normalizations that run with their neighbours in one pass over the row (exec_norm.c). */
void qx_exec_norms(struct qx_exec *e);

bool qx_node_is(const struct qx_node *node, const char *op);
bool qx_node_is_tapped(const struct qx_node *node); /* its input is shown to a tap */
/* The same as an input of that layer. Of layer -1 there is none. */
bool qx_node_feeds(const struct qx_net *net, const struct qx_node *node, int layer);
/* Node that multiplies the inputs of a layer, the first of them; -1: none. */
int qx_net_layer_node(const struct qx_net *net, int layer);
/* begin[rows + 1]: where the values of each row of its input begin. */
void qx_node_begins(const struct qx_node *node, const struct qx_extent *e, int64_t *begin);
const struct qx_attr *qx_node_attr(const struct qx_node *node, const char *name);

struct qx_qkept;
/* x (and its other summand, if there is one) [m][n] to out and, for the reader, into `kept`. */
struct qx_norm_run {
    const struct qx_exec_node *exec;
    const struct qx_node *node;
    const float *x, *other, *gamma, *beta; /* beta, other: NULL allowed */
    float *out;
    int64_t m, n;
    struct qx_qkept *kept;
};
void qx_norm_run(const struct qx_norm_run *r);

/* ---- run on values that are not PLAIN (exec_ops.c) ---- */

/* MaxPool or Relu of codes, n rows. */
void qx_codes_run(const struct qx_node *node, const struct qx_exec_value *v, const uint8_t *x,
                  int64_t n, uint8_t *out);
/* MaxPool or GlobalAveragePool of LAST. */
void qx_last_run(const struct qx_node *node, const float *x, int64_t n, float *out);

#endif

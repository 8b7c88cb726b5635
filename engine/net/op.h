/* What an operation is: one row of op_table.c, made of its attributes, a shape rule and a forward
 * function. Semantics are ONNX's (opset 17; Gelu 20, RMSNormalization and Attention 23). */
#ifndef QX_NET_OP_H
#define QX_NET_OP_H

#include "net/shape.h"

#include "qx/json.h"
#include "qx/net.h"

#define QX_NODE_INPUTS 256 /* Concat takes the most */
#define QX_ATTR_INTS   16

enum qx_attr_type { QX_ATTR_INT, QX_ATTR_FLOAT, QX_ATTR_INTS_LIST, QX_ATTR_CHOICE };

/* One attribute, as data: everything outside is an error that names the node. */
struct qx_attr_spec {
    const char *name;
    enum qx_attr_type type;
    double fallback;     /* INT, FLOAT when absent (a CHOICE falls back to its first) */
    int64_t min, max;    /* INT and every element of a list; min == max: only that is supported */
    const char *choices; /* CHOICE: words with spaces between */
    bool is_required;
};
struct qx_attr {
    bool is_given;
    int64_t i; /* INT; CHOICE: index of the word */
    double f;
    int n; /* of ints */
    int64_t ints[QX_ATTR_INTS];
};

/* A tensor in the graph: the graph input, an initializer or the output of a node. */
struct qx_value {
    const char *name;
    struct qx_shape shape;
    bool is_ids;    /* integer values, carried as float32 */
    int64_t tensor; /* initializer: index in the model; else -1 */
    int index;      /* in the net's list */
};

struct qx_op;
struct qx_node {
    const char *name;
    const struct qx_op *op;
    int n_in;
    const struct qx_value **in; /* [n_in]; NULL = optional input left out */
    struct qx_value *out;
    struct qx_attr *attr; /* [op->n_attrs], in the order of the op's specs */
    int64_t macs;         /* multiply-adds per row */
};

/* What a shape rule sees besides the node: where it may read the values of an initializer. */
struct qx_infer {
    struct qx_node *node; /* inputs and attributes are set; the rule sets out->shape and macs */
    const struct qx_model *model;
};

/* One node run on one tile: shapes are fixed. */
struct qx_run {
    const struct qx_node *node;
    const float *const *in;          /* [n_in]; NULL = left out */
    const struct qx_shape *in_shape; /* [n_in] */
    float *out;                      /* may be in[0] where the op says is_inplace */
    struct qx_shape out_shape;
    float *scratch;    /* op->scratch(node, room) floats, 64-byte aligned */
    int64_t first_row; /* of the tile, for messages */
    int64_t rows;      /* in the tile */
    const int64_t
        *start; /* [rows + 1] first place of each row's sequence; NULL without sequences */
    /* One sequence that goes on: places that came before, and what they left here. */
    int64_t past;
    const struct qx_kv *kv; /* NULL: nothing came before */
    /* The tile is the only one: products are cut into blocks, which the pool (NULL: this thread) runs. */
    bool is_alone;
    struct qx_pool *pool;
    /* reads_rows: writes row i of the weight; NULL: in[] has it. */
    void (*row)(const void *table, int64_t i, float *out);
    const void *table;
};

/* Keys and values that an attention has seen, in the order of their places. */
struct qx_kv {
    float *k, *v; /* [places][kv_heads d] */
};

/* A node run backwards on one tile: what d_out brings by the chain rule is added to d_in. is_first: d_in[0] holds
 * nothing yet, and an operation that says writes_first writes it instead. */
struct qx_back {
    const struct qx_run *run; /* as forward saw it, and with what it gave; scratch is not there */
    const float *d_out;
    float *const *d_in; /* [n_in] like the inputs; NULL = not wanted */
    float *scratch;     /* op->back_scratch(node, room) floats, 64-byte aligned */
    bool is_first;
};

/* What an operation does in training that looks at all rows of a batch. Sums are of one tile, are added
 * up over the tiles in a fixed order, and n_rows counts the rows of all of them. */
struct qx_batch_op {
    int64_t (*n_sums)(const struct qx_node *node);
    void (*sums)(const struct qx_run *r, double *sums); /* added to */
    void (*forward)(const struct qx_run *r, const double *sums, int64_t n_rows);
    /* The same backwards: first the sums, then d_in[0] of each tile (heeds is_first); parameters once, from the
     * sums. */
    void (*back_sums)(const struct qx_back *b, const double *sums, int64_t n_rows, double *back);
    void (*backward)(const struct qx_back *b, const double *sums, const double *back,
                     int64_t n_rows);
    void (*back_params)(const struct qx_node *node, const double *back, float *const *d_in);
    /* Running statistics (inputs of the node): r += momentum (batch - r). in: [n_in]. */
    void (*update)(const struct qx_node *node, const double *sums, int64_t n_rows, double momentum,
                   float *const *in);
};

struct qx_op {
    const char *name;
    int min_in, max_in;
    const struct qx_attr_spec *attrs;
    int n_attrs;
    unsigned ids;      /* bit i: input i must hold ids */
    bool takes_places; /* works place by place: values may be sequences (shape.h) */
    bool reads_places; /* what it gives depends on other places, or on which one it is */
    bool any_type;     /* takes ids or reals; the output holds the same */
    bool is_view;      /* the output is input 0 under another shape: nothing is run */
    bool is_inplace;   /* the output may lie over input 0 when the shapes are equal */
    bool reads_rows;   /* of the weight, by run->row where it is packed */
    int weight;        /* input that is a quantizable weight when it is an initializer; -1 none */
    enum qx_role role; /* of that weight */
    int (*weight_axis)(const struct qx_node *node); /* its output-channel axis */
    enum qx_status (*shape)(const struct qx_infer *g, struct qx_error *err);
    int64_t (*scratch)(const struct qx_node *node, const struct qx_room *room); /* NULL = none */
    enum qx_status (*forward)(const struct qx_run *r, struct qx_error *err);    /* NULL for views */
    /* ---- training ---- */
    void (*backward)(const struct qx_back *b); /* NULL for views */
    bool writes_first;                         /* qx_back.is_first */
    int64_t (*back_scratch)(const struct qx_node *node, const struct qx_room *room); /* or NULL */
    unsigned constant;   /* bit i: input i has no gradient (shapes, bounds, statistics) */
    unsigned statistics; /* bit i: input i is one, kept up to date by batch->update */
    const struct qx_batch_op *batch; /* NULL: rows do not meet */
};

const struct qx_op *qx_op_find(const char *name); /* NULL when unknown */
int qx_op_count(void);
const struct qx_op *qx_op_at(int i);

/* Read the JSON object of attributes (NULL = none) into attr[op->n_attrs]. Unknown names, wrong types
 * and values outside the spec fail. */
enum qx_status qx_attr_parse(const struct qx_op *op, const struct qx_jval *attrs,
                             struct qx_attr *attr, struct qx_error *err);
/* List attribute with exactly n elements, all `fallback` when absent. */
enum qx_status qx_attr_list(const struct qx_node *node, int attr, int n, int64_t fallback,
                            int64_t *out, struct qx_error *err);

/* Rank of an input between min and max. QX_EFORMAT. */
enum qx_status qx_op_rank(const struct qx_node *node, int input, int min, int max,
                          struct qx_error *err);
/* An input that holds sequences of vectors, [T N, d]. QX_EFORMAT. */
enum qx_status qx_op_sequence(const struct qx_node *node, int input, struct qx_error *err);
/* The output has the shape of input 0 (element-wise operations). */
enum qx_status qx_op_same_shape(const struct qx_infer *g, struct qx_error *err);

#endif

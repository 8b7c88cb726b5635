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
    float *scratch;    /* op->scratch(node, rows) floats, 64-byte aligned */
    int64_t first_row; /* of the tile, for messages */
    int64_t rows;      /* in the tile */
    const int64_t
        *start; /* [rows + 1] first place of each row's sequence; NULL without sequences */
};

struct qx_op {
    const char *name;
    int min_in, max_in;
    const struct qx_attr_spec *attrs;
    int n_attrs;
    unsigned ids;      /* bit i: input i must hold ids */
    bool takes_places; /* works place by place: values may be sequences (shape.h) */
    bool any_type;     /* takes ids or reals; the output holds the same */
    bool is_view;      /* the output is input 0 under another shape: nothing is run */
    bool is_inplace;   /* the output may lie over input 0 when the shapes are equal */
    int weight;        /* input that is a quantizable weight when it is an initializer; -1 none */
    enum qx_role role; /* of that weight */
    int (*weight_axis)(const struct qx_node *node); /* its output-channel axis */
    enum qx_status (*shape)(const struct qx_infer *g, struct qx_error *err);
    int64_t (*scratch)(const struct qx_node *node, int64_t rows);            /* NULL = none */
    enum qx_status (*forward)(const struct qx_run *r, struct qx_error *err); /* NULL for views */
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

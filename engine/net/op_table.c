/* One row per operation. Adding one: a file op_<name>.c (or a row in its family's file), a line in
 * each of the two lists below, a case in tests/golden/net. */
#include "op.h"

#include "base/error.h"

#include <string.h>

#define QX_OP_LIST(X)      \
    X(conv)                \
    X(gemm)                \
    X(matmul)              \
    X(batch_normalization) \
    X(layer_normalization) \
    X(rms_normalization)   \
    X(relu)                \
    X(sigmoid)             \
    X(tanh)                \
    X(identity)            \
    X(leaky_relu)          \
    X(gelu)                \
    X(softmax)             \
    X(add)                 \
    X(mul)                 \
    X(max_pool)            \
    X(average_pool)        \
    X(global_average_pool) \
    X(global_max_pool)     \
    X(reduce_mean)         \
    X(reduce_max)          \
    X(flatten)             \
    X(reshape)             \
    X(transpose)           \
    X(concat)              \
    X(gather)              \
    X(clip)                \
    X(embedding)           \
    X(attention)           \
    X(sequence_pool)       \
    X(rotary)              \
    X(swish)               \
    X(columns)             \
    X(head_normalization)

#define QX_OP_EXTERN(id) extern const struct qx_op qx_op_##id;
QX_OP_LIST(QX_OP_EXTERN)

static const struct qx_op *const rows[] = {
#define QX_OP_ROW(id) &qx_op_##id,
    QX_OP_LIST(QX_OP_ROW)};

int qx_op_count(void)
{
    return (int)(sizeof rows / sizeof *rows);
}

const struct qx_op *qx_op_at(int i)
{
    return rows[i];
}

const struct qx_op *qx_op_find(const char *name)
{
    for (int i = 0; i < qx_op_count(); i++) {
        if (strcmp(rows[i]->name, name) == 0) {
            return rows[i];
        }
    }
    return NULL;
}

enum qx_status qx_op_rank(const struct qx_node *node, int input, int min, int max,
                          struct qx_error *err)
{
    const struct qx_shape *s = &node->in[input]->shape;
    if (s->rank >= min && s->rank <= max) {
        return QX_OK;
    }
    char text[QX_SHAPE_TEXT];
    const char *name = node->in[input]->name;
    qx_shape_text(s, text);
    if (min == max) {
        return qx_fail(err, QX_EFORMAT, "input '%s' is %s, of rank %d; rank %d is needed", name,
                       text, s->rank, min);
    }
    return qx_fail(err, QX_EFORMAT, "input '%s' is %s, of rank %d; rank %d to %d is needed", name,
                   text, s->rank, min, max);
}

enum qx_status qx_op_sequence(const struct qx_node *node, int input, struct qx_error *err)
{
    const struct qx_shape *s = &node->in[input]->shape;
    if (s->is_ragged && s->rank == 2) {
        return QX_OK;
    }
    char text[QX_SHAPE_TEXT];
    return qx_fail(err, QX_EFORMAT, "input '%s' is %s; sequences of vectors are needed",
                   node->in[input]->name, qx_shape_text(s, text));
}

enum qx_status qx_op_same_shape(const struct qx_infer *g, struct qx_error *err)
{
    (void)err;
    g->node->out->shape = g->node->in[0]->shape;
    return QX_OK;
}

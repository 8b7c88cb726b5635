/* Embedding: from rows of ids [N, T] to sequences [T N, d], a row of the table for every place that holds
 * an id. -1 stands for a place left out (padding). Not an ONNX operation. */
#include "op.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum { INDEX, OFFSET, N_ATTRS };
enum { BY_ID, BY_PLACE, BY_CONSTANT };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [INDEX] = {.name = "index", .type = QX_ATTR_CHOICE, .choices = "id place constant"},
    [OFFSET] = {.name = "offset", .type = QX_ATTR_INT, .max = INT32_MAX}};

static int table_axis(const struct qx_node *node)
{
    (void)node;
    return 0;
}

/* The last row of the table that places and constants need. */
static enum qx_status check_rows(const struct qx_node *node, struct qx_error *err)
{
    const int64_t by = node->attr[INDEX].i, rows = node->in[1]->shape.dim[0];
    const int64_t last =
        node->attr[OFFSET].i + (by == BY_PLACE ? node->in[0]->shape.dim[1] - 1 : 0);
    if (by == BY_ID ? node->attr[OFFSET].i != 0 : last >= rows) {
        return qx_fail(err, QX_EFORMAT, "the table '%.100s' has %lld rows; row %lld is needed",
                       node->in[1]->name, (long long)rows, (long long)last);
    }
    return QX_OK;
}

static enum qx_status embedding_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_node *node = g->node;
    const struct qx_shape *ids = &node->in[0]->shape, *table = &node->in[1]->shape;
    enum qx_status st = qx_op_rank(node, 0, 2, 2, err);
    if (st == QX_OK) {
        st = qx_op_rank(node, 1, 2, 2, err);
    }
    if (st != QX_OK) {
        return st;
    }
    if (node->in[0]->index != 0 || ids->batch != 0 || ids->lead != 1 || ids->dim[0] != 1) {
        return qx_fail(err, QX_EUNSUPPORTED, "its ids are not the graph's input");
    }
    if (table->batch >= 0) {
        return qx_fail(err, QX_EUNSUPPORTED, "its table depends on the input");
    }
    st = check_rows(node, err);
    if (st != QX_OK) {
        return st;
    }
    struct qx_shape out = {
        .rank = 2, .batch = 0, .lead = 1, .is_ragged = true, .dim = {ids->dim[1], table->dim[1]}};
    if (node->n_in > 2 && node->in[2] && !qx_shape_equal(&node->in[2]->shape, &out)) {
        char a[QX_SHAPE_TEXT], b[QX_SHAPE_TEXT];
        return qx_fail(err, QX_EFORMAT, "'%.100s' %s cannot be added to %s", node->in[2]->name,
                       qx_shape_text(&node->in[2]->shape, a), qx_shape_text(&out, b));
    }
    node->out->shape = out;
    return QX_OK;
}

/* A row of the table. */
static int64_t embedding_scratch(const struct qx_node *node, const struct qx_room *room)
{
    (void)room;
    return node->in[1]->shape.dim[1];
}

static enum qx_status fail_id(const struct qx_run *r, int64_t row, int64_t place, double id,
                              struct qx_error *err)
{
    return qx_fail(err, QX_EDATA,
                   "row %lld, place %lld holds the id %.9g, outside the table of %lld entries",
                   (long long)(r->first_row + row), (long long)(r->past + place), id,
                   (long long)r->in_shape[1].dim[0]);
}

/* Row of the table for place t, which holds id. */
static int64_t table_row(const struct qx_run *r, float id, int64_t t)
{
    const int64_t by = r->node->attr[INDEX].i, offset = r->node->attr[OFFSET].i;
    return by == BY_ID ? (int64_t)id : offset + (by == BY_PLACE ? r->past + t : 0);
}

static enum qx_status embedding(const struct qx_run *r, struct qx_error *err)
{
    const int64_t most = r->in_shape[0].dim[1], n = r->in_shape[1].dim[0];
    const int64_t width = r->in_shape[1].dim[1];
    const int64_t by = r->node->attr[INDEX].i;
    const float *sum = r->node->n_in > 2 ? r->in[2] : NULL;
    float *out = r->out;
    for (int64_t row = 0; row < r->rows; row++) {
        for (int64_t t = 0; t < most; t++) {
            const float id = r->in[0][row * most + t];
            if (id == -1.0f) {
                continue;
            }
            if (by == BY_ID && (!(id >= 0.0f && id < (float)n) || id != floorf(id))) {
                return fail_id(r, row, t, (double)id, err);
            }
            const int64_t at = table_row(r, id, t);
            if (r->row) {
                r->row(r->table, at, r->scratch);
            }
            const float *from = r->row ? r->scratch : r->in[1] + at * width;
            for (int64_t i = 0; i < width; i++) {
                out[i] = sum ? sum[i] + from[i] : from[i];
            }
            out += width;
            sum = sum ? sum + width : NULL;
        }
    }
    return QX_OK;
}

static void embedding_back(const struct qx_back *b)
{
    const struct qx_run *r = b->run;
    const int64_t most = r->in_shape[0].dim[1], width = r->in_shape[1].dim[1];
    float *sum = r->node->n_in > 2 ? b->d_in[2] : NULL;
    const float *d_out = b->d_out;
    for (int64_t i = 0; i < r->rows * most; i++) {
        if (r->in[0][i] == -1.0f) {
            continue;
        }
        float *to = b->d_in[1] ? b->d_in[1] + table_row(r, r->in[0][i], i % most) * width : NULL;
        for (int64_t k = 0; to && k < width; k++) {
            to[k] += d_out[k];
        }
        for (int64_t k = 0; sum && k < width; k++) {
            sum[k] += d_out[k];
        }
        d_out += width;
        sum = sum ? sum + width : NULL;
    }
}

const struct qx_op qx_op_embedding = {.name = "Embedding",
                                      .min_in = 2,
                                      .max_in = 3,
                                      .attrs = attrs,
                                      .n_attrs = N_ATTRS,
                                      .ids = 1,
                                      .takes_places = true,
                                      .reads_places = true,
                                      .weight = 1,
                                      .role = QX_ROLE_EMBEDDING,
                                      .reads_rows = true,
                                      .scratch = embedding_scratch,
                                      .weight_axis = table_axis,
                                      .shape = embedding_shape,
                                      .forward = embedding,
                                      .backward = embedding_back};

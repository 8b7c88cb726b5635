/* Attention as in ONNX opset 23, on sequences: q [T N, heads d], k and v [T N, kv_heads d]. A place sees
 * all places of its sequence, or (is_causal) those up to itself; each key and value head serves
 * consecutive query heads. Of a sequence that goes on, those that came before are seen too. */
#include "op.h"

#include "base/error.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { HEADS, KV_HEADS, CAUSAL, SCALE, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [HEADS] =
        {.name = "q_num_heads", .type = QX_ATTR_INT, .min = 1, .max = 65536, .is_required = true},
    [KV_HEADS] =
        {.name = "kv_num_heads", .type = QX_ATTR_INT, .min = 1, .max = 65536, .is_required = true},
    [CAUSAL] = {.name = "is_causal", .type = QX_ATTR_INT, .max = 1},
    [SCALE] = {.name = "scale", .type = QX_ATTR_FLOAT}};

static enum qx_status attention_shape(const struct qx_infer *g, struct qx_error *err)
{
    struct qx_node *node = g->node;
    for (int i = 0; i < 3; i++) {
        enum qx_status st = qx_op_sequence(node, i, err);
        if (st != QX_OK) {
            return st;
        }
    }
    const struct qx_shape *q = &node->in[0]->shape, *k = &node->in[1]->shape;
    const int64_t heads = node->attr[HEADS].i, kv = node->attr[KV_HEADS].i;
    const int64_t d = q->dim[1] / heads;
    if (d * heads != q->dim[1] || heads % kv != 0 || k->dim[1] != kv * d ||
        !qx_shape_equal(k, &node->in[2]->shape)) {
        return qx_fail(
            err, QX_EFORMAT,
            "%lld heads over %lld values and %lld key heads over %lld and %lld values do "
            "not fit",
            (long long)heads, (long long)q->dim[1], (long long)kv, (long long)k->dim[1],
            (long long)node->in[2]->shape.dim[1]);
    }
    node->out->shape = *q;
    node->macs = 2 * q->dim[0] * q->dim[0] * q->dim[1];
    return QX_OK;
}

static int64_t attention_scratch(const struct qx_node *node, const struct qx_room *room)
{
    return qxk_attention_scratch(room->longest, node->in[0]->shape.dim[1] / node->attr[HEADS].i);
}

/* The new keys and values behind those that came before. */
static void remember(const struct qx_run *r)
{
    const int64_t n = r->in_shape[1].dim[0], width = r->in_shape[1].dim[1];
    const size_t bytes = (size_t)(n * width) * sizeof(float);
    memcpy(r->kv->k + r->past * width, r->in[1], bytes);
    memcpy(r->kv->v + r->past * width, r->in[2], bytes);
}

static enum qx_status attention(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const struct qx_attr *attr = r->node->attr;
    const int64_t heads = attr[HEADS].i, share = heads / attr[KV_HEADS].i;
    struct qxk_attention a = {.d = r->in_shape[0].dim[1] / heads,
                              .ld_q = r->in_shape[0].dim[1],
                              .ld_kv = r->in_shape[1].dim[1],
                              .seen = attr[CAUSAL].i ? 1 + r->past : 0,
                              .scratch = r->scratch};
    const float *keys = r->kv ? r->kv->k : r->in[1], *values = r->kv ? r->kv->v : r->in[2];
    if (r->kv) {
        remember(r);
    }
    a.scale = attr[SCALE].is_given ? (float)attr[SCALE].f : (float)(1.0 / sqrt((double)a.d));
    for (int64_t row = 0; row < r->rows; row++) {
        const int64_t first = r->start[row];
        a.n_q = r->start[row + 1] - first;
        a.n_k = r->past + a.n_q;
        for (int64_t i = 0; i < heads; i++) {
            const int64_t at = first * a.ld_q + i * a.d, at_kv = first * a.ld_kv + i / share * a.d;
            a.q = r->in[0] + at;
            a.k = keys + at_kv;
            a.v = values + at_kv;
            a.out = r->out + at;
            qxk_get()->attention(&a);
        }
    }
    return QX_OK;
}

const struct qx_op qx_op_attention = {.name = "Attention",
                                      .min_in = 3,
                                      .max_in = 3,
                                      .attrs = attrs,
                                      .n_attrs = N_ATTRS,
                                      .takes_places = true,
                                      .reads_places = true,
                                      .weight = -1,
                                      .shape = attention_shape,
                                      .scratch = attention_scratch,
                                      .forward = attention};

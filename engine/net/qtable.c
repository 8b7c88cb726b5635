/* Embedding tables that stay packed: a row is decoded when it is looked up, from codes of its own or from
 * those of the product that the table also is the weight of. */
#include "net/qlinear.h"

#include "base/fp16.h"

#include <string.h>

bool qx_qlinear_has_rows(const struct qx_qlinear *q)
{
    if (q->kind != QX_QMATRIX || !q->is_out_first || q->has_factors ||
        !(q->packed || q->w4 || q->n_units == 1)) {
        return false;
    }
    for (int64_t o = 0; q->w4 && o < q->oc; o++) {
        if (q->scale[o] != 1.0f) { /* what was fused behind is in the scales */
            return false;
        }
    }
    return true;
}

/* README.md of kernels draws both layouts. */
static void row8(const struct qx_qlinear *q, int64_t o, float *out)
{
    const struct qxk_w8 *w = q->w8;
    const int8_t *panel = w->data + o / w->panel * w->k_steps * 4 * w->panel + o % w->panel * 4;
    const int32_t zero = q->w_zero ? q->w_zero[o] : 0;
    for (int64_t i = 0; i < w->k; i++) {
        out[i] = (float)(panel[i / 4 * 4 * w->panel + i % 4] - zero) * q->w_scale[o];
    }
}

static void group4(const struct qx_qlinear *q, const uint8_t *record, int64_t lane, int64_t n,
                   float *out)
{
    const struct qxk_w4 *w = q->w4;
    const uint8_t *scales = record + w->group * (w->panel / 2);
    const int zero = w->has_zeros ? record[w->group_bytes - w->panel + lane] : 8;
    float scale;
    uint16_t half;
    if (w->is_f16) {
        memcpy(&half, scales + 2 * lane, sizeof half);
        scale = qx_f16_to_f32(half);
    } else {
        memcpy(&scale, scales + 4 * lane, sizeof scale);
    }
    for (int64_t i = 0; i < n; i++) {
        const int k = (int)(i % 8), nibble = k < 4 ? 2 * k : 2 * k - 7;
        const uint8_t byte = record[i / 8 * 4 * w->panel + 4 * lane + nibble / 2];
        const int code = byte >> nibble % 2 * 4 & 15;
        out[i] = q->w4_table ? q->w4_table[code] * scale : (float)(code - zero) * scale;
    }
}

static void row4(const struct qx_qlinear *q, int64_t o, float *out)
{
    const struct qxk_w4 *w = q->w4;
    const uint8_t *record = w->data + o / w->panel * w->n_groups * w->group_bytes;
    for (int64_t k = 0; k < w->k; k += w->group, record += w->group_bytes) {
        group4(q, record, o % w->panel, w->group < w->k - k ? w->group : w->k - k, out + k);
    }
}

void qx_qlinear_row(const struct qx_qlinear *q, int64_t o, float *out)
{
    if (q->packed) {
        qx_packed_rows(q->packed, o, 1, out);
    } else if (q->w4) {
        row4(q, o, out);
    } else {
        row8(q, o, out);
    }
}

void qx_exec_table_row(const struct qx_exec *e, int value, int64_t i, float *out)
{
    if (e->tied[value]) {
        qx_qlinear_row(e->tied[value], i, out);
    } else {
        qx_packed_rows(e->packed[value], i, 1, out);
    }
}

static const struct qx_qlinear *product_of(const struct qx_exec *e, const struct qx_value *v)
{
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        const struct qx_qlinear *q = e->nodes[i].linear;
        if (q && node->in[node->op->weight] == v && qx_qlinear_has_rows(q)) {
            return q;
        }
    }
    return NULL;
}

enum qx_status qx_exec_tables(struct qx_exec *e, const struct qx_weights *w, struct qx_pool *pool,
                              struct qx_ctl *ctl, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        const struct qx_value *v = node->op->reads_rows ? node->in[node->op->weight] : NULL;
        if (!v || v->tensor < 0 || !qx_weight_is_packed(w, v) || e->packed[v->index]) {
            continue;
        }
        e->tied[v->index] = product_of(e, v);
        if (!e->tied[v->index] && !qx_weight_has_factors(w, v)) {
            st = qx_packed_new(w, v, pool, ctl, &e->packed[v->index], err);
            st = st == QX_EUNSUPPORTED ? QX_OK : st; /* it stays float32 */
        }
    }
    return st;
}

/* Integer execution of one layer: packing, products, matrices. qconv.c has the convolutions. */
#include "net/qlinear.h"

#include "qx/overlay.h"

#include "base/error.h"
#include "base/mapfile.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

void *qx_cut_take(struct qx_cut *c, size_t bytes)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (bytes + 127) & ~(size_t)63; /* kernels read a little beyond */
    return p;
}

struct qx_codes qx_codes_of(const struct qx_qparams *p)
{
    const int32_t shift = p->qmin < 0 ? 128 : 0;
    return (struct qx_codes){p->scale, p->zero + shift, p->qmin + shift, p->qmax + shift};
}

/* ---- packing ---- */

static enum qx_status refuse(const struct qx_node *node, const char *why, struct qx_error *err)
{
    return qx_fail(err, QX_EUNSUPPORTED,
                   "no integer kernel runs node '%.100s' (%s): %s; use --engine simulated",
                   node->name, node->op->name, why);
}

static enum qx_status conv_shape(struct qx_qlinear *q, struct qx_error *err)
{
    const struct qx_node *node = q->node;
    const struct qx_shape *weight = &node->in[1]->shape, *x = &node->in[0]->shape;
    enum qx_status st = qx_window_of(node, x, &weight->dim[2], &q->w, err);
    if (st != QX_OK) {
        return st;
    }
    if (x->batch != 0 || x->dim[0] != 1 || x->lead != 1) {
        return refuse(node, "its input is not one sample a row", err);
    }
    q->group = qx_node_attr(node, "group")->i;
    q->oc = weight->dim[0];
    q->n = q->oc / q->group;
    q->k = weight->dim[1] * q->w.kh * q->w.kw;
    const bool is_depthwise = q->group > 1 && q->n == 1 && weight->dim[1] == 1;
    q->kind = is_depthwise ? QX_QDEPTHWISE : QX_QCONV;
    return QX_OK;
}

/* Initializer that adds one value to each output; NULL allowed. */
static bool is_row_bias(const struct qx_value *v, int64_t n)
{
    return !v || (v->tensor >= 0 && v->shape.rank >= 1 && qx_shape_numel(&v->shape, 1) == n &&
                  v->shape.dim[v->shape.rank - 1] == n);
}

static enum qx_status matrix_shape(struct qx_qlinear *q, struct qx_error *err)
{
    const struct qx_node *node = q->node;
    const struct qx_shape *weight = &node->in[1]->shape, *x = &node->in[0]->shape;
    const bool is_gemm = qx_node_is(node, "Gemm");
    const bool is_out_first = is_gemm && qx_node_attr(node, "transB")->i;
    q->is_out_first = is_out_first;
    if (weight->rank != 2) {
        return refuse(node, "its weight has not two axes", err);
    }
    if (node->in[0]->tensor >= 0 || x->batch != 0 || x->lead != 1 || x->rank < 2) {
        return refuse(node, "its input is not a batch of rows", err);
    }
    if (is_gemm && qx_node_attr(node, "transA")->i) {
        return refuse(node, "it transposes its input", err);
    }
    q->kind = QX_QMATRIX;
    q->group = 1;
    q->oc = q->n = weight->dim[is_out_first ? 0 : 1];
    q->k = weight->dim[is_out_first ? 1 : 0];
    if (node->n_in > 2 && !is_row_bias(node->in[2], q->n)) {
        return refuse(node, "its third input is not one value for each output", err);
    }
    return QX_OK;
}

/* Element of the weight tensor that input i of output o is, in the order in which columns lie. */
static int64_t weight_index(const struct qx_qlinear *q, int64_t o, int64_t i)
{
    if (q->kind == QX_QMATRIX) {
        return q->is_out_first ? o * q->k + i : i * q->oc + o;
    }
    if (q->n_units > 1 || q->kind == QX_QDEPTHWISE) {
        return o * q->k + i; /* units are runs of the storage order */
    }
    const int64_t taps = q->w.kh * q->w.kw, channels = q->k / taps; /* [taps][channels] */
    return o * q->k + i % channels * taps + i / channels;
}

/* Are codes stored as the kernels pack them? */
static bool is_in_order(const struct qx_qlinear *q)
{
    return q->kind == QX_QMATRIX && q->is_out_first && q->n_units == 1;
}

/* Codes of the outputs of one group and unit, as the kernels pack them. */
static enum qx_status pack_one(struct qx_qlinear *q, const int8_t *codes, int64_t g, int64_t u,
                               int8_t *rows, struct qx_error *err)
{
    const int64_t first = u * q->unit, len = q->unit < q->k - first ? q->unit : q->k - first;
    if (is_in_order(q)) {
        return qxk_w8_pack(&q->w8[0], codes, q->n, q->k, err);
    }
    for (int64_t o = 0; o < q->n; o++) {
        for (int64_t i = 0; i < len; i++) {
            rows[o * len + i] = codes[weight_index(q, g * q->n + o, first + i)];
        }
    }
    return qxk_w8_pack(&q->w8[g * q->n_units + u], rows, q->n, len, err);
}

static enum qx_status pack(struct qx_qlinear *q, const int8_t *codes, struct qx_ctl *ctl,
                           struct qx_error *err)
{
    const size_t len = is_in_order(q) ? 1 : (size_t)(q->unit < q->k ? q->unit : q->k);
    int8_t *rows = qx_mem_array((size_t)q->n, len);
    q->w8 = qx_mem_array((size_t)q->group, (size_t)q->n_units * sizeof *q->w8);
    enum qx_status st = rows && q->w8 ? QX_OK : qx_fail_nomem(err, (size_t)(q->n * q->k));
    if (q->w8) {
        memset(q->w8, 0, (size_t)(q->group * q->n_units) * sizeof *q->w8);
    }
    for (int64_t i = 0; st == QX_OK && i < q->group * q->n_units; i++) {
        st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "packing the weights was cancelled")
                                 : pack_one(q, codes, i / q->n_units, i % q->n_units, rows, err);
    }
    qx_mem_free(rows);
    return st;
}

/* Does a 4-bit kernel run it? Of groups, all but those that fall between its own; of one scale an output
 * only where the alternative is 8 bits in memory. Asymmetric inputs have a zero point that is known
 * beforehand and goes into the bias. */
static bool is_w4(const struct qx_qlinear *q, const struct qx_setting *s)
{
    const bool is_float = q->act.bits == 0;
    const bool is_unit = q->unit == 32 || q->unit == 64 || q->unit == 128;
    const int bits = s->format->book ? s->format->book->bits : s->bits;
    return bits <= 4 && (q->n_units > 1 ? is_unit : is_float) &&
           (is_float || q->act.sym || !q->act.dynamic);
}

static int64_t w4_unit(const struct qx_qlinear *q)
{
    return q->n_units > 1 ? q->unit : q->k >= 128 ? 128 : q->k >= 64 ? 64 : 32;
}

/* What the 4-bit kernel packs of one output. */
struct w4_row {
    int8_t *codes;  /* [k] */
    float *scales;  /* [n_groups] */
    uint8_t *zeros; /* the same */
};

/* Codes and zeros of asymmetric weights are those of signed bytes: the kernel has them from 0 on. */
static void w4_fill(struct qx_qlinear *q, int64_t out, const struct w4_row *to)
{
    const int up = q->w_zero ? 8 : 0, less = q->w4_table ? 0 : 8;
    const uint8_t *pairs = q->w4_codes + out * ((q->k + 1) / 2);
    double sum = 0.0; /* of scale * (code - zero) */
    for (int64_t i = 0; i < q->k; i++) {
        const int64_t j = i / q->w4_unit, at = i / q->unit * q->oc + out;
        const int zero = q->w_zero ? q->w_zero[at] : 0,
                  code = (pairs[i / 2] >> i % 2 * 4 & 15) - less;
        to->scales[j] = (float)((double)q->w_scale[at] * (double)q->scale[out]);
        to->zeros[j] = (uint8_t)(zero + up);
        to->codes[i] = (int8_t)(code + up);
        sum += (double)to->scales[j] * (double)(code - zero);
    }
    const double zero = q->act.bits == 0 || q->act.dynamic ? 0.0 : (double)(q->in.zero - 128);
    q->w4_bias[out] = (float)((double)q->bias[out] - zero * (double)q->in.scale * sum);
}

/* Group g of a convolution. */
static enum qx_status w4_pack(struct qx_qlinear *q, int64_t g, const struct w4_row *row,
                              struct qx_error *err)
{
    const struct qxk_w4_source from = {.codes = row->codes,
                                       .scales = row->scales,
                                       .zeros = q->w_zero ? row->zeros : NULL,
                                       .n = q->n,
                                       .k = q->k,
                                       .group = (int)q->w4_unit,
                                       .is_table = q->w4_table != NULL,
                                       .is_f16 = q->w4_is_f16};
    enum qx_status st = qxk_w4_new(&q->w4[g], &from, err);
    for (int64_t o = 0; st == QX_OK && o < q->n; o++) {
        w4_fill(q, g * q->n + o, row);
        st = qxk_w4_put(&q->w4[g], o, &from, err);
    }
    return st;
}

/* The 4-bit kernel's scales hold the epilogue's, so this comes after fusing. */
enum qx_status qx_qlinear_finish(struct qx_qlinear *q, struct qx_error *err)
{
    if (q->is_finished) {
        return QX_OK;
    }
    q->is_finished = true;
    if (q->beside.n_kept > 0) {
        q->behind = q->fused;
        q->fused = QXK_ACT_NONE;
    }
    if (!q->w4_codes) {
        return QX_OK;
    }
    const size_t n_groups = (size_t)((q->k + q->w4_unit - 1) / q->w4_unit);
    struct w4_row row = {.codes = qx_mem_alloc((size_t)q->k),
                         .scales = qx_mem_array(n_groups, sizeof *row.scales),
                         .zeros = qx_mem_alloc(n_groups)};
    q->w4 = qx_mem_zalloc((size_t)q->group * sizeof *q->w4);
    q->w4_bias = qx_mem_array((size_t)q->oc, sizeof *q->w4_bias);
    enum qx_status st = row.codes && row.scales && row.zeros && q->w4 && q->w4_bias
                            ? QX_OK
                            : qx_fail_nomem(err, (size_t)q->k);
    for (int64_t o = 0; o < q->oc; o++) {
        q->w4_is_f16 &= q->scale[o] == 1.0f;
    }
    for (int64_t g = 0; st == QX_OK && g < q->group; g++) {
        st = w4_pack(q, g, &row, err);
    }
    qx_mem_free(row.codes);
    qx_mem_free(row.scales);
    qx_mem_free(row.zeros);
    qx_mem_free(q->w4_codes);
    q->w4_codes = NULL;
    if (st == QX_OK) { /* they are in the kernel's own form now */
        qx_mem_free(q->w_scale);
        qx_mem_free(q->w_zero);
        q->w_scale = NULL;
        q->w_zero = NULL;
    }
    return st;
}

/* Codes [oc][k] in the order of columns, until the scales are known. */
static enum qx_status keep_w4(struct qx_qlinear *q, const struct qx_setting *s, const int8_t *codes,
                              struct qx_error *err)
{
    q->w4_unit = w4_unit(q);
    q->w4_is_f16 = s->scale == QX_SCALE_F16;
    q->w4_table = s->format->book ? s->format->book->level : NULL;
    const int64_t pairs = (q->k + 1) / 2;
    const int up = q->w4_table ? 0 : 8;
    q->w4_codes = qx_mem_zalloc((size_t)(q->oc * pairs));
    if (!q->w4_codes) {
        return qx_fail_nomem(err, (size_t)(q->oc * pairs));
    }
    for (int64_t o = 0; o < q->oc; o++) {
        for (int64_t i = 0; i < q->k; i++) {
            const int code = codes[weight_index(q, o, i)] + up;
            q->w4_codes[o * pairs + i / 2] |= (uint8_t)(code << i % 2 * 4);
        }
    }
    return QX_OK;
}

static enum qx_status pack_depthwise(struct qx_qlinear *q, const int8_t *codes,
                                     struct qx_error *err)
{
    if (!q->w_zero) {
        return qxk_dw_pack(&q->dw, codes, q->oc, q->k, err);
    }
    q->taps = qx_mem_array((size_t)q->k, (size_t)q->oc * sizeof *q->taps);
    if (!q->taps) {
        return qx_fail_nomem(err, (size_t)(q->k * q->oc) * sizeof *q->taps);
    }
    for (int64_t o = 0; o < q->oc; o++) {
        for (int64_t i = 0; i < q->k; i++) {
            q->taps[i * q->oc + o] = (float)(codes[o * q->k + i] - q->w_zero[o]);
        }
    }
    return QX_OK;
}

/* Scales and zeros of the units [n_units][oc] from the order in which the tensor has them. */
static enum qx_status spread_units(struct qx_qlinear *q, int64_t n_units, const float *scale,
                                   const int32_t *zero, struct qx_error *err)
{
    const size_t n = (size_t)(q->n_units * q->oc);
    bool any = false;
    q->w_scale = qx_mem_array(n, sizeof *q->w_scale);
    q->w_zero = qx_mem_array(n, sizeof *q->w_zero);
    if (!q->w_scale || !q->w_zero) {
        return qx_fail_nomem(err, n * sizeof *q->w_scale);
    }
    for (int64_t o = 0; o < q->oc; o++) {
        for (int64_t u = 0; u < q->n_units; u++) {
            const int64_t from = n_units == 1 ? 0 : o * q->n_units + u;
            q->w_scale[u * q->oc + o] = scale[from];
            q->w_zero[u * q->oc + o] = zero[from];
            any |= zero[from] != 0;
        }
    }
    if (!any) {
        qx_mem_free(q->w_zero);
        q->w_zero = NULL;
    }
    return QX_OK;
}

static enum qx_status pack_weight(struct qx_qlinear *q, const struct qx_weights *w,
                                  struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const struct qx_value *v = q->node->in[1];
    const struct qx_setting *s = &w->values[v->index].setting;
    const struct qx_layer *layer = &w->net->layers[w->net->layer_of_tensor[v->tensor]];
    const struct qx_tensor *t = qx_model_tensor(w->net->model, v->tensor);
    const int64_t n_units = qx_setting_units(s, layer->channels);
    q->unit = s->gran == QX_GRAN_GROUP && s->group < q->k ? s->group : q->k;
    q->n_units = (q->k + q->unit - 1) / q->unit;
    const bool is_w8 = s->format->kind == QX_FORMAT_AFFINE && q->n_units == 1;
    if (q->act.bits == 0 && (!qx_format_is_scaled(s->format) || !(is_w8 || is_w4(q, s)))) {
        return qx_packed_new(w, v, pool, ctl, &q->packed, err);
    }
    if (q->act.bits > 0 && q->n_units > 1 && q->unit > QXK_K_SPLIT) {
        return refuse(q->node, "its groups are longer than int32 sums allow", err);
    }
    if (q->kind == QX_QDEPTHWISE && (q->n_units > 1 || q->k > QXK_DW_TAPS)) {
        q->kind = QX_QCONV; /* beyond the depthwise kernel: as any grouped convolution */
    }
    int8_t *codes = qx_mem_array((size_t)t->numel, sizeof *codes);
    float *scale = qx_mem_array((size_t)n_units, sizeof *scale);
    int32_t *zero = qx_mem_array((size_t)n_units, sizeof *zero);
    enum qx_status st =
        codes && scale && zero ? QX_OK : qx_fail_nomem(err, (size_t)t->numel * sizeof *codes);
    if (st == QX_OK) {
        st = qx_quantize_tensor(t, layer->channels, s, pool, ctl, codes, scale, zero, err);
    }
    if (st == QX_OK) {
        st = spread_units(q, n_units, scale, zero, err);
    }
    if (st == QX_OK) {
        st = q->kind == QX_QDEPTHWISE ? pack_depthwise(q, codes, err)
             : is_w4(q, s)            ? keep_w4(q, s, codes, err)
                                      : pack(q, codes, ctl, err);
    }
    qx_mem_free(codes);
    qx_mem_free(scale);
    qx_mem_free(zero);
    if (st == QX_OK) {
        qx_map_dontneed(t->data, (size_t)t->bytes); /* only the codes are read from here on */
    }
    return st;
}

static enum qx_status epilogue(struct qx_qlinear *q, const struct qx_weights *w,
                               struct qx_error *err)
{
    const struct qx_node *node = q->node;
    const struct qx_value *b = node->n_in > 2 ? node->in[2] : NULL;
    const bool is_gemm = qx_node_is(node, "Gemm");
    const double alpha = is_gemm ? (double)(float)qx_node_attr(node, "alpha")->f : 1.0;
    const double beta = is_gemm ? (double)(float)qx_node_attr(node, "beta")->f : 1.0;
    const size_t bytes = (size_t)q->oc * sizeof(float);
    q->scale = qx_mem_alloc(bytes);
    q->bias = qx_mem_alloc(bytes);
    q->folded = qx_mem_alloc(bytes);
    if (!q->scale || !q->bias || !q->folded) {
        return qx_fail_nomem(err, bytes);
    }
    const struct qx_overlay *by_method = qx_setting_overlay(&w->values[node->in[1]->index].setting);
    for (int64_t o = 0; o < q->oc; o++) {
        q->scale[o] =
            (float)alpha * (by_method && by_method->out_scale ? by_method->out_scale[o] : 1.0f);
        q->bias[o] = b ? (float)(beta * (double)w->values[b->index].data[o]) : 0.0f;
        q->bias[o] += by_method && by_method->bias ? by_method->bias[o] : 0.0f;
        q->bias[o] += q->beside.sub ? (float)(alpha * qx_overlay_shifted(by_method, o)) : 0.0f;
    }
    for (int64_t i = 0; i < q->oc * q->beside.n_kept; i++) {
        q->kept_values[i] *= (float)alpha;
    }
    qx_qlinear_affine(q, NULL, NULL);
    return QX_OK;
}

void qx_qlinear_affine(struct qx_qlinear *q, const double *scale, const double *shift)
{
    for (int64_t o = 0; o < q->oc; o++) {
        const double s = scale ? scale[o] : 1.0, t = shift ? shift[o] : 0.0;
        q->scale[o] = (float)((double)q->scale[o] * s);
        q->bias[o] = (float)((double)q->bias[o] * s + t);
        q->folded[o] = (float)((q->w_scale ? (double)q->w_scale[o] : 1.0) * (double)q->scale[o]);
        for (int64_t i = 0; i < q->beside.n_kept; i++) {
            float *v = &q->kept_values[o * q->beside.n_kept + i];
            *v = (float)((double)*v * s);
        }
    }
}

enum qx_status qx_qlinear_new(const struct qx_weights *w, const struct qx_node *node,
                              struct qx_pool *pool, struct qx_ctl *ctl, struct qx_qlinear **out,
                              struct qx_error *err)
{
    const struct qx_layer *layer = &w->net->layers[w->net->layer_of_tensor[node->in[1]->tensor]];
    const struct qx_act *act = qx_node_act(w, node);
    const struct qx_overlay *by_method = qx_setting_overlay(&w->values[node->in[1]->index].setting);
    struct qx_qlinear *q = qx_mem_zalloc(sizeof *q);
    if (!q) {
        return qx_fail_nomem(err, sizeof *q);
    }
    q->node = node;
    if (act) {
        q->act = by_method ? qx_overlay_act(by_method, act) : *act;
    }
    if (act && !act->dynamic) {
        const struct qx_qparams p = qx_act_qparams(&q->act, 0.0f, 0.0f);
        q->in = qx_codes_of(&p);
    }
    const bool is_conv = qx_node_is(node, "Conv");
    enum qx_status st = is_conv && !act ? refuse(node, "weights only of a convolution", err)
                        : is_conv       ? conv_shape(q, err)
                                        : matrix_shape(q, err);
    if (st == QX_OK && layer->axis != node->op->weight_axis(node)) {
        st = refuse(node, "its weight is shared with a node that has its outputs elsewhere", err);
    }
    if (st == QX_OK && by_method) {
        st = qx_qbeside_set(q, by_method, err);
    }
    if (st == QX_OK) {
        st = pack_weight(q, w, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = epilogue(q, w, err);
    }
    if (st != QX_OK) {
        qx_qlinear_free(q);
        return st;
    }
    *out = q;
    return QX_OK;
}

void qx_qlinear_free(struct qx_qlinear *q)
{
    if (!q) {
        return;
    }
    for (int64_t i = 0; q->w8 && i < q->group * q->n_units; i++) {
        qxk_w8_release(&q->w8[i]);
    }
    qx_mem_free(q->w8);
    for (int64_t g = 0; q->w4 && g < q->group; g++) {
        qxk_w4_release(&q->w4[g]);
    }
    qx_mem_free(q->w4);
    qx_mem_free(q->w4_bias);
    qx_mem_free(q->w4_codes);
    qx_packed_free(q->packed);
    qxk_dw_release(&q->dw);
    qx_mem_free(q->taps);
    qx_mem_free(q->w_scale);
    qx_mem_free(q->w_zero);
    qx_mem_free(q->scale);
    qx_mem_free(q->bias);
    qx_mem_free(q->folded);
    qx_mem_free(q->kept_values);
    qx_mem_free(q);
}

size_t qx_qlinear_bytes(const struct qx_qlinear *q)
{
    size_t bytes = q->packed ? q->packed->bytes : 0;
    for (int64_t i = 0; q->w8 && i < q->group * q->n_units; i++) {
        const struct qxk_w8 *w = &q->w8[i];
        bytes += (size_t)(w->n_panels * w->panel * (4 * w->k_steps + (int64_t)sizeof *w->col_sum));
    }
    for (int64_t g = 0; q->w4 && g < q->group; g++) {
        bytes += (size_t)(q->w4[g].n_panels * q->w4[g].n_groups * q->w4[g].group_bytes);
    }
    if (q->dw.data) {
        const int64_t padded = (q->oc + QXK_PANEL - 1) / QXK_PANEL * QXK_PANEL;
        bytes += (size_t)(padded * (q->dw.tap_pairs * 4 + (int64_t)sizeof(int32_t)));
    }
    const size_t per_output = q->w4 || !q->w_scale ? 0 : (size_t)q->n_units;
    return bytes + (q->taps ? (size_t)(q->k * q->oc) * sizeof *q->taps : 0) +
           (size_t)q->oc * (per_output + (size_t)q->beside.n_kept) * sizeof(float);
}

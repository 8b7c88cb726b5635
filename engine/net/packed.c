#include "net/packed.h"

#include "qx/overlay.h"

#include "base/error.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "format/block.h"
#include "kernels/pages.h"

#include <string.h>

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Where a row's runs begin: each starts at a byte. */
static size_t run_bytes(const struct qx_packed *p)
{
    return p->kind == QX_PACKED_NIBBLE ? (size_t)(p->unit + 1) / 2 : (size_t)p->unit;
}

/* ---- 16 bits ---- */

/* Values of a tensor that are read at a time. */
#define READ_VALUES (INT64_C(1) << 16)

static enum qx_status half_fill(struct qx_packed *p, const struct qx_tensor *t,
                                qxk_from_f32_fn *narrow, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    float *values = qx_mem_array((size_t)smaller(READ_VALUES, t->numel), sizeof *values);
    if (!values) {
        return qx_fail_nomem(err, (size_t)READ_VALUES * sizeof *values);
    }
    for (int64_t at = 0; st == QX_OK && at < t->numel; at += READ_VALUES) {
        const int64_t n = smaller(READ_VALUES, t->numel - at);
        st = qx_tensor_read(t, at, n, values, err);
        if (st == QX_OK) {
            narrow(values, (size_t)n, p->data + (size_t)at * sizeof(uint16_t));
            qx_tensor_passed(t, at, n);
        }
    }
    qx_mem_free(values);
    return st;
}

static void half_set(struct qx_packed *p, bool is_bf16)
{
    const struct qxk_table *kernels = qxk_get();
    p->kind = QX_PACKED_HALF;
    p->row_bytes = (size_t)p->row * sizeof(uint16_t);
    p->bytes = (size_t)(p->rows * p->row) * sizeof(uint16_t);
    p->widen = is_bf16 ? kernels->bf16_to_f32 : kernels->f16_to_f32;
    p->gemv = is_bf16 ? kernels->gemv_bf16 : kernels->gemv_f16;
}

static enum qx_status half_new(struct qx_packed *p, const struct qx_format *format,
                               const struct qx_tensor *t, struct qx_error *err)
{
    const bool is_bf16 = strcmp(format->name, "bf16") == 0;
    half_set(p, is_bf16);
    p->data = qxk_pages_alloc(p->bytes, &p->pages);
    if (!p->data) {
        return qx_fail_nomem(err, p->bytes);
    }
    return half_fill(p, t, is_bf16 ? qxk_get()->f32_to_bf16 : qxk_get()->f32_to_f16, err);
}

/* ---- blocks ---- */

static enum qx_status blocks_new(struct qx_packed *p, const struct qx_tensor *t,
                                 const struct qx_setting *s, struct qx_channels c,
                                 struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const size_t n = (size_t)qx_setting_units(s, c);
    p->kind = QX_PACKED_BLOCK;
    p->block = s->format->block;
    p->is_columns = c.outer > 1;
    p->bytes = n * (size_t)p->block->bytes + sizeof *p->scale;
    p->row_bytes = n / (size_t)c.count * (size_t)p->block->bytes; /* of a channel */
    p->data = qx_mem_array(n, (size_t)p->block->bytes);
    p->scale = qx_mem_alloc(sizeof *p->scale);
    if (!p->data || !p->scale) {
        return qx_fail_nomem(err, p->bytes);
    }
    return qx_encode_tensor(t, c, s, pool, ctl, p->data, p->scale, err);
}

/* Columns: rows first .. first + n - 1, from the blocks of every channel that hold them. */
static void columns_of_blocks(const struct qx_packed *p, int64_t first, int64_t n, float *out)
{
    const int64_t size = p->block->n;
    for (int64_t j = 0; j < p->row; j++) {
        const uint8_t *data = p->data + (size_t)j * p->row_bytes;
        for (int64_t b = first / size; b * size < first + n; b++) {
            float x[QX_BLOCK_MOST];
            qx_block_decode(p->block, data + b * p->block->bytes, 1, x);
            for (int64_t i = 0; i < size; i++) {
                const int64_t r = b * size + i - first;
                if (r >= 0 && r < n) {
                    out[r * p->row + j] = x[i] * *p->scale;
                }
            }
        }
    }
}

static void blocks_decode(const struct qx_packed *p, int64_t r, float *out)
{
    const uint8_t *data = p->data + (size_t)r * p->row_bytes;
    const int64_t n = p->block->n, whole = p->row / n;
    qx_block_decode(p->block, data, (size_t)whole, out);
    if (whole * n < p->row) {
        float last[QX_BLOCK_MOST];
        qx_block_decode(p->block, data + whole * p->block->bytes, 1, last);
        memcpy(out + whole * n, last, (size_t)(p->row - whole * n) * sizeof *out);
    }
    for (int64_t i = 0; *p->scale != 1.0f && i < p->row; i++) {
        out[i] *= *p->scale;
    }
}

/* ---- codes ---- */

static bool code_layout(struct qx_packed *p, const struct qx_setting *s, struct qx_channels c)
{
    p->book = s->format->book;
    p->is_one = s->gran == QX_GRAN_TENSOR;
    p->is_columns = !p->is_one && c.outer > 1;
    if (p->is_columns && c.inner > 1) {
        return false;
    }
    const int64_t inputs = p->is_columns ? p->rows : p->row;
    p->unit = s->gran == QX_GRAN_GROUP ? smaller(s->group, inputs) : inputs;
    p->n_units = (inputs + p->unit - 1) / p->unit;
    const int bits = p->book ? p->book->bits : s->bits;
    p->kind = bits <= 4 && !p->is_columns ? QX_PACKED_NIBBLE : QX_PACKED_BYTE;
    p->row_bytes = p->is_columns ? (size_t)p->row : run_bytes(p) * (size_t)p->n_units;
    return true;
}

static void nibbles_put(const struct qx_packed *p, uint8_t *out, const int8_t *codes, int64_t n)
{
    const int up = p->book ? 0 : 8;
    for (int64_t i = 0; i < n; i++) {
        out[i / 2] |= (uint8_t)((codes[i] + up) << i % 2 * 4);
    }
}

static void codes_put(struct qx_packed *p, const int8_t *codes)
{
    for (int64_t r = 0; r < p->rows; r++, codes += p->row) {
        uint8_t *out = p->data + (size_t)r * p->row_bytes;
        for (int64_t at = 0; p->kind == QX_PACKED_NIBBLE && at < p->row; at += p->unit) {
            nibbles_put(p, out, codes + at, smaller(p->unit, p->row - at));
            out += run_bytes(p);
        }
        if (p->kind == QX_PACKED_BYTE) {
            memcpy(out, codes, (size_t)p->row);
        }
    }
}

/* Columns: from [column][unit] to [unit][column]. */
static void scales_turn(struct qx_packed *p, const float *scale, const int32_t *zero)
{
    for (int64_t u = 0; u < p->n_units; u++) {
        for (int64_t j = 0; j < p->row; j++) {
            p->scale[u * p->row + j] = scale[j * p->n_units + u];
            p->zero[u * p->row + j] = zero[j * p->n_units + u];
        }
    }
}

/* Zero points that are all 0 need no memory. */
static void zeros_drop(struct qx_packed *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p->zero[i] != 0) {
            return;
        }
    }
    qx_mem_free(p->zero);
    p->zero = NULL;
    p->bytes -= n * sizeof *p->zero;
}

static enum qx_status codes_new(struct qx_packed *p, const struct qx_tensor *t,
                                const struct qx_setting *s, struct qx_channels c,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const size_t n = (size_t)t->numel, n_units = (size_t)qx_setting_units(s, c);
    int8_t *codes = qx_mem_array(n, sizeof *codes);
    float *scale = qx_mem_array(n_units, sizeof *scale);
    int32_t *zero = qx_mem_array(n_units, sizeof *zero);
    size_t bytes;
    enum qx_status st = QX_OK;
    if (!qx_size_mul((size_t)p->rows, p->row_bytes, &bytes)) {
        bytes = SIZE_MAX;
    }
    p->data = qx_mem_zalloc(bytes);
    p->scale = qx_mem_array(n_units, sizeof *p->scale);
    p->zero = qx_mem_array(n_units, sizeof *p->zero);
    p->bytes = bytes + n_units * (sizeof *p->scale + sizeof *p->zero);
    if (!codes || !scale || !zero || !p->data || !p->scale || !p->zero) {
        st = qx_fail_nomem(err, bytes);
    }
    if (st == QX_OK) {
        st = qx_quantize_tensor(t, c, s, pool, ctl, codes, scale, zero, err);
    }
    if (st == QX_OK) {
        codes_put(p, codes);
        if (p->is_columns) {
            scales_turn(p, scale, zero);
        } else {
            memcpy(p->scale, scale, n_units * sizeof *scale);
            memcpy(p->zero, zero, n_units * sizeof *zero);
            zeros_drop(p, n_units);
        }
    }
    qx_mem_free(codes);
    qx_mem_free(scale);
    qx_mem_free(zero);
    return st;
}

static bool is_stored_half(const struct qx_tensor *t)
{
    return t->dtype == QX_DTYPE_F16 || t->dtype == QX_DTYPE_BF16;
}

bool qx_weight_is_packed(const struct qx_weights *w, const struct qx_value *v)
{
    return !qx_setting_is_fp32(&w->values[v->index].setting) ||
           (!w->has_act && is_stored_half(qx_model_tensor(w->net->model, v->tensor)));
}

static void half_borrow(struct qx_packed *p, const struct qx_tensor *t)
{
    half_set(p, t->dtype == QX_DTYPE_BF16);
    p->stored = t->data;
}

bool qx_weight_has_factors(const struct qx_weights *w, const struct qx_value *v)
{
    const struct qx_overlay *o = qx_setting_overlay(&w->values[v->index].setting);
    return o && (o->out_scale || o->in_scale || o->n_kept > 0);
}

enum qx_status qx_packed_new(const struct qx_weights *w, const struct qx_value *v,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_packed **out,
                             struct qx_error *err)
{
    const struct qx_tensor *t = qx_model_tensor(w->net->model, v->tensor);
    const struct qx_setting *s = &w->values[v->index].setting;
    const struct qx_channels c = w->net->layers[w->net->layer_of_tensor[v->tensor]].channels;
    struct qx_packed *p = qx_mem_zalloc(sizeof *p);
    if (!p) {
        return qx_fail_nomem(err, sizeof *p);
    }
    p->rows = t->rank > 0 ? t->shape[0] : 1;
    p->row = p->rows > 0 ? t->numel / p->rows : 0;
    if (t->numel > 0 && qx_setting_is_fp32(s) && is_stored_half(t)) {
        half_borrow(p, t);
        *out = p;
        return QX_OK;
    }
    enum qx_status st = qx_fail(err, QX_EUNSUPPORTED, "'%.100s' has no packed form", v->name);
    if (t->numel > 0 && s->format->kind == QX_FORMAT_FLOAT && s->format->max_bits == 16) {
        st = half_new(p, s->format, t, err);
    } else if (t->numel > 0 && s->format->block &&
               (c.outer == 1 ? c.count == p->rows : c.outer == p->rows && c.inner == 1)) {
        st = blocks_new(p, t, s, c, pool, ctl, err);
    } else if (t->numel > 0 && qx_format_is_scaled(s->format) && code_layout(p, s, c)) {
        st = codes_new(p, t, s, c, pool, ctl, err);
    }
    if (st != QX_OK) {
        qx_packed_free(p);
        return st;
    }
    qx_map_dontneed(t->data, (size_t)t->bytes); /* its pages come back when they are read again */
    *out = p;
    return QX_OK;
}

void qx_packed_free(struct qx_packed *p)
{
    if (p) {
        if (p->kind == QX_PACKED_HALF) {
            qxk_pages_free(p->pages);
        } else {
            qx_mem_free(p->data);
        }
        qx_mem_free(p->scale);
        qx_mem_free(p->zero);
        qx_mem_free(p);
    }
}

/* ---- decoding ---- */

static void run_decode(const struct qx_packed *p, const uint8_t *codes, int64_t n, float scale,
                       int32_t zero, float *out)
{
    float table[16];
    if (p->kind == QX_PACKED_BYTE && !p->book) {
        qxk_get()->s8_to_f32((const int8_t *)codes, (size_t)n, zero, scale, out);
        return;
    }
    if (p->kind == QX_PACKED_BYTE) {
        for (int64_t i = 0; i < n; i++) {
            out[i] = p->book->level[codes[i]] * scale;
        }
        return;
    }
    for (int i = 0; i < 16; i++) {
        table[i] = p->book ? p->book->level[i] * scale : (float)(i - 8 - zero) * scale;
    }
    qxk_get()->u4_to_f32(codes, (size_t)n, table, out);
}

static void columns_decode(const struct qx_packed *p, const uint8_t *codes, const float *scale,
                           const int32_t *zero, float *out)
{
    for (int64_t j = 0; p->book && j < p->row; j++) {
        out[j] = p->book->level[codes[j]] * scale[j];
    }
    for (int64_t j = 0; !p->book && j < p->row; j++) {
        out[j] = (float)((int8_t)codes[j] - zero[j]) * scale[j];
    }
}

static void row_decode(const struct qx_packed *p, int64_t r, float *out)
{
    const uint8_t *codes = p->data + (size_t)r * p->row_bytes;
    if (p->is_columns) {
        const int64_t at = r / p->unit * p->row;
        columns_decode(p, codes, p->scale + at, p->zero + at, out);
        return;
    }
    for (int64_t u = 0; u < p->n_units; u++, codes += run_bytes(p)) {
        const int64_t first = u * p->unit, unit = p->is_one ? 0 : r * p->n_units + u;
        run_decode(p, codes, smaller(p->unit, p->row - first), p->scale[unit],
                   p->zero ? p->zero[unit] : 0, out + first);
    }
}

void qx_packed_rows(const struct qx_packed *p, int64_t first, int64_t n, float *out)
{
    if (p->kind == QX_PACKED_HALF) {
        p->widen((p->stored ? p->stored : p->data) + (size_t)first * p->row_bytes,
                 (size_t)(n * p->row), out);
        return;
    }
    if (p->kind == QX_PACKED_BLOCK && p->is_columns) {
        columns_of_blocks(p, first, n, out);
        return;
    }
    for (int64_t r = first; r < first + n; r++, out += p->row) {
        (p->kind == QX_PACKED_BLOCK ? blocks_decode : row_decode)(p, r, out);
    }
}

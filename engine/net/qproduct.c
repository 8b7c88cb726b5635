/* Products of codes with packed weights, and what happens to the sums. */
#include "net/qlinear.h"

#include <string.h>

/* Inputs of a dynamic act are ranged in blocks. */
static void range_of(const float *x, int64_t n, float *lo, float *hi)
{
    struct qxk_stats all = qxk_stats_zero();
    for (int64_t at = 0; at < n; at += QXK_STATS_BLOCK) {
        struct qxk_stats part;
        const int64_t len = n - at < QXK_STATS_BLOCK ? n - at : QXK_STATS_BLOCK;
        qxk_get()->stats_f32(x + at, (size_t)len, &part);
        qxk_stats_merge(&all, &part);
    }
    *lo = all.min;
    *hi = all.max;
}

struct qx_qparams qx_qinput_params(const struct qx_act *act, const float *x, int64_t n)
{
    float lo = 0.0f, hi = 0.0f;
    if (act->dynamic) {
        range_of(x, n, &lo, &hi);
    }
    return qx_act_qparams(act, lo, hi);
}

int64_t qx_qinput(const struct qx_qlinear *q, const float *x, int64_t n, uint8_t *codes,
                  struct qx_codes *used)
{
    *used = q->in;
    if (q->act.dynamic) {
        const struct qx_qparams p = qx_qinput_params(&q->act, x, n);
        *used = qx_codes_of(&p);
    }
    const struct qxk_affine affine = {used->scale, (float)used->zero, (float)used->min,
                                      (float)used->max};
    return qxk_get()->quantize(x, (size_t)n, &affine, codes);
}

void qx_qfinish(const struct qx_qlinear *q, const float *v, int64_t n, bool is_codes, void *y)
{
    const struct qxk_affine affine = {q->out.scale, (float)q->out.zero, (float)q->out.min,
                                      (float)q->out.max};
    if (is_codes) {
        qxk_get()->quantize(v, (size_t)n, &affine, y);
    } else {
        memcpy(y, v, (size_t)n * sizeof *v);
    }
}

/* Sums of a row's codes from k0 on: weights with zero points need them. */
static void sum_rows(const struct qx_qproduct *p, int64_t k0, int64_t k, int32_t *out)
{
    for (int64_t m = 0; m < p->m; m++) {
        const uint8_t *a = p->a + m * p->lda + k0;
        int32_t sum = 0;
        for (int64_t i = 0; i < k; i++) {
            sum += a[i];
        }
        out[m] = sum;
    }
}

struct qxk_epilogue qx_qepilogue(const struct qx_qlinear *q, int64_t g, const float *a_scale,
                                 const int32_t *a_zero, int step, bool is_codes)
{
    return (struct qxk_epilogue){.out = is_codes ? QXK_OUT_U8 : QXK_OUT_F32,
                                 .act = q->fused,
                                 .act_lo = q->act_lo,
                                 .act_hi = q->act_hi,
                                 .a_scale = a_scale,
                                 .a_scale_step = step,
                                 .a_zero = a_zero,
                                 .a_zero_step = step,
                                 .w_scale = q->folded + g * q->n,
                                 .w_scale_step = 1,
                                 .bias = q->bias + g * q->n,
                                 .y_inv_scale = is_codes ? 1.0f / q->out.scale : 0.0f,
                                 .y_zero = (float)q->out.zero,
                                 .y_min = (float)q->out.min,
                                 .y_max = (float)q->out.max};
}

static void product_whole(const struct qx_qproduct *p)
{
    const struct qx_qlinear *q = p->q;
    const int64_t first = p->g * q->n;
    struct qx_cut cut = {p->scratch, 0};
    struct qxk_gemm8 gemm = {
        .w = &q->w8[p->g],
        .a = p->a,
        .y = p->is_codes ? (void *)((uint8_t *)p->y + first) : (void *)((float *)p->y + first),
        .m = p->m,
        .lda = p->lda,
        .ldy = q->oc,
        .ep = qx_qepilogue(q, p->g, p->rows.scale, p->rows.zero, p->rows.step, p->is_codes)};
    if (q->w_zero) {
        int32_t *sum = qx_cut_take(&cut, (size_t)p->m * sizeof *sum);
        sum_rows(p, 0, q->k, sum);
        gemm.ep.w_zero = q->w_zero + first;
        gemm.ep.w_zero_step = 1;
        gemm.ep.a_sum = sum;
    }
    if (p->pool) {
        (void)qxk_gemm8(p->pool, &gemm, false, NULL); /* fails for plain sums only */
    } else {
        qxk_get()->gemm_u8s8(&gemm, 0, p->m, 0, gemm.w->n_panels);
    }
}

void qx_qact_row(const struct qx_qlinear *q, enum qxk_act act, int64_t n, float *v)
{
    if (act == QXK_ACT_GELU) {
        qxk_get()->gelu(v, n, v);
    } else if (act == QXK_ACT_GELU_TANH) {
        qxk_get()->gelu_tanh(v, n, v);
    }
    for (int64_t i = 0; act == QXK_ACT_RELU && i < n; i++) {
        v[i] = v[i] > 0.0f ? v[i] : 0.0f;
    }
    for (int64_t i = 0; act == QXK_ACT_CLIP && i < n; i++) {
        v[i] = v[i] < q->act_lo ? q->act_lo : v[i] > q->act_hi ? q->act_hi : v[i];
    }
}

/* Exact sums of one unit, scaled and added. */
static void unit_add(const struct qx_qproduct *p, int64_t u, int32_t *sums, int32_t *row_sum,
                     float *v)
{
    const struct qx_qlinear *q = p->q;
    const int64_t first = p->g * q->n, k0 = u * q->unit;
    const struct qxk_w8 *w = &q->w8[p->g * q->n_units + u];
    const float *scale = q->w_scale + u * q->oc + first;
    struct qxk_epilogue e = {
        .out = QXK_OUT_S32, .a_zero = p->rows.zero, .a_zero_step = p->rows.step};
    if (q->w_zero) {
        sum_rows(p, k0, w->k, row_sum);
        e.w_zero = q->w_zero + u * q->oc + first;
        e.w_zero_step = 1;
        e.a_sum = row_sum;
    }
    const struct qxk_gemm8 gemm = {
        .w = w, .a = p->a + k0, .y = sums, .m = p->m, .lda = p->lda, .ldy = q->n, .ep = e};
    qxk_get()->gemm_u8s8(&gemm, 0, p->m, 0, w->n_panels);
    for (int64_t m = 0; m < p->m; m++) {
        for (int64_t o = 0; o < q->n; o++) {
            v[m * q->n + o] += (float)sums[m * q->n + o] * scale[o];
        }
    }
}

/* A scale for each group of inputs: unit by unit. */
static void product_units(const struct qx_qproduct *p)
{
    const struct qx_qlinear *q = p->q;
    const int64_t first = p->g * q->n;
    const size_t n = (size_t)(p->m * q->n);
    struct qx_cut cut = {p->scratch, 0};
    float *v = qx_cut_take(&cut, n * sizeof *v);
    int32_t *sums = qx_cut_take(&cut, n * sizeof *sums);
    int32_t *row_sum = qx_cut_take(&cut, (size_t)p->m * sizeof *row_sum);
    memset(v, 0, n * sizeof *v);
    for (int64_t u = 0; u < q->n_units; u++) {
        unit_add(p, u, sums, row_sum, v);
    }
    for (int64_t m = 0; m < p->m; m++) {
        float *row = v + m * q->n;
        const float a_scale = p->rows.scale[m * p->rows.step];
        for (int64_t o = 0; o < q->n; o++) {
            row[o] = row[o] * (a_scale * q->scale[first + o]) + q->bias[first + o];
        }
        qx_qact_row(q, q->fused, q->n, row);
        void *y = p->is_codes ? (void *)((uint8_t *)p->y + m * q->oc + first)
                              : (void *)((float *)p->y + m * q->oc + first);
        qx_qfinish(q, row, q->n, p->is_codes, y);
    }
}

/* Codes as the 4-bit kernel takes them: signed, with zeros behind the last input. */
static void w4_rows(const struct qx_qproduct *p, int64_t lda, uint8_t *a)
{
    const int64_t k = p->q->k;
    for (int64_t m = 0; m < p->m; m++, a += lda) {
        const uint8_t *from = p->a + m * p->lda;
        for (int64_t i = 0; i < k; i++) {
            a[i] = from[i] ^ 0x80;
        }
        memset(a + k, 0, (size_t)(lda - k));
    }
}

static void product_w4(const struct qx_qproduct *p)
{
    const struct qx_qlinear *q = p->q;
    const int64_t first = p->g * q->n, lda = q->n_units * q->unit;
    struct qx_cut cut = {p->scratch, 0};
    int32_t *sums = qx_cut_take(&cut, (size_t)(p->m * q->n_units) * sizeof *sums);
    const int8_t *a = (const int8_t *)p->a;
    if (!p->is_signed && !p->sums) {
        uint8_t *rows = qx_cut_take(&cut, (size_t)(p->m * lda));
        w4_rows(p, lda, rows);
        a = (const int8_t *)rows;
    }
    if (!p->sums) {
        qxk_get()->sums_s8(a, p->m * q->n_units, q->unit, -8, sums);
    }
    struct qxk_gemm4 gemm = {
        .w = &q->w4[p->g],
        .a = a,
        .group_sum = p->sums ? p->sums : sums,
        .y = p->is_codes ? (void *)((uint8_t *)p->y + first) : (void *)((float *)p->y + first),
        .m = p->m,
        .lda = lda,
        .ldy = q->oc,
        .ep = qx_qepilogue(q, p->g, p->rows.scale, NULL, p->rows.step, p->is_codes)};
    gemm.ep.bias = q->w4_bias + first;
    if (p->pool) {
        qxk_gemm4(p->pool, &gemm);
    } else {
        qxk_get()->gemm_s8s4(&gemm, 0, p->m, 0, gemm.w->n_panels);
    }
}

void qx_qproduct_run(const struct qx_qproduct *p)
{
    if (p->q->w4) {
        product_w4(p);
    } else if (p->q->n_units == 1) {
        product_whole(p);
    } else {
        product_units(p);
    }
}

size_t qx_qproduct_scratch(const struct qx_qlinear *q, int64_t m)
{
    struct qx_cut cut = {0};
    if (q->w4) {
        qx_cut_take(&cut, (size_t)(m * q->n_units * q->unit));
        qx_cut_take(&cut, (size_t)(m * q->n_units) * sizeof(int32_t));
    } else if (q->n_units > 1) {
        qx_cut_take(&cut, (size_t)(m * q->n) * sizeof(float));
        qx_cut_take(&cut, (size_t)(m * q->n) * sizeof(int32_t));
    }
    qx_cut_take(&cut, (size_t)m * sizeof(int32_t));
    return cut.used;
}

void qx_bytes_turn(const uint8_t *x, int64_t c, int64_t places, uint8_t *out)
{
    if (c == 1 || places == 1) {
        memcpy(out, x, (size_t)(c * places));
        return;
    }
    qxk_get()->turn_u8(x, c, places, places, out, c);
}

/* ---- matrices ---- */

/* Inputs that share a sum of codes: the 4-bit kernel takes signed codes and such sums. 0: u8 codes. */
static int64_t unit_of(const struct qx_qlinear *q)
{
    return q->w4 && q->act.dynamic && q->act.gran == QX_ACT_TOKEN ? q->unit : 0;
}

size_t qx_qrows_cut(const struct qx_qlinear *q, int64_t m, uint8_t *base, struct qx_qtokens *out)
{
    struct qx_cut cut = {base, 0};
    const int64_t unit = unit_of(q), n_units = unit ? q->n_units : 0;
    out->lda = unit ? n_units * unit : q->k;
    out->codes = qx_cut_take(&cut, (size_t)(m * out->lda));
    out->scale = qx_cut_take(&cut, (size_t)m * sizeof *out->scale);
    out->zero = qx_cut_take(&cut, (size_t)m * sizeof *out->zero);
    out->sums = qx_cut_take(&cut, (size_t)(m * n_units) * sizeof *out->sums);
    return cut.used;
}

int64_t qx_qtokens_row(const struct qx_qlinear *q, const struct qx_qtokens *t, int64_t i,
                       const float *x)
{
    const int64_t unit = unit_of(q);
    struct qxk_row_codes row = {.q = t->codes + i * t->lda,
                                .sums = unit ? t->sums + i * q->n_units : NULL,
                                .group = unit,
                                .sum_factor = -8};
    const int64_t n = q->act.sym ? qxk_get()->quant_row(x, q->k, q->act.bits, !unit, &row)
                                 : qxk_get()->quant_row_asym(x, q->k, q->act.bits, &row);
    t->scale[i] = row.scale;
    t->zero[i] = row.zero;
    return n;
}

bool qx_qkept_is(const struct qx_qkept *kept, const struct qx_qlinear *q)
{
    return kept->value == q->node->in[0]->index && kept->unit == unit_of(q) &&
           kept->beside == q->beside_hash && qx_act_equal(&kept->act, &q->act);
}

void qx_qkept_set(struct qx_qkept *kept, const struct qx_qlinear *q, int64_t n_nonfinite)
{
    kept->value = q->node->in[0]->index;
    kept->unit = unit_of(q);
    kept->act = q->act;
    kept->beside = q->beside_hash;
    kept->n_nonfinite = n_nonfinite;
}

/* Codes of one sample in the order of the matrix; `used` is for all its rows. */
static const uint8_t *matrix_static(struct qx_qrun *r, const float *x, uint8_t *codes,
                                    int64_t numel)
{
    const struct qx_exec_value *v = r->in_value;
    struct qx_codes used;
    if (v->form != QX_FORM_CODES) {
        r->n_nonfinite += qx_qinput(r->q, x, numel, codes, &used);
        return codes;
    }
    if (!v->is_last || v->c == 1 || v->places == 1) {
        return r->in;
    }
    const int64_t size = v->c * v->places;
    for (int64_t s = 0; s < r->rows; s++) {
        qx_bytes_turn((const uint8_t *)r->in + s * size, v->places, v->c, codes + s * size);
    }
    return codes;
}

/* Every row (or sample) has its own range. What the product before has left is used again. */
static void matrix_dynamic(struct qx_qrun *r, const float *x, const struct qx_qtokens *t, int64_t m)
{
    const struct qx_qlinear *q = r->q;
    const bool is_ragged = q->node->in[0]->shape.is_ragged;
    int64_t n_nonfinite = 0;
    if (qx_qkept_is(r->kept, q)) {
        r->n_nonfinite += r->kept->n_nonfinite;
        return;
    }
    for (int64_t i = 0; q->act.gran == QX_ACT_TOKEN && i < m; i++) {
        n_nonfinite += qx_qtokens_row(q, t, i, x + i * q->k);
    }
    for (int64_t i = 0, row = 0, n; q->act.gran == QX_ACT_TENSOR && i < m; i += n, row++) {
        struct qx_codes used;
        n = is_ragged ? r->start[row + 1] - r->start[row] : m / r->rows;
        n_nonfinite += qx_qinput(q, x + i * q->k, n * q->k, t->codes + i * q->k, &used);
        for (int64_t j = i; j < i + n; j++) {
            t->scale[j] = used.scale;
            t->zero[j] = used.zero;
        }
    }
    qx_qkept_set(r->kept, q, n_nonfinite);
    r->n_nonfinite += n_nonfinite;
}

/* The codes as the shape says, u8. */
static void matrix_record(const struct qx_qproduct *p, uint8_t *record)
{
    for (int64_t i = 0; i < p->m; i++) {
        const uint8_t *from = p->a + i * p->lda;
        for (int64_t j = 0; j < p->q->k; j++) {
            *record++ = p->sums ? from[j] ^ 0x80 : from[j];
        }
    }
}

static void matrix_run(struct qx_qrun *r)
{
    const struct qx_qlinear *q = r->q;
    const struct qx_extent extent = {r->rows, r->start};
    const int64_t numel = qx_shape_count(&q->node->in[0]->shape, &extent), m = numel / q->k;
    struct qx_qtokens t;
    const bool is_codes = r->out_value->form == QX_FORM_CODES;
    struct qx_qmatrix own;
    qx_qrows_cut(q, m, r->kept->base, &t);
    qx_qbeside_begin(q, r->in, m, r->scratch, &own);
    const float *x = own.x ? own.x : r->in;
    struct qx_qproduct p = {.q = q,
                            .m = m,
                            .lda = t.lda,
                            .rows = {&q->in.scale, &q->in.zero, 0},
                            .is_codes = is_codes && !own.y,
                            .y = own.y ? own.y : r->out,
                            .scratch = own.rest,
                            .pool = r->pool};
    if (q->act.dynamic) {
        matrix_dynamic(r, x, &t, m);
        p.a = t.codes;
        p.sums = unit_of(q) ? t.sums : NULL;
        p.rows = (struct qx_qrows){t.scale, t.zero, 1};
    } else {
        r->kept->value = -1;
        p.a = matrix_static(r, x, t.codes, numel);
    }
    if (r->record) {
        matrix_record(&p, r->record);
    }
    qx_qproduct_run(&p);
    if (own.y) {
        qx_qbeside_end(q, &own, m, is_codes, r->out);
    }
}

void qx_qlinear_run(struct qx_qrun *r)
{
    if (r->q->act.bits == 0) {
        qx_qfloat_run(r, 1);
    } else if (r->q->kind == QX_QMATRIX) {
        matrix_run(r);
    } else {
        qx_qconv_run(r);
    }
}

size_t qx_qlinear_scratch(const struct qx_qlinear *q, const struct qx_room *room, bool is_codes)
{
    if (q->kind != QX_QMATRIX) {
        return qx_qconv_scratch(q);
    }
    const int64_t m = qx_shape_room(&q->node->in[0]->shape, room) / q->k;
    return qx_qbeside_scratch(q, m) +
           (q->act.bits == 0 ? qx_qfloat_scratch(q, m, is_codes) : qx_qproduct_scratch(q, m));
}

size_t qx_qkept_bytes(const struct qx_qlinear *q, const struct qx_room *room)
{
    struct qx_qtokens t;
    return q->kind == QX_QMATRIX && q->act.bits > 0
               ? qx_qrows_cut(q, qx_shape_room(&q->node->in[0]->shape, room) / q->k, NULL, &t)
               : 0;
}

/* Weights only: a matrix of float32 times weights that stay packed. Codes that a kernel reads are decoded
 * in its registers, and so are 16-bit floats for one row; others block by block in front of sgemm. */
#include "net/qlinear.h"

#include "base/pool.h"

/* Floats of a decoded block: it stays in the second-level cache. */
#define BLOCK_FLOATS (INT64_C(1) << 16)

static int64_t block_rows(const struct qx_packed *p)
{
    const int64_t rows = BLOCK_FLOATS / p->row;
    return rows < 1 ? 1 : rows < p->rows ? rows : p->rows;
}

/* Rows shared out on the pool: each worker decodes into a block of its own, which is smaller. */
enum { SHARED_FLOATS = 1 << 14 };

struct shared {
    const struct qx_qlinear *q;
    const float *x;
    float *y;
    int64_t m, step;
};

static void shared_run(void *arg, int64_t i, int worker)
{
    const struct shared *s = arg;
    const struct qx_qlinear *q = s->q;
    const int64_t r = i * s->step, left = q->packed->rows - r, n = s->step < left ? s->step : left;
    float block[SHARED_FLOATS];
    (void)worker;
    qx_packed_rows(q->packed, r, n, block);
    qxk_sgemm(0, 1, s->m, n, q->k, 1.0f, s->x, q->k, block, q->k, 0.0f, s->y + r, q->oc);
}

/* Weights of a share of 16-bit floats. */
#define HALF_FLOATS (INT64_C(1) << 16)

static int64_t half_step(const struct qx_qlinear *q)
{
    return q->k < HALF_FLOATS / 4 ? HALF_FLOATS / q->k / 4 * 4 : 4;
}

static void half_run(void *arg, int64_t i, int worker)
{
    const struct shared *s = arg;
    const struct qx_packed *p = s->q->packed;
    const int64_t r = i * s->step, left = p->rows - r;
    (void)worker;
    p->gemv((p->stored ? p->stored : p->data) + (size_t)r * p->row_bytes,
            left < s->step ? left : s->step, p->row, s->x, s->y + r);
}

/* y [m][oc] = x times the weight. Rows of the block are outputs ([oc][k]) or inputs ([k][oc]). */
static void blocks_run(const struct qx_qlinear *q, struct qx_pool *pool, const float *x, int64_t m,
                       float *block, float *y)
{
    const struct qx_packed *p = q->packed;
    const bool is_half = p->gemv && m == 1 && q->is_out_first;
    const bool is_shared = pool && q->is_out_first && q->k <= SHARED_FLOATS;
    const int64_t step = is_half ? half_step(q) : is_shared ? SHARED_FLOATS / q->k : block_rows(p);
    if (is_half || is_shared) {
        struct shared s = {q, x, y, m, step};
        qx_pool_for(pool, (p->rows + step - 1) / step, is_half ? half_run : shared_run, &s);
    }
    for (int64_t r = 0; !is_half && !is_shared && r < p->rows; r += step) {
        const int64_t n = step < p->rows - r ? step : p->rows - r;
        qx_packed_rows(p, r, n, block);
        if (q->is_out_first) {
            qxk_sgemm(0, 1, m, n, q->k, 1.0f, x, q->k, block, q->k, 0.0f, y + r, q->oc);
        } else {
            qxk_sgemm(0, 0, m, q->oc, n, 1.0f, x + r, q->k, block, q->oc, r > 0 ? 1.0f : 0.0f, y,
                      q->oc);
        }
    }
    for (int64_t i = 0; i < m; i++, y += q->oc) {
        for (int64_t o = 0; o < q->oc; o++) {
            y[o] = y[o] * q->scale[o] + q->bias[o];
        }
        qx_qact_row(q, q->fused, q->oc, y);
    }
}

static struct qxk_gemmf gemm_of(const struct qx_qlinear *q, const float *x, int64_t m, float *y)
{
    return (struct qxk_gemmf){.w8 = q->w8,
                              .w4 = q->w4,
                              .table = q->w4_table,
                              .x = x,
                              .y = y,
                              .m = m,
                              .ldx = q->k,
                              .ldy = q->oc,
                              .ep = {.w_scale = q->folded,
                                     .w_scale_step = 1,
                                     .w_zero = q->w8 ? q->w_zero : NULL,
                                     .w_zero_step = 1,
                                     .bias = q->w4 ? q->w4_bias : q->bias,
                                     .act = q->fused,
                                     .act_lo = q->act_lo,
                                     .act_hi = q->act_hi}};
}

static int64_t rows_of(const struct qx_qrun *r)
{
    const struct qx_extent extent = {r->rows, r->start};
    return qx_shape_count(&r->q->node->in[0]->shape, &extent) / r->q->k;
}

/* A product that the kernels run as it is, from its input to its place. */
static bool is_plain(const struct qx_qrun *r)
{
    return r->q->act.bits == 0 && !r->q->packed && !qx_qbeside_is(r->q) &&
           r->out_value->form != QX_FORM_CODES;
}

bool qx_qfloat_goes_with(const struct qx_qrun *a, const struct qx_qrun *b)
{
    if (!is_plain(a) || !is_plain(b) || a->in != b->in) {
        return false;
    }
    const struct qxk_gemmf one = gemm_of(a->q, a->in, rows_of(a), a->out);
    const struct qxk_gemmf other = gemm_of(b->q, b->in, rows_of(b), b->out);
    return qxk_gemmf_goes_with(&one, &other);
}

void qx_qfloat_run(struct qx_qrun *r, int n)
{
    const struct qx_qlinear *q = r->q;
    const int64_t m = rows_of(r);
    const bool is_codes = r->out_value->form == QX_FORM_CODES;
    struct qx_qmatrix own;
    qx_qbeside_begin(q, r->in, m, r->scratch, &own);
    struct qx_cut cut = {own.rest, 0};
    float *product = qx_cut_take(&cut, (size_t)(is_codes ? m * q->oc : 0) * sizeof *product);
    float *y = own.y ? own.y : is_codes ? product : r->out;
    const float *x = own.x ? own.x : r->in;
    if (q->packed) {
        const size_t floats = (size_t)(block_rows(q->packed) * q->packed->row);
        blocks_run(q, r->pool, x, m, qx_cut_take(&cut, floats * sizeof(float)), y);
    } else {
        struct qxk_gemmf gemm[QXK_TOGETHER] = {gemm_of(q, x, m, y)};
        for (int i = 1; i < n; i++) {
            gemm[i] = gemm_of(r[i].q, x, m, r[i].out);
        }
        qxk_gemmf(r->pool, gemm, n, qx_cut_take(&cut, qxk_gemmf_room(gemm)));
    }
    if (own.y) {
        qx_qbeside_end(q, &own, m, is_codes, r->out);
    } else if (is_codes) {
        qx_qfinish(q, y, m * q->oc, true, r->out);
    }
}

size_t qx_qfloat_scratch(const struct qx_qlinear *q, int64_t m, bool is_codes)
{
    struct qx_cut cut = {0};
    qx_cut_take(&cut, (size_t)(is_codes ? m * q->oc : 0) * sizeof(float));
    if (q->packed) {
        qx_cut_take(&cut, (size_t)(block_rows(q->packed) * q->packed->row) * sizeof(float));
    } else {
        const struct qxk_gemmf gemm = gemm_of(q, NULL, m, NULL);
        qx_cut_take(&cut, qxk_gemmf_room(&gemm));
    }
    return cut.used;
}

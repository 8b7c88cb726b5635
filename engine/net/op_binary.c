/* Add and Mul with numpy broadcasting. */
#include "op.h"

static enum qx_status broadcast_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *a = &g->node->in[0]->shape, *b = &g->node->in[1]->shape;
    return qx_shape_broadcast(a, a->rank, b, b->rank, &g->node->out->shape, err);
}

/* Inner loops: steps are 0 (one value for all) or 1; anything else takes the general line. */
#define BINARY_LOOP(op)                          \
    do {                                         \
        if (sa == 1 && sb == 1) {                \
            for (int64_t i = 0; i < n; i++) {    \
                out[i] = a[i] op b[i];           \
            }                                    \
        } else if (sa == 1 && sb == 0) {         \
            const float v = *b;                  \
            for (int64_t i = 0; i < n; i++) {    \
                out[i] = a[i] op v;              \
            }                                    \
        } else {                                 \
            for (int64_t i = 0; i < n; i++) {    \
                out[i] = a[i * sa] op b[i * sb]; \
            }                                    \
        }                                        \
    } while (0)

static void add_run(float *out, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n)
{
    BINARY_LOOP(+);
}

static void mul_run(float *out, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n)
{
    BINARY_LOOP(*);
}

static void walk(const struct qx_run *r,
                 void (*run)(float *, const float *, int64_t, const float *, int64_t, int64_t))
{
    int64_t sa[QX_SHAPE_RANK], sb[QX_SHAPE_RANK];
    struct qx_walk w;
    qx_shape_strides(&r->in_shape[0], &r->out_shape, sa);
    qx_shape_strides(&r->in_shape[1], &r->out_shape, sb);
    qx_walk_init(&w, r->out_shape.rank, r->out_shape.dim, sa, sb);
    const int last = w.rank - 1;
    const int64_t n = w.dim[last];
    float *out = r->out;
    do {
        run(out, r->in[0] + w.at[0], w.stride[0][last], r->in[1] + w.at[1], w.stride[1][last], n);
        out += n;
    } while (qx_walk_next(&w));
}

static enum qx_status add(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    walk(r, add_run);
    return QX_OK;
}

static enum qx_status mul(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    walk(r, mul_run);
    return QX_OK;
}

/* d[i * step] += g[i] times other[i * so] (other NULL: 1); step 0 sums up. */
static void spread(float *d, int64_t step, const float *g, const float *other, int64_t so,
                   int64_t n)
{
    if (step == 0) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) {
            sum += (double)g[i] * (other ? (double)other[i * so] : 1.0);
        }
        *d += (float)sum;
    } else if (!other) {
        for (int64_t i = 0; i < n; i++) {
            d[i * step] += g[i];
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            d[i * step] += g[i] * other[i * so];
        }
    }
}

/* Gradient of operand k; the product's is times the other operand. */
static void back_of(const struct qx_back *b, int k, bool is_product)
{
    const struct qx_run *r = b->run;
    int64_t mine[QX_SHAPE_RANK], theirs[QX_SHAPE_RANK];
    struct qx_walk w;
    qx_shape_strides(&r->in_shape[k], &r->out_shape, mine);
    qx_shape_strides(&r->in_shape[1 - k], &r->out_shape, theirs);
    qx_walk_init(&w, r->out_shape.rank, r->out_shape.dim, mine, theirs);
    const int last = w.rank - 1;
    const int64_t n = w.dim[last];
    const float *g = b->d_out;
    do {
        spread(b->d_in[k] + w.at[0], w.stride[0][last], g,
               is_product ? r->in[1 - k] + w.at[1] : NULL, w.stride[1][last], n);
        g += n;
    } while (qx_walk_next(&w));
}

static void add_back(const struct qx_back *b)
{
    for (int k = 0; k < 2; k++) {
        if (b->d_in[k]) {
            back_of(b, k, false);
        }
    }
}

static void mul_back(const struct qx_back *b)
{
    for (int k = 0; k < 2; k++) {
        if (b->d_in[k]) {
            back_of(b, k, true);
        }
    }
}

const struct qx_op qx_op_add = {.name = "Add",
                                .min_in = 2,
                                .max_in = 2,
                                .takes_places = true,
                                .is_inplace = true,
                                .weight = -1,
                                .shape = broadcast_shape,
                                .forward = add,
                                .backward = add_back};
const struct qx_op qx_op_mul = {.name = "Mul",
                                .min_in = 2,
                                .max_in = 2,
                                .takes_places = true,
                                .is_inplace = true,
                                .weight = -1,
                                .shape = broadcast_shape,
                                .forward = mul,
                                .backward = mul_back};

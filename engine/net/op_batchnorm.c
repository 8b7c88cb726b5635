#include "op.h"

#include "base/error.h"
#include "base/vec.h"

#include <math.h>

enum { EPSILON, MOMENTUM, TRAINING_MODE, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [EPSILON] = {.name = "epsilon", .type = QX_ATTR_FLOAT, .fallback = 1e-5},
    [MOMENTUM] = {.name = "momentum", .type = QX_ATTR_FLOAT, .fallback = 0.9},
    [TRAINING_MODE] = {.name = "training_mode", .type = QX_ATTR_INT, .min = 0, .max = 0}};

static enum qx_status batch_norm_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *x = &g->node->in[0]->shape;
    enum qx_status st = qx_op_rank(g->node, 0, 2, 4, err);
    if (st == QX_OK) {
        st = qx_shape_keep_batch(x, 1, "normalizing", err);
    }
    for (int i = 1; st == QX_OK && i < 5; i++) {
        const struct qx_shape *s = &g->node->in[i]->shape;
        if (s->rank != 1 || s->batch >= 0 || s->dim[0] != x->dim[1]) {
            char text[QX_SHAPE_TEXT];
            return qx_fail(err, QX_EFORMAT,
                           "input '%s' is %s; one value for each of %lld channels is needed",
                           g->node->in[i]->name, qx_shape_text(s, text), (long long)x->dim[1]);
        }
    }
    return st == QX_OK ? qx_op_same_shape(g, err) : st;
}

/* The inference form: x * scale / sqrt(var + epsilon) + (bias - mean * scale / sqrt(...)). */
static enum qx_status batch_norm(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const struct qx_shape *x = &r->in_shape[0];
    const int64_t n = x->dim[0], channels = x->dim[1], plane = qx_shape_span(x, 2, x->rank);
    const double epsilon = r->node->attr[EPSILON].f;
    for (int64_t c = 0; c < channels; c++) {
        const double s = (double)r->in[1][c] / sqrt((double)r->in[4][c] + epsilon);
        const float scale = (float)s;
        const float shift = (float)((double)r->in[2][c] - (double)r->in[3][c] * s);
        for (int64_t b = 0; b < n; b++) {
            const float *from = r->in[0] + (b * channels + c) * plane;
            float *to = r->out + (b * channels + c) * plane;
            qx_vec_affine(from, plane, scale, shift, to);
        }
    }
    return QX_OK;
}

/* ---- training ---- */

/* x normalized by given statistics, per channel: x^ = (x - mean) * inverse. */
struct normal {
    double mean, inverse;
};

static struct normal stored_normal(const struct qx_run *r, int64_t c)
{
    const double var = (double)r->in[4][c] + r->node->attr[EPSILON].f;
    return (struct normal){(double)r->in[3][c], 1.0 / sqrt(var)};
}

/* sums: of x and of x^2 of every channel; the variance is the population's. */
static struct normal batch_normal(const struct qx_node *node, const double *sums, int64_t c,
                                  double n)
{
    const int64_t channels = node->in[0]->shape.dim[1];
    const double mean = sums[c] / n, var = sums[channels + c] / n - mean * mean;
    return (struct normal){mean, 1.0 / sqrt((var > 0.0 ? var : 0.0) + node->attr[EPSILON].f)};
}

static int64_t plane_of(const struct qx_node *node)
{
    return qx_shape_span(&node->in[0]->shape, 2, node->in[0]->shape.rank);
}

/* Values behind one channel's statistics. */
static double count_of(const struct qx_node *node, int64_t n_rows)
{
    return (double)(n_rows * node->in[0]->shape.dim[0] * plane_of(node));
}

static int64_t n_sums(const struct qx_node *node)
{
    return 2 * node->in[0]->shape.dim[1];
}

static double sum_of(const float *x, int64_t n)
{
    qx_vec acc = qx_vec_all(0.0f);
    double sum = 0.0;
    int64_t i = 0;
    for (; i + QX_VEC <= n; i += QX_VEC) {
        acc += qx_vec_load(x + i);
    }
    for (; i < n; i++) {
        sum += (double)x[i];
    }
    return sum + ((double)acc[0] + (double)acc[1]) + ((double)acc[2] + (double)acc[3]);
}

/* sum of (x - a)(y - b) */
static double dot_of(const float *x, float a, const float *y, float b, int64_t n)
{
    const qx_vec va = qx_vec_all(a), vb = qx_vec_all(b);
    qx_vec acc = qx_vec_all(0.0f);
    double sum = 0.0;
    int64_t i = 0;
    for (; i + QX_VEC <= n; i += QX_VEC) {
        acc += (qx_vec_load(x + i) - va) * (qx_vec_load(y + i) - vb);
    }
    for (; i < n; i++) {
        sum += (double)((x[i] - a) * (y[i] - b));
    }
    return sum + ((double)acc[0] + (double)acc[1]) + ((double)acc[2] + (double)acc[3]);
}

/* Squares are taken around the running mean, which keeps their digits, and moved to 0 in double. */
static void batch_sums(const struct qx_run *r, double *sums)
{
    const struct qx_shape *x = &r->in_shape[0];
    const int64_t channels = x->dim[1], plane = qx_shape_span(x, 2, x->rank);
    for (int64_t i = 0; i < x->dim[0] * channels; i++) {
        const int64_t c = i % channels;
        const float *p = r->in[0] + i * plane, a = r->in[3][c];
        const double sum = sum_of(p, plane), around = dot_of(p, a, p, a, plane);
        sums[c] += sum;
        sums[channels + c] += around + (double)a * (2.0 * sum - (double)plane * (double)a);
    }
}

static void batch_forward(const struct qx_run *r, const double *sums, int64_t n_rows)
{
    const struct qx_shape *x = &r->in_shape[0];
    const int64_t channels = x->dim[1], plane = qx_shape_span(x, 2, x->rank);
    const double n = count_of(r->node, n_rows);
    for (int64_t i = 0; i < x->dim[0] * channels; i++) {
        const int64_t c = i % channels;
        const struct normal t = batch_normal(r->node, sums, c, n);
        const double s = (double)r->in[1][c] * t.inverse;
        qx_vec_affine(r->in[0] + i * plane, plane, (float)s,
                      (float)((double)r->in[2][c] - t.mean * s), r->out + i * plane);
    }
}

/* d_beta = sum d_out and d_gamma = sum d_out x^ of the planes of a tile. */
static void param_sums(const struct qx_back *b, const double *sums, int64_t n_rows, double *back)
{
    const struct qx_run *r = b->run;
    const struct qx_shape *x = &r->in_shape[0];
    const int64_t channels = x->dim[1], plane = qx_shape_span(x, 2, x->rank);
    const double n = count_of(r->node, n_rows);
    for (int64_t i = 0; i < x->dim[0] * channels; i++) {
        const int64_t c = i % channels;
        const struct normal t = sums ? batch_normal(r->node, sums, c, n) : stored_normal(r, c);
        const float *d = b->d_out + i * plane;
        back[c] += sum_of(d, plane);
        back[channels + c] +=
            dot_of(r->in[0] + i * plane, (float)t.mean, d, 0.0f, plane) * t.inverse;
    }
}

/* d_x = gamma inverse (d_out - mean(d_out) - x^ mean(d_out x^)) (Ioffe and Szegedy, arXiv 1502.03167,
 * section 3). */
static void batch_backward(const struct qx_back *b, const double *sums, const double *back,
                           int64_t n_rows)
{
    const struct qx_run *r = b->run;
    const struct qx_shape *x = &r->in_shape[0];
    const int64_t channels = x->dim[1], plane = qx_shape_span(x, 2, x->rank);
    const double n = count_of(r->node, n_rows);
    for (int64_t i = 0; b->d_in[0] && i < x->dim[0] * channels; i++) {
        const int64_t c = i % channels;
        const struct normal t = batch_normal(r->node, sums, c, n);
        const double g = (double)r->in[1][c] * t.inverse;
        const double slope = -g * t.inverse * back[channels + c] / n;
        const qx_vec by = qx_vec_all((float)g), along = qx_vec_all((float)slope);
        const float shift = (float)(-g * back[c] / n - slope * t.mean);
        const float *p = r->in[0] + i * plane, *d = b->d_out + i * plane;
        float *d_x = b->d_in[0] + i * plane;
        int64_t k = 0;
        for (; k + QX_VEC <= plane; k += QX_VEC) {
            const qx_vec v = by * qx_vec_load(d + k) + along * qx_vec_load(p + k);
            const qx_vec old = b->is_first ? qx_vec_all(0.0f) : qx_vec_load(d_x + k);
            qx_vec_store(d_x + k, old + v + qx_vec_all(shift));
        }
        for (; k < plane; k++) {
            const float old = b->is_first ? 0.0f : d_x[k];
            d_x[k] = old + ((float)g * d[k] + (float)slope * p[k] + shift);
        }
    }
}

static void batch_params(const struct qx_node *node, const double *back, float *const *d_in)
{
    const int64_t channels = node->in[0]->shape.dim[1];
    for (int64_t c = 0; c < channels; c++) {
        if (d_in[1]) {
            d_in[1][c] += (float)back[channels + c];
        }
        if (d_in[2]) {
            d_in[2][c] += (float)back[c];
        }
    }
}

/* The running variance takes the unbiased estimate, as the paper's inference does (algorithm 2). */
static void batch_update(const struct qx_node *node, const double *sums, int64_t n_rows,
                         double momentum, float *const *in)
{
    const int64_t channels = node->in[0]->shape.dim[1];
    const double n = count_of(node, n_rows);
    for (int64_t c = 0; c < channels; c++) {
        const double mean = sums[c] / n, var = sums[channels + c] / n - mean * mean;
        const double unbiased = n > 1.0 && var > 0.0 ? var * n / (n - 1.0) : 0.0;
        in[3][c] += (float)(momentum * (mean - (double)in[3][c]));
        in[4][c] += (float)(momentum * (unbiased - (double)in[4][c]));
    }
}

static const struct qx_batch_op batch = {.n_sums = n_sums,
                                         .sums = batch_sums,
                                         .forward = batch_forward,
                                         .back_sums = param_sums,
                                         .backward = batch_backward,
                                         .back_params = batch_params,
                                         .update = batch_update};

/* The inference form backwards: statistics are constants. */
static int64_t back_scratch(const struct qx_node *node, const struct qx_room *room)
{
    (void)room;
    return 2 * n_sums(node) + QX_VEC; /* doubles */
}

static void batch_norm_back(const struct qx_back *b)
{
    const struct qx_run *r = b->run;
    const struct qx_shape *x = &r->in_shape[0];
    const int64_t channels = x->dim[1], plane = qx_shape_span(x, 2, x->rank);
    double *back = (double *)(void *)b->scratch;
    memset(back, 0, (size_t)n_sums(r->node) * sizeof *back);
    param_sums(b, NULL, r->rows, back);
    batch_params(r->node, back, b->d_in);
    for (int64_t i = 0; b->d_in[0] && i < x->dim[0] * channels; i++) {
        const struct normal t = stored_normal(r, i % channels);
        const float g = (float)((double)r->in[1][i % channels] * t.inverse);
        const float *d = b->d_out + i * plane;
        float *d_x = b->d_in[0] + i * plane;
        if (b->is_first) {
            qx_vec_affine(d, plane, g, 0.0f, d_x);
            continue;
        }
        for (int64_t k = 0; k < plane; k++) {
            d_x[k] += g * d[k];
        }
    }
}

const struct qx_op qx_op_batch_normalization = {.name = "BatchNormalization",
                                                .min_in = 5,
                                                .max_in = 5,
                                                .attrs = attrs,
                                                .n_attrs = N_ATTRS,
                                                .is_inplace = true,
                                                .weight = -1,
                                                .shape = batch_norm_shape,
                                                .forward = batch_norm,
                                                .backward = batch_norm_back,
                                                .writes_first = true,
                                                .back_scratch = back_scratch,
                                                .constant = 8 | 16,
                                                .statistics = 8 | 16,
                                                .batch = &batch};

/* LayerNormalization and RMSNormalization: the axes from `axis` on are normalized together;
 * HeadNormalization: RMS of each head. */
#include "op.h"

#include "base/error.h"
#include "kernels/kernels.h"

#include <math.h>

enum { AXIS, EPSILON, STASH_TYPE, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [AXIS] = {.name = "axis", .type = QX_ATTR_INT, .fallback = -1, .min = -8, .max = 7},
    [EPSILON] = {.name = "epsilon", .type = QX_ATTR_FLOAT, .fallback = 1e-5},
    [STASH_TYPE] = {.name = "stash_type", .type = QX_ATTR_INT, .fallback = 1, .min = 1, .max = 1}};

/* The normalized part of x as a shape of its own. */
static struct qx_shape part_of(const struct qx_shape *x, int axis)
{
    struct qx_shape part = {.rank = x->rank - axis, .batch = -1};
    for (int i = axis; i < x->rank; i++) {
        part.dim[i - axis] = x->dim[i];
    }
    return part;
}

static enum qx_status norm_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_node *node = g->node;
    const struct qx_shape *x = &node->in[0]->shape;
    int axis;
    enum qx_status st = qx_shape_axis(x, node->attr[AXIS].i, &axis, err);
    if (st == QX_OK && x->batch >= axis) {
        st = qx_shape_keep_batch(x, x->batch, "normalizing", err);
    }
    if (st != QX_OK) {
        return st;
    }
    const struct qx_shape part = part_of(x, axis);
    for (int i = 1; i < node->n_in; i++) {
        if (node->in[i] && !qx_shape_fits(&node->in[i]->shape, &part)) {
            char a[QX_SHAPE_TEXT], b[QX_SHAPE_TEXT];
            return qx_fail(err, QX_EFORMAT, "input '%s' %s does not fit the normalized axes %s",
                           node->in[i]->name, qx_shape_text(&node->in[i]->shape, a),
                           qx_shape_text(&part, b));
        }
    }
    return qx_op_same_shape(g, err);
}

/* Scale and bias, spread over the normalized part. */
static int64_t norm_scratch(const struct qx_node *node, const struct qx_room *room)
{
    (void)room;
    int axis = 0;
    const struct qx_shape *x = &node->in[0]->shape;
    (void)qx_shape_axis(x, node->attr[AXIS].i, &axis, NULL);
    return 2 * qx_shape_span(x, axis, x->rank);
}

static void spread(const float *from, const struct qx_shape *s, const struct qx_shape *part,
                   float *to)
{
    int64_t stride[QX_SHAPE_RANK];
    struct qx_walk w;
    qx_shape_strides(s, part, stride);
    qx_walk_init(&w, part->rank, part->dim, stride, NULL);
    const int64_t n = w.dim[w.rank - 1], step = w.stride[0][w.rank - 1];
    do {
        for (int64_t i = 0; i < n; i++) {
            *to++ = from[w.at[0] + i * step];
        }
    } while (qx_walk_next(&w));
}

static double mean_square(const float *x, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sum / (double)n;
}

static void rms(const float *x, int64_t n, const struct qxk_norm *norm, float *out)
{
    const float inv = (float)(1.0 / sqrt(mean_square(x, n) + (double)norm->eps));
    for (int64_t i = 0; i < n; i++) {
        out[i] = x[i] * inv * norm->gamma[i] + norm->beta[i];
    }
}

static enum qx_status normalize(const struct qx_run *r, bool is_centred, struct qx_error *err)
{
    int axis = 0;
    const struct qx_shape *x = &r->in_shape[0];
    enum qx_status st = qx_shape_axis(x, r->node->attr[AXIS].i, &axis, err);
    const struct qx_shape part = part_of(x, axis);
    const int64_t n = qx_shape_numel(&part, 1), outer = qx_shape_span(x, 0, axis);
    const bool has_bias = r->node->n_in > 2 && r->in[2];
    float *scale = r->scratch, *bias = r->scratch + n;
    spread(r->in[1], &r->in_shape[1], &part, scale);
    for (int64_t i = 0; i < n; i++) {
        bias[i] = 0.0f;
    }
    if (has_bias) {
        spread(r->in[2], &r->in_shape[2], &part, bias);
    }
    const struct qxk_norm norm = {
        .gamma = scale, .beta = bias, .eps = (float)r->node->attr[EPSILON].f};
    for (int64_t o = 0; o < outer; o++) {
        (is_centred ? qxk_get()->layer_norm : rms)(r->in[0] + o * n, n, &norm, r->out + o * n);
    }
    return st;
}

/* to[broadcast] += from[n] */
static void gather_sums(const float *from, const struct qx_shape *s, const struct qx_shape *part,
                        float *to)
{
    int64_t stride[QX_SHAPE_RANK];
    struct qx_walk w;
    qx_shape_strides(s, part, stride);
    qx_walk_init(&w, part->rank, part->dim, stride, NULL);
    const int64_t n = w.dim[w.rank - 1], step = w.stride[0][w.rank - 1];
    do {
        for (int64_t i = 0; i < n; i++) {
            to[w.at[0] + i * step] += *from++;
        }
    } while (qx_walk_next(&w));
}

/* Scale, its gradient and that of the bias, spread. */
static int64_t norm_back_scratch(const struct qx_node *node, const struct qx_room *room)
{
    (void)room;
    return 3 * norm_scratch(node, NULL) / 2;
}

/* With x^ = (x - mean) inv and g = d_y scale: d_x = inv (g - mean(g) - x^ mean(g x^)); without centring the
 * means of x and of g are left out. */
static void normalize_row(const float *x, const float *d_y, int64_t n, double eps, bool is_centred,
                          float *const part[3], float *d_x)
{
    double mean = 0.0, square = 0.0, sum = 0.0, along = 0.0;
    for (int64_t i = 0; is_centred && i < n; i++) {
        mean += (double)x[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        square += ((double)x[i] - mean) * ((double)x[i] - mean);
    }
    const double inv = 1.0 / sqrt(square / (double)n + eps);
    for (int64_t i = 0; i < n; i++) {
        const double y = ((double)x[i] - mean) * inv, g = (double)d_y[i] * (double)part[0][i];
        sum += is_centred ? g : 0.0;
        along += g * y;
        part[1][i] += (float)((double)d_y[i] * y);
        part[2][i] += d_y[i];
    }
    for (int64_t i = 0; d_x && i < n; i++) {
        const double y = ((double)x[i] - mean) * inv, g = (double)d_y[i] * (double)part[0][i];
        d_x[i] += (float)(inv * (g - sum / (double)n - y * along / (double)n));
    }
}

static void normalize_back(const struct qx_back *b, bool is_centred)
{
    int axis = 0;
    const struct qx_run *r = b->run;
    const struct qx_shape *x = &r->in_shape[0];
    if (qx_shape_axis(x, r->node->attr[AXIS].i, &axis, NULL) != QX_OK) {
        return; /* the forward pass would have failed */
    }
    const struct qx_shape part = part_of(x, axis);
    const int64_t n = qx_shape_numel(&part, 1), outer = qx_shape_span(x, 0, axis);
    float *const sums[3] = {b->scratch, b->scratch + n, b->scratch + 2 * n};
    spread(r->in[1], &r->in_shape[1], &part, sums[0]);
    for (int64_t i = n; i < 3 * n; i++) {
        b->scratch[i] = 0.0f;
    }
    for (int64_t o = 0; o < outer; o++) {
        normalize_row(r->in[0] + o * n, b->d_out + o * n, n, r->node->attr[EPSILON].f, is_centred,
                      sums, b->d_in[0] ? b->d_in[0] + o * n : NULL);
    }
    for (int k = 1; k < 3 && k < r->node->n_in; k++) {
        if (b->d_in[k]) {
            gather_sums(sums[k], &r->in_shape[k], &part, b->d_in[k]);
        }
    }
}

static void layer_normalization_back(const struct qx_back *b)
{
    normalize_back(b, true);
}

static void rms_normalization_back(const struct qx_back *b)
{
    normalize_back(b, false);
}

/* Each head of every place on its own: values, shared factors [d], d = width / num_heads. Not an ONNX
 * operation. */
enum { HEADS, HEAD_EPSILON, N_HEAD_ATTRS };

static const struct qx_attr_spec head_attrs[N_HEAD_ATTRS] = {
    [HEADS] =
        {.name = "num_heads", .type = QX_ATTR_INT, .min = 1, .max = 65536, .is_required = true},
    [HEAD_EPSILON] = {.name = "epsilon", .type = QX_ATTR_FLOAT, .fallback = 1e-5}};

static enum qx_status head_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_node *node = g->node;
    enum qx_status st = qx_op_sequence(node, 0, err);
    if (st == QX_OK) {
        st = qx_op_rank(node, 1, 1, 1, err);
    }
    if (st != QX_OK) {
        return st;
    }
    const int64_t width = node->in[0]->shape.dim[1], d = node->in[1]->shape.dim[0];
    if (node->in[1]->shape.batch >= 0 || d * node->attr[HEADS].i != width) {
        return qx_fail(err, QX_EFORMAT, "'%.100s' has %lld values for each of %lld heads in %lld",
                       node->in[1]->name, (long long)d, (long long)node->attr[HEADS].i,
                       (long long)width);
    }
    return qx_op_same_shape(g, err);
}

static enum qx_status head_normalization(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const int64_t d = r->in_shape[1].dim[0], n = qx_shape_numel(&r->out_shape, 1) / d;
    const float eps = (float)r->node->attr[HEAD_EPSILON].f;
    for (int64_t i = 0; i < n; i++) {
        const float *x = r->in[0] + i * d;
        const float inv = (float)(1.0 / sqrt(mean_square(x, d) + (double)eps));
        for (int64_t k = 0; k < d; k++) {
            r->out[i * d + k] = x[k] * inv * r->in[1][k];
        }
    }
    return QX_OK;
}

/* The factors, their gradient, and one that nobody reads. */
static int64_t head_back_scratch(const struct qx_node *node, const struct qx_room *room)
{
    (void)room;
    return 3 * node->in[1]->shape.dim[0];
}

static void head_normalization_back(const struct qx_back *b)
{
    const struct qx_run *r = b->run;
    const int64_t d = r->in_shape[1].dim[0], n = qx_shape_numel(&r->out_shape, 1) / d;
    float *const sums[3] = {b->scratch, b->scratch + d, b->scratch + 2 * d};
    for (int64_t k = 0; k < d; k++) {
        sums[0][k] = r->in[1][k];
        sums[1][k] = sums[2][k] = 0.0f;
    }
    for (int64_t i = 0; i < n; i++) {
        normalize_row(r->in[0] + i * d, b->d_out + i * d, d, r->node->attr[HEAD_EPSILON].f, false,
                      sums, b->d_in[0] ? b->d_in[0] + i * d : NULL);
    }
    for (int64_t k = 0; b->d_in[1] && k < d; k++) {
        b->d_in[1][k] += sums[1][k];
    }
}

const struct qx_op qx_op_head_normalization = {.name = "HeadNormalization",
                                               .min_in = 2,
                                               .max_in = 2,
                                               .attrs = head_attrs,
                                               .n_attrs = N_HEAD_ATTRS,
                                               .takes_places = true,
                                               .is_inplace = true,
                                               .weight = -1,
                                               .shape = head_shape,
                                               .forward = head_normalization,
                                               .backward = head_normalization_back,
                                               .back_scratch = head_back_scratch};

static enum qx_status layer_normalization(const struct qx_run *r, struct qx_error *err)
{
    return normalize(r, true, err);
}

static enum qx_status rms_normalization(const struct qx_run *r, struct qx_error *err)
{
    return normalize(r, false, err);
}

const struct qx_op qx_op_layer_normalization = {.name = "LayerNormalization",
                                                .min_in = 2,
                                                .max_in = 3,
                                                .attrs = attrs,
                                                .n_attrs = N_ATTRS,
                                                .takes_places = true,
                                                .is_inplace = true,
                                                .weight = -1,
                                                .shape = norm_shape,
                                                .scratch = norm_scratch,
                                                .forward = layer_normalization,
                                                .backward = layer_normalization_back,
                                                .back_scratch = norm_back_scratch};
const struct qx_op qx_op_rms_normalization = {.name = "RMSNormalization",
                                              .min_in = 2,
                                              .max_in = 2,
                                              .attrs = attrs,
                                              .n_attrs = N_ATTRS,
                                              .takes_places = true,
                                              .is_inplace = true,
                                              .weight = -1,
                                              .shape = norm_shape,
                                              .scratch = norm_scratch,
                                              .forward = rms_normalization,
                                              .backward = rms_normalization_back,
                                              .back_scratch = norm_back_scratch};

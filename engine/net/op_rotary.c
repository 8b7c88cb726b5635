/* RotaryEmbedding as in ONNX opset 23 on sequences [T N, heads d]: the place in its sequence turns every pair
 * (i, i + d/2) of a head, or `interleaved` (2i, 2i + 1), by place * frequency. Frequencies are
 * base^(-2i/d), divided by the second input [d/2] if there is one, stretched by `factor`: as Llama 3.1 does it
 * (`low`, `high`, `original`), as YaRN does it (Peng et al. 2023: pairs up to `from` not, from `to` on wholly,
 * those between partly; sines and cosines times `scale`), or evenly (neither given). */
#include "op.h"

#include "base/error.h"

#include <math.h>

enum { HEADS, BASE, FACTOR, LOW, HIGH, ORIGINAL, INTERLEAVED, FROM, TO, SCALE, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [HEADS] =
        {.name = "num_heads", .type = QX_ATTR_INT, .min = 1, .max = 65536, .is_required = true},
    [BASE] = {.name = "base", .type = QX_ATTR_FLOAT, .fallback = 10000.0},
    [FACTOR] = {.name = "factor", .type = QX_ATTR_FLOAT, .fallback = 1.0},
    [LOW] = {.name = "low", .type = QX_ATTR_FLOAT},
    [HIGH] = {.name = "high", .type = QX_ATTR_FLOAT},
    [ORIGINAL] = {.name = "original", .type = QX_ATTR_FLOAT},
    [INTERLEAVED] = {.name = "interleaved", .type = QX_ATTR_INT, .min = 0, .max = 1},
    [FROM] = {.name = "from", .type = QX_ATTR_FLOAT},
    [TO] = {.name = "to", .type = QX_ATTR_FLOAT},
    [SCALE] = {.name = "scale", .type = QX_ATTR_FLOAT, .fallback = 1.0}};

static enum qx_status rotary_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_node *node = g->node;
    enum qx_status st = qx_op_sequence(node, 0, err);
    if (st != QX_OK) {
        return st;
    }
    const int64_t width = node->in[0]->shape.dim[1], heads = node->attr[HEADS].i;
    if (width % (2 * heads) != 0) {
        return qx_fail(err, QX_EFORMAT, "%lld heads do not share %lld values in pairs",
                       (long long)heads, (long long)width);
    }
    if (!(node->attr[BASE].f > 0.0) || !(node->attr[FACTOR].f > 0.0)) {
        return qx_fail(err, QX_EFORMAT, "base and factor must be above 0");
    }
    if (node->n_in > 1 && qx_shape_numel(&node->in[1]->shape, 1) != width / heads / 2) {
        return qx_fail(err, QX_EFORMAT, "%lld factors do not suit heads of %lld values",
                       (long long)qx_shape_numel(&node->in[1]->shape, 1),
                       (long long)(width / heads));
    }
    return qx_op_same_shape(g, err);
}

/* Frequencies, then sines and cosines of one place. */
static int64_t rotary_scratch(const struct qx_node *node, const struct qx_room *room)
{
    (void)room;
    return 3 * (node->in[0]->shape.dim[1] / node->attr[HEADS].i / 2);
}

/* Long waves are stretched, short ones are not, those between partly (Llama 3.1's config,
 * "rope_type": "llama3"); low = 0: all are. */
static float frequency(const struct qx_attr *attr, int64_t i, int64_t half)
{
    const double turn = 2.0 * acos(-1.0);
    const double f = pow(attr[BASE].f, -(double)i / (double)half), slow = f / attr[FACTOR].f;
    if (attr[TO].f > attr[FROM].f) { /* YaRN's ramp */
        const double ramp = ((double)i - attr[FROM].f) / (attr[TO].f - attr[FROM].f);
        const double share = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
        return (float)(share * slow + (1.0 - share) * f);
    }
    if (!(attr[LOW].f > 0.0)) {
        return (float)slow;
    }
    const double waves = attr[ORIGINAL].f * f / turn; /* in the original context */
    if (waves < attr[LOW].f) {
        return (float)slow;
    }
    if (waves > attr[HIGH].f) {
        return (float)f;
    }
    const double share = (waves - attr[LOW].f) / (attr[HIGH].f - attr[LOW].f);
    return (float)((1.0 - share) * slow + share * f);
}

/* out = every pair of x turned by its place's angle; is_back: out += the turn back. */
static void turn(const struct qx_run *r, float *scratch, const float *x, bool is_back, float *out)
{
    const struct qx_attr *attr = r->node->attr;
    const int64_t width = r->in_shape[0].dim[1], d = width / attr[HEADS].i, half = d / 2;
    float *speed = scratch, *sines = speed + half, *cosines = sines + half;
    for (int64_t i = 0; i < half; i++) {
        speed[i] = frequency(attr, i, half);
        speed[i] = r->node->n_in > 1 ? speed[i] / r->in[1][i] : speed[i];
    }
    const float scale = (float)attr[SCALE].f;
    const bool is_paired = attr[INTERLEAVED].i != 0;
    const int64_t step = is_paired ? 2 : 1, away = is_paired ? 1 : half;
    for (int64_t row = 0; row < r->rows; row++) {
        for (int64_t t = r->start[row]; t < r->start[row + 1]; t++) {
            const float place = (float)(r->past + t - r->start[row]);
            for (int64_t i = 0; i < half; i++) {
                sines[i] = scale * (is_back ? -sinf(place * speed[i]) : sinf(place * speed[i]));
                cosines[i] = scale * cosf(place * speed[i]);
            }
            for (int64_t at = t * width; at < (t + 1) * width; at += d) {
                for (int64_t i = 0; i < half; i++) {
                    const int64_t p = at + step * i;
                    const float a = x[p], b = x[p + away];
                    const float left = a * cosines[i] - b * sines[i];
                    const float right = b * cosines[i] + a * sines[i];
                    out[p] = is_back ? out[p] + left : left;
                    out[p + away] = is_back ? out[p + away] + right : right;
                }
            }
        }
    }
}

static enum qx_status rotary(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    turn(r, r->scratch, r->in[0], false, r->out);
    return QX_OK;
}

/* A turn has the turn back as its transpose. */
static void rotary_back(const struct qx_back *b)
{
    turn(b->run, b->scratch, b->d_out, true, b->d_in[0]);
}

static int64_t rotary_back_scratch(const struct qx_node *node, const struct qx_room *room)
{
    (void)room;
    return rotary_scratch(node, NULL);
}

const struct qx_op qx_op_rotary = {.name = "RotaryEmbedding",
                                   .min_in = 1,
                                   .max_in = 2,
                                   .attrs = attrs,
                                   .n_attrs = N_ATTRS,
                                   .takes_places = true,
                                   .reads_places = true,
                                   .is_inplace = true,
                                   .weight = -1,
                                   .shape = rotary_shape,
                                   .scratch = rotary_scratch,
                                   .forward = rotary,
                                   .backward = rotary_back,
                                   .back_scratch = rotary_back_scratch,
                                   .constant = 1u << 1};

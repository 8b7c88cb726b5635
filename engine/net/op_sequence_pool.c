/* SequencePool: one vector of each sequence, [T N, d] to [N, d]. Not an ONNX operation. */
#include "op.h"

#include <string.h>

enum { FIRST, MEAN };

static const struct qx_attr_spec attrs[] = {
    {.name = "mode", .type = QX_ATTR_CHOICE, .choices = "first mean"}};

static enum qx_status pool_shape(const struct qx_infer *g, struct qx_error *err)
{
    enum qx_status st = qx_op_sequence(g->node, 0, err);
    g->node->out->shape = (struct qx_shape){
        .rank = 2, .batch = 0, .lead = 1, .dim = {1, g->node->in[0]->shape.dim[1]}};
    return st;
}

/* Of n places; the sums run in double. */
static void mean_of(const float *x, int64_t n, int64_t width, float *out)
{
    for (int64_t i = 0; i < width; i++) {
        double sum = 0.0;
        for (int64_t t = 0; t < n; t++) {
            sum += (double)x[t * width + i];
        }
        out[i] = (float)(sum / (double)n);
    }
}

static enum qx_status pool(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const int64_t width = r->out_shape.dim[1];
    for (int64_t row = 0; row < r->rows; row++) {
        const float *x = r->in[0] + r->start[row] * width;
        if (r->node->attr[0].i == MEAN) {
            mean_of(x, r->start[row + 1] - r->start[row], width, r->out + row * width);
        } else {
            memcpy(r->out + row * width, x, (size_t)width * sizeof *x);
        }
    }
    return QX_OK;
}

static void pool_back(const struct qx_back *b)
{
    const struct qx_run *r = b->run;
    const int64_t width = r->out_shape.dim[1];
    const bool is_mean = r->node->attr[0].i == MEAN;
    for (int64_t row = 0; row < r->rows; row++) {
        const int64_t n = is_mean ? r->start[row + 1] - r->start[row] : 1;
        const float *d_out = b->d_out + row * width, share = 1.0f / (float)n;
        for (int64_t t = 0; t < n; t++) {
            float *d_x = b->d_in[0] + (r->start[row] + t) * width;
            for (int64_t i = 0; i < width; i++) {
                d_x[i] += share * d_out[i];
            }
        }
    }
}

const struct qx_op qx_op_sequence_pool = {.name = "SequencePool",
                                          .min_in = 1,
                                          .max_in = 1,
                                          .attrs = attrs,
                                          .n_attrs = 1,
                                          .takes_places = true,
                                          .reads_places = true,
                                          .weight = -1,
                                          .shape = pool_shape,
                                          .forward = pool,
                                          .backward = pool_back};

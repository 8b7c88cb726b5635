#include "op.h"

#include "base/error.h"

#include <math.h>

/* Clip: x, min?, max?; both bounds hold one value. */
static enum qx_status clip_shape(const struct qx_infer *g, struct qx_error *err)
{
    for (int i = 1; i < g->node->n_in; i++) {
        const struct qx_value *v = g->node->in[i];
        if (v && (v->shape.batch >= 0 || qx_shape_numel(&v->shape, 1) != 1)) {
            return qx_fail(err, QX_EFORMAT, "input '%s' must hold one value", v->name);
        }
    }
    return qx_op_same_shape(g, err);
}

static enum qx_status clip(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const float *lo = r->node->n_in > 1 ? r->in[1] : NULL;
    const float *hi = r->node->n_in > 2 ? r->in[2] : NULL;
    for (int64_t i = 0, n = qx_shape_numel(&r->out_shape, 1); i < n; i++) {
        float v = r->in[0][i];
        v = lo && v < *lo ? *lo : v;
        r->out[i] = hi && v > *hi ? *hi : v;
    }
    return QX_OK;
}

/* Values on a bound count as inside. */
static void clip_back(const struct qx_back *b)
{
    const struct qx_run *r = b->run;
    const float *lo = r->node->n_in > 1 ? r->in[1] : NULL;
    const float *hi = r->node->n_in > 2 ? r->in[2] : NULL;
    const float least = lo ? *lo : -INFINITY, most = hi ? *hi : INFINITY;
    const float *x = r->in[0], *d_out = b->d_out;
    float *d_x = b->d_in[0];
    for (int64_t i = 0, n = qx_shape_numel(&r->out_shape, 1); i < n; i++) {
        d_x[i] += x[i] >= least && x[i] <= most ? d_out[i] : 0.0f;
    }
}

const struct qx_op qx_op_clip = {.name = "Clip",
                                 .min_in = 1,
                                 .max_in = 3,
                                 .is_inplace = true,
                                 .weight = -1,
                                 .shape = clip_shape,
                                 .forward = clip,
                                 .backward = clip_back,
                                 .constant = 6};

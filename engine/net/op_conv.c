/* Conv, 1-D and 2-D: shapes, and which way to run. */
#include "conv.h"

#include "base/error.h"

enum { GROUP = QX_WIN_N, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    QX_WINDOW_ATTRS(false, QX_WIN_MAX), [GROUP] = {.name = "group",
                                                   .type = QX_ATTR_INT,
                                                   .fallback = 1,
                                                   .min = 1,
                                                   .max = 1 << 30}};

static int weight_axis(const struct qx_node *node)
{
    (void)node;
    return 0;
}

static enum qx_status conv_of(const struct qx_node *node, const struct qx_shape *x,
                              struct qx_conv *c, struct qx_error *err)
{
    const struct qx_shape *weight = &node->in[1]->shape;
    enum qx_status st = qx_window_of(node, x, &weight->dim[2], &c->w, err);
    if (st == QX_OK) {
        c->group = node->attr[GROUP].i;
        c->oc = weight->dim[0];
        c->icg = weight->dim[1];
        c->ocg = c->oc / c->group;
        c->k = c->icg * c->w.kh * c->w.kw;
        c->places = c->w.oh * c->w.ow;
    }
    return st;
}

static enum qx_status check_weight(const struct qx_node *node, const struct qx_shape *x,
                                   struct qx_error *err)
{
    const struct qx_value *weight = node->in[1];
    const int64_t group = node->attr[GROUP].i;
    const struct qx_shape *s = &weight->shape;
    char a[QX_SHAPE_TEXT], b[QX_SHAPE_TEXT];
    if (s->rank != x->rank || s->batch >= 0) {
        return qx_fail(err, QX_EFORMAT, "weight '%s' is %s; rank %d is needed for the input %s",
                       weight->name, qx_shape_text(s, a), x->rank, qx_shape_text(x, b));
    }
    if (s->dim[0] % group != 0 || x->dim[1] % group != 0 || s->dim[1] != x->dim[1] / group) {
        return qx_fail(err, QX_EFORMAT,
                       "weight '%s' %s does not fit %lld input channels in %lld groups",
                       weight->name, qx_shape_text(s, a), (long long)x->dim[1], (long long)group);
    }
    const struct qx_attr *kernel = &node->attr[QX_WIN_KERNEL];
    for (int i = 0; kernel->is_given && i < kernel->n && i + 2 < s->rank; i++) {
        if (kernel->ints[i] != s->dim[i + 2]) {
            return qx_fail(err, QX_EFORMAT, "kernel_shape does not agree with the weight '%s' %s",
                           weight->name, qx_shape_text(s, a));
        }
    }
    return QX_OK;
}

static enum qx_status check_bias(const struct qx_node *node, struct qx_error *err)
{
    if (node->n_in < 3 || !node->in[2]) {
        return QX_OK;
    }
    const struct qx_shape *s = &node->in[2]->shape;
    if (s->rank == 1 && s->batch < 0 && s->dim[0] == node->in[1]->shape.dim[0]) {
        return QX_OK;
    }
    char text[QX_SHAPE_TEXT];
    return qx_fail(err, QX_EFORMAT, "bias '%s' is %s; %lld values are needed", node->in[2]->name,
                   qx_shape_text(s, text), (long long)node->in[1]->shape.dim[0]);
}

static enum qx_status conv_shape(const struct qx_infer *g, struct qx_error *err)
{
    struct qx_node *node = g->node;
    const struct qx_shape *x = &node->in[0]->shape;
    struct qx_conv c;
    enum qx_status st = qx_op_rank(node, 0, 3, 4, err);
    if (st == QX_OK && x->batch > 0) {
        st = qx_shape_keep_batch(x, x->batch, "convolution", err);
    }
    if (st == QX_OK) {
        st = check_weight(node, x, err);
    }
    if (st == QX_OK) {
        st = check_bias(node, err);
    }
    if (st == QX_OK) {
        st = conv_of(node, x, &c, err);
    }
    if (st != QX_OK) {
        return st;
    }
    node->out->shape = qx_window_shape(&c.w, x, c.oc);
    st = qx_shape_check(&node->out->shape, err);
    if (st == QX_OK && c.k > QX_CONV_K_MAX) {
        st = qx_fail(err, QX_EUNSUPPORTED, "a window of %lld values is more than %lld",
                     (long long)c.k, (long long)QX_CONV_K_MAX);
    }
    if (st == QX_OK) {
        node->macs = qx_shape_numel(&node->out->shape, 1) * c.k;
    }
    return st;
}

static int64_t conv_scratch(const struct qx_node *node, const struct qx_room *room)
{
    struct qx_conv c;
    const struct qx_shape x = qx_shape_at(&node->in[0]->shape, room->rows);
    if (conv_of(node, &x, &c, NULL) != QX_OK) {
        return 0;
    }
    return qx_conv_is_direct(&c) ? qx_conv_direct_scratch(&c) : qx_conv_columns_scratch(&c);
}

static enum qx_status conv(const struct qx_run *r, struct qx_error *err)
{
    struct qx_conv c;
    const float *bias = r->node->n_in > 2 ? r->in[2] : NULL;
    enum qx_status st = conv_of(r->node, &r->in_shape[0], &c, err);
    if (st == QX_OK && qx_conv_is_direct(&c)) {
        qx_conv_direct(&c, r->in[0], r->in[1], bias, r->scratch, r->out);
    } else if (st == QX_OK) {
        qx_conv_columns(&c, r->in[0], r->in[1], bias, r->scratch, r->out);
    }
    return st;
}

static int64_t back_scratch(const struct qx_node *node, const struct qx_room *room)
{
    struct qx_conv c;
    const struct qx_shape x = qx_shape_at(&node->in[0]->shape, room->rows);
    return conv_of(node, &x, &c, NULL) == QX_OK ? qx_conv_back_scratch(&c) : 0;
}

static void conv_back(const struct qx_back *b)
{
    struct qx_conv c;
    if (conv_of(b->run->node, &b->run->in_shape[0], &c, NULL) == QX_OK) {
        qx_conv_back(&c,
                     &(struct qx_conv_back){.x = b->run->in[0],
                                            .weight = b->run->in[1],
                                            .d_out = b->d_out,
                                            .d_x = b->d_in[0],
                                            .d_weight = b->d_in[1],
                                            .d_bias = b->run->node->n_in > 2 ? b->d_in[2] : NULL,
                                            .scratch = b->scratch,
                                            .is_first = b->is_first});
    }
}

const struct qx_op qx_op_conv = {.name = "Conv",
                                 .min_in = 2,
                                 .max_in = 3,
                                 .attrs = attrs,
                                 .n_attrs = N_ATTRS,
                                 .weight = 1,
                                 .role = QX_ROLE_LINEAR,
                                 .weight_axis = weight_axis,
                                 .shape = conv_shape,
                                 .scratch = conv_scratch,
                                 .forward = conv,
                                 .backward = conv_back,
                                 .writes_first = true,
                                 .back_scratch = back_scratch};

/* One value of a format in blocks. */
#include "quant/blocks.h"

float qx_block_scale_of(const struct qx_setting *s, const struct qx_hist *hist)
{
    return qx_block_tensor_scale(s->format, hist ? qx_hist_stats(hist)->absmax : 0.0);
}

const struct qx_block *qx_matrix_block(const struct qx_matrix *m, const struct qx_setting *s)
{
    return s->format->block ? s->format->block
           : qx_setting_is_fp32(s) && m->tensor->numel > 0 && !m->tensor->reason
               ? qx_tensor_block(m->tensor)
               : NULL;
}

enum qx_status qx_block_look(const struct qx_matrix *m, const struct qx_setting *s,
                             const struct qx_hist *hist, int64_t element, struct qx_matrix_value *v,
                             struct qx_error *err)
{
    struct qx_block_at at;
    const float scale = qx_block_scale_of(s, hist);
    enum qx_status st = qx_block_find(m->tensor, m->channels, s, scale, element, &at, err);
    const struct qx_channels c = qx_channels_rows(m->channels);
    const struct qx_block *b = qx_matrix_block(m, s);
    const int64_t line = element / c.inner, row = c.outer * c.inner;
    const int64_t pos = s->format->block
                            ? line / c.count * c.inner + element % c.inner - at.first
                            : element - at.channel * row - at.first; /* as it is stored */

    if (st != QX_OK) {
        return st;
    }
    const int64_t part = pos / (b->n / b->n_sub);
    v->has_code = true;
    v->is_block = true;
    v->code = at.parts.level[pos];
    v->params.scale = at.parts.scale[part] * scale;
    v->min = at.parts.min[part] * scale;
    v->approx = at.y[pos];
    return QX_OK;
}

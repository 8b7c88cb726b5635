/* One value of a format in blocks. */
#include "quant/blocks.h"

float qx_block_scale_of(const struct qx_setting *s, const struct qx_hist *hist)
{
    return qx_block_tensor_scale(s->format, hist ? qx_hist_stats(hist)->absmax : 0.0);
}

enum qx_status qx_block_look(const struct qx_matrix *m, const struct qx_setting *s,
                             const struct qx_hist *hist, int64_t element, struct qx_matrix_value *v,
                             struct qx_error *err)
{
    struct qx_block_at at;
    const float scale = qx_block_scale_of(s, hist);
    enum qx_status st = qx_block_find(m->tensor, m->channels, s->format, scale, element, &at, err);
    const struct qx_channels c = qx_channels_rows(m->channels);
    const int64_t line = element / c.inner;
    const int64_t pos = line / c.count * c.inner + element % c.inner - at.first;

    if (st != QX_OK) {
        return st;
    }
    const int64_t part = pos / (s->format->block->n / s->format->block->n_sub);
    v->has_code = true;
    v->is_block = true;
    v->code = at.parts.level[pos];
    v->params.scale = at.parts.scale[part] * scale;
    v->min = at.parts.min[part] * scale;
    v->approx = at.y[pos];
    return QX_OK;
}

/* Formats in blocks on the Layer screen: values among the levels of their own block. */
#include "layer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const struct qx_block *layer_block(const struct layer_frame *f)
{
    const struct qx_matrix m = qx_matrix_of(f->item->tensor, f->item->channels);
    return qx_matrix_block(&m, f->setting);
}

/* Ascending, each once. */
static int levels_of(const struct qx_block *b, double out[256])
{
    bool is_level[256] = {false};
    int n = 0;
    for (int i = b->lo; i <= b->hi; i++) {
        is_level[(b->level ? b->level[i] : i) + 128] = true;
    }
    for (int v = 0; v < 256; v++) {
        if (is_level[v]) {
            out[n++] = v - 128;
        }
    }
    return n;
}

static void update(struct layer_frame *f, const struct qx_block *b, int w)
{
    struct ui_layer *s = f->state;
    int n = 2 * w < UI_PLOT_COLUMNS ? 2 * w : UI_PLOT_COLUMNS;
    double level[256];
    const int n_levels = levels_of(b, level);
    const double margin = 0.04 * (level[n_levels - 1] - level[0]);
    struct layer_key key = {.hist = f->hist, .n = f->stats->n, .item = f->index, .columns = n};
    key.setting = *f->setting;
    key.axis = (struct ui_axis){level[0] - margin, level[n_levels - 1] + margin};
    if (s->blocks.is_there && key.hist == s->blocks.key.hist && key.n == s->blocks.key.n &&
        key.item == s->blocks.key.item && n == s->blocks.key.columns &&
        key.setting.format == s->blocks.key.setting.format) {
        return;
    }
    memcpy(s->blocks.level, level, sizeof(level));
    s->blocks.n_levels = n_levels;
    s->blocks.key = key;
    s->blocks.is_there = qx_metric_block_places(f->item->tensor, f->setting, f->hist, key.axis.lo,
                                                key.axis.hi, n, s->blocks.counts);
}

void layer_draw_blocks(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_block *b = layer_block(f);
    struct ui_layer *s = f->state;
    if (!b || r.h < 4 || r.w < 12 || f->stats->n == 0) {
        return;
    }
    update(f, b, r.w);
    const struct ui_hist h = {
        .axis = s->blocks.key.axis,
        .counts = s->blocks.counts,
        .n = s->blocks.key.columns,
        .min = NAN,
        .max = NAN,
        .unit = "",
        .t_lo = NAN,
        .t_hi = NAN,
        .log = f->app->log_counts,
        .levels = s->blocks.level,
        .n_levels = s->blocks.n_levels,
    };
    ui_printf(c, r.x, r.y, r.w, UI_STYLE_DIM, "levels of %s%s, in each block's scale", b->name,
              f->setting->format->block ? "" : " as stored");
    if (s->blocks.is_there) {
        ui_hist_draw(c, (struct ui_rect){r.x, r.y + 1, r.w, r.h - 1}, &h, f->app->glyphs);
    }
}

void layer_explain_blocks(const struct layer_frame *f, struct ui_explain *out)
{
    const struct qx_block *b = layer_block(f);
    double level[256];
    const int n = levels_of(b, level), part = b->n / b->n_sub;
    snprintf(out->title, sizeof(out->title), "blocks");
    ui_explain_add(out, "%s: %d neighbours of a row in %d bytes, %.4g bits each", b->name, b->n,
                   b->bytes, 8.0 * b->bytes / b->n);
    ui_explain_add(out, "x^ = scale * level - min; scale and min of every %d", part);
    ui_explain_add(out, "%d levels from %g to %g%s", n, level[0], level[n - 1],
                   b->level ? ", not evenly spread" : "");
    ui_explain_add(out, "The lower plot has (x + min) / scale: where values lie among the levels");
    ui_explain_add(out, f->setting->format->block
                            ? "of their own block. From up to 16,384 values, drawn evenly."
                            : "that the file gives them. From up to 16,384 values, drawn evenly.");
    if (f->setting->format->block && f->item->importance) {
        ui_explain_add(out,
                       "Scales leave the least error as the imatrix weighs it, input by input.");
    }
}

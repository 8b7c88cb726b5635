#include "widget_ladder.h"

#include <math.h>
#include <stdio.h>

enum { W_BITS = 4, W_DB = 6, W_EXTRA = 8, W_BAR_MIN = 10 };

static bool any_known(const struct ui_ladder *l, bool best)
{
    for (int i = 0; i < l->n; i++) {
        if (!isnan(best ? l->rows[i].best_db : l->rows[i].theory_db)) {
            return true;
        }
    }
    return false;
}

static void put_db(struct ui_canvas *c, int x, int y, int w, enum ui_style_id style, double db,
                   enum ui_glyphs glyphs)
{
    char text[32];
    if (isnan(db)) {
        snprintf(text, sizeof text, "%s", glyphs == UI_GLYPHS_ASCII ? ".." : "…");
        style = UI_STYLE_PREDICTED;
    } else if (isinf(db)) {
        snprintf(text, sizeof text, "exact");
    } else {
        snprintf(text, sizeof text, "%.1f", db);
    }
    ui_put_right(c, x, y, w, style, text);
}

/* A thin bar, and a tick where the best codebook would reach. */
static void draw_bar(struct ui_canvas *c, int x, int y, int w, double share, double reach,
                     enum ui_style_id style, enum ui_glyphs glyphs)
{
    bool ascii = glyphs == UI_GLYPHS_ASCII;
    int halves = share > 0 ? (int)lround(share * w * 2) : 0;
    for (int i = 0; i < w && 2 * i < halves; i++) {
        bool full = 2 * i + 1 < halves;
        ui_put(c, x + i, y, 1, style, ascii ? "=" : full ? "━" : "╸");
    }
    int tick = (int)(reach * w);
    if (reach > 0 && tick < w && 2 * tick >= halves) {
        ui_put(c, x + tick, y, 1, UI_STYLE_DIM, ascii ? ":" : "╎");
    }
}

static void draw_row(struct ui_canvas *c, struct ui_rect r, int y, const struct ui_ladder_row *row,
                     bool is_current, double top, bool theory, bool best, enum ui_glyphs glyphs)
{
    enum ui_style_id style = is_current ? UI_STYLE_VALUE : UI_STYLE_NORMAL;
    enum ui_style_id name = is_current ? UI_STYLE_BOLD : UI_STYLE_NORMAL;
    if (is_current) {
        ui_put(c, r.x, y, 1, UI_STYLE_VALUE, glyphs == UI_GLYPHS_ASCII ? ">" : "▸");
    }
    int shift = 0; /* a longer name takes the figure along */
    if (row->name) {
        shift = ui_put(c, r.x + 1, y, W_BITS, name, row->name) == W_BITS;
    } else {
        ui_printf(c, r.x + 1, y, 1, name, "%d", row->bits);
    }
    put_db(c, r.x + W_BITS - 1 + shift, y, W_DB, style, row->db, glyphs);
    int right = r.x + r.w;
    if (best) {
        right -= W_EXTRA;
        if (!isnan(row->best_db)) {
            put_db(c, right, y, W_EXTRA, UI_STYLE_DIM, row->best_db, glyphs);
        }
    }
    if (theory) {
        right -= W_EXTRA;
        if (!isnan(row->theory_db)) {
            put_db(c, right, y, W_EXTRA, UI_STYLE_DIM, row->theory_db, glyphs);
        }
    }
    int x = r.x + W_BITS + W_DB + 1;
    double share = isnan(row->db) || !(top > 0) ? 0 : isinf(row->db) ? 1 : row->db / top;
    draw_bar(c, x, y, right - x, share, isnan(row->best_db) ? 0 : row->best_db / top,
             is_current ? UI_STYLE_VALUE : UI_STYLE_BAR, glyphs);
}

void ui_ladder_draw(struct ui_canvas *c, struct ui_rect r, const struct ui_ladder *l,
                    enum ui_glyphs glyphs)
{
    if (r.w < W_BITS + W_DB) {
        return;
    }
    int base = W_BITS + W_DB + W_BAR_MIN;
    bool theory = r.w >= base + W_EXTRA && any_known(l, false);
    bool best = r.w >= base + (theory ? 2 : 1) * W_EXTRA && any_known(l, true);
    double top = 0;
    for (int i = 0; i < l->n; i++) {
        double db = l->rows[i].db, reach = l->rows[i].best_db;
        top = isfinite(db) && db > top ? db : top;
        top = isfinite(reach) && reach > top ? reach : top;
    }
    int y = r.y;
    if (r.h > l->n && r.h > 0) {
        ui_put(c, r.x + 1, y, r.w - 1, UI_STYLE_HEADER, "bits");
        ui_put_right(c, r.x + W_BITS - 1, y, W_DB, UI_STYLE_HEADER, "dB");
        if (best) {
            ui_put_right(c, r.x + r.w - W_EXTRA, y, W_EXTRA, UI_STYLE_HEADER, "best");
        }
        if (theory) {
            int x = r.x + r.w - (best ? 2 : 1) * W_EXTRA;
            ui_put_right(c, x, y, W_EXTRA, UI_STYLE_HEADER, "theory");
        }
        y++;
    }
    for (int i = 0; i < l->n && y < r.y + r.h; i++, y++) {
        bool is_current = l->rows[i].name || l->rows[i].bits == l->current;
        draw_row(c, r, y, &l->rows[i], is_current, top, theory, best, glyphs);
    }
}

int ui_ladder_hit(struct ui_rect r, const struct ui_ladder *l, int x, int y)
{
    if (x < r.x || x >= r.x + r.w) {
        return 0;
    }
    int row = y - r.y - (r.h > l->n ? 1 : 0);
    bool hit = row >= 0 && row < l->n && y < r.y + r.h && !l->rows[row].name;
    return hit ? l->rows[row].bits : 0;
}

#include "canvas.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *ui_sym(enum ui_glyphs g, enum ui_sym s)
{
    static const char *const twin[UI_SYM_COUNT][2] = {
#define UI_SYM_ROW(id, utf8, ascii) {utf8, ascii},
        UI_SYM_LIST(UI_SYM_ROW)
#undef UI_SYM_ROW
    };
    return twin[s][g == UI_GLYPHS_ASCII];
}

const char *ui_plus_minus(enum ui_glyphs g)
{
    return g == UI_GLYPHS_ASCII ? "+-" : "\u00b1";
}

bool ui_canvas_init(struct ui_canvas *c, int w, int h)
{
    w = w < 1 ? 1 : w;
    h = h < 1 ? 1 : h;
    c->cells = calloc((size_t)w * (size_t)h, sizeof(*c->cells));
    c->w = c->cells ? w : 0;
    c->h = c->cells ? h : 0;
    ui_canvas_clear(c);
    return c->cells != NULL;
}

void ui_canvas_release(struct ui_canvas *c)
{
    free(c->cells);
    memset(c, 0, sizeof(*c));
}

void ui_canvas_clear(struct ui_canvas *c)
{
    static const struct ui_cell blank = {.glyph = " ", .style = UI_STYLE_NORMAL};
    for (int i = 0; i < c->w * c->h; i++) {
        c->cells[i] = blank;
    }
}

struct ui_cell *ui_canvas_at(struct ui_canvas *c, int x, int y)
{
    if (x < 0 || y < 0 || x >= c->w || y >= c->h) {
        return NULL;
    }
    return &c->cells[y * c->w + x];
}

/* Halves of wide characters that lose their other half become spaces. */
static void break_wide(struct ui_canvas *c, int x, int y)
{
    struct ui_cell *here = ui_canvas_at(c, x, y);
    struct ui_cell *left = ui_canvas_at(c, x - 1, y);
    struct ui_cell *right = ui_canvas_at(c, x + 1, y);
    if (here && here->glyph[0] == 0 && left) {
        strcpy(left->glyph, " ");
    }
    if (here && right && right->glyph[0] == 0) {
        strcpy(right->glyph, " ");
    }
}

static void set_cell(struct ui_canvas *c, int x, int y, enum ui_style_id style, const char *glyph,
                     int n)
{
    struct ui_cell *cell = ui_canvas_at(c, x, y);
    if (!cell) {
        return;
    }
    break_wide(c, x, y);
    memset(cell->glyph, 0, sizeof(cell->glyph));
    memcpy(cell->glyph, glyph, (size_t)n);
    cell->style = (unsigned char)style;
    cell->ink = cell->ground = 0;
}

void ui_put_shades(struct ui_canvas *c, int x, int y, int above, int below)
{
    struct ui_cell *cell = ui_canvas_at(c, x, y);
    if (cell) {
        set_cell(c, x, y, UI_STYLE_NORMAL, above ? "\u2580" : "\u2584", 3);
        cell->ink = (unsigned char)(above ? above : below);
        cell->ground = (unsigned char)(above ? below : 0);
    }
}

int ui_put(struct ui_canvas *c, int x, int y, int max_w, enum ui_style_id style, const char *text)
{
    int limit = max_w < 0 || max_w > c->w - x ? c->w - x : max_w;
    int used = 0;
    size_t len = strlen(text);
    while (len > 0 && used < limit) {
        int cp;
        int n = ui_utf8_decode(text, len, &cp);
        int width = cp < 0 ? 0 : ui_utf8_width(cp);
        if (width == 0) {
            set_cell(c, x + used, y, style, "?", 1);
            width = 1;
        } else if (width == 1) {
            set_cell(c, x + used, y, style, text, n);
        } else if (used + 2 <= limit) {
            set_cell(c, x + used, y, style, text, n);
            set_cell(c, x + used + 1, y, style, " ", 1);
            struct ui_cell *half = ui_canvas_at(c, x + used + 1, y);
            struct ui_cell *lead = ui_canvas_at(c, x + used, y);
            if (half && lead) {
                half->glyph[0] = 0;
            }
        } else {
            set_cell(c, x + used, y, style, " ", 1);
            width = 1;
        }
        used += width;
        text += n;
        len -= (size_t)n;
    }
    return used < 0 ? 0 : used;
}

int ui_put_cut(struct ui_canvas *c, int x, int y, int max_w, enum ui_style_id style,
               const char *text, enum ui_glyphs g)
{
    const char *dots = g == UI_GLYPHS_ASCII ? ".." : "\u2026";
    int w_dots = ui_text_width(dots);
    if (max_w <= 2 * w_dots || ui_text_width(text) <= max_w) {
        return ui_put(c, x, y, max_w > 0 ? max_w : 0, style, text);
    }
    enum { LOOK_BACK = 12 }; /* cells: whole words where more than half of the text stays */
    int used = ui_put(c, x, y, max_w - w_dots, style, text), last = used;
    for (int i = used - 1; i > used / 2 && i >= used - LOOK_BACK && last == used; i--) {
        const struct ui_cell *cell = ui_canvas_at(c, x + i, y);
        last = cell && cell->glyph[0] == ' ' ? i : last;
    }
    for (int i = last; i < used; i++) {
        ui_put(c, x + i, y, 1, style, " ");
    }
    return last + ui_put(c, x + last, y, w_dots, style, dots);
}

int ui_printf(struct ui_canvas *c, int x, int y, int max_w, enum ui_style_id style, const char *fmt,
              ...)
{
    char buf[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    return ui_put(c, x, y, max_w, style, buf);
}

int ui_text_width(const char *text)
{
    int used = 0;
    size_t len = strlen(text);
    while (len > 0) {
        int cp;
        int n = ui_utf8_decode(text, len, &cp);
        int width = cp < 0 ? 0 : ui_utf8_width(cp);
        used += width ? width : 1;
        text += n;
        len -= (size_t)n;
    }
    return used;
}

void ui_put_right(struct ui_canvas *c, int x, int y, int w, enum ui_style_id style,
                  const char *text)
{
    int width = ui_text_width(text);
    if (width > w) {
        width = w;
    }
    ui_put(c, x + w - width, y, width, style, text);
}

void ui_fill(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style, const char *glyph)
{
    int n = (int)strlen(glyph);
    for (int y = r.y; y < r.y + r.h; y++) {
        for (int x = r.x; x < r.x + r.w; x++) {
            set_cell(c, x, y, style, glyph, n);
        }
    }
}

void ui_restyle(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style)
{
    for (int y = r.y; y < r.y + r.h; y++) {
        for (int x = r.x; x < r.x + r.w; x++) {
            struct ui_cell *cell = ui_canvas_at(c, x, y);
            if (cell) {
                cell->style = (unsigned char)style;
                cell->ink = cell->ground = 0;
            }
        }
    }
}

void ui_hline(struct ui_canvas *c, int x, int y, int w, enum ui_glyphs g)
{
    ui_fill(c, (struct ui_rect){x, y, w, 1}, UI_STYLE_FRAME, ui_sym(g, UI_SYM_HLINE));
}

void ui_box(struct ui_canvas *c, struct ui_rect r, enum ui_glyphs g, enum ui_style_id style,
            const char *title)
{
    if (r.w < 2 || r.h < 2) {
        return;
    }
    int right = r.x + r.w - 1, bottom = r.y + r.h - 1;
    ui_fill(c, r, UI_STYLE_POPUP, " ");
    ui_fill(c, (struct ui_rect){r.x, r.y, r.w, 1}, style, ui_sym(g, UI_SYM_HLINE));
    ui_fill(c, (struct ui_rect){r.x, bottom, r.w, 1}, style, ui_sym(g, UI_SYM_HLINE));
    ui_fill(c, (struct ui_rect){r.x, r.y, 1, r.h}, style, ui_sym(g, UI_SYM_VLINE));
    ui_fill(c, (struct ui_rect){right, r.y, 1, r.h}, style, ui_sym(g, UI_SYM_VLINE));
    ui_put(c, r.x, r.y, 1, style, ui_sym(g, UI_SYM_TOP_LEFT));
    ui_put(c, right, r.y, 1, style, ui_sym(g, UI_SYM_TOP_RIGHT));
    ui_put(c, r.x, bottom, 1, style, ui_sym(g, UI_SYM_BOTTOM_LEFT));
    ui_put(c, right, bottom, 1, style, ui_sym(g, UI_SYM_BOTTOM_RIGHT));
    if (title && r.w > 6) {
        ui_put(c, r.x + 2, r.y, 1, style, " ");
        int n = ui_put(c, r.x + 3, r.y, r.w - 6, UI_STYLE_TITLE, title);
        ui_put(c, r.x + 3 + n, r.y, 1, style, " ");
    }
}

bool ui_rect_has(struct ui_rect r, int x, int y)
{
    return r.w > 0 && x >= r.x && x < r.x + r.w && y >= r.y && y < r.y + r.h;
}

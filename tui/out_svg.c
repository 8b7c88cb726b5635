/* SVG: letters are text, everything else (blocks, braille, lines) is drawn, so that the picture looks
 * the same wherever it is shown. */
#include "out.h"

#include "utf8.h"

#include <string.h>

enum { CELL_W = 8, CELL_H = 17, BASELINE = 13, MARGIN = 10 };

struct ink {
    int fg, bg;
    unsigned attrs;
};

static int blend(int a, int b)
{
    int r = ((a >> 16) * 11 + (b >> 16) * 9) / 20;
    int g = ((a >> 8 & 255) * 11 + (b >> 8 & 255) * 9) / 20;
    return r << 16 | g << 8 | ((a & 255) * 11 + (b & 255) * 9) / 20;
}

static struct ink ink_of(const struct ui_theme *t, const struct ui_cell *cell)
{
    const struct ui_look look = ui_look_shaded(&t->look[cell->style], cell->ink, cell->ground);
    struct ink ink = {look.fg < 0 ? t->text : look.fg, look.bg < 0 ? t->back : look.bg, look.attrs};
    bool coloured = look.fg >= 0 || look.bg >= 0;
    if (!coloured && !look.attrs && strcmp(t->name, "mono") == 0) {
        ink.attrs = look.mono;
    }
    if (ink.attrs & UI_ATTR_REVERSE) {
        int swap = ink.fg;
        ink.fg = ink.bg;
        ink.bg = swap;
    }
    if (ink.attrs & UI_ATTR_DIM) {
        ink.fg = blend(ink.fg, ink.bg);
    }
    return ink;
}

static void rect(FILE *f, double x, double y, double w, double h, int rgb, double opacity)
{
    fprintf(f, "<rect x=\"%.4g\" y=\"%.4g\" width=\"%.4g\" height=\"%.4g\" fill=\"#%06x\"", x, y, w,
            h, rgb);
    if (opacity < 1) {
        fprintf(f, " fill-opacity=\"%.2g\"", opacity);
    }
    fputs("/>\n", f);
}

static int braille_bits(const struct ui_cell *cell)
{
    int cp;
    ui_utf8_decode(cell->glyph, strlen(cell->glyph), &cp);
    return cp >= 0x2800 && cp <= 0x28ff ? cp - 0x2800 : -1;
}

/* A run of braille of one style: dots that are all set by a pattern, the others as one path. */
static int braille_run(FILE *f, const struct ui_canvas *c, int x, int y, const struct ink *ink)
{
    static const int col[8] = {0, 0, 0, 1, 1, 1, 0, 1}, row[8] = {0, 1, 2, 0, 1, 2, 3, 3};
    const struct ui_cell *cells = &c->cells[y * c->w];
    bool full = braille_bits(&cells[x]) == 255;
    int end = x, bits;
    while (end < c->w && cells[end].style == cells[x].style &&
           (bits = braille_bits(&cells[end])) >= 0 && (bits == 255) == full) {
        end++;
    }
    if (full) {
        fprintf(f, "<path fill=\"url(#d%d)\" d=\"M%d %dh%dv%dh-%dz\"/>\n", cells[x].style,
                MARGIN + x * CELL_W, MARGIN + y * CELL_H, (end - x) * CELL_W, CELL_H,
                (end - x) * CELL_W);
        return end;
    }
    fprintf(f, "<path fill=\"#%06x\" d=\"", ink->fg);
    for (int i = x; i < end; i++) {
        for (int k = 0; k < 8; k++) {
            if (braille_bits(&cells[i]) >> k & 1) {
                fprintf(f, "M%.4g %.5gh3.2v3.4h-3.2z", MARGIN + i * CELL_W + col[k] * 4 + 0.4,
                        MARGIN + y * CELL_H + row[k] * 4.25 + 0.4);
            }
        }
    }
    fputs("\"/>\n", f);
    return end;
}

/* One pattern of dots for each style that shows braille. */
static void patterns(FILE *f, const struct ui_canvas *c, const struct ui_theme *t)
{
    bool seen[UI_STYLE_COUNT] = {false};
    fputs("<defs>", f);
    for (int i = 0; i < c->w * c->h; i++) {
        unsigned char style = c->cells[i].style;
        if (!seen[style] && braille_bits(&c->cells[i]) == 255) {
            seen[style] = true;
            fprintf(f,
                    "<pattern id=\"d%d\" x=\"%d\" y=\"%d\" width=\"4\" height=\"4.25\" "
                    "patternUnits=\"userSpaceOnUse\"><path fill=\"#%06x\" "
                    "d=\"M.4 .4h3.2v3.4h-3.2z\"/></pattern>",
                    style, MARGIN, MARGIN, ink_of(t, &c->cells[i]).fg);
        }
    }
    fputs("</defs>\n", f);
}

/* Arms of a line glyph: left, right, up, down; -1 when it is none. */
static int line_arms(int cp)
{
    static const struct {
        int cp, arms;
    } table[] = {{0x2500, 12}, {0x2502, 3},  {0x2503, 19}, {0x250c, 5},  {0x2510, 9},
                 {0x2514, 6},  {0x2518, 10}, {0x251c, 7},  {0x2524, 11}, {0x252c, 13},
                 {0x2534, 14}, {0x253c, 15}, {0x2501, 28}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].cp == cp) {
            return table[i].arms;
        }
    }
    return -1;
}

static void line(FILE *f, double x, double y, int arms, int rgb)
{
    double thick = arms & 16 ? 3 : 1.2, cx = x + CELL_W / 2.0, cy = y + CELL_H / 2.0;
    if (arms & 12) {
        double from = arms & 8 ? x : cx - thick / 2, to = arms & 4 ? x + CELL_W : cx + thick / 2;
        rect(f, from, cy - thick / 2, to - from, thick, rgb, 1);
    }
    if (arms & 3) {
        double from = arms & 2 ? y : cy, to = arms & 1 ? y + CELL_H : cy;
        rect(f, cx - thick / 2, from, thick, to - from, rgb, 1);
    }
}

/* Draws the glyph as a shape; false when it is a letter. */
static bool shape(FILE *f, double x, double y, int cp, int rgb)
{
    int arms = line_arms(cp);
    if (arms >= 0) {
        line(f, x, y, arms, rgb);
    } else if (cp >= 0x2581 && cp <= 0x2588) {
        double h = (cp - 0x2580) * CELL_H / 8.0;
        rect(f, x, y + CELL_H - h, CELL_W, h, rgb, 1);
    } else if (cp >= 0x2589 && cp <= 0x258f) {
        rect(f, x, y, (0x2590 - cp) * CELL_W / 8.0, CELL_H, rgb, 1);
    } else if (cp == 0x2580) {
        rect(f, x, y, CELL_W, CELL_H / 2.0, rgb, 1);
    } else if (cp >= 0x2591 && cp <= 0x2593) {
        rect(f, x, y, CELL_W, CELL_H, rgb, 0.25 * (cp - 0x2590));
    } else {
        return false;
    }
    return true;
}

void ui_out_escaped(FILE *f, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        default:
            fputc(*text, f);
        }
    }
}

static bool is_letter(const struct ui_cell *cell)
{
    int cp;
    ui_utf8_decode(cell->glyph, strlen(cell->glyph), &cp);
    return cell->glyph[0] != 0 && cell->glyph[0] != ' ' &&
           !(line_arms(cp) >= 0 || (cp >= 0x2580 && cp <= 0x2593) ||
             (cp >= 0x2800 && cp <= 0x28ff));
}

/* A run of letters of one style, from x on; returns the cell after it. */
static int text_run(FILE *f, const struct ui_canvas *c, int x, int y, const struct ink *ink)
{
    const struct ui_cell *row = &c->cells[y * c->w];
    int end = x;
    while (end < c->w && row[end].style == row[x].style && is_letter(&row[end])) {
        end++;
    }
    fprintf(f, "<text x=\"%d\" y=\"%d\" fill=\"#%06x\" textLength=\"%d\"%s%s>", MARGIN + x * CELL_W,
            MARGIN + y * CELL_H + BASELINE, ink->fg, (end - x) * CELL_W,
            ink->attrs & UI_ATTR_BOLD ? " font-weight=\"bold\"" : "",
            ink->attrs & UI_ATTR_UNDERLINE ? " text-decoration=\"underline\"" : "");
    for (int i = x; i < end; i++) {
        ui_out_escaped(f, row[i].glyph);
    }
    fputs("</text>\n", f);
    return end;
}

static void draw_row(FILE *f, const struct ui_canvas *c, const struct ui_theme *t, int y)
{
    const struct ui_cell *row = &c->cells[y * c->w];
    for (int x = 0, end; x < c->w; x = end) { /* grounds first: they lie under all glyphs */
        struct ink ink = ink_of(t, &row[x]);
        for (end = x + 1;
             end < c->w && row[end].style == row[x].style && row[end].ground == row[x].ground;
             end++) {
        }
        if (ink.bg != t->back) {
            rect(f, MARGIN + x * CELL_W, MARGIN + y * CELL_H, (end - x) * CELL_W, CELL_H, ink.bg,
                 1);
        }
    }
    for (int x = 0; x < c->w;) {
        struct ink ink = ink_of(t, &row[x]);
        int cp;
        ui_utf8_decode(row[x].glyph, strlen(row[x].glyph), &cp);
        if (is_letter(&row[x])) {
            x = text_run(f, c, x, y, &ink);
        } else if (braille_bits(&row[x]) >= 0) {
            x = braille_run(f, c, x, y, &ink);
        } else {
            if (cp > 32) {
                shape(f, MARGIN + x * CELL_W, MARGIN + y * CELL_H, cp, ink.fg);
            }
            x++;
        }
    }
}

void ui_out_svg(FILE *f, const struct ui_canvas *c, const struct ui_theme *t, const char *title)
{
    int w = c->w * CELL_W + 2 * MARGIN, h = c->h * CELL_H + 2 * MARGIN;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" role=\"img\">\n",
            w, h, w, h);
    if (title) {
        fputs("<title>", f);
        for (const char *p = title; *p; p++) {
            char one[2] = {*p, 0};
            ui_out_escaped(f, one);
        }
        fputs("</title>\n", f);
    }
    fputs("<style>text{font-family:\"DejaVu Sans "
          "Mono\",Menlo,Consolas,monospace;font-size:13.3px;white-space:pre}</style>\n",
          f);
    patterns(f, c, t);
    fprintf(f, "<rect width=\"%d\" height=\"%d\" rx=\"8\" fill=\"#%06x\"/>\n", w, h, t->back);
    for (int y = 0; y < c->h; y++) {
        draw_row(f, c, t, y);
    }
    fputs("</svg>\n", f);
}

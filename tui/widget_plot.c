#include "widget_plot.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const unsigned char dot_bits[2][4] = {{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}};
static const char *const eighths[9] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
static const char ascii_ramp[] = " .-=#";

static void put_glyph(struct ui_canvas *c, int x, int y, const char *glyph, unsigned char style)
{
    struct ui_cell *cell = ui_canvas_at(c, x, y);
    if (cell) {
        snprintf(cell->glyph, sizeof cell->glyph, "%s", glyph);
        cell->style = style;
    }
}

static void put_braille(struct ui_canvas *c, int x, int y, unsigned bits, unsigned char style)
{
    if (bits == 0) {
        return; /* fonts that draw the dots of U+2800 would speckle the background */
    }
    char glyph[4] = {(char)0xe2, (char)(0xa0 | bits >> 6), (char)(0x80 | (bits & 0x3f)), 0};
    put_glyph(c, x, y, glyph, style);
}

static int dots_of(double v, int rows)
{
    if (!(v > 0)) {
        return 0;
    }
    int dots = (int)lround(v * rows);
    return dots < 1 ? 1 : dots > rows ? rows : dots;
}

static unsigned bar_bits(int left, int right, int base, bool hatched)
{
    unsigned bits = 0;
    for (int row = 0; row < 4; row++) {
        int level = base + 3 - row;
        if (left > level && !(hatched && (row & 1))) {
            bits |= dot_bits[0][row];
        }
        if (right > level && !(hatched && !(row & 1))) {
            bits |= dot_bits[1][row];
        }
    }
    return bits;
}

static void bars_braille(struct ui_canvas *c, struct ui_rect r, const double *v, int n,
                         const struct ui_plot_cell *cells)
{
    for (int x = 0; x < r.w && 2 * x < n; x++) {
        int left = dots_of(v[2 * x], 4 * r.h);
        int right = 2 * x + 1 < n ? dots_of(v[2 * x + 1], 4 * r.h) : 0;
        unsigned char style = cells ? cells[x].style : UI_STYLE_BAR;
        bool hatched = cells && cells[x].hatched;
        for (int y = 0; y < r.h; y++) {
            int base = 4 * (r.h - 1 - y);
            /* A lone bottom dot is never hatched away. */
            bool keep = base == 0 && left <= 1 && right <= 1;
            put_braille(c, r.x + x, r.y + y, bar_bits(left, right, base, hatched && !keep), style);
        }
    }
}

static void bars_cells(struct ui_canvas *c, struct ui_rect r, const double *v, int n,
                       const struct ui_plot_cell *cells, enum ui_glyphs glyphs)
{
    int steps = glyphs == UI_GLYPHS_ASCII ? 4 : 8;
    for (int x = 0; x < r.w && 2 * x < n; x++) {
        double value = v[2 * x];
        if (2 * x + 1 < n && v[2 * x + 1] > value) {
            value = v[2 * x + 1];
        }
        int full = dots_of(value, steps * r.h);
        unsigned char style = cells ? cells[x].style : UI_STYLE_BAR;
        bool hatched = cells && cells[x].hatched;
        for (int y = 0; y < r.h; y++) {
            int part = full - steps * (r.h - 1 - y);
            if (part <= 0) {
                continue;
            }
            part = part > steps ? steps : part;
            char ascii[2] = {ascii_ramp[part < 4 ? part : 4], 0};
            if (glyphs == UI_GLYPHS_ASCII) {
                put_glyph(c, r.x + x, r.y + y, hatched && part == 4 ? ":" : ascii, style);
            } else {
                put_glyph(c, r.x + x, r.y + y, hatched && part == 8 ? "▒" : eighths[part], style);
            }
        }
    }
}

void ui_plot_bars(struct ui_canvas *c, struct ui_rect r, const double *v, int n,
                  const struct ui_plot_cell *cells, enum ui_glyphs glyphs)
{
    if (r.w <= 0 || r.h <= 0) {
        return;
    }
    if (glyphs == UI_GLYPHS_BRAILLE) {
        bars_braille(c, r, v, n, cells);
    } else {
        bars_cells(c, r, v, n, cells, glyphs);
    }
}

static int dot_row(double v, int rows)
{
    double clamped = v < 0 ? 0 : v > 1 ? 1 : v;
    return (int)lround(clamped * (rows - 1));
}

static void line_braille(struct ui_canvas *c, struct ui_rect r, const double *v, int n,
                         enum ui_style_id style)
{
    int rows = 4 * r.h;
    int last = -1;
    for (int x = 0; x < r.w; x++) {
        int lo[2] = {0, 0}, hi[2] = {-1, -1};
        for (int k = 0; k < 2; k++) {
            int i = 2 * x + k;
            if (i >= n || isnan(v[i])) {
                last = -1;
                continue;
            }
            int at = dot_row(v[i], rows);
            lo[k] = hi[k] = at;
            /* Join to the column before, so that steep flanks stay one line. */
            if (last >= 0 && last > at + 1) {
                hi[k] = last - 1;
            } else if (last >= 0 && last < at - 1) {
                lo[k] = last + 1;
            }
            last = at;
        }
        for (int y = 0; y < r.h; y++) {
            unsigned bits = 0;
            for (int row = 0; row < 4; row++) {
                int level = 4 * (r.h - 1 - y) + 3 - row;
                for (int k = 0; k < 2; k++) {
                    if (level >= lo[k] && level <= hi[k]) {
                        bits |= dot_bits[k][row];
                    }
                }
            }
            put_braille(c, r.x + x, r.y + y, bits, (unsigned char)style);
        }
    }
}

static void line_cells(struct ui_canvas *c, struct ui_rect r, const double *v, int n,
                       enum ui_style_id style, enum ui_glyphs glyphs)
{
    double filled[UI_PLOT_COLUMNS];
    struct ui_plot_cell cells[UI_PLOT_COLUMNS / 2];
    int used = n < UI_PLOT_COLUMNS ? n : UI_PLOT_COLUMNS;
    for (int i = 0; i < used; i++) {
        filled[i] = isnan(v[i]) ? 0 : v[i] < 0 ? 0 : v[i] > 1 ? 1 : v[i];
        cells[i / 2] = (struct ui_plot_cell){.style = (unsigned char)style};
    }
    ui_plot_bars(c, r, filled, used, cells, glyphs);
}

void ui_plot_line(struct ui_canvas *c, struct ui_rect r, const double *v, int n,
                  enum ui_style_id style, enum ui_glyphs glyphs)
{
    if (r.w <= 0 || r.h <= 0) {
        return;
    }
    if (glyphs == UI_GLYPHS_BRAILLE) {
        line_braille(c, r, v, n, style);
    } else {
        line_cells(c, r, v, n, style, glyphs);
    }
}

void ui_spark(char *out, const double *v, int n, int w, double top, enum ui_glyphs glyphs)
{
    out[0] = '\0';
    size_t at = 0;
    for (int x = 0; x < w; x++) {
        int first = (int)((int64_t)x * n / w), last = (int)((int64_t)(x + 1) * n / w);
        double largest = 0;
        for (int i = first; i < last || i == first; i++) {
            if (i < n && v[i] > largest) {
                largest = v[i];
            }
        }
        if (glyphs == UI_GLYPHS_ASCII) {
            out[at++] = ascii_ramp[top > 0 ? dots_of(largest / top, 4) : 0];
            out[at] = '\0';
        } else {
            /* Seven eighths: neighbouring rows of a list do not run into each other. */
            const char *glyph = eighths[top > 0 ? dots_of(largest / top, 7) : 0];
            size_t len = strlen(glyph);
            memcpy(out + at, glyph, len + 1);
            at += len;
        }
    }
}

void ui_bar(struct ui_canvas *c, int x, int y, int w, double share, enum ui_style_id full,
            enum ui_style_id track, enum ui_glyphs glyphs)
{
    static const char *const left[8] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double part = share > 1 ? 1 : share > 0 ? share : 0;
    int cells = (int)lround(part * w * 8);
    for (int i = 0; i < w; i++) {
        int filled = cells - 8 * i;
        if (glyphs == UI_GLYPHS_ASCII) {
            bool on = filled >= 4;
            put_glyph(c, x + i, y, on ? "#" : ".", (unsigned char)(on ? full : track));
        } else if (filled >= 8) {
            put_glyph(c, x + i, y, "█", (unsigned char)full);
        } else if (filled > 0) {
            put_glyph(c, x + i, y, left[filled], (unsigned char)full);
        } else if (track != full) {
            put_glyph(c, x + i, y, "·", (unsigned char)track);
        }
    }
}

#include "widget_big.h"

#include "utf8.h"

#include <string.h>

enum { COLUMNS = 3, ROWS = 5 };

/* Five rows of three dots each, the first row and the left dot in the highest bit. */
static const struct {
    char c;
    unsigned short dots;
} font[] = {
    {'0', 075557}, {'1', 026227}, {'2', 071747}, {'3', 071717}, {'4', 055711}, {'5', 074717},
    {'6', 074757}, {'7', 071111}, {'8', 075757}, {'9', 075717}, {'+', 002720}, {'-', 000700},
    {'.', 000002}, {',', 000024}, {'%', 051245}, {' ', 000000},
};

/* Dots of a character, -1 when it has none. */
static int dots_of(int cp)
{
    cp = cp == 0x2212 ? '-' : cp; /* the minus sign */
    for (size_t i = 0; i < sizeof(font) / sizeof(font[0]); i++) {
        if (font[i].c == cp) {
            return font[i].dots;
        }
    }
    return -1;
}

static bool dot(int dots, int row, int column)
{
    return row < ROWS && dots >> (COLUMNS * (ROWS - 1 - row) + COLUMNS - 1 - column) & 1;
}

int ui_big_height(enum ui_glyphs glyphs)
{
    return glyphs == UI_GLYPHS_ASCII ? ROWS : (ROWS + 1) / 2;
}

static int advance(int cp)
{
    return dots_of(cp) >= 0 ? COLUMNS + 1 : ui_utf8_width(cp);
}

int ui_big_width(const char *text)
{
    const size_t len = strlen(text);
    int w = 0, cp;
    for (size_t at = 0; at < len;) {
        at += ui_utf8_decode(text + at, len - at, &cp);
        w += advance(cp);
    }
    return w;
}

static void draw_dots(struct ui_canvas *c, int x, int y, enum ui_style_id style, enum ui_glyphs g,
                      int dots)
{
    static const char *const half[] = {NULL, "\u2584", "\u2580", "\u2588"};
    for (int row = 0; row < ui_big_height(g); row++) {
        for (int column = 0; column < COLUMNS; column++) {
            const char *glyph =
                g == UI_GLYPHS_ASCII
                    ? (dot(dots, row, column) ? "#" : NULL)
                    : half[2 * dot(dots, 2 * row, column) + dot(dots, 2 * row + 1, column)];
            if (glyph) {
                ui_put(c, x + column, y + row, 1, style, glyph);
            }
        }
    }
}

void ui_big_draw(struct ui_canvas *c, int x, int y, enum ui_style_id style, enum ui_glyphs glyphs,
                 const char *text)
{
    const size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        int cp;
        char one[8] = "";
        const size_t bytes = ui_utf8_decode(text + at, len - at, &cp);
        const int dots = dots_of(cp);
        if (dots >= 0) {
            draw_dots(c, x, y, style, glyphs, dots);
        } else if (cp > 0 && bytes < sizeof(one)) {
            memcpy(one, text + at, bytes);
            ui_put(c, x, y + ui_big_height(glyphs) - 1, 2, style, one);
        }
        x += advance(cp);
        at += bytes;
    }
}

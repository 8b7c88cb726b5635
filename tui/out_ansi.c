#include "out.h"

#include <string.h>

static size_t put_colour(char *buf, size_t cap, int rgb, bool back, enum ui_colour colour)
{
    int base = back ? 40 : 30;
    if (rgb < 0 || colour == UI_COLOUR_NONE) {
        return 0;
    }
    if (colour == UI_COLOUR_TRUE) {
        return (size_t)snprintf(buf, cap, ";%d;2;%d;%d;%d", base + 8, rgb >> 16, rgb >> 8 & 255,
                                rgb & 255);
    }
    if (colour == UI_COLOUR_256) {
        return (size_t)snprintf(buf, cap, ";%d;5;%d", base + 8, ui_colour_256(rgb));
    }
    int n = ui_colour_16(rgb);
    return (size_t)snprintf(buf, cap, ";%d", n < 8 ? base + n : base + 60 + n - 8);
}

char *ui_out_sgr(const struct ui_look *look, enum ui_colour colour, char *buf, size_t cap)
{
    unsigned attrs = colour == UI_COLOUR_NONE ? look->mono : look->attrs;
    size_t n =
        (size_t)snprintf(buf, cap, "\033[0%s%s%s%s", attrs & UI_ATTR_BOLD ? ";1" : "",
                         attrs & UI_ATTR_DIM ? ";2" : "", attrs & UI_ATTR_UNDERLINE ? ";4" : "",
                         attrs & UI_ATTR_REVERSE ? ";7" : "");
    n += put_colour(buf + n, cap - n, look->fg, false, colour);
    n += put_colour(buf + n, cap - n, look->bg, true, colour);
    snprintf(buf + n, cap - n, "m");
    return buf;
}

void ui_out_ansi(FILE *f, const struct ui_canvas *c, const struct ui_theme *t,
                 enum ui_colour colour)
{
    char sgr[80];
    for (int y = 0; y < c->h; y++) {
        struct ui_cell last = {.style = UI_STYLE_NORMAL};
        for (int x = 0; x < c->w; x++) {
            const struct ui_cell *cell = &c->cells[y * c->w + x];
            if (cell->style != last.style || cell->ink != last.ink || cell->ground != last.ground) {
                const struct ui_look look =
                    ui_look_shaded(&t->look[cell->style], cell->ink, cell->ground);
                last = *cell;
                fputs(ui_out_sgr(&look, colour, sgr, sizeof(sgr)), f);
            }
            fputs(cell->glyph, f);
        }
        fputs("\033[0m\n", f);
    }
}

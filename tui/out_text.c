#include "out.h"

#include "file.h"

#include <string.h>

static int row_end(const struct ui_canvas *c, int y, bool plane)
{
    int end = c->w;
    for (; end > 0; end--) {
        const struct ui_cell *cell = &c->cells[y * c->w + end - 1];
        if (plane ? cell->style != UI_STYLE_NORMAL || cell->ink : strcmp(cell->glyph, " ") != 0) {
            break;
        }
    }
    return end;
}

void ui_out_text(FILE *f, const struct ui_canvas *c)
{
    for (int y = 0; y < c->h; y++) {
        int end = row_end(c, y, false);
        for (int x = 0; x < end; x++) {
            fputs(c->cells[y * c->w + x].glyph, f);
        }
        fputc('\n', f);
    }
}

void ui_out_plane(FILE *f, const struct ui_canvas *c)
{
    static const char letter[] = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (int y = 0; y < c->h; y++) {
        int end = row_end(c, y, true);
        for (int x = 0; x < end; x++) {
            const struct ui_cell *cell = &c->cells[y * c->w + x];
            fputc(cell->ink ? '0' + (cell->ink - 1) % UI_SHADES * 10 / UI_SHADES
                            : letter[cell->style],
                  f);
        }
        fputc('\n', f);
    }
}

bool ui_out_file(const char *path, const struct ui_canvas *c, const struct ui_theme *t,
                 enum ui_colour colour, const char *title)
{
    const char *dot = strrchr(path, '.');
    struct ui_file file;
    if (!ui_file_begin(&file, path)) {
        return false;
    }
    FILE *f = file.f;
    if (dot && strcmp(dot, ".svg") == 0) {
        ui_out_svg(f, c, t, title);
    } else if (dot && strcmp(dot, ".ansi") == 0) {
        ui_out_ansi(f, c, t, colour);
    } else if (dot && strcmp(dot, ".plane") == 0) {
        ui_out_plane(f, c);
    } else {
        ui_out_text(f, c);
    }
    return ui_file_end(&file);
}

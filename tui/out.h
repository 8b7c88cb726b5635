/* Pictures of a canvas: text, ANSI, SVG. No terminal, no curses. */
#ifndef UI_OUT_H
#define UI_OUT_H

#include "canvas.h"
#include "style.h"

#include <stdbool.h>
#include <stdio.h>

/* Rows of text, trailing spaces cut. */
void ui_out_text(FILE *f, const struct ui_canvas *c);
/* The attribute plane as text: one letter per cell (a, b, c ... by enum ui_style_id; space for
 * UI_STYLE_NORMAL; 0..9 by the shade of the ink of a heat map), trailing spaces cut. For golden files. */
void ui_out_plane(FILE *f, const struct ui_canvas *c);
/* Text with SGR sequences; every row ends with a reset. */
void ui_out_ansi(FILE *f, const struct ui_canvas *c, const struct ui_theme *t,
                 enum ui_colour colour);
/* Text between tags of SVG and HTML. */
void ui_out_escaped(FILE *f, const char *text);
/* A picture that needs no font but for letters: blocks, bars, braille and lines are drawn as shapes.
 * title (NULL = none): for readers who cannot see it. */
void ui_out_svg(FILE *f, const struct ui_canvas *c, const struct ui_theme *t, const char *title);
/* By the ending of path: .svg, .ansi, .plane, else text. False with errno when it cannot be written. */
bool ui_out_file(const char *path, const struct ui_canvas *c, const struct ui_theme *t,
                 enum ui_colour colour, const char *title);
/* SGR of a look ("\033[0;1;38;5;33m"), at most cap bytes. */
char *ui_out_sgr(const struct ui_look *look, enum ui_colour colour, char *buf, size_t cap);

#endif

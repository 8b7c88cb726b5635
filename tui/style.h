/* Semantic styles; themes give them colours (assets/themes, style.c). Beside them only the shades of heat
 * maps have colours, the same in every theme. */
#ifndef UI_STYLE_H
#define UI_STYLE_H

#include <stdbool.h>

/* Columns: enumerator, what it is for. */
#define UI_STYLE_LIST(X)                                       \
    X(NORMAL, "text")                                          \
    X(DIM, "secondary text, empty tracks")                     \
    X(BOLD, "emphasis")                                        \
    X(TITLE, "breadcrumb, screen titles")                      \
    X(HEADER, "column headers")                                \
    X(FRAME, "rules and borders")                              \
    X(SELECTED, "the row under the cursor")                    \
    X(MARKED, "marked rows")                                   \
    X(KEY, "a key in a hint")                                  \
    X(HINT, "text of a hint")                                  \
    X(KEPT, "histogram mass inside the threshold")             \
    X(CLIPPED, "histogram mass beyond the threshold")          \
    X(HANDLE, "the threshold you hold")                        \
    X(LEVEL, "quantization levels")                            \
    X(MAGNET, "calibrators' choices on the axis")              \
    X(CURVE, "error valley, other curves")                     \
    X(BAR, "bars of the ladder, sizes")                        \
    X(VALUE, "a figure that changes as you drag")              \
    X(MEASURED, "a measured figure")                           \
    X(PREDICTED, "an approximated, predicted or stale figure") \
    X(GOOD, "better")                                          \
    X(BAD, "worse, errors")                                    \
    X(WARN, "warnings, reasons")                               \
    X(SIDE_A, "recipe A")                                      \
    X(SIDE_B, "recipe B")                                      \
    X(PROMPT, "the prompt line")                               \
    X(POPUP, "popups: which-key, help, explain")               \
    X(TOAST, "short notices")                                  \
    X(CHANGED, "a figure that changed within the last second") \
    X(DISABLED, "greyed rows and commands")

enum ui_style_id {
#define UI_STYLE_ENUM(name, help) UI_STYLE_##name,
    UI_STYLE_LIST(UI_STYLE_ENUM)
#undef UI_STYLE_ENUM
        UI_STYLE_COUNT
};

/* Attributes of a style. Colours are 0xRRGGBB, or -1 for the terminal's default. */
enum { UI_ATTR_BOLD = 1, UI_ATTR_DIM = 2, UI_ATTR_REVERSE = 4, UI_ATTR_UNDERLINE = 8 };
struct ui_look {
    int fg, bg;
    unsigned attrs;
    unsigned mono; /* attributes when there is no colour */
};

struct ui_theme {
    char name[24];
    struct ui_look look[UI_STYLE_COUNT];
    int back, text; /* ground of pictures (SVG): background and default text */
};

/* Load assets/themes/NAME.conf ("NAME = #rrggbb on #rrggbb bold | mono: reverse"); the built-in mono
 * theme when NULL or "mono", or when the file is missing. False when it was missing or had wrong lines
 * (logged with file and line; the rest of the file counts). */
bool ui_theme_load(struct ui_theme *theme, const char *name);
/* Name of the style ("KEPT") and back; -1 when unknown. */
const char *ui_style_name(enum ui_style_id id);
int ui_style_find(const char *name);
/* Shades of heat maps. 0 = none: the style's own colour. */
enum { UI_SHADES = 64, UI_SHADE_CURSOR = 2 * UI_SHADES, UI_SHADE_COUNT };
/* Sequential (dark blue to yellow, in the manner of cividis: Nunez et al. 2018) for x in 0..1; diverging
 * (blue, dark, orange) for x in -1..1. What lies beyond takes the end. */
int ui_shade_sequential(double x);
int ui_shade_diverging(double x);
int ui_shade_rgb(int shade); /* 0xRRGGBB; -1 for 0 */

/* What a screen can show of colour. */
enum ui_colour { UI_COLOUR_NONE, UI_COLOUR_16, UI_COLOUR_256, UI_COLOUR_TRUE };

/* Nearest of the 256-colour cube and greys, and of the 16 colours. */
int ui_colour_256(int rgb);
int ui_colour_16(int rgb);
/* The look of a cell: shades take the place of its style's colours. */
struct ui_look ui_look_shaded(const struct ui_look *look, int ink, int ground);
/* A style where there are only n colours (8 or 16): fg and bg are numbers of them, -1 = default. What
 * would vanish in the ground of the theme becomes dim, reverse or bold instead. */
struct ui_look ui_look_few(const struct ui_theme *t, enum ui_style_id id, int n);

#endif

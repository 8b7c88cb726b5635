#include "style.h"

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[UI_STYLE_COUNT] = {
#define UI_STYLE_NAME(name, help) #name,
    UI_STYLE_LIST(UI_STYLE_NAME)
#undef UI_STYLE_NAME
};

const char *ui_style_name(enum ui_style_id id)
{
    return names[id];
}

int ui_style_find(const char *name)
{
    for (int i = 0; i < UI_STYLE_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

/* Attributes that tell the styles apart without colour. */
static void mono_theme(struct ui_theme *t)
{
    static const struct {
        enum ui_style_id id;
        unsigned attrs;
    } rows[] = {{UI_STYLE_DIM, UI_ATTR_DIM},
                {UI_STYLE_BOLD, UI_ATTR_BOLD},
                {UI_STYLE_TITLE, UI_ATTR_BOLD},
                {UI_STYLE_HEADER, UI_ATTR_UNDERLINE},
                {UI_STYLE_FRAME, UI_ATTR_DIM},
                {UI_STYLE_SELECTED, UI_ATTR_REVERSE},
                {UI_STYLE_MARKED, UI_ATTR_BOLD},
                {UI_STYLE_KEY, UI_ATTR_BOLD},
                {UI_STYLE_CLIPPED, UI_ATTR_BOLD},
                {UI_STYLE_HANDLE, UI_ATTR_REVERSE},
                {UI_STYLE_MAGNET, UI_ATTR_BOLD},
                {UI_STYLE_VALUE, UI_ATTR_BOLD},
                {UI_STYLE_MEASURED, UI_ATTR_BOLD},
                {UI_STYLE_PREDICTED, UI_ATTR_DIM},
                {UI_STYLE_GOOD, UI_ATTR_BOLD},
                {UI_STYLE_BAD, UI_ATTR_BOLD | UI_ATTR_UNDERLINE},
                {UI_STYLE_WARN, UI_ATTR_UNDERLINE},
                {UI_STYLE_SIDE_B, UI_ATTR_BOLD},
                {UI_STYLE_PROMPT, UI_ATTR_BOLD},
                {UI_STYLE_TOAST, UI_ATTR_REVERSE},
                {UI_STYLE_CHANGED, UI_ATTR_BOLD | UI_ATTR_UNDERLINE},
                {UI_STYLE_DISABLED, UI_ATTR_DIM}};
    memset(t, 0, sizeof(*t));
    snprintf(t->name, sizeof(t->name), "mono");
    t->back = 0x000000;
    t->text = 0xd0d0d0;
    for (int i = 0; i < UI_STYLE_COUNT; i++) {
        t->look[i] = (struct ui_look){.fg = -1, .bg = -1};
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        t->look[rows[i].id].mono = rows[i].attrs;
        t->look[rows[i].id].attrs = rows[i].attrs;
    }
}

static bool parse_colour(const char *text, int *rgb)
{
    char *end;
    if (strcmp(text, "default") == 0) {
        *rgb = -1;
        return true;
    }
    if (text[0] != '#' || strlen(text) != 7) {
        return false;
    }
    *rgb = (int)strtol(text + 1, &end, 16);
    return *end == 0;
}

static unsigned parse_attr(const char *word)
{
    static const char *const attr[] = {"bold", "dim", "reverse", "underline"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(word, attr[i]) == 0) {
            return 1u << i;
        }
    }
    return 0;
}

/* "#rrggbb on #rrggbb bold". */
static bool parse_look(char *text, struct ui_look *look)
{
    look->fg = look->bg = -1;
    look->attrs = 0;
    char *save;
    bool back = false;
    for (char *w = strtok_r(text, " \t\r\n", &save); w; w = strtok_r(NULL, " \t\r\n", &save)) {
        unsigned attr = parse_attr(w);
        if (strcmp(w, "on") == 0) {
            back = true;
        } else if (attr) {
            look->attrs |= attr;
        } else if (!parse_colour(w, back ? &look->bg : &look->fg)) {
            return false;
        }
    }
    return true;
}

static bool theme_line(struct ui_theme *t, char *line)
{
    char *eq = strchr(line, '=');
    line += strspn(line, " \t");
    if (*line == '#' || *line == '\n' || *line == 0) {
        return true;
    }
    if (!eq) {
        return false;
    }
    *eq = 0;
    line[strcspn(line, " \t")] = 0;
    struct ui_look ground;
    int id = ui_style_find(line);
    if (strcmp(line, "ground") == 0 && parse_look(eq + 1, &ground)) {
        t->text = ground.fg;
        t->back = ground.bg;
        return true;
    }
    return id >= 0 && parse_look(eq + 1, &t->look[id]);
}

static bool read_theme(struct ui_theme *t, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        return false;
    }
    bool good = true;
    char line[256], text[400];
    for (int number = 1; fgets(line, sizeof(line), f); number++) {
        if (!theme_line(t, line)) {
            snprintf(text, sizeof(text), "%.250s:%d: not 'STYLE = #rrggbb on #rrggbb bold'", path,
                     number);
            qx_log_put(QX_LOG_WARN, text);
            good = false;
        }
    }
    fclose(f);
    return good;
}

bool ui_theme_load(struct ui_theme *t, const char *name)
{
    mono_theme(t);
    if (!name || strcmp(name, "mono") == 0) {
        return true;
    }
    if (strchr(name, '/') || strlen(name) >= sizeof(t->name)) {
        return false;
    }
    const char *folders[] = {ui_path_config(), ui_path_assets()};
    for (int i = 0; i < 2; i++) {
        char path[600];
        if (!folders[i]) {
            continue;
        }
        snprintf(path, sizeof(path), "%.500s/themes/%s.conf", folders[i], name);
        if (read_theme(t, path)) {
            snprintf(t->name, sizeof(t->name), "%s", name);
            return true;
        }
    }
    return false;
}

static int square(int x)
{
    return x * x;
}

static int colour_distance(int a, int b)
{
    return 2 * square((a >> 16) - (b >> 16)) + 4 * square((a >> 8 & 255) - (b >> 8 & 255)) +
           3 * square((a & 255) - (b & 255));
}

int ui_colour_256(int rgb)
{
    static const int step[6] = {0, 95, 135, 175, 215, 255};
    int best = 16, best_distance = 1 << 30;
    for (int i = 16; i < 256; i++) {
        int k = i - 16, grey = 8 + 10 * (i - 232);
        int c = i < 232 ? step[k / 36] << 16 | step[k / 6 % 6] << 8 | step[k % 6]
                        : grey << 16 | grey << 8 | grey;
        int d = colour_distance(c, rgb);
        if (d < best_distance) {
            best = i;
            best_distance = d;
        }
    }
    return best;
}

int ui_colour_16(int rgb)
{
    static const int colour[16] = {0x000000, 0xcd0000, 0x00cd00, 0xcdcd00, 0x0000ee, 0xcd00cd,
                                   0x00cdcd, 0xc8c8c8, 0x7f7f7f, 0xff0000, 0x00ff00, 0xffff00,
                                   0x5c5cff, 0xff00ff, 0x00ffff, 0xffffff};
    int best = 0, best_distance = 1 << 30;
    for (int i = 0; i < 16; i++) {
        int d = colour_distance(colour[i], rgb);
        if (d < best_distance) {
            best = i;
            best_distance = d;
        }
    }
    return best;
}

static int colour_few(int rgb, int n)
{
    return rgb < 0 ? -1 : n >= 16 ? ui_colour_16(rgb) : ui_colour_16(rgb) & 7;
}

struct ui_look ui_look_few(const struct ui_theme *t, enum ui_style_id id, int n)
{
    const struct ui_look *look = &t->look[id];
    int own = t->look[UI_STYLE_NORMAL].bg;
    int ground = colour_few(own >= 0 ? own : t->back, n);
    struct ui_look few = *look;
    few.fg = colour_few(look->fg, n);
    few.bg = colour_few(look->bg, n);
    if (few.bg >= 0 && look->bg != own && few.bg == ground) {
        few.fg = few.bg = -1;
        few.attrs |= look->mono;
    }
    if (few.fg >= 0 && few.fg == (few.bg >= 0 ? few.bg : ground)) {
        few.fg = -1;
        few.attrs |= UI_ATTR_DIM;
    }
    return few;
}

/* ---- shades of heat maps ---- */

static int mix(const int *stop, int n, double x)
{
    x = x > 0 ? (x < 1 ? x : 1) : 0;
    const double at = x * (n - 1);
    const int i = at < n - 1 ? (int)at : n - 2;
    int rgb = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        const int a = stop[i] >> shift & 255, b = stop[i + 1] >> shift & 255;
        rgb |= (int)(a + (b - a) * (at - i) + 0.5) << shift;
    }
    return rgb;
}

int ui_shade_sequential(double x)
{
    return 1 + (int)((x > 0 ? (x < 1 ? x : 1) : 0) * (UI_SHADES - 1) + 0.5);
}

int ui_shade_diverging(double x)
{
    x = x > -1 ? (x < 1 ? x : 1) : -1;
    return 1 + UI_SHADES +
           (int)((x + 1) / 2 * (UI_SHADES - 2) + 0.5); /* 0 has a shade of its own */
}

int ui_shade_rgb(int shade)
{
    static const int sequential[] = {0x00224e, 0x2a3f6d, 0x575c6d, 0x7d7c78,
                                     0xa59c74, 0xd2c060, 0xfee838};
    static const int diverging[] = {0x9ad5ff, 0x3a9bdc, 0x1f5580, 0x1c1e24,
                                    0x87520a, 0xe69f00, 0xffd98a};
    if (shade <= 0 || shade >= UI_SHADE_COUNT) {
        return -1;
    }
    if (shade == UI_SHADE_CURSOR) {
        return 0xffffff;
    }
    return shade <= UI_SHADES
               ? mix(sequential, 7, (double)(shade - 1) / (UI_SHADES - 1))
               : mix(diverging, 7, (double)(shade - 1 - UI_SHADES) / (UI_SHADES - 2));
}

struct ui_look ui_look_shaded(const struct ui_look *look, int ink, int ground)
{
    struct ui_look shaded = *look;
    shaded.fg = ink ? ui_shade_rgb(ink) : look->fg;
    shaded.bg = ground ? ui_shade_rgb(ground) : look->bg;
    return shaded;
}

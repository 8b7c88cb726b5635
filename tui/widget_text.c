#include "widget_text.h"

#include "utf8.h"

#include <stdio.h>
#include <string.h>

int ui_text_fit(const char *text, int w)
{
    const size_t len = strlen(text);
    size_t n = 0, last = 0;
    int cells = 0;
    while (n < len) {
        int cp;
        const size_t bytes = ui_utf8_decode(text + n, len - n, &cp);
        const int width = cp < 0 ? 1 : ui_utf8_width(cp);
        if (n > 0 && cells + width > w) {
            break;
        }
        cells += width;
        n += bytes;
        if (text[n] == ' ' || text[n] == '\0') {
            last = n;
        }
    }
    return (int)(last > 0 ? last : n);
}

static const char *next_line(const char *text, int w)
{
    text += ui_text_fit(text, w);
    return text + (*text == ' ');
}

int ui_text_rows(const char *text, int w)
{
    int rows = 1;
    if (w < 1) {
        return 1;
    }
    for (text = next_line(text, w); *text; text = next_line(text, w)) {
        rows++;
    }
    return rows;
}

int ui_text_draw(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style, const char *text)
{
    int row = 0;
    while (*text && r.w > 0) {
        char line[1024];
        snprintf(line, sizeof(line), "%.*s", ui_text_fit(text, r.w), text);
        if (row < r.h) {
            ui_put(c, r.x, r.y + row, r.w, style, line);
        }
        text = next_line(text, r.w);
        row++;
    }
    return row;
}

#include "widget_text.h"

#include <stdio.h>

int ui_text_fit(const char *text, int w)
{
    int n = 0, last = 0, cells = 0;
    while (text[n] && cells < w) {
        cells++;
        n++;
        while ((text[n] & 0xc0) == 0x80) {
            n++;
        }
        if (text[n] == ' ' || text[n] == '\0') {
            last = n;
        }
    }
    return last > 0 ? last : n;
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

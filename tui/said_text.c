#include "said_text.h"

#include "utf8.h"

#include <string.h>

enum { TITLE_W = 6 };

/* Bytes of the line that begins at `text`, broken at spaces and at line ends. */
static size_t line_of(const char *text, int w)
{
    size_t n = 0, last = 0;
    int cells = 0, cp;
    while (text[n] && text[n] != '\n') {
        const size_t step = (size_t)ui_utf8_decode(text + n, strlen(text + n), &cp);
        cells += cp < 0 ? 1 : ui_utf8_width(cp);
        if (cells > w) {
            return last > 0 ? last : n > 0 ? n : step;
        }
        n += step;
        last = text[n] == ' ' ? n : last;
    }
    return n;
}

/* Bytes from..to of the text at x; returns the cells used. */
static int piece(struct ui_canvas *c, int x, int y, int w, enum ui_style_id style, const char *text,
                 size_t from, size_t to)
{
    char buf[1024];
    if (to <= from || w <= 0) {
        return 0;
    }
    const size_t n = to - from < sizeof buf ? to - from : sizeof buf - 1;
    memcpy(buf, text + from, n);
    buf[n] = '\0';
    return ui_put(c, x, y, w, style, buf);
}

static int text_draw(struct ui_canvas *c, struct ui_rect r, const char *text, size_t split)
{
    const size_t len = strlen(text);
    size_t at = 0;
    int row = 0;
    for (; at < len && row < r.h; row++) {
        const size_t n = line_of(text + at, r.w), end = at + n;
        const size_t mid = split < at ? at : split < end ? split : end;
        const int used = piece(c, r.x, r.y + row, r.w, UI_STYLE_NORMAL, text, at, mid);
        piece(c, r.x + used, r.y + row, r.w - used, UI_STYLE_BAD, text, mid, end);
        at = end + (text[end] == ' ' || text[end] == '\n');
    }
    return row;
}

int ui_said_draw(struct ui_app *app, const struct qx_try *t, struct ui_canvas *c, struct ui_rect r)
{
    static const char *const titles[] = {
        [QX_WHICH_FP32] = "FP32", [QX_WHICH_A] = "A", [QX_WHICH_B] = "now"};
    static const enum ui_style_id styles[] = {[QX_WHICH_FP32] = UI_STYLE_HEADER,
                                              [QX_WHICH_A] = UI_STYLE_SIDE_A,
                                              [QX_WHICH_B] = UI_STYLE_SIDE_B};
    static const enum qx_which order[] = {QX_WHICH_FP32, QX_WHICH_A, QX_WHICH_B};
    const bool has_a = qx_session_has_snapshot(app->session);
    int row = 0, left = has_a ? 3 : 2;
    for (int k = 0; k < QX_TRY_WHICH && row < r.h; k++) {
        const struct qx_try_answer *a = &t->answer[order[k]];
        if (order[k] == QX_WHICH_A && !has_a) {
            continue;
        }
        const int share = (r.h - row) / left--; /* what one leaves, the next ones have */
        const struct ui_rect text = {r.x + TITLE_W, r.y + row, r.w - TITLE_W, share};
        ui_put(c, r.x, r.y + row, TITLE_W - 1, styles[order[k]], titles[order[k]]);
        int used = 1;
        if (!a->is_there || !a->text) {
            ui_put(c, text.x, text.y, text.w, UI_STYLE_DIM,
                   app->glyphs == UI_GLYPHS_ASCII ? ".." : "…");
        } else {
            used = text_draw(c, text, a->text,
                             order[k] == QX_WHICH_FP32 ? strlen(a->text) : a->same_bytes);
        }
        row += used > 0 ? used : 1;
    }
    return row < r.h ? row : r.h;
}

/* The panel of a lesson: what to read, what to do, what came of it. */
#include "lesson_impl.h"

#include "canvas.h"
#include "widget_big.h"
#include "widget_text.h"

#include <stdio.h>
#include <string.h>

enum { LINES = 14, LEAST_VIEW = 10, TEXT_MOST = 1200 };

struct line {
    enum ui_style_id style;
    char text[TEXT_MOST];
};

struct panel {
    struct line line[LINES];
    int n;
};

static void add(struct ui_app *app, struct panel *p, enum ui_style_id style, const char *before,
                const char *text)
{
    char expanded[TEXT_MOST - 64];
    if (p->n < LINES && text[0]) {
        struct line *l = &p->line[p->n++];
        l->style = style;
        ui_lesson_expand(app, text, expanded, sizeof(expanded));
        snprintf(l->text, sizeof(l->text), "%.40s%s", before, expanded);
    }
}

static void add_guess(struct ui_app *app, struct panel *p, const struct qx_jval *guess)
{
    const struct ui_tour *t = &app->tour;
    const struct qx_jval *choices = qx_jget(guess, "choices");
    char text[200], number[16];
    int i = 1;
    add(app, p, UI_STYLE_BOLD, "", ui_lesson_text(qx_jget(guess, "ask"), t->lang));
    for (const struct qx_jval *c = qx_jfirst(choices); c; c = qx_jnext(c), i++) {
        const bool is_answer = t->is_revealed && i == (int)t->truth;
        snprintf(number, sizeof(number), "%d ", i);
        add(app, p, is_answer ? UI_STYLE_GOOD : UI_STYLE_NORMAL, number,
            ui_lesson_text(c, t->lang));
    }
    if (!t->has_guess) {
        add(app, p, UI_STYLE_HINT, "", "> asks for your guess");
    } else if (!t->is_revealed) {
        snprintf(text, sizeof(text), "you: %.4g   the answer is being measured", t->guess);
        add(app, p, UI_STYLE_HINT, "", text);
    } else if (choices) {
        add(app, p, t->guess == t->truth ? UI_STYLE_GOOD : UI_STYLE_WARN, "",
            t->guess == t->truth ? "right" : "not quite");
    } else {
        snprintf(text, sizeof(text), "you: %.4g   here: %.4g   off by %.4g", t->guess, t->truth,
                 t->guess > t->truth ? t->guess - t->truth : t->truth - t->guess);
        add(app, p, UI_STYLE_VALUE, "", text);
    }
}

static void fill(struct ui_app *app, struct panel *p)
{
    const struct ui_tour *t = &app->tour;
    const struct qx_jval *s = ui_lesson_step(app), *guess = qx_jget(s, "guess");
    char check[16];
    p->n = 0;
    add(app, p, t->is_presented ? UI_STYLE_BOLD : UI_STYLE_NORMAL, "", t->text);
    if (guess) {
        add_guess(app, p, guess);
    }
    if (t->wrong) {
        add(app, p, UI_STYLE_WARN, "", ui_lesson_text(t->wrong, t->lang));
    }
    if (t->has_hint && !t->is_solved) {
        add(app, p, UI_STYLE_HINT, "", ui_lesson_text(qx_jget(s, "hint"), t->lang));
    }
    if (t->is_solved || t->is_revealed) {
        snprintf(check, sizeof(check), "%s ", ui_sym(app->glyphs, UI_SYM_CHECK));
        add(app, p, UI_STYLE_GOOD, t->is_solved ? check : "", t->done);
    }
}

/* The gauge's first words, "-0.8 pt", for the large digits; "" when there is no figure. */
static const char *gauge_words(struct ui_app *app, char *buf, size_t cap)
{
    enum ui_style_id style;
    ui_fmt_gauge(app, buf, cap, &style, true);
    buf[strcspn(buf, ",")] = 0;
    if (!buf[0] || !strchr("+-0123456789", buf[0])) {
        buf[0] = 0;
    }
    return buf;
}

/* Cells at the right of the panel that the large digits take, the space before them included. */
static int big_room(struct ui_app *app, int w)
{
    char words[160];
    const int room =
        app->tour.is_presented ? ui_big_width(gauge_words(app, words, sizeof(words))) : 0;
    return room > 0 && room < w / 3 ? room + 3 : 0;
}

static int rows_of(const struct ui_app *app, const struct panel *p, int w)
{
    int rows = 1;
    for (int i = 0; i < p->n; i++) {
        rows += ui_text_rows(p->line[i].text, w - 4) + (app->tour.is_presented && i > 0);
    }
    return rows;
}

int ui_lesson_rows(struct ui_app *app, int w, int h)
{
    static struct panel p; /* UI thread only */
    const int most = h - 3 - LEAST_VIEW;
    int rows = 0;
    if (!app->session || app->tour.is_opening || w < UI_MIN_W || h < UI_MIN_H) {
        return 0;
    }
    if (app->tour.lesson) {
        fill(app, &p);
        rows = rows_of(app, &p, w - big_room(app, w));
    }
    const int big = app->tour.is_presented ? 1 + ui_big_height(app->glyphs) : 0;
    rows = rows > big ? rows : big;
    return rows < most ? rows : most;
}

static void draw_rule(struct ui_app *app, struct ui_canvas *c, int y)
{
    const struct ui_tour *t = &app->tour;
    char left[200], right[120];
    if (!t->lesson) {
        ui_hline(c, 0, y, app->w, app->glyphs);
        ui_printf(c, 2, y, app->w - 6, UI_STYLE_TITLE, " %s ", t->said[0] ? t->said : "present");
        return;
    }
    snprintf(left, sizeof(left), " %s %s step %d of %d ", ui_lesson_title(t->lesson, t->lang),
             ui_sym(app->glyphs, UI_SYM_DOT), t->step + 1, ui_lesson_n_steps(t->lesson));
    if (t->is_presented && t->said[0]) {
        snprintf(right, sizeof(right), " %s ", t->said);
    } else {
        snprintf(right, sizeof(right), " %s ",
                 ui_lesson_solved(app)                   ? "> goes on"
                 : qx_jget(ui_lesson_step(app), "check") ? "H hint"
                                                         : "> guess");
    }
    ui_hline(c, 0, y, app->w, app->glyphs);
    ui_put(c, 2, y, app->w - 6, UI_STYLE_TITLE, left);
    if (ui_text_width(left) + ui_text_width(right) + 8 < app->w) {
        ui_put_right(c, 0, y, app->w - 2, ui_lesson_solved(app) ? UI_STYLE_GOOD : UI_STYLE_HINT,
                     right);
    }
}

void ui_lesson_draw(struct ui_app *app, struct ui_canvas *c)
{
    static struct panel p;
    const int rows = ui_lesson_rows(app, app->w, app->h);
    if (rows == 0) {
        return;
    }
    const int top = app->h - 2 - rows, bottom = app->h - 2, big = big_room(app, app->w);
    p.n = 0;
    if (app->tour.lesson) {
        fill(app, &p);
    }
    ui_fill(c, (struct ui_rect){0, top, app->w, rows}, UI_STYLE_NORMAL, " ");
    draw_rule(app, c, top);
    int y = top + 1;
    for (int i = 0; i < p.n && y < bottom; i++) {
        y += app->tour.is_presented && i > 0;
        const struct ui_rect r = {2, y, app->w - big - 4, bottom - y};
        y += ui_text_draw(c, r, p.line[i].style, p.line[i].text);
    }
    if (big) {
        char words[160];
        ui_big_draw(c, app->w - big + 1, top + 1, UI_STYLE_VALUE, app->glyphs,
                    gauge_words(app, words, sizeof(words)));
    }
}

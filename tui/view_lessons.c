/* The Lessons screen: what can be learned here, and how far one came. */
#include "view.h"

#include "lesson.h"
#include "list.h"
#include "widget_text.h"

#include <stdio.h>
#include <stdlib.h>

struct lessons_state {
    int row;
};

/* Columns stand together; what the lesson under the cursor is about stands below them when there is room. */
enum { WIDTH = 96, ABOUT_ROWS = 5 };

static void draw_row(struct ui_app *app, struct ui_canvas *c, struct ui_rect r, int y, int i,
                     bool here)
{
    const struct ui_lesson *l = ui_course_get()->lesson[i];
    const struct ui_lesson_progress at = ui_lesson_progress(ui_lesson_id(l));
    char far[40] = "";
    if (at.is_done) {
        snprintf(far, sizeof(far), "%s done", ui_sym(app->glyphs, UI_SYM_CHECK));
    } else if (at.step > 0) {
        snprintf(far, sizeof(far), "step %d of %d", at.step + 1, ui_lesson_n_steps(l));
    } else {
        snprintf(far, sizeof(far), "%d steps", ui_lesson_n_steps(l));
    }
    ui_printf(c, r.x + 3, y, 4, UI_STYLE_DIM, "%d", i + 1);
    ui_put_cut(c, r.x + 7, y, r.w - 44, UI_STYLE_NORMAL, ui_lesson_title(l, app->tour.lang),
               app->glyphs);
    ui_put(c, r.x + r.w - 35, y, 18, UI_STYLE_DIM, ui_lesson_model(l));
    ui_put_right(c, r.x, y, r.w - 2, at.is_done ? UI_STYLE_GOOD : UI_STYLE_DIM, far);
    if (here) {
        ui_put(c, r.x + 1, y, 1, UI_STYLE_SELECTED, ui_sym(app->glyphs, UI_SYM_CURSOR));
        ui_restyle(c, (struct ui_rect){r.x, y, r.w, 1}, UI_STYLE_SELECTED);
    }
}

/* Reads the files, once in the life of the program. */
static void open_lessons(struct ui_app *app, void *state)
{
    (void)state;
    ui_course_get();
    if (!app->tour.lang[0]) {
        snprintf(app->tour.lang, sizeof(app->tour.lang), "%s", ui_lesson_lang_default());
    }
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct lessons_state *s = state;
    const int n = ui_course_get()->n, page = r.h - 2;
    r.w = r.w < WIDTH ? r.w : WIDTH;
    app->page = page;
    if (n == 0) {
        ui_put(c, r.x + 2, r.y + 1, r.w - 4, UI_STYLE_DIM, "No lessons are installed.");
        return;
    }
    s->row = s->row < 0 ? 0 : s->row >= n ? n - 1 : s->row;
    const int first = s->row >= page ? s->row - page + 1 : 0;
    ui_put(c, r.x + 7, r.y, r.w - 8, UI_STYLE_HEADER, "lesson");
    ui_put(c, r.x + r.w - 35, r.y, 18, UI_STYLE_HEADER, "runs on");
    for (int i = first; i < n && i - first < page; i++) {
        draw_row(app, c, r, r.y + 1 + i - first, i, i == s->row);
    }
    if (page >= n + ABOUT_ROWS) {
        const struct ui_lesson *l = ui_course_get()->lesson[s->row];
        ui_text_draw(c, (struct ui_rect){r.x + 7, r.y + n + 2, r.w - 10, ABOUT_ROWS - 1},
                     UI_STYLE_NORMAL, ui_lesson_about(l, app->tour.lang));
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    (void)app;
    (void)state;
    snprintf(buf, cap,
             "Enter begins, or goes on; your own model comes back when you leave it; :lesson-lang "
             "en, id, ko");
}

static bool begin(struct ui_app *app, const struct lessons_state *s)
{
    const struct ui_course *course = ui_course_get();
    if (s->row >= course->n) {
        return false;
    }
    const struct ui_lesson *l = course->lesson[s->row];
    const struct ui_lesson_progress at = ui_lesson_progress(ui_lesson_id(l));
    return ui_lesson_start(app, l, at.is_done ? 0 : at.step);
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct lessons_state *s = state;
    return cmd == UI_CMD_OPEN ? begin(app, s)
                              : ui_list_move(cmd, arg, app->page, ui_course_get()->n, &s->row);
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct lessons_state *s = state;
    const int page = r.h - 2, first = s->row >= page ? s->row - page + 1 : 0;
    const int row = first + m->y - r.y - 1;
    if (m->kind != UI_MOUSE_PRESS || row < 0 || row >= ui_course_get()->n) {
        return false;
    }
    if (row == s->row) {
        ui_do(app, UI_CMD_OPEN, "");
    } else if (row < s->row) {
        ui_dof(app, UI_CMD_UP, "%d", s->row - row);
    } else {
        ui_dof(app, UI_CMD_DOWN, "%d", row - s->row);
    }
    return true;
}

const struct ui_view ui_view_lessons = {
    .id = "lessons",
    .title = "Lessons",
    .help = "Guided tours: what quantization does, on small networks, with your own hands.",
    .key = 'e',
    .hints = "up open back",
    .state_size = sizeof(struct lessons_state),
    .open = open_lessons,
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
};

/* The chooser: what can be opened from here, when no model was named. */
#include "commands.h"
#include "view.h"

#include <string.h>

struct open_state {
    int row, top;
};

static int n_found(const struct ui_app *app)
{
    return app->found ? qx_found_n(app->found) : 0;
}

static void move_to(struct ui_app *app, struct open_state *s, int row)
{
    int n = n_found(app);
    s->row = row >= n ? n - 1 : row;
    s->row = s->row < 0 ? 0 : s->row;
}

static void draw_row(struct ui_app *app, struct ui_canvas *c, struct ui_rect r, int y, int i,
                     bool here)
{
    const struct qx_found *f = qx_found_get(app->found, i);
    char bytes[24] = "";
    if (f->bytes) {
        ui_fmt_bytes(bytes, sizeof(bytes), (double)f->bytes);
    }
    enum ui_style_id style = here ? UI_STYLE_SELECTED : UI_STYLE_NORMAL;
    ui_fill(c, (struct ui_rect){r.x, y, r.w, 1}, style, " ");
    ui_put(c, r.x + 1, y, 1, style, here ? ui_sym(app->glyphs, UI_SYM_CURSOR) : " ");
    int right = r.w < 90 ? 30 : 44;
    ui_put(c, r.x + 3, y, r.w - right - 4, style, f->path);
    ui_put(c, r.x + r.w - right, y, right - 12, here ? style : UI_STYLE_DIM, f->what);
    ui_put_right(c, r.x + r.w - 11, y, 10, style, bytes);
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct open_state *s = state;
    int n = n_found(app);
    if (n == 0) {
        ui_put(c, 3, r.y + 2, r.w - 4, UI_STYLE_BOLD, "No model found here.");
        ui_put(c, 3, r.y + 4, r.w - 4, UI_STYLE_NORMAL,
               "qexplore MODEL opens a .safetensors file, a model folder or an index.json.");
        ui_put(c, 3, r.y + 5, r.w - 4, UI_STYLE_NORMAL,
               "Looked in this folder (two levels), the samples, and the caches of Hugging Face,");
        ui_put(c, 3, r.y + 6, r.w - 4, UI_STYLE_NORMAL, "Ollama and LM Studio.");
        return;
    }
    ui_put(c, 3, r.y, r.w - 4, UI_STYLE_DIM, "Enter opens; or name one: qexplore MODEL");
    int y = r.y + 2, bottom = r.y + r.h;
    int first = s->row > r.h - 8 ? s->row - (r.h - 8) : 0;
    const char *where = NULL;
    for (int i = first; i < n && y < bottom; i++) {
        const struct qx_found *f = qx_found_get(app->found, i);
        if (!where || strcmp(where, f->where) != 0) {
            where = f->where;
            if (y + 1 >= bottom) {
                break;
            }
            ui_put(c, r.x + 1, y++, r.w - 2, UI_STYLE_HEADER, where);
        }
        draw_row(app, c, r, y++, i, i == s->row);
    }
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct open_state *s = state;
    (void)arg;
    switch (cmd) {
    case UI_CMD_UP:
        move_to(app, s, s->row - 1);
        return true;
    case UI_CMD_DOWN:
        move_to(app, s, s->row + 1);
        return true;
    case UI_CMD_LEFT:
    case UI_CMD_TOP:
        move_to(app, s, 0);
        return true;
    case UI_CMD_RIGHT:
    case UI_CMD_BOTTOM:
        move_to(app, s, n_found(app) - 1);
        return true;
    case UI_CMD_PAGE_UP:
    case UI_CMD_PAGE_DOWN:
        move_to(app, s, s->row + (cmd == UI_CMD_PAGE_UP ? -10 : 10));
        return true;
    case UI_CMD_OPEN:
        if (s->row < n_found(app)) {
            app->want_model = qx_found_get(app->found, s->row)->path;
        }
        return true;
    default:
        return false;
    }
}

const struct ui_view ui_view_open = {
    .id = "open",
    .title = "Open a model",
    .help = "What can be opened from here.",
    .hints = "up open quit",
    .state_size = sizeof(struct open_state),
    .draw = draw,
    .command = command,
};

#include "flash.h"

#include <stdlib.h>
#include <string.h>

enum { FLASH_MS = 1000, HAND_MS = 250 }; /* what follows a key at once is its own doing */

void ui_flash_release(struct ui_flash *f)
{
    free(f->before);
    free(f->lit_ms);
    *f = (struct ui_flash){.before = NULL};
}

static bool fit(struct ui_flash *f, const struct ui_canvas *c)
{
    if (f->before && f->w == c->w && f->h == c->h) {
        return true;
    }
    const size_t n = (size_t)c->w * (size_t)c->h;
    ui_flash_release(f);
    f->before = calloc(n, sizeof(*f->before));
    f->lit_ms = calloc(n, sizeof(*f->lit_ms));
    if (!f->before || !f->lit_ms) {
        ui_flash_release(f);
        return false;
    }
    f->w = c->w;
    f->h = c->h;
    f->view = -1;
    return true;
}

static bool is_figure(const struct ui_cell *cell)
{
    return cell->style == UI_STYLE_VALUE || cell->style == UI_STYLE_MEASURED ||
           cell->style == UI_STYLE_PREDICTED;
}

void ui_flash(struct ui_flash *f, struct ui_app *app, struct ui_canvas *c)
{
    if (!app->animate || !fit(f, c)) {
        return;
    }
    const size_t n = (size_t)c->w * (size_t)c->h;
    if (f->n_commands != app->n_commands) {
        f->n_commands = app->n_commands;
        f->command_ms = app->now_ms;
    }
    const bool by_itself = f->view == app->view && app->now_ms - f->command_ms >= HAND_MS;
    int64_t over = 0;
    for (size_t i = 0; i < n; i++) {
        struct ui_cell *cell = &c->cells[i];
        const bool differs = memcmp(cell->glyph, f->before[i].glyph, sizeof(cell->glyph)) != 0;
        f->before[i] = *cell;
        if (differs || !is_figure(cell) || app->now_ms - f->lit_ms[i] >= FLASH_MS) {
            f->lit_ms[i] = by_itself && differs && is_figure(cell) ? app->now_ms : 0;
        }
        if (f->lit_ms[i]) {
            cell->style = UI_STYLE_CHANGED;
            over = over && over < f->lit_ms[i] + FLASH_MS ? over : f->lit_ms[i] + FLASH_MS;
        }
    }
    f->view = app->view;
    if (over && (!app->tick_ms || app->tick_ms > over)) {
        app->tick_ms = over;
    }
}

/* Figures that change by themselves, a while after the last key, stand out for a second. */
#ifndef UI_FLASH_H
#define UI_FLASH_H

#include "app.h"

struct ui_flash {
    struct ui_cell *before; /* [w * h] as drawn last */
    int64_t *lit_ms;        /* [w * h] when the cell changed; 0 = not within the last second */
    int w, h, view;
    uint64_t n_commands;
    int64_t command_ms; /* when it changed */
};

/* Restyle what was just drawn; asks for a draw when the second is over (app->tick_ms). Allocates when the size
 * changes only; without memory, or without animation, nothing stands out. */
void ui_flash(struct ui_flash *f, struct ui_app *app, struct ui_canvas *c);
void ui_flash_release(struct ui_flash *f); /* zero struct allowed */

#endif

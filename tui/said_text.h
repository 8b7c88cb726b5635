/* What a language model went on with, drawn: FP32's tokens plain, from the first other one on marked. */
#ifndef UI_SAID_TEXT_H
#define UI_SAID_TEXT_H

#include "app.h"
#include "canvas.h"

/* FP32, A (when there is one) and now, each with its title, one below the other. Returns the rows used,
 * at most r.h. */
int ui_said_draw(struct ui_app *app, const struct qx_try *t, struct ui_canvas *c, struct ui_rect r);

#endif

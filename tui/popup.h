/* What lies over the screen: prompt with completions, which-key, explanations. */
#ifndef UI_POPUP_H
#define UI_POPUP_H

#include "app.h"

struct ui_explain;

void ui_draw_prompt(struct ui_app *app, struct ui_canvas *c);
void ui_draw_popups(struct ui_app *app, struct ui_canvas *c);
/* The n-th explanation of the current screen: the view's own, then the accuracy. False: no more. */
bool ui_explain_get(struct ui_app *app, int n, struct ui_explain *out);

#endif

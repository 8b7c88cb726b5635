/* Suffix replay in words: the recipe of now measured on a few rows. */
#ifndef UI_REPLAY_TEXT_H
#define UI_REPLAY_TEXT_H

#include "app.h"
#include "view.h"

/* The recipe of now was replayed, and is not measured on all rows yet. */
bool ui_replay_now(const struct ui_app *app, const struct qx_gauge *g,
                   struct qx_replay_result *out);
/* "-1.9 pt on 256 rows", "+3.2 % ±0.4 on 900 tokens"; brief: "-1.9 pt on 256". */
char *ui_fmt_replay(char *buf, size_t cap, const struct qx_replay_result *r, enum ui_glyphs g,
                    bool brief);
/* The same with the rows lost and gained, or the tokens that differ. */
char *ui_fmt_replay_long(char *buf, size_t cap, const struct qx_replay_result *r, enum ui_glyphs g);
/* Nothing is added when there is none. */
void ui_explain_replay(struct ui_explain *e, const struct ui_app *app, const struct qx_gauge *g);

#endif

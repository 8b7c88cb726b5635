/* What a row of the data looks like: an image or a plane of values as a thumbnail, a text as text; and the
 * rows that go next, in lines. */
#ifndef UI_ROW_TEXT_H
#define UI_ROW_TEXT_H

#include "app.h"
#include "canvas.h"

enum { UI_ROW_VALUES = 3 * 64 * 64 };

/* Zero-initialised is empty. Kept by views, so that nothing is read twice. */
struct ui_row_picture {
    const struct qx_session *session; /* that the row is of; NULL = nothing was taken yet */
    int64_t row;
    int h, w; /* 0 = no picture */
    bool is_text;
    float value[UI_ROW_VALUES]; /* [h, w] 0..1; channels are averaged */
    char text[512];
};
/* Reads the row, unless it is the one that is kept. */
void ui_row_picture_take(struct ui_row_picture *p, struct qx_session *s, int64_t row);
/* Cells that it takes within w x h, 0 = no picture or no room (8 x 4 at least). */
int ui_row_picture_width(const struct ui_row_picture *p, const struct ui_app *app, int w, int h);
void ui_row_picture_draw(const struct ui_row_picture *p, const struct ui_app *app,
                         struct ui_canvas *c, struct ui_rect r);

/* A header and the rows that go next, as many as fit in r. Nothing when none is known. */
void ui_rows_next_draw(struct ui_app *app, struct ui_canvas *c, struct ui_rect r);

#endif

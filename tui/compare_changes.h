/* The Compare screen's lists of the rows, or of a language model's tokens, that change most from A to B, and
 * of the tokens that are farthest from FP32 in either. */
#ifndef UI_COMPARE_CHANGES_H
#define UI_COMPARE_CHANGES_H

#include "row_text.h"
#include "view.h"

enum { UI_CHANGES_TEXTS = 64, UI_CHANGES_TEXT = 256 };

/* Part of the view's state; zeroed is hidden. */
struct ui_changes {
    bool is_on;
    enum qx_change_order order;
    int cursor;
    int64_t top;
    struct ui_rect table;
    struct ui_row_picture picture; /* of the row under the cursor */
    /* texts of rows that were shown last, so that nothing is read at every frame */
    struct {
        const struct qx_session *session; /* NULL: empty */
        int64_t row;
        char text[UI_CHANGES_TEXT];
    } kept[UI_CHANGES_TEXTS];
};

/* State of the Compare screen. */
enum { UI_COMPARE_WINDOW = 256 };

struct ui_compare {
    int64_t top;
    struct ui_rect table;
    int64_t window[UI_COMPARE_WINDOW]; /* positions in app->rows of the rows seen */
    int64_t n_rows, cursor;            /* cursor -1: the layer under the cursor does not differ */
    struct ui_changes changes;         /* shown instead of the tensors */
};

/* `changes`: on with the order that `arg` says; "": on, the next order, off. False, with a notice, when the
 * network has no such list. */
bool ui_changes_switch(struct ui_app *app, struct ui_changes *s, const char *arg);
/* The row under the cursor in words; false when there is none. */
bool ui_changes_explain(struct ui_app *app, const struct ui_changes *s, struct ui_explain *out);
void ui_changes_draw(struct ui_app *app, struct ui_changes *s, struct ui_canvas *c,
                     struct ui_rect r);
void ui_changes_status(struct ui_app *app, const struct ui_changes *s, char *buf, size_t cap);
/* Moves the cursor; false when it is no command of the list. */
bool ui_changes_command(struct ui_app *app, struct ui_changes *s, enum ui_cmd cmd, const char *arg);
bool ui_changes_mouse(struct ui_app *app, const struct ui_changes *s, const struct ui_mouse *m);

#endif

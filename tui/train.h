/* The Train screen in pieces: what it draws (train_draw.c), commands, hands and the row of the view table
 * (view_train.c). Private to these. */
#ifndef UI_TRAIN_H
#define UI_TRAIN_H

#include "view.h"

enum { TRAIN_LAYERS = 256 };

struct train_state {
    struct qx_training t; /* as drawn last */
    struct qx_train_options options;
    int frame;                            /* shown; -1 = the newest */
    char reason[512], data[512];          /* why it cannot begin; the file of the rows */
    struct ui_rect time, weights, layers; /* as drawn last; w = 0: not on screen */
    int64_t top;                          /* first row of the table of layers */
    int64_t item[TRAIN_LAYERS];           /* that are trained, in the recipe's order */
    int n_items;
};

const char *train_quantizer(const struct qx_train_options *o);
int train_frame(const struct train_state *s); /* the frame shown; -1 = none yet */
int train_frame_at(int x, int w,
                   int n_frames); /* that column x of w of the row of time stands for */
void train_draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r);

#endif

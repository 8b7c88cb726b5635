/* The Matrix screen in pieces: what one frame knows (matrix_frame.c), the picture (matrix_draw.c), words
 * and explanations (matrix_text.c), commands and the row of the view table (view_matrix.c). Private to
 * these files. */
#ifndef UI_MATRIX_H
#define UI_MATRIX_H

#include "view.h"

enum matrix_pick { MATRIX_ELEMENT, MATRIX_ROW, MATRIX_COLUMN, MATRIX_GROUP, MATRIX_PICKS };

struct ui_matrix {
    int64_t item;     /* the places below are of this one, + 1 (0 = none yet) */
    int64_t row, col; /* cursor, an element of the matrix */
    int64_t row0, col0;
    int zoom; /* 0 = all of it; each step halves the blocks */
    enum qx_matrix_what what;
    bool is_mean; /* cells show mean magnitudes, else the largest value */
    enum matrix_pick pick;
    int64_t line; /* last one jumped to: a row, or rows + a column; -1 = none */
    struct ui_rect map, row_strip, col_strip; /* as drawn, for the mouse */
};

/* One frame. Pointers are borrowed until the next poll or edit. */
struct matrix_frame {
    struct ui_app *app;
    struct ui_matrix *state;
    int64_t index;
    const struct qx_item *item;
    const struct qx_setting *setting;
    struct qx_matrix m;
    bool is_half;         /* two rows a cell, in shades; else one, by a ramp of glyphs */
    int px, py;           /* dots of the picture: cells across, rows or half rows down */
    int mx, my;           /* dots of a block */
    int64_t across, down; /* blocks in sight */
    int zooms;            /* steps until a block is one element */
    struct qx_matrix_part part;
    const struct qx_matrix_map *map; /* NULL: reason, or still waiting */
    const char *reason;
    const struct qx_margins *margins;
    const char *margins_reason;
    double top;     /* magnitude that gets the full colour */
    bool is_beyond; /* and some blocks lie beyond */
};

/* False when there is nothing to show. r: the whole view. Moves the window to where the cursor is. */
bool matrix_frame_init(struct matrix_frame *f, struct ui_app *app, struct ui_matrix *state,
                       struct ui_rect r);
/* Picture and margins as well: O(blocks). */
void matrix_frame_full(struct matrix_frame *f);
/* Blocks of the sign that the statistic shows: signed values, else magnitudes. */
bool matrix_is_signed(const struct matrix_frame *f);
double matrix_figure(const struct matrix_frame *f, const struct qx_matrix_cell *cell);
/* The block under the cursor; NULL while it is not there. */
const struct qx_matrix_cell *matrix_cell_here(const struct matrix_frame *f);
/* Element the status line speaks of: the largest of the block under the cursor. */
int64_t matrix_element_here(const struct matrix_frame *f);
bool matrix_look(const struct matrix_frame *f, int64_t element, struct qx_matrix_value *out);
/* Is a line (of its margin and median) dead, does it stand out? */
bool matrix_is_dead(float max);
bool matrix_is_outlier(float max, double median);
/* Columns first .. first + n - 1 of the cursor's group. */
void matrix_group(const struct matrix_frame *f, int64_t *first, int64_t *n);

void matrix_draw(struct matrix_frame *f, struct ui_canvas *c, struct ui_rect r);

/* "largest of 4x2 elements" */
char *matrix_block_text(const struct matrix_frame *f, char *buf, size_t cap);
const char *matrix_what_text(const struct matrix_frame *f);
void matrix_status(const struct matrix_frame *f, char *buf, size_t cap);
bool matrix_explain(struct matrix_frame *f, int n, struct ui_explain *out);

#endif

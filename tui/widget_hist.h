/* The histogram with its threshold handles and quantization levels, and the error valley under it.
 * Both share one axis, so a handle stands above its own error. Pure, no allocation. */
#ifndef UI_WIDGET_HIST_H
#define UI_WIDGET_HIST_H

#include "canvas.h"

/* What lies between the left and the right edge of a plot. */
struct ui_axis {
    double lo, hi;
};
/* Cell of a value: 0..w-1, -1 left of the axis, w right of it (and for NaN). */
int ui_axis_cell(const struct ui_axis *axis, int w, double value);
/* Cell where a handle at `value` is drawn: the one outside the nearest cell edge, so that mass at the
 * threshold itself stays in sight; -1 or w when outside. */
int ui_axis_handle(const struct ui_axis *axis, int w, double value);
/* Value at the middle of a cell. */
double ui_axis_value(const struct ui_axis *axis, int w, int cell);
/* End of the axis on one side: 1.5 T or the bulk, whichever is wider, within the data. t: NAN without threshold. */
double ui_axis_end(double t, double bulk, double extreme);

struct ui_hist {
    struct ui_axis axis;
    const double *counts; /* [n] mass of n = 2 * r.w equal columns over the axis */
    int n;
    double min, max;   /* of the data: an arrow names what lies beyond the axis; NaN = unknown */
    const char *unit;  /* behind the values of the axis: "" or " of max" */
    double t_lo, t_hi; /* thresholds; NaN = none */
    bool has_lo;       /* the low end is a handle of its own */
    int held;          /* 0 the high handle, 1 the low one */
    bool log;          /* logarithmic counts */
    double tick[2];    /* [n_ticks] marks on the axis */
    int n_ticks;
    const double *levels; /* [n_levels] ascending; NULL = none */
    int n_levels;
};

/* The last two rows of r are axis and labels, the rest is the plot. */
void ui_hist_draw(struct ui_canvas *c, struct ui_rect r, const struct ui_hist *h,
                  enum ui_glyphs glyphs);

enum ui_hist_part { UI_HIST_NONE, UI_HIST_PLOT, UI_HIST_LO, UI_HIST_HI };
/* What lies at a cell of the canvas: a handle is caught within two cells; the mirrored low end of a
 * symmetric range counts as UI_HIST_LO too. */
enum ui_hist_part ui_hist_hit(struct ui_rect r, const struct ui_hist *h, int x, int y);
/* Fineness of a drag whose pointer is at row y: 1 on the plot's lower half and the axis, then 1/2, 1/4,
 * 1/8, 1/16 the farther it is from the axis. */
double ui_hist_fineness(struct ui_rect r, int y);

struct ui_valley_magnet {
    char letter;
    double at; /* on the axis */
};
struct ui_valley {
    struct ui_axis axis;
    const double *mse; /* [n] error if the threshold stood at each column; NaN = unknown */
    int n;             /* 2 * r.w */
    double t_lo, t_hi; /* where you are; NaN = nowhere */
    const struct ui_valley_magnet *magnets;
    int n_magnets;
};

/* Decibels from bottom to top; the last row holds the magnets' letters and your position. */
void ui_valley_draw(struct ui_canvas *c, struct ui_rect r, const struct ui_valley *v,
                    enum ui_glyphs glyphs);
/* Index of the magnet whose letter is drawn at (x, y), -1 = none. */
int ui_valley_hit(struct ui_rect r, const struct ui_valley *v, int x, int y);

#endif

/* The Layer screen in pieces: what one frame knows (layer_frame.c), the plots (layer_plot.c), the
 * figures beside them (layer_panel.c), explanations (layer_explain.c), hands on it (layer_mouse.c),
 * the row of the view table (view_layer.c). Private to these files. */
#ifndef UI_LAYER_H
#define UI_LAYER_H

#include "view.h"
#include "widget_hist.h"
#include "widget_ladder.h"
#include "widget_plot.h"

enum { UI_LADDER_ROWS = 6, UI_LADDER_MAX };

/* What a cached plot was made from. */
struct layer_key {
    const struct qx_hist *hist;
    int64_t n; /* values behind it: a sample and the whole tensor may share an address */
    int64_t item;
    struct qx_setting setting;
    struct ui_axis axis;
    int columns;
};

/* State of the view: geometry for the mouse, plots that a drag does not change. */
struct ui_layer {
    struct ui_rect hist_rect, valley_rect, ladder_rect; /* w = 0: not on screen */
    struct ui_hist hist;                                /* as drawn; pointers into this struct */
    struct ui_axis axis;
    struct layer_key axis_key;
    bool axis_zoom;
    double counts[UI_PLOT_COLUMNS];
    struct layer_key counts_key;
    double mse[UI_PLOT_COLUMNS];
    struct layer_key mse_key;
    struct ui_valley_magnet magnets[QX_ADVICE_CALIBS];
    const struct qx_calibrator *magnet_calib[QX_ADVICE_CALIBS];
    int n_magnets;
    double levels[256];
    struct ui_ladder_row ladder[UI_LADDER_MAX]; /* integers, then a table format in use */
    int n_ladder;
    struct { /* ends of the units' own ranges, for asymmetric channels and groups */
        const struct qx_hist *hist;
        double up, down;
    } units;
    struct { /* the channel strip */
        const struct qx_hist *hist;
        int64_t n, n_channels;
        int64_t outlier[4]; /* channels far above the median, largest first; -1 = none */
        double ratio[4];    /* of the median */
        double median, top;
        int n_outliers;
    } strip;
    struct { /* what integers would do, for a layer in a float format */
        const struct qx_hist *hist;
        int64_t n;
        double db[UI_LADDER_ROWS];
    } preview;
    struct { /* values among the levels of their blocks */
        struct layer_key key;
        double counts[UI_PLOT_COLUMNS], level[256];
        int n_levels;
        bool is_there;
    } blocks;
    double drag_at;                         /* exact position while a drag rounds to cells */
    double seen_mse;                        /* as drawn last; NaN = none */
    uint64_t seen_revision, asked_revision; /* of the exact figures */
    int64_t seen_item, asked_item;
};

/* Everything one frame draws from. Pointers are borrowed until the next poll or edit. */
struct layer_frame {
    struct ui_app *app;
    struct ui_layer *state;
    int64_t index;
    const struct qx_item *item;
    const struct qx_setting *setting;
    const struct qx_hist *hist; /* NULL: not there */
    enum qx_hist_state hist_state;
    const struct qx_stats *stats; /* NULL without hist */
    bool is_scaled;               /* has a threshold and levels: integers and tables */
    bool is_int;                  /* even steps, any width */
    bool in_units;                /* axis in each channel's or group's own range */
    double up, down;              /* place of ratio 1 on the axis: 1, 1 but for asymmetric units */
    double t_lo, t_hi;            /* thresholds on the axis; NaN = none yet */
    bool has_metrics;
    struct qx_metrics metrics;
    bool has_advice;
    struct qx_advice advice;
    struct qx_gauge gauge;
    bool has_flips; /* thresholds at which the next row changes class, lower and higher */
    struct qx_flip flip[2];
};

/* False when there is no item. O(1) but for what changed since the last frame. */
bool layer_frame_init(struct layer_frame *f, struct ui_app *app, struct ui_layer *state);
/* The figures as well: metrics, advice, gauge. O(levels). */
bool layer_frame_full(struct layer_frame *f, struct ui_app *app, struct ui_layer *state);
/* Range of a threshold at place x of the axis (the sign of x tells which end of an asymmetric one). */
struct qx_range layer_range_at(const struct layer_frame *f, double x);
/* Place on the axis of a range: its high end, and its low one. */
double layer_place_hi(const struct layer_frame *f, struct qx_range range);
double layer_place_lo(const struct layer_frame *f, struct qx_range range);
/* Recompute what the frame needs for a plot of w cells: axis, counts, valley, magnets. */
void layer_update_plots(struct layer_frame *f, int w);
/* Rows of the integers under the current rule (a table format: and its own row); for a float format
 * what qx_setting_int would reach. */
void layer_update_ladder(struct layer_frame *f);
/* Has the ladder a row of its own for the format in use: a table, or blocks? */
bool layer_has_own_row(const struct layer_frame *f);
/* What the best codebook of 2^bits levels reaches; NaN while unknown and where there is no bound. */
double layer_best_db(const struct layer_frame *f, int bits);
/* Channel maxima; false when they are not known (no histogram with channels yet). */
bool layer_update_strip(struct layer_frame *f, const struct qx_units **units);
/* Figures of another setting on the same tensor; false while its histogram is missing. */
bool layer_metrics_of(const struct layer_frame *f, const struct qx_setting *s,
                      struct qx_metrics *out);
/* Why there is nothing to plot, as lines of text; 0 = there is something. The first line is a title. */
int layer_message(const struct layer_frame *f, char lines[4][160]);
/* "T ±0.131", "T 0.71 of each channel's max". */
char *layer_threshold_text(const struct layer_frame *f, char *buf, size_t cap);
/* Unit of the axis: "" or "of each channel's max". */
const char *layer_unit(const struct layer_frame *f);

void layer_draw_title(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r);
void layer_draw_plots(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r);
void layer_draw_panel(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r);
/* One line of figures for screens without room for the panel. */
void layer_draw_strip_line(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r);
/* The blocks whose levels this layer's values lie among; NULL = none. */
const struct qx_block *layer_block(const struct layer_frame *f);
/* Where they lie, in units of each block's scale, with the levels (layer_blocks.c). */
void layer_draw_blocks(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r);
void layer_explain_blocks(const struct layer_frame *f, struct ui_explain *out);
void layer_draw_residual(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r);
void layer_draw_channels(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r);

bool layer_explain(struct ui_app *app, void *state, int n, struct ui_explain *out);
bool layer_mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r);

#endif

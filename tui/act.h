/* The Activations screen in pieces: what one frame knows (act_frame.c), what it draws (act_draw.c),
 * explanations (act_explain.c), hands and the row of the view table (view_act.c). Private to these. */
#ifndef UI_ACT_H
#define UI_ACT_H

#include "view.h"
#include "widget_hist.h"
#include "widget_plot.h"

enum { ACT_WAYS = QX_ADVICE_CALIBS + 3, ACT_OUTLIERS = 8 };

/* One way to find the range: a line of the table, and what a click on it does. */
struct act_way {
    enum { ACT_WAY_HAND, ACT_WAY_CALIB, ACT_WAY_SAMPLE, ACT_WAY_TOKEN } kind;
    const struct qx_calibrator *calib; /* CALIB */
    double param;
    char name[32];
    bool has_range, is_current;
    struct qx_range range;
    double db;           /* NaN: no error */
    enum qx_basis basis; /* of db */
};

/* What a cached plot was made from. */
struct act_key {
    const struct qx_hist_packed *packed;
    int64_t n;
    int columns;
    bool zoom, mirrored;
    struct ui_axis axis;
};

struct ui_act_state {
    struct ui_rect hist_rect, ways_rect; /* w = 0: not on screen */
    struct ui_hist hist;                 /* as drawn; pointers into this struct */
    struct ui_axis axis;
    struct act_key axis_key, counts_key;
    double counts[UI_PLOT_COLUMNS], levels[256];
    struct act_way ways[ACT_WAYS];
    int n_ways;
    bool is_linear; /* counts; logarithmic at first, for zeros of Relu would hide the rest */
    double drag_at;
    struct { /* input channels */
        const float *of;
        double of_energy; /* an address may come again */
        double median, top;
        int64_t outlier[ACT_OUTLIERS]; /* far above the median, largest first */
        int n_outliers;
        int64_t n_all;     /* channels far above the median */
        double rest_share; /* of the range that the others need */
    } channels;
};

/* Everything one frame draws from. Pointers are borrowed until the next poll or edit. */
struct act_frame {
    struct ui_app *app;
    struct ui_act_state *state;
    int64_t index;
    const struct qx_item *item;
    const struct qx_setting *setting;
    struct qx_act act; /* in use, or what 8 bits would be while the inputs stay in float32 */
    bool is_on;
    struct qx_calib_status calib;
    struct qx_session_calib source;
    const struct qx_observed *seen; /* NULL: not there */
    const struct qx_stats *stats;   /* NULL without seen */
    double t_lo, t_hi;              /* NaN: no static range */
    bool has_metrics;
    struct qx_metrics metrics;
    bool has_advice;
    struct qx_act_advice advice;
};

/* False when there is no item. */
bool act_frame_init(struct act_frame *f, struct ui_app *app, struct ui_act_state *state);
/* Why there is nothing to plot: a title and sentences; 0 = there is something. */
int act_message(const struct act_frame *f, char lines[3][240]);
/* Axis, counts, levels for a plot of w cells; ways; outlier channels. */
void act_update(struct act_frame *f, int w);
/* "UINT8 percentile:99.99 0 to 4.1", "INT8 dynamic, each token", "float32". */
char *act_words(const struct act_frame *f, char *buf, size_t cap);
/* Dynamic scales were tried on a part of the rows only. */
enum qx_basis act_dynamic_basis(const struct act_frame *f);

void act_draw(struct act_frame *f, struct ui_canvas *c, struct ui_rect r);
bool act_explain(struct ui_app *app, void *state, int n, struct ui_explain *out);

#endif

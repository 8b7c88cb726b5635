/* Views: one file view_<id>.c and one row in view_table.c each. */
#ifndef UI_VIEW_H
#define UI_VIEW_H

#include "app.h"
#include "canvas.h"
#include "command.h"

enum ui_mouse_kind { UI_MOUSE_PRESS, UI_MOUSE_DRAG, UI_MOUSE_RELEASE, UI_MOUSE_WHEEL };

struct ui_mouse {
    enum ui_mouse_kind kind;
    int x, y;   /* canvas cells */
    int button; /* 0 left, 1 middle, 2 right */
    int wheel;  /* -1 up, +1 down for WHEEL */
    bool shift, alt, ctrl;
};

/* Lines of an explanation popup. */
enum { UI_EXPLAIN_LINES = 24, UI_EXPLAIN_WIDTH = 200, UI_EXPLAIN_CELLS = 74 /* at 80 columns */ };
struct ui_explain {
    char title[80];
    char line[UI_EXPLAIN_LINES][UI_EXPLAIN_WIDTH];
    int n;
};
/* Adds one line, or several where the text is longer (dropped when full). */
void ui_explain_add(struct ui_explain *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* `state` is state_size zeroed bytes that live as long as the app. Every hook but draw may be NULL.
 * Hooks read the app; they change it only through ui_do (their own `state` freely). They never
 * allocate and take under 2 ms; `open` may read a file. */
struct ui_view {
    const char *id;    /* "layer": in scopes, in `go layer`, in `render --screen layer` */
    const char *title; /* breadcrumb */
    const char *help;  /* the question it answers, one sentence */
    char key;          /* after `g`; 0 = none */
    int fkey;          /* function key; 0 = none */
    const char *hints; /* command names for the last row, most important first, by spaces */
    size_t state_size;
    void (*open)(struct ui_app *app, void *state); /* on entering */
    /* Draw into r (rows 1 .. h-3); the frame draws breadcrumb, gauge, status and hints around it.
     * Pure: the same app and size give the same cells. */
    void (*draw)(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r);
    /* The consequence line (last row but one): what the last act did or what the cursor is on. */
    void (*status)(struct ui_app *app, void *state, char *buf, size_t cap);
    /* Commands this view implements or treats its own way. False: the table's function runs. */
    bool (*command)(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg);
    /* Mouse inside r; acts through ui_do. False: not used. While app->drag.active all drags and the
     * release come here wherever they are. */
    bool (*mouse)(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r);
    /* Explain the n-th number of this screen (0 = the one under the cursor). False: no more. */
    bool (*explain)(struct ui_app *app, void *state, int n, struct ui_explain *out);
    /* Text behind the title in the breadcrumb (layer name); NULL = none. */
    const char *(*crumb)(struct ui_app *app, void *state);
};

int ui_view_count(void);
const struct ui_view *ui_view_at(int i);
int ui_view_find(const char *id); /* -1 when unknown */

extern const struct ui_view ui_view_open, ui_view_model, ui_view_layer, ui_view_formats,
    ui_view_matrix, ui_view_act, ui_view_sens, ui_view_pareto, ui_view_compare, ui_view_rows,
    ui_view_try, ui_view_train, ui_view_bench, ui_view_jobs, ui_view_lessons, ui_view_history,
    ui_view_log, ui_view_help;

/* ---- magnets of the Layer screen: implemented beside view_layer, used by `snap` and `optimum` ---- */

struct ui_magnet {
    const struct qx_calibrator *calib;
    double param;
    struct qx_range range; /* as in struct qx_setting */
    double mse;            /* at that range; NaN while unknown */
};
/* Choices of all calibrators for the item's current setting but its range; at most cap, those not
 * known yet are left out. Cached by (item, bits, sym, gran, group, histogram). */
int ui_magnets(struct ui_app *app, int64_t item, struct ui_magnet *out, int cap);
/* Range with the least mean squared error (or absolute error when the screen shows that). */
bool ui_optimum(struct ui_app *app, int64_t item, struct qx_range *out);

/* The crumb of views of one tensor: its name. */
const char *ui_item_crumb(struct ui_app *app, void *state);

#endif

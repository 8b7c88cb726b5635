/* All state of the program. No drawing and no terminal in here. UI thread only. */
#ifndef UI_APP_H
#define UI_APP_H

#include "canvas.h"
#include "command.h"
#include "keymap.h"
#include "qx/qx.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { UI_MAX_VIEWS = 18, UI_STACK = 16, UI_MIN_W = 60, UI_MIN_H = 16 };

enum ui_sort {
    UI_SORT_NAME,
    UI_SORT_SIZE,
    UI_SORT_BITS,
    UI_SORT_SQNR,
    UI_SORT_ERROR,
    UI_SORT_COUNT
};

enum ui_toast_kind { UI_TOAST_INFO, UI_TOAST_GOOD, UI_TOAST_WARN, UI_TOAST_BAD };

/* A press-and-drag in progress; the view that began it fills the rest. */
struct ui_drag {
    bool active;
    int what;     /* view's own */
    int x0, y0;   /* where it began */
    double start; /* value at the beginning */
    double last;  /* value set last */
};

/* The line that is being typed. */
struct ui_prompt {
    bool active;
    enum ui_cmd cmd; /* run with the text on Enter; UI_CMD_PALETTE = the text is a command line */
    char text[256];
    int len, cursor;   /* bytes */
    int pick;          /* chosen completion, -1 = none */
    char before[64];   /* filter to restore on Esc */
    const char *scope; /* palette shows only this view's commands; NULL = all */
    char history[16][256];
    int n_history, at_history;
};

/* A lesson in progress; lesson.h has what it does. */
struct ui_lesson;
struct qx_jval;
struct ui_tour {
    const struct ui_lesson *lesson; /* NULL = none */
    int step;
    int n_done, n_then; /* commands of the step that have been run */
    bool is_opening;    /* its model is still to be opened */
    bool is_rehearsed;  /* played by itself: nothing is kept */
    bool is_busy;       /* runs a command of its own */
    bool is_solved;     /* the step's check held */
    bool has_hint;      /* the hint is shown */
    bool has_guess;     /* ... and `guess` was typed */
    bool is_revealed;   /* ... and `truth` is known */
    bool is_presented;  /* for an audience: large spacing, last command shown */
    double guess, truth;
    const struct qx_jval *wrong; /* text on a wrong turn, NULL = none */
    char lang[4];
    char said[64]; /* last command */
    /* the step's texts with the figures as they were when the step began, and when it was solved */
    char text[1200], done[1200];
    bool has_text, has_done;
    char path[4400], before[4400]; /* model to open; model to come back to, "" = none */
};

struct ui_app {
    struct qx_session *session;         /* NULL only on the `open` screen */
    struct qx_found_list *found;        /* what the `open` screen lists */
    const char *want_model;             /* the run loop opens this next; NULL = nothing */
    int w, h;                           /* size of the screen */
    enum ui_glyphs glyphs, most_glyphs; /* in use; what the terminal can show */
    bool shades;                        /* heat maps in colours; else by ramps of glyphs */
    bool animate;                       /* flashes and spinners allowed */
    bool mouse;                         /* mouse reports are on */
    char theme[24];
    int64_t now_ms; /* monotonic, set once per input batch; 0 when headless */

    /* screens */
    int view;                   /* index in the view table */
    int stack[UI_STACK], depth; /* where Esc goes */
    void *state[UI_MAX_VIEWS];

    /* layers */
    int64_t n_items;
    int64_t cursor;        /* item under the cursor, -1 when the model has none */
    int64_t *rows, n_rows; /* items shown, in the order shown */
    int64_t row;           /* index of cursor in rows, -1 when filtered away */
    bool *marked;          /* [n_items] */
    int64_t n_marked;
    int64_t *targets; /* [n_items] scratch of ui_targets */
    double *sort_key; /* [n_items] scratch of ui_rows_update */
    char filter[64];
    enum ui_sort sort;
    bool sort_reverse;
    int page; /* rows of a page, set by the view that draws the list */

    /* Layer screen, as commands set it */
    int handle; /* 0: hi, 1: lo (asymmetric only) */
    bool log_counts, zoom, show_error;
    int act_handle; /* Activations: as handle */
    bool diff_only; /* Compare */

    /* what lies over the screen */
    struct ui_prompt prompt;
    int pending[4], n_pending; /* keys of a sequence so far (which-key popup) */
    int explain;               /* number being explained, -1 = popup closed */
    char toast[320];
    enum ui_toast_kind toast_kind;
    int64_t toast_ms;        /* when it was put up */
    int64_t tick_ms;         /* a view wants to be drawn again then; 0 = no */
    int64_t log_seen;        /* messages of the log up to here were looked at */
    bool first_line;         /* the first-start line is up */
    bool told_marks;         /* "the threshold of this layer alone" was said */
    bool told_undo;          /* "threshold changed, u undoes it" was said */
    bool file_changed;       /* banner: R reloads */
    struct qx_trade trade;   /* proposed by `trade` ... */
    uint64_t trade_revision; /* ... for this revision of the recipe; 0 = none */
    bool asks_quit;          /* y quits although a model folder is being written */
    struct ui_drag drag;
    int repeat_key, repeat_n; /* acceleration of held keys */
    int64_t repeat_ms;

    /* what the loop should do next */
    bool quit, suspend, redraw, reload;
    int exit_code;
    char copy[2048];  /* text for the terminal's clipboard (OSC 52); "" = none */
    char reason[256]; /* of ui_command_disabled */

    struct ui_tour tour;

    struct ui_keymap keymap;
    FILE *record;      /* command log being written; NULL = none */
    int64_t record_ms; /* time of the last record, -1 = none yet */
    uint64_t n_commands;
    const char *model_arg; /* as the user named it */
};

/* The app owns session and found from here on. Allocates all it will ever need. */
bool ui_app_init(struct ui_app *app, struct qx_session *session, int w, int h);
void ui_app_release(struct ui_app *app);
/* Replace the session (another model was chosen); closes the old one. */
bool ui_app_set_session(struct ui_app *app, struct qx_session *session);
void ui_app_resize(struct ui_app *app, int w, int h);

/* Short notice on the line above the hints. */
void ui_toast(struct ui_app *app, enum ui_toast_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Recompute rows from filter and sort; keeps the cursor on its item when it is still shown. */
void ui_rows_update(struct ui_app *app);
/* Put the cursor on row i of rows (clamped). */
void ui_rows_move(struct ui_app *app, int64_t row);
/* Items an edit applies to: the marked ones when the cursor is among them or the screen is Model,
 * else the one under the cursor. Borrowed until the next call. */
const int64_t *ui_targets(struct ui_app *app, int64_t *n);
bool ui_edits_marks(const struct ui_app *app); /* the marked ones, not the one under the cursor? */

/* Setting, histogram and item under the cursor; NULL when there is none. */
const struct qx_item *ui_item(const struct ui_app *app);
const struct qx_setting *ui_setting(const struct ui_app *app);
/* Largest threshold of an item: absmax (tensor) or 1 (channel, group). 0 while unknown. */
double ui_threshold_max(struct ui_app *app, int64_t item);
/* Threshold held: hi, or lo when app->handle is 1 and the range asymmetric; in units of struct
 * qx_range. NaN while no range is known. */
double ui_threshold(const struct ui_app *app, int64_t item);

/* Does a product of the network take this item's input in floats, so that it can be quantized? */
bool ui_has_input(const struct ui_app *app, int64_t item);
/* Activations of an item; bits 0 where they stay in float32. */
const struct qx_act *ui_act(const struct ui_app *app, int64_t item);

/* ---- words for figures (ui_text.c): all return buf ---- */
char *ui_fmt_bytes(char *buf, size_t cap, double bytes); /* "61.4 MB" */
char *ui_fmt_count(char *buf, size_t cap, int64_t n);    /* "589,824" */
char *ui_fmt_shape(char *buf, size_t cap, const struct qx_tensor *t,
                   enum ui_glyphs g); /* "64x32" */
/* A tensor's name in w cells: segments shortened, then the middle left out; its end stays. */
char *ui_fit_name(char *buf, size_t cap, const char *name, int w, enum ui_glyphs g);
char *ui_fmt_value(char *buf, size_t cap, double v); /* 4 significant digits */
/* "FP16", "INT4", "W4A8" with 8-bit inputs, "W4A8d" when their ranges are dynamic. */
char *ui_fmt_format(char *buf, size_t cap, const struct qx_setting *s);
char *ui_fmt_percent(char *buf, size_t cap, double fraction); /* "0.095 %" */
/* "-1.9 pt, 667 of 788 right", or why there is none; *style by state. */
char *ui_fmt_gauge(struct ui_app *app, char *buf, size_t cap, enum ui_style_id *style, bool brief);
/* How far the running job is whose title begins so: ", 53 %, 0:23 left"; "" when none runs. */
char *ui_fmt_job(struct ui_app *app, char *buf, size_t cap, const char *title);
/* Is that cell the gauge of the first row? */
bool ui_gauge_hit(struct ui_app *app, int x, int y);
/* Mark behind a figure: "", "≈", "…", "?" (ASCII "~", "..", "?"). */
const char *ui_mark(enum qx_basis basis, enum ui_glyphs g);

/* ---- the whole screen ---- */
/* Where the view is drawn: below the breadcrumb, above a lesson's panel, status and hints. */
struct ui_rect ui_view_rect(struct ui_app *app);
/* Draw frame, view and popups. c has the app's size. No allocation. */
void ui_draw(struct ui_app *app, struct ui_canvas *c);
/* A key (keymap.h) or text typed. Returns true when something may have changed. */
bool ui_key(struct ui_app *app, int key);
struct ui_mouse;
bool ui_mouse_event(struct ui_app *app, const struct ui_mouse *m);
/* qx_session_poll said `news`. */
void ui_news(struct ui_app *app, unsigned news);
/* Warnings and errors that reached the log since the last call become a notice. True when one did. */
bool ui_log_news(struct ui_app *app);
/* Milliseconds until the app wants to be drawn again (toast, flash), -1 = never. */
int ui_timeout_ms(const struct ui_app *app);
bool ui_toast_is_up(const struct ui_app *app);

#endif

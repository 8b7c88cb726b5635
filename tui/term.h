/* What the loop needs of a terminal. Two of them: curses and headless. UI thread only. */
#ifndef UI_TERM_H
#define UI_TERM_H

#include "canvas.h"
#include "input.h"
#include "out.h"
#include "style.h"

struct ui_term_options {
    const char *color; /* auto always never 16 256 true; NULL = auto */
    bool no_color;     /* --no-color, NO_COLOR */
    bool mouse;
};

/* One terminal; opened by ui_term_curses or ui_term_headless. */
struct ui_term {
    int fd; /* to poll for input, -1 = none */
    int w, h;
    enum ui_colour colour;
    enum ui_glyphs glyphs; /* the most it can show */
    bool has_shades;       /* colours enough for heat maps */
    int background;        /* 0xRRGGBB when it told, else -1 */
    uint64_t n_updates;    /* times the screen was brought up to date */
    /* Read what is there without waiting. False at end of file. */
    bool (*read)(struct ui_term *t, int64_t now_ms);
    /* Next event of what was read. */
    bool (*next)(struct ui_term *t, int64_t now_ms, struct ui_event *out);
    int (*timeout_ms)(struct ui_term *t, int64_t now_ms);
    void (*theme)(struct ui_term *t, const struct ui_theme *theme);
    /* Bring the screen to the state of c; all = draw every cell anew. */
    void (*blit)(struct ui_term *t, const struct ui_canvas *c, bool all);
    void (*resize)(struct ui_term *t); /* after SIGWINCH: asks the kernel for w, h */
    void (*copy)(struct ui_term *t, const char *text); /* OSC 52 */
    void (*leave)(struct ui_term *t); /* give the terminal back, before a suspend */
    void (*enter)(struct ui_term *t); /* take it again */
    void (*close)(struct ui_term *t);
};

/* A way to reach a terminal, so that tui_core needs no curses. */
struct ui_terminal {
    struct ui_term *(*open)(const struct ui_term_options *options, char *why, size_t cap);
    void (*emergency)(void); /* see ui_term_emergency */
};

/* The terminal of this process (/dev/tty when stdin is none). NULL with `why` filled. */
struct ui_term *ui_term_curses(const struct ui_term_options *options, char *why, size_t cap);
/* Async-signal-safe: modes off, attributes and tty restored. Nothing when no terminal is open. */
void ui_term_emergency(void);

/* A terminal in memory: bytes come from ui_term_headless_type, the screen is a canvas. For tests. */
struct ui_term *ui_term_headless(int w, int h);
void ui_term_headless_type(struct ui_term *t, const void *bytes, size_t n);
const struct ui_canvas *ui_term_headless_screen(const struct ui_term *t);

#endif

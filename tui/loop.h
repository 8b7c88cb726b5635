/* The event loop: terminal, session, signals; one update and one draw per batch of input. */
#ifndef UI_LOOP_H
#define UI_LOOP_H

#include "app.h"
#include "flash.h"
#include "term.h"

#include <signal.h>

struct ui_loop {
    struct ui_app *app;
    struct ui_term *term;
    struct ui_canvas canvas;
    struct ui_flash flash;
    struct ui_theme theme;
    int wake[2];     /* pipe; the session writes to [1] */
    int signals;     /* pipe that the handlers write to; -1 = none (headless) */
    bool auto_theme; /* follow the terminal's background */
    int64_t last_draw_ms, last_news_ms, interrupt_ms;
    unsigned news;                     /* of the session, not drawn yet */
    struct qx_session_options options; /* to open other models with */
    FILE *script;                      /* a command log played as time passes; NULL = none */
    double speed;                      /* of its pauses; 0 = none */
    int64_t script_ms;                 /* when its next line is due */
};

/* Make the pipes. Before the session is opened, whose wake callback writes to one. */
bool ui_loop_prepare(struct ui_loop *l);
/* The wake callback for session options; arg is the loop. */
void ui_loop_wake(void *arg);
/* Take the terminal; theme NULL = by the terminal's background. */
bool ui_loop_begin(struct ui_loop *l, struct ui_app *app, struct ui_term *term, const char *theme);
/* One turn: wait at most max_wait_ms (-1 = as long as nothing is due), take in all that came, update
 * once, draw at most once. False when the program should end. */
bool ui_loop_turn(struct ui_loop *l, int max_wait_ms);
void ui_loop_end(struct ui_loop *l);
/* Restore the terminal on SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, then die of the signal. */
void ui_loop_guard(void (*emergency)(void));
int64_t ui_now_ms(void); /* monotonic */

#endif

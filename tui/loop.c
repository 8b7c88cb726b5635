#include "loop.h"

#include "lesson.h"

#include "cli.h"
#include "commands.h"
#include "prompt.h"
#include "script.h"
#include "view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PROGRESS_MS = 100, INTERRUPT_MS = 1000, FIRST_REPLY_MS = 8 };

int64_t ui_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- signals ---- */

static void (*restore_terminal)(void);

static void on_fatal(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (sig == SIGBUS && qx_map_fault(info->si_addr)) {
        return; /* the model's file shrank: zeros are read and the tensor is flagged */
    }
    restore_terminal();
    signal(sig, SIG_DFL);
    raise(sig);
}

void ui_loop_guard(void (*emergency)(void))
{
    restore_terminal = emergency;
    static char stack[16384];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    sigaltstack(&alternate, NULL);
    struct sigaction sa = {.sa_sigaction = on_fatal,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    static const int fatal[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
        sigaction(fatal[i], &sa, NULL);
    }
}

static const int watched[] = {SIGWINCH, SIGTSTP, SIGCONT, SIGTERM, SIGHUP, SIGINT};
enum { N_WATCHED = sizeof(watched) / sizeof(watched[0]) };
static int signal_pipe[2] = {-1, -1};

/* Any thread may run this: libraries start threads before main, which block nothing. */
static void on_signal(int sig)
{
    int keep = errno;
    unsigned char byte = (unsigned char)sig;
    ssize_t ignored = write(signal_pipe[1], &byte, 1);
    (void)ignored;
    errno = keep;
}

static void watch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    for (int i = 0; i < N_WATCHED; i++) {
        sigaction(watched[i], &sa, NULL);
    }
}

bool ui_loop_prepare(struct ui_loop *l)
{
    memset(l, 0, sizeof(*l));
    l->signals = -1;
    signal(SIGPIPE, SIG_IGN);
    return pipe2(l->wake, O_NONBLOCK | O_CLOEXEC) == 0 &&
           pipe2(signal_pipe, O_NONBLOCK | O_CLOEXEC) == 0;
}

void ui_loop_wake(void *arg)
{
    struct ui_loop *l = arg;
    ssize_t ignored = write(l->wake[1], "w", 1); /* a full pipe wakes just as well */
    (void)ignored;
}

static void suspend(struct ui_loop *l)
{
    struct sigaction before;
    struct sigaction stop = {.sa_handler = SIG_DFL};
    l->term->leave(l->term);
    sigaction(SIGTSTP, &stop, &before);
    kill(getpid(), SIGTSTP); /* stops here, until SIGCONT; at once without job control */
    sigaction(SIGTSTP, &before, NULL);
    l->term->enter(l->term);
    l->app->suspend = false;
    l->app->redraw = true;
    ui_app_resize(l->app, l->term->w, l->term->h);
}

/* Ctrl-C stops the topmost job; twice within a second it ends the program. */
static void interrupt(struct ui_loop *l)
{
    struct ui_app *app = l->app;
    int64_t now = ui_now_ms();
    if (l->interrupt_ms && now - l->interrupt_ms < INTERRUPT_MS) {
        app->quit = true;
        app->exit_code = 128 + SIGINT;
        return;
    }
    l->interrupt_ms = now;
    app->prompt.active = false;
    app->n_pending = 0;
    if (app->session && qx_session_cancel_top(app->session)) {
        ui_toast(app, UI_TOAST_INFO, "job cancelled; Ctrl-C again quits");
    } else {
        ui_toast(app, UI_TOAST_INFO, "Ctrl-C again quits; q quits too");
    }
}

static void take_signal(struct ui_loop *l, int sig)
{
    switch (sig) {
    case SIGWINCH:
        l->term->resize(l->term);
        ui_app_resize(l->app, l->term->w, l->term->h);
        break;
    case SIGTSTP:
        l->app->suspend = true;
        break;
    case SIGCONT:
        l->app->redraw = true;
        break;
    case SIGINT:
        interrupt(l);
        break;
    default:
        l->app->quit = true;
        l->app->exit_code = 128 + sig;
    }
}

static bool take_signals(struct ui_loop *l)
{
    unsigned char sig;
    bool any = false;
    while (l->signals >= 0 && read(l->signals, &sig, 1) == 1) {
        any = true;
        take_signal(l, sig);
    }
    return any;
}

/* ---- themes ---- */

static bool is_light(int rgb)
{
    int brightness = 299 * (rgb >> 16) + 587 * (rgb >> 8 & 255) + 114 * (rgb & 255);
    return rgb >= 0 && brightness > 127500;
}

static void follow_background(struct ui_loop *l)
{
    if (l->auto_theme) {
        snprintf(l->app->theme, sizeof(l->app->theme), "%s",
                 is_light(l->term->background) ? "light" : "dark");
    }
}

static void apply_theme(struct ui_loop *l)
{
    if (strcmp(l->theme.name, l->app->theme) == 0) {
        return;
    }
    ui_theme_load(&l->theme, l->app->theme);
    snprintf(l->theme.name, sizeof(l->theme.name), "%s", l->app->theme);
    l->term->theme(l->term, &l->theme);
    l->app->redraw = true;
}

/* ---- input ---- */

static void dispatch(struct ui_loop *l, const struct ui_event *e)
{
    switch (e->kind) {
    case UI_EVENT_KEY:
        ui_key(l->app, e->key);
        break;
    case UI_EVENT_MOUSE:
        ui_mouse_event(l->app, &e->mouse);
        break;
    case UI_EVENT_PASTE:
        if (l->app->prompt.active) {
            ui_prompt_text(l->app, e->text);
        }
        break;
    case UI_EVENT_BACKGROUND:
        l->term->background = e->rgb;
        follow_background(l);
        break;
    case UI_EVENT_NONE:
        break;
    }
}

static bool is_drag(const struct ui_event *e)
{
    return e->kind == UI_EVENT_MOUSE && e->mouse.kind == UI_MOUSE_DRAG;
}

/* All that came, in order; of drags in a row only the last counts. */
static bool take_input(struct ui_loop *l, int64_t now)
{
    static struct ui_event e, held; /* UI thread only */
    bool any = false, holding = false;
    if (!l->term->read(l->term, now)) {
        l->app->quit = true; /* the terminal is gone */
        l->app->exit_code = 128 + SIGHUP;
        return true;
    }
    while (l->term->next(l->term, now, &e)) {
        any = true;
        if (holding && !is_drag(&e)) {
            dispatch(l, &held);
        }
        holding = is_drag(&e);
        if (holding) {
            held = e;
        } else {
            dispatch(l, &e);
        }
    }
    if (holding) {
        dispatch(l, &held);
    }
    return any;
}

/* ---- session ---- */

static void open_model(struct ui_loop *l, const char *path)
{
    struct qx_session *s;
    struct qx_error err;
    struct ui_app *app = l->app;
    struct qx_session_options options = l->options;
    if (app->tour.is_opening) { /* apart from what the user edits */
        options.state_dir = options.recipe_path = options.data_path = options.calib = NULL;
        options.fresh = true;
    }
    if (qx_session_open(path, &options, &s, &err) != QX_OK) {
        ui_toast(app, UI_TOAST_BAD, "%s", err.text);
        app->tour.lesson = NULL;
        return;
    }
    ui_app_set_session(app, s);
    app->model_arg = NULL;
    if (app->tour.is_opening) {
        ui_lesson_enter(app);
    }
}

/* The old session is closed first: its recipe is saved and its lock given back. */
static void reload(struct ui_loop *l)
{
    char path[4096];
    struct ui_app *app = l->app;
    snprintf(path, sizeof(path), "%s", qx_model_path(qx_session_model(app->session)));
    int64_t cursor = app->cursor;
    bool fresh = l->options.fresh;
    ui_app_set_session(app, NULL);
    l->options.fresh = false; /* what was edited since the start is kept */
    open_model(l, path);
    l->options.fresh = fresh;
    if (!app->session && !app->found) {
        app->found = qx_model_discover(".", ui_path_samples(), getenv("HOME"));
    }
    if (app->session) {
        app->cursor = cursor < app->n_items ? cursor : app->cursor;
        ui_rows_update(app);
        int n = qx_session_resumed(app->session);
        ui_toast(app, UI_TOAST_GOOD, "opened anew, %d edit%s resumed", n, n == 1 ? "" : "s");
    }
}

static bool take_news(struct ui_loop *l)
{
    char bytes[64];
    while (read(l->wake[0], bytes, sizeof(bytes)) > 0) {
    }
    if (!l->app->session) {
        return false;
    }
    unsigned news = qx_session_poll(l->app->session);
    l->news |= news;
    ui_news(l->app, news);
    return news != 0;
}

static void follow_wishes(struct ui_loop *l)
{
    struct ui_app *app = l->app;
    if (app->want_model) {
        const char *path = app->want_model;
        app->want_model = NULL;
        open_model(l, path);
    }
    if (app->reload) {
        app->reload = false;
        if (app->session) {
            reload(l);
        }
    }
    if (app->copy[0]) {
        l->term->copy(l->term, app->copy);
        app->copy[0] = 0;
    }
    if (app->suspend) {
        suspend(l);
    }
}

static void draw(struct ui_loop *l)
{
    struct ui_app *app = l->app;
    if (l->canvas.w != app->w || l->canvas.h != app->h) {
        ui_canvas_release(&l->canvas);
        if (!ui_canvas_init(&l->canvas, app->w, app->h)) {
            return;
        }
    }
    apply_theme(l);
    bool all = app->redraw;
    app->redraw = false;
    ui_draw(app, &l->canvas);
    ui_flash(&l->flash, app, &l->canvas);
    l->term->blit(l->term, &l->canvas, all);
    l->last_draw_ms = app->now_ms;
    l->news = 0;
}

/* Lines of the log up to the next pause. A line refused while histograms are built waits for them. */
static bool take_script(struct ui_loop *l)
{
    char line[512], why[300];
    bool any = false;
    while (l->script && l->app->now_ms >= l->script_ms) {
        if (!fgets(line, sizeof(line), l->script)) {
            fclose(l->script);
            l->script = NULL;
            break;
        }
        any = true;
        double pause = 0;
        if (sscanf(line, " wait %lf", &pause) == 1 && pause > 0 && l->speed > 0) {
            l->script_ms = l->app->now_ms + (int64_t)(1000 * pause / l->speed);
        } else if (strncmp(line, "resize", 6) != 0 &&
                   !ui_script_patient(l->app, line, why, sizeof(why))) {
            ui_toast(l->app, UI_TOAST_BAD, "%s", why);
            fclose(l->script);
            l->script = NULL;
        }
    }
    return any;
}

static int sooner(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static int wait_ms(struct ui_loop *l, int max_wait_ms, int64_t now)
{
    int wait = sooner(max_wait_ms, l->term->timeout_ms(l->term, now));
    if (l->app->session) {
        wait = sooner(wait, qx_session_timeout_ms(l->app->session));
    }
    if (l->news) {
        int64_t due = l->last_draw_ms + PROGRESS_MS - now;
        wait = sooner(wait, due > 0 ? (int)due : 0);
    }
    if (l->script) {
        wait = sooner(wait, l->script_ms > now ? (int)(l->script_ms - now) : 0);
    }
    l->app->now_ms = now;
    return sooner(wait, ui_timeout_ms(l->app));
}

bool ui_loop_turn(struct ui_loop *l, int max_wait_ms)
{
    struct ui_app *app = l->app;
    struct pollfd fds[3] = {{.fd = l->term->fd, .events = POLLIN},
                            {.fd = l->wake[0], .events = POLLIN},
                            {.fd = l->signals, .events = POLLIN}};
    int64_t before = ui_now_ms();
    bool toast = ui_toast_is_up(app);
    poll(fds, 3, wait_ms(l, max_wait_ms, before));
    app->now_ms = ui_now_ms();
    bool dirty = take_signals(l);
    dirty |= take_input(l, app->now_ms);
    dirty |= take_script(l);
    take_news(l);
    follow_wishes(l);
    dirty |= ui_log_news(app);
    dirty |= app->redraw || (toast && !ui_toast_is_up(app));
    if (app->tick_ms && app->now_ms >= app->tick_ms) {
        app->tick_ms = 0;
        dirty = true;
    }
    dirty |= l->news != 0 && app->now_ms - l->last_draw_ms >= PROGRESS_MS;
    if (app->quit) {
        return false;
    }
    if (dirty) {
        draw(l);
    }
    return true;
}

bool ui_loop_begin(struct ui_loop *l, struct ui_app *app, struct ui_term *term, const char *theme)
{
    l->app = app;
    l->term = term;
    if (term->fd >= 0) {
        l->signals = signal_pipe[0];
        watch_signals(); /* over the handlers that curses installs */
    }
    l->auto_theme = theme == NULL;
    app->now_ms = ui_now_ms();
    app->most_glyphs = term->glyphs;
    app->shades = term->has_shades;
    app->glyphs = app->glyphs < term->glyphs ? app->glyphs : term->glyphs;
    if (theme) {
        snprintf(app->theme, sizeof(app->theme), "%s", theme);
    }
    follow_background(l);
    struct pollfd reply = {.fd = term->fd, .events = POLLIN};
    if (l->auto_theme && term->colour != UI_COLOUR_NONE && term->fd >= 0) {
        poll(&reply, 1, FIRST_REPLY_MS); /* most terminals tell their background within 1 ms */
        take_input(l, app->now_ms);
    }
    follow_wishes(l); /* a lesson named on the command line */
    draw(l);
    return l->canvas.cells != NULL;
}

void ui_loop_end(struct ui_loop *l)
{
    if (l->script) {
        fclose(l->script);
        l->script = NULL;
    }
    if (l->term) {
        l->term->close(l->term);
        l->term = NULL;
    }
    ui_canvas_release(&l->canvas);
    ui_flash_release(&l->flash);
}

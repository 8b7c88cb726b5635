/* The real program on a pseudo-terminal: first paint, hands, signals, and the terminal given back. */
#include "cmocka_all.h"

#include "harness.h"
#include "ptyrun.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG = 20000 }; /* a loaded machine under sanitizers is slow */

static const char *exe;
static struct pty pty;

static void start_at(int w, int h, const char *term, char *const *argv)
{
    if (!pty_start(&pty, argv, term, w, h)) {
        skip();
    }
}

/* The explorer on the five weights, on the first layer's screen when asked. */
static void start(bool layer)
{
    char *argv[] = {(char *)exe, (char *)sample_path("five-weights"), "--fresh", "--threads", "1",
                    NULL};
    start_at(80, 24, "xterm-256color", argv);
    assert_true(pty_wait(&pty, "Model", LONG));
    if (layer) {
        pty_type(&pty, "4gl");
        assert_true(pty_wait(&pty, "INT4", LONG));
    }
    pty_quiet(&pty, 300, LONG);
}

static void assert_given_back(void)
{
    assert_true(pty_restored(&pty));
    assert_non_null(strstr(pty.text, "\033[?1002l"));
    assert_non_null(strstr(pty.text, "\033[?2004l"));
    assert_non_null(strstr(pty.text, "\033[?1049l"));
}

static void first_paint_and_quit(void **state)
{
    (void)state;
    start(false);
    assert_non_null(strstr(pty.text, "\033[?1049h"));
    assert_non_null(strstr(pty.text, "\033[?1002h"));
    assert_non_null(strstr(pty.text, "help"));
    pty_clear(&pty);
    pty_type(&pty, "q");
    int status = pty_end(&pty, LONG);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_given_back();
    pty_close(&pty);
}

/* Find the threshold's column in a headless picture of the same state. */
static int handle_column(int *row)
{
    static struct ui_app app;
    struct ui_canvas c;
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app_line(&app, "bits 4");
    app_line(&app, "go layer");
    app_settle(&app);
    assert_true(ui_canvas_init(&c, 80, 24));
    ui_draw(&app, &c);
    int column = -1;
    for (int x = 79; x >= 0 && column < 0; x--) {
        if (c.cells[8 * c.w + x].style == UI_STYLE_HANDLE) {
            column = x;
        }
    }
    *row = 8;
    ui_canvas_release(&c);
    app_close(&app);
    assert_true(column > 0);
    return column;
}

static void a_drag_by_mouse_moves_the_threshold(void **state)
{
    (void)state;
    int row, column = handle_column(&row);
    start(true);
    char bytes[64];
    snprintf(bytes, sizeof(bytes), "\033[<0;%d;%dM", column + 1, row + 1);
    pty_type(&pty, bytes);
    pty_clear(&pty);
    for (int i = 1; i <= 8; i++) {
        snprintf(bytes, sizeof(bytes), "\033[<32;%d;%dM", column + 1 - i, row + 1);
        for (char *b = bytes; *b; b++) { /* byte by byte: split sequences are put together */
            char one[2] = {*b, 0};
            pty_type(&pty, one);
        }
        pty_quiet(&pty, 30, 500);
    }
    snprintf(bytes, sizeof(bytes), "\033[<0;%d;%dm", column - 7, row + 1);
    pty_type(&pty, bytes);
    assert_true(pty_wait(&pty, "manual", LONG));
    pty_clear(&pty);
    pty_type(&pty, "u");
    assert_true(pty_wait(&pty, "undone", LONG)); /* the drag was one step: back to the calibrator */
    assert_true(pty_wait(&pty, "MSE", LONG));
    pty_type(&pty, "q");
    pty_end(&pty, LONG);
    pty_close(&pty);
}

/* The high end of the inputs' range, in a headless picture of the same state. */
static int act_handle_column(int row)
{
    static struct ui_app app;
    struct ui_canvas c;
    app_open(&app, sample_path("fashion-mlp"), 80, 24, false);
    app_line(&app, "go act");
    app_settle(&app);
    app_line(&app, "act-bits 4");
    app_settle(&app);
    app_line(&app, "act-range 1.2");
    app.toast[0] = 0;
    assert_true(ui_canvas_init(&c, 80, 24));
    ui_draw(&app, &c);
    int column = -1;
    for (int x = 79; x >= 0 && column < 0; x--) {
        column = c.cells[row * c.w + x].style == UI_STYLE_HANDLE ? x : -1;
    }
    ui_canvas_release(&c);
    app_close(&app);
    assert_true(column > 0);
    return column;
}

static void a_drag_by_mouse_moves_the_range_of_inputs(void **state)
{
    (void)state;
    const int row = 7, column = act_handle_column(row);
    char *argv[] = {(char *)exe, (char *)sample_path("fashion-mlp"), "--fresh", "--threads", "1",
                    NULL};
    char bytes[64];
    start_at(80, 24, "xterm-256color", argv);
    assert_true(pty_wait(&pty, "Model", LONG));
    pty_type(&pty, "Ega");
    assert_true(pty_wait(&pty, "channels", LONG)); /* calibrated */
    pty_type(&pty, "4");
    assert_true(pty_wait(&pty, "UINT4", LONG));
    pty_type(&pty, "t1.2\r");
    assert_true(pty_wait(&pty, "by hand", LONG));
    pty_quiet(&pty, 300, LONG);
    pty_clear(&pty);
    snprintf(bytes, sizeof(bytes), "\033[<0;%d;%dM", column + 1, row + 1);
    pty_type(&pty, bytes);
    for (int i = 1; i <= 6; i++) {
        snprintf(bytes, sizeof(bytes), "\033[<32;%d;%dM", column + 1 - i, row + 1);
        pty_type(&pty, bytes);
        pty_quiet(&pty, 30, 500);
    }
    snprintf(bytes, sizeof(bytes), "\033[<0;%d;%dm", column - 5, row + 1);
    pty_type(&pty, bytes);
    pty_quiet(&pty, 300, LONG);
    pty_clear(&pty);
    pty_type(&pty, "u"); /* the drag was one step */
    assert_true(pty_wait(&pty, "undone", LONG));
    assert_true(pty_wait(&pty, "..1.2 -> 4 bits asym 0..1.0", LONG));
    pty_type(&pty, "q");
    pty_end(&pty, LONG);
    pty_close(&pty);
}

/* Bytes of the largest frame since pty_clear; 0 = no whole one came. */
static size_t largest_frame(void)
{
    size_t most = 0;
    const char *begin = pty.text;
    while ((begin = strstr(begin, "\033[?2026h")) != NULL) {
        const char *end = strstr(begin, "\033[?2026l");
        if (!end) {
            break;
        }
        most = (size_t)(end - begin) > most ? (size_t)(end - begin) : most;
        begin = end;
    }
    return most;
}

static void a_drag_frame_is_below_8_kB(void **state)
{
    (void)state;
    char *argv[] = {(char *)exe, (char *)sample_path("fashion-cnn"),
                    "--fresh",   "--threads",
                    "1",         "--theme",
                    "dark",      NULL};
    start_at(200, 60, "xterm-256color", argv);
    assert_true(pty_wait(&pty, "Model", LONG));
    pty_type(&pty, "4glVE"); /* 4 bits, one scale, measuring on demand only */
    assert_true(pty_wait(&pty, "tensor", LONG));
    pty_quiet(&pty, 1500, LONG);
    for (int i = 0; i < 40; i++) {
        pty_clear(&pty);
        pty_type(&pty, i < 30 ? "h" : "l");
        pty_quiet(&pty, 150, 5000);
        size_t bytes = largest_frame();
        assert_true(bytes > 0);
        if (bytes >= 8192) {
            fail_msg("step %d drew a frame of %zu bytes", i, bytes);
        }
    }
    pty_type(&pty, "q");
    pty_end(&pty, LONG);
    pty_close(&pty);
}

static void a_resize_repaints(void **state)
{
    (void)state;
    start(false);
    pty_clear(&pty);
    pty_resize(&pty, 50, 10);
    assert_true(pty_wait(&pty, "50x10", LONG));
    pty_clear(&pty);
    pty_resize(&pty, 120, 40);
    assert_true(pty_wait(&pty, "qexplore", LONG));
    pty_type(&pty, "q");
    assert_int_equal(pty_end(&pty, LONG), 0);
    pty_close(&pty);
}

static void stop_gives_the_terminal_back_and_continue_takes_it(void **state)
{
    (void)state;
    start(false);
    pty_clear(&pty);
    kill(pty.pid, SIGTSTP);
    assert_true(pty_wait(&pty, "\033[?1049l", LONG));
    assert_true(pty_stopped(&pty, LONG));
    pty_quiet(&pty, 50, 1000);
    assert_given_back();
    pty_clear(&pty);
    kill(pty.pid, SIGCONT);
    assert_true(pty_wait(&pty, "Model", LONG));
    assert_non_null(strstr(pty.text, "\033[?1002h"));
    pty_type(&pty, "q");
    assert_int_equal(pty_end(&pty, LONG), 0);
    assert_true(pty_restored(&pty));
    pty_close(&pty);
}

static void signals_end_the_program_and_restore(void **state)
{
    (void)state;
    static const struct {
        int sig;
        bool exits; /* with 128 + sig; else dies of it */
    } cases[] = {
        {SIGTERM, true}, {SIGHUP, true}, {SIGSEGV, false}, {SIGABRT, false}, {SIGBUS, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start(i & 1);
        pty_clear(&pty);
        kill(pty.pid, cases[i].sig);
        int status = pty_end(&pty, LONG);
        if (cases[i].exits) {
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 128 + cases[i].sig);
        } else {
            assert_true(WIFSIGNALED(status));
            assert_int_equal(WTERMSIG(status), cases[i].sig);
        }
        assert_given_back();
        pty_close(&pty);
    }
}

/* --fresh is about what was before the start, not about what was done since. */
static void reload_keeps_the_edits_of_a_fresh_start(void **state)
{
    (void)state;
    start(true);
    pty_clear(&pty);
    pty_type(&pty, "R");
    assert_true(pty_wait(&pty, "1 edit", LONG));
    pty_type(&pty, "q");
    assert_int_equal(pty_end(&pty, LONG), 0);
    pty_close(&pty);
}

/* Random keys and mouse reports, whole and split, at changing sizes: it stays alive and still quits.
 * Left out: what quits, suspends or writes files. */
static void a_monkey_does_not_break_it(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "h",  "l",      "j",  "k",    "J",    "[",      "]",      "{",      "}",      "t",
        "=",  "O",      "cm", "cp",   "ck",   "v",      "V",      "S",      ";",      "L",
        "Z",  "r",      "m",  "`",    "n",    "N",      "/",      "?",      "i",      "u",
        "U",  "y",      "e",  "gl",   "gm",   "gc",     "gj",     "go",     "gg",     "s",
        "o",  "x",      "d",  "A",    "D",    "E",      "f",      "F",      "2",      "3",
        "4",  "8",      " ",  ".",    "\033", "\033[A", "\033[B", "\033[C", "\033[D", "\033[5~",
        "\t", "\033[Z", "\r", "\014", "R",    "\177"};
    unsigned seed = 20260101;
    int w = 80, h = 24;
    start(false);
    for (int i = 0; i < 1500; i++) {
        char bytes[64];
        if (next_random(&seed, 4) == 0) {
            static const int button[] = {0, 0, 32, 32, 64, 65, 2, 35};
            snprintf(bytes, sizeof(bytes), "\033[<%d;%u;%u%c", button[next_random(&seed, 8)],
                     1 + next_random(&seed, (unsigned)w), 1 + next_random(&seed, (unsigned)h),
                     "MMm"[next_random(&seed, 3)]);
        } else {
            snprintf(bytes, sizeof(bytes), "%s",
                     keys[next_random(&seed, sizeof(keys) / sizeof(keys[0]))]);
        }
        if (next_random(&seed, 50) == 0) {
            w = 20 + (int)next_random(&seed, 180);
            h = 5 + (int)next_random(&seed, 50);
            pty_resize(&pty, w, h);
        }
        pty_type(&pty, bytes);
        if (i % 16 == 0) {
            pty_quiet(&pty, 1, 50);
            pty_clear(&pty);
        }
    }
    pty_resize(&pty, 80, 24);
    pty_quiet(&pty, 300, LONG);
    for (int i = 0; i < 3; i++) {
        pty_type(&pty, "\033");
        pty_quiet(&pty, 100, 1000);
    }
    pty_type(&pty, "q");
    assert_int_equal(pty_end(&pty, LONG), 0);
    assert_true(pty_restored(&pty));
    pty_close(&pty);
}

static void interrupt_twice_quits(void **state)
{
    (void)state;
    start(false);
    pty_clear(&pty);
    pty_type(&pty, "\003");
    assert_true(pty_wait(&pty, "again quits", LONG));
    pty_type(&pty, "\003");
    int status = pty_end(&pty, LONG);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    assert_given_back();
    pty_close(&pty);
}

static void any_terminal_shows_the_screen(void **state)
{
    (void)state;
    static const char *const terms[] = {"xterm", "linux", "vt100", "screen", "tmux-256color"};
    for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
        char *argv[] = {(char *)exe, (char *)sample_path("five-weights"), "--fresh", NULL};
        start_at(80, 24, terms[i], argv);
        assert_true(pty_wait(&pty, "command", LONG));
        pty_type(&pty, "q");
        assert_int_equal(pty_end(&pty, LONG), 0);
        pty_close(&pty);
    }
}

static void keys_come_from_the_terminal_when_stdin_is_none(void **state)
{
    (void)state;
    char command[2000];
    snprintf(command, sizeof(command), "exec '%s' '%s' --fresh </dev/null", exe,
             sample_path("five-weights"));
    char *argv[] = {"/bin/sh", "-c", command, NULL};
    start_at(80, 24, "xterm-256color", argv);
    assert_true(pty_wait(&pty, "Model", LONG));
    pty_type(&pty, "q");
    assert_int_equal(pty_end(&pty, LONG), 0);
    pty_close(&pty);
}

static void without_a_screen_it_says_what_to_use(void **state)
{
    (void)state;
    char command[2000];
    snprintf(command, sizeof(command), "'%s' '%s' | cat; echo code ${PIPESTATUS[0]}", exe,
             sample_path("five-weights"));
    char *piped[] = {"/bin/bash", "-c", command, NULL};
    start_at(80, 24, "xterm-256color", piped);
    assert_true(pty_wait(&pty, "code 2", LONG));
    assert_non_null(strstr(pty.text, "qexplore render"));
    pty_end(&pty, LONG);
    pty_close(&pty);
    char *dumb[] = {(char *)exe, (char *)sample_path("five-weights"), NULL};
    start_at(80, 24, "dumb", dumb);
    assert_true(pty_wait(&pty, "TERM=dumb", LONG));
    assert_int_equal(pty_end(&pty, LONG), 0);
    assert_null(strstr(pty.text, "\033["));
    pty_close(&pty);
}

static void no_colour_means_no_colour(void **state)
{
    (void)state;
    setenv("NO_COLOR", "1", 1);
    start(true);
    setenv("NO_COLOR", "", 1);
    assert_null(strstr(pty.text, "\033[38;5"));
    assert_null(strstr(pty.text, "\033[3"
                                 "3m"));
    pty_type(&pty, "q");
    pty_end(&pty, LONG);
    pty_close(&pty);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_paint_and_quit),
        cmocka_unit_test(a_drag_by_mouse_moves_the_threshold),
        cmocka_unit_test(a_drag_by_mouse_moves_the_range_of_inputs),
        cmocka_unit_test(a_drag_frame_is_below_8_kB),
        cmocka_unit_test(a_resize_repaints),
        cmocka_unit_test(stop_gives_the_terminal_back_and_continue_takes_it),
        cmocka_unit_test(signals_end_the_program_and_restore),
        cmocka_unit_test(reload_keeps_the_edits_of_a_fresh_start),
        cmocka_unit_test(a_monkey_does_not_break_it),
        cmocka_unit_test(interrupt_twice_quits),
        cmocka_unit_test(any_terminal_shows_the_screen),
        cmocka_unit_test(keys_come_from_the_terminal_when_stdin_is_none),
        cmocka_unit_test(without_a_screen_it_says_what_to_use),
        cmocka_unit_test(no_colour_means_no_colour),
    };
    exe = argc > 1 ? argv[1] : "qexplore";
    return cmocka_run_group_tests(tests, NULL, NULL);
}

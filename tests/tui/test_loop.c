/* The loop on a headless terminal: one update per batch of input, no allocation while dragging. */
#include "cmocka_all.h"

#include "harness.h"

#include "loop.h"

#include <stdlib.h>
#include <string.h>

static struct ui_app app;
static struct ui_loop loop;
static struct ui_term *term;
static long n_allocations;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    n_allocations++;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    n_allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    n_allocations++;
    return __real_realloc(p, n);
}

static void begin(const char *sample, const char *const *lines)
{
    assert_true(ui_loop_prepare(&loop));
    app_open(&app, sample_path(sample), 200, 60, false);
    for (; *lines; lines++) {
        app_line(&app, *lines);
        app_settle(&app);
    }
    term = ui_term_headless(200, 60);
    assert_non_null(term);
    assert_true(ui_loop_begin(&loop, &app, term, "dark"));
}

static void end(void)
{
    ui_loop_end(&loop);
    app_close(&app);
}

static void type(const char *bytes)
{
    ui_term_headless_type(term, bytes, strlen(bytes));
}

static int handle_column(int row)
{
    const struct ui_canvas *c = ui_term_headless_screen(term);
    for (int x = c->w - 1; x > 0; x--) {
        if (c->cells[row * c->w + x].style == UI_STYLE_HANDLE) {
            return x;
        }
    }
    fail_msg("no handle on the screen");
    return 0;
}

static const char *const layer[] = {"bits 4", "gran tensor", "go layer", NULL};

static void a_flood_of_input_is_one_update(void **state)
{
    (void)state;
    begin("five-weights", layer);
    int x = handle_column(10);
    char bytes[64];
    snprintf(bytes, sizeof(bytes), "\033[<0;%d;11M", x + 1);
    type(bytes);
    for (int i = 0; i < 200; i++) {
        snprintf(bytes, sizeof(bytes), "\033[<32;%d;11M", x + 1 - i % 40);
        type(bytes);
    }
    uint64_t before = term->n_updates;
    assert_true(ui_loop_turn(&loop, 0));
    assert_int_equal(term->n_updates - before, 1);
    assert_true(app.drag.active);
    type("hlhlhl[[]]");
    assert_true(ui_loop_turn(&loop, 0));
    assert_int_equal(term->n_updates - before, 2);
    end();
}

static void dragging_allocates_nothing(void **state)
{
    (void)state;
    begin("fashion-cnn", layer);
    int x = handle_column(10);
    char bytes[64];
    snprintf(bytes, sizeof(bytes), "\033[<0;%d;11M\033[<32;%d;11M", x + 1, x);
    type(bytes);
    assert_true(ui_loop_turn(&loop, 0));
    double before = ui_threshold(&app, app.cursor);
    long most = 0;
    for (int i = 1; i < 30; i++) {
        snprintf(bytes, sizeof(bytes), "\033[<32;%d;11M", x - i);
        type(bytes);
        n_allocations = 0;
        assert_true(ui_loop_turn(&loop, 0));
        most = n_allocations > most ? n_allocations : most;
    }
    assert_true(ui_threshold(&app, app.cursor) < before);
    assert_int_equal(most, 0);
    assert_int_equal(qx_session_n_edits(app.session), 3); /* bits, granularity, one drag */
    end();
}

static void toasts_go_away_by_themselves(void **state)
{
    (void)state;
    begin("five-weights", layer);
    type("=");
    assert_true(ui_loop_turn(&loop, 0));
    assert_true(app.toast[0] && ui_timeout_ms(&app) > 0);
    app.toast_ms -= 10000;
    assert_false(ui_toast_is_up(&app));
    /* the layer asks for one frame more, when the hand rests: it orders the exact figures */
    assert_true(app.tick_ms > app.now_ms && ui_timeout_ms(&app) > 0);
    app.tick_ms = 1;
    assert_true(ui_loop_turn(&loop, 0));
    assert_int_equal(app.tick_ms, 0);
    assert_int_equal(ui_timeout_ms(&app), -1);
    end();
}

static void the_background_picks_the_theme(void **state)
{
    (void)state;
    begin("five-weights", layer);
    loop.auto_theme = true;
    type("\033]11;rgb:f0f0/f0f0/f0f0\033\\");
    assert_true(ui_loop_turn(&loop, 0));
    assert_string_equal(app.theme, "light");
    type("\033]11;rgb:1010/1010/1010\a");
    assert_true(ui_loop_turn(&loop, 0));
    assert_string_equal(app.theme, "dark");
    end();
}

static int n_lit(const struct ui_canvas *c)
{
    int n = 0;
    for (int i = 0; i < c->w * c->h; i++) {
        n += c->cells[i].style == UI_STYLE_CHANGED;
    }
    return n;
}

static void put_figure(struct ui_canvas *c, const char *text)
{
    ui_canvas_clear(c);
    ui_put(c, 1, 1, -1, UI_STYLE_NORMAL, text);
    ui_put(c, 1, 2, -1, UI_STYLE_MEASURED, text);
}

static void figures_that_change_by_themselves_stand_out_for_a_second(void **state)
{
    (void)state;
    static struct ui_app plain;
    struct ui_flash flash = {.before = NULL};
    struct ui_canvas c;
    plain.animate = true;
    plain.now_ms = 5000;
    assert_true(ui_canvas_init(&c, 20, 4));
    put_figure(&c, "-1.9 pt");
    ui_flash(&flash, &plain, &c); /* the first picture is no change */
    assert_int_equal(n_lit(&c), 0);
    plain.now_ms += 100;
    put_figure(&c, "-2.5 pt");
    ui_flash(&flash, &plain, &c);
    assert_int_equal(n_lit(&c), 2); /* 2 and 5 of the figure, not of the text */
    assert_int_equal(plain.tick_ms, 6100);
    plain.now_ms += 999;
    put_figure(&c, "-2.5 pt");
    ui_flash(&flash, &plain, &c);
    assert_int_equal(n_lit(&c), 2);
    plain.now_ms += 1;
    put_figure(&c, "-2.5 pt");
    ui_flash(&flash, &plain, &c);
    assert_int_equal(n_lit(&c), 0);
    plain.n_commands++; /* a key changed it: the eye is there already */
    put_figure(&c, "-7.0 pt");
    ui_flash(&flash, &plain, &c);
    assert_int_equal(n_lit(&c), 0);
    plain.now_ms += 200; /* and what follows at once */
    put_figure(&c, "-7.1 pt");
    ui_flash(&flash, &plain, &c);
    assert_int_equal(n_lit(&c), 0);
    plain.now_ms += 100;
    put_figure(&c, "-7.2 pt");
    ui_flash(&flash, &plain, &c);
    assert_int_equal(n_lit(&c), 1);
    ui_flash_release(&flash);
    ui_canvas_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_of_input_is_one_update),
        cmocka_unit_test(dragging_allocates_nothing),
        cmocka_unit_test(toasts_go_away_by_themselves),
        cmocka_unit_test(figures_that_change_by_themselves_stand_out_for_a_second),
        cmocka_unit_test(the_background_picks_the_theme),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

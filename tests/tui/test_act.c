/* The Activations screen: keys, hands and commands on the inputs of real networks, and what it says. */
#include "cmocka_all.h"

#include "harness.h"

#include "act.h"
#include "script.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linked with --wrap: allocations of the thread that counts. */
static _Thread_local bool counting;
static _Thread_local int allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    allocations += counting;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    allocations += counting;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    allocations += counting;
    return __real_realloc(p, n);
}

static struct ui_app app;

/* A sample with its rows to calibrate on and none to measure with: nothing takes time but calibrating. */
static const char *without_eval(const char *sample, bool with_calib)
{
    static const char *const files[] = {"graph.json", "model.safetensors", "calib.safetensors"};
    static char folder[80];
    snprintf(folder, sizeof(folder), "acts-%s-%d", sample, with_calib);
    mkdir(folder, 0777);
    for (int i = 0; i < 2 + with_calib; i++) {
        char from[1100], to[200];
        snprintf(from, sizeof(from), "%s/%s", sample_path(sample), files[i]);
        snprintf(to, sizeof(to), "%s/%s", folder, files[i]);
        unlink(to);
        assert_int_equal(symlink(from, to), 0);
    }
    return folder;
}

static void open_acts(int w, int h)
{
    app_open(&app, without_eval("fashion-mlp", true), w, h, false);
    app_line(&app, "go act");
    app_settle(&app);
}

static struct ui_act_state *act_state(void)
{
    return app.state[ui_view_find("act")];
}

static const struct qx_act *act_now(void)
{
    return ui_act(&app, app.cursor);
}

static void digits_and_letters_act_on_the_inputs(void **state)
{
    (void)state;
    open_acts(80, 24);
    assert_true(ui_has_input(&app, app.cursor)); /* not the bias before it */
    assert_true(app_shows(&app, "float32"));
    app_line(&app, "key 8");
    app_settle(&app);
    assert_int_equal(act_now()->bits, 8);
    assert_int_equal(ui_setting(&app)->bits, 8); /* its weights became integers for it */
    assert_true(app_shows(&app, "became INT8") && app_shows(&app, "UINT8 percentile"));
    app_line(&app, "key 4");
    assert_int_equal(act_now()->bits, 4);
    assert_int_equal(ui_setting(&app)->bits, 8);
    app_line(&app, "key cs");
    assert_string_equal(act_now()->calib->name, "mse");
    assert_string_equal(ui_setting(&app)->calib->name, "mse"); /* as it was */
    app_line(&app, "key ce");
    assert_ptr_equal(act_now()->calib, &qx_calib_ema);
    app_line(&app, "key S");
    assert_true(act_now()->sym && ui_setting(&app)->sym);
    app_line(&app, "key d");
    assert_true(act_now()->dynamic && act_now()->gran == QX_ACT_TOKEN);
    app_line(&app, "key v");
    assert_true(act_now()->dynamic && act_now()->gran == QX_ACT_TENSOR);
    app_line(&app, "key d");
    assert_false(act_now()->dynamic);
    assert_ptr_equal(act_now()->calib, &qx_calib_ema);
    app_line(&app, "key F");
    assert_int_equal(act_now()->bits, 0);
    assert_int_equal(ui_setting(&app)->bits, 8);
    for (int n = qx_session_n_edits(app.session); n > 0; n--) {
        app_line(&app, "key u");
    }
    assert_true(qx_setting_is_fp32(ui_setting(&app)));
    app_line(&app, "key a");
    assert_int_equal(act_now()->bits, 8);
    app_line(&app, "key a");
    assert_int_equal(act_now()->bits, 0);
    app_close(&app);
}

static void all_and_marked_layers_are_reached(void **state)
{
    (void)state;
    open_acts(80, 24);
    app_line(&app, "key A");
    app_settle(&app);
    int n_on = 0, n_range = 0;
    for (int64_t i = 0; i < app.n_items; i++) {
        n_on += ui_act(&app, i)->bits == 8;
        n_range += ui_act(&app, i)->has_range;
        assert_true(ui_has_input(&app, i) || ui_act(&app, i)->bits == 0);
    }
    assert_true(n_on == 4 && n_range == 4);
    assert_int_equal(qx_session_n_edits(app.session), 1);
    app_line(&app, "key j"); /* over the bias between */
    assert_true(ui_has_input(&app, app.cursor));
    app_line(&app, "key <Space>");
    app_line(&app, "key j");
    app_line(&app, "key <Space>");
    app_line(&app, "key 6");
    int n_six = 0;
    for (int64_t i = 0; i < app.n_items; i++) {
        n_six += ui_act(&app, i)->bits == 6;
    }
    assert_int_equal(n_six, 2);
    app_line(&app, "act none");
    for (int64_t i = 0; i < app.n_items; i++) {
        assert_int_equal(ui_act(&app, i)->bits, 0);
    }
    app_close(&app);
}

static void moves_of_the_range_are_one_step_until_let_go(void **state)
{
    (void)state;
    open_acts(80, 24);
    app_line(&app, "act-bits 8");
    app_settle(&app);
    const double hi = act_now()->range.hi;
    const int edits = qx_session_n_edits(app.session);
    app_line(&app, "key hhh{");
    assert_true(act_now()->range.hi < 0.9 * hi && act_now()->range.hi > 0.8 * hi);
    assert_int_equal(qx_session_n_edits(app.session), edits + 1);
    app_line(&app, "key ;"); /* the low end */
    assert_true(app_shows(&app, "low end"));
    app_line(&app, "act-range -0.25");
    assert_true(act_now()->range.lo == -0.25);
    app_line(&app, "act-range -0.5,1.5");
    assert_true(act_now()->range.lo == -0.5 && act_now()->range.hi == 1.5);
    app_line(&app, "act-range 99.9%");
    assert_true(act_now()->param == 99.9);
    app_line(&app, "act-handle");
    app_line(&app, "act-range 0.5max");
    assert_float_equal(act_now()->range.hi,
                       0.5 * qx_observed_stats(qx_session_observed(app.session, app.cursor))->max,
                       1e-9);
    app_line(&app, "key O"); /* values of a grid of 1/255: nothing is lost */
    assert_true(app_shows(&app, "exact"));
    static const char *const wrong[] = {"act-range x",   "act-range 1,2",  "act-range 5s",
                                        "act-bits 9",    "act-bits 1",     "act-method nothing",
                                        "act-gran rows", "act-dynamic no", "act maybe"};
    const uint64_t revision = qx_session_revision(app.session);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(ui_do_line(&app, wrong[i]));
        assert_true(app.toast[0]);
    }
    assert_int_equal(qx_session_revision(app.session), revision);
    app_close(&app);
}

static void a_drag_follows_the_hand_and_allocates_nothing(void **state)
{
    (void)state;
    open_acts(140, 45);
    app_line(&app, "act-bits 8");
    app_settle(&app);
    app_line(&app, "act-range 1.2");
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, app.w, app.h));
    ui_draw(&app, &c);
    const struct ui_act_state *s = act_state();
    const int y = s->hist_rect.y + s->hist_rect.h - 3;
    const int x = s->hist_rect.x + ui_axis_handle(&s->axis, s->hist_rect.w, s->hist.t_hi);
    const int edits = qx_session_n_edits(app.session);
    app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
    app_mouse(&app, UI_MOUSE_DRAG, x - 1, y, 0);
    ui_draw(&app, &c);
    counting = true;
    for (int i = 2; i <= 12; i++) {
        app_mouse(&app, UI_MOUSE_DRAG, x - i, y, 0);
        ui_draw(&app, &c);
    }
    counting = false;
    assert_int_equal(allocations, 0);
    const double cell = (s->axis.hi - s->axis.lo) / s->hist_rect.w;
    assert_float_equal(act_now()->range.hi, 1.2 - 12 * cell, 1e-5);
    app_mouse(&app, UI_MOUSE_RELEASE, x - 12, y, 0);
    assert_int_equal(qx_session_n_edits(app.session), edits + 1);
    app_line(&app, "undo");
    assert_float_equal(act_now()->range.hi, 1.2, 1e-9);
    app_mouse(&app, UI_MOUSE_WHEEL, x, y, 1);
    assert_float_equal(act_now()->range.hi, 1.2 * 0.995, 1e-9);
    /* a symmetric range: the low end moves with the high one */
    app_line(&app, "act-sym on");
    ui_draw(&app, &c);
    const int low = s->hist_rect.x + ui_axis_handle(&s->axis, s->hist_rect.w, s->hist.t_lo);
    app_mouse(&app, UI_MOUSE_PRESS, low, y, 0);
    app_mouse(&app, UI_MOUSE_DRAG, low + 3, y, 0);
    app_mouse(&app, UI_MOUSE_RELEASE, low + 3, y, 0);
    assert_true(act_now()->range.hi < 1.19 && act_now()->range.lo == -act_now()->range.hi);
    ui_canvas_release(&c);
    app_close(&app);
}

static void a_click_takes_a_way(void **state)
{
    (void)state;
    open_acts(140, 45);
    app_line(&app, "act-bits 8");
    app_settle(&app);
    const struct ui_act_state *s = act_state();
    assert_true(s->ways_rect.w > 0);
    for (int i = s->n_ways - 1; i >= 0; i--) {
        const struct act_way way = s->ways[i];
        app_mouse(&app, UI_MOUSE_PRESS, s->ways_rect.x + 4, s->ways_rect.y + i, 0);
        app_settle(&app);
        assert_int_equal(act_now()->dynamic, way.kind >= ACT_WAY_SAMPLE);
        assert_true(act_now()->dynamic || act_now()->calib == way.calib);
        assert_true(s->ways[i].is_current);
    }
    app_close(&app);
}

static void noise_is_told_and_its_command_line_too(void **state)
{
    (void)state;
    app_open(&app, without_eval("fashion-mlp", false), 80, 24, false);
    app_line(&app, "go act");
    app_settle(&app);
    assert_true(app_shows(&app, "No rows to calibrate on") && app_shows(&app, "random:64"));
    app_line(&app, "calibrate random:40");
    app_settle(&app);
    assert_true(app_shows(&app, "40 rows of noise"));
    app_line(&app, "act-bits 8");
    app_line(&app, "act-sym on");
    app_settle(&app);
    app.toast[0] = 0;
    assert_true(app_shows(&app, "come from noise"));
    app_line(&app, "reproduce");
    assert_non_null(strstr(app.copy, "--bits 8"));
    assert_non_null(strstr(app.copy, "--act-bits 8 --act-method percentile:99.99 --act-sym"));
    assert_non_null(strstr(app.copy, "--calib random:40"));
    app_line(&app, "act-dynamic on");
    app_line(&app, "reproduce");
    assert_non_null(strstr(app.copy, "--act-bits 8 --dynamic --act-gran token --act-sym"));
    app_line(&app, "act-range -1,1");
    app_line(&app, "act-sym off");
    app_line(&app, "act-range -1,2");
    app_line(&app, "reproduce");
    assert_non_null(strstr(app.copy, "--act-method manual:-1,2 --act-asym"));

    /* other rows: the ranges that calibrators chose follow, as one edit */
    app_line(&app, "act-method minmax");
    app_settle(&app);
    const double before = act_now()->range.hi;
    const int edits = qx_session_n_edits(app.session);
    app_line(&app, "calibrate random:400");
    app_settle(&app);
    assert_true(act_now()->has_range && act_now()->range.hi != before);
    assert_int_equal(qx_session_n_edits(app.session), edits + 1);
    app_line(&app, "undo");
    assert_true(act_now()->range.hi == before);
    app_close(&app);
}

static void other_screens_show_that_inputs_are_quantized(void **state)
{
    (void)state;
    open_acts(140, 45);
    app_line(&app, "snapshot");
    app_line(&app, "act-bits 5");
    app_settle(&app);
    app_line(&app, "go model");
    assert_true(app_shows(&app, "W8A5"));
    app_line(&app, "go layer");
    app_settle(&app);
    assert_true(app_shows(&app, "W8A5 sym channel"));
    app_line(&app, "reproduce");
    assert_non_null(strstr(app.copy, "--act-bits 5"));
    app_line(&app, "go compare");
    assert_true(app_shows(&app, "W8A5 sym channel"));
    app_line(&app, "go act");
    app_line(&app, "act-dynamic on");
    app_line(&app, "go model");
    assert_true(app_shows(&app, "W8A5d"));
    app_close(&app);
}

static void a_recorded_log_replays(void **state)
{
    (void)state;
    static char after[65536];
    struct qx_error err;
    open_acts(80, 24);
    assert_true(ui_record_open(&app, "acts.qxlog"));
    app_line(&app, "key gm");
    app_line(&app, "key ga8");
    app_settle(&app);
    app_line(&app, "key hh]]ck");
    app_settle(&app);
    app_line(&app, "key j");
    app_line(&app, "key 4dv");
    app_settle(&app);
    snprintf(after, sizeof(after), "%s", app_recipe(&app));
    assert_non_null(strstr(after, "\"kl\""));
    app_close(&app);
    app_open(&app, without_eval("fashion-mlp", true), 80, 24, false);
    app_settle(&app);
    if (ui_script_play(&app, "acts.qxlog", &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    app_settle(&app);
    assert_string_equal(app_recipe(&app), after);
    app_close(&app);
    unlink("acts.qxlog");
}

static void every_figure_explains_itself_at_every_size(void **state)
{
    (void)state;
    static const int sizes[][2] = {{60, 16},  {61, 17},  {80, 24},   {103, 30}, {104, 31},
                                   {140, 45}, {200, 60}, {300, 100}, {20, 5},   {1, 1}};
    static const char *const lines[] = {"act off",         "act-bits 8",     "act-dynamic on",
                                        "act-gran tensor", "act-range 0.01", "zoom",
                                        "log-counts"};
    static struct ui_explain e;
    open_acts(80, 24);
    app_line(&app, "act-bits 3");
    app_settle(&app);
    for (size_t k = 0; k < sizeof(lines) / sizeof(lines[0]); k++) {
        app_line(&app, lines[k]);
        app_settle(&app);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            app.glyphs = (enum ui_glyphs)(i % 3);
            ui_app_resize(&app, sizes[i][0], sizes[i][1]);
            app_shows(&app, "");
        }
        int n = 0;
        for (;; n++) {
            memset(&e, 0, sizeof(e));
            if (!act_explain(&app, act_state(), n, &e)) {
                break;
            }
            assert_true(e.title[0] && e.n > 0);
        }
        assert_int_equal(n, 4);
    }
    app_close(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_and_letters_act_on_the_inputs),
        cmocka_unit_test(all_and_marked_layers_are_reached),
        cmocka_unit_test(moves_of_the_range_are_one_step_until_let_go),
        cmocka_unit_test(a_drag_follows_the_hand_and_allocates_nothing),
        cmocka_unit_test(a_click_takes_a_way),
        cmocka_unit_test(noise_is_told_and_its_command_line_too),
        cmocka_unit_test(other_screens_show_that_inputs_are_quantized),
        cmocka_unit_test(a_recorded_log_replays),
        cmocka_unit_test(every_figure_explains_itself_at_every_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The screens on real sessions: every size draws, hands act where things are drawn, a drag allocates
 * nothing and is one undo step, every figure explains itself. */
#include "cmocka_all.h"

#include "harness.h"

#include "compare_changes.h"
#include "layer.h"

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

static struct ui_layer *layer_state(struct ui_app *app)
{
    return app->state[ui_view_find("layer")];
}

/* The sample's weights without its network: nothing is measured, so a session opens at once. */
static const char *weights_only(void)
{
    static const char name[] = "test-views.safetensors";
    static bool made;
    char from[1100];
    snprintf(from, sizeof(from), "%s/model.safetensors", sample_path("fashion-cnn"));
    FILE *in = made ? NULL : fopen(from, "rb"), *out = in ? fopen(name, "wb") : NULL;
    if (out) {
        static char block[1 << 16];
        for (size_t n; (n = fread(block, 1, sizeof(block), in)) > 0;) {
            assert_int_equal(fwrite(block, 1, n, out), n);
        }
        fclose(out);
        fclose(in);
        made = true;
    }
    assert_true(made);
    return name;
}

static void open_layer(struct ui_app *app, int w, int h, const char *setting)
{
    char lines[256];
    app_open(app, weights_only(), w, h, false);
    app_line(app, "select widen2.conv.weight");
    snprintf(lines, sizeof(lines), "%s", setting);
    for (char *line = strtok(lines, ";"); line; line = strtok(NULL, ";")) {
        app_line(app, line);
    }
    app_line(app, "go layer");
    app_settle(app);
}

static int handle_x(struct ui_app *app, bool low)
{
    const struct ui_layer *s = layer_state(app);
    return s->hist_rect.x +
           ui_axis_handle(&s->axis, s->hist_rect.w, low ? s->hist.t_lo : s->hist.t_hi);
}

static void draw_into(struct ui_app *app, struct ui_canvas *c)
{
    ui_draw(app, c);
}

static void draw_once(struct ui_app *app)
{
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, app->w, app->h));
    draw_into(app, &c);
    ui_canvas_release(&c);
}

static void every_screen_draws_at_every_size(void **state)
{
    (void)state;
    static const char *const screens[] = {"model", "layer", "matrix", "act", "compare",
                                          "bench", "jobs",  "log",    "help"};
    static const int sizes[][2] = {{60, 16},   {61, 17},  {75, 20},  {76, 24},  {80, 24},
                                   {103, 30},  {104, 31}, {130, 40}, {140, 45}, {200, 60},
                                   {300, 100}, {20, 5},   {1, 1}};
    static const char *const settings[] = {"bits 4", "bits 3;gran tensor;sym off",
                                           "bits 5;gran group:32;sym off;threshold 0.8",
                                           "format fp16", "bits 8;gran tensor;calib minmax"};
    static struct ui_app app;
    for (size_t k = 0; k < sizeof(settings) / sizeof(settings[0]); k++) {
        open_layer(&app, 80, 24, settings[k]);
        app_line(&app, "snapshot");
        app_line(&app, "bits 6");
        app_settle(&app);
        for (size_t v = 0; v < sizeof(screens) / sizeof(screens[0]); v++) {
            ui_dof(&app, UI_CMD_GO, "%s", screens[v]);
            for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                app.glyphs = (enum ui_glyphs)((i + v) % 3);
                ui_app_resize(&app, sizes[i][0], sizes[i][1]);
                draw_once(&app);
            }
        }
        app_close(&app);
    }
}

static void degenerate_layers_say_so(void **state)
{
    (void)state;
    static struct ui_app app;
    struct layer_frame f;
    char lines[4][160];
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app_line(&app, "go layer");
    assert_true(layer_frame_init(&f, &app, layer_state(&app)));
    assert_true(layer_message(&f, lines) >= 0);
    app_settle(&app);
    assert_true(layer_frame_init(&f, &app, layer_state(&app)));
    assert_int_equal(layer_message(&f, lines), 0); /* values are there: nothing to excuse */
    app_close(&app);
}

static void a_drag_is_one_step_and_follows_the_pointer(void **state)
{
    (void)state;
    static struct ui_app app;
    open_layer(&app, 100, 30, "bits 4;gran tensor");
    struct qx_session *s = app.session;
    int before = qx_session_n_edits(s);
    char recipe[65536];
    snprintf(recipe, sizeof(recipe), "%s", app_recipe(&app));
    int x = handle_x(&app, false), y = layer_state(&app)->hist_rect.y + 14;
    app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
    for (int i = 1; i <= 12; i++) {
        app_mouse(&app, UI_MOUSE_DRAG, x - i, y, 0);
        draw_once(&app);
    }
    assert_true(abs(handle_x(&app, false) - (x - 12)) <= 1);
    app_mouse(&app, UI_MOUSE_RELEASE, x - 12, y, 0);
    assert_int_equal(qx_session_n_edits(s), before + 1);
    assert_string_equal(ui_setting(&app)->calib->name, "manual");
    app_line(&app, "undo");
    app_settle(&app);
    assert_string_equal(app_recipe(&app), recipe);
    app_close(&app);
}

static void the_low_handle_of_a_symmetric_range_mirrors(void **state)
{
    (void)state;
    static struct ui_app app;
    open_layer(&app, 100, 30, "bits 4;gran tensor");
    int x = handle_x(&app, true), y = layer_state(&app)->hist_rect.y + 14;
    double t = ui_setting(&app)->range.hi;
    app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
    app_mouse(&app, UI_MOUSE_DRAG, x + 4, y, 0);
    app_mouse(&app, UI_MOUSE_RELEASE, x + 4, y, 0);
    assert_true(ui_setting(&app)->range.hi < t);
    assert_true(ui_setting(&app)->range.lo == -ui_setting(&app)->range.hi);
    app_close(&app);
}

static void each_handle_of_an_asymmetric_range_moves_alone(void **state)
{
    (void)state;
    static struct ui_app app;
    open_layer(&app, 100, 30, "bits 4;gran tensor;sym off");
    int x = handle_x(&app, true), y = layer_state(&app)->hist_rect.y + 14;
    struct qx_range was = ui_setting(&app)->range;
    app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
    app_mouse(&app, UI_MOUSE_DRAG, x + 3, y, 0);
    app_mouse(&app, UI_MOUSE_RELEASE, x + 3, y, 0);
    assert_true(ui_setting(&app)->range.lo > was.lo);
    assert_true(ui_setting(&app)->range.hi == was.hi);
    draw_once(&app);
    x = handle_x(&app, false);
    app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
    app_mouse(&app, UI_MOUSE_DRAG, x - 3, y, 0);
    app_mouse(&app, UI_MOUSE_RELEASE, x - 3, y, 0);
    assert_true(ui_setting(&app)->range.hi < was.hi);
    app_close(&app);
}

static void a_drag_allocates_nothing(void **state)
{
    (void)state;
    static const char *const settings[] = {"bits 4;gran tensor", "bits 8;gran channel",
                                           "bits 4;gran tensor;sym off"};
    static struct ui_app app;
    struct ui_canvas c;
    for (int k = 0; k < 3; k++) {
        open_layer(&app, 200, 60, settings[k]);
        assert_true(ui_canvas_init(&c, app.w, app.h));
        int x = handle_x(&app, false), y = layer_state(&app)->hist_rect.y + 30;
        app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
        app_mouse(&app, UI_MOUSE_DRAG, x - 1, y, 0); /* the step begins: it may allocate */
        draw_into(&app, &c);
        app_settle(&app);
        allocations = 0;
        counting = true;
        for (int i = 2; i < 20; i++) {
            app_mouse(&app, UI_MOUSE_DRAG, x - i, y, 0);
            draw_into(&app, &c);
        }
        counting = false;
        assert_int_equal(allocations, 0);
        app_mouse(&app, UI_MOUSE_RELEASE, x - 20, y, 0);
        ui_canvas_release(&c);
        app_close(&app);
    }
}

static void clicks_on_ladder_and_magnets_are_commands(void **state)
{
    (void)state;
    static struct ui_app app;
    open_layer(&app, 140, 45, "bits 4;gran tensor");
    struct ui_layer *s = layer_state(&app);
    assert_true(s->ladder_rect.w > 0 && s->valley_rect.w > 0);
    app_mouse(&app, UI_MOUSE_PRESS, s->ladder_rect.x + 2, s->ladder_rect.y + 2, 0);
    app_mouse(&app, UI_MOUSE_RELEASE, s->ladder_rect.x + 2, s->ladder_rect.y + 2, 0);
    assert_int_equal(ui_setting(&app)->bits, 3);
    app_mouse(&app, UI_MOUSE_WHEEL, s->ladder_rect.x + 2, s->ladder_rect.y + 2, 1);
    assert_int_equal(ui_setting(&app)->bits, 4);
    app_settle(&app);
    int clicked = 0;
    struct ui_valley v = {.axis = s->axis, .magnets = s->magnets, .n_magnets = s->n_magnets};
    for (int x = s->valley_rect.x; x < s->valley_rect.x + s->valley_rect.w; x++) {
        int y = s->valley_rect.y + s->valley_rect.h - 1;
        int i = ui_valley_hit(s->valley_rect, &v, x, y);
        if (i >= 0 && clicked == 0 && strcmp(s->magnet_calib[i]->name, "mse") != 0) {
            const struct qx_calibrator *calib = s->magnet_calib[i];
            app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
            assert_ptr_equal(ui_setting(&app)->calib, calib);
            clicked++;
        }
    }
    assert_int_equal(clicked, 1);
    app_close(&app);
}

static void every_number_explains_itself(void **state)
{
    (void)state;
    static const char *const settings[] = {"bits 4", "bits 3;gran tensor;sym off", "format fp16",
                                           "format fp32", "bits 4;gran group:32;sym off"};
    static struct ui_app app;
    static struct ui_explain e;
    for (size_t k = 0; k < sizeof(settings) / sizeof(settings[0]); k++) {
        open_layer(&app, 80, 24, settings[k]);
        const struct ui_view *view = ui_view_at(app.view);
        int n = 0;
        for (;; n++) {
            memset(&e, 0, sizeof(e));
            if (!view->explain(&app, app.state[app.view], n, &e)) {
                break;
            }
            assert_true(e.title[0] && e.n > 0);
            for (int i = 0; i < e.n; i++) {
                assert_null(strstr(e.line[i], "nan"));
            }
        }
        assert_true(n >= 3 && n < 20);
        app_close(&app);
    }
}

static void the_worked_example_shows_its_figures(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("five-weights"), 140, 45, false);
    app_line(&app, "bits 8");
    app_line(&app, "gran tensor");
    app_line(&app, "calib manual:8");
    app_line(&app, "go layer");
    app_settle(&app);
    assert_true(app_shows(&app, "52.75 dB"));
    assert_true(app_shows(&app, "7.44e-05"));
    app_line(&app, "threshold 3");
    app_settle(&app);
    assert_true(app_shows(&app, "20.0 %")); /* one of five is clipped */
    assert_true(app_shows(&app, "5.00"));
    app_close(&app);
}

static void compare_lists_what_differs(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, weights_only(), 100, 30, false);
    app_line(&app, "go compare");
    assert_true(app_shows(&app, "m keeps the recipe"));
    app_line(&app, "snapshot");
    assert_true(app_shows(&app, "A and B are the same recipe"));
    app_line(&app, "select dense.weight");
    app_line(&app, "bits 4");
    app_line(&app, "select head.weight");
    app_line(&app, "bits 8");
    app_settle(&app);
    assert_true(app_shows(&app, "2 of "));
    app_line(&app, "up");
    assert_string_equal(ui_item(&app)->tensor->name, "dense.weight");
    app_line(&app, "down");
    assert_string_equal(ui_item(&app)->tensor->name, "head.weight");
    app_line(&app, "take-a");
    app_settle(&app);
    app_line(&app, "up"); /* its notice goes, the count stands there again */
    assert_true(app_shows(&app, "1 of "));
    app_close(&app);
}

/* The classifier of sentences with a few rows of its own data. */
static const char *few_sentences(void)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json"};
    static const char name[] = "few-sentences";
    char from[1100], to[64], line[400];
    mkdir(name, 0777);
    for (int i = 0; i < 3; i++) {
        snprintf(from, sizeof(from), "%s/%s", sample_path("bert-sentiment"), files[i]);
        snprintf(to, sizeof(to), "%s/%s", name, files[i]);
        unlink(to);
        assert_int_equal(symlink(from, to), 0);
    }
    FILE *in = fopen(sample_path("bert-sentiment/eval.tsv"), "r");
    FILE *out = fopen("few-sentences/eval.tsv", "w");
    assert_true(in && out);
    for (int i = 0; i < 40 && fgets(line, sizeof(line), in); i++) {
        fputs(line, out);
    }
    fclose(in);
    fclose(out);
    return name;
}

static void compare_lists_the_rows_that_change(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, few_sentences(), 140, 45, true);
    app_line(&app, "go compare");
    assert_false(ui_do(&app, UI_CMD_CHANGES, "")); /* there is no A */
    app_line(&app, "snapshot");
    app_line(&app, "mark-all");
    app_line(&app, "bits 2");
    app_settle(&app);
    qx_session_settle(app.session, 60000);
    app_line(&app, "changes");
    app_settle(&app);
    struct qx_changes changes;
    assert_true(qx_session_changes(app.session, QX_CHANGES_ANSWERS, &changes));
    const struct ui_compare *compare = app.state[ui_view_find("compare")];
    const struct ui_changes *list = &compare->changes;
    assert_true(app_shows(&app, "margin A") && app_shows(&app, "macro F1"));
    assert_true(changes.n > 20);
    char text[200], row[24];
    assert_true(qx_session_row_text(app.session, changes.v[0].row, text, sizeof text));
    text[20] = 0;
    assert_true(app_shows(&app, text));
    snprintf(row, sizeof(row), "%lld", (long long)changes.v[0].row);
    assert_true(app_shows(&app, row));
    app_mouse(&app, UI_MOUSE_WHEEL, list->table.x + 2, list->table.y + 2, 1);
    assert_int_equal(list->cursor, 3);
    app_mouse(&app, UI_MOUSE_PRESS, list->table.x + 2, list->table.y + 2,
              0); /* header, rows 0, 1 */
    assert_int_equal(list->cursor, 1);
    app_line(&app, "bottom");
    assert_int_equal(list->cursor, changes.n - 1);
    assert_true(app_shows(&app, "that change most"));
    app_line(&app, "changes");
    assert_true(app_shows(&app, "SQNR B - A"));
    app_close(&app);
}

static void compare_lists_the_tokens_that_diverge(void **state)
{
    (void)state;
    static struct ui_app app;
    struct qx_changes changes;
    app_open(&app, exact_words_folder(), 140, 45, true);
    app_settle(&app);
    app_line(&app, "select lm_head.weight");
    app_line(&app, "bits 4");
    app_line(&app, "go compare");
    app_line(&app, "snapshot");
    app_line(&app, "bits 3");
    app_line(&app, "changes");
    app_settle(&app);
    assert_true(app_shows(&app, "that change most"));
    app_line(&app, "changes");
    for (int i = 0; i < 4; i++) { /* one side after the other */
        app_settle(&app);
    }
    assert_true(qx_session_changes(app.session, QX_CHANGES_KL, &changes));
    assert_true(changes.n > 20);
    const struct qx_beside *a = qx_session_beside(app.session, QX_WHICH_A);
    const struct qx_beside *b = qx_session_beside(app.session, QX_WHICH_B);
    float last = INFINITY;
    for (int64_t i = 0; i < changes.n;
         i++) { /* figures of the two measurements, the larger one first */
        const struct qx_eval_change *c = &changes.v[i];
        assert_true(c->kl_a == a->recipe->kl[c->at] && c->kl_b == b->recipe->kl[c->at]);
        assert_true(c->row == a->recipe->rows[c->at]);
        assert_true(fmaxf(c->kl_a, c->kl_b) <= last);
        last = fmaxf(c->kl_a, c->kl_b);
    }
    assert_true(fmaxf(changes.v[0].kl_a, changes.v[0].kl_b) ==
                (float)fmax(a->divergence.kld_max, b->divergence.kld_max));
    assert_true(app_shows(&app, "KL of A") && app_shows(&app, "farthest from FP32"));
    assert_true(app_shows(&app, "likeliest") && app_shows(&app, "same top token"));
    app_line(&app, "explain");
    assert_true(app_shows(&app, "nats, measured"));
    app_line(&app, "back"); /* closes what is explained, then the list */
    assert_true(app_shows(&app, "KL of A"));
    app_line(&app, "changes");
    assert_true(app_shows(&app, "SQNR B - A"));
    app_line(&app, "changes kl");
    assert_true(app_shows(&app, "KL of A"));
    app_line(&app, "back");
    assert_true(app_shows(&app, "SQNR B - A"));
    app_line(&app, "undo"); /* A and B are one recipe */
    app_line(&app, "undo"); /* B is float32 */
    app_line(&app, "changes kl");
    app_settle(&app);
    assert_true(qx_session_changes(app.session, QX_CHANGES_KL, &changes));
    assert_true(changes.n > 20 && isnan(changes.v[0].kl_b));
    app_line(&app, "snapshot");
    app_settle(&app);
    assert_true(app_shows(&app, "nothing diverges"));
    app_close(&app);
}

static void help_finds_and_gives_reasons(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("five-weights"), 100, 30, false);
    app_line(&app, "help");
    assert_true(app_shows(&app, "Model"));
    app_line(&app, "filter accuracy");
    assert_true(app_shows(&app, "measure"));
    assert_true(app_shows(&app, "Not now"));
    assert_false(app_shows(&app, "gran-next"));
    app_line(&app, "back"); /* clears the search first */
    assert_true(app_shows(&app, "gran-next"));
    app_close(&app);
}

static void jobs_show_what_ran(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("fashion-cnn"), 100, 30, true);
    app_settle(&app);
    app_line(&app, "go jobs");
    app_settle(&app);
    assert_true(app_shows(&app, "accuracy of FP32"));
    assert_true(app_shows(&app, "done"));
    app_line(&app, "down 5");
    app_line(&app, "up 9");
    draw_once(&app);
    app_close(&app);
}

/* No figure of time is checked, only that each has its place and its explanation. */
/* Predicted, then measured on 256 rows, then on all: the middle one as soon as it is there. */
static void an_edit_is_replayed_before_all_rows_are_measured(void **state)
{
    (void)state;
    static struct ui_app app;
    char text[160] = "";
    enum ui_style_id style;
    app_open(&app, sample_path("fashion-mlp"), 100, 30, true);
    qx_session_settle(app.session, 120000); /* float32 */
    bool was_replayed = false;
    for (int i = 0; i < 500 && !was_replayed; i++) {
        char line[40];
        snprintf(line, sizeof(line), "threshold %.3f", 0.9 - 0.001 * i); /* the hand never rests */
        app_line(&app, i == 0 ? "select head.weight" : i == 1 ? "bits 4" : line);
        qx_session_settle(app.session, 20);
        ui_fmt_gauge(&app, text, sizeof(text), &style, false);
        was_replayed = strstr(text, "pt on 256 rows") != NULL;
    }
    assert_true(was_replayed);
    assert_int_equal(style, UI_STYLE_MEASURED);
    app_line(&app, "go layer");
    assert_true(app_shows(&app, "on 256 rows"));
    app_close(&app);
}

static void the_bench_fills_row_by_row(void **state)
{
    (void)state;
    static struct ui_app app;
    static struct ui_explain e;
    app_open(&app, sample_path("fashion-cnn"), 140, 45, false);
    app_line(&app, "go bench");
    assert_true(app_shows(&app, "not measured"));
    app_line(&app, "bench fp32");
    app_line(&app, "bench fp16-convert");
    app_line(&app, "bottom");
    app_line(&app, "open");
    ui_do(&app, UI_CMD_CANCEL, "");
    app_settle(&app);
    assert_true(app_shows(&app, "sgemm openblas"));
    assert_true(app_shows(&app, "93.70"));
    assert_true(app_shows(&app, "cancelled"));
    assert_true(app_shows(&app, "All widened before every pass"));
    app_line(&app, "top");
    const struct ui_view *view = ui_view_at(app.view);
    int n = 0;
    for (;; n++) {
        memset(&e, 0, sizeof(e));
        if (!view->explain(&app, app.state[app.view], n, &e)) {
            break;
        }
        assert_true(e.title[0] && e.n > 0);
        for (int i = 0; i < e.n; i++) {
            assert_null(strstr(e.line[i], "nan"));
        }
    }
    assert_int_equal(n, 5);
    app_close(&app);
    app_open(&app, exact_words_folder(), 140, 45, false);
    app_line(&app, "go bench");
    assert_true(app_shows(&app, "ppl") && !app_shows(&app, "acc %"));
    app_close(&app);
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app_line(&app, "go bench");
    assert_false(ui_do(&app, UI_CMD_BENCH, ""));
    assert_true(app.toast[0]);
    app_close(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_screen_draws_at_every_size),
        cmocka_unit_test(degenerate_layers_say_so),
        cmocka_unit_test(a_drag_is_one_step_and_follows_the_pointer),
        cmocka_unit_test(the_low_handle_of_a_symmetric_range_mirrors),
        cmocka_unit_test(each_handle_of_an_asymmetric_range_moves_alone),
        cmocka_unit_test(a_drag_allocates_nothing),
        cmocka_unit_test(clicks_on_ladder_and_magnets_are_commands),
        cmocka_unit_test(every_number_explains_itself),
        cmocka_unit_test(the_worked_example_shows_its_figures),
        cmocka_unit_test(compare_lists_what_differs),
        cmocka_unit_test(compare_lists_the_rows_that_change),
        cmocka_unit_test(compare_lists_the_tokens_that_diverge),
        cmocka_unit_test(help_finds_and_gives_reasons),
        cmocka_unit_test(jobs_show_what_ran),
        cmocka_unit_test(an_edit_is_replayed_before_all_rows_are_measured),
        cmocka_unit_test(the_bench_fills_row_by_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

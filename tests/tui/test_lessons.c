/* Lessons: files that are refused by place and reason, and a lesson taken with keys alone. */
#include "cmocka_all.h"

#include "harness.h"

#include "lesson.h"
#include "loop.h"
#include "prompt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct ui_app app;
static struct ui_loop loop;
static struct ui_term *term;

/* ---- files ---- */

#define HEAD                         \
    "{\"schema\":\"qexplore.lesson/" \
    "1\",\"id\":\"x\",\"model\":\"five-weights\",\"title\":{\"en\":\"t\"},"
#define TEXT "\"text\":{\"en\":\"t\"}"

static const struct {
    const char *json, *why;
} bad[] = {
    {"[]", "schema"},
    {"{\"schema\":\"qexplore.lesson/2\"}", "schema"},
    {"{\"schema\":\"qexplore.lesson/1\",\"id\":\"x\"}", "model"},
    {HEAD "\"steps\":[]}", "\"steps\""},
    {HEAD "\"steps\":[{}]}", "step 1: \"text\""},
    {HEAD "\"steps\":[{\"text\":{\"id\":\"t\"}}]}", "under \"en\""},
    {HEAD "\"steps\":[{\"text\":{\"en\":\"t\",\"fr\":\"t\"}}]}", "'fr'"},
    {HEAD "\"steps\":[{\"text\":{\"en\":\"a {nothing}\"}}]}", "{nothing}"},
    {HEAD "\"steps\":[{\"text\":{\"en\":\"a {bits\"}}]}", "{bits}"},
    {HEAD "\"steps\":[{" TEXT ",\"do\":[\"explode 4\"]}]}", "'explode 4'"},
    {HEAD "\"steps\":[{" TEXT ",\"do\":\"bits 4\"}]}", "\"do\""},
    {HEAD "\"steps\":[{" TEXT ",\"check\":[]}]}", "\"check\""},
    {HEAD "\"steps\":[{" TEXT ",\"check\":[{\"figure\":\"luck\",\"is\":1}]}]}", "'luck'"},
    {HEAD "\"steps\":[{" TEXT ",\"check\":[{\"figure\":\"bits\"}]}]}", "'bits' needs"},
    {HEAD "\"steps\":[{" TEXT ",\"check\":[{\"figure\":\"bits\",\"is\":4}]}]}", "answer"},
    {HEAD "\"steps\":[{" TEXT ",\"guess\":{\"ask\":{\"en\":\"?\"}}}]}", "guess"},
    {HEAD "\"steps\":[{" TEXT ",\"guess\":{\"ask\":{\"en\":\"?\"},\"choices\":[{\"en\":\"a\"}],"
          "\"answer\":2}}]}",
     "1 to 1"},
};

static enum qx_status load(const char *json, struct ui_lesson **out, struct qx_error *err)
{
    const char *path = "lesson-test.json";
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(json, f);
    fclose(f);
    const enum qx_status st = ui_lesson_load(path, out, err);
    unlink(path);
    return st;
}

static void wrong_files_are_refused_naming_the_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ui_lesson *l = NULL;
        struct qx_error err;
        assert_int_equal(load(bad[i].json, &l, &err), QX_EFORMAT);
        assert_null(l);
        if (!strstr(err.text, bad[i].why) || !strstr(err.text, "lesson-test.json")) {
            fail_msg("%s: '%s' does not say %s", bad[i].json, err.text, bad[i].why);
        }
    }
}

static void all_lessons_speak_three_languages(void **state)
{
    (void)state;
    const struct ui_course *course = ui_course_get();
    assert_true(course->n >= 9);
    for (int i = 0; i < course->n; i++) {
        const struct ui_lesson *l = course->lesson[i];
        assert_string_not_equal(ui_lesson_title(l, "en"), ui_lesson_title(l, "id"));
        assert_string_not_equal(ui_lesson_title(l, "en"), ui_lesson_title(l, "ko"));
        assert_string_not_equal(ui_lesson_about(l, "en"), ui_lesson_about(l, "id"));
        assert_string_not_equal(ui_lesson_about(l, "en"), ui_lesson_about(l, "ko"));
        char number[16];
        snprintf(number, sizeof(number), "%d", i + 1);
        assert_ptr_equal(ui_course_find(ui_lesson_id(l)), l);
        assert_ptr_equal(ui_course_find(number), l);
    }
}

/* ---- a lesson ---- */

static void settle(void)
{
    for (int i = 0; i < 3; i++) {
        qx_session_settle(app.session, 600000);
        ui_news(&app, ~0u);
        while (ui_loop_turn(&loop, 0) && !qx_session_idle(app.session)) {
        }
    }
}

static void type(const char *text)
{
    for (; *text; text++) {
        ui_key(&app, *text == '\n' ? UI_KEY_ENTER : (unsigned char)*text);
    }
    ui_loop_turn(&loop, 0);
    settle();
}

static void begin(const char *lesson, int w, int h)
{
    assert_true(ui_loop_prepare(&loop));
    app_open(&app, sample_path("fashion-mlp"), w, h, false);
    loop.options = (struct qx_session_options){.threads = 1};
    term = ui_term_headless(w, h);
    assert_non_null(term);
    assert_true(ui_loop_begin(&loop, &app, term, "dark"));
    app.tour.is_rehearsed = true; /* keep nothing */
    ui_dof(&app, UI_CMD_LESSON, "%s", lesson);
    ui_loop_turn(&loop, 0);
    settle();
}

static void end(void)
{
    ui_loop_end(&loop);
    app_close(&app);
}

static const char *model(void)
{
    return qx_model_name(qx_session_model(app.session));
}

static void a_lesson_is_taken_with_keys_and_left_for_the_own_model(void **state)
{
    (void)state;
    begin("outlier", 80, 24);
    assert_string_equal(model(), "five-weights");
    assert_non_null(strstr(app.tour.text, "T = 8"));
    assert_true(ui_lesson_solved(&app));
    type(">");
    assert_int_equal(app.tour.step, 1);
    assert_false(ui_lesson_solved(&app));
    type(">"); /* not yet */
    assert_int_equal(app.tour.step, 1);
    type("4"); /* a wrong turn is explained */
    assert_non_null(app.tour.wrong);
    type("8t3\n");
    assert_null(app.tour.wrong);
    assert_true(ui_lesson_solved(&app));
    assert_non_null(strstr(app.tour.done, "rose to 5."));
    type("u"); /* what was solved stays solved, and its figures stay */
    assert_true(ui_lesson_solved(&app));
    assert_non_null(strstr(app.tour.done, "rose to 5."));
    type(">>2\n"); /* the guess */
    assert_true(app.tour.has_guess && app.tour.is_revealed);
    assert_float_equal(app.tour.guess, 2.0, 0.0);
    assert_float_equal(app.tour.truth, 3.0, 0.0);
    type(">HH"); /* the hint, then the answer */
    assert_true(ui_lesson_solved(&app));
    type(">"); /* the end */
    assert_null(app.tour.lesson);
    assert_string_equal(model(), "fashion-mlp");
    end();
}

static void measured_figures_answer_when_they_are_known(void **state)
{
    (void)state;
    begin("int4", 140, 45);
    type(">80\n");
    assert_true(app.tour.is_revealed);
    struct qx_gauge g;
    qx_session_gauge(app.session, &g);
    assert_float_equal(app.tour.truth, 100.0 * (double)g.correct / (double)g.n, 1e-9);
    assert_true(g.correct < g.fp32_correct);
    end();
}

static void the_panel_leaves_room_at_every_size(void **state)
{
    (void)state;
    static const int size[][2] = {{60, 16}, {80, 24}, {140, 45}, {200, 60}};
    begin("ruler", 80, 24);
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
        ui_app_resize(&app, size[i][0], size[i][1]);
        const int rows = ui_lesson_rows(&app, size[i][0], size[i][1]);
        assert_true(rows >= 3 && rows <= size[i][1] - 13);
        assert_int_equal(ui_view_rect(&app).h, size[i][1] - 3 - rows);
        ui_loop_turn(&loop, 0);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_files_are_refused_naming_the_step),
        cmocka_unit_test(all_lessons_speak_three_languages),
        cmocka_unit_test(a_lesson_is_taken_with_keys_and_left_for_the_own_model),
        cmocka_unit_test(measured_figures_answer_when_they_are_known),
        cmocka_unit_test(the_panel_leaves_room_at_every_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

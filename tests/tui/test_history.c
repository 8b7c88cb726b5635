/* The History screen: the tree as it is drawn, and the ways to any state. */
#include "cmocka_all.h"

#include "harness.h"
#include "history_graph.h"

#include <stdio.h>
#include <string.h>

static struct ui_app app;

static void press_on(const char *text)
{
    int x, y;
    app_find(&app, text, &x, &y);
    app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
    app_mouse(&app, UI_MOUSE_RELEASE, x, y, 0);
}

static int id_now(void)
{
    struct qx_state st = {.id = -1};
    for (int i = 0; qx_session_state(app.session, i, &st) && !st.is_now; i++) {
    }
    return st.id;
}

/* States 1 and 2, undone; 3 on a branch; undone; 4 and 5 on another. */
static void open_branches(int w, int h)
{
    static const char *const lines[] = {"bits 4", "bits 5", "undo",   "undo",      "bits 3",
                                        "undo",   "bits 2", "bits 8", "go history"};
    app_open_weights(&app, "history.safetensors", w, h);
    app_line(&app, "select widen2.conv.weight");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        app_line(&app, lines[i]);
    }
}

static void the_tree_is_drawn(void **state)
{
    (void)state;
    char out[8][UI_GRAPH_TEXT];
    static const char *const want[2][6] = {{"◆", "○", "│ ○", "│ │ ○", "│ │ ○", "○─┴─╯"},
                                           {"@", "o", "| o", "| | o", "| | o", "o-+-'"}};
    open_branches(100, 30);
    for (int k = 0; k < 2; k++) {
        app.glyphs = k ? UI_GLYPHS_ASCII : UI_GLYPHS_BRAILLE;
        assert_int_equal(ui_graph_rows(&app, 0, 8, out), 5);
        for (int i = 0; i < 6; i++) {
            assert_string_equal(out[i], want[k][i]);
        }
        assert_int_equal(ui_graph_rows(&app, 4, 2, out), 5);
        assert_string_equal(out[0], want[k][4]);
    }
    app.glyphs = UI_GLYPHS_BRAILLE;
    for (int i = 0; i < 3 * UI_GRAPH_LANES; i++) { /* more branches than lanes */
        app_line(&app, "state 0");
        app_line(&app, i % 2 ? "bits 6" : "bits 7");
    }
    assert_int_equal(ui_graph_rows(&app, 0, 8, out), 2 * UI_GRAPH_LANES - 1);
    assert_true(app_shows(&app, "FP32 -> INT7"));
    app_close(&app);
}

static void any_state_can_be_gone_to(void **state)
{
    (void)state;
    open_branches(100, 30);
    assert_int_equal(id_now(), 5);
    assert_int_equal(ui_setting(&app)->bits, 8);
    assert_true(app_shows(&app, "state 5 of 5"));
    press_on("bits 4 -> 5"); /* looked at, not gone to */
    assert_int_equal(id_now(), 5);
    assert_true(app_shows(&app, "(2 undone, 2 redone)"));
    app_line(&app, "explain");
    assert_true(app_shows(&app, "another branch"));
    app_line(&app, "back");
    press_on("bits 4 -> 5"); /* on the cursor: as Enter */
    assert_int_equal(id_now(), 2);
    assert_int_equal(ui_setting(&app)->bits, 5);
    app_line(&app, "undo"); /* the cursor follows */
    assert_int_equal(ui_setting(&app)->bits, 4);
    app.toast[0] = 0;
    assert_true(app_shows(&app, "state 1 of 5"));
    app_line(&app, "bottom");
    app_line(&app, "open");
    assert_true(qx_setting_is_fp32(ui_setting(&app)));
    app_line(&app, "state 3");
    assert_int_equal(ui_setting(&app)->bits, 3);
    assert_false(ui_do(&app, UI_CMD_STATE, "6"));
    assert_true(app_shows(&app, "no state 6"));
    assert_false(ui_do(&app, UI_CMD_STATE, "three"));
    assert_int_equal(id_now(), 3);
    app_mouse(&app, UI_MOUSE_WHEEL, 10, 5, -1);
    app_line(&app, "open");
    assert_int_equal(id_now(), 5); /* the first row */
    app_close(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_tree_is_drawn),
                                       cmocka_unit_test(any_state_can_be_gone_to)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

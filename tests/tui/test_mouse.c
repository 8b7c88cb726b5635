/* Hands on the screens beside Layer: a press goes where it was drawn, the wheel goes through the rows, a drag
 * follows; and each of it is a command that a key has too. */
#include "cmocka_all.h"

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct ui_app app;

static void press(int x, int y)
{
    app_mouse(&app, UI_MOUSE_PRESS, x, y, 0);
    app_mouse(&app, UI_MOUSE_RELEASE, x, y, 0);
}

/* Presses the text. */
static void press_on(const char *text)
{
    int x, y;
    app_find(&app, text, &x, &y);
    press(x, y);
}

static void sensitivity(void **state)
{
    (void)state;
    int x, y;
    app_open_weights(&app, "mouse.safetensors", 100, 30);
    app_line(&app, "go sens");
    app_settle(&app);
    press_on("dense");
    assert_true(app_shows(&app, "dense alone at "));
    app_find(&app, "5 bit", &x, &y);
    const int column = x;
    app_find(&app, "head", &x, &y);
    press(column, y);
    assert_true(app_shows(&app, "head alone at 5"));
    app_line(&app, "top");
    assert_true(app_shows(&app, "number"));
    assert_false(app_shows(&app, "head alone"));
    for (int i = 0; i < 9; i++) {
        app_mouse(&app, UI_MOUSE_WHEEL, column, y, 1);
    }
    assert_true(app_shows(&app, "widen2.conv alone at 5")); /* the last one */
    app_mouse(&app, UI_MOUSE_WHEEL, column, y, -1);
    assert_false(app_shows(&app, "widen2.conv alone"));
    app_line(&app, "down 3"); /* what keys do */
    assert_true(app_shows(&app, "widen2.conv alone at 5"));
    app_close(&app);
}

static void pareto(void **state)
{
    (void)state;
    int x, y, right, bottom;
    char text[40];
    app_open_weights(&app, "mouse.safetensors", 100, 30);
    app_line(&app, "bits 4");
    app_line(&app, "go pareto");
    app_settle(&app);
    const int n = qx_mixed_n(qx_session_mixed(app.session));
    assert_true(n > 8);
    app_find(&app, "\u2514", &x, &bottom); /* the corner of the axes */
    right = app.w - 2;
    y = bottom - 3;
    press(x + 1, y);
    snprintf(text, sizeof(text), " 1 of %d:", n);
    assert_true(app_shows(&app, text));
    app_mouse(&app, UI_MOUSE_PRESS, x + 1, y, 0);
    for (int at = x + 2; at <= right; at++) {
        app_mouse(&app, UI_MOUSE_DRAG, at, y, 0);
    }
    app_mouse(&app, UI_MOUSE_RELEASE, right, y, 0);
    snprintf(text, sizeof(text), " %d of %d:", n, n);
    assert_true(app_shows(&app, text));
    app_mouse(&app, UI_MOUSE_WHEEL, right, y, 1);
    snprintf(text, sizeof(text), " %d of %d:", n - 3, n);
    assert_true(app_shows(&app, text));
    app_line(&app, "right 3");                     /* as keys do */
    app_mouse(&app, UI_MOUSE_WHEEL, right, y, -1); /* no further */
    snprintf(text, sizeof(text), " %d of %d:", n, n);
    assert_true(app_shows(&app, text));
    app_close(&app);
}

static void formats(void **state)
{
    (void)state;
    int x, y;
    app_open_weights(&app, "mouse.safetensors", 100, 30);
    app_line(&app, "select widen2.conv.weight");
    app_line(&app, "bits 4");
    app_line(&app, "go formats");
    app_settle(&app);
    app_settle(&app);
    const int before = qx_session_n_edits(app.session);
    press_on("INT8 ");
    assert_int_equal(qx_session_n_edits(app.session), before); /* looked at, not applied */
    assert_int_equal(ui_setting(&app)->bits, 4);
    press_on("INT8 "); /* on the cursor: as Enter */
    assert_int_equal(ui_setting(&app)->bits, 8);
    assert_int_equal(qx_session_n_edits(app.session), before + 1);
    app_find(&app, "INT8 ", &x, &y);
    app_mouse(&app, UI_MOUSE_WHEEL, x, y, 1);
    app_line(&app, "open");
    assert_false(qx_setting_is_int(ui_setting(&app)) && ui_setting(&app)->bits == 8);
    app_close(&app);
}

static void rows(void **state)
{
    (void)state;
    struct qx_leads leads;
    char text[40];
    int x, y;
    app_open(&app, exact_folder(), 100, 30, true);
    app_settle(&app);
    app_line(&app, "bits 2");
    app_line(&app, "gran tensor");
    app_line(&app, "calib minmax");
    app_line(&app, "go rows");
    app_settle(&app);
    assert_true(qx_session_leads(app.session, &leads));
    assert_int_equal(leads.source, QX_LEADS_MEASURED);
    assert_true(leads.n > 12 && leads.n_flipped > 0);
    app_find(&app, "lead now", &x, &y); /* the head; rows stand below it */
    press(x, y + 4);
    app_line(&app, "explain");
    snprintf(text, sizeof(text), "row %lld", (long long)leads.v[3].row);
    assert_true(app_shows(&app, text));
    press(x, y + 1); /* closes what is explained, and nothing else */
    assert_int_equal(app.explain, -1);
    app_mouse(&app, UI_MOUSE_WHEEL, x, y + 4, 1);
    app_line(&app, "explain");
    snprintf(text, sizeof(text), "row %lld", (long long)leads.v[6].row);
    assert_true(app_shows(&app, text));
    press(x, y + 1);
    app_line(&app, "up 6");
    app_line(&app, "explain");
    snprintf(text, sizeof(text), "row %lld", (long long)leads.v[0].row);
    assert_true(app_shows(&app, text));
    app_close(&app);
}

static void gauge(void **state)
{
    (void)state;
    static const char *const screens[] = {"model", "layer", "rows", "compare", "jobs", "help"};
    app_open(&app, exact_folder(), 100, 30, true);
    app_settle(&app);
    app_line(&app, "bits 2");
    app_settle(&app);
    for (size_t i = 0; i < sizeof(screens) / sizeof(screens[0]); i++) {
        ui_dof(&app, UI_CMD_GO, "%s", screens[i]);
        press(app.w - 3, 0);
        assert_true(app.explain >= 0);
        assert_true(app_shows(&app, "McNemar"));
        press(app.w - 3, 0);
        assert_int_equal(app.explain, -1);
        press(3, 0); /* where the screen stands is no figure */
        assert_int_equal(app.explain, -1);
        app_line(&app, "explain gauge"); /* the same by keys */
        assert_true(app_shows(&app, "McNemar"));
        app_line(&app, "back");
    }
    app_close(&app);
}

static void sentences(void **state)
{
    (void)state;
    int x, y;
    app_open(&app, sample_path("bert-sentiment"), 100, 30, false);
    app_line(&app, "go try");
    app_line(&app, "try the food is not bad");
    app_line(&app, "try filmnya sama sekali tidak bagus");
    app_line(&app, "try the view is lovely");
    app_settle(&app);
    app_find(&app, "the food is not bad", &x, &y);
    press(x, y);
    assert_true(app_shows(&app, "this one: "));
    app_line(&app, "forget");
    assert_false(app_shows(&app, "the food is not bad"));
    app_line(&app, "top");
    app_find(&app, "FP32", &x, &y); /* the head */
    app_mouse(&app, UI_MOUSE_WHEEL, x, y + 1, 1);
    app_line(&app, "forget"); /* the second of two */
    assert_true(app_shows(&app, "0 of 1 sentences"));
    app_close(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sensitivity), cmocka_unit_test(pareto), cmocka_unit_test(formats),
        cmocka_unit_test(rows),        cmocka_unit_test(gauge),  cmocka_unit_test(sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

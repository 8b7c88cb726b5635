/* The Train screen on a real training: before, while, after; through time by keys and by hand. */
#include "cmocka_all.h"

#include "harness.h"

#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct ui_app app;

/* The small network of the training tests, with its rows to train on beside it. */
static const char *folder(void)
{
    static const char *const files[][2] = {{"graph.json", "graph.json"},
                                           {"model.safetensors", "model.safetensors"},
                                           {"eval.safetensors", "eval.safetensors"},
                                           {"train.safetensors", "eval.safetensors"}};
    static const char name[] = "test-train";
    char from[1100], to[200];
    mkdir(name, 0700);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(from, sizeof(from), "%s/tests/golden/train/conv/%s", QX_SOURCE_ROOT, files[i][1]);
        snprintf(to, sizeof(to), "%s/%s", name, files[i][0]);
        unlink(to);
        assert_int_equal(symlink(from, to), 0);
    }
    return name;
}

static struct train_state *train(void)
{
    return app.state[ui_view_find("train")];
}

static void open_trained(int w, int h, const char *gran)
{
    app_open(&app, folder(), w, h, false);
    app_line(&app, "mark-all");
    app_line(&app, "bits 3");
    assert_true(ui_dof(&app, UI_CMD_GRAN, "%s", gran));
    app_line(&app, "unmark");
    app_line(&app, "go train");
    assert_true(app_shows(&app, "not started"));
    app_line(&app, "train 6");
    app_settle(&app);
    assert_true(app_shows(&app, "done"));
}

/* One channel of figures for all sizes: what fits is there, nothing else breaks. */
static void it_draws_at_every_size(void **state)
{
    static const int sizes[][2] = {{200, 60}, {140, 45}, {80, 24}, {60, 16}, {300, 100}, {20, 5}};
    (void)state;
    for (int gran = 0; gran < 2; gran++) {
        open_trained(80, 24, gran ? "channel" : "tensor");
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            ui_app_resize(&app, sizes[i][0], sizes[i][1]);
            for (int g = 0; g < 3; g++) {
                app.glyphs = (enum ui_glyphs)g;
                assert_true(app_shows(&app, "QAT") || sizes[i][1] < 16);
                assert_true(app_shows(&app, "on a level") || sizes[i][0] < 80);
                assert_int_equal(app_shows(&app, "on levels"), sizes[i][1] >= 45);
            }
        }
        app_close(&app);
    }
}

static void keys_go_through_time_and_layers(void **state)
{
    (void)state;
    open_trained(80, 24, "tensor");
    app_line(&app, "select conv.weight");
    const int n = train()->t.n_frames;
    assert_true(n > 4);
    assert_int_equal(train_frame(train()), n - 1);
    app_line(&app, "left");
    app_line(&app, "left");
    assert_int_equal(train_frame(train()), n - 3);
    app_line(&app, "right");
    assert_int_equal(train_frame(train()), n - 2);
    app_line(&app, "frame 1");
    assert_true(app_shows(&app, "step 0, frame 1 of"));
    app_line(&app, "frame 999");
    assert_int_equal(train_frame(train()), n - 1);
    app_line(&app, "select bn.weight");
    assert_true(app_shows(&app, "is not quantized"));
    app_line(&app, "down");
    assert_true(app_shows(&app, "conv.weight"));
    app_line(&app, "down");
    assert_true(app_shows(&app, "deep.weight")); /* over deep.bias */
    app_line(&app, "up");
    assert_true(app_shows(&app, "conv.weight"));
    app_line(&app, "up");
    assert_true(app_shows(&app, "conv.weight"));
    assert_non_null(strstr(app.toast, "no other layer"));
    app_close(&app);
}

static void hands_go_through_time_and_layers(void **state)
{
    (void)state;
    open_trained(200, 60, "tensor");
    app_line(&app, "select conv.weight");
    assert_true(app_shows(&app, "frame"));
    const struct train_state *s = train();
    app_mouse(&app, UI_MOUSE_PRESS, s->time.x, s->time.y, 0);
    assert_int_equal(train_frame(s), 0);
    app_mouse(&app, UI_MOUSE_PRESS, s->time.x + s->time.w - 1, s->time.y, 0);
    assert_int_equal(train_frame(s), s->t.n_frames - 1);
    app_mouse(&app, UI_MOUSE_WHEEL, s->weights.x + 5, s->weights.y + 5, -1);
    assert_int_equal(train_frame(s), s->t.n_frames - 2);
    assert_int_equal(s->n_items, 3);
    app_mouse(&app, UI_MOUSE_PRESS, s->layers.x + 2, s->layers.y + 2, 0);
    assert_true(app.cursor == s->item[1]);
    app_close(&app);
}

/* What is drawn to its levels ends nearer to them than by chance. */
static void weights_come_to_lie_on_their_levels(void **state)
{
    struct qx_training_frame from, to;
    (void)state;
    app_open(&app, folder(), 80, 24, false);
    app_line(&app, "mark-all");
    app_line(&app, "bits 3");
    app_line(&app, "unmark");
    app_line(&app, "go train");
    train()->options.dampen = 8.0;
    app_line(&app, "train 40");
    app_settle(&app);
    const int64_t item = qx_session_find(app.session, "head.weight", NULL);
    assert_true(qx_session_training_frame(app.session, item, 0, &from));
    assert_true(qx_session_training_frame(app.session, item, train()->t.n_frames - 1, &to));
    assert_true(from.on_level < 0.4);
    assert_true(to.on_level > 0.8);
    app_close(&app);
}

/* Nothing has bits yet: the start gives every layer 4, as one edit; what a view refuses is not done elsewhere. */
static void a_start_without_bits_gives_them(void **state)
{
    (void)state;
    app_open(&app, folder(), 80, 24, false);
    const int64_t item = qx_session_find(app.session, "deep.weight", NULL);
    app_line(&app, "go train");
    assert_true(app_shows(&app, "b gives every layer 4 bits"));
    assert_false(ui_do(&app, UI_CMD_WRITE, "trained"));
    assert_non_null(strstr(app.toast, "nothing was trained yet"));
    assert_false(ui_do(&app, UI_CMD_TRAIN, "0"));
    assert_non_null(strstr(app.toast, "a number of epochs, not '0'"));
    assert_true(qx_setting_is_fp32(qx_session_setting(app.session, item)));
    app_line(&app, "train 1");
    assert_non_null(strstr(app.toast, "4 bits for every layer"));
    const struct qx_setting *s = qx_session_setting(app.session, item);
    assert_true(s->bits == 4 && s->gran == QX_GRAN_TENSOR && s->act.bits == 4);
    app_settle(&app);
    assert_true(app_shows(&app, "done"));
    assert_int_equal(train()->n_items, 3);
    app_line(&app, "undo");
    assert_true(qx_setting_is_fp32(qx_session_setting(app.session, item)));
    app_close(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_draws_at_every_size),
        cmocka_unit_test(keys_go_through_time_and_layers),
        cmocka_unit_test(hands_go_through_time_and_layers),
        cmocka_unit_test(weights_come_to_lie_on_their_levels),
        cmocka_unit_test(a_start_without_bits_gives_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

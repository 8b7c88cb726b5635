/* Commands and keys: the table is whole, every key of every screen is answered, every edit can be
 * taken back. */
#include "cmocka_all.h"

#include "harness.h"

#include "commands.h"
#include "config.h"
#include "popup.h"
#include "prompt.h"
#include "script.h"
#include "verb.h"
#include "widget_text.h"

#include <string.h>
#include <unistd.h>

static void every_row_is_whole(void **state)
{
    (void)state;
    for (int i = 0; i < UI_CMD_COUNT; i++) {
        const struct ui_command *row = ui_command_get((enum ui_cmd)i);
        assert_true(strlen(row->name) > 1 && strlen(row->help) > 10);
        assert_int_equal(row->help[strlen(row->help) - 1], '.');
        assert_int_equal(ui_command_find(row->name, strlen(row->name)), i);
        char verb[40];
        snprintf(verb, sizeof(verb), "%.*s", (int)strcspn(row->verb, " "), row->verb);
        if (verb[0] != '-' && !ui_verb_find(verb)) {
            fail_msg("%s: no verb '%s' does the same", row->name, verb);
        }
    }
}

static void every_scope_names_screens(void **state)
{
    (void)state;
    for (int i = 0; i < UI_CMD_COUNT; i++) {
        const char *p = ui_command_get((enum ui_cmd)i)->scope;
        while (*p) {
            char id[24];
            size_t len = strcspn(p, " ");
            snprintf(id, sizeof(id), "%.*s", (int)len, p);
            assert_true(ui_view_find(id) >= 0);
            p += len + strspn(p + len, " ");
        }
    }
}

static bool overlap(const struct ui_binding *a, const struct ui_binding *b)
{
    int n = a->n < b->n ? a->n : b->n;
    return memcmp(a->keys, b->keys, (size_t)n * sizeof(a->keys[0])) == 0;
}

static void no_two_keys_clash_on_a_screen(void **state)
{
    (void)state;
    static struct ui_keymap map;
    ui_keymap_init(&map);
    assert_true(map.n < UI_BINDINGS_MAX);
    for (int v = 0; v < ui_view_count(); v++) {
        const char *id = ui_view_at(v)->id;
        for (int i = 0; i < map.n; i++) {
            for (int k = i + 1; k < map.n; k++) {
                const struct ui_binding *a = &map.binding[i], *b = &map.binding[k];
                if (ui_binding_on(&map, a, id) && ui_binding_on(&map, b, id) && overlap(a, b)) {
                    fail_msg("%s: one key means %s and %s", id, ui_command_get(a->cmd)->name,
                             ui_command_get(b->cmd)->name);
                }
            }
        }
    }
}

static void hints_name_commands_of_their_screen(void **state)
{
    (void)state;
    for (int v = 0; v < ui_view_count(); v++) {
        const struct ui_view *view = ui_view_at(v);
        const char *p = view->hints;
        assert_true(view->help && strlen(view->help) > 10);
        while (p && *p) {
            size_t len = strcspn(p, " ");
            enum ui_cmd cmd = ui_command_find(p, len);
            if (cmd == UI_CMD_NONE || !ui_command_in(cmd, view->id)) {
                fail_msg("%s: hint '%.*s' is no command there", view->id, (int)len, p);
            }
            p += len + strspn(p + len, " ");
        }
    }
}

static void keys_are_spelled_and_read_back(void **state)
{
    (void)state;
    int keys[4];
    assert_int_equal(ui_keys_parse("<C-l>g<Eq>", 10, keys, 4), 3);
    assert_true(keys[0] == 12 && keys[1] == 'g' && keys[2] == '=');
    assert_int_equal(ui_keys_parse("<F10>", 5, keys, 4), 1);
    assert_int_equal(keys[0], UI_KEY_F0 + 10);
    assert_int_equal(ui_keys_parse("<Nokey>", 7, keys, 4), 0);
    assert_int_equal(ui_keys_parse("<", 1, keys, 4), 1);
    assert_int_equal(ui_keys_parse("abcde", 5, keys, 4), 0);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void user_keys_replace_and_bad_lines_are_refused(void **state)
{
    (void)state;
    static struct ui_keymap map;
    char key[24];
    bool longer;
    ui_keymap_init(&map);
    write_file("keys.conf", "# mine\nQ = quit\nb = bits 4\nnonsense\nzz = nosuch\n<Zap> = undo\n");
    int64_t before = qx_log_next_seq();
    assert_true(ui_keymap_load(&map, "keys.conf"));
    assert_int_equal(qx_log_next_seq() - before, 3);
    const struct ui_binding *b = ui_keymap_find(&map, "model", (int[]){'b'}, 1, &longer);
    assert_non_null(b);
    assert_int_equal(b->cmd, UI_CMD_BITS);
    assert_string_equal(b->arg, "4");
    write_file("keys.conf", "q = none\nQ = none\n");
    assert_false(ui_keymap_load(&map, "keys.conf")); /* no key would be left to quit */
    assert_string_not_equal(ui_keymap_text(&map, UI_CMD_QUIT, "model", key, sizeof(key)), "");
    unlink("keys.conf");
}

/* Every key of the table: something happens, or a toast says why not. */
static void every_key_of_every_screen_is_answered(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app_settle(&app);
    for (int v = 0; v < ui_view_count(); v++) {
        const char *id = ui_view_at(v)->id;
        if (strcmp(id, "open") == 0) {
            continue;
        }
        for (int i = 0; i < app.keymap.n; i++) {
            const struct ui_binding *b = &app.keymap.binding[i];
            app_line(&app, "filter -");
            app.filter[0] = 0;
            ui_rows_update(&app);
            assert_true(ui_do(&app, UI_CMD_GO, id));
            app.toast[0] = 0;
            uint64_t commands = app.n_commands;
            for (int k = 0; k < b->n; k++) {
                ui_key(&app, b->keys[k]);
            }
            bool answered =
                app.n_commands > commands || app.toast[0] || app.prompt.active || app.n_pending > 0;
            if (!answered) {
                fail_msg("%s: key %d of '%s' is not answered", id, i, ui_command_get(b->cmd)->name);
            }
            app.prompt.active = false;
            app.n_pending = 0;
            app.quit = app.suspend = app.reload = false;
            app.explain = -1;
        }
    }
    app_close(&app);
}

static const char *const random_lines[] = {
    "bits 2",
    "bits 3",
    "bits 4",
    "bits 8",
    "format fp16",
    "format fp32",
    "format bf16",
    "gran tensor",
    "gran channel",
    "gran group:32",
    "gran-next",
    "gran-prev",
    "sym",
    "sym on",
    "sym off",
    "calib minmax",
    "calib percentile",
    "calib mse",
    "calib kl",
    "threshold 0.05",
    "threshold 0.7",
    "threshold +1%",
    "threshold -10%",
    "threshold 99.9%",
    "threshold 2s",
    "range -0.1,0.2",
    "scale f16",
    "scale f32",
    "mark",
    "mark-all",
    "unmark",
    "down",
    "up",
    "bottom",
    "go layer",
    "go model",
    "snap",
    "optimum",
    "handle",
    "undo",
    "redo",
    "release",
    "sort",
    "filter conv",
    "back",
    "snapshot",
    "flip",
    "settle",
    "resize 60x16",
    "resize 200x60",
};

static void undoing_everything_gives_the_first_recipe(void **state)
{
    (void)state;
    static struct ui_app app;
    char why[300];
    for (unsigned log = 0; log < 6; log++) {
        unsigned seed = 77 + log;
        app_open(&app, sample_path(log & 1 ? "fashion-cnn" : "five-weights"), 100, 30, false);
        app_settle(&app);
        static char first[65536];
        snprintf(first, sizeof(first), "%s", app_recipe(&app));
        for (int i = 0; i < 120; i++) {
            unsigned n = sizeof(random_lines) / sizeof(random_lines[0]);
            ui_script_line(&app, random_lines[next_random(&seed, n)], why, sizeof(why));
        }
        app_settle(&app);
        while (qx_session_undo(app.session)) {
        }
        app_settle(&app);
        assert_string_equal(app_recipe(&app), first);
        app_close(&app);
    }
}

static void resizing_at_each_step_never_breaks_a_screen(void **state)
{
    (void)state;
    static const int sizes[][2] = {{80, 24},  {60, 16},   {59, 16},  {60, 15},  {1, 1},
                                   {200, 60}, {300, 100}, {61, 100}, {300, 16}, {140, 45}};
    static struct ui_app app;
    unsigned seed = 3;
    app_open(&app, sample_path("fashion-cnn"), 80, 24, false);
    app_settle(&app);
    for (int i = 0; i < 150; i++) {
        unsigned n = sizeof(random_lines) / sizeof(random_lines[0]);
        char why[300];
        ui_script_line(&app, random_lines[next_random(&seed, n)], why, sizeof(why));
        if (i % 9 == 0) {
            ui_do(&app, UI_CMD_GO, ui_view_at((int)next_random(&seed, 6) + 1)->id);
        }
        app.explain = i % 7 == 0 ? i / 7 % 6 : -1;
        app.n_pending = i % 11 == 0;
        app.pending[0] = 'g';
        if (i % 13 == 0) {
            ui_prompt_ask(&app, UI_CMD_PALETTE);
        }
        app.glyphs = (enum ui_glyphs)(i % 3);
        ui_app_resize(&app, sizes[i % 10][0], sizes[i % 10][1]);
        struct ui_canvas c;
        assert_true(ui_canvas_init(&c, app.w, app.h));
        ui_draw(&app, &c);
        for (int k = 0; app.glyphs == UI_GLYPHS_ASCII && k < c.w * c.h; k++) {
            assert_true(c.cells[k].glyph[0] >= 32 && c.cells[k].glyph[0] < 127);
        }
        ui_canvas_release(&c);
        app.prompt.active = false;
        app.n_pending = 0;
    }
    app_close(&app);
}

static void the_palette_finds_by_parts_of_words(void **state)
{
    (void)state;
    static struct ui_app app;
    struct ui_candidate list[UI_CANDIDATES];
    assert_true(ui_fuzzy("gr", "gran") > ui_fuzzy("gr", "bigger"));
    assert_true(ui_fuzzy("wcw", "widen2.conv.weight") > 0);
    assert_int_equal(ui_fuzzy("xyz", "gran"), 0);
    app_open(&app, sample_path("fashion-cnn"), 100, 30, false);
    app_line(&app, "key :calib<Space>per");
    assert_true(ui_prompt_candidates(&app, list, UI_CANDIDATES) >= 1);
    assert_string_equal(list[0].text, "percentile");
    app_line(&app, "key <Esc>:bits<Space>4<Enter>");
    assert_int_equal(ui_setting(&app)->bits, 4);
    app_line(&app, "key :widen2<Enter>");
    assert_non_null(strstr(ui_item(&app)->tensor->name, "widen2"));
    app_line(&app, "key /stem<Enter>");
    assert_true(app.n_rows > 0 && app.n_rows < app.n_items);
    app_line(&app, "key <Esc>");
    assert_int_equal(app.n_rows, app.n_items);
    app_line(&app, "key /zzz<Esc>");
    assert_int_equal(app.n_rows, app.n_items);
    app_close(&app);
}

static void edits_reach_all_marked_layers(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("fashion-cnn"), 100, 30, false);
    app_line(&app, "mark-all all");
    int64_t all = app.n_marked;
    app_line(&app, "unmark");
    app_line(&app, "mark-all");
    assert_true(app.n_marked > 3 && app.n_marked < all);
    for (int64_t i = 0; i < app.n_items; i++) {
        bool linear = qx_session_item(app.session, i)->role == QX_ROLE_LINEAR;
        assert_int_equal(app.marked[i], linear);
    }
    app_line(&app, "bits 5");
    for (int64_t i = 0; i < app.n_items; i++) {
        const struct qx_setting *s = qx_session_setting(app.session, i);
        assert_int_equal(s->format->kind == QX_FORMAT_AFFINE, app.marked[i]);
    }
    assert_int_equal(qx_session_n_edits(app.session), 1);
    app_line(&app, "undo");
    assert_int_equal(qx_session_n_edits(app.session), 0);
    app_close(&app);
}

static void one_key_keeps_both_ends_in_16_bits(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("fashion-cnn"), 100, 30, false);
    app_line(&app, "mark-all");
    app_line(&app, "bits 4");
    app_line(&app, "key K");
    for (int64_t i = 0; i < app.n_items; i++) {
        const char *name = qx_session_item(app.session, i)->tensor->name;
        const bool is_end =
            strcmp(name, "stem.conv.weight") == 0 || strcmp(name, "head.weight") == 0;
        const struct qx_setting *set = qx_session_setting(app.session, i);
        assert_int_equal(strcmp(set->format->name, "fp16") == 0, is_end);
        assert_int_equal(qx_setting_is_int(set), app.marked[i] && !is_end);
    }
    app_line(&app, "undo");
    assert_int_equal(qx_session_n_edits(app.session), 1);
    assert_false(ui_do(&app, UI_CMD_ENDS, "nf4"));
    app_close(&app);
}

static void refused(struct ui_app *app, enum ui_cmd cmd, const char *arg, const char *why)
{
    assert_false(ui_do(app, cmd, arg));
    if (!strstr(app->toast, why)) {
        fail_msg("%s says '%s', not '%s'", ui_command_get(cmd)->name, app->toast, why);
    }
}

/* A mark elsewhere changes nothing for the layer under the cursor. */
static void refusals_name_the_reason_of_the_layer_they_meet(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("fashion-cnn"), 100, 30, false);
    app_line(&app, "mark");
    app_line(&app, "select head.weight");
    app_line(&app, "go layer");
    refused(&app, UI_CMD_NUDGE, "+1%", "FP32");
    refused(&app, UI_CMD_SNAP, "", "FP32");
    refused(&app, UI_CMD_THRESHOLD, "0.7max", "FP32");
    refused(&app, UI_CMD_SYM, "", "FP32");
    app_line(&app, "go jobs");
    app_line(&app, "bits 4"); /* out of sight: told */
    assert_non_null(strstr(app.toast, "head"));
    refused(&app, UI_CMD_OPTIMUM, "", "layer");
    ui_key(&app, 'O');
    assert_non_null(strstr(app.toast, "O is optimum, which works on: layer"));
    app_line(&app, "go log");
    refused(&app, UI_CMD_OPTIONS, "", "no commands of its own");
    app_close(&app);
}

static void a_recorded_log_replays_to_the_same_recipe(void **state)
{
    (void)state;
    static struct ui_app app;
    static char after[65536];
    struct qx_error err;
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app_settle(&app);
    assert_true(ui_record_open(&app, "recorded.qxlog"));
    app_line(&app, "key 4gl");
    app_settle(&app);
    app_line(&app, "key <Left><Left>cmvV");
    app_settle(&app);
    app_line(&app, "key t0.5max<Enter>]]]");
    app_settle(&app);
    snprintf(after, sizeof(after), "%s", app_recipe(&app));
    app_close(&app);
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app_settle(&app);
    if (ui_script_play(&app, "recorded.qxlog", &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    app_settle(&app);
    assert_string_equal(app_recipe(&app), after);
    app_close(&app);
    unlink("recorded.qxlog");
}

static void a_wrong_log_line_is_named(void **state)
{
    (void)state;
    static struct ui_app app;
    struct qx_error err;
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    write_file("wrong.qxlog", "# first\nbits 4\nbitz 4\n");
    assert_int_equal(ui_script_play(&app, "wrong.qxlog", &err), QX_EFORMAT);
    assert_int_equal(err.line, 3);
    assert_non_null(strstr(err.text, "did you mean 'bits'"));
    assert_int_equal(ui_script_play(&app, "absent.qxlog", &err), QX_EIO);
    unlink("wrong.qxlog");
    app_close(&app);
}

static void the_command_line_of_a_layer_is_told(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app_settle(&app);
    app_line(&app, "bits 4");
    app_line(&app, "gran tensor");
    app_settle(&app);
    app_line(&app, "threshold 3");
    app_line(&app, "go layer");
    app.model_arg = "my model";
    app_line(&app, "reproduce");
    assert_non_null(strstr(app.copy, "qexplore quantize 'my model' --layers "));
    assert_non_null(strstr(app.copy, "--bits 4 --gran tensor --sym --method manual:3"));
    app_close(&app);
}

static void leaving_while_a_folder_is_written_asks_first(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app_settle(&app);
    app_line(&app, "bits 4");
    app_settle(&app);
    app_line(&app, "write written-by-a-key");
    ui_key(&app, 'q'); /* the session has not been asked for news since */
    assert_false(app.quit);
    assert_true(app.asks_quit);
    ui_key(&app, 'n');
    assert_false(app.quit || app.asks_quit);
    ui_key(&app, 'q');
    ui_key(&app, 'y');
    assert_true(app.quit);
    app.quit = false;
    ui_key(&app, 'q');
    app_line(&app, "settle");
    assert_false(app.asks_quit); /* done meanwhile: nothing to ask */
    assert_non_null(strstr(app.toast, "model folder written: written-by-a-key"));
    assert_int_equal(access("written-by-a-key/model.safetensors", F_OK), 0);
    ui_key(&app, 'q');
    assert_true(app.quit);
    app_close(&app);
}

static void the_settings_file_fills_what_the_command_line_leaves_open(void **state)
{
    (void)state;
    struct qx_log_entry entry;
    struct ui_args args = {0};
    ui_config_load("no-such-config.json", &args);
    assert_null(args.theme);
    write_file("config.json", "{\"theme\":\"light\",\"glyphs\":\"block\",\"mouse\":false,"
                              "\"animation\":true,\"glyph\":1}");
    ui_config_load("config.json", &args);
    assert_string_equal(args.theme, "light");
    assert_string_equal(args.glyphs, "block");
    assert_true(args.no_mouse && !args.no_animation);
    assert_true(qx_log_get(qx_log_next_seq() - 1, &entry));
    assert_non_null(strstr(entry.text, "no setting 'glyph'; did you mean 'glyphs'?"));
    args = (struct ui_args){.theme = "mono"};
    ui_config_load("config.json", &args);
    assert_string_equal(args.theme, "mono");
    static const char *const hostile[] = {
        "", "[]", "{\"theme\":", "{\"theme\":7,\"glyphs\":\"huge\",\"mouse\":\"no\"}",
        "{\"theme\":\"../../etc/passwd\"}"};
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        int64_t seq = qx_log_next_seq();
        args = (struct ui_args){0};
        write_file("config.json", hostile[i]);
        ui_config_load("config.json", &args);
        assert_true(!args.theme && !args.glyphs && !args.no_mouse && !args.no_animation);
        assert_true(qx_log_next_seq() > seq);
    }
    remove("config.json");
}

static void help_texts_are_whole_at_80x24(void **state)
{
    (void)state;
    static struct ui_app app;
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    for (int i = 0; i < ui_view_count(); i++) {
        const char *id = ui_view_at(i)->id;
        char path[1000], text[4096];
        snprintf(path, sizeof(path), "%s/assets/help/%s.txt", QX_SOURCE_ROOT, id);
        FILE *f = fopen(path, "r");
        if (f) { /* screens that say it all by themselves have none */
            text[fread(text, 1, sizeof(text) - 1, f)] = 0;
            fclose(f);
            for (char *p = text; *p; p++) {
                *p = *p != '\n' ? *p : p[1] ? ' ' : '\0';
            }
            if (ui_text_rows(text, 78) > (int)ui_view_rect(&app).h / 2) {
                fail_msg("%s.txt takes %d lines", id, ui_text_rows(text, 78));
            }
        }
    }
    app_close(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_whole),
        cmocka_unit_test(every_scope_names_screens),
        cmocka_unit_test(no_two_keys_clash_on_a_screen),
        cmocka_unit_test(hints_name_commands_of_their_screen),
        cmocka_unit_test(keys_are_spelled_and_read_back),
        cmocka_unit_test(user_keys_replace_and_bad_lines_are_refused),
        cmocka_unit_test(every_key_of_every_screen_is_answered),
        cmocka_unit_test(undoing_everything_gives_the_first_recipe),
        cmocka_unit_test(resizing_at_each_step_never_breaks_a_screen),
        cmocka_unit_test(the_palette_finds_by_parts_of_words),
        cmocka_unit_test(edits_reach_all_marked_layers),
        cmocka_unit_test(one_key_keeps_both_ends_in_16_bits),
        cmocka_unit_test(refusals_name_the_reason_of_the_layer_they_meet),
        cmocka_unit_test(a_recorded_log_replays_to_the_same_recipe),
        cmocka_unit_test(a_wrong_log_line_is_named),
        cmocka_unit_test(help_texts_are_whole_at_80x24),
        cmocka_unit_test(the_command_line_of_a_layer_is_told),
        cmocka_unit_test(the_settings_file_fills_what_the_command_line_leaves_open),
        cmocka_unit_test(leaving_while_a_folder_is_written_asks_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

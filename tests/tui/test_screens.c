/* Golden pictures: every screen at several sizes and looks, text and styles.
 * `test_tui_screens --bless` writes them anew; look at the diff. Only deterministic content: one
 * thread, the portable kernels, no clock, no measurement of time. */
#include "cmocka_all.h"

#include "harness.h"

#include "out.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool bless;
static struct ui_app app;
static const enum ui_colour *ansi; /* pictures with colours instead of styles */
static struct ui_theme theme;

static const struct {
    const char *name;
    int w, h;
    enum ui_glyphs glyphs;
} looks[] = {
    {"80x24", 80, 24, UI_GLYPHS_BRAILLE},   {"140x45", 140, 45, UI_GLYPHS_BRAILLE},
    {"200x60", 200, 60, UI_GLYPHS_BRAILLE}, {"60x16", 60, 16, UI_GLYPHS_BRAILLE},
    {"ascii", 80, 24, UI_GLYPHS_ASCII},     {"block", 80, 24, UI_GLYPHS_BLOCK},
};

/* Blank the row that holds the text from there on: what comes behind it is of this machine and this hour. */
static const char *hidden;
static void hide(struct ui_canvas *c)
{
    int x, y;
    app_find(&app, hidden, &x, &y);
    ui_fill(c, (struct ui_rect){x, y, c->w - x, 1}, UI_STYLE_NORMAL, " ");
}

static char *picture(void)
{
    static char buf[400000];
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, app.w, app.h));
    ui_draw(&app, &c);
    if (hidden) {
        hide(&c);
    }
    memset(buf, 0, sizeof(buf));
    FILE *f = fmemopen(buf, sizeof(buf) - 1, "w");
    assert_non_null(f);
    if (ansi) {
        ui_out_ansi(f, &c, &theme, *ansi);
    } else {
        ui_out_text(f, &c);
        fputs("---- styles ----\n", f);
        ui_out_plane(f, &c);
    }
    fclose(f);
    ui_canvas_release(&c);
    return buf;
}

static void differ(const char *name, const char *expected, const char *now)
{
    int line = 1;
    for (; *expected && *expected == *now; expected++, now++) {
        line += *now == '\n';
    }
    while (expected[-1] != '\n' && line > 1) {
        expected--;
        now--;
    }
    fail_msg("%s differs in line %d:\n  was: %.*s\n  is:  %.*s\n--bless when this is meant", name,
             line, (int)strcspn(expected, "\n"), expected, (int)strcspn(now, "\n"), now);
}

/* The picture on the screen now equals tests/golden/screens/NAME. */
static void check(const char *name)
{
    static char expected[400000];
    char path[600];
    const char *now = picture();
    snprintf(path, sizeof(path), "%s/tests/golden/screens/%s.txt", QX_SOURCE_ROOT, name);
    FILE *f = fopen(path, bless ? "w" : "r");
    if (!f) {
        fail_msg("no golden picture %s; --bless makes it", path);
    }
    if (bless) {
        fputs(now, f);
        fclose(f);
        return;
    }
    size_t n = fread(expected, 1, sizeof(expected) - 1, f);
    expected[n] = 0;
    fclose(f);
    if (strcmp(expected, now) != 0) {
        differ(name, expected, now);
    }
}

static void check_looks(const char *screen)
{
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        char name[64];
        ui_app_resize(&app, looks[i].w, looks[i].h);
        app.glyphs = looks[i].glyphs;
        app_settle(&app);
        snprintf(name, sizeof(name), "%s-%s", screen, looks[i].name);
        check(name);
    }
    app.glyphs = UI_GLYPHS_BRAILLE;
}

/* The five weights need no network: nothing is measured, all figures are exact. */
static void open_five(const char *const *lines)
{
    app_open(&app, sample_path("five-weights"), 80, 24, false);
    app.first_line = false;
    app_settle(&app);
    for (; *lines; lines++) {
        app_line(&app, *lines);
        app_settle(&app);
    }
    app.toast[0] = 0;
}

static void train_screen(void **state)
{
    (void)state;
    app_open(&app, sample_path("fashion-cnn"), 80, 24, false);
    app.first_line = false;
    app_line(&app, "mark-all");
    app_line(&app, "bits 4");
    app_line(&app, "unmark");
    app_line(&app, "go train");
    app.toast[0] = 0;
    check_looks("train");
    app_close(&app);
}

/* A small network trained to the end. */
static void trained_screen(void **state)
{
    (void)state;
    static const char *const files[][2] = {{"graph.json", "graph.json"},
                                           {"model.safetensors", "model.safetensors"},
                                           {"eval.safetensors", "eval.safetensors"},
                                           {"train.safetensors", "eval.safetensors"}};
    mkdir("trained", 0777);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char from[600], to[64];
        snprintf(from, sizeof(from), "%s/tests/golden/train/conv/%s", QX_SOURCE_ROOT, files[i][1]);
        snprintf(to, sizeof(to), "trained/%s", files[i][0]);
        unlink(to);
        assert_int_equal(symlink(from, to), 0);
    }
    app_open(&app, "trained", 80, 24, false);
    app.first_line = false;
    app_line(&app, "mark-all");
    app_line(&app, "bits 3");
    app_line(&app, "gran tensor");
    app_line(&app, "unmark");
    app_line(&app, "select conv.weight");
    app_line(&app, "go train");
    app_line(&app, "train 6");
    app_settle(&app);
    app.toast[0] = 0;
    hidden = ", loss"; /* its last digits are the BLAS's, and the time */
    check_looks("trained");
    hidden = NULL;
    app_close(&app);
}

static void model_screen(void **state)
{
    (void)state;
    app_open_weights(&app, "conv.safetensors", 80, 24);
    app.first_line = false;
    app_settle(&app);
    app_line(&app, "mark-all");
    app_line(&app, "bits 4");
    app_line(&app, "unmark");
    app_line(&app, "select head.weight");
    app_line(&app, "bits 8");
    app_line(&app, "mark");
    app.toast[0] = 0;
    check_looks("model");
    app_close(&app);
}

static void layer_screen(void **state)
{
    (void)state;
    open_five((const char *const[]){"bits 8", "gran tensor", "threshold 3", "go layer", NULL});
    check_looks("layer");
    app_close(&app);
}

/* What colour does to the same cells. */
static void looks_of_the_themes(void **state)
{
    (void)state;
    static const struct {
        const char *theme;
        enum ui_colour colour;
    } rows[] = {{"dark", UI_COLOUR_256},
                {"light", UI_COLOUR_256},
                {"light", UI_COLOUR_NONE},
                {"contrast", UI_COLOUR_16},
                {"dark", UI_COLOUR_TRUE}};
    open_five((const char *const[]){"bits 8", "gran tensor", "threshold 3", "go layer", NULL});
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char name[64];
        ansi = &rows[i].colour;
        assert_true(ui_theme_load(&theme, rows[i].theme));
        snprintf(name, sizeof(name), "colours-%s-%d", rows[i].theme, (int)rows[i].colour);
        check(name);
    }
    ansi = NULL;
    app_close(&app);
}

static void layer_of_a_real_network(void **state)
{
    (void)state;
    app_open_weights(&app, "conv.safetensors", 80, 24);
    app_line(&app, "select widen2.conv.weight");
    app_line(&app, "bits 3");
    app_line(&app, "gran tensor");
    app_settle(&app);
    app_line(&app, "threshold 0.5max");
    app_line(&app, "go layer");
    app.toast[0] = 0;
    check_looks("layer-conv");
    app_close(&app);
}

static void matrix_screen(void **state)
{
    (void)state;
    static const enum ui_colour colour = UI_COLOUR_TRUE;
    app_open_weights(&app, "conv.safetensors", 80, 24);
    app_line(&app, "select widen2.conv.weight");
    app_line(&app, "bits 4");
    app_line(&app, "gran group:32");
    app_settle(&app);
    app_line(&app, "go matrix");
    app_line(&app, "at 20,100");
    app.toast[0] = 0;
    check_looks("matrix");
    app_line(&app, "show error");
    app_line(&app, "next-outlier");
    app_line(&app, "zoom-in");
    ansi = &colour; /* the shades themselves */
    ui_app_resize(&app, 80, 24);
    app_settle(&app);
    assert_true(ui_theme_load(&theme, "dark"));
    check("matrix-colours");
    ansi = NULL;
    app.shades = false;
    check("matrix-few-colours");
    app_close(&app);
}

/* A network whose folder has rows to calibrate on, and none to measure with. Only the inputs of the
 * first layer are shown: they are the data themselves, which no BLAS has touched. */
static void open_inputs(void)
{
    static const char *const files[] = {"graph.json", "model.safetensors", "calib.safetensors"};
    mkdir("act-mlp", 0777);
    for (int i = 0; i < 3; i++) {
        char from[600], to[64];
        snprintf(from, sizeof(from), "%s/%s", sample_path("fashion-mlp"), files[i]);
        snprintf(to, sizeof(to), "act-mlp/%s", files[i]);
        unlink(to);
        assert_int_equal(symlink(from, to), 0);
    }
    app_open(&app, "act-mlp", 80, 24, false);
    app.first_line = false;
}

static void act_screen(void **state)
{
    (void)state;
    open_inputs();
    app_line(&app, "go act");
    app_settle(&app);
    app_line(&app, "act-bits 4");
    app_settle(&app);
    app_line(&app, "act-range 0.6max");
    app.toast[0] = 0;
    check_looks("act");
    ui_app_resize(&app, 80, 24);
    app_line(&app, "act-dynamic on");
    app.toast[0] = 0;
    check("act-dynamic-80x24");
    app_line(&app, "explain");
    app_line(&app, "explain");
    app_line(&app, "explain");
    check("act-channels-80x24");
    app_line(&app, "key <Esc>c");
    check("act-which-key-80x24");
    app_line(&app, "key <Esc>");
    app_line(&app, "act off");
    app.toast[0] = 0;
    check("act-off-80x24");
    app_close(&app);
    open_five((const char *const[]){"go act", NULL});
    check("act-no-network-80x24");
    app_close(&app);
}

/* Without data there are ranks, and fronts of relative error: no figure of a network is golden. */
static void sensitivity_and_pareto(void **state)
{
    (void)state;
    app_open_weights(&app, "conv.safetensors", 80, 24);
    app_line(&app, "select block1.b.conv.weight");
    app_line(&app, "bits 4");
    app_line(&app, "go sens");
    app_settle(&app);
    app.toast[0] = 0;
    check_looks("sens");
    app_line(&app, "go pareto");
    app_settle(&app);
    check_looks("pareto");
    ui_app_resize(&app, 80, 24);
    app_line(&app, "diff");
    check("pareto-diff-80x24");
    app_close(&app);
}

/* What is shown of rows comes out of a network: only their absence is golden. */
static void rows_screen_without_rows(void **state)
{
    (void)state;
    app_open_weights(&app, "conv.safetensors", 80, 24);
    app_line(&app, "go rows");
    check("rows-none-80x24");
    app_close(&app);
}

static void rows_screen(void **state)
{
    (void)state;
    app_open(&app, exact_folder(), 80, 24, true);
    app.first_line = false;
    app_settle(&app);
    app_line(&app, "bits 2");
    app_line(&app, "gran tensor");
    app_line(&app, "calib minmax");
    app_line(&app, "go rows");
    app_settle(&app);
    app.toast[0] = 0;
    check_looks("rows");
    ui_app_resize(&app, 80, 24);
    app_line(&app, "explain");
    check("rows-explain-80x24");
    app_close(&app);
}

static void formats_screen(void **state)
{
    (void)state;
    app_open_weights(&app, "conv.safetensors", 80, 24);
    app_line(&app, "select widen2.conv.weight");
    app_line(&app, "bits 4");
    app_line(&app, "go formats");
    app_settle(&app);
    app_settle(&app);
    app.toast[0] = 0;
    check_looks("formats");
    ui_app_resize(&app, 80, 24);
    app_line(&app, "bottom");
    app_line(&app, "explain");
    check("formats-explain-80x24");
    app_close(&app);
}

/* Blocks as a file stores them, and blocks that a tensor would become. */
static void blocks(void **state)
{
    (void)state;
    char path[600];
    snprintf(path, sizeof(path), "%s/tests/golden/gguf/types.gguf", QX_SOURCE_ROOT);
    app_open(&app, path, 80, 24, false);
    app.first_line = false;
    app_line(&app, "select t.Q4_K");
    app_line(&app, "go layer");
    app_settle(&app);
    app.toast[0] = 0;
    check_looks("blocks-stored");
    app_close(&app);
    app_open_weights(&app, "conv.safetensors", 80, 24);
    app_line(&app, "select widen2.conv.weight");
    app_line(&app, "format q5_1");
    app_line(&app, "go layer");
    app_settle(&app);
    app.toast[0] = 0;
    check_looks("blocks");
    app_close(&app);
}

static void try_screen(const char *sample, const char *name, const char *const *texts)
{
    app_open(&app, sample_path(sample), 80, 24, false);
    app.first_line = false;
    app_line(&app, "go try");
    for (; *texts; texts++) {
        assert_true(ui_dof(&app, UI_CMD_TRY, "%s", *texts));
    }
    app_line(&app, "go model");
    app_line(&app, "mark-all");
    app_line(&app, "bits 3");
    app_line(&app, "gran tensor");
    app_line(&app, "unmark");
    app_line(&app, "go try");
    app_settle(&app);
    app.toast[0] = 0;
    check_looks(name);
    app_close(&app);
}

/* Shares to two digits and the likeliest words: no BLAS moves them as far as that. */
static void try_screens(void **state)
{
    (void)state;
    try_screen("bert-sentiment", "try",
               (const char *const[]){"the food is not bad", "filmnya sama sekali tidak bagus",
                                     "the room is quite expensive , and yet the view is lovely",
                                     NULL});
    try_screen("llama-tiny", "try-words",
               (const char *const[]){"Fellow citizens of the Senate", "The war with Mexico", NULL});
}

static void compare_screen(void **state)
{
    (void)state;
    open_five((const char *const[]){"bits 8", "snapshot", "bits 3", "go compare", NULL});
    check_looks("compare");
    app_close(&app);
}

static void compare_rows(void **state)
{
    (void)state;
    app_open(&app, exact_folder(), 80, 24, true);
    app.first_line = false;
    app_line(&app, "bits 4");
    app_line(&app, "go compare");
    app_line(&app, "snapshot");
    app_line(&app, "bits 2");
    app_line(&app, "changes");
    app_settle(&app);
    app_settle(&app);
    app.toast[0] = 0;
    check_looks("compare-rows");
    app_close(&app);
}

static void compare_tokens(void **state)
{
    (void)state;
    app_open(&app, exact_words_folder(), 80, 24, true);
    app.first_line = false;
    app_line(&app, "select lm_head.weight");
    app_line(&app, "bits 4");
    app_line(&app, "go compare");
    app_line(&app, "snapshot");
    app_line(&app, "bits 3");
    app_line(&app, "changes kl");
    for (int i = 0; i < 5; i++) {
        app_settle(&app);
    }
    app.toast[0] = 0;
    check_looks("compare-kl");
    ui_app_resize(&app, 80, 24);
    app_line(&app, "explain");
    check("compare-kl-explain-80x24");
    app_line(&app, "back");
    app_line(&app, "changes answers");
    app.toast[0] = 0;
    check("compare-tokens-80x24");
    app_close(&app);
}

static void history_screen(void **state)
{
    (void)state;
    static const char *const lines[] = {"calib minmax", "gran tensor", "bits 4",
                                        "undo",         "bits 3",      "bits 2"};
    app_open(&app, exact_folder(), 80, 24, true);
    app.first_line = false;
    app_settle(&app);
    app_line(&app, "bits 8");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        app_line(&app, lines[i]);
        app_settle(&app);
    }
    app_line(&app, "undo");
    app_line(&app, "go history");
    app_settle(&app);
    app.toast[0] = 0;
    check_looks("history");
    ui_app_resize(&app, 80, 24);
    app_line(&app, "up");
    app_line(&app, "explain");
    check("history-explain-80x24");
    app_close(&app);
}

static void help_screen(void **state)
{
    (void)state;
    open_five((const char *const[]){"bits 4", "go layer", "help", NULL});
    check_looks("help");
    app_close(&app);
}

static void popups(void **state)
{
    (void)state;
    open_five((const char *const[]){"bits 4", "go layer", "explain", NULL});
    check("explain-80x24");
    app_line(&app, "key <Esc>g");
    check("which-key-80x24");
    app_line(&app, "key <Esc>p");
    check("presets-80x24");
    app_line(&app, "key <Esc>a");
    check("methods-80x24");
    app_line(&app, "key <Esc>:cal");
    check("palette-80x24");
    app_line(&app, "key <Esc>t");
    check("threshold-prompt-80x24");
    app.model_arg = "samples/five-weights"; /* the picture holds no path of this machine */
    app_line(&app, "key <Esc>y");
    check("reproduce-80x24");
    ui_app_resize(&app, 52, 14);
    check("too-small-52x14");
    app_close(&app);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(train_screen),
        cmocka_unit_test(trained_screen),
        cmocka_unit_test(model_screen),
        cmocka_unit_test(layer_screen),
        cmocka_unit_test(layer_of_a_real_network),
        cmocka_unit_test(looks_of_the_themes),
        cmocka_unit_test(matrix_screen),
        cmocka_unit_test(act_screen),
        cmocka_unit_test(sensitivity_and_pareto),
        cmocka_unit_test(rows_screen_without_rows),
        cmocka_unit_test(rows_screen),
        cmocka_unit_test(formats_screen),
        cmocka_unit_test(blocks),
        cmocka_unit_test(try_screens),
        cmocka_unit_test(compare_screen),
        cmocka_unit_test(compare_rows),
        cmocka_unit_test(compare_tokens),
        cmocka_unit_test(history_screen),
        cmocka_unit_test(help_screen),
        cmocka_unit_test(popups),
    };
    bless = argc > 1 && strcmp(argv[1], "--bless") == 0;
    char folder[600];
    snprintf(folder, sizeof(folder), "%s/tests/golden/screens", QX_SOURCE_ROOT);
    if (bless) {
        mkdir(folder, 0777);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

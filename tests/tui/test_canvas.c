/* Canvas, UTF-8, themes and pictures: whatever text comes, the grid stays whole. */
#include "cmocka_all.h"

#include "app.h"
#include "canvas.h"
#include "out.h"
#include "utf8.h"

#include <string.h>

static void row_text(const struct ui_canvas *c, int y, char *out)
{
    out[0] = 0;
    for (int x = 0; x < c->w; x++) {
        strcat(out, c->cells[y * c->w + x].glyph);
    }
}

static void hostile_names_become_question_marks(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"plain", "plain   "},
        {"a\033[2Jb", "a?[2Jb  "},
        {"tab\there", "tab?here"},
        {"\xff\xfe", "??      "},
        {"\xe2\x82", "??      "},     /* cut off inside a character */
        {"\xed\xa0\x80", "???     "}, /* a surrogate */
        {"\xe2\x80\xae"
         "abc",
         "?abc    "},                             /* right-to-left override */
        {"e\xcc\x81", "e?      "},                /* combining mark */
        {"\xe5\xb1\x82.w", "\xe5\xb1\x82.w    "}, /* two cells wide */
        {"0123456789", "01234567"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ui_canvas c;
        char shown[100];
        assert_true(ui_canvas_init(&c, 8, 1));
        ui_put(&c, 0, 0, -1, UI_STYLE_NORMAL, cases[i].text);
        row_text(&c, 0, shown);
        assert_string_equal(shown, cases[i].shown);
        ui_canvas_release(&c);
    }
}

static void what_is_cut_says_so(void **state)
{
    (void)state;
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, 20, 1));
    assert_int_equal(ui_put_cut(&c, 0, 0, 6, UI_STYLE_NORMAL, "abcdef", UI_GLYPHS_ASCII), 6);
    assert_string_equal(ui_canvas_at(&c, 5, 0)->glyph, "f");
    assert_int_equal(ui_put_cut(&c, 0, 0, 6, UI_STYLE_NORMAL, "abcdefg", UI_GLYPHS_ASCII), 6);
    assert_string_equal(ui_canvas_at(&c, 3, 0)->glyph, "d");
    assert_string_equal(ui_canvas_at(&c, 5, 0)->glyph, ".");
    ui_canvas_release(&c);
}

static void long_names_keep_their_numbers_and_their_end(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int w;
        const char *shown;
    } cases[] = {
        {"model.layers.12.attn.weight", 30, "model.layers.12.attn.weight"},
        {"model.layers.12.attn.weight", 24, "mod.lay.12.attn.weight"},
        {"abcdefghijklmnopqrstuvwxyz", 12, "abcd..uvwxyz"},
        {"\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e", 10, "\u65e5..\u672c\u8a9e"},
    };
    char buf[256];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ui_fit_name(buf, sizeof(buf), cases[i].name, cases[i].w, UI_GLYPHS_ASCII);
        assert_string_equal(buf, cases[i].shown);
    }
    char name[1200];
    for (int i = 0; i < 1000; i++) {
        name[i] = i % 7 ? 'x' : '.';
    }
    memcpy(name + 1000, ".the_end", 9);
    for (int w = 8; w < 100; w++) {
        ui_fit_name(buf, sizeof(buf), name, w, UI_GLYPHS_BRAILLE);
        assert_int_equal(ui_text_width(buf), w);
        assert_string_equal(buf + strlen(buf) - 3, "end");
    }
}

static void what_lies_outside_is_clipped(void **state)
{
    (void)state;
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, 4, 2));
    ui_put(&c, -2, 0, -1, UI_STYLE_BOLD, "abcdefgh");
    ui_put(&c, 2, 5, -1, UI_STYLE_BOLD, "below");
    ui_put(&c, 9, 1, -1, UI_STYLE_BOLD, "right");
    ui_fill(&c, (struct ui_rect){-5, -5, 3, 3}, UI_STYLE_BOLD, "#");
    ui_box(&c, (struct ui_rect){2, 0, 90, 90}, UI_GLYPHS_ASCII, UI_STYLE_FRAME, "title");
    char shown[40];
    row_text(&c, 0, shown);
    assert_int_equal(strncmp(shown, "cd", 2), 0);
    assert_null(ui_canvas_at(&c, 4, 0));
    assert_null(ui_canvas_at(&c, 0, -1));
    ui_canvas_release(&c);
}

static void half_a_wide_character_is_never_left_over(void **state)
{
    (void)state;
    struct ui_canvas c;
    char shown[40];
    assert_true(ui_canvas_init(&c, 4, 1));
    ui_put(&c, 0, 0, -1, UI_STYLE_NORMAL, "\xe5\xb1\x82\xe5\xb1\x82");
    ui_put(&c, 1, 0, -1, UI_STYLE_NORMAL, "x");
    row_text(&c, 0, shown);
    assert_string_equal(shown, " x\xe5\xb1\x82");
    ui_put(&c, 2, 0, 1, UI_STYLE_NORMAL, "\xe5\xb1\x82"); /* no room for its second half */
    row_text(&c, 0, shown);
    assert_string_equal(shown, " x  ");
    ui_canvas_release(&c);
}

static void every_symbol_is_one_cell_and_has_an_ascii_twin(void **state)
{
    (void)state;
    for (int s = 0; s < UI_SYM_COUNT; s++) {
        assert_int_equal(ui_text_width(ui_sym(UI_GLYPHS_BRAILLE, (enum ui_sym)s)), 1);
        const char *twin = ui_sym(UI_GLYPHS_ASCII, (enum ui_sym)s);
        assert_int_equal(strlen(twin), 1);
        assert_true(twin[0] >= 32 && twin[0] < 127);
    }
}

static void every_theme_file_sets_every_style(void **state)
{
    (void)state;
    static const char *const names[] = {"dark", "light", "contrast"};
    for (size_t i = 0; i < 3; i++) {
        struct ui_theme t;
        assert_true(ui_theme_load(&t, names[i]));
        assert_string_equal(t.name, names[i]);
        int coloured = 0;
        for (int s = 0; s < UI_STYLE_COUNT; s++) {
            coloured += t.look[s].fg >= 0;
        }
        assert_true(coloured >= UI_STYLE_COUNT - 2);
    }
    struct ui_theme t;
    assert_false(ui_theme_load(&t, "../dark"));
    assert_false(ui_theme_load(&t, "nosuch"));
    assert_true(ui_theme_load(&t, "mono"));
    for (int s = 0; s < UI_STYLE_COUNT; s++) {
        assert_true(t.look[s].fg == -1 && t.look[s].bg == -1);
    }
}

static void colours_map_to_their_nearest(void **state)
{
    (void)state;
    assert_int_equal(ui_colour_256(0x0087ff), 33);
    assert_int_equal(ui_colour_256(0xff8700), 208);
    assert_int_equal(ui_colour_256(0x000000), 16);
    assert_int_equal(ui_colour_16(0xffffff), 15);
    assert_int_equal(ui_colour_16(0x000000), 0);
}

static char *written(void (*write)(FILE *, const struct ui_canvas *, const struct ui_theme *),
                     const struct ui_canvas *c)
{
    static char buf[20000];
    struct ui_theme t;
    ui_theme_load(&t, "dark");
    memset(buf, 0, sizeof(buf));
    FILE *f = fmemopen(buf, sizeof(buf) - 1, "w");
    write(f, c, &t);
    fclose(f);
    return buf;
}

static void write_ansi(FILE *f, const struct ui_canvas *c, const struct ui_theme *t)
{
    ui_out_ansi(f, c, t, UI_COLOUR_256);
}

static void write_plain(FILE *f, const struct ui_canvas *c, const struct ui_theme *t)
{
    ui_out_ansi(f, c, t, UI_COLOUR_NONE);
}

static void write_svg(FILE *f, const struct ui_canvas *c, const struct ui_theme *t)
{
    ui_out_svg(f, c, t, "a <title>");
}

/* With 8 colours grey is black, and dark blue too: no style may vanish in the ground. */
static void few_colours_hide_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"dark", "light", "contrast"};
    struct ui_theme t;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_true(ui_theme_load(&t, names[i]));
        int ground = ui_colour_16(t.back) & 7;
        for (int s = 0; s < UI_STYLE_COUNT; s++) {
            struct ui_look look = ui_look_few(&t, (enum ui_style_id)s, 8);
            assert_true(look.fg < 8 && look.bg < 8);
            int on = look.bg >= 0 ? look.bg : ground;
            assert_true(look.fg < 0 || look.fg != on);
        }
        struct ui_look bar = ui_look_few(&t, UI_STYLE_SELECTED, 8);
        assert_true((bar.bg >= 0 && bar.bg != ground) || (bar.attrs & UI_ATTR_REVERSE));
    }
}

static void pictures_escape_and_colour(void **state)
{
    (void)state;
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, 6, 1));
    ui_put(&c, 0, 0, -1, UI_STYLE_CLIPPED, "<&>");
    ui_put(&c, 4, 0, -1, UI_STYLE_KEPT, "\xe2\xa3\xbf\xe2\x96\x84");
    assert_non_null(strstr(written(write_ansi, &c), "38;5;208m<&>"));
    assert_null(strstr(written(write_plain, &c), "38;"));
    const char *svg = written(write_svg, &c);
    assert_non_null(strstr(svg, "&lt;&amp;&gt;"));
    assert_non_null(strstr(svg, "a &lt;title&gt;"));
    assert_null(strstr(svg, "\xe2\xa3\xbf")); /* braille is drawn, no font is needed */
    assert_non_null(strstr(svg, "</svg>"));
    ui_canvas_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_names_become_question_marks),
        cmocka_unit_test(what_is_cut_says_so),
        cmocka_unit_test(long_names_keep_their_numbers_and_their_end),
        cmocka_unit_test(what_lies_outside_is_clipped),
        cmocka_unit_test(half_a_wide_character_is_never_left_over),
        cmocka_unit_test(every_symbol_is_one_cell_and_has_an_ascii_twin),
        cmocka_unit_test(every_theme_file_sets_every_style),
        cmocka_unit_test(colours_map_to_their_nearest),
        cmocka_unit_test(few_colours_hide_nothing),
        cmocka_unit_test(pictures_escape_and_colour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

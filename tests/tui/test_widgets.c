/* Widgets are pure: what they draw stays inside their rectangle, at every size and glyph level, and
 * what is pressed is what was drawn. */
#include "cmocka_all.h"

#include "figure.h"
#include "gauge_text.h"
#include "layout.h"
#include "predict_text.h"
#include "widget_big.h"
#include "widget_hist.h"
#include "widget_ladder.h"
#include "widget_plot.h"
#include "widget_table.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { W = 90, H = 30, LEVELS = 15, COLUMNS = 2 * W };
static const enum ui_glyphs all_glyphs[] = {UI_GLYPHS_ASCII, UI_GLYPHS_BLOCK, UI_GLYPHS_BRAILLE};

static double bell[COLUMNS], valley[COLUMNS], levels[LEVELS];

static void fill_data(int n, double limit, double t)
{
    for (int i = 0; i < n; i++) {
        double x = -limit + (i + 0.5) * 2 * limit / n;
        bell[i] = floor(1e5 * exp(-x * x / (2 * 0.04 * 0.04)));
        valley[i] = 1e-5 + x * x / 600 + 0.0016 * exp(-fabs(x) / 0.03);
    }
    for (int i = 0; i < LEVELS; i++) {
        levels[i] = (i - LEVELS / 2) * t / (LEVELS / 2);
    }
}

static struct ui_hist hist_of(int w, double limit, double t)
{
    fill_data(2 * w, limit, t);
    return (struct ui_hist){.axis = {-limit, limit},
                            .counts = bell,
                            .n = 2 * w,
                            .min = -0.7,
                            .max = 0.9,
                            .unit = "",
                            .t_lo = -t,
                            .t_hi = t,
                            .log = true,
                            .levels = levels,
                            .n_levels = LEVELS};
}

/* Every cell outside r still holds the mark. */
static void assert_only_inside(struct ui_canvas *c, struct ui_rect r)
{
    for (int y = 0; y < c->h; y++) {
        for (int x = 0; x < c->w; x++) {
            bool inside = x >= r.x && x < r.x + r.w && y >= r.y && y < r.y + r.h;
            if (!inside && strcmp(ui_canvas_at(c, x, y)->glyph, "@") != 0) {
                fail_msg("%d,%d is outside %dx%d at %d,%d but was drawn on", x, y, r.w, r.h, r.x,
                         r.y);
            }
        }
    }
}

static void mark(struct ui_canvas *c, struct ui_rect r)
{
    ui_fill(c, (struct ui_rect){0, 0, c->w, c->h}, UI_STYLE_NORMAL, "@");
    ui_fill(c, r, UI_STYLE_NORMAL, " ");
}

static void table_cell(void *arg, int64_t row, int column, struct ui_cell_text *out)
{
    (void)arg;
    snprintf(out->text, sizeof(out->text), "cell %lld/%d of a name that is long", (long long)row,
             column);
}

static const struct ui_column table_columns[] = {{"name", 12, 40, 0, false},
                                                 {"bits", 4, 0, 1, true},
                                                 {"size", 9, 0, 2, true},
                                                 {"notes", 20, 60, 3, false}};

static void draw_all(struct ui_canvas *c, struct ui_rect r, enum ui_glyphs g)
{
    struct ui_hist h = hist_of(r.w, 0.4, 0.131);
    struct ui_valley_magnet magnets[] = {{'M', 0.1}, {'P', 0.14}, {'K', 0.141}, {'X', 0.9}};
    struct ui_valley v = {h.axis, valley, h.n, h.t_lo, h.t_hi, magnets, 4};
    struct ui_ladder_row rows[] = {
        {2, 5.5, 6, 7}, {4, 18.6, 18, 20}, {8, NAN, NAN, INFINITY}, {8, 31.6, NAN, 44, "E4M3"}};
    struct ui_ladder ladder = {rows, 4, 0};
    struct ui_table table = {table_columns, 4, 1000, 500, 495, table_cell, NULL};
    mark(c, r);
    ui_hist_draw(c, r, &h, g);
    assert_only_inside(c, r);
    mark(c, r);
    ui_valley_draw(c, r, &v, g);
    assert_only_inside(c, r);
    mark(c, r);
    ui_ladder_draw(c, r, &ladder, g);
    assert_only_inside(c, r);
    mark(c, r);
    ui_table_draw(c, r, &table, g);
    assert_only_inside(c, r);
    mark(c, r);
    ui_text_draw(c, r, UI_STYLE_NORMAL,
                 "words that are broken at spaces, andonewithoutanyspacesatall");
    assert_only_inside(c, r);
}

static void widgets_stay_inside_at_every_size(void **state)
{
    (void)state;
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, W, H));
    for (int g = 0; g < 3; g++) {
        for (int w = 0; w <= W - 4; w += w < 30 ? 1 : 7) {
            for (int h = 0; h <= H - 4; h += 1 + h / 6) {
                draw_all(&c, (struct ui_rect){2, 2, w, h}, all_glyphs[g]);
            }
        }
    }
    ui_canvas_release(&c);
}

static void ascii_level_draws_ascii_only(void **state)
{
    (void)state;
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, W, H));
    ui_canvas_clear(&c);
    struct ui_rect r = {0, 0, W, H};
    struct ui_hist h = hist_of(W, 0.4, 0.131);
    struct ui_valley v = {h.axis, valley, h.n, h.t_lo, h.t_hi, NULL, 0};
    struct ui_ladder_row rows[] = {{2, 5.5, 6, 7}, {4, 18.6, 18, 20}, {8, NAN, NAN, NAN}};
    struct ui_ladder ladder = {rows, 3, 4};
    char spark[3 * W + 1];
    ui_hist_draw(&c, r, &h, UI_GLYPHS_ASCII);
    ui_valley_draw(&c, r, &v, UI_GLYPHS_ASCII);
    ui_ladder_draw(&c, r, &ladder, UI_GLYPHS_ASCII);
    ui_bar(&c, 0, 0, 20, 0.4, UI_STYLE_BAR, UI_STYLE_FRAME, UI_GLYPHS_ASCII);
    for (int i = 0; i < c.w * c.h; i++) {
        assert_true((unsigned char)c.cells[i].glyph[0] < 0x80);
    }
    ui_spark(spark, bell, COLUMNS, W, 1e5, UI_GLYPHS_ASCII);
    assert_int_equal(strlen(spark), W);
    ui_canvas_release(&c);
}

static void what_lies_beyond_the_handles_is_clipped(void **state)
{
    (void)state;
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, W, H));
    ui_canvas_clear(&c);
    struct ui_rect r = {0, 0, 80, 20};
    struct ui_hist h = hist_of(r.w, 0.1, 0.05);
    ui_hist_draw(&c, r, &h, UI_GLYPHS_BLOCK);
    int lo = ui_axis_handle(&h.axis, r.w, h.t_lo), hi = ui_axis_handle(&h.axis, r.w, h.t_hi);
    int y = r.h - 3; /* the lowest row of the plot */
    for (int x = 0; x < r.w; x++) {
        int style = ui_canvas_at(&c, x, y)->style;
        if (x == lo || x == hi) {
            assert_int_equal(style, UI_STYLE_HANDLE);
        } else if (x < lo || x > hi) {
            assert_int_equal(style, UI_STYLE_CLIPPED);
        } else {
            assert_true(style == UI_STYLE_KEPT || style == UI_STYLE_LEVEL);
        }
    }
    ui_canvas_release(&c);
}

static void mass_at_the_threshold_stays_in_sight(void **state)
{
    (void)state;
    /* The worked example: with T = 8 the 8 itself must not hide under its handle. */
    for (int w = 10; w < 200; w++) {
        struct ui_axis axis = {-8.24, 8.24};
        assert_int_not_equal(ui_axis_handle(&axis, w, 8.24), w);
        if ((8.24 - 8.0) / (2 * 8.24) * w >= 0.5) {
            assert_true(ui_axis_handle(&axis, w, 8.0) >= ui_axis_cell(&axis, w, 8.0));
        }
    }
}

static void an_arrow_names_what_lies_beyond(void **state)
{
    (void)state;
    struct ui_canvas c;
    char line[W * 7] = "";
    assert_true(ui_canvas_init(&c, W, H));
    ui_canvas_clear(&c);
    struct ui_rect r = {0, 0, 80, 20};
    struct ui_hist h = hist_of(r.w, 0.4, 0.131);
    ui_hist_draw(&c, r, &h, UI_GLYPHS_ASCII);
    for (int x = 0; x < r.w; x++) {
        strcat(line, ui_canvas_at(&c, x, r.h - 1)->glyph);
    }
    assert_non_null(strstr(line, "< -0.70 to -0.40"));
    assert_non_null(strstr(line, "+0.40 to +0.90 >"));
    assert_non_null(strstr(line, "-0.131"));
    assert_non_null(strstr(line, "+0.131"));
    ui_canvas_release(&c);
}

static void a_handle_is_caught_where_it_is_drawn(void **state)
{
    (void)state;
    for (int w = 20; w <= 80; w += 3) {
        struct ui_rect r = {3, 2, w, 20};
        struct ui_hist h = hist_of(w, 0.4, 0.131);
        int hi = r.x + ui_axis_handle(&h.axis, w, h.t_hi);
        int lo = r.x + ui_axis_handle(&h.axis, w, h.t_lo);
        assert_int_equal(ui_hist_hit(r, &h, hi, 5), UI_HIST_HI);
        assert_int_equal(ui_hist_hit(r, &h, lo, 5), UI_HIST_LO);
        assert_int_equal(ui_hist_hit(r, &h, hi, 1), UI_HIST_NONE);
        assert_int_equal(ui_hist_hit(r, &h, r.x - 1, 5), UI_HIST_NONE);
        for (int cell = 0; cell < w; cell++) {
            assert_int_equal(ui_axis_cell(&h.axis, w, ui_axis_value(&h.axis, w, cell)), cell);
        }
    }
}

static void a_drag_gets_finer_away_from_the_axis(void **state)
{
    (void)state;
    struct ui_rect r = {0, 0, 80, 24};
    double last = 1;
    assert_true(ui_hist_fineness(r, r.h - 2) == 1);
    for (int y = r.h - 2; y >= -20; y--) {
        double fine = ui_hist_fineness(r, y);
        assert_true(fine <= last && fine > 0);
        last = fine;
    }
    assert_true(last < 0.1);
}

static void a_magnet_is_hit_where_its_letter_stands(void **state)
{
    (void)state;
    struct ui_canvas c;
    struct ui_rect r = {4, 3, 70, 6};
    struct ui_hist h = hist_of(r.w, 0.4, 0.2);
    struct ui_valley_magnet magnets[] = {{'M', 0.1}, {'P', 0.14}, {'K', 0.1401}, {'X', 0.383}};
    struct ui_valley v = {h.axis, valley, h.n, NAN, NAN, magnets, 4};
    assert_true(ui_canvas_init(&c, W, H));
    ui_canvas_clear(&c);
    ui_valley_draw(&c, r, &v, UI_GLYPHS_BRAILLE);
    int found = 0;
    for (int x = r.x; x < r.x + r.w; x++) {
        int hit = ui_valley_hit(r, &v, x, r.y + r.h - 1);
        const char *glyph = ui_canvas_at(&c, x, r.y + r.h - 1)->glyph;
        if (hit >= 0) {
            assert_int_equal(glyph[0], magnets[hit].letter);
            found++;
        } else {
            assert_string_equal(glyph, " ");
        }
    }
    assert_int_equal(found, 4);
    assert_int_equal(ui_valley_hit(r, &v, r.x + 20, r.y), -1);
    ui_canvas_release(&c);
}

static void a_ladder_row_is_hit_where_its_bits_stand(void **state)
{
    (void)state;
    struct ui_canvas c;
    struct ui_rect r = {10, 4, 40, 8};
    struct ui_ladder_row rows[] = {
        {2, 5, 6, 7},    {3, 12, 12, 13}, {4, 18, 18, 20},         {5, 23, 24, 25},
        {6, 28, 30, 31}, {8, 40, 42, 44}, {4, 21, NAN, 22, "E2M1"}};
    struct ui_ladder l = {rows, 7, 0};
    assert_true(ui_canvas_init(&c, W, H));
    ui_canvas_clear(&c);
    ui_ladder_draw(&c, r, &l, UI_GLYPHS_BRAILLE);
    for (int y = r.y; y < r.y + r.h; y++) {
        int bits = ui_ladder_hit(r, &l, r.x + 5, y);
        int drawn = ui_canvas_at(&c, r.x + 1, y)->glyph[0] - '0';
        bool is_int = y > r.y && y < r.y + 7; /* a format's own row is no width to choose */
        assert_int_equal(bits, is_int ? drawn : 0);
    }
    ui_canvas_release(&c);
}

static void columns_drop_by_priority_and_never_overlap(void **state)
{
    (void)state;
    for (int w = 0; w < 200; w++) {
        int x[4], width[4];
        ui_table_layout(table_columns, 4, w, x, width);
        assert_true(width[0] >= table_columns[0].width); /* priority 0 stays */
        for (int i = 1; i < 4; i++) {
            if (width[i] > 0) {
                assert_true(x[i] + width[i] <= w);
                assert_true(width[i] >= table_columns[i].width);
                for (int k = 1; k < i; k++) {
                    assert_true(width[k] > 0); /* less important ones went first */
                }
            }
        }
    }
}

static void scrolling_keeps_the_cursor_in_sight(void **state)
{
    (void)state;
    int64_t top = 0;
    for (int64_t cursor = 0; cursor < 20000; cursor += 37) {
        top = ui_table_scroll(top, cursor, 20000, 17);
        assert_true(cursor >= top && cursor < top + 17 && top >= 0 && top <= 20000 - 17);
    }
    assert_int_equal(ui_table_scroll(500, -1, 3, 17), 0);
    assert_int_equal(ui_table_scroll(5, 2, 100, 0), 0);
}

static void blocks_fit_their_column(void **state)
{
    (void)state;
    for (int rows = 0; rows < 60; rows++) {
        struct ui_block b[] = {{5, 12, 0, 0, 0}, {7, 7, 1, 0, 0}, {0, 0, 2, 0, 0}, {4, 8, 3, 0, 0}};
        ui_layout_stack(b, 4, rows, 1);
        int end = 0;
        for (int i = 0; i < 4; i++) {
            if (b[i].h > 0) {
                assert_true(b[i].y >= end && b[i].h >= b[i].least && b[i].h <= b[i].want);
                end = b[i].y + b[i].h;
            }
        }
        assert_true(end <= rows);
        assert_int_equal(b[2].h, 0);
        assert_true(rows < 5 || b[0].h > 0);
    }
}

static void text_breaks_at_spaces_and_loses_nothing(void **state)
{
    (void)state;
    static const char text[] = "values cannot be shown: \xe2\x89\x88 a dtype without arithmetic";
    for (int w = 1; w < 80; w++) {
        char joined[sizeof(text)] = "";
        int lines = 0;
        for (const char *p = text; *p; lines++) {
            int n = ui_text_fit(p, w);
            assert_true(n > 0);
            strncat(joined, p, (size_t)n);
            p += n;
            if (*p == ' ') {
                strcat(joined, " ");
                p++;
            }
        }
        assert_string_equal(joined, text);
        assert_int_equal(ui_text_rows(text, w), lines);
    }
}

static void figures_read_as_written(void **state)
{
    (void)state;
    char b[UI_FIG];
    assert_string_equal(ui_fig_real(b, 0.0831, 3), "0.0831");
    assert_string_equal(ui_fig_real(b, 7.44e-5, 3), "7.44e-05");
    assert_string_equal(ui_fig_real(b, 12.5, 3), "12.5");
    assert_string_equal(ui_fig_real(b, 0, 3), "0");
    assert_string_equal(ui_fig_real(b, NAN, 3), "n/a");
    assert_string_equal(ui_fig_signed(b, 0.131, 3), "+0.131");
    assert_string_equal(ui_fig_signed(b, -0.131, 3), "-0.131");
    assert_string_equal(ui_fig_share(b, 0.00095), "0.095 %");
    assert_string_equal(ui_fig_share(b, 0), "0 %");
    assert_string_equal(ui_fig_share(b, 1e-7), "<0.001 %");
    assert_string_equal(ui_fig_db(b, 52.754), "52.75 dB");
    assert_string_equal(ui_fig_db(b, NAN), "exact");
    assert_string_equal(ui_fig_points(b, -0.019), "-1.9 pt");
    assert_string_equal(ui_fig_points(b, 0), "0.0 pt");
    assert_string_equal(ui_fig_points(b, 0.0005), "+0.05 pt");
    assert_string_equal(ui_fig_increase(b, 0.0321), "+3.2 %");
    assert_string_equal(ui_fig_increase(b, -2e-5), "0.00 %");
    assert_string_equal(ui_fig_increase(b, -2e-4), "-0.02 %");
    assert_string_equal(ui_fig_increase(b, 0), "0.0 %");
    assert_string_equal(ui_fig_time(b, 41), "0:41");
    assert_string_equal(ui_fig_time(b, -1), "");
}

/* Value, band, what the rows cannot show, what is only a bound, what has no labels or too few rows. */
static void predictions_say_what_they_may(void **state)
{
    (void)state;
    static const struct {
        struct qx_prediction p;
        const char *whole, *brief, *ascii;
    } cases[] = {
        {{true, true, .value = 0.916, .lo = 0.908, .hi = 0.924, .change = -0.021, .floor = 0.004},
         "-2.1 ≈ ±0.8 pt",
         "-2.1 ≈",
         "-2.1 ~ +-0.8 pt"},
        {{true, true, .value = 0.936, .lo = 0.93, .hi = 0.941, .change = -0.001, .floor = 0.004,
          .is_within_noise = true},
         "within noise",
         "within noise",
         "within noise"},
        {{true, true, .value = 0.945, .lo = 0.93, .hi = 0.96, .change = 0.008, .floor = 0.004},
         "within noise", /* a gain that the band does not rule out to be none */
         "within noise",
         "within noise"},
        {{true, true, .value = 0.7, .lo = 0.6, .hi = 0.8, .change = -0.237, .floor = 0.01},
         "drop > 23 pt",
         "drop > 23 pt",
         "drop > 23 pt"},
        {{true, false, .value = 0.972, .lo = 0.964, .hi = 0.98, .change = -0.028, .floor = 0.004},
         "agrees ≈97.2 ±0.8 %",
         "agrees ≈97.2 %",
         "agrees ~97.2 +-0.8 %"},
        {{false, true, .kl = 0.0123}, "KL ≈0.012", "KL ≈0.012", "KL ~0.012"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct qx_gauge g = {.guess = QX_GUESS_PREDICTED, .predicted = cases[i].p};
        char text[96];
        assert_string_equal(ui_fmt_predicted(text, sizeof(text), &g, UI_GLYPHS_BRAILLE, false),
                            cases[i].whole);
        assert_string_equal(ui_fmt_predicted(text, sizeof(text), &g, UI_GLYPHS_BRAILLE, true),
                            cases[i].brief);
        assert_string_equal(ui_fmt_predicted(text, sizeof(text), &g, UI_GLYPHS_ASCII, false),
                            cases[i].ascii);
        g.guess = QX_GUESS_RANK;
        assert_string_equal(ui_fmt_predicted(text, sizeof(text), &g, UI_GLYPHS_BRAILLE, false), "");
    }
}

static void large_digits_are_what_they_spell(void **state)
{
    (void)state;
    static const char *const want[] = {"    █▀█ ", "▀▀▀ █▀█ ", "    ▀▀▀ pt"};
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, 10, 3));
    ui_canvas_clear(&c);
    assert_int_equal(ui_big_width("-8pt"), 10);
    assert_int_equal(ui_big_height(UI_GLYPHS_BLOCK), 3);
    ui_big_draw(&c, 0, 0, UI_STYLE_VALUE, UI_GLYPHS_BLOCK, "-8pt");
    for (int y = 0; y < 3; y++) {
        char row[80] = "";
        for (int x = 0; x < 10; x++) {
            strncat(row, c.cells[y * 10 + x].glyph, 7);
        }
        if (strncmp(row, want[y], strlen(want[y])) != 0) {
            fail_msg("row %d is '%s', not '%s'", y, row, want[y]);
        }
    }
    ui_canvas_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_digits_are_what_they_spell),
        cmocka_unit_test(widgets_stay_inside_at_every_size),
        cmocka_unit_test(predictions_say_what_they_may),
        cmocka_unit_test(ascii_level_draws_ascii_only),
        cmocka_unit_test(what_lies_beyond_the_handles_is_clipped),
        cmocka_unit_test(mass_at_the_threshold_stays_in_sight),
        cmocka_unit_test(an_arrow_names_what_lies_beyond),
        cmocka_unit_test(a_handle_is_caught_where_it_is_drawn),
        cmocka_unit_test(a_drag_gets_finer_away_from_the_axis),
        cmocka_unit_test(a_magnet_is_hit_where_its_letter_stands),
        cmocka_unit_test(a_ladder_row_is_hit_where_its_bits_stand),
        cmocka_unit_test(columns_drop_by_priority_and_never_overlap),
        cmocka_unit_test(scrolling_keeps_the_cursor_in_sight),
        cmocka_unit_test(blocks_fit_their_column),
        cmocka_unit_test(text_breaks_at_spaces_and_loses_nothing),
        cmocka_unit_test(figures_read_as_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

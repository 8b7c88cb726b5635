/* The Matrix screen: figures under the cursor, zoom, margins, hands on it, large and odd weights. */
#include "cmocka_all.h"

#include "harness.h"

#include "matrix.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct ui_app app;

static struct ui_matrix *matrix_state(void)
{
    return app.state[ui_view_find("matrix")];
}

static bool frame(struct matrix_frame *f)
{
    const bool is_there =
        matrix_frame_init(f, &app, matrix_state(), (struct ui_rect){0, 1, app.w, app.h - 3});
    if (is_there) {
        matrix_frame_full(f);
    }
    return is_there;
}

static const char *status(void)
{
    static char text[400];
    ui_view_at(app.view)->status(&app, app.state[app.view], text, sizeof(text));
    return text;
}

/* A model file of one F32 tensor, whose data may be a hole; values at some places. */
static void write_model(const char *path, const char *name, const char *shape, int64_t numel,
                        const int64_t *places, const float *values, int n)
{
    char header[256];
    const int len =
        snprintf(header, sizeof(header),
                 "{\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[0,%lld]}}", name,
                 shape, (long long)numel * 4);
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    const uint64_t n_header = (uint64_t)len;
    assert_int_equal(write(fd, &n_header, 8), 8);
    assert_int_equal(write(fd, header, (size_t)len), len);
    assert_int_equal(ftruncate(fd, 8 + len + numel * 4), 0);
    for (int i = 0; i < n; i++) {
        assert_int_equal(pwrite(fd, &values[i], 4, 8 + len + places[i] * 4), 4);
    }
    close(fd);
}

static void open_matrix(const char *path, int w, int h, const char *const *lines)
{
    app_open(&app, path, w, h, false);
    for (; *lines; lines++) {
        app_line(&app, *lines);
        app_settle(&app);
    }
    app_line(&app, "go matrix");
    app_settle(&app);
    app.toast[0] = 0;
}

static void the_element_under_the_cursor_is_the_lessons(void **state)
{
    (void)state;
    open_matrix(sample_path("five-weights"), 80, 24,
                (const char *const[]){"bits 8", "gran tensor", "threshold 3", NULL});
    assert_string_equal(status(), "[0,0] -2.000, code -85, x^ -2.008, error 0.00787, tensor scale "
                                  "0.0236");
    app_line(&app, "at 0,4");
    assert_non_null(strstr(status(), "code 127, x^ 3.000, error 5.00, clipped"));
    app_line(&app, "show clipped");
    struct matrix_frame f;
    assert_true(frame(&f));
    assert_int_equal(matrix_cell_here(&f)->largest, 1);
    app_line(&app, "left");
    assert_true(frame(&f));
    assert_int_equal(matrix_cell_here(&f)->largest, 0);
    app_line(&app, "format fp16");
    app_line(&app, "show value");
    assert_string_equal(status(), "[0,3] 1.000; FP16 keeps it");
    app_line(&app, "show code");
    assert_true(app_shows(&app, "FP16 has no codes"));
    app_close(&app);
}

static void zooming_ends_at_one_element_and_comes_back(void **state)
{
    (void)state;
    struct matrix_frame f;
    open_matrix(sample_path("fashion-cnn/model.safetensors"), 80, 24,
                (const char *const[]){"select widen2.conv.weight", NULL});
    assert_true(frame(&f));
    const struct qx_matrix_part all = f.part;
    assert_true(all.rows == f.m.rows && all.cols == f.m.cols && all.across > 1);
    app_line(&app, "at 40,200");
    int steps = 0;
    while (f.part.down > 1 || f.part.across > 1) {
        app_line(&app, "zoom-in");
        assert_true(frame(&f) && ++steps < 12);
        const struct ui_matrix *s = f.state;
        assert_true(s->row >= f.part.row && s->row < f.part.row + f.part.rows);
        assert_true(s->col >= f.part.col && s->col < f.part.col + f.part.cols);
    }
    assert_int_equal(steps, f.zooms);
    app_line(&app, "bottom");
    assert_true(frame(&f));
    assert_true(f.part.row + f.part.rows == f.m.rows && f.part.col + f.part.cols == f.m.cols);
    ui_app_resize(&app, 200, 60); /* never lost */
    assert_true(frame(&f));
    assert_true(f.state->row == f.m.rows - 1 && f.state->col == f.m.cols - 1);
    ui_app_resize(&app, 80, 24);
    for (int i = 0; i < steps; i++) {
        app_line(&app, "zoom-out");
    }
    assert_true(frame(&f));
    assert_true(qx_matrix_part_equal(&f.part, &all));
    app_close(&app);
}

static void every_value_in_sight_is_the_tensors(void **state)
{
    (void)state;
    struct matrix_frame f;
    open_matrix(sample_path("fashion-cnn/model.safetensors"), 100, 30,
                (const char *const[]){"select widen2.conv.weight", NULL});
    for (int z = 0; z < 8; z++) {
        if (frame(&f) && f.state->zoom < f.zooms) {
            app_line(&app, "zoom-in");
        }
    }
    assert_true(frame(&f));
    for (int64_t y = 0; y < f.down; y++) {
        for (int64_t x = 0; x < f.across; x++) {
            float v;
            const int64_t at = qx_matrix_element(&f.m, f.part.row + y, f.part.col + x);
            assert_int_equal(qx_tensor_read(f.item->tensor, at, 1, &v, NULL), QX_OK);
            assert_true(qx_matrix_map_cell(f.map, y, x)->largest == v);
        }
    }
    app_close(&app);
}

/* Zeros with an outlier column, an outlier row and single values; one row of [in, out] storage dead. */
static void jumps_find_what_stands_out_and_what_is_dead(void **state)
{
    (void)state;
    enum { ROWS = 40, COLS = 50 };
    static int64_t places[ROWS * COLS];
    static float values[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++) {
        const int r = i / COLS, c = i % COLS;
        places[i] = i;
        values[i] = r == 11 || c == 7 ? 0 : c == 30 ? 9.0f : 1.0f + (float)(i % 7) / 10;
    }
    write_model("matrix-lines.safetensors", "w.weight", "40,50", ROWS * COLS, places, values,
                ROWS * COLS);
    open_matrix("matrix-lines.safetensors", 80, 24, (const char *const[]){NULL});
    assert_true(app_shows(&app, "1 outlier column, 1 dead column, 1 dead row"));
    struct ui_matrix *s = matrix_state();
    app_line(&app, "next-dead");
    assert_true(s->row == 11 && s->pick == MATRIX_ROW);
    assert_string_equal(status(), "row 11: dead, all its values are 0");
    app_line(&app, "next-dead");
    assert_true(s->col == 7 && s->pick == MATRIX_COLUMN);
    app_line(&app, "prev-dead");
    assert_true(s->row == 11 && s->pick == MATRIX_ROW);
    app_line(&app, "next-outlier");
    assert_true(s->col == 30 && s->pick == MATRIX_COLUMN);
    assert_non_null(strstr(status(), "column 30: max 9.000"));
    assert_non_null(strstr(status(), "outlier"));
    app_line(&app, "key ]");
    assert_true(s->col == 30); /* the only one */
    app_close(&app);
    unlink("matrix-lines.safetensors");
}

static void clicks_select_and_the_wheel_zooms(void **state)
{
    (void)state;
    struct matrix_frame f;
    open_matrix(sample_path("fashion-cnn/model.safetensors"), 80, 24,
                (const char *const[]){"select widen2.conv.weight", NULL});
    struct ui_matrix *s = matrix_state();
    assert_true(frame(&f));
    app_mouse(&app, UI_MOUSE_PRESS, s->map.x + 9, s->map.y + 3, 0);
    assert_true(s->col == 9 * f.part.across && s->row == 6 * f.part.down);
    app_mouse(&app, UI_MOUSE_PRESS, s->row_strip.x + 3, s->row_strip.y + 2, 0);
    assert_true(s->pick == MATRIX_ROW && s->row == 4 * f.part.down && s->col == 9 * f.part.across);
    app_mouse(&app, UI_MOUSE_PRESS, s->col_strip.x + 20, s->col_strip.y + 1, 0);
    assert_true(s->pick == MATRIX_COLUMN && s->col == 20 * f.part.across);
    app_mouse(&app, UI_MOUSE_WHEEL, s->map.x + 30, s->map.y + 4, -1);
    assert_int_equal(s->zoom, 1);
    app_mouse(&app, UI_MOUSE_WHEEL, s->map.x + 30, s->map.y + 4, 1);
    assert_int_equal(s->zoom, 0);
    app_mouse(&app, UI_MOUSE_PRESS, app.w - 1, app.h - 4, 0); /* beside it */
    app_close(&app);
}

/* 500 million values: the frame is drawn at once and fills in. */
static void a_large_weight_streams_in(void **state)
{
    (void)state;
    struct matrix_frame f;
    const int64_t rows = 30000, cols = 16384, places[] = {5 * cols + 77, 29999 * cols + 16300};
    write_model("matrix-large.safetensors", "emb.weight", "30000,16384", rows * cols, places,
                (const float[]){3.0f, -4.0f}, 2);
    app_open(&app, "matrix-large.safetensors", 80, 24, false);
    app_line(&app, "go matrix");
    assert_true(app_shows(&app, "largest of"));
    assert_true(frame(&f));
    assert_true(f.map && !qx_matrix_map_done(f.map)); /* nobody waited */
    for (int i = 0; i < 20; i++) { /* the newest counts: those before are given up */
        app_line(&app, i % 2 ? "zoom-out" : "zoom-in");
        app_shows(&app, "");
    }
    app_settle(&app);
    assert_true(frame(&f));
    assert_true(f.map && qx_matrix_map_done(f.map) && f.margins);
    const struct qx_matrix_cell *last = qx_matrix_map_cell(f.map, f.down - 1, f.across - 1);
    assert_true(last->largest == -4.0f && last->element == places[1]);
    assert_int_equal(f.margins->n_dead_rows, rows - 2);
    assert_true(app_shows(&app, "29,998 dead rows") || app_shows(&app, "16,382 dead columns"));
    app_close(&app);
    unlink("matrix-large.safetensors");
}

static void odd_weights_draw_at_every_size(void **state)
{
    (void)state;
    static const struct {
        const char *shape;
        int64_t numel;
    } odd[] = {{"", 1},          {"1", 1},          {"0", 0},          {"3,0", 0},
               {"700", 700},     {"1,900", 900},    {"900,1", 900},    {"2,3,5", 30},
               {"2,3,5,7", 210}, {"4,1,1,1,6", 24}, {"3,4000", 12000}, {"4000,3", 12000}};
    static const int sizes[][2] = {{60, 16}, {80, 24}, {143, 41}, {300, 100}, {20, 5}};
    static const float some[] = {NAN, 1.0f, INFINITY};
    for (size_t k = 0; k < sizeof(odd) / sizeof(odd[0]); k++) {
        write_model("matrix-odd.safetensors", "w.weight", odd[k].shape, odd[k].numel,
                    (const int64_t[]){0, 5, 7}, some, odd[k].numel > 8 ? 3 : 0);
        open_matrix("matrix-odd.safetensors", 80, 24, (const char *const[]){NULL});
        ui_do(&app, UI_CMD_BITS, "3");
        app_settle(&app);
        for (int i = 0; i < 40; i++) {
            static const enum ui_cmd cmds[] = {
                UI_CMD_SHOW,  UI_CMD_ZOOM_IN, UI_CMD_DOWN,      UI_CMD_PICK,   UI_CMD_NEXT_OUTLIER,
                UI_CMD_RIGHT, UI_CMD_BLOCKS,  UI_CMD_NEXT_DEAD, UI_CMD_BOTTOM, UI_CMD_ZOOM_OUT};
            static struct ui_explain e;
            ui_do(&app, cmds[i % 10], "");
            app.glyphs = (enum ui_glyphs)(i % 3);
            app.shades = i % 4 != 1;
            ui_app_resize(&app, sizes[i % 5][0], sizes[i % 5][1]);
            app_shows(&app, "");
            memset(&e, 0, sizeof(e));
            ui_view_at(app.view)->explain(&app, app.state[app.view], i % 3, &e);
            for (int l = 0; l < e.n; l++) {
                assert_true(strstr(e.line[l], "nan") == NULL || i % 3 == 0);
            }
        }
        app_close(&app);
    }
    unlink("matrix-odd.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_element_under_the_cursor_is_the_lessons),
        cmocka_unit_test(zooming_ends_at_one_element_and_comes_back),
        cmocka_unit_test(every_value_in_sight_is_the_tensors),
        cmocka_unit_test(jumps_find_what_stands_out_and_what_is_dead),
        cmocka_unit_test(clicks_select_and_the_wheel_zooms),
        cmocka_unit_test(a_large_weight_streams_in),
        cmocka_unit_test(odd_weights_draw_at_every_size),
    };
    return cmocka_run_group_tests_name("matrix", tests, NULL, NULL);
}

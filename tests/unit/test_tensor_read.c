/* Every dtype of the table: names, sizes, and the float32 its elements become. */
#include "test_tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void dtype_names_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < QX_DTYPE_COUNT; i++) {
        const struct qx_dtype_info *info = qx_dtype_get((enum qx_dtype)i);
        enum qx_dtype found;
        assert_true(qx_dtype_find(info->name, &found));
        assert_int_equal(found, i);
        assert_true(info->block ? info->bits == 0 : info->bits >= 4 && info->bits <= 64);
        assert_true(info->is_readable || !info->is_float);
    }
    enum qx_dtype found;
    assert_false(qx_dtype_find("f32", &found));
    assert_false(qx_dtype_find("", &found));
}

/* Bytes as they lie in a file and the values they mean. */
static const struct {
    enum qx_dtype dtype;
    uint8_t bytes[24];
    float values[3];
} cases[] = {
    {QX_DTYPE_BOOL, {0, 1, 2}, {0, 1, 1}},
    {QX_DTYPE_U8, {0, 7, 255}, {0, 7, 255}},
    {QX_DTYPE_I8, {0, 127, 128}, {0, 127, -128}},
    {QX_DTYPE_F8_E5M2, {0x3C, 0xC0, 0x7B}, {1, -2, 57344}},
    {QX_DTYPE_F8_E4M3, {0x38, 0xC0, 0x7E}, {1, -2, 448}},
    {QX_DTYPE_I16, {0, 0, 0xFF, 0x7F, 0, 0x80}, {0, 32767, -32768}},
    {QX_DTYPE_U16, {1, 0, 0, 1, 0xFF, 0xFF}, {1, 256, 65535}},
    {QX_DTYPE_F16, {0, 0x3C, 1, 0, 0xFF, 0xFB}, {1, 0x1p-24f, -65504}},
    {QX_DTYPE_BF16, {0x80, 0x3F, 0x00, 0xC0, 0x80, 0x00}, {1, -2, 0x1p-126f}},
    {QX_DTYPE_I32, {1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0x80}, {1, -1, -0x1p31f}},
    {QX_DTYPE_U32, {1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0x80}, {1, 0x1p32f, 0x1p31f}},
    {QX_DTYPE_F32, {0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0, 1, 0, 0, 0}, {1, -2, 0x1p-149f}},
    {QX_DTYPE_F64, {[6] = 0xF0, 0x3F, [15] = 0xC0, [22] = 0xE0, 0x3F}, {1, -2, 0.5f}},
    {QX_DTYPE_I64,
     {[0] = 5, [8] = 255, 255, 255, 255, 255, 255, 255, 255, [23] = 0x80},
     {5, -1, -0x1p63f}},
    {QX_DTYPE_U64, {[0] = 5, [15] = 1, [23] = 0x80}, {5, 0x1p56f, 0x1p63f}},
};

static void every_readable_dtype_widens_at_any_alignment(void **state)
{
    (void)state;
    int n_readable = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct qx_dtype_info *info = qx_dtype_get(cases[i].dtype);
        int64_t shape = 3;
        n_readable += info->is_readable;
        for (int shift = 0; shift < 8; shift++) {
            uint8_t place[40];
            float out[3];
            memcpy(place + shift, cases[i].bytes, sizeof cases[i].bytes);
            struct qx_tensor t = {.name = "x", .dtype = cases[i].dtype, .rank = 1};
            t.shape = &shape;
            t.numel = 3;
            t.data = place + shift;
            assert_int_equal(qx_tensor_read(&t, 0, 3, out, NULL), QX_OK);
            for (int k = 0; k < 3; k++) {
                if (out[k] != cases[i].values[k]) {
                    fail_msg("%s[%d] is %g, expected %g", info->name, k, (double)out[k],
                             (double)cases[i].values[k]);
                }
            }
            assert_int_equal(qx_tensor_read(&t, 2, 1, out, NULL), QX_OK);
            assert_true(out[0] == cases[i].values[2]);
        }
    }
    for (int i = 0; i < QX_DTYPE_COUNT; i++) {
        const struct qx_dtype_info *info = qx_dtype_get((enum qx_dtype)i);
        n_readable -= info->is_readable && !info->block; /* blocks: test_tensor_gguf.c */
    }
    assert_int_equal(n_readable, 0); /* each has a row above */
}

static void nan_and_infinity_survive_reading(void **state)
{
    (void)state;
    static const struct {
        enum qx_dtype dtype;
        uint8_t bytes[8];
        bool is_nan;
    } rows[] = {
        {QX_DTYPE_F8_E4M3, {0x7F}, true},
        {QX_DTYPE_F8_E5M2, {0x7C}, false},
        {QX_DTYPE_F8_E5M2, {0x7D}, true},
        {QX_DTYPE_F16, {0x00, 0x7C}, false},
        {QX_DTYPE_F16, {0x01, 0x7E}, true},
        {QX_DTYPE_BF16, {0x80, 0x7F}, false},
        {QX_DTYPE_BF16, {0xC0, 0x7F}, true},
        {QX_DTYPE_F64, {0, 0, 0, 0, 0, 0, 0xF0, 0x7F}, false},
        {QX_DTYPE_F64, {0, 0, 0, 0, 0, 0, 0xF8, 0x7F}, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct qx_tensor t = {.name = "x", .dtype = rows[i].dtype, .numel = 1};
        float x;
        t.data = rows[i].bytes;
        assert_int_equal(qx_tensor_read(&t, 0, 1, &x, NULL), QX_OK);
        assert_true(rows[i].is_nan ? isnan(x) : isinf(x));
    }
}

static void reads_outside_the_tensor_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[16] = {0};
    float out[4];
    struct qx_tensor t = {.name = "x", .dtype = QX_DTYPE_F32, .numel = 4, .data = bytes};
    static const int64_t ranges[][2] = {{-1, 1}, {0, 5}, {4, 1}, {5, 0}, {1, INT64_MAX}, {0, -1}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        struct qx_error err = {0};
        assert_int_equal(qx_tensor_read(&t, ranges[i][0], ranges[i][1], out, &err), QX_ERANGE);
        assert_string_equal(err.tensor, "x");
    }
    assert_int_equal(qx_tensor_read(&t, 4, 0, out, NULL), QX_OK);
    t.dtype = QX_DTYPE_F4;
    assert_int_equal(qx_tensor_read(&t, 0, 1, out, NULL), QX_EUNSUPPORTED);
}

static void channels_split_a_shape(void **state)
{
    (void)state;
    int64_t shape[] = {2, 3, 5, 7};
    struct qx_tensor t = {.rank = 4, .shape = shape, .numel = 210};
    static const struct qx_channels want[] = {{1, 2, 105}, {2, 3, 35}, {6, 5, 7}, {30, 7, 1}};
    for (int axis = 0; axis < 4; axis++) {
        struct qx_channels c = qx_channels_of(&t, axis);
        assert_memory_equal(&c, &want[axis], sizeof c);
    }
    t.rank = 0;
    struct qx_channels c = qx_channels_of(&t, 0);
    assert_true(c.outer == 1 && c.count == 1 && c.inner == 1);
}

int test_tensor_read(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtype_names_round_trip),
        cmocka_unit_test(every_readable_dtype_widens_at_any_alignment),
        cmocka_unit_test(nan_and_infinity_survive_reading),
        cmocka_unit_test(reads_outside_the_tensor_are_refused),
        cmocka_unit_test(channels_split_a_shape),
    };
    return cmocka_run_group_tests_name("tensor: values", tests, NULL, NULL);
}

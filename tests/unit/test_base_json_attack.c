/* JSON that must be refused, and where the refusal points. */
#include "base/buf.h"
#include "base/fs.h"
#include "qx/json.h"
#include "test_base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static enum qx_status try_parse(const char *text, size_t len, struct qx_error *err)
{
    struct qx_json *json = NULL;
    enum qx_status st = qx_json_parse(text, len, "attack", &json, err);
    assert_true((st == QX_OK) == (json != NULL));
    qx_json_free(json);
    return st;
}

static void broken_texts_are_refused_at_their_byte(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t offset;
    } cases[] = {
        {"", 0},
        {"  ", 2},
        {"{", 1},
        {"[1", 2},
        {"[1,]", 3},
        {"[1 2]", 3},
        {"{\"a\" 1}", 5},
        {"{\"a\":}", 5},
        {"{a:1}", 1},
        {"{\"a\":1,}", 7},
        {"{\"a\":1 \"b\":2}", 7},
        {"[1]]", 3},
        {"1 2", 2},
        {"tru", 0},
        {"nulll", 4},
        {"NaN", 0},
        {"Infinity", 0},
        {"-", 0},
        {"+1", 0},
        {"01", 0},
        {"-01", 0},
        {"1.", 0},
        {".5", 0},
        {"1e", 0},
        {"1e+", 0},
        {"0x10", 1},
        {"\"abc", 0},
        {"\"a\nb\"", 2},
        {"\"\\x\"", 1},
        {"\"\\u12\"", 1},
        {"\"\\u12g4\"", 1},
        {"\"\\u0000\"", 1},
        {"\"\\ud800\"", 1},
        {"\"\\udc00\"", 1},
        {"\"\\ud800\\u0041\"", 1},
        {"\"\\", 1},
        {"[1]//", 3},
        {"\xEF\xBB\xBF[]", 0},
        {"{\"a\":1,\"a\":2}", 7},
        {"{\"a\":1,\"\\u0061\":2}", 7},
        {"{\"x\":{\"k\":1},\"y\":[{\"k\":1,\"z\":0,\"k\":2}]}", 31},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_error err;
        assert_int_equal(try_parse(cases[i].text, strlen(cases[i].text), &err), QX_EFORMAT);
        assert_int_equal(err.offset, cases[i].offset);
        assert_non_null(strstr(err.text, "attack"));
        assert_int_equal(err.status, QX_EFORMAT);
    }
}

static void nul_bytes_and_bad_utf8_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {{"[1]\0", 4},
                 {"\"a\0b\"", 5},
                 {"\0", 1},
                 {"\"\xFF\"", 3},
                 {"\"\xC3\"", 3},
                 {"\"\xC0\x80\"", 4},
                 {"\"\xED\xA0\x80\"", 5},
                 {"{\"\x80\":1}", 7}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_error err;
        assert_int_equal(try_parse(cases[i].text, cases[i].len, &err), QX_EFORMAT);
        assert_true(err.offset >= 0 && err.offset < (int64_t)cases[i].len);
    }
}

static void bad_utf8_is_found_in_a_long_text(void **state)
{
    (void)state;
    struct qx_buf b = {0};
    qx_buf_puts(&b, "\"");
    for (int i = 0; i < 5000; i++) {
        qx_buf_puts(&b, "\xE2\x82\xAC");
    }
    size_t bad = b.len;
    qx_buf_puts(&b, "\xFF");
    for (int i = 0; i < 5000; i++) {
        qx_buf_puts(&b, "\xC3\xA9");
    }
    qx_buf_puts(&b, "\"");
    struct qx_error err;
    assert_int_equal(try_parse(b.data, b.len, &err), QX_EFORMAT);
    assert_true(err.offset >= (int64_t)bad - 8 && err.offset <= (int64_t)bad);
    qx_buf_release(&b);
}

static void nesting_ends_at_64(void **state)
{
    (void)state;
    static const char *const open[] = {"[", "{\"a\":"}, *const close[] = {"]", "}"};
    for (int kind = 0; kind < 2; kind++) {
        for (int depth = 63; depth <= 65; depth++) {
            struct qx_buf b = {0};
            for (int i = 0; i < depth; i++) {
                qx_buf_puts(&b, open[kind]);
            }
            qx_buf_puts(&b, "1");
            for (int i = 0; i < depth; i++) {
                qx_buf_puts(&b, close[kind]);
            }
            struct qx_error err;
            assert_int_equal(try_parse(b.data, b.len, &err), depth <= 64 ? QX_OK : QX_EFORMAT);
            qx_buf_release(&b);
        }
    }
    struct qx_buf b = {0};
    for (int i = 0; i < 200000; i++) {
        qx_buf_puts(&b, "[");
    }
    struct qx_error err;
    assert_int_equal(try_parse(b.data, b.len, &err), QX_EFORMAT);
    qx_buf_release(&b);
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    struct qx_error err;
    assert_int_equal(try_parse("[1e999]", 7, &err), QX_EFORMAT);
    assert_int_equal(try_parse("[-1e999]", 8, &err), QX_EFORMAT);
    assert_int_equal(try_parse("[1e-999]", 8, &err), QX_OK); /* zero, as every reader has it */
    char digits[200];
    memset(digits, '1', sizeof digits);
    assert_int_equal(try_parse(digits, sizeof digits, &err), QX_EFORMAT);
    assert_int_equal(try_parse(digits, 60, &err), QX_OK);
}

static void text_is_not_read_past_its_length(void **state)
{
    (void)state;
    struct qx_error err;
    assert_int_equal(try_parse("123", 2, &err), QX_OK);
    assert_int_equal(try_parse("true", 3, &err), QX_EFORMAT);
    assert_int_equal(try_parse("\"\\u0041\"", 6, &err), QX_EFORMAT);
    assert_int_equal(try_parse("[1]", 2, &err), QX_EFORMAT);
}

static void many_keys_stay_fast_and_unique(void **state)
{
    (void)state;
    struct qx_buf b = {0};
    struct qx_error err;
    qx_buf_puts(&b, "{");
    for (int i = 0; i < 100000; i++) {
        qx_buf_printf(&b, "%s\"key%d\":%d", i ? "," : "", i, i);
    }
    size_t len = b.len;
    qx_buf_puts(&b, "}");
    assert_int_equal(try_parse(b.data, b.len, &err), QX_OK);
    b.len = len;
    qx_buf_puts(&b, ",\"key5\":0}");
    assert_int_equal(try_parse(b.data, b.len, &err), QX_EFORMAT);
    assert_int_equal(err.offset, len + 1);
    assert_non_null(strstr(err.text, "key5"));
    qx_buf_release(&b);
}

static void files_have_a_size_limit(void **state)
{
    (void)state;
    const char *path = "limit.json";
    struct qx_json *json = NULL;
    struct qx_error err;
    assert_int_equal(qx_fs_write_atomic(path, "[1, 2]", 6, &err), QX_OK);
    assert_int_equal(qx_json_load(path, 5, &json, &err), QX_ERANGE);
    assert_int_equal(qx_json_load(path, 6, &json, &err), QX_OK);
    qx_json_free(json);
    assert_int_equal(qx_json_load("absent.json", 6, &json, &err), QX_EIO);
    assert_int_equal(qx_json_load(".", 6, &json, &err), QX_EIO);
    assert_int_equal(qx_fs_write_atomic(path, "[1,", 3, &err), QX_OK);
    assert_int_equal(qx_json_load(path, 6, &json, &err), QX_EFORMAT);
    assert_string_equal(err.file, path);
    unlink(path);
}

int test_base_json_attack(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_texts_are_refused_at_their_byte),
        cmocka_unit_test(nul_bytes_and_bad_utf8_are_refused),
        cmocka_unit_test(bad_utf8_is_found_in_a_long_text),
        cmocka_unit_test(nesting_ends_at_64),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(text_is_not_read_past_its_length),
        cmocka_unit_test(many_keys_stay_fast_and_unique),
        cmocka_unit_test(files_have_a_size_limit),
    };
    return cmocka_run_group_tests_name("json attacks", tests, NULL, NULL);
}

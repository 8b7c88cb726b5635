/* JSON that is well formed: reading, writing, numbers, locale, allocation failures. */
#include "base/mem.h"
#include "base/rng.h"
#include "qx/json.h"
#include "test_base.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct qx_json *parse(const char *text)
{
    struct qx_json *json = NULL;
    struct qx_error err;
    assert_int_equal(qx_json_parse(text, strlen(text), "test", &json, &err), QX_OK);
    return json;
}

static void reads_what_was_written(void **state)
{
    (void)state;
    struct qx_json *json = parse(" {\"a\": [1, -2.5e2, true, null, \"x\\n\\u00e9\\ud83d\\ude00\"], "
                                 "\"b\": {\"\": false}, \"c\": []}\n");
    const struct qx_jval *root = qx_json_root(json), *a = qx_jget(root, "a");
    int64_t i = 0;
    assert_int_equal(qx_jlen(root), 3);
    assert_int_equal(qx_jlen(a), 5);
    assert_true(qx_jint(qx_jat(a, 0), &i) && i == 1);
    assert_true(qx_jnum(qx_jat(a, 1), 0) == -250.0);
    assert_true(qx_jbool(qx_jat(a, 2), false));
    assert_true(qx_jis_null(qx_jat(a, 3)));
    assert_string_equal(qx_jstr(qx_jat(a, 4), ""), "x\n\xC3\xA9\xF0\x9F\x98\x80");
    assert_false(qx_jbool(qx_jget(qx_jget(root, "b"), ""), true));
    assert_string_equal(qx_jkey(qx_jnext(qx_jfirst(root))), "b");
    assert_int_equal(qx_jlen(qx_jget(root, "c")), 0);
    qx_json_free(json);
}

static void absent_values_give_the_fallback(void **state)
{
    (void)state;
    struct qx_json *json = parse("[{}, \"s\", 1.5, 1e300, 9007199254740993]");
    const struct qx_jval *root = qx_json_root(json);
    int64_t i = 77;
    assert_null(qx_jget(root, "a"));
    assert_null(qx_jget(NULL, "a"));
    assert_null(qx_jat(root, 9));
    assert_null(qx_jfirst(NULL));
    assert_null(qx_jfirst(qx_jat(root, 1)));
    assert_int_equal(qx_jlen(NULL), 0);
    assert_string_equal(qx_jstr(NULL, "f"), "f");
    assert_true(qx_jnum(qx_jat(root, 1), 3.0) == 3.0);
    assert_false(qx_jint(qx_jat(root, 2), &i));
    assert_false(qx_jint(qx_jat(root, 3), &i));
    assert_false(qx_jint(NULL, &i));
    assert_int_equal(i, 77);
    assert_null(qx_json_root(NULL));
    assert_null(qx_jkey(NULL));
    qx_json_free(json);
    qx_json_free(NULL);
}

static char *write_sample(bool pretty, size_t *len)
{
    struct qx_jw *w = qx_jw_new(pretty);
    qx_jw_object(w);
    qx_jw_key(w, "a\"\\\x01");
    qx_jw_array(w);
    qx_jw_num(w, 0.1);
    qx_jw_float(w, 0.1f);
    qx_jw_int(w, INT64_MIN);
    qx_jw_num(w, NAN);
    qx_jw_float(w, INFINITY);
    qx_jw_bool(w, true);
    qx_jw_null(w);
    qx_jw_str(w, NULL);
    qx_jw_str(w, "bad\xFFutf\xC3");
    qx_jw_end(w);
    qx_jw_key(w, "e");
    qx_jw_object(w);
    qx_jw_end(w);
    qx_jw_end(w);
    return qx_jw_take(w, len);
}

static void writer_escapes_and_separates(void **state)
{
    (void)state;
    size_t len = 0;
    char *text = write_sample(false, &len);
    assert_string_equal(text, "{\"a\\\"\\\\\\u0001\":[0.1,0.1,-9223372036854775808,null,null,true,"
                              "null,null,\"bad\xEF\xBF\xBDutf\xEF\xBF\xBD\"],\"e\":{}}\n");
    assert_int_equal(len, strlen(text));
    qx_free_text(text);
    text = write_sample(true, NULL);
    assert_non_null(strstr(text, "\n  \"e\": {}\n}\n"));
    qx_json_free(parse(text));
    qx_free_text(text);
}

/* Text of one number as the writer gives it. */
static void number_text(double v, bool is_float, char *out, size_t cap)
{
    struct qx_jw *w = qx_jw_new(false);
    if (is_float) {
        qx_jw_float(w, (float)v);
    } else {
        qx_jw_num(w, v);
    }
    char *text = qx_jw_take(w, NULL);
    snprintf(out, cap, "%.*s", (int)strcspn(text, "\n"), text);
    qx_free_text(text);
}

static void check_round_trip(double v, bool is_float)
{
    char text[64];
    number_text(v, is_float, text, sizeof text);
    struct qx_json *json = parse(text);
    double back = qx_jnum(qx_json_root(json), 0);
    assert_true(is_float ? (float)back == (float)v : back == v);
    qx_json_free(json);
}

static void numbers_survive_a_round_trip(void **state)
{
    (void)state;
    static const double edges[] = {0.0, -0.0,   1e15,    123456789012345680.0,    DBL_MAX, DBL_MIN,
                                   0.1, 5e-324, -1e-310, 2.2250738585072011e-308, 1.0 / 3};
    struct qx_rng r;
    qx_rng_init(&r, 1);
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        check_round_trip(edges[i], false);
    }
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = qx_rng_next(&r);
        uint32_t small = (uint32_t)(bits >> 32);
        double d;
        float f;
        memcpy(&d, &bits, 8);
        memcpy(&f, &small, 4);
        if (isfinite(d)) {
            check_round_trip(d, false);
        }
        if (isfinite(f)) {
            check_round_trip((double)f, true);
        }
    }
}

static void numbers_are_shortest(void **state)
{
    (void)state;
    static const struct {
        double v;
        bool is_float;
        const char *text;
    } cases[] = {
        {0.1, false, "0.1"},
        {0.1f, true, "0.1"},
        {0.1f, false, "0.10000000149011612"},
        {5e-324, false, "5e-324"},
        {1e22, false, "1e+22"},
        {100.0, false, "100"},
        {16777216.0, true, "16777216"},
        {1e-45f, true, "1e-45"},
        {-0.0, false, "-0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        number_text(cases[i].v, cases[i].is_float, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

static void comma_locale_changes_nothing(void **state)
{
    (void)state;
    char folder[] = "locale-XXXXXX", command[256];
    char *old_path = getenv("LOCPATH");
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1",
             folder);
    int rc = system(command);
    setenv("LOCPATH", folder, 1);
    bool has_locale = rc == 0 && setlocale(LC_NUMERIC, "de_DE.UTF-8");
    bool has_comma = has_locale && strcmp(localeconv()->decimal_point, ",") == 0;
    char text[64] = "";
    double back = 0;
    if (has_comma) {
        number_text(1234.5e-3, false, text, sizeof text);
        struct qx_json *json = parse("[0.25, 1.5e-3]");
        back =
            qx_jnum(qx_jat(qx_json_root(json), 0), 0) + qx_jnum(qx_jat(qx_json_root(json), 1), 0);
        qx_json_free(json);
    }
    setlocale(LC_NUMERIC, "C");
    if (old_path) {
        setenv("LOCPATH", old_path, 1);
    } else {
        unsetenv("LOCPATH");
    }
    snprintf(command, sizeof command, "rm -rf %s", folder);
    rc = system(command);
    if (!has_comma) {
        print_message("no locale with a decimal comma can be made here\n");
        skip();
    }
    assert_string_equal(text, "1.2345");
    assert_true(back == 0.2515);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    const char *text = "{\"a\":[1,{\"b\":\"text\"},[]],\"c\":{\"d\":null}}";
    int64_t n_failures = 0;
    for (int64_t n = 1;; n++) {
        struct qx_json *json = NULL;
        struct qx_error err = {0};
        qx_mem_fail_at(n);
        enum qx_status st = qx_json_parse(text, strlen(text), "test", &json, &err);
        qx_mem_fail_at(0);
        if (st == QX_OK) {
            qx_json_free(json);
            break;
        }
        n_failures++;
        assert_int_equal(st, QX_ENOMEM);
        assert_int_equal(err.status, QX_ENOMEM);
        assert_null(json);
    }
    assert_true(n_failures > 8); /* cJSON's own allocations are among them */
    for (int64_t n = 1; n <= 4; n++) {
        qx_mem_fail_at(n);
        char *out = write_sample(true, NULL); /* NULL or complete, never a crash */
        qx_mem_fail_at(0);
        assert_true(!out || out[strlen(out) - 1] == '\n');
        qx_free_text(out);
    }
}

int test_base_json(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_was_written),
        cmocka_unit_test(absent_values_give_the_fallback),
        cmocka_unit_test(writer_escapes_and_separates),
        cmocka_unit_test(numbers_survive_a_round_trip),
        cmocka_unit_test(numbers_are_shortest),
        cmocka_unit_test(comma_locale_changes_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}

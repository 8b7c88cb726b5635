/* str, error, fp16, rng, base64, unicode. */
#include "base/base64.h"
#include "base/error.h"
#include "base/fp16.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/unicode.h"
#include "test_base.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void glob_matches_like_a_shell(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool hit;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "a.b/c", true},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"*.w", "l.0.w", true},
        {"*.w", "l.0.b", false},
        {"[a-c]x", "bx", true},
        {"[!a-c]x", "bx", false},
        {"[]]", "]", true},
        {"[a", "a", false},
        {"a*b*c", "axxbyyc", true},
        {"a*b*c", "axxbyy", false},
        {"l.[0-9].*", "l.7.k", true},
        {"*a", "bababa", true},
        {"[a-]", "-", true},
        {"?", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(qx_str_glob(cases[i].pattern, cases[i].text), cases[i].hit);
    }
}

static void natural_order_compares_numbers(void **state)
{
    (void)state;
    assert_true(qx_str_natcmp("layer.2", "layer.10") < 0);
    assert_true(qx_str_natcmp("layer.10", "layer.2") > 0);
    assert_true(qx_str_natcmp("a", "a") == 0);
    assert_true(qx_str_natcmp("a1", "a01") != 0);
    assert_true(qx_str_natcmp("a1", "a01") == -qx_str_natcmp("a01", "a1"));
    assert_true(qx_str_natcmp("a99999999999999999999", "a100000000000000000000") < 0);
    assert_true(qx_str_natcmp("a", "ab") < 0);
    assert_true(qx_str_natcmp("x1y", "x1z") < 0);
    assert_true(qx_str_natcmp("", "a") < 0);
}

static void copy_cuts_at_a_character(void **state)
{
    (void)state;
    char dst[4];
    assert_string_equal(qx_str_copy(dst, sizeof dst, "ab"), "ab");
    assert_string_equal(qx_str_copy(dst, sizeof dst, "abcdef"), "abc");
    assert_string_equal(qx_str_copy(dst, sizeof dst, "ab\xC3\xA9"), "ab");   /* 2-byte letter */
    assert_string_equal(qx_str_copy(dst, sizeof dst, "a\xE2\x82\xAC"), "a"); /* 3-byte sign */
    assert_string_equal(qx_str_copy(dst, 1, "abc"), "");
}

static void utf8_refuses_what_is_not_a_character(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"abc", true},
        {"\xC3\xA9", true},
        {"\xE2\x82\xAC", true},
        {"\xF0\x9F\x98\x80", true},
        {"\xC0\x80", false},
        {"\xC1\xBF", false},
        {"\xE0\x80\x80", false},
        {"\xED\xA0\x80", false},
        {"\xF4\x90\x80\x80", false},
        {"\xF5\x80\x80\x80", false},
        {"\x80", false},
        {"\xC3", false},
        {"\xE2\x82", false},
        {"\xF0\x80\x80\x80", false},
        {"\xFF", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(qx_utf8_valid(cases[i].text, strlen(cases[i].text)), cases[i].valid);
    }
}

static void distance_counts_edits_up_to_the_limit(void **state)
{
    (void)state;
    assert_int_equal(qx_str_distance("kitten", "sitting", 5), 3);
    assert_int_equal(qx_str_distance("kitten", "sitting", 2), 3);
    assert_int_equal(qx_str_distance("", "abc", 5), 3);
    assert_int_equal(qx_str_distance("same", "same", 0), 0);
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(qx_str_distance("x", longer, 3), 4);
}

static void nearest_suggests_only_close_names(void **state)
{
    (void)state;
    const char *names[] = {"minmax", NULL, "percentile", "mse"};
    assert_string_equal(qx_nearest("percentle", names, 4), "percentile");
    assert_string_equal(qx_nearest("minmix", names, 4), "minmax");
    assert_null(qx_nearest("zebra", names, 4));
}

static void hash_is_stable_and_uses_every_byte(void **state)
{
    (void)state;
    char text[] = "0123456789abcdef!";
    uint64_t h = qx_hash64(text, 17, 0);
    assert_true(h == qx_hash64("0123456789abcdef!", 17, 0));
    assert_true(h != qx_hash64(text, 17, 1));
    assert_true(h != qx_hash64(text, 16, 0));
    for (size_t i = 0; i < 17; i++) {
        text[i] ^= 1;
        assert_true(h != qx_hash64(text, 17, 0));
        text[i] ^= 1;
    }
    /* Cache files hold it: a change of the function must change their version. */
    assert_true(qx_hash64("qexplore", 8, 7) == UINT64_C(0xDA4F704D510DF7C5));
}

static void errors_are_filled_and_take_context(void **state)
{
    (void)state;
    struct qx_error e;
    assert_int_equal(qx_fail(NULL, QX_EIO, "ignored"), QX_EIO);
    assert_int_equal(qx_fail_at(&e, QX_EFORMAT, "f.bin", "t", 12, "bad %d", 3), QX_EFORMAT);
    assert_string_equal(e.text, "bad 3");
    assert_string_equal(e.file, "f.bin");
    assert_string_equal(e.tensor, "t");
    assert_int_equal(e.offset, 12);
    qx_error_context(&e, "opening %s", "x");
    assert_string_equal(e.text, "opening x: bad 3");
    assert_int_equal(qx_fail(&e, QX_EDATA, "%s again", e.text), QX_EDATA); /* its own text */
    assert_string_equal(e.text, "opening x: bad 3 again");
    assert_string_equal(e.file, "");
    assert_int_equal(e.offset, -1);
}

static void error_text_is_cut_at_a_character(void **state)
{
    (void)state;
    char text[700];
    struct qx_error e;
    for (size_t i = 0; i + 2 < sizeof text; i += 2) {
        memcpy(text + i, "\xC3\xA9", 2);
    }
    text[698] = '\0';
    qx_fail(&e, QX_EIO, "x%s", text);
    assert_true(qx_utf8_valid(e.text, strlen(e.text)));
    qx_error_context(&e, "xx");
    assert_true(qx_utf8_valid(e.text, strlen(e.text)));
}

static void every_status_has_a_text(void **state)
{
    (void)state;
    for (int i = QX_OK; i <= QX_EBUG; i++) {
        assert_true(strlen(qx_status_text((enum qx_status)i)) > 3);
    }
    assert_string_equal(qx_status_text((enum qx_status)99), "unknown status");
}

/* ---- narrow floats: the oracle is arithmetic in double ---- */

static double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

static void f16_decodes_every_pattern(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = qx_f16_to_f32((uint16_t)h);
        if ((h & 0x7C00) == 0x7C00) {
            assert_true(h & 0x3FF ? isnan(f) : isinf(f));
        } else {
            assert_true((double)f == half_value((uint16_t)h));
        }
        assert_int_equal(!!signbit(f), h >> 15);
        if (!isnan(f)) {
            assert_int_equal(qx_f32_to_f16(f), h);
            assert_int_equal(qx_f32_to_f16_rz(f), h);
        }
    }
}

/* Nearest half by trying a half and its successor; ties go to the even pattern. */
static uint16_t nearest_half(float f)
{
    double v = fabs((double)f);
    uint16_t lo = 0, sign = signbit(f) ? 0x8000 : 0;
    if (v >= 65520.0) {
        return sign | 0x7C00;
    }
    for (uint16_t step = 0x4000; step > 0; step /= 2) { /* largest pattern not above v */
        uint16_t h = lo + step;
        if (h < 0x7C00 && half_value(h) <= v) {
            lo = h;
        }
    }
    double below = v - half_value(lo), above = half_value(lo) + 0.0;
    double next = lo == 0x7BFF ? 65536.0 : half_value(lo + 1);
    above = next - v;
    bool is_up = above < below || (above == below && (lo & 1));
    return sign | (uint16_t)(lo + is_up);
}

static void f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    struct qx_rng r;
    qx_rng_init(&r, 3);
    for (int i = 0; i < 200000; i++) {
        float f = ldexpf((float)qx_rng_normal(&r), (int)qx_rng_below(&r, 44) - 28);
        if (i & 1) { /* exactly between two halves, or one float away from it */
            uint16_t h = (uint16_t)qx_rng_below(&r, 0x7BFF);
            f = (float)((half_value(h) + half_value(h + 1)) / 2);
            int move = (int)qx_rng_below(&r, 3);
            f = move == 0 ? f : nextafterf(f, move == 1 ? 0.0f : INFINITY);
        }
        assert_int_equal(qx_f32_to_f16(f), nearest_half(f));
        uint16_t rz = qx_f32_to_f16_rz(f);
        assert_true(fabs(half_value(rz)) <= fabs((double)f));
        assert_true((rz & 0x7FFF) == 0x7BFF || half_value((rz & 0x7FFF) + 1) > fabs((double)f));
    }
    assert_int_equal(qx_f32_to_f16(65519.996f), 0x7BFF);
    assert_int_equal(qx_f32_to_f16(65520.0f), 0x7C00);
    assert_int_equal(qx_f32_to_f16_rz(1e9f), 0x7BFF);
    assert_int_equal(qx_f32_to_f16_rz(-65535.0f), 0xFBFF);
    assert_int_equal(qx_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(qx_f32_to_f16(1e-45f), 0);
    assert_int_equal(qx_f32_to_f16(INFINITY), 0x7C00);
    assert_true((qx_f32_to_f16(NAN) & 0x7FFF) > 0x7C00);
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = qx_bf16_to_f32((uint16_t)h);
        if (!isnan(f)) {
            assert_int_equal(qx_f32_to_bf16(f), h);
        } else {
            assert_true(isnan(qx_bf16_to_f32(qx_f32_to_bf16(f))));
        }
    }
    assert_int_equal(qx_f32_to_bf16(1.00390625f), 0x3F80);     /* tie, to even (down) */
    assert_int_equal(qx_f32_to_bf16(1.01171875f), 0x3F82);     /* tie, to even (up) */
    assert_int_equal(qx_f32_to_bf16(0x1.fffffep127f), 0x7F80); /* rounds to infinity */
}

static void f8_values_follow_their_fields(void **state)
{
    (void)state;
    for (int b = 0; b < 256; b++) {
        float f = qx_f8e4m3_to_f32((uint8_t)b);
        int e = b >> 3 & 15, m = b & 7;
        double v = e ? ldexp(8 + m, e - 10) : ldexp(m, -9);
        if ((b & 0x7F) == 0x7F) {
            assert_true(isnan(f));
        } else {
            assert_true((double)f == (b & 0x80 ? -v : v));
        }
        float g = qx_f8e5m2_to_f32((uint8_t)b);
        e = b >> 2 & 31;
        m = b & 3;
        v = e ? ldexp(4 + m, e - 17) : ldexp(m, -16);
        if (e == 31) {
            assert_true(m ? isnan(g) : isinf(g));
        } else {
            assert_true((double)g == (b & 0x80 ? -v : v));
        }
    }
    assert_true(qx_f8e4m3_to_f32(0x7E) == 448.0f);
}

static void rng_follows_its_reference_sequence(void **state)
{
    (void)state;
    struct qx_rng r;
    qx_rng_init(&r, 42);
    /* From the authors' splitmix64.c and xoshiro256starstar.c, run with Python integers. */
    static const uint64_t expected[] = {UINT64_C(0x15780B2E0C2EC716), UINT64_C(0x6104D9866D113A7E),
                                        UINT64_C(0xAE17533239E499A1), UINT64_C(0xECB8AD4703B360A1)};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(qx_rng_next(&r) == expected[i]);
    }
}

static void rng_draws_have_their_moments(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct qx_rng r;
    double sum = 0, sumsq = 0, uniform = 0;
    int64_t counts[7] = {0};
    qx_rng_init(&r, 5);
    for (int i = 0; i < N; i++) {
        double x = qx_rng_normal(&r), u = qx_rng_uniform(&r);
        sum += x;
        sumsq += x * x;
        uniform += u;
        assert_true(u >= 0.0 && u < 1.0);
        counts[qx_rng_below(&r, 7)]++;
    }
    assert_true(fabs(sum / N) < 0.01 && fabs(sumsq / N - 1.0) < 0.02);
    assert_true(fabs(uniform / N - 0.5) < 0.005);
    for (int i = 0; i < 7; i++) {
        assert_true(fabs((double)counts[i] / N - 1.0 / 7) < 0.005);
    }
}

static void base64_is_that_of_rfc_4648(void **state)
{
    static const struct {
        const char *text, *bytes; /* NULL: refused */
    } cases[] = {{"", ""},        {"Zg==", "f"},        {"Zm8=", "fo"},
                 {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, {"/+8=", "\xFF\xEF"},
                 {"Zg=", NULL},   {"Z===", NULL},       {"Zg==Zg==", NULL},
                 {"Zm 9", NULL},  {"Zm9_", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_buf out = {0};
        const bool is_good = qx_base64_decode(cases[i].text, strlen(cases[i].text), &out);
        assert_int_equal(is_good, cases[i].bytes != NULL);
        if (is_good) {
            assert_int_equal(out.len, strlen(cases[i].bytes));
            assert_true(out.len == 0 || memcmp(out.data, cases[i].bytes, out.len) == 0);
        }
        qx_buf_release(&out);
    }
}

/* GraphemeBreakTest.txt of UAX 29 has these among its lines. */
static void clusters_end_where_uax_29_says(void **state)
{
    static const char *const first[] = {
        "a", "e\xCC\x81", "\r\n", "\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA", "\xE1\x84\x80\xE1\x85\xA1"};
    char text[64];
    (void)state;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        snprintf(text, sizeof text, "%sx", first[i]);
        assert_int_equal(qx_grapheme_next(text, strlen(text)), strlen(first[i]));
        assert_int_equal(qx_grapheme_next(first[i], strlen(first[i])), strlen(first[i]));
    }
}

int test_base_text(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(glob_matches_like_a_shell),
        cmocka_unit_test(natural_order_compares_numbers),
        cmocka_unit_test(copy_cuts_at_a_character),
        cmocka_unit_test(utf8_refuses_what_is_not_a_character),
        cmocka_unit_test(distance_counts_edits_up_to_the_limit),
        cmocka_unit_test(nearest_suggests_only_close_names),
        cmocka_unit_test(hash_is_stable_and_uses_every_byte),
        cmocka_unit_test(errors_are_filled_and_take_context),
        cmocka_unit_test(error_text_is_cut_at_a_character),
        cmocka_unit_test(every_status_has_a_text),
        cmocka_unit_test(f16_decodes_every_pattern),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(f8_values_follow_their_fields),
        cmocka_unit_test(rng_follows_its_reference_sequence),
        cmocka_unit_test(rng_draws_have_their_moments),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(clusters_end_where_uax_29_says),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}

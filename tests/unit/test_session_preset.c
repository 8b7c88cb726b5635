/* Presets: rows that are whole, and recipes that one undo step takes back. */
#include "qx/preset.h"
#include "test_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void every_row_is_whole(void **state)
{
    (void)state;
    for (int i = 0; i < qx_preset_count(); i++) {
        const struct qx_preset *p = qx_preset_at(i), *found;
        const char *const texts[] = {p->help, p->tool, p->ours};
        struct qx_error err = {0};
        assert_int_equal(qx_preset_find(p->name, &found, NULL), QX_OK);
        assert_ptr_equal(found, p);
        for (int k = 0; k < 3; k++) {
            assert_true(strlen(texts[k]) > 10 && texts[k][strlen(texts[k]) - 1] == '.');
        }
        for (int k = 0; k < i; k++) {
            assert_true(qx_preset_at(k)->key != p->key);
        }
        const struct qx_setting s = qx_preset_setting(p);
        if (qx_setting_check(&s, &err) != QX_OK) {
            fail_msg("%s: %s", p->name, err.text);
        }
        /* a name that the tables do not know would leave the default behind */
        assert_true(!p->weight.format || strcmp(s.format->name, p->weight.format) == 0);
        assert_true(!p->weight.method || strcmp(s.calib->name, p->weight.method) == 0);
        assert_int_equal(s.algo[0] != 0, p->weight.algo != NULL);
        assert_true(!p->act.method || strcmp(s.act.calib->name, p->act.method) == 0);
    }
    const struct qx_preset *none = NULL;
    struct qx_error err = {0};
    assert_int_equal(qx_preset_find("bnb-nf5", &none, &err), QX_ENAME);
    assert_non_null(strstr(err.text, "bnb-nf4"));
}

static void each_is_one_step(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, true);
    const int64_t first = fixture_item(s, "fc1.weight"), last = fixture_item(s, "fc2.weight");
    fixture_bits(s, "fc1.weight", 3);
    char *before = fixture_recipe(s);
    for (int i = 0; i < qx_preset_count(); i++) {
        const struct qx_preset *p = qx_preset_at(i);
        const int n_edits = qx_session_n_edits(s);
        struct qx_error err = {0};
        int64_t n = -1;
        if (qx_session_preset(s, p, &n, &err) != QX_OK) {
            fail_msg("%s: %s", p->name, err.text);
        }
        assert_int_equal(qx_session_n_edits(s), n_edits + 1);
        assert_int_equal(n, 2 - qx_setting_is_fp32(qx_session_setting(s, first)) -
                                qx_setting_is_fp32(qx_session_setting(s, last)));
        assert_true(n > 0);
        assert_true(qx_session_undo(s));
        char *after = fixture_recipe(s);
        assert_string_equal(before, after);
        free(after);
    }
    free(before);
    qx_session_close(&s);
}

static const char *format_under(struct qx_session *s, const char *preset, const char *tensor)
{
    const struct qx_preset *p = NULL;
    assert_int_equal(qx_preset_find(preset, &p, NULL), QX_OK);
    assert_int_equal(qx_session_preset(s, p, NULL, NULL), QX_OK);
    return qx_session_setting(s, fixture_item(s, tensor))->format->name;
}

/* Scales of one name and the other: 32 bits a block of 64, or a little more than 8. */
static void nested_scales_take_less(void **state)
{
    const struct qx_preset *plain = NULL, *nested = NULL;
    (void)state;
    assert_int_equal(qx_preset_find("bnb-nf4", &plain, NULL), QX_OK);
    assert_int_equal(qx_preset_find("bnb-nf4-dq", &nested, NULL), QX_OK);
    const struct qx_setting a = qx_preset_setting(plain), b = qx_preset_setting(nested);
    const int64_t blocks = 1024, n = 64 * blocks;
    assert_true(a.scale == QX_SCALE_F32 && b.scale == QX_SCALE_NESTED && a.group == b.group);
    assert_int_equal(qx_setting_bytes(&a, n, blocks), n / 2 + 4 * blocks);
    assert_int_equal(qx_setting_bytes(&b, n, blocks), n / 2 + blocks + 4 * blocks / 256 + 4);
}

static void exceptions_are_where_the_tools_have_them(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(QX_SOURCE_ROOT "/samples/fashion-cnn", NULL, true);
    assert_string_equal(format_under(s, "seed-004", "stem.conv.weight"), "fp16");
    assert_string_equal(format_under(s, "seed-004", "head.weight"), "fp16");
    assert_string_equal(format_under(s, "seed-004", "dense.weight"), "int");
    assert_string_equal(format_under(s, "torch-dynamic", "stem.conv.weight"), "fp32");
    assert_string_equal(format_under(s, "torch-dynamic", "head.weight"), "int");
    assert_string_equal(format_under(s, "bnb-nf4", "dense.weight"), "nf4");
    assert_string_equal(format_under(s, "bnb-nf4", "head.weight"), "fp32");
    qx_session_close(&s);
    /* eight blocks: the first, the last, and every third between; of an encoder five */
    s = fixture_open(QX_SOURCE_ROOT "/samples/llama-tiny", NULL, true);
    const int more[] = {0, 0, 1, 0,
                        1}; /* llama.cpp's rule for 5 blocks: 0 < 0, 4 >= 4, (i - 0) % 3 == 2 */
    for (int i = 0; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj.weight", i);
        assert_string_equal(format_under(s, "q4_k_m-like", name), more[i] ? "q6_k" : "q4_k");
        snprintf(name, sizeof name, "model.layers.%d.mlp.up_proj.weight", i);
        assert_string_equal(format_under(s, "q4_k_m-like", name), "q4_k");
    }
    qx_session_close(&s);
}

static void methods_without_a_network_are_refused(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    const struct qx_preset *p = NULL;
    struct qx_error err = {0};
    fixture_bits(s, "a.weight", 4);
    assert_int_equal(qx_preset_find("gptq-w4g128", &p, NULL), QX_OK);
    assert_int_equal(qx_session_preset(s, p, NULL, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "gptq"));
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a.weight"))->bits, 4);
    assert_int_equal(qx_preset_find("bnb-nf4", &p, NULL), QX_OK);
    assert_int_equal(qx_session_preset(s, p, NULL, &err), QX_OK);
    qx_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_whole),
        cmocka_unit_test(each_is_one_step),
        cmocka_unit_test(nested_scales_take_less),
        cmocka_unit_test(exceptions_are_where_the_tools_have_them),
        cmocka_unit_test(methods_without_a_network_are_refused),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}

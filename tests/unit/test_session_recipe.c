/* Patches, recipe text, items. */
#include "session/recipe.h"
#include "test_session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- patches ---- */

static const struct qx_bounds bounds = {true, -2, 8, 8};

static struct qx_setting by_hand(bool sym, enum qx_gran gran, double lo, double hi)
{
    struct qx_setting s = qx_setting_int(8);
    s.sym = sym;
    s.gran = gran;
    s.calib = qx_calib_find("manual");
    s.has_range = true;
    s.range = (struct qx_range){lo, hi};
    return s;
}

static struct qx_setting apply(struct qx_setting now, unsigned fields, struct qx_setting value)
{
    struct qx_patch p = {fields, value};
    struct qx_setting out;
    assert_int_equal(qx_patch_apply(&p, &now, &bounds, "t", &out, NULL), QX_OK);
    return out;
}

static enum qx_status refused(struct qx_setting now, unsigned fields, struct qx_setting value,
                              const struct qx_bounds *b)
{
    struct qx_patch p = {fields, value};
    struct qx_setting out;
    struct qx_error err = {.text = ""};
    enum qx_status status = qx_patch_apply(&p, &now, b, "t", &out, &err);
    assert_true(status == QX_OK || err.text[0] != '\0');
    return status;
}

static void bits_make_an_fp32_item_an_integer(void **state)
{
    (void)state;
    struct qx_setting s = apply(qx_setting_fp32(), QX_PATCH_BITS, (struct qx_setting){.bits = 4});
    struct qx_setting want = qx_setting_int(4);
    assert_true(qx_setting_equal(&s, &want));
    assert_string_equal(s.calib->name, "mse");
    assert_false(s.has_range);
    struct qx_setting fp16 = qx_setting_fp32();
    fp16.format = qx_format_find("fp16");
    s = apply(fp16, QX_PATCH_BITS, (struct qx_setting){.bits = 3});
    assert_int_equal(s.format->kind, QX_FORMAT_AFFINE);
    s = apply(qx_setting_int(4), QX_PATCH_FORMAT, fp16);
    assert_string_equal(s.format->name, "fp16");
    s = apply(qx_setting_int(4), QX_PATCH_ALL, qx_setting_fp32());
    assert_true(qx_setting_is_fp32(&s));
}

static void a_table_brings_its_own_bits_and_symmetry(void **state)
{
    (void)state;
    struct qx_setting nf4 = {.format = qx_format_find("nf4")}, asym = qx_setting_int(8);
    asym.sym = false;
    asym.gran = QX_GRAN_GROUP;
    asym.group = 64;
    asym.act = qx_act_dynamic(8);
    asym.has_range = true;
    asym.range = (struct qx_range){-0.5, 0.5};
    struct qx_setting s = apply(asym, QX_PATCH_FORMAT, nf4);
    assert_true(s.format == nf4.format && s.bits == 4 && s.sym && s.act.bits == 0 && !s.has_range);
    assert_true(s.gran == QX_GRAN_GROUP && s.group == 64);
    s = apply(qx_setting_fp32(), QX_PATCH_FORMAT, nf4);
    assert_true(s.format == nf4.format && s.bits == 4 && s.gran == QX_GRAN_CHANNEL);
    assert_int_equal(refused(s, QX_PATCH_SYM, asym, &bounds), QX_ERANGE);
    assert_int_equal(refused(s, QX_PATCH_ACT, asym, &bounds), QX_EUNSUPPORTED);
    s = apply(s, QX_PATCH_BITS, (struct qx_setting){.bits = 3});
    assert_true(qx_setting_is_int(&s) && s.bits == 3);
    s = apply(by_hand(true, QX_GRAN_CHANNEL, -0.7, 0.7), QX_PATCH_FORMAT, nf4);
    assert_true(s.has_range && s.range.hi == 0.7); /* a threshold by hand stays */
    s = apply(s, QX_PATCH_FORMAT, qx_setting_int(8));
    assert_true(qx_setting_is_int(&s) && s.bits == 4);
}

static void other_fields_do_not_touch_a_float_item(void **state)
{
    (void)state;
    struct qx_setting v = qx_setting_int(4);
    unsigned fields[] = {QX_PATCH_SYM, QX_PATCH_GRAN, QX_PATCH_SCALE, QX_PATCH_CALIB,
                         QX_PATCH_RANGE};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        assert_int_equal(refused(qx_setting_fp32(), fields[i], v, &bounds), QX_ERANGE);
    }
}

static void a_calibrated_range_is_chosen_anew_when_its_ground_changes(void **state)
{
    (void)state;
    struct qx_setting now = qx_setting_int(8), v = qx_setting_int(4);
    now.gran = QX_GRAN_TENSOR;
    now.has_range = true;
    now.range = (struct qx_range){-8, 8};
    v.gran = QX_GRAN_CHANNEL;
    v.sym = false;
    v.calib = qx_calib_find("minmax");
    unsigned anew[] = {QX_PATCH_BITS, QX_PATCH_SYM, QX_PATCH_GRAN, QX_PATCH_CALIB};
    for (size_t i = 0; i < sizeof anew / sizeof *anew; i++) {
        assert_false(apply(now, anew[i], v).has_range);
    }
    v.scale = QX_SCALE_F16;
    struct qx_setting kept = apply(now, QX_PATCH_SCALE, v);
    assert_true(kept.has_range);
    assert_int_equal(kept.scale, QX_SCALE_F16);
}

static void groups_store_their_scales_in_half(void **state)
{
    (void)state;
    struct qx_setting v = {.gran = QX_GRAN_GROUP, .group = 32};
    struct qx_setting s = apply(qx_setting_int(4), QX_PATCH_GRAN, v);
    assert_int_equal(s.scale, QX_SCALE_F16);
    assert_int_equal(s.group, 32);
    v.gran = QX_GRAN_CHANNEL;
    assert_int_equal(apply(s, QX_PATCH_GRAN, v).scale, QX_SCALE_F32);
}

static void a_range_by_hand_makes_the_calibrator_manual(void **state)
{
    (void)state;
    struct qx_setting v = {.has_range = true, .range = {-3, 3}};
    struct qx_setting now = qx_setting_int(8);
    now.gran = QX_GRAN_TENSOR;
    struct qx_setting s = apply(now, QX_PATCH_RANGE, v);
    assert_string_equal(s.calib->name, "manual");
    assert_true(s.has_range && s.range.lo == -3 && s.range.hi == 3);
    /* bits do not move it */
    v.bits = 4;
    s = apply(s, QX_PATCH_BITS, v);
    assert_true(s.has_range && s.range.hi == 3);
}

static void a_threshold_by_hand_is_carried_over(void **state)
{
    (void)state;
    struct qx_setting channel = {.gran = QX_GRAN_CHANNEL}, tensor = {.gran = QX_GRAN_TENSOR};
    struct qx_setting s = apply(by_hand(true, QX_GRAN_TENSOR, -4, 4), QX_PATCH_GRAN, channel);
    assert_true(s.range.hi == 0.5 && s.range.lo == -0.5);
    s = apply(s, QX_PATCH_GRAN, tensor);
    assert_true(s.range.hi == 4 && s.range.lo == -4);
    /* beyond the data: the whole range */
    s = apply(by_hand(true, QX_GRAN_TENSOR, -40, 40), QX_PATCH_GRAN, channel);
    assert_true(s.range.hi == 1);
    /* asymmetric: the share of its own ends */
    s = apply(by_hand(false, QX_GRAN_TENSOR, -1, 4), QX_PATCH_GRAN, channel);
    assert_true(s.range.hi == 0.5);
    s = apply(s, QX_PATCH_GRAN, tensor);
    assert_true(s.range.lo == -1 && s.range.hi == 4);
    s = apply(s, QX_PATCH_SYM, (struct qx_setting){.sym = true});
    assert_true(s.range.lo == -4 && s.range.hi == 4);
    const struct qx_bounds unknown = {0};
    assert_int_equal(
        refused(by_hand(true, QX_GRAN_TENSOR, -4, 4), QX_PATCH_GRAN, channel, &unknown), QX_EDATA);
}

static void ranges_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct qx_setting tensor = by_hand(true, QX_GRAN_TENSOR, -4, 4);
    struct qx_setting channel = by_hand(true, QX_GRAN_CHANNEL, -1, 1);
    const struct {
        struct qx_setting now;
        struct qx_range r;
    } bad[] = {{tensor, {0, 0}},   {tensor, {NAN, 1}}, {tensor, {-INFINITY, 1}},
               {channel, {-2, 2}}, {channel, {0, 0}},  {channel, {0.5, -0.5}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qx_setting v = {.has_range = true, .range = bad[i].r};
        assert_int_equal(refused(bad[i].now, QX_PATCH_RANGE, v, &bounds), QX_ERANGE);
    }
    assert_int_equal(refused(tensor, QX_PATCH_BITS, (struct qx_setting){.bits = 9}, &bounds),
                     QX_ERANGE);
    /* manual without any range to keep */
    struct qx_setting v = {.calib = qx_calib_find("manual")};
    assert_int_equal(refused(qx_setting_int(4), QX_PATCH_CALIB, v, &bounds), QX_ERANGE);
}

/* ---- items ---- */

static void roles_are_guessed_from_names_and_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum qx_role role;
        bool can_quantize;
    } want[] = {{"a.weight", QX_ROLE_LINEAR, true},
                {"norm.weight", QX_ROLE_OTHER, true},
                {"tok_embed.weight", QX_ROLE_EMBEDDING, true},
                {"ids", QX_ROLE_OTHER, false},
                {"half.weight", QX_ROLE_LINEAR, true}};
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct qx_item *it = qx_session_item(s, fixture_item(s, want[i].name));
        assert_int_equal(it->role, want[i].role);
        assert_int_equal(it->can_quantize, want[i].can_quantize);
        assert_int_equal(it->reason[0] == '\0', want[i].can_quantize);
    }
    bool selected[16];
    qx_session_select(s, QX_SCOPE_LINEAR, NULL, selected);
    assert_true(selected[fixture_item(s, "b")] && !selected[fixture_item(s, "tok_embed")]);
    qx_session_select(s, QX_SCOPE_ALL, NULL, selected);
    assert_true(selected[fixture_item(s, "tok_embed")] && !selected[fixture_item(s, "norm")]);
    qx_session_select(s, QX_SCOPE_LINEAR, "?.weight", selected);
    assert_true(selected[fixture_item(s, "a")] && !selected[fixture_item(s, "half")]);
    qx_session_select(s, QX_SCOPE_LINEAR, "norm.weight", selected);
    assert_true(selected[fixture_item(s, "norm")] && !selected[fixture_item(s, "a")]);
    qx_session_close(&s);
}

static void names_and_aliases_find_items(void **state)
{
    (void)state;
    struct qx_error err;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, true);
    assert_int_equal(qx_session_find(s, "fc1", NULL), qx_session_find(s, "fc1.weight", NULL));
    assert_int_equal(qx_session_find(s, "fc1.wieght", &err), -1);
    assert_int_equal(err.status, QX_ENAME);
    assert_non_null(strstr(err.text, "fc1.weight"));
    assert_int_equal(qx_session_item(s, 0)->role, QX_ROLE_LINEAR);
    assert_non_null(qx_session_item(s, 0)->layer);
    qx_session_close(&s);
}

/* ---- text ---- */

static enum qx_status load(struct qx_session *s, const char *layers, struct qx_error *err)
{
    char text[2048];
    snprintf(text, sizeof text, "{\"schema\":\"qexplore.recipe/1\",\"layers\":%s}", layers);
    fixture_write(fixture_path("r.json"), text);
    return qx_session_load_recipe(s, fixture_path("r.json"), err);
}

static void a_recipe_reads_back_as_it_was_written(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    struct qx_error err = {.text = ""};
    assert_int_equal(
        load(s,
             "{\"a\":{\"bits\":4},"
             "\"b.weight\":{\"format\":\"int\",\"bits\":3,\"gran\":\"group:8\",\"sym\":false,"
             "\"method\":\"percentile:99.5\",\"ratio\":0.875,\"algo\":[],\"act\":null},"
             "\"big.weight\":{\"bits\":8,\"gran\":\"tensor\",\"lo\":-0.1,\"hi\":0.1},"
             "\"norm.weight\":{\"format\":\"nf4\",\"gran\":\"group:64\",\"ratio\":0.9},"
             "\"half.weight\":{\"format\":\"bf16\",\"origin\":\"search\"}}",
             &err),
        QX_OK);
    const struct qx_setting *b = qx_session_setting(s, fixture_item(s, "b"));
    assert_true(b->bits == 3 && !b->sym && b->gran == QX_GRAN_GROUP && b->group == 8);
    assert_true(b->scale == QX_SCALE_F16 && b->has_range && b->range.hi == 0.875);
    assert_true(b->param == 99.5);
    const struct qx_setting *n = qx_session_setting(s, fixture_item(s, "norm"));
    assert_true(n->format == qx_format_find("nf4") && n->bits == 4 && n->range.hi == 0.9);
    assert_string_equal(qx_session_setting(s, fixture_item(s, "big"))->calib->name, "manual");
    char *first = fixture_recipe(s);
    assert_int_equal(qx_session_n_edits(s), 1);
    assert_true(qx_session_undo(s));
    assert_int_equal(qx_session_load_recipe(s, fixture_path("saved.json"), &err), QX_OK);
    char *second = fixture_recipe(s);
    assert_string_equal(first, second);
    free(first);
    free(second);
    qx_session_close(&s);
}

static void whatever_is_not_a_recipe_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *layers;
        enum qx_status status;
        const char *says;
    } bad[] = {
        {"{\"a.weigth\":{\"bits\":4}}", QX_ENAME, "a.weight"},
        {"{\"a\":{\"bits\":4},\"a.weight\":{\"bits\":4}}", QX_EFORMAT, "already"},
        {"{\"a\":{\"bitz\":4}}", QX_EFORMAT, "bits"},
        {"{\"a\":{\"format\":\"fp15\"}}", QX_ENAME, "fp16"},
        {"{\"a\":{\"bits\":4,\"method\":\"mze\"}}", QX_ENAME, "mse"},
        {"{\"a\":{\"bits\":9}}", QX_ERANGE, "bits"},
        {"{\"a\":{\"bits\":4.5}}", QX_ERANGE, "bits"},
        {"{\"a\":{}}", QX_EFORMAT, "bits"},
        {"{\"a\":{\"bits\":4,\"gran\":\"row\"}}", QX_EFORMAT, "gran"},
        {"{\"a\":{\"bits\":4,\"gran\":\"group:0\"}}", QX_EFORMAT, "gran"},
        {"{\"a\":{\"bits\":4,\"sym\":1}}", QX_EFORMAT, "sym"},
        {"{\"a\":{\"bits\":4,\"scale\":\"f64\"}}", QX_EFORMAT, "scale"},
        {"{\"a\":{\"bits\":4,\"ratio\":1.5}}", QX_ERANGE, "ratio"},
        {"{\"a\":{\"bits\":4,\"lo\":-1,\"hi\":1}}", QX_EFORMAT, "ratio"},
        {"{\"a\":{\"bits\":4,\"gran\":\"tensor\",\"ratio\":1}}", QX_EFORMAT, "lo"},
        {"{\"a\":{\"bits\":4,\"gran\":\"tensor\",\"lo\":-1}}", QX_EFORMAT, "hi"},
        {"{\"a\":{\"bits\":4,\"gran\":\"tensor\",\"lo\":-1,\"hi\":2}}", QX_ERANGE, "symmetric"},
        {"{\"a\":{\"bits\":4,\"method\":\"manual\"}}", QX_EFORMAT, "ratio"},
        {"{\"a\":{\"bits\":4,\"act\":8}}", QX_EFORMAT, "act must be null or an object"},
        {"{\"a\":{\"bits\":4,\"act\":{\"bits\":9}}}", QX_ERANGE, "bits of act"},
        {"{\"a\":{\"bits\":4,\"act\":{\"bitz\":8}}}", QX_EFORMAT, "bits"},
        {"{\"a\":{\"bits\":4,\"act\":{\"bits\":8,\"gran\":\"token\"}}}", QX_ERANGE, "dynamic"},
        {"{\"a\":{\"bits\":4,\"act\":{\"bits\":8,\"method\":\"mze\"}}}", QX_ENAME, "mse"},
        {"{\"a\":{\"bits\":4,\"act\":{\"bits\":8,\"lo\":0}}}", QX_EFORMAT, "lo and hi"},
        {"{\"a\":{\"bits\":4,\"act\":{\"bits\":8,\"lo\":1,\"hi\":2}}}", QX_ERANGE, "contain 0"},
        {"{\"a\":{\"bits\":4,\"act\":{\"bits\":8,\"dynamic\":true,\"lo\":0,\"hi\":2}}}", QX_EFORMAT,
         "leave out"},
        {"{\"a\":{\"format\":\"fp16\",\"act\":{\"bits\":8}}}", QX_EUNSUPPORTED, "act needs"},
        {"{\"a\":{\"format\":\"nf4\",\"bits\":8}}", QX_ERANGE, "bits"},
        {"{\"a\":{\"format\":\"nf4\",\"sym\":false}}", QX_ERANGE, "symmetric"},
        {"{\"a\":{\"format\":\"nf4\",\"act\":{\"bits\":8}}}", QX_EUNSUPPORTED, "act needs"},
        {"{\"a\":{\"bits\":4,\"algo\":[\"gptq\"]}}", QX_EUNSUPPORTED, "gptq"},
        {"{\"a\":{\"bits\":4,\"algo\":[\"gptk\"]}}", QX_ENAME, "gptq"},
        {"{\"a\":{\"bits\":4,\"algo\":\"gptq\"}}", QX_EFORMAT, "list"},
        {"{\"a\":{\"bits\":4,\"origin\":\"god\"}}", QX_EFORMAT, "origin"},
        {"{\"ids\":{\"bits\":4}}", QX_EUNSUPPORTED, "ids"},
        {"{\"a\":4}", QX_EFORMAT, "object"},
        {"[]", QX_EFORMAT, "layers"},
    };
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    fixture_bits(s, "a", 5);
    char *before = fixture_recipe(s);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qx_error err = {.text = ""};
        enum qx_status status = load(s, bad[i].layers, &err);
        if (status != bad[i].status || !strstr(err.text, bad[i].says)) {
            fail_msg("%s: status %d, \"%s\"", bad[i].layers, status, err.text);
        }
        char *after = fixture_recipe(s);
        assert_string_equal(before, after);
        free(after);
    }
    struct qx_error err;
    fixture_write(fixture_path("r.json"), "{\"schema\":\"qexplore.recipe/2\",\"layers\":{}}");
    assert_int_equal(qx_session_load_recipe(s, fixture_path("r.json"), &err), QX_EFORMAT);
    fixture_write(fixture_path("r.json"),
                  "{\"schema\":\"qexplore.recipe/1\",\"layers\":{},\"layer\":{}}");
    assert_int_equal(qx_session_load_recipe(s, fixture_path("r.json"), &err), QX_EFORMAT);
    assert_non_null(strstr(err.text, "layers"));
    assert_int_equal(qx_session_load_recipe(s, fixture_path("none.json"), &err), QX_EIO);
    free(before);
    qx_session_close(&s);
}

static void equal_recipes_have_equal_hashes(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    char empty[17], four[17];
    strcpy(empty, qx_session_recipe_hash(s));
    assert_int_equal(strlen(empty), 16);
    fixture_bits(s, "a", 4);
    assert_int_equal(qx_session_run_resolve(s, NULL, NULL), QX_OK);
    strcpy(four, qx_session_recipe_hash(s));
    assert_string_not_equal(empty, four);
    fixture_bits(s, "a", 3);
    fixture_bits(s, "a", 4);
    assert_int_equal(qx_session_run_resolve(s, NULL, NULL), QX_OK);
    assert_string_equal(four, qx_session_recipe_hash(s));
    while (qx_session_undo(s)) {
    }
    assert_string_equal(empty, qx_session_recipe_hash(s));
    qx_session_close(&s);
}

int test_session_recipe(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_make_an_fp32_item_an_integer),
        cmocka_unit_test(a_table_brings_its_own_bits_and_symmetry),
        cmocka_unit_test(other_fields_do_not_touch_a_float_item),
        cmocka_unit_test(a_calibrated_range_is_chosen_anew_when_its_ground_changes),
        cmocka_unit_test(groups_store_their_scales_in_half),
        cmocka_unit_test(a_range_by_hand_makes_the_calibrator_manual),
        cmocka_unit_test(a_threshold_by_hand_is_carried_over),
        cmocka_unit_test(ranges_that_make_no_sense_are_refused),
        cmocka_unit_test(roles_are_guessed_from_names_and_shapes),
        cmocka_unit_test(names_and_aliases_find_items),
        cmocka_unit_test(a_recipe_reads_back_as_it_was_written),
        cmocka_unit_test(whatever_is_not_a_recipe_is_refused_with_a_reason),
        cmocka_unit_test(equal_recipes_have_equal_hashes),
    };
    return cmocka_run_group_tests_name("session recipe", tests, fixture_setup, fixture_teardown);
}

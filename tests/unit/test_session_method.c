/* Methods in a session: run in the background, kept by undo, recipes and the cache. */
#include "qx/method.h"
#include "test_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *folder;

static int setup(void **state)
{
    const int st = fixture_setup(state);
    folder = fixture_folder();
    return st;
}

static struct qx_session *open_kept(const char *state, const char *cache)
{
    const struct qx_session_options o = {
        .cache_dir = cache, .state_dir = state, .threads = 1, .mem_bytes = 1 << 28};
    struct qx_session *s;
    struct qx_error err = {0};
    if (qx_session_open(folder, &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static void algo_set(struct qx_session *s, const char *name, const char *algo)
{
    const int64_t item = fixture_item(s, name);
    struct qx_patch patch = {.fields = QX_PATCH_ALGO};
    strcpy(patch.value.algo, algo);
    struct qx_error err = {0};
    if (qx_session_edit(s, &item, 1, &patch, false, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
}

static const struct qx_overlay *overlay_of(struct qx_session *s, const char *name)
{
    return qx_setting_overlay(qx_session_setting(s, fixture_item(s, name)));
}

static void overlay_follows_the_recipe(void **state)
{
    (void)state;
    struct qx_session *s = open_kept(NULL, NULL);
    fixture_bits(s, "fc1.weight", 3);
    fixture_settle(s);
    const struct qx_setting rtn = *qx_session_setting(s, fixture_item(s, "fc1.weight"));
    algo_set(s, "fc1.weight", "gptq");
    assert_true(qx_setting_awaits(qx_session_setting(s, fixture_item(s, "fc1.weight"))));
    fixture_settle(s);
    const struct qx_overlay *o = overlay_of(s, "fc1.weight");
    assert_non_null(o);
    assert_true(o->after <= o->before);
    assert_true(qx_session_undo(s));
    assert_null(overlay_of(s, "fc1.weight"));
    assert_true(qx_setting_equal(&rtn, qx_session_setting(s, fixture_item(s, "fc1.weight"))));
    assert_true(qx_session_redo(s)); /* at once: nothing is computed again */
    assert_ptr_equal(overlay_of(s, "fc1.weight"), o);
    fixture_bits(s, "fc1.weight", 4);
    assert_null(overlay_of(s, "fc1.weight"));
    fixture_settle(s);
    assert_non_null(overlay_of(s, "fc1.weight"));
    assert_ptr_not_equal(overlay_of(s, "fc1.weight"), o);
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    qx_session_close(&s);
}

/* What auto keeps is judged by rows that it was not made from. */
static void auto_says_why(void **state)
{
    (void)state;
    struct qx_session *s = open_kept(NULL, NULL);
    fixture_bits(s, "fc1.weight", 3);
    algo_set(s, "fc1.weight", "auto");
    fixture_settle(s);
    const struct qx_overlay *o = overlay_of(s, "fc1.weight");
    assert_non_null(o);
    assert_non_null(strstr(o->note, "% of rounding's error, on "));
    assert_non_null(strstr(o->note, "rows held out"));
    assert_true(o->after <= o->before);
    qx_session_close(&s);
}

static void overlay_survives_a_restart(void **state)
{
    const char *kept = fixture_fresh("method-state"), *cache = fixture_fresh("method-cache");
    (void)state;
    struct qx_session *s = open_kept(kept, cache);
    fixture_bits(s, "fc1.weight", 3);
    fixture_bits(s, "fc2.weight", 3);
    algo_set(s, "fc2.weight", "gptq");
    fixture_settle(s);
    const uint64_t key = overlay_of(s, "fc2.weight")->key;
    fixture_bits(s, "fc1.weight", 8); /* its inputs are others now: the choice stays */
    fixture_settle(s);
    assert_true(overlay_of(s, "fc2.weight")->key == key);
    const char *hash = qx_session_recipe_hash(s);
    char before[17];
    strcpy(before, hash);
    qx_session_close(&s);
    s = open_kept(kept, cache);
    fixture_settle(s);
    assert_non_null(overlay_of(s, "fc2.weight"));
    assert_true(overlay_of(s, "fc2.weight")->key == key);
    assert_string_equal(qx_session_recipe_hash(s), before);
    qx_session_close(&s);
}

static void act_bits_set(struct qx_session *s, const char *name, int bits)
{
    const int64_t item = fixture_item(s, name);
    struct qx_patch patch = {.fields = QX_PATCH_ACT_BITS, .value = qx_setting_int(8)};
    patch.value.act.bits = bits;
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, NULL), QX_OK);
}

/* What a session that edits comes to is what one that is given the recipe comes to. */
static void assert_fresh(struct qx_session *s, const char *name)
{
    const char *path = fixture_path("method-recipe.json");
    struct qx_session *fresh = open_kept(NULL, NULL);
    assert_int_equal(qx_session_save_recipe(s, path, NULL), QX_OK);
    assert_int_equal(qx_session_load_recipe(fresh, path, NULL), QX_OK);
    fixture_settle(fresh);
    const struct qx_overlay *o = overlay_of(s, name), *p = overlay_of(fresh, name);
    assert_true(o && p);
    assert_true(o->in_range.lo == p->in_range.lo && o->in_range.hi == p->in_range.hi);
    assert_string_equal(o->note, p->note);
    assert_memory_equal(o->codes, p->codes, (size_t)(o->channels.count * o->channels.inner));
    qx_session_close(&fresh);
}

/* Factors on inputs need a range of their own as soon as these are rounded to a fixed one. */
static void factors_follow_inputs_that_become_static(void **state)
{
    (void)state;
    struct qx_session *s = open_kept(NULL, NULL);
    fixture_bits(s, "fc1.weight", 8);
    fixture_bits(s, "fc2.weight", 8);
    algo_set(s, "fc1.weight", "cle");
    algo_set(s, "fc2.weight", "cle");
    fixture_settle(s);
    const struct qx_overlay *o = overlay_of(s, "fc2.weight");
    assert_true(o && o->in_scale && !o->has_in_range);
    act_bits_set(s, "fc2.weight", 8);
    assert_null(overlay_of(s, "fc2.weight"));
    fixture_settle(s);
    assert_true(overlay_of(s, "fc2.weight")->in_range.hi > 0);
    assert_fresh(s, "fc2.weight");
    assert_true(qx_session_undo(s)); /* float32 again: what was made for it serves */
    assert_ptr_equal(overlay_of(s, "fc2.weight"), o);
    qx_session_close(&s);
}

/* Its search weighs the error of the inputs at their bits. */
static void smoothquant_follows_the_bits_of_inputs(void **state)
{
    (void)state;
    struct qx_session *s = open_kept(NULL, NULL);
    fixture_bits(s, "fc2.weight", 8);
    act_bits_set(s, "fc2.weight", 8);
    algo_set(s, "fc2.weight", "smoothquant");
    fixture_settle(s);
    const struct qx_overlay *o = overlay_of(s, "fc2.weight");
    assert_non_null(o);
    act_bits_set(s, "fc2.weight", 4);
    assert_null(overlay_of(s, "fc2.weight"));
    fixture_settle(s);
    assert_ptr_not_equal(overlay_of(s, "fc2.weight"), o);
    assert_fresh(s, "fc2.weight");
    algo_set(s, "fc2.weight", "gptq"); /* looks at weights and inputs alone */
    fixture_settle(s);
    const struct qx_overlay *gptq = overlay_of(s, "fc2.weight");
    act_bits_set(s, "fc2.weight", 8);
    assert_true(gptq && overlay_of(s, "fc2.weight") == gptq);
    qx_session_close(&s);
}

static void recipe_is_refused_with_the_reason(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    fixture_bits(s, "a.weight", 4);
    const int64_t item = fixture_item(s, "a.weight");
    struct qx_patch patch = {.fields = QX_PATCH_ALGO, .value = {.algo = "gptq"}};
    struct qx_error err = {0};
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "cannot take gptq"));
    qx_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlay_follows_the_recipe),
        cmocka_unit_test(auto_says_why),
        cmocka_unit_test(overlay_survives_a_restart),
        cmocka_unit_test(factors_follow_inputs_that_become_static),
        cmocka_unit_test(smoothquant_follows_the_bits_of_inputs),
        cmocka_unit_test(recipe_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, setup, fixture_teardown);
}

/* Sentences: answered by FP32 and the recipe, again after an edit, the same as the whole network says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fs.h"
#include "qx/try.h"
#include "test_session.h"

static struct qx_session *session_open(bool is_batch)
{
    char path[1024];
    struct qx_session *s = NULL;
    struct qx_error err;
    const char *root = getenv("QX_SHARED");
    snprintf(path, sizeof path, "%s/bert-smsa", root ? root : QX_SOURCE_ROOT "/../shared/data");
    if (!qx_fs_exists(path)) {
        print_message("[  SKIPPED ] no %s\n", path);
        return NULL;
    }
    struct qx_session_options o = {.threads = 1, .batch = is_batch};
    if (qx_session_open(path, &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static void edit_all(struct qx_session *s, int bits)
{
    struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = bits}};
    struct qx_error err;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        if (qx_session_item(s, i)->role == QX_ROLE_LINEAR) {
            assert_int_equal(qx_session_edit(s, &i, 1, &p, false, &err), QX_OK);
        }
    }
}

static void sentences_are_answered_anew_after_edits(void **state)
{
    struct qx_session *s = session_open(false);
    struct qx_try t;
    struct qx_error err;
    (void)state;

    if (!s) {
        skip();
    }
    qx_session_set_auto_measure(s, false);
    assert_int_equal(qx_session_try(s, "  tidak enak", &err), QX_OK);
    assert_int_equal(qx_session_try(s, "makanannya enak sekali", &err), QX_OK);
    assert_int_equal(qx_session_try(s, "tidak enak", &err), QX_OK); /* the same: newest again */
    assert_int_equal(qx_session_n_tries(s), 2);
    qx_session_settle(s, 60000);
    assert_true(qx_session_try_at(s, 0, &t));
    assert_string_equal(t.text, "tidak enak");
    assert_int_equal(t.n_tokens, 4);
    assert_false(t.is_cut);
    const struct qx_try_answer fp32 = t.answer[QX_WHICH_FP32];
    assert_true(fp32.is_known && t.answer[QX_WHICH_B].is_known);
    assert_false(t.answer[QX_WHICH_A].is_there);
    assert_memory_equal(&fp32, &t.answer[QX_WHICH_B], sizeof fp32);
    assert_true(fabsf(fp32.p[0] + fp32.p[1] + fp32.p[2] - 1.0f) < 1e-5f);
    assert_true(fp32.margin > 0.0f);

    qx_session_snapshot(s);
    edit_all(s, 2);
    assert_true(qx_session_try_at(s, 0, &t));
    qx_session_settle(s, 60000);
    assert_true(qx_session_try_at(s, 0, &t));
    assert_true(t.answer[QX_WHICH_B].is_known && t.answer[QX_WHICH_A].is_known);
    assert_memory_equal(&t.answer[QX_WHICH_FP32], &fp32, sizeof fp32);
    assert_memory_equal(&t.answer[QX_WHICH_A], &fp32, sizeof fp32);
    assert_true(t.answer[QX_WHICH_B].margin != fp32.margin);
    qx_session_try_forget(s, t.serial);
    assert_int_equal(qx_session_n_tries(s), 1);
    qx_session_close(&s);
}

static void batch_answers_are_those_of_the_screen(void **state)
{
    struct qx_session *s = session_open(true);
    struct qx_try t;
    struct qx_error err;
    char text[2048] = "";
    (void)state;

    if (!s) {
        skip();
    }
    for (int i = 0; i < 60; i++) {
        strcat(text, "makan ");
    }
    edit_all(s, 4);
    assert_int_equal(qx_session_try(s, text, &err), QX_OK);
    assert_int_equal(qx_session_run_tries(s, NULL, &err), QX_OK);
    assert_true(qx_session_try_at(s, 0, &t));
    assert_true(t.is_cut);
    assert_int_equal(t.n_tokens, 48);
    assert_true(t.answer[QX_WHICH_FP32].is_known && t.answer[QX_WHICH_B].is_known);
    assert_int_equal(qx_session_try(s, "\xFF", &err), QX_EDATA);
    assert_int_equal(qx_session_try(s, "  ", &err), QX_EDATA);
    for (int i = 0; i < QX_TRY_SENTENCES + 3; i++) {
        snprintf(text, sizeof text, "kalimat %d", i);
        assert_int_equal(qx_session_try(s, text, &err), QX_OK);
    }
    assert_int_equal(qx_session_n_tries(s), QX_TRY_SENTENCES);
    assert_true(qx_session_try_at(s, 0, &t));
    assert_string_equal(t.text, "kalimat 18");
    qx_session_close(&s);
}

static void networks_of_images_try_no_sentence(void **state)
{
    struct qx_session *s = NULL;
    struct qx_session_options o = {.threads = 1, .batch = true};
    struct qx_error err;
    (void)state;

    assert_int_equal(qx_session_open(QX_SOURCE_ROOT "/samples/fashion-cnn", &o, &s, &err), QX_OK);
    assert_int_equal(qx_session_try(s, "hello", &err), QX_EUNSUPPORTED);
    assert_int_equal(qx_session_n_tries(s), 0);
    qx_session_close(&s);
}

/* ---- a language model goes on ---- */

static struct qx_session *story_open(bool is_batch)
{
    struct qx_session *s = NULL;
    struct qx_session_options o = {.threads = 2, .batch = is_batch};
    struct qx_error err;
    if (qx_session_open(QX_SOURCE_ROOT "/samples/llama-tiny", &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static void check_answer(const struct qx_try_answer *a, const struct qx_try_answer *fp32)
{
    assert_true(a->is_known && a->text);
    assert_int_equal(a->n_new, QX_TRY_TOKENS);
    assert_true(a->n_same <= a->n_new && a->same_bytes <= strlen(a->text));
    assert_memory_equal(a->text, fp32->text, a->same_bytes);
    assert_true(a->n_same < a->n_new || strcmp(a->text, fp32->text) == 0);
}

static void texts_are_continued_anew_after_edits(void **state)
{
    struct qx_session *s = story_open(false);
    struct qx_try t;
    struct qx_error err;
    (void)state;
    qx_session_set_auto_measure(s, false);
    assert_int_equal(qx_session_try(s, "The whale", &err), QX_OK);
    qx_session_settle(s, 60000);
    assert_true(qx_session_try_at(s, 0, &t));
    check_answer(&t.answer[QX_WHICH_FP32], &t.answer[QX_WHICH_FP32]);
    check_answer(&t.answer[QX_WHICH_B], &t.answer[QX_WHICH_FP32]);
    assert_int_equal(t.answer[QX_WHICH_B].n_same, QX_TRY_TOKENS); /* nothing is quantized */
    char *fp32 = strdup(t.answer[QX_WHICH_FP32].text);

    qx_session_snapshot(s);
    edit_all(s, 2);
    qx_session_settle(s, 60000);
    assert_true(qx_session_try_at(s, 0, &t));
    assert_string_equal(t.answer[QX_WHICH_FP32].text, fp32);
    assert_string_equal(t.answer[QX_WHICH_A].text, fp32);
    check_answer(&t.answer[QX_WHICH_B], &t.answer[QX_WHICH_FP32]);
    assert_true(t.answer[QX_WHICH_B].n_same < 5); /* two bits leave little */
    bool is_listed = false;
    for (int i = 0; i < qx_session_n_jobs(s); i++) {
        struct qx_job_info job;
        is_listed |= qx_session_job(s, i, &job) && strstr(job.title, "goes on with the text");
    }
    assert_true(is_listed);
    free(fp32);
    qx_session_close(&s);
}

static void a_continued_text_has_its_limits(void **state)
{
    struct qx_session *s = story_open(true);
    struct qx_try_options o = {.n_tokens = 500, .sampling = {0.8f, 0.9f, 5}};
    struct qx_try t;
    struct qx_error err;
    (void)state;
    assert_int_equal(qx_session_try_options(s, &o, &err), QX_OK);
    assert_int_equal(qx_session_try(s, "The whale", &err), QX_OK);
    assert_int_equal(qx_session_run_tries(s, NULL, &err), QX_OK);
    assert_true(qx_session_try_at(s, 0, &t));
    const struct qx_try_answer *a = &t.answer[QX_WHICH_FP32];
    assert_true(a->is_ended || t.n_tokens + a->n_new == 128); /* to the end of the context */
    assert_string_equal(t.answer[QX_WHICH_B].text, a->text);  /* the same seed */
    char *before = strdup(a->text);
    o.sampling.seed = 6;
    assert_int_equal(qx_session_try_options(s, &o, &err), QX_OK);
    assert_int_equal(qx_session_run_tries(s, NULL, &err), QX_OK);
    assert_true(qx_session_try_at(s, 0, &t));
    assert_string_not_equal(t.answer[QX_WHICH_FP32].text, before);
    free(before);
    o.n_tokens = 0;
    assert_int_equal(qx_session_try_options(s, &o, &err), QX_ERANGE);
    o = (struct qx_try_options){.n_tokens = 1, .sampling = {0.0f, 2.0f, 0}};
    assert_int_equal(qx_session_try_options(s, &o, &err), QX_ERANGE);

    char text[2048] = "";
    for (int i = 0; i < 150; i++) {
        strcat(text, "the sea ");
    }
    assert_int_equal(qx_session_try(s, text, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "takes 128"));
    struct qx_ctl ctl = {0};
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_session_try(s, "Another", &err), QX_OK);
    assert_int_equal(qx_session_run_tries(s, &ctl, &err), QX_ECANCELLED);
    qx_session_close(&s);
}

int test_session_try(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_are_answered_anew_after_edits),
        cmocka_unit_test(batch_answers_are_those_of_the_screen),
        cmocka_unit_test(networks_of_images_try_no_sentence),
        cmocka_unit_test(texts_are_continued_anew_after_edits),
        cmocka_unit_test(a_continued_text_has_its_limits),
    };
    return cmocka_run_group_tests_name("try", tests, NULL, NULL);
}

/* GGUF: every type against values decoded by tests/golden/gguf/make_gguf.py, metadata, and every rule broken
 * once. The broken files are the seeds of the fuzz target. */
#include "test_tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/block.h"
#include "qx/hist.h"

static const char *golden(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/gguf/%s", QX_SOURCE_ROOT, name);
    return path;
}

static const char *seed(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/gguf/%s", QX_SOURCE_ROOT, name);
    return path;
}

static void every_type_has_the_values_of_the_script(void **state)
{
    (void)state;
    struct qx_model *m = open_ok(golden("types.gguf")),
                    *want = open_ok(golden("types.safetensors"));
    int n_decoded = 0, n_readable = 0;
    assert_string_equal(qx_model_format(m), "GGUF");
    for (int64_t i = 0; i < qx_model_n_tensors(want); i++) {
        const struct qx_tensor *w = qx_model_tensor(want, i);
        const struct qx_tensor *t = qx_model_tensor(m, qx_model_find(m, w->name));
        float x[512], y[512];
        assert_non_null(t);
        assert_true(t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 256);
        assert_string_equal(qx_dtype_get(t->dtype)->name, w->name + 2);
        assert_int_equal(qx_dtype_bytes(t->dtype, t->numel), t->bytes);
        assert_int_equal(qx_tensor_read(w, 0, 512, x, NULL), QX_OK);
        assert_int_equal(qx_tensor_read(t, 0, 512, y, NULL), QX_OK);
        for (int k = 0; k < 512; k++) {
            if (x[k] != y[k]) {
                fail_msg("%s[%d] is %.9g, expected %.9g", w->name, k, (double)y[k], (double)x[k]);
            }
        }
        for (int64_t first = 0; first < 512; first += 37) { /* ranges that cut blocks */
            int64_t n = 512 - first < 101 ? 512 - first : 101;
            assert_int_equal(qx_tensor_read(t, first, n, y, NULL), QX_OK);
            assert_memory_equal(x + first, y, (size_t)n * sizeof *x);
        }
        n_decoded += qx_dtype_get(t->dtype)->block > 0;
    }
    for (int d = 0; d < QX_DTYPE_COUNT; d++) {
        const struct qx_dtype_info *info = qx_dtype_get((enum qx_dtype)d);
        n_readable += info->block > 0 && info->is_readable;
    }
    assert_int_equal(n_decoded, n_readable);
    const struct qx_tensor *t = qx_model_tensor(m, qx_model_find(m, "t.IQ2_XXS"));
    float x;
    assert_non_null(t->reason);
    assert_int_equal(qx_tensor_read(t, 0, 1, &x, NULL), QX_EUNSUPPORTED);
    qx_model_close(&m);
    qx_model_close(&want);
}

/* Runs of a sample begin and end within blocks. */
static void histograms_of_blocks_are_those_of_their_values(void **state)
{
    (void)state;
    struct qx_model *m = open_ok(golden("types.gguf")),
                    *want = open_ok(golden("types.safetensors"));
    static const char *const names[] = {"t.Q4_K", "t.Q8_0", "t.NVFP4"};
    for (size_t i = 0; i < 3; i++) {
        const struct qx_tensor *t = qx_model_tensor(m, qx_model_find(m, names[i]));
        const struct qx_tensor *w = qx_model_tensor(want, qx_model_find(want, names[i]));
        for (int gran = QX_GRAN_TENSOR; gran <= QX_GRAN_GROUP; gran++) {
            struct qx_hist_spec spec = {(enum qx_gran)gran, 48, true, qx_channels_of(t, 0)};
            for (int64_t n = 0; n <= 300; n += 300) {
                struct qx_hist *a = NULL, *b = NULL;
                assert_int_equal(qx_hist_build(t, &spec, n, NULL, NULL, &a, NULL), QX_OK);
                assert_int_equal(qx_hist_build(w, &spec, n, NULL, NULL, &b, NULL), QX_OK);
                const struct qx_stats *x = qx_hist_stats(a), *y = qx_hist_stats(b);
                assert_true(x->n == y->n && x->min == y->min && x->max == y->max);
                assert_true(x->mean == y->mean && x->std == y->std && x->n_zero == y->n_zero);
                qx_hist_unref(a);
                qx_hist_unref(b);
            }
        }
    }
    qx_model_close(&m);
    qx_model_close(&want);
}

static void the_dtype_table_agrees_with_the_layouts(void **state)
{
    (void)state;
    static const struct qx_block *const rows[] = {
        &qx_block_q4_0,   &qx_block_q4_1,  &qx_block_q5_0,  &qx_block_q5_1,  &qx_block_q8_0,
        &qx_block_q8_1,   &qx_block_q2_k,  &qx_block_q3_k,  &qx_block_q4_k,  &qx_block_q5_k,
        &qx_block_q6_k,   &qx_block_q8_k,  &qx_block_mxfp4, &qx_block_nvfp4, &qx_block_iq4_nl,
        &qx_block_iq4_xs, &qx_block_tq1_0, &qx_block_tq2_0, &qx_block_q1_0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum qx_dtype dtype;
        assert_true(qx_dtype_find(rows[i]->name, &dtype));
        const struct qx_dtype_info *info = qx_dtype_get(dtype);
        assert_true(info->block == rows[i]->n && info->block_bytes == rows[i]->bytes);
        assert_true(rows[i]->n <= QX_BLOCK_MOST && rows[i]->n_sub <= QX_BLOCK_PARTS);
    }
}

static void metadata_and_arrays_are_there(void **state)
{
    (void)state;
    struct qx_model *m = open_ok(golden("decoder_mistral.gguf"));
    struct qx_model_array a;
    const char *text;
    size_t len;
    double x;
    assert_string_equal(qx_model_metadata(m, "general.architecture"), "llama");
    assert_string_equal(qx_model_metadata(m, "llama.embedding_length"), "32");
    assert_string_equal(qx_model_metadata(m, "llama.rope.scaling.factor"), "2");
    assert_false(qx_model_array(m, "tokenizer.ggml.tokens", &a));
    qx_model_close(&m);
    m = open_ok(seed("arrays"));
    assert_true(qx_model_array(m, "a", &a) && a.n == 2 && a.is_text);
    assert_false(qx_model_array_number(&a, &x));
    assert_true(qx_model_array_text(&a, &text, &len) && len == 1 && *text == 'x');
    assert_true(qx_model_array_text(&a, &text, &len) && len == 0);
    assert_false(qx_model_array_text(&a, &text, &len));
    assert_true(qx_model_array(m, "tokenizer.ggml.scores", &a) && a.n == 2 && !a.is_text);
    assert_true(qx_model_array_number(&a, &x) && x == 1.0);
    assert_true(qx_model_array_number(&a, &x) && x == 2.0);
    assert_false(qx_model_array_number(&a, &x));
    qx_model_close(&m);
    m = open_ok(seed("every_number"));
    static const char *const values[] = {"255",        "-1", "65535", "-1",
                                         "4294967295", "-1", NULL,    "true"};
    for (int i = 0; i < 8; i++) {
        char key[4];
        snprintf(key, sizeof key, "%d", i);
        if (values[i]) {
            assert_string_equal(qx_model_metadata(m, key), values[i]);
        }
    }
    assert_string_equal(qx_model_metadata(m, "10"), "18446744073709551615");
    assert_string_equal(qx_model_metadata(m, "11"), "-1");
    qx_model_close(&m);
}

static void legal_files_open(void **state)
{
    (void)state;
    struct qx_model *m = open_ok(seed("good"));
    const struct qx_tensor *a = qx_model_tensor(m, 0), *b = qx_model_tensor(m, 1);
    assert_true(a->rank == 2 && a->shape[0] == 2 && a->shape[1] == 4); /* outermost first */
    assert_true(b->dtype == QX_DTYPE_Q8_0 && b->offset == a->offset + 32);
    qx_model_close(&m);
    m = open_ok(seed("version2"));
    assert_int_equal(qx_model_n_tensors(m), 1);
    qx_model_close(&m);
    m = open_ok(seed("empty"));
    assert_int_equal(qx_model_n_tensors(m), 0);
    qx_model_close(&m);
}

static const struct {
    const char *file;
    enum qx_status status;
    const char *words;
} broken[] = {
    {"magic", QX_EFORMAT, "partial download"},
    {"version1", QX_EUNSUPPORTED, "GGUF version 1"},
    {"big_endian", QX_EUNSUPPORTED, "big-endian"},
    {"zeros", QX_EUNSUPPORTED, "big-endian"},
    {"ones", QX_EFORMAT, "do not fit"},
    {"counts_huge", QX_EFORMAT, "do not fit"},
    {"counts_negative", QX_EFORMAT, "do not fit"},
    {"array_of_arrays", QX_EFORMAT, "of type 9"},
    {"array_huge", QX_EFORMAT, "past the end of the file"},
    {"string_huge", QX_EFORMAT, "partial download"},
    {"key_twice", QX_EFORMAT, "comes twice in the metadata"},
    {"key_empty", QX_EFORMAT, "0 bytes"},
    {"name_twice", QX_EFORMAT, "the name comes twice"},
    {"name_long", QX_EFORMAT, "64 bytes"},
    {"overlap", QX_EFORMAT, "overlap"},
    {"past_end", QX_EFORMAT, "past the end of the file"},
    {"size_overflow", QX_EFORMAT, "overflows"},
    {"half_block", QX_EFORMAT, "do not fill blocks of 32"},
    {"type_unknown", QX_EFORMAT, "type 99"},
    {"five_axes", QX_EFORMAT, "5 axes"},
    {"alignment_odd", QX_EFORMAT, "power of two"},
    {"alignment_huge", QX_EFORMAT, "power of two"},
};

static void broken_rules_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        enum qx_status st = qx_model_open(seed(broken[i].file), &m, &err);
        if (st != broken[i].status || !strstr(err.text, broken[i].words) || err.offset < 0) {
            fail_msg("%s: status %d: %s", broken[i].file, (int)st, err.text);
        }
    }
}

/* Every prefix of a good file is refused, and never read past its end (sanitizers watch). */
static void every_truncation_is_refused(void **state)
{
    (void)state;
    uint8_t whole[512];
    FILE *f = fopen(seed("good"), "rb");
    assert_non_null(f);
    size_t n = fread(whole, 1, sizeof whole, f);
    fclose(f);
    for (size_t k = 4; k < n; k++) {
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        scratch_write("cut.gguf", whole, k);
        assert_int_equal(qx_model_open(scratch_path("cut.gguf"), &m, &err), QX_EFORMAT);
    }
}

static void a_folder_with_one_file_opens(void **state)
{
    (void)state;
    uint8_t whole[512];
    FILE *f = fopen(seed("good"), "rb");
    assert_non_null(f);
    size_t n = fread(whole, 1, sizeof whole, f);
    fclose(f);
    scratch_write("one-gguf/w.gguf", whole, n);
    scratch_write("one-gguf/eval.safetensors", "\2\0\0\0\0\0\0\0{}", 10);
    struct qx_model *m = open_ok(scratch_path("one-gguf"));
    assert_int_equal(qx_model_n_tensors(m), 2);
    qx_model_close(&m);
}

int test_tensor_gguf(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_the_values_of_the_script),
        cmocka_unit_test(histograms_of_blocks_are_those_of_their_values),
        cmocka_unit_test(the_dtype_table_agrees_with_the_layouts),
        cmocka_unit_test(metadata_and_arrays_are_there),
        cmocka_unit_test(legal_files_open),
        cmocka_unit_test(broken_rules_are_named),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_folder_with_one_file_opens),
    };
    return cmocka_run_group_tests_name("tensor: GGUF", tests, NULL, NULL);
}

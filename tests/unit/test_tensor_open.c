/* Files, folders and sharded sets: what opens, in which order, under which names. */
#include "test_tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void tensors_come_in_natural_order_and_are_found(void **state)
{
    (void)state;
    static const char *const names[] = {"layer.10.w", "layer.2.w",  "layer.1.w",
                                        "emb",        "layer.01.w", "head"};
    static const char *const sorted[] = {"emb",       "head",      "layer.01.w",
                                         "layer.1.w", "layer.2.w", "layer.10.w"};
    char header[1024] = "{\"__metadata__\":{\"format\":\"pt\",\"name\":\"n\"}";
    for (int i = 0; i < 6; i++) {
        size_t n = strlen(header);
        snprintf(header + n, sizeof header - n,
                 ",\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", names[i], i,
                 i + 1);
    }
    strcat(header, "}");
    scratch_safetensors("order/model.safetensors", header, -1, "\0\1\2\3\4\5", 6);
    struct qx_model *m = open_ok(scratch_path("order"));
    assert_int_equal(qx_model_n_tensors(m), 6);
    for (int i = 0; i < 6; i++) {
        const struct qx_tensor *t = qx_model_tensor(m, i);
        assert_string_equal(t->name, sorted[i]);
        assert_int_equal(qx_model_find(m, sorted[i]), i);
        assert_string_equal(t->name, names[*t->data]); /* its own byte */
    }
    assert_int_equal(qx_model_find(m, "layer"), -1);
    assert_int_equal(qx_model_find(m, ""), -1);
    assert_int_equal(qx_model_find(m, "zzz"), -1);
    assert_null(qx_model_tensor(m, 6));
    assert_null(qx_model_tensor(m, -1));
    assert_string_equal(qx_model_metadata(m, "name"), "n");
    assert_null(qx_model_metadata(m, "absent"));
    assert_string_equal(qx_model_format(m), "safetensors");
    assert_int_equal(strlen(qx_model_id(m)), 16);
    qx_model_close(&m);
    assert_null(m);
    qx_model_close(&m);
}

static const char tiny[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";

static void names_and_folders_follow_the_path(void **state)
{
    (void)state;
    static const struct {
        const char *open, *name, *folder;
    } rows[] = {
        {"bert", "bert", "bert"},
        {"bert/", "bert", "bert/"},
        {"bert/model.safetensors", "bert", "bert/"},
        {"bert/other.bin", "other.bin", "bert/"},
        {"single", "single", "single"},
    };
    scratch_safetensors("bert/model.safetensors", tiny, -1, "\0\0\0\0", 4);
    scratch_safetensors("bert/other.bin", tiny, -1, "\0\0\0\0", 4); /* by content, not by name */
    scratch_safetensors("single/weights.safetensors", tiny, -1, "\0\0\0\0", 4);
    scratch_safetensors("single/eval.safetensors", "{}", -1, NULL, 0); /* data: not the weights */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct qx_model *m = open_ok(scratch_path(rows[i].open));
        assert_string_equal(qx_model_name(m), rows[i].name);
        assert_string_equal(qx_model_folder(m), scratch_path(rows[i].folder));
        assert_string_equal(qx_model_path(m), scratch_path(rows[i].open));
        assert_int_equal(qx_model_n_files(m), 1);
        assert_int_equal(qx_model_n_tensors(m), 1);
        qx_model_close(&m);
    }
}

/* ---- sharded sets ---- */

static void write_shard(const char *file, const char *first, const char *second)
{
    char header[512];
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
             "\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
             first, second);
    scratch_safetensors(file, header, -1, "\0\0\x80\x3f\0\0\0\x40", 8);
}

static void write_text(const char *file, const char *text)
{
    scratch_write(file, text, strlen(text));
}

#define SHARD1 "model-00001-of-00002.safetensors"
#define SHARD2 "model-00002-of-00002.safetensors"

static void sharded_sets_open_whole(void **state)
{
    (void)state;
    write_shard("set/" SHARD1, "w.1", "w.10");
    write_shard("set/" SHARD2, "w.2", "w.3");
    write_text("set/model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":16},\"weight_map\":{\"w.1\":\"" SHARD1
               "\",\"w.10\":\"" SHARD1 "\",\"w.2\":\"" SHARD2 "\",\"w.3\":\"" SHARD2 "\"}}");
    static const char *const paths[] = {"set", "set/model.safetensors.index.json"};
    char id[17] = "";
    for (int i = 0; i < 2; i++) {
        struct qx_model *m = open_ok(scratch_path(paths[i]));
        assert_int_equal(qx_model_n_tensors(m), 4);
        assert_int_equal(qx_model_n_files(m), 2);
        assert_string_equal(qx_model_tensor(m, 3)->name, "w.10");
        assert_string_equal(qx_model_name(m), "set");
        assert_null(qx_model_note(m));
        const struct qx_tensor *t = qx_model_tensor(m, qx_model_find(m, "w.3"));
        float x;
        assert_int_equal(qx_tensor_read(t, 0, 1, &x, NULL), QX_OK);
        assert_true(x == 2.0f);
        assert_non_null(strstr(qx_model_file(m, t->file), SHARD2));
        assert_true(i == 0 || strcmp(id, qx_model_id(m)) == 0);
        snprintf(id, sizeof id, "%s", qx_model_id(m));
        qx_model_close(&m);
    }
}

static void one_shard_alone_names_the_set(void **state)
{
    (void)state;
    struct qx_model *m = NULL;
    struct qx_error err = {0};
    assert_int_equal(qx_model_open(scratch_path("set/" SHARD1), &m, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "part 1 of 2"));
    assert_non_null(strstr(err.text, "set/model.safetensors.index.json"));
    write_shard("lone/" SHARD2, "w.2", "w.3");
    m = open_ok(scratch_path("lone/" SHARD2));
    assert_non_null(strstr(qx_model_note(m), "part 2 of 2"));
    qx_model_close(&m);
}

static void broken_indexes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum qx_status status;
        const char *words;
    } rows[] = {
        {"{}", QX_EFORMAT, "weight_map"},
        {"{\"weight_map\":[]}", QX_EFORMAT, "weight_map"},
        {"{\"weight_map\":{\"w.1\":5}}", QX_EFORMAT, "must be a string"},
        {"{\"weight_map\":{\"w.1\":\"../up.safetensors\"}}", QX_EFORMAT, "must not"},
        {"{\"weight_map\":{\"w.1\":\"/etc/passwd\"}}", QX_EFORMAT, "must not"},
        {"{\"weight_map\":{\"w.1\":\"a\\\\b\"}}", QX_EFORMAT, "must not"},
        {"{\"weight_map\":{\"w.1\":\"..\"}}", QX_EFORMAT, "must not"},
        {"{\"weight_map\":{\"w.1\":\"\"}}", QX_EFORMAT, "must not"},
        {"{\"weight_map\":{\"w.1\":\"model-00009-of-00009.safetensors\"}}", QX_EIO, "is missing"},
        {"{\"weight_map\":{\"w.9\":\"" SHARD1 "\"}}", QX_EFORMAT, "does not hold it"},
        {"{\"weight_map\":{\"w.1\":\"" SHARD1 "\",\"w.1\":\"" SHARD1 "\"}}", QX_EFORMAT, "twice"},
        {"{\"weight_map\":", QX_EFORMAT, "ends too early"},
    };
    write_shard("broken/" SHARD1, "w.1", "w.10");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        write_text("broken/model.safetensors.index.json", rows[i].json);
        enum qx_status st = qx_model_open(scratch_path("broken"), &m, &err);
        if (st != rows[i].status || !strstr(err.text, rows[i].words)) {
            fail_msg("%s: status %d: %s", rows[i].json, (int)st, err.text);
        }
    }
    write_text("broken/model.safetensors.index.json", "{\"weight_map\":{\"w.1\":\"" SHARD1 "\"}}");
    struct qx_model *m = open_ok(scratch_path("broken"));
    assert_int_equal(qx_model_n_tensors(m), 1); /* w.10 is not where the index says */
    assert_non_null(strstr(qx_model_note(m), "1 tensors"));
    qx_model_close(&m);
}

static void real_checkpoints_open(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int n_tensors;
        int64_t params;
    } rows[] = {{"mnist-cnn", 20, 376938}, {"stories260k", 47, 260032}, {"bert-smsa", 41, 1248899}};
    const char *shared = getenv("QX_SHARED");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", shared ? shared : QX_SOURCE_ROOT "/../shared/data",
                 rows[i].name);
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        if (qx_model_open(path, &m, &err) == QX_EIO) {
            print_message("skipped: no shared data (set QX_SHARED)\n");
            skip();
        }
        assert_non_null(m);
        assert_int_equal(qx_model_n_tensors(m), rows[i].n_tensors);
        assert_int_equal(qx_model_params(m), rows[i].params);
        qx_model_close(&m);
    }
}

int test_tensor_open(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_come_in_natural_order_and_are_found),
        cmocka_unit_test(names_and_folders_follow_the_path),
        cmocka_unit_test(sharded_sets_open_whole),
        cmocka_unit_test(one_shard_alone_names_the_set),
        cmocka_unit_test(broken_indexes_are_named),
        cmocka_unit_test(real_checkpoints_open),
    };
    return cmocka_run_group_tests_name("tensor: opening", tests, NULL, NULL);
}

/* Writing safetensors: what is written opens, holds the same values, and lies as the format's own
 * writers leave it. */
#include "test_tensor.h"

#include "qx/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Element i of any tensor: exact in every float dtype but for the size of the exponent. */
static float value_of(int64_t i)
{
    return (float)((i * 7) % 201 - 100) / 8.0f;
}

static enum qx_status read_values(void *arg, int64_t first, int64_t n, float *out,
                                  struct qx_error *err)
{
    int64_t *next = arg;
    (void)err;
    assert_int_equal(first, *next); /* in order, in blocks */
    for (int64_t i = 0; i < n; i++) {
        out[i] = value_of(first + i);
    }
    *next += n;
    return QX_OK;
}

static enum qx_status read_refuses(void *arg, int64_t first, int64_t n, float *out,
                                   struct qx_error *err)
{
    (void)arg;
    (void)n;
    (void)out;
    (void)err;
    return first > 0 ? QX_EDATA : QX_OK;
}

static const int64_t big_shape[] = {300, 500}, small_shape[] = {7}, zero_shape[] = {3, 0};

static void written_files_open_with_the_same_values(void **state)
{
    (void)state;
    static const uint8_t raw[7] = {1, 2, 3, 4, 5, 6, 7};
    int64_t next[4] = {0};
    const struct qx_write_tensor tensors[] = {
        {"b.half", QX_DTYPE_F16, 2, big_shape, NULL, read_values, &next[0]},
        {"a.brain", QX_DTYPE_BF16, 1, small_shape, NULL, read_values, &next[1]},
        {"codes \"q\"", QX_DTYPE_U8, 1, small_shape, raw, NULL, NULL},
        {"f", QX_DTYPE_F32, 2, big_shape, NULL, read_values, &next[2]},
        {"d", QX_DTYPE_F64, 1, small_shape, NULL, read_values, &next[3]},
        {"scalar", QX_DTYPE_U8, 0, NULL, raw, NULL, NULL},
        {"zero", QX_DTYPE_F32, 2, zero_shape, NULL, NULL, NULL},
        {"c.half", QX_DTYPE_F16, 0, NULL, raw, NULL, NULL},
    };
    enum { N = sizeof tensors / sizeof *tensors };
    static const char *const meta[][2] = {{"task", "classification"}};
    static const char *const order[] = {"d",      "f",      "zero",        "a.brain",
                                        "b.half", "c.half", "codes \"q\"", "scalar"};
    struct qx_ctl ctl = {0};
    struct qx_error err = {0};
    const char *path = scratch_path("written.safetensors");
    if (qx_safetensors_write(path, tensors, N, meta, 1, &ctl, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(atomic_load(&ctl.done), atomic_load(&ctl.total));
    struct qx_model *m = open_ok(path);
    assert_int_equal(qx_model_n_tensors(m), N);
    assert_string_equal(qx_model_metadata(m, "format"), "pt");
    assert_string_equal(qx_model_metadata(m, "task"), "classification");
    uint64_t at = 0;
    for (int i = 0; i < N;
         i++) { /* big dtypes first, then by name; data begins at a multiple of 8 */
        const struct qx_tensor *t = qx_model_tensor(m, qx_model_find(m, order[i]));
        assert_true(i > 0 ? t->offset == at : t->offset % 8 == 0);
        at = t->offset + t->bytes;
    }
    static float x[300 * 500];
    static const char *const floats[] = {"b.half", "a.brain", "f", "d"};
    for (int i = 0; i < 4; i++) {
        const struct qx_tensor *t = qx_model_tensor(m, qx_model_find(m, floats[i]));
        assert_int_equal(qx_tensor_read(t, 0, t->numel, x, NULL), QX_OK);
        for (int64_t k = 0; k < t->numel; k++) {
            assert_true(x[k] == value_of(k));
        }
    }
    const struct qx_tensor *codes = qx_model_tensor(m, qx_model_find(m, "codes \"q\""));
    assert_memory_equal(codes->data, raw, 7);
    qx_model_close(&m);
}

static void refused_writes_leave_the_old_file(void **state)
{
    (void)state;
    static const char old[] = "old";
    static const uint8_t raw[8];
    struct qx_ctl cancelled = {0};
    atomic_store(&cancelled.cancel, true);
    const struct {
        struct qx_write_tensor t[2];
        int n;
        struct qx_ctl *ctl;
        enum qx_status status;
    } rows[] = {
        {{{"x", QX_DTYPE_F32, 2, big_shape, NULL, read_refuses, NULL}}, 1, NULL, QX_EDATA},
        {{{"x", QX_DTYPE_I8, 1, small_shape, NULL, read_values, NULL}}, 1, NULL, QX_EUNSUPPORTED},
        {{{"x", QX_DTYPE_F32, 1, small_shape, NULL, NULL, NULL}}, 1, NULL, QX_EBUG},
        {{{"x", QX_DTYPE_F4, 1, small_shape, raw, NULL, NULL}}, 1, NULL, QX_ERANGE},
        {{{"x", QX_DTYPE_U8, 0, NULL, raw, NULL, NULL},
          {"x", QX_DTYPE_I8, 0, NULL, raw, NULL, NULL}},
         2,
         NULL,
         QX_EDATA},
        {{{"x", QX_DTYPE_F32, 2, big_shape, NULL, read_refuses, NULL}},
         1,
         &cancelled,
         QX_ECANCELLED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char back[8] = "";
        scratch_write("old/kept.safetensors", old, 3);
        const char *path = scratch_path("old/kept.safetensors");
        struct qx_error err = {0};
        enum qx_status st =
            qx_safetensors_write(path, rows[i].t, rows[i].n, NULL, 0, rows[i].ctl, &err);
        assert_int_equal(st, rows[i].status);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        assert_int_equal(fread(back, 1, sizeof back, f), 3);
        assert_string_equal(back, old);
        fclose(f);
    }
    remove(scratch_path("old/kept.safetensors"));
    assert_int_equal(rmdir(scratch_path("old")), 0); /* empty: no temporary was left behind */
    struct qx_write_tensor t = {"x", QX_DTYPE_U8, 0, NULL, raw, NULL, NULL};
    assert_int_equal(qx_safetensors_write("/dev/full", &t, 1, NULL, 0, NULL, NULL), QX_ENOSPC);
    assert_int_equal(qx_safetensors_write("/no/such/x.safetensors", &t, 1, NULL, 0, NULL, NULL),
                     QX_EIO);
}

int test_tensor_write(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_open_with_the_same_values),
        cmocka_unit_test(refused_writes_leave_the_old_file),
    };
    return cmocka_run_group_tests_name("tensor: writing", tests, NULL, NULL);
}

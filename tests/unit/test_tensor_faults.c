/* The world goes wrong underneath: memory refused at the n-th call, files that shrink or change while
 * they are mapped. */
#include "test_tensor.h"

#include "base/mem.h"
#include "qx/hist.h"
#include "qx/mapfault.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char two[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"l.qweight\":{\"dtype\":\"I32\",\"shape\":[4],\"data_offsets\":[0,16]},"
    "\"l.scales\":{\"dtype\":\"F32\",\"shape\":[2,32],\"data_offsets\":[16,272]}}";

static void write_models(void)
{
    static const uint8_t data[272];
    static const char index[] =
        "{\"weight_map\":{\"l.qweight\":\"m-1.safetensors\",\"l.scales\":\"m-1.safetensors\"}}";
    static const char config[] = "{\"quantization_config\":{\"quant_method\":\"gptq\"}}";
    scratch_safetensors("mem/model.safetensors", two, -1, data, sizeof data);
    scratch_write("mem/config.json", config, sizeof config - 1);
    scratch_safetensors("memset/m-1.safetensors", two, -1, data, sizeof data);
    scratch_write("memset/model.safetensors.index.json", index, sizeof index - 1);
    scratch_safetensors("memfile/only.safetensors", two, -1, data, sizeof data);
    scratch_write("membad/model.safetensors", "\x02\0\0\0\0\0\0\0{}x", 11);
    scratch_write("memnone/README", "", 0);
}

/* fn runs with the n-th allocation refused, n = 1, 2, ..., until it no longer meets it. */
static void refuse_each(const char *what, enum qx_status (*fn)(void *arg), void *arg,
                        enum qx_status last)
{
    for (int64_t n = 1;; n++) {
        qx_mem_fail_at(n);
        enum qx_status st = fn(arg);
        qx_mem_fail_at(0);
        if (st == last) {
            assert_true(n > 1);
            return;
        }
        if (st != QX_ENOMEM || n > 100000) {
            fail_msg("%s: allocation %lld refused: status %d", what, (long long)n, (int)st);
        }
    }
}

static enum qx_status open_and_close(void *arg)
{
    struct qx_model *m = NULL;
    struct qx_error err = {0};
    enum qx_status st = qx_model_open(arg, &m, &err);
    assert_true((st == QX_OK) == (m != NULL));
    assert_true(st == QX_OK || (err.status == st && *err.text));
    qx_model_close(&m);
    return st;
}

static void refused_memory_while_opening_is_reported(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum qx_status last;
    } rows[] = {
        {"mem", QX_OK},
        {"memset", QX_OK},
        {"memfile", QX_OK},
        {"membad", QX_EFORMAT},
        {"memnone", QX_EUNSUPPORTED},
        {"memnone/REDME", QX_EIO},
    };
    write_models();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s", scratch_path(rows[i].path));
        refuse_each(rows[i].path, open_and_close, path, rows[i].last);
    }
}

struct build {
    const struct qx_tensor *t;
    struct qx_hist_spec spec;
    int64_t n_sample;
    const char *path; /* saved to and loaded from */
};

static enum qx_status build_save_load(void *arg)
{
    const struct build *b = arg;
    struct qx_hist *h = NULL, *back = NULL;
    enum qx_status st = qx_hist_build(b->t, &b->spec, b->n_sample, NULL, NULL, &h, NULL);
    if (st == QX_OK) {
        st = qx_hist_save(h, b->path, 1, NULL);
    }
    if (st == QX_OK) {
        st = qx_hist_load(b->path, 1, &back, NULL);
    }
    qx_hist_unref(h);
    qx_hist_unref(back);
    return st;
}

static void refused_memory_while_building_is_reported(void **state)
{
    (void)state;
    struct qx_model *m = open_ok(scratch_path("mem"));
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("refused.qxhist"));
    for (int64_t i = 0; i < qx_model_n_tensors(m); i++) {
        for (int gran = 0; gran < 3; gran++) {
            for (int k = 0; k < 4; k++) {
                const struct qx_tensor *t = qx_model_tensor(m, i);
                struct build b = {t,
                                  {(enum qx_gran)gran, 3, k & 1, qx_channels_of(t, t->rank - 1)},
                                  k & 2 ? t->numel / 2 : 0,
                                  path};
                refuse_each("build", build_save_load, &b, QX_OK);
            }
        }
    }
    qx_model_close(&m);
}

static enum qx_status write_one(void *arg)
{
    static const uint8_t raw[4];
    struct qx_write_tensor t = {"x", QX_DTYPE_F32, 0, NULL, raw, NULL, NULL};
    return qx_safetensors_write(arg, &t, 1, NULL, 0, NULL, NULL);
}

static void refused_memory_while_writing_is_reported(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path("refused.safetensors"));
    refuse_each("write", write_one, path, QX_OK);
}

static void refused_memory_only_shortens_discovery(void **state)
{
    (void)state;
    char cwd[512];
    snprintf(cwd, sizeof cwd, "%s", scratch_path("."));
    for (int64_t n = 1; n < 60; n++) {
        qx_mem_fail_at(n);
        struct qx_found_list *l = qx_model_discover(cwd, cwd, cwd);
        qx_mem_fail_at(0);
        assert_true(n > 1 || !l);
        qx_found_free(l);
    }
}

/* ---- files that change ---- */

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (!qx_map_fault(info->si_addr)) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
}

static void a_file_cut_while_mapped_reads_as_zeros_and_is_torn(void **state)
{
    (void)state;
    enum { N = 100000 };
    static float data[N];
    char header[128];
    for (int i = 0; i < N; i++) {
        data[i] = 1.0f + (float)i;
    }
    snprintf(header, sizeof header,
             "{\"a\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%zu]}}", N, sizeof data);
    scratch_safetensors("torn.safetensors", header, -1, data, sizeof data);
    struct sigaction act = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO}, old;
    sigaction(SIGBUS, &act, &old);
    struct qx_model *m = open_ok(scratch_path("torn.safetensors"));
    const struct qx_tensor *t = qx_model_tensor(m, 0);
    assert_false(qx_model_torn(m, t) || qx_model_changed(m));
    assert_int_equal(truncate(scratch_path("torn.safetensors"), 5000), 0);
    assert_true(qx_model_changed(m));
    struct qx_hist_spec spec = {QX_GRAN_TENSOR, 0, true, qx_channels_of(t, 0)};
    struct qx_hist *h = NULL;
    assert_int_equal(qx_hist_build(t, &spec, 0, NULL, NULL, &h, NULL), QX_OK);
    assert_true(qx_model_torn(m, t));
    assert_true(qx_hist_stats(h)->n_zero > N / 2);
    qx_hist_unref(h);
    qx_model_close(&m);
    sigaction(SIGBUS, &old, NULL);
}

static void a_replaced_file_is_noticed(void **state)
{
    (void)state;
    static const uint8_t data[272];
    scratch_safetensors("replaced.safetensors", two, -1, data, sizeof data);
    struct qx_model *m = open_ok(scratch_path("replaced.safetensors"));
    assert_false(qx_model_changed(m));
    remove(scratch_path("replaced.safetensors"));
    assert_true(qx_model_changed(m));
    qx_model_dontneed(m, qx_model_tensor(m, 0)); /* the old file stays mapped */
    float x;
    assert_int_equal(qx_tensor_read(qx_model_tensor(m, 0), 0, 1, &x, NULL), QX_OK);
    qx_model_close(&m);
}

int test_tensor_faults(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_memory_while_opening_is_reported),
        cmocka_unit_test(refused_memory_while_building_is_reported),
        cmocka_unit_test(refused_memory_while_writing_is_reported),
        cmocka_unit_test(refused_memory_only_shortens_discovery),
        cmocka_unit_test(a_file_cut_while_mapped_reads_as_zeros_and_is_torn),
        cmocka_unit_test(a_replaced_file_is_noticed),
    };
    return cmocka_run_group_tests_name("tensor: faults", tests, NULL, NULL);
}

/* Small models, written by the test itself. */
#include "base/rng.h"
#include "test_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "session-XXXXXX";

const char *fixture_path(const char *part)
{
    static char ring[16][256];
    static int at;
    char *out = ring[at++ % 16];
    snprintf(out, sizeof ring[0], "%s/%s", root, part);
    return out;
}

const char *fixture_fresh(const char *part)
{
    char command[600];
    const char *path = fixture_path(part);
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", path, path);
    assert_int_equal(system(command), 0);
    return path;
}

void fixture_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

char *fixture_read(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        return NULL;
    }
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

/* ---- models ---- */

struct spec {
    const char *name, *dtype;
    int rows, cols; /* cols 0: rank 1 */
    int size;       /* bytes an element */
};

static void values_put(FILE *f, const struct spec *t, struct qx_rng *rng)
{
    for (int i = 0; i < t->rows * (t->cols ? t->cols : 1); i++) {
        float x = (float)qx_rng_normal(rng);
        int64_t whole = (int64_t)qx_rng_below(rng, 3);
        uint16_t half = (uint16_t)(0x3000 + qx_rng_below(rng, 0x0c00)); /* 0.125 to 2 */
        const void *value = t->size == 4 ? (void *)&x : t->size == 8 ? (void *)&whole : &half;
        fwrite(value, (size_t)t->size, 1, f);
    }
}

static void model_put(const char *path, const struct spec *specs, int n, uint64_t seed)
{
    char header[4096], shape[64];
    int len = snprintf(header, sizeof header, "{");
    long at = 0;
    for (int i = 0; i < n; i++) {
        const struct spec *t = &specs[i];
        long bytes = (long)t->rows * (t->cols ? t->cols : 1) * t->size;
        snprintf(shape, sizeof shape, t->cols ? "%d,%d" : "%d", t->rows, t->cols);
        len += snprintf(header + len, sizeof header - (size_t)len,
                        "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%ld,%ld]}",
                        i ? "," : "", t->name, t->dtype, shape, at, at + bytes);
        at += bytes;
    }
    len += snprintf(header + len, sizeof header - (size_t)len, "}");
    while (len % 8) {
        header[len++] = ' ';
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    uint64_t size = (uint64_t)len;
    fwrite(&size, sizeof size, 1, f);
    fwrite(header, 1, (size_t)len, f);
    struct qx_rng rng;
    qx_rng_init(&rng, seed);
    for (int i = 0; i < n; i++) {
        values_put(f, &specs[i], &rng);
    }
    fclose(f);
}

static const char graph[] =
    "{\"schema\":\"qexplore.graph/1\",\"name\":\"tiny\",\"task\":\"classification\","
    "\"inputs\":[{\"name\":\"x\",\"dtype\":\"F32\",\"shape\":[\"N\",6]}],"
    "\"nodes\":[{\"op\":\"Gemm\",\"name\":\"fc1\",\"inputs\":[\"x\",\"fc1.weight\"],"
    "\"outputs\":[\"h\"],\"attrs\":{\"transB\":1}},"
    "{\"op\":\"Relu\",\"name\":\"relu\",\"inputs\":[\"h\"],\"outputs\":[\"r\"]},"
    "{\"op\":\"Gemm\",\"name\":\"fc2\",\"inputs\":[\"r\",\"fc2.weight\"],"
    "\"outputs\":[\"y\"],\"attrs\":{\"transB\":1}}],"
    "\"outputs\":[\"y\"],\"labels\":[\"a\",\"b\",\"c\"]}";

int fixture_setup(void **state)
{
    static const struct spec plain[] = {
        {"a.weight", "F32", 8, 64, 4},         {"b.weight", "F32", 16, 32, 4},
        {"big.weight", "F32", 1100, 1024, 4},  {"norm.weight", "F32", 16, 0, 4},
        {"tok_embed.weight", "F32", 20, 8, 4}, {"ids", "I64", 4, 0, 8},
        {"half.weight", "F16", 4, 32, 2}};
    static const struct spec net[] = {{"fc1.weight", "F32", 8, 6, 4},
                                      {"fc2.weight", "F32", 3, 8, 4}};
    static const struct spec data[] = {{"x", "F32", 300, 6, 4}, {"labels", "I64", 300, 0, 8}};
    (void)state;
    strcpy(root, "session-XXXXXX");
    if (!mkdtemp(root)) {
        return -1;
    }
    model_put(fixture_path("plain.safetensors"), plain, 7, 1);
    mkdir(fixture_path("tiny"), 0777);
    model_put(fixture_path("tiny/model.safetensors"), net, 2, 2);
    model_put(fixture_path("tiny/eval.safetensors"), data, 2, 3);
    fixture_write(fixture_path("tiny/graph.json"), graph);
    fixture_write(fixture_path("tiny/NOTICE.md"), "Made by a test.\n");
    return 0;
}

int fixture_teardown(void **state)
{
    char command[300];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

const char *fixture_plain(void)
{
    return fixture_path("plain.safetensors");
}

const char *fixture_folder(void)
{
    return fixture_path("tiny");
}

/* ---- sessions ---- */

struct qx_session *fixture_open(const char *path, const char *state_dir, bool batch)
{
    struct qx_session_options o = {
        .state_dir = state_dir, .threads = 2, .batch = batch, .mem_bytes = 64 << 20};
    struct qx_session *s = NULL;
    struct qx_error err = {.text = ""};
    enum qx_status status = qx_session_open(path, &o, &s, &err);
    if (status != QX_OK) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(status, QX_OK);
    return s;
}

int64_t fixture_item(const struct qx_session *s, const char *name)
{
    int64_t item = qx_session_find(s, name, NULL);
    assert_true(item >= 0);
    return item;
}

void fixture_bits(struct qx_session *s, const char *name, int bits)
{
    int64_t item = fixture_item(s, name);
    struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = bits}};
    assert_int_equal(qx_session_edit(s, &item, 1, &p, false, NULL), QX_OK);
}

void fixture_range(struct qx_session *s, const char *name, double t, bool merge)
{
    int64_t item = fixture_item(s, name);
    struct qx_patch p = {.fields = QX_PATCH_RANGE, .value = {.has_range = true, .range = {-t, t}}};
    assert_int_equal(qx_session_edit(s, &item, 1, &p, merge, NULL), QX_OK);
}

void fixture_settle(struct qx_session *s)
{
    qx_session_settle(s, 60000);
    assert_true(qx_session_idle(s));
}

char *fixture_recipe(struct qx_session *s)
{
    const char *path = fixture_path("saved.json");
    struct qx_error err;
    if (qx_session_save_recipe(s, path, &err) != QX_OK) {
        print_error("%s\n", err.text);
    }
    return fixture_read(path);
}

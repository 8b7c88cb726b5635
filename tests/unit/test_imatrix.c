/* llama.cpp's imatrix.dat: what is read, what is refused, and what blocks make of it. */
#include "qx/imatrix.h"
#include "qx/matrix.h"
#include "qx/metric.h"
#include "qx/session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- files ---- */

struct file {
    uint8_t data[1 << 16];
    size_t len;
};

static void put(struct file *f, const void *p, size_t n)
{
    assert_true(f->len + n <= sizeof f->data);
    memcpy(f->data + f->len, p, n);
    f->len += n;
}

static void word(struct file *f, int32_t v)
{
    put(f, &v, sizeof v);
}

static void text(struct file *f, const char *s)
{
    word(f, (int32_t)strlen(s));
    put(f, s, strlen(s));
}

/* As llama.cpp writes it: sums over the calls. */
static void entry(struct file *f, const char *name, int32_t calls, const float *mean, int32_t n)
{
    text(f, name);
    word(f, calls);
    word(f, n);
    for (int32_t i = 0; i < n; i++) {
        const float sum = mean[i] * (float)calls;
        put(f, &sum, sizeof sum);
    }
}

static const float four[4] = {1.0f, 3.0f, 0.0f, 4.0f}, zeros[3] = {0.0f, 0.0f, 0.0f};

static void two_entries(struct file *f)
{
    *f = (struct file){.len = 0};
    word(f, 2);
    entry(f, "blk.0.attn_q.weight", 7, four, 4);
    entry(f, "output.weight", 2, zeros, 3);
}

static enum qx_status parse(const struct file *f, struct qx_imatrix **out)
{
    struct qx_error err;
    return qx_imatrix_parse(f->data, f->len, "test.dat", out, &err);
}

static void entries_are_read_with_and_without_a_tail(void **state)
{
    (void)state;
    for (int has_tail = 0; has_tail < 2; has_tail++) {
        struct file f;
        struct qx_imatrix *m = NULL;
        two_entries(&f);
        if (has_tail) {
            word(&f, 99);
            text(&f, "calibration.txt");
        }
        assert_int_equal(parse(&f, &m), QX_OK);
        assert_int_equal(qx_imatrix_n(m), 2);
        const struct qx_importance *of = qx_imatrix_find(m, "blk.0.attn_q.weight");
        assert_non_null(of);
        assert_int_equal(of->n, 4);
        for (int i = 0; i < 4; i++) {
            assert_true(fabsf(of->v[i] - four[i] / 2.0f) < 1e-6f); /* of mean 2 */
        }
        of = qx_imatrix_find(m, "output.weight");
        for (int i = 0; i < 3; i++) {
            assert_true(of->v[i] == 1.0f); /* never seen: all alike */
        }
        assert_null(qx_imatrix_find(m, "blk.0.attn_k.weight"));
        assert_string_equal(qx_imatrix_data(m), has_tail ? "calibration.txt" : "");
        qx_imatrix_free(m);
    }
}

static void files_cut_short_are_refused(void **state)
{
    struct file f;
    (void)state;
    two_entries(&f);
    const size_t whole = f.len;
    word(&f, 99);
    text(&f, "calibration.txt");
    for (size_t len = 0; len < f.len; len++) {
        struct file part = f;
        struct qx_imatrix *m = NULL;
        part.len = len;
        const enum qx_status st = parse(&part, &m);
        assert_true(len == whole ? st == QX_OK : st == QX_EFORMAT);
        qx_imatrix_free(m);
    }
}

static void damaged_files_are_refused(void **state)
{
    static const float wrong[][1] = {{-1.0f}, {INFINITY}, {NAN}};
    struct qx_imatrix *m = NULL;
    struct file f;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        f = (struct file){.len = 0};
        word(&f, 1);
        entry(&f, "a", 1, wrong[i], 1);
        assert_int_equal(parse(&f, &m), QX_EFORMAT);
    }
    f = (struct file){.len = 0}; /* the same tensor twice */
    word(&f, 2);
    entry(&f, "a", 1, four, 4);
    entry(&f, "a", 1, four, 4);
    assert_int_equal(parse(&f, &m), QX_EFORMAT);
    f = (struct file){.len = 0}; /* counts that no file can hold */
    word(&f, 1);
    text(&f, "a");
    word(&f, 1);
    word(&f, INT32_MAX);
    assert_int_equal(parse(&f, &m), QX_EFORMAT);
    f = (struct file){.len = 0};
    put(&f, "GGUF\3\0\0\0", 8);
    assert_int_equal(parse(&f, &m), QX_EUNSUPPORTED);
    assert_null(m);
}

/* ---- blocks ---- */

enum { ROWS = 6, COLS = 300 };

struct weight {
    float x[ROWS * COLS], turned[ROWS * COLS], v[COLS];
    struct qx_importance of;
    int64_t shape[2], turned_shape[2];
    struct qx_tensor t, t_turned;
};

static void weight_make(struct weight *w)
{
    uint32_t seed = 5;
    for (int i = 0; i < ROWS * COLS; i++) {
        seed = seed * 1664525u + 1013904223u;
        w->x[i] = ((float)(seed >> 8) / 0x1p24f - 0.5f) * 0.2f;
        w->turned[i % COLS * ROWS + i / COLS] = w->x[i];
    }
    for (int j = 0; j < COLS; j++) {
        w->v[j] = j % 10 == 3 ? 9.0f : 0.1f;
    }
    w->of = (struct qx_importance){77, COLS, w->v};
    w->shape[0] = w->turned_shape[1] = ROWS;
    w->shape[1] = w->turned_shape[0] = COLS;
    w->t = (struct qx_tensor){.name = "w", .dtype = QX_DTYPE_F32, .rank = 2, .shape = w->shape};
    w->t.numel = ROWS * COLS;
    w->t.bytes = sizeof w->x;
    w->t.data = (const uint8_t *)w->x;
    w->t_turned = w->t;
    w->t_turned.shape = w->turned_shape;
    w->t_turned.data = (const uint8_t *)w->turned;
}

static double weighted_error(const struct weight *w, const float *y)
{
    double sum = 0.0;
    for (int i = 0; i < ROWS * COLS; i++) {
        const double e = (double)w->x[i] - (double)y[i];
        sum += (double)w->v[i % COLS] * e * e;
    }
    return sum;
}

static void quantized(const struct qx_tensor *t, struct qx_channels c, const struct qx_setting *s,
                      float *y)
{
    struct qx_error err;
    assert_int_equal(qx_fakequant(t, c, s, NULL, NULL, y, NULL, NULL, &err), QX_OK);
}

/* Every way to look at a weight sees the same blocks, [in, out] weights and rows that end in the middle of one too. */
static void every_pass_heeds_the_importance(void **state)
{
    static struct weight w;
    static float plain[ROWS * COLS], heeded[ROWS * COLS], turned[ROWS * COLS];
    (void)state;
    weight_make(&w);
    const struct qx_channels c = qx_channels_of(&w.t, 0), c_turned = qx_channels_of(&w.t_turned, 1);
    const struct qx_matrix m = qx_matrix_of(&w.t, c);
    for (int i = 0; i < qx_format_count(); i++) {
        struct qx_setting s = qx_setting_of(qx_format_at(i), 0);
        struct qx_metrics metrics;
        struct qx_error err;
        struct qx_hist *hist = NULL;
        double sse = 0.0;
        if (!s.format->block || s.format->tensor_top > 0.0f) {
            continue;
        }
        quantized(&w.t, c, &s, plain);
        s.importance = &w.of;
        quantized(&w.t, c, &s, heeded);
        quantized(&w.t_turned, c_turned, &s, turned);
        const bool has_choice = strcmp(s.format->name, "q8_0") != 0 &&
                                strcmp(s.format->name, "mxfp4") != 0; /* of scales near by */
        assert_true(weighted_error(&w, heeded) <= weighted_error(&w, plain));
        assert_true(!has_choice || weighted_error(&w, heeded) < 0.8 * weighted_error(&w, plain));
        for (int k = 0; k < ROWS * COLS; k++) {
            assert_true(turned[k % COLS * ROWS + k / COLS] == heeded[k]);
            sse += ((double)w.x[k] - (double)heeded[k]) * ((double)w.x[k] - (double)heeded[k]);
        }
        assert_int_equal(qx_metric_exact(&w.t, c, &s, NULL, NULL, &metrics, &err), QX_OK);
        assert_true(fabs(metrics.mse * ROWS * COLS / sse - 1.0) < 1e-9);
        const struct qx_hist_spec spec = qx_setting_spec(&s, c);
        assert_int_equal(qx_hist_build(&w.t, &spec, 0, NULL, NULL, &hist, &err), QX_OK);
        assert_int_equal(qx_metric_hist(hist, &s, &metrics, &err), QX_OK);
        assert_true(fabs(metrics.mse * ROWS * COLS / sse - 1.0) < 1e-6); /* its pieces are all */
        for (int64_t e = 0; e < ROWS * COLS; e += 37) {
            struct qx_matrix_value v;
            assert_int_equal(qx_matrix_look(&m, &s, hist, e, &v, &err), QX_OK);
            assert_true(v.approx == heeded[e]);
        }
        qx_hist_unref(hist);
    }
}

static void settings_tell_importances_apart(void **state)
{
    const struct qx_importance a = {5, 4, four}, b = {6, 4, four};
    (void)state;
    struct qx_setting s = qx_setting_of(qx_format_find("q4_k"), 0), t = s;
    s.importance = &a;
    assert_false(qx_setting_equal(&s, &t));
    assert_true(qx_setting_hash(&s, 1) != qx_setting_hash(&t, 1));
    t.importance = &b;
    assert_false(qx_setting_equal(&s, &t));
    t.importance = &a;
    assert_true(qx_setting_equal(&s, &t) && qx_setting_hash(&s, 1) == qx_setting_hash(&t, 1));
    struct qx_setting i = qx_setting_int(4), j = i; /* which no block searches */
    i.importance = &a;
    assert_true(qx_setting_equal(&i, &j) && qx_setting_hash(&i, 1) == qx_setting_hash(&j, 1));
}

/* ---- sessions ---- */

static struct qx_session *opened(const char *imatrix, enum qx_status want)
{
    struct qx_session_options o = {.batch = true, .threads = 1, .imatrix = imatrix};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    assert_int_equal(
        qx_session_open(QX_SOURCE_ROOT "/tests/golden/net/decoder_llama", &o, &s, &err), want);
    return s;
}

static void file_write(const char *path, const struct file *f)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(f->data, 1, f->len, out), f->len);
    fclose(out);
}

/* GGUF's names stand for the model's; a recipe of blocks wants its imatrix back. */
static void sessions_and_recipes_name_their_imatrix(void **state)
{
    static struct file f;
    char path[] = "imatrix-XXXXXX", recipe[40];
    float mean[32];
    struct qx_error err = {0};
    const struct qx_patch patch = {.fields = QX_PATCH_FORMAT,
                                   .value = {.format = qx_format_find("q4_0")}};
    (void)state;
    close(mkstemp(path));
    snprintf(recipe, sizeof recipe, "%s.json", path);
    for (int i = 0; i < 32; i++) {
        mean[i] = (float)(1 + i % 5);
    }
    f = (struct file){.len = 0};
    word(&f, 2);
    entry(&f, "blk.1.attn_q.weight", 3, mean, 32);
    entry(&f, "blk.0.attn_q.weight", 3, mean, 31); /* of another size: not for this model */
    file_write(path, &f);
    struct qx_session *s = opened(path, QX_OK);
    const int64_t item = qx_session_find(s, "model.layers.1.self_attn.q_proj.weight", &err);
    assert_int_equal(qx_session_n_important(s), 1);
    assert_non_null(qx_session_item(s, item)->importance);
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    assert_int_equal(qx_importance_key(qx_session_setting(s, item)),
                     qx_session_item(s, item)->importance->key);
    assert_int_equal(qx_session_save_recipe(s, recipe, &err), QX_OK);
    assert_int_equal(qx_session_load_recipe(s, recipe, &err), QX_OK);
    assert_true(qx_importance_key(qx_session_setting(s, item)) != 0);
    qx_session_close(&s);
    s = opened(NULL, QX_OK);
    assert_int_equal(qx_session_load_recipe(s, recipe, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "--imatrix"));
    qx_session_close(&s);
    f = (struct file){.len = 0};
    word(&f, 1);
    entry(&f, "blk.9.ffn_up.weight", 3, mean, 32);
    file_write(path, &f);
    assert_null(opened(path, QX_EDATA));
    remove(path);
    remove(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_read_with_and_without_a_tail),
        cmocka_unit_test(files_cut_short_are_refused),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(every_pass_heeds_the_importance),
        cmocka_unit_test(settings_tell_importances_apart),
        cmocka_unit_test(sessions_and_recipes_name_their_imatrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

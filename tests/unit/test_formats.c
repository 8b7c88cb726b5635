/* The table of formats: figures against an independent script, and what a table looks like without data. */
#include "qx/formats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SAMPLES QX_SOURCE_ROOT "/samples/"

static struct qx_session *opened(const char *sample)
{
    struct qx_session_options o = {.batch = true, .threads = 2};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    char path[512];
    snprintf(path, sizeof path, SAMPLES "%s", sample);
    if (qx_session_open(path, &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static struct qx_formats_row *table_like(struct qx_session *s, const char *tensor,
                                         const struct qx_setting *base, int *n,
                                         struct qx_formats_state *state)
{
    struct qx_formats_row *rows = calloc(QX_FORMATS_MOST, sizeof *rows);
    struct qx_error err = {0};
    const int64_t item = qx_session_find(s, tensor, &err);
    assert_non_null(rows);
    assert_true(item >= 0);
    if (qx_session_run_formats(s, &item, 1, base, NULL, rows, n, state, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return rows;
}

static struct qx_formats_row *table_of(struct qx_session *s, const char *tensor,
                                       const char *calibrator, int *n,
                                       struct qx_formats_state *state)
{
    struct qx_setting base = qx_setting_int(8);
    base.calib = qx_calib_find(calibrator);
    return table_like(s, tensor, &base, n, state);
}

static const struct qx_formats_row *row_find(const struct qx_formats_row *rows, int n,
                                             const char *name)
{
    for (int i = 0; i < n; i++) {
        char own[32];
        snprintf(own, sizeof own, "%s", rows[i].set.format->name);
        if (qx_setting_is_int(&rows[i].set)) {
            snprintf(own, sizeof own, "int%d", rows[i].set.bits);
        }
        if (strcmp(own, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* Rows of the script's file whose name holds a '+' (nested) or none. */
static int compare_with_script(const struct qx_formats_row *rows, int n, bool is_nested)
{
    FILE *f = fopen(QX_SOURCE_ROOT "/tests/golden/quant/formats.txt", "r");
    char line[200], name[32];
    double db, output;
    int n_checked = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#' ||
            (strchr(line, '+') && strchr(line, '+') < strchr(line, ' ')) != is_nested) {
            continue;
        }
        assert_int_equal(sscanf(line, "%31s %lf %lf", name, &db, &output), 3);
        name[strcspn(name, "+")] = '\0';
        const struct qx_formats_row *r = row_find(rows, n, name);
        assert_non_null(r);
        if (fabs(r->metrics.sqnr_db - db) > 2e-4 || fabs(r->output / output - 1) > 1e-4) {
            fail_msg("%s: %.6f dB, output error %.8e; the script has %.6f and %.8e", name,
                     r->metrics.sqnr_db, r->output, db, output);
        }
        n_checked++;
    }
    fclose(f);
    return n_checked;
}

static void figures_equal_the_script(void **state)
{
    struct qx_session *s = opened("fashion-mlp");
    struct qx_formats_state said;
    int n;
    struct qx_formats_row *rows = table_of(s, "dense1.weight", "minmax", &n, &said);
    (void)state;
    assert_true(compare_with_script(rows, n, false) >= 18);
    assert_int_equal(said.output_reason[0], 0);
    free(rows);
    qx_session_close(&s);
}

/* Double quantization: 512 groups of 64 (rows of 196 end with a short one) take a byte each, every 256 four more, and
 * four for the mean. */
static void nested_scales_equal_the_script(void **state)
{
    struct qx_session *s = opened("fashion-mlp");
    struct qx_formats_state said;
    struct qx_setting base = qx_setting_int(8);
    int n;
    (void)state;
    base.gran = QX_GRAN_GROUP;
    base.group = 64;
    base.scale = QX_SCALE_NESTED;
    base.calib = qx_calib_find("minmax");
    struct qx_formats_row *rows = table_like(s, "dense1.weight", &base, &n, &said);
    assert_int_equal(compare_with_script(rows, n, true), 1);
    assert_int_equal(row_find(rows, n, "nf4")->metrics.bytes, 128 * 196 / 2 + 512 + 2 * 4 + 4);
    assert_true(fabs(row_find(rows, n, "nf4")->metrics.scale_min) > 0);
    free(rows);
    qx_session_close(&s);
}

/* All rows have a prediction with its band, and the fewest bits lose most. */
static void predictions_are_of_every_row(void **state)
{
    struct qx_session *s = opened("fashion-mlp");
    struct qx_formats_state said;
    int n;
    struct qx_formats_row *rows = table_of(s, "dense2.weight", "mse", &n, &said);
    const struct qx_formats_row *few = row_find(rows, n, "int2"), *many = row_find(rows, n, "q8_0");
    (void)state;
    for (int i = 0; i < n; i++) {
        assert_true(rows[i].has_prediction && rows[i].predicted.has_value);
        assert_true(rows[i].predicted.lo <= rows[i].predicted.value);
        assert_true(rows[i].predicted.value <= rows[i].predicted.hi);
        assert_true(isnan(rows[i].measured));
    }
    assert_true(few->predicted.kl > 10 * many->predicted.kl);
    free(rows);
    qx_session_close(&s);
}

/* A row is on the front exactly when none is at least as good and as small. */
static void front_holds_what_nothing_beats(void **state)
{
    struct qx_session *s = opened("fashion-mlp");
    struct qx_formats_state said;
    int n;
    struct qx_formats_row *rows = table_of(s, "dense1.weight", "mse", &n, &said);
    (void)state;
    for (int i = 0; i < n; i++) {
        bool is_beaten = false;
        for (int k = 0; k < n; k++) {
            const struct qx_metrics *a = &rows[i].metrics, *b = &rows[k].metrics;
            is_beaten = is_beaten || (b->bytes <= a->bytes && b->mse < a->mse) ||
                        (b->bytes < a->bytes && b->mse <= a->mse);
        }
        assert_true(rows[i].is_front == !is_beaten);
    }
    free(rows);
    qx_session_close(&s);
}

static void without_network_only_weights_speak(void **state)
{
    struct qx_session *s = opened("five-weights");
    struct qx_formats_state said;
    int n;
    const char *tensor = qx_session_item(s, 0)->tensor->name;
    struct qx_formats_row *rows = table_of(s, tensor, "mse", &n, &said);
    (void)state;
    for (int i = 0; i < n; i++) {
        assert_true(rows[i].has_metrics && isnan(rows[i].output) && !rows[i].has_prediction);
    }
    assert_true(said.output_reason[0] && said.predict_reason[0]);
    free(rows);
    qx_session_close(&s);
}

static bool is_whole(const struct qx_formats_row *rows, int n)
{
    for (int i = 0; i < n; i++) {
        if (!rows[i].has_metrics || isnan(rows[i].output)) {
            return false;
        }
    }
    return n > 0;
}

/* The background's table of a tensor is the caller's, and says what the recipe has. */
static void background_gives_the_same_table(void **state)
{
    struct qx_session_options o = {.threads = 2};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    struct qx_formats_state said;
    const struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = 4}};
    int n, n_batch, n_now = 0;
    (void)state;
    assert_int_equal(qx_session_open(SAMPLES "fashion-mlp", &o, &s, &err), QX_OK);
    const int64_t item = qx_session_find(s, "dense1.weight", &err);
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    const struct qx_formats_row *rows = qx_session_formats(s, item, &n);
    for (int turn = 0; turn < 2000 && !is_whole(rows, n); turn++) {
        qx_session_settle(s, 20);
        rows = qx_session_formats(s, item, &n);
    }
    struct qx_session *batch = opened("fashion-mlp");
    struct qx_formats_row *same = table_of(batch, "dense1.weight", "mse", &n_batch, &said);
    assert_int_equal(n, n_batch);
    for (int i = 0; i < n; i++) {
        assert_true(rows[i].metrics.mse == same[i].metrics.mse);
        assert_true(rows[i].output == same[i].output);
        assert_true(rows[i].is_front == same[i].is_front);
        n_now += rows[i].is_now;
    }
    assert_int_equal(n_now, 1);
    assert_true(row_find(rows, n, "int4")->is_now);
    free(same);
    qx_session_close(&batch);
    qx_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_equal_the_script),
        cmocka_unit_test(nested_scales_equal_the_script),
        cmocka_unit_test(predictions_are_of_every_row),
        cmocka_unit_test(front_holds_what_nothing_beats),
        cmocka_unit_test(without_network_only_weights_speak),
        cmocka_unit_test(background_gives_the_same_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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

/* ---- measured ---- */

/* What the network does with the row in place of dense2.weight, by another way: an edit and an evaluation. */
static double value_by_eval(struct qx_session *s, const struct qx_formats_row *row)
{
    struct qx_error err = {0};
    struct qx_eval_result *r = NULL;
    const int64_t item = qx_session_find(s, "dense2.weight", &err);
    const struct qx_patch patch = {.fields = QX_PATCH_ALL, .value = row->set};
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    assert_int_equal(qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &r, &err), QX_OK);
    const double value = r->accuracy;
    qx_eval_result_free(r);
    return value;
}

/* All rows, in the caller's thread, beside another layer that the recipe quantizes. */
static void measured_rows_are_evaluations(void **state)
{
    struct qx_formats_state said;
    struct qx_error err = {0};
    struct qx_eval_result *fp32 = NULL;
    struct qx_session *s = opened("fashion-mlp");
    const struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = 3}};
    const int64_t other = qx_session_find(s, "dense1.weight", &err);
    const int64_t item = qx_session_find(s, "dense2.weight", &err);
    bool is_cut = true;
    int n;
    (void)state;
    assert_int_equal(qx_session_edit(s, &other, 1, &patch, false, &err), QX_OK);
    struct qx_formats_row *rows = table_of(s, "dense2.weight", "mse", &n, &said);
    assert_int_equal(
        qx_session_run_formats_measure(s, &item, 1, n, NULL, rows, &fp32, &is_cut, &err), QX_OK);
    assert_false(is_cut);
    for (int i = 0; i < n; i += 5) {
        assert_true(rows[i].measured == value_by_eval(s, &rows[i]));
    }
    assert_true(row_find(rows, n, "int2")->measured < fp32->accuracy);
    free(rows);
    qx_eval_result_free(fp32);
    qx_session_close(&s);
}

/* Cancelled before the first row: what there is is FP32's, or nothing. */
static void measuring_can_be_interrupted(void **state)
{
    struct qx_formats_state said;
    struct qx_error err = {0};
    struct qx_eval_result *fp32 = NULL;
    struct qx_session *s = opened("fashion-mlp");
    const int64_t item = qx_session_find(s, "dense2.weight", &err);
    struct qx_ctl ctl = {0};
    bool is_cut = false;
    int n;
    (void)state;
    struct qx_formats_row *rows = table_of(s, "dense2.weight", "mse", &n, &said);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(
        qx_session_run_formats_measure(s, &item, 1, n, &ctl, rows, &fp32, &is_cut, &err),
        QX_ECANCELLED);
    assert_true(!fp32 && !is_cut && isnan(rows[0].measured));
    free(rows);
    qx_session_close(&s);
}

/* Of a language model: FP32's perplexity over that of the row. */
static void measured_words_are_perplexities(void **state)
{
    struct qx_error err = {0};
    struct qx_eval_result *fp32 = NULL, *r = NULL;
    struct qx_session *s = opened("llama-tiny");
    const int64_t item = qx_session_find(s, "model.layers.0.self_attn.k_proj.weight", &err);
    struct qx_formats_row row = {.measured = NAN};
    const struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = 2}};
    bool is_cut;
    (void)state;
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    assert_int_equal(qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &r, &err), QX_OK);
    row.set = *qx_session_setting(s, item);
    assert_int_equal(
        qx_session_run_formats_measure(s, &item, 1, 1, NULL, &row, &fp32, &is_cut, &err), QX_OK);
    assert_true(fabs(row.measured * r->perplexity / fp32->perplexity - 1) < 1e-12);
    assert_true(fabs(row.measured - 1) > 1e-4);
    qx_eval_result_free(fp32);
    qx_eval_result_free(r);
    qx_session_close(&s);
}

static int n_measured(const struct qx_formats_row *rows, int n)
{
    int k = 0;
    for (int i = 0; i < n; i++) {
        k += !isnan(rows[i].measured);
    }
    return k;
}

/* Background: one row first, then all; stopped in between, what is done stays; nobody has to look. */
static void background_measures_rows(void **state)
{
    struct qx_session_options o = {.threads = 2};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    struct qx_formats_state said;
    int n, n_rows, one = 0;
    (void)state;
    assert_int_equal(qx_session_open(SAMPLES "fashion-mlp", &o, &s, &err), QX_OK);
    const int64_t item = qx_session_find(s, "dense2.weight", &err);
    const struct qx_formats_row *rows = qx_session_formats(s, item, &n);
    for (int turn = 0; turn < 2000 && !is_whole(rows, n); turn++) {
        qx_session_settle(s, 20);
        rows = qx_session_formats(s, item, &n);
    }
    assert_int_equal(n_measured(rows, n), 0);
    one = (int)(row_find(rows, n, "int2") - rows);
    assert_int_equal(qx_session_formats_measure(s, one, &err), QX_OK);
    qx_session_settle(s, 60000);
    rows = qx_session_formats(s, item, &n);
    assert_int_equal(n_measured(rows, n), 1);
    assert_false(isnan(rows[one].measured));

    assert_int_equal(qx_session_formats_measure(s, -1, &err), QX_OK);
    qx_session_formats_state(s, &said);
    assert_int_equal(said.n_left, n - 1);
    qx_session_formats_stop(s);
    qx_session_settle(s, 60000);
    rows = qx_session_formats(s, item, &n);
    assert_in_range(n_measured(rows, n), 1, n - 1);
    qx_session_formats_state(s, &said);
    assert_int_equal(said.n_left, 0);

    assert_int_equal(qx_session_formats_measure(s, -1, &err), QX_OK);
    qx_session_settle(s, 60000); /* qx_session_formats is not called */
    qx_session_formats_state(s, &said);
    assert_int_equal(said.n_left, 0);
    struct qx_session *batch = opened("fashion-mlp");
    struct qx_eval_result *fp32 = NULL;
    bool is_cut;
    struct qx_formats_row *same = table_of(batch, "dense2.weight", "mse", &n_rows, &said);
    assert_int_equal(
        qx_session_run_formats_measure(batch, &item, 1, n_rows, NULL, same, &fp32, &is_cut, &err),
        QX_OK);
    rows = qx_session_formats(s, item, &n);
    for (int i = 0; i < n; i++) {
        assert_true(rows[i].measured == same[i].measured);
    }
    free(same);
    qx_eval_result_free(fp32);
    qx_session_close(&batch);
    qx_session_close(&s);
}

/* Another layer's edit makes the figures those of another recipe. */
static void other_recipes_are_not_shown(void **state)
{
    struct qx_session_options o = {.threads = 2};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    const struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = 2}};
    int n, at;
    (void)state;
    assert_int_equal(qx_session_open(SAMPLES "fashion-mlp", &o, &s, &err), QX_OK);
    const int64_t item = qx_session_find(s, "dense2.weight", &err);
    const int64_t other = qx_session_find(s, "dense1.weight", &err);
    const struct qx_formats_row *rows = qx_session_formats(s, item, &n);
    for (int turn = 0; turn < 2000 && !is_whole(rows, n); turn++) {
        qx_session_settle(s, 20);
        rows = qx_session_formats(s, item, &n);
    }
    at = (int)(row_find(rows, n, "int8") - rows);
    assert_int_equal(qx_session_formats_measure(s, at, &err), QX_OK);
    qx_session_settle(s, 60000);
    rows = qx_session_formats(s, item, &n);
    const double alone = rows[at].measured;
    assert_int_equal(qx_session_edit(s, &other, 1, &patch, false, &err), QX_OK);
    qx_session_settle(s, 60000);
    rows = qx_session_formats(s, item, &n);
    qx_session_settle(s, 100);
    rows = qx_session_formats(s, item, &n);
    assert_true(isnan(rows[at].measured));
    assert_int_equal(qx_session_formats_measure(s, at, &err), QX_OK);
    qx_session_settle(s, 60000);
    rows = qx_session_formats(s, item, &n);
    assert_true(rows[at].measured < alone);
    qx_session_close(&s);
}

/* Nothing to measure on: refused with the reason. */
static void weights_alone_are_not_measured(void **state)
{
    struct qx_session_options o = {.threads = 2};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    struct qx_eval_result *fp32 = NULL;
    struct qx_formats_row row = {.measured = 0};
    bool is_cut;
    int n;
    (void)state;
    assert_int_equal(qx_session_open(SAMPLES "five-weights", &o, &s, &err), QX_OK);
    qx_session_formats(s, 0, &n);
    assert_int_equal(qx_session_formats_measure(s, -1, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "graph.json"));
    int64_t item = 0;
    assert_int_equal(
        qx_session_run_formats_measure(s, &item, 1, 1, NULL, &row, &fp32, &is_cut, &err),
        QX_EUNSUPPORTED);
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
        cmocka_unit_test(measured_rows_are_evaluations),
        cmocka_unit_test(measured_words_are_perplexities),
        cmocka_unit_test(measuring_can_be_interrupted),
        cmocka_unit_test(background_measures_rows),
        cmocka_unit_test(other_recipes_are_not_shown),
        cmocka_unit_test(weights_alone_are_not_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

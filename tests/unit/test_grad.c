/* Gradients against torch's autograd (tests/golden/net/make_grads.py) and against finite differences. */
#include "base/arena.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "net/op.h"
#include "net_fixture.h"
#include "qx/grad.h"

#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Of a tensor's largest gradient: float32 against float64. */
#define TOLERANCE 2e-4

struct batch {
    struct folder f;
    struct qx_tape *tape;
    float *x, *logits, *d_logits;
    int64_t *first; /* [n + 1] answers before each row's first */
    int64_t n, n_logits;
};

static int64_t answers_of(const struct batch *b, int64_t row)
{
    const int64_t sample = qx_net_sample_size(b->f.net);
    int64_t n = 0;
    for (int64_t i = 0; qx_net_is_words(b->f.net) && i < sample; i++) {
        n += b->x[row * sample + i] != -1.0f;
    }
    return qx_net_is_words(b->f.net) ? n : 1;
}

static void batch_open(struct batch *b, const char *path, uint64_t max_bytes)
{
    char file[1024];
    struct qx_dataset *data = NULL;
    struct qx_error err = {0};
    folder_open(&b->f, path);
    snprintf(file, sizeof file, "%s/eval.safetensors", path);
    assert_int_equal(qx_dataset_open(file, b->f.net, &data, &err), QX_OK);
    b->n = qx_dataset_n(data);
    b->x = malloc((size_t)(b->n * qx_net_sample_size(b->f.net)) * sizeof *b->x);
    b->first = calloc((size_t)b->n + 1, sizeof *b->first);
    assert_true(b->x && b->first);
    assert_int_equal(qx_dataset_read(data, 0, b->n, b->x, &err), QX_OK);
    qx_dataset_close(&data);
    for (int64_t i = 0; i < b->n; i++) {
        b->first[i + 1] = b->first[i] + answers_of(b, i);
    }
    b->n_logits = b->first[b->n] * qx_net_n_classes(b->f.net);
    b->logits = malloc((size_t)b->n_logits * sizeof *b->logits);
    b->d_logits = malloc((size_t)b->n_logits * sizeof *b->d_logits);
    assert_true(b->logits && b->d_logits);
    for (int64_t i = 0; i < b->n_logits; i++) {
        b->d_logits[i] = (float)cos((double)i);
    }
    assert_int_equal(qx_tape_new(b->f.net, b->n, 0, max_bytes, &b->tape, &err), QX_OK);
}

static void batch_close(struct batch *b)
{
    qx_tape_free(b->tape);
    free(b->x);
    free(b->first);
    free(b->logits);
    free(b->d_logits);
    folder_close(&b->f);
}

/* sum of logits times weights, which are its gradient; row after row, place after place. */
static double weigh(void *arg, int64_t first, int64_t n, const int64_t *start, const float *logits,
                    float *d_logits)
{
    struct batch *b = arg;
    const int64_t classes = qx_net_n_classes(b->f.net);
    double sum = 0.0;
    for (int64_t r = 0; r < n; r++) {
        const int64_t len = (start ? start[r + 1] - start[r] : 1) * classes;
        const int64_t from = (start ? start[r] : r) * classes, at = b->first[first + r] * classes;
        memcpy(b->logits + at, logits + from, (size_t)len * sizeof *logits);
        for (int64_t i = 0; i < len; i++) {
            sum += (double)logits[from + i] * (double)b->d_logits[at + i];
        }
        if (d_logits) {
            memcpy(d_logits + from, b->d_logits + at, (size_t)len * sizeof *d_logits);
        }
    }
    return sum;
}

static double run(struct batch *b, enum qx_tape_mode mode, bool with_grad, struct qx_pool *pool)
{
    const struct qx_tape_loss loss = {b, weigh};
    struct qx_error err = {0};
    double sum = 0.0;
    if (qx_tape_run(b->tape, b->x, b->n, mode, &loss, with_grad, &sum, pool, NULL, &err) != QX_OK) {
        fail_msg("%s: %s", b->f.path, err.text);
    }
    return sum;
}

static void assert_near(const char *where, const char *name, const float *have, const float *want,
                        int64_t n)
{
    double top = 0.0, worst = 0.0;
    for (int64_t i = 0; i < n; i++) {
        top = fmax(top, fabs((double)want[i]));
        worst = isfinite(have[i]) ? fmax(worst, fabs((double)have[i] - (double)want[i])) : INFINITY;
    }
    if (!(worst <= TOLERANCE * fmax(top, 0.05))) {
        fail_msg("%s, %s: %g away, the largest is %g", where, name, worst, top);
    }
}

/* Every parameter's array against PREFIX.NAME; how many there were. */
static int compare(const struct batch *b, const char *prefix)
{
    char file[1024], name[256];
    int n = 0;
    snprintf(file, sizeof file, "%s/gradients.safetensors", b->f.path);
    for (int i = 0; i < qx_tape_n_params(b->tape); i++) {
        const struct qx_param *p = qx_tape_param(b->tape, i);
        const bool is_next = strcmp(prefix, "next") == 0;
        int64_t numel = 0;
        if (is_next != (p->kind == QX_PARAM_STATISTIC)) {
            continue;
        }
        snprintf(name, sizeof name, "%s.%s", prefix, p->name);
        float *want = tensor_load(file, name, &numel);
        if (!want || numel != p->n) {
            fail_msg("%s holds no %s", file, name);
        }
        assert_near(b->f.path, name, is_next ? p->value : p->grad, want, numel);
        free(want);
        n++;
    }
    return n;
}

static bool has_statistics(const struct batch *b)
{
    bool has = false;
    for (int i = 0; i < qx_tape_n_params(b->tape); i++) {
        has |= qx_tape_param(b->tape, i)->kind == QX_PARAM_STATISTIC;
    }
    return has;
}

static int n_cases, n_train_cases;

static void check(const char *path)
{
    struct batch b;
    batch_open(&b, path, UINT64_MAX);
    run(&b, QX_TAPE_FROZEN, true, NULL);
    assert_true(compare(&b, "eval") > 0);
    n_cases++;
    if (has_statistics(&b)) {
        run(&b, QX_TAPE_TRAIN, true, NULL);
        compare(&b, "train");
        qx_tape_follow(b.tape, 0.1);
        assert_true(compare(&b, "next") > 0);
        n_train_cases++;
    }
    batch_close(&b);
}

static void for_each_case(void (*fn)(const char *path))
{
    char root[512], path[1024], graph[1100];
    struct qx_arena arena = {0};
    char **names;
    size_t n = 0;
    source_path(root, sizeof root, "tests/golden/net");
    assert_int_equal(qx_fs_list(root, &arena, &names, &n, NULL), QX_OK);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", root, names[i]);
        snprintf(graph, sizeof graph, "%s/gradients.safetensors", path);
        if (qx_fs_exists(graph)) {
            fn(path);
        }
    }
    qx_arena_release(&arena);
}

static void every_network_has_torchs_gradients(void **state)
{
    (void)state;
    for_each_case(check);
    assert_true(n_cases >= 28);
    assert_true(n_train_cases >= 2);
}

/* ---- the logits of a tape are those of the forward pass ---- */

static void check_logits(const char *path)
{
    struct batch b;
    batch_open(&b, path, UINT64_MAX);
    const int64_t classes = qx_net_n_classes(b.f.net);
    float *want = malloc((size_t)(b.n * classes) * sizeof *want);
    assert_non_null(want);
    assert_int_equal(qx_net_forward(b.f.net, b.f.weights, b.x, b.n, want, NULL, NULL, NULL), QX_OK);
    run(&b, QX_TAPE_EVAL, false, NULL);
    for (int64_t i = 0; i < b.n; i++) { /* a pass gives the last place of a row */
        assert_near(path, "logits", b.logits + (b.first[i + 1] - 1) * classes, want + i * classes,
                    classes);
    }
    free(want);
    batch_close(&b);
}

static void a_tape_computes_the_networks_logits(void **state)
{
    (void)state;
    for_each_case(check_logits);
}

/* ---- threads change nothing ---- */

static void check_threads(const char *path)
{
    struct batch b;
    struct qx_pool *pool = NULL;
    batch_open(&b, path, UINT64_MAX);
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    run(&b, QX_TAPE_TRAIN, true, NULL);
    const int n = qx_tape_n_params(b.tape);
    float **kept = calloc((size_t)n, sizeof *kept);
    assert_non_null(kept);
    for (int i = 0; i < n; i++) {
        const struct qx_param *p = qx_tape_param(b.tape, i);
        if (p->grad) {
            kept[i] = malloc((size_t)p->n * sizeof(float));
            assert_non_null(kept[i]);
            memcpy(kept[i], p->grad, (size_t)p->n * sizeof(float));
        }
    }
    run(&b, QX_TAPE_TRAIN, true, pool);
    for (int i = 0; i < n; i++) {
        const struct qx_param *p = qx_tape_param(b.tape, i);
        if (kept[i]) {
            assert_memory_equal(kept[i], p->grad, (size_t)p->n * sizeof(float));
        }
        free(kept[i]);
    }
    free(kept);
    qx_pool_free(pool);
    batch_close(&b);
}

static void gradients_do_not_depend_on_threads(void **state)
{
    (void)state;
    for_each_case(check_threads);
}

/* ---- finite differences: along a direction, the loss grows by gradient times step ---- */

static double loss_at(struct batch *b, const struct qx_param *p, const float *from,
                      const float *along, double step)
{
    for (int64_t i = 0; i < p->n; i++) {
        p->value[i] = (float)((double)from[i] + step * (double)along[i]);
    }
    const double sum = run(b, QX_TAPE_TRAIN, false, NULL);
    memcpy(p->value, from, (size_t)p->n * sizeof *from);
    return sum;
}

static int n_slopes, n_blocks;

/* Along the gradient itself, where the change is largest against the rounding of float32. Kinks (Relu,
 * maxima) bend the line: the step is small, and the tolerance wide. */
static void check_differences(const char *path)
{
    struct batch b;
    batch_open(&b, path, UINT64_MAX);
    run(&b, QX_TAPE_TRAIN, true, NULL);
    for (int k = 0; k < qx_tape_n_params(b.tape); k++) {
        const struct qx_param *p = qx_tape_param(b.tape, k);
        double square = 0.0, size = 0.0;
        for (int64_t i = 0; p->grad && i < p->n; i++) {
            square += (double)p->grad[i] * (double)p->grad[i];
            size = fmax(size, fabs((double)p->value[i]));
        }
        const double step = 2e-3 / sqrt(fmax(square, 1e-30)) * fmax(size, 0.1);
        double noise = 0.0;
        for (int64_t i = 0; i < b.n_logits; i++) {
            noise += 1e-7 * fabs((double)b.logits[i]);
        }
        if (2.0 * step * square < 50.0 * noise) {
            continue; /* nothing to see above the rounding of the logits */
        }
        n_slopes++;
        float *from = malloc((size_t)p->n * sizeof *from);
        assert_non_null(from);
        memcpy(from, p->value, (size_t)p->n * sizeof *from);
        const double slope =
            (loss_at(&b, p, from, p->grad, step) - loss_at(&b, p, from, p->grad, -step)) /
            (2.0 * step);
        if (!(fabs(slope - square) <= 0.08 * square)) {
            fail_msg("%s, %s: slope %g, squared gradient %g", path, p->name, slope, square);
        }
        free(from);
    }
    batch_close(&b);
}

static void gradients_agree_with_finite_differences(void **state)
{
    (void)state;
    for_each_case(check_differences);
    assert_true(n_slopes >= 30);
}

static void every_operation_has_a_way_back(void **state)
{
    (void)state;
    for (int i = 0; i < qx_op_count(); i++) {
        const struct qx_op *op = qx_op_at(i);
        if (!op->is_view && !op->backward) {
            fail_msg("%s", op->name);
        }
    }
}

/* ---- memory ---- */

/* Block by block, a tile's gradients keep every bit. */
static void check_blocks(const char *path)
{
    struct batch a, b;
    batch_open(&a, path, UINT64_MAX);
    batch_open(&b, path, 0);
    run(&a, QX_TAPE_TRAIN, true, NULL);
    run(&b, QX_TAPE_TRAIN, true, NULL);
    assert_int_equal(qx_tape_n_blocks(a.tape), 1);
    n_blocks += qx_tape_n_blocks(b.tape) > 1;
    assert_true(qx_tape_bytes(b.tape) <= qx_tape_bytes(a.tape));
    for (int i = 0; i < qx_tape_n_params(a.tape); i++) {
        const struct qx_param *p = qx_tape_param(a.tape, i), *q = qx_tape_param(b.tape, i);
        if (p->grad) {
            assert_memory_equal(p->grad, q->grad, (size_t)p->n * sizeof(float));
        }
    }
    batch_close(&a);
    batch_close(&b);
}

static void gradients_block_by_block_keep_every_bit(void **state)
{
    (void)state;
    for_each_case(check_blocks);
    assert_true(n_blocks >= 12);
}

/* A tape made for the rows at hand, not for the longest possible: every bit, in less memory. */
static void short_rows_take_less_and_keep_every_bit(void **state)
{
    (void)state;
    char path[512];
    struct batch a, b;
    source_path(path, sizeof path, "tests/golden/net/encoder_bert");
    batch_open(&a, path, UINT64_MAX);
    batch_open(&b, path, UINT64_MAX);
    const int64_t sample = qx_net_sample_size(b.f.net), most = sample / 2;
    int64_t longest = 0;
    for (int64_t i = 0; i < b.n * sample; i++) { /* rows of 1 to `most` places */
        a.x[i] = b.x[i] = i % sample > i / sample % most ? -1.0f : b.x[i];
    }
    for (int64_t i = 0; i < b.n; i++) {
        const int64_t places = qx_net_places(b.f.net, b.x + i * sample);
        longest = places > longest ? places : longest;
    }
    assert_in_range(longest, 2, most);
    qx_tape_free(b.tape);
    assert_int_equal(qx_tape_new(b.f.net, b.n, longest, UINT64_MAX, &b.tape, NULL), QX_OK);
    assert_true(run(&a, QX_TAPE_TRAIN, true, NULL) == run(&b, QX_TAPE_TRAIN, true, NULL));
    for (int i = 0; i < qx_tape_n_params(a.tape); i++) {
        const struct qx_param *p = qx_tape_param(a.tape, i), *q = qx_tape_param(b.tape, i);
        assert_memory_equal(p->grad, q->grad, (size_t)p->n * sizeof(float));
    }
    assert_true(qx_tape_bytes(b.tape) < qx_tape_bytes(a.tape));

    struct qx_error err = {0};
    const struct qx_tape_loss loss = {&b, weigh};
    double sum;
    qx_tape_free(b.tape);
    assert_int_equal(qx_tape_new(b.f.net, b.n, longest - 1, UINT64_MAX, &b.tape, NULL), QX_OK);
    assert_int_equal(
        qx_tape_run(b.tape, b.x, b.n, QX_TAPE_TRAIN, &loss, true, &sum, NULL, NULL, &err),
        QX_EDATA);
    assert_non_null(strstr(err.text, "places"));
    batch_close(&a);
    batch_close(&b);
}

/* What the header states, for a decoder of width 192 with 512 inside: blocks hand 192 values of each place on;
 * the largest is norm, gate, up, activation, product and down of one layer. An input has at most 512. */
static uint64_t stated_bytes(const struct qx_tape *t, uint64_t n_params)
{
    const uint64_t places = QX_TAPE_LANES * 2 * 128;
    const uint64_t kept = (uint64_t)(qx_tape_n_blocks(t) - 1) * 192;
    const uint64_t largest = 192 + 4 * 512 + 192, input = 512;
    return 2 * 4 * places * (kept + largest + input) + 4 * n_params * (QX_TAPE_LANES + 2) +
           (4 << 20);
}

static void memory_is_bounded_whatever_the_batch(void **state)
{
    char path[512];
    struct folder f;
    struct qx_tape *few = NULL, *many = NULL, *all = NULL;
    uint64_t n_params = 0;
    (void)state;
    source_path(path, sizeof path, "samples/llama-tiny");
    folder_open(&f, path);
    const struct mallinfo2 before = mallinfo2();
    assert_int_equal(qx_tape_new(f.net, 16, 0, 0, &few, NULL), QX_OK);
    const struct mallinfo2 after = mallinfo2();
    const uint64_t taken = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    assert_int_equal(qx_tape_new(f.net, 1000, 0, 0, &many, NULL), QX_OK);
    assert_int_equal(qx_tape_new(f.net, 16, 0, UINT64_MAX, &all, NULL), QX_OK);
    for (int i = 0; i < qx_tape_n_params(few); i++) {
        n_params += (uint64_t)qx_tape_param(few, i)->n;
    }
    assert_true(qx_tape_n_blocks(few) > 5);
    assert_true(qx_tape_bytes(few) <= stated_bytes(few, n_params));
    assert_int_equal(qx_tape_bytes(few), qx_tape_bytes(many));
    assert_true(qx_tape_bytes(few) < qx_tape_bytes(all) / 2);
    /* what the heap gave, the stored weights included */
    assert_true(taken <= stated_bytes(few, n_params) + 4 * n_params);
    qx_tape_free(few);
    qx_tape_free(many);
    qx_tape_free(all);
    folder_close(&f);
}

/* A pass and the way back allocate nothing. */
static void check_allocations(const char *path)
{
    struct batch b;
    batch_open(&b, path, 0);
    const int64_t before = qx_mem_count();
    run(&b, QX_TAPE_TRAIN, true, NULL);
    assert_int_equal(qx_mem_count(), before);
    batch_close(&b);
}

static void a_run_allocates_nothing(void **state)
{
    (void)state;
    for_each_case(check_allocations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_network_has_torchs_gradients),
        cmocka_unit_test(a_tape_computes_the_networks_logits),
        cmocka_unit_test(gradients_do_not_depend_on_threads),
        cmocka_unit_test(gradients_agree_with_finite_differences),
        cmocka_unit_test(every_operation_has_a_way_back),
        cmocka_unit_test(gradients_block_by_block_keep_every_bit),
        cmocka_unit_test(short_rows_take_less_and_keep_every_bit),
        cmocka_unit_test(memory_is_bounded_whatever_the_batch),
        cmocka_unit_test(a_run_allocates_nothing),
    };
    return cmocka_run_group_tests_name("grad", tests, NULL, NULL);
}

/* Methods on layers so small that every choice can be tried: none does better, and theirs come close. */
#include "net_fixture.h"
#include "qx/method.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 2, K = 5, SAMPLES = 12, CASES = 40 };

struct tiny {
    struct folder f;
    float w[N * K], second[K * K], mean[K], mean_abs[K], lo[K], hi[K];
    struct qx_moments m;
};

/* A layer with drawn weights, and moments of drawn inputs that hang together, in the scratch folder. */
static void tiny_open(struct tiny *t, uint64_t seed)
{
    struct qx_rng rng;
    memset(t, 0, sizeof *t);
    qx_rng_init(&rng, seed);
    for (int i = 0; i < N * K; i++) {
        t->w[i] = (float)qx_rng_normal(&rng);
    }
    for (int s = 0; s < SAMPLES; s++) {
        float x[K];
        const float common = (float)qx_rng_normal(&rng);
        for (int j = 0; j < K; j++) {
            x[j] = (common + 0.7f * (float)qx_rng_normal(&rng)) * (0.5f + (float)j);
            t->mean[j] += x[j] / SAMPLES;
            t->mean_abs[j] += fabsf(x[j]) / SAMPLES;
            t->lo[j] = fminf(t->lo[j], x[j]);
            t->hi[j] = fmaxf(t->hi[j], x[j]);
        }
        for (int i = 0; i < K * K; i++) {
            t->second[i] += x[i / K] * x[i % K] / SAMPLES;
        }
    }
    const struct tensor_spec tensor = {"w", "F32", 2, {N, K}, t->w};
    model_write("model.safetensors", &tensor, 1, NULL);
    char *json = quoted("{'schema':'qexplore.graph/1','inputs':[{'name':'x','dtype':'F32','shape':"
                        "['N',5]}],'nodes':[{'op':'Gemm','name':'g','inputs':['x','w'],'outputs':"
                        "['y'],'attrs':{'transB':1}}],'outputs':['y']}");
    text_write("graph.json", json);
    free(json);
    folder_open(&t->f, ".");
    t->m = (struct qx_moments){.n_columns = SAMPLES,
                               .second = t->second,
                               .mean = t->mean,
                               .mean_abs = t->mean_abs,
                               .lo = t->lo,
                               .hi = t->hi};
    assert_true(qx_net_layer_product(t->f.net, 0, &t->m.product));
}

static struct qx_overlay *run(const struct tiny *t, int bits, const char *algo)
{
    struct qx_setting s = rtn_setting(&t->f, 0, "channel", bits);
    struct qx_overlay *o = NULL;
    struct qx_error err = {0};
    assert_int_equal(qx_algo_parse(algo, &(struct qx_algo){0}, s.algo, &err), QX_OK);
    if (qx_methods_apply(t->f.net, 0, &s, &t->m, NULL, NULL, &o, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return o;
}

/* e H e' of a row of codes. */
static double loss(const struct tiny *t, int row, double scale, const int *codes)
{
    double e[K], sum = 0.0;
    for (int j = 0; j < K; j++) {
        e[j] = codes[j] * scale - (double)t->w[row * K + j];
    }
    for (int i = 0; i < K * K; i++) {
        sum += e[i / K] * (double)t->second[i] * e[i % K];
    }
    return sum;
}

/* The least of all (2 most + 1)^K choices. */
static double least_loss(const struct tiny *t, int row, double scale, int most)
{
    const int base = 2 * most + 1;
    int all = 1, codes[K];
    double least = INFINITY;
    for (int j = 0; j < K; j++) {
        all *= base;
    }
    for (int c = 0; c < all; c++) {
        for (int j = 0, rest = c; j < K; j++, rest /= base) {
            codes[j] = rest % base - most;
        }
        least = fmin(least, loss(t, row, scale, codes));
    }
    return least;
}

static double loss_of(const struct tiny *t, const struct qx_overlay *o, int row)
{
    int codes[K];
    for (int j = 0; j < K; j++) {
        codes[j] = o->codes[row * K + j];
    }
    return loss(t, row, (double)o->scale[row], codes);
}

static void codes_come_close_to_the_best_there_are(void **state)
{
    static const char *const lists[] = {"", "gptq", "adaround"};
    double sum[3] = {0.0}, best = 0.0;
    (void)state;
    for (int c = 0; c < CASES; c++) {
        struct tiny t;
        tiny_open(&t, 100 + (uint64_t)c);
        struct qx_overlay *o[3];
        for (int i = 0; i < 3; i++) {
            o[i] = run(&t, 2 + c % 2, lists[i]);
        }
        for (int row = 0; row < N; row++) {
            const double least = least_loss(&t, row, (double)o[0]->scale[row], c % 2 ? 3 : 1);
            const double size = loss(&t, row, 0.0, (int[K]){0}); /* of the outputs themselves */
            best += least / size;
            for (int i = 0; i < 3; i++) {
                const double own = loss_of(&t, o[i], row);
                assert_true(o[i]->scale[row] == o[0]->scale[row]);
                assert_true(own >= least * (1.0 - 1e-6));
                sum[i] += own / size;
            }
        }
        for (int i = 0; i < 3; i++) {
            qx_overlay_free(o[i]);
        }
        folder_close(&t.f);
    }
    /* of what rounding loses beyond the optimum, they leave less than half */
    for (int i = 1; i < 3; i++) {
        if (!(sum[i] - best < 0.5 * (sum[0] - best))) {
            fail_msg("%s: %g, rounding %g, the best %g", lists[i], sum[i], sum[0], best);
        }
    }
}

static void awq_takes_the_best_of_its_grid(void **state)
{
    enum { ALPHAS = 20 };
    (void)state;
    for (int c = 0; c < 8; c++) {
        struct tiny t;
        char text[32];
        double least = INFINITY;
        tiny_open(&t, 300 + (uint64_t)c);
        struct qx_overlay *o = run(&t, 3, "awq");
        for (int i = 0; i < ALPHAS; i++) {
            snprintf(text, sizeof text, "awq:%.2f", (double)i / ALPHAS);
            struct qx_overlay *at = run(&t, 3, text);
            least = fmin(least, at->after);
            qx_overlay_free(at);
        }
        assert_true(o->after == least);
        qx_overlay_free(o);
        folder_close(&t.f);
    }
}

/* Dead outputs, constant ones, dead inputs, no inputs at all, inputs that are all the same, values that are no
 * numbers, and groups that do not divide the row: whatever the method, the weights stay numbers. */
static void odd_layers_stay_finite(void **state)
{
    static const char *const grans[] = {"channel", "tensor", "group:3"};
    (void)state;
    for (int odd = 0; odd < 6; odd++) {
        for (int i = 0; i < 3 * qx_method_count(); i++) {
            const struct qx_method *method = qx_method_at(i / 3);
            struct tiny t;
            struct qx_overlay *o = NULL;
            struct qx_error err = {0};
            if (method->is_trained) {
                continue;
            }
            tiny_open(&t, 7);
            for (int k = 0; k < K * K; k++) {
                const bool is_dead = k / K == 2 || k % K == 2;
                t.second[k] = odd == 2 && is_dead  ? 0.0f
                              : odd == 3           ? 0.0f
                              : odd == 4           ? 1.0f
                              : odd == 5 && k == 6 ? NAN
                                                   : t.second[k];
            }
            for (int k = 0; odd == 3 && k < K; k++) {
                t.mean[k] = t.mean_abs[k] = t.lo[k] = t.hi[k] = 0.0f;
            }
            folder_close(&t.f);
            for (int k = 0; k < K; k++) {
                t.w[k] = odd == 0 ? 0.0f : odd == 1 ? 0.25f : t.w[k];
            }
            const struct tensor_spec tensor = {"w", "F32", 2, {N, K}, t.w};
            model_write("model.safetensors", &tensor, 1, NULL);
            folder_open(&t.f, ".");
            struct qx_setting set = rtn_setting(&t.f, 0, grans[i % 3], 3);
            snprintf(set.algo, sizeof set.algo, "%s", method->name);
            set.act = qx_act_dynamic(8);
            if (qx_methods_apply(t.f.net, 0, &set, &t.m, NULL, NULL, &o, &err) != QX_OK) {
                fail_msg("%s, case %d: %s", method->name, odd, err.text);
            }
            for (int k = 0; k < N * K; k++) {
                if (!isfinite(qx_overlay_element(o, k))) {
                    fail_msg("%s, case %d, %s: value %d is no number", method->name, odd,
                             grans[i % 3], k);
                }
            }
            for (int k = 0; o->in_scale && k < K; k++) {
                assert_true(isfinite(o->in_scale[k]) && o->in_scale[k] > 0.0f);
            }
            for (int k = 0; o->in_shift && k < K; k++) {
                assert_true(isfinite(o->in_shift[k]) && o->in_shift[k] >= 0.0f);
            }
            for (int k = 0; o->bias && k < N; k++) {
                assert_true(isfinite(o->bias[k]));
            }
            qx_overlay_free(o);
            folder_close(&t.f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_come_close_to_the_best_there_are),
        cmocka_unit_test(odd_layers_stay_finite),
        cmocka_unit_test(awq_takes_the_best_of_its_grid),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}

/* The integer engine on whole graphs: against the simulation, threads, faults. */
#include "base/mem.h"
#include "base/pool.h"
#include "integer_fixture.h"
#include "net/exec.h"
#include "test_net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Fused parts, codes between layers, values that stay float: all at scale 1 give whole numbers. */
#define CONV(name, in, w)                                                                    \
    "{'op':'Conv','name':'" name "','inputs':['" in "','" w "'],'outputs':['" name ".out']," \
    "'attrs':{'pads':[1,1,1,1]}}"
#define NODE(op, name, in) \
    "{'op':'" op "','name':'" name "','inputs':['" in "'],'outputs':['" name ".out']}"
#define POOL(name, in)                                                                  \
    "{'op':'MaxPool','name':'" name "','inputs':['" in "'],'outputs':['" name ".out']," \
    "'attrs':{'kernel_shape':[3,2],'strides':[2,2],'pads':[1,0,1,1]}}"
#define NORM                                                                    \
    "{'op':'BatchNormalization','name':'n','inputs':['a.out','g','b','m','v']," \
    "'outputs':['n.out'],'attrs':{'epsilon':0}}"
#define GEMM(in) \
    "{'op':'Gemm','name':'fc','inputs':['" in "','fc.w'],'outputs':['y'],'attrs':{'transB':1}}"

static const char *const chains[] = {
    /* codes through normalization, Relu, pooling and a flattening that is not channels last */
    CONV("a", "x", "w1") "," NORM "," NODE("Relu", "r", "n.out") "," POOL("p", "r.out") "," CONV(
        "c", "p.out", "w2") "," NODE("Flatten", "f", "c.out") "," GEMM("f.out"),
    /* a residual: channels last in float */
    CONV("a", "x", "w1") "," NORM "," NODE("Relu", "r", "n.out") "," CONV(
        "c", "r.out",
        "w2") ","
              "{'op':'Add','name':'add','inputs':['r.out','c.out'],'outputs':['add.out']}," POOL(
                  "p", "add.out") "," NODE("Relu", "r2",
                                           "p.out") "," NODE("Flatten", "f",
                                                             "r2.out") "," GEMM("f.out"),
    /* a value that codes and plain float readers share; Relu before pooling on codes */
    CONV("a", "x", "w1") "," POOL("p", "a.out") "," NODE("Relu", "r", "p.out") "," CONV(
        "c", "r.out",
        "w2") "," NODE("GlobalAveragePool", "gap",
                       "a.out") ","
                                "{'op':'Add','name':'add','inputs':['c.out','gap.out'],'outputs':['"
                                "add.out']}," NODE("Flatten", "f", "add.out") "," GEMM("f.out"),
    /* elementwise beside a reader that needs planes: everything falls back to planes */
    CONV("a", "x", "w1") "," NODE("Sigmoid", "s", "a.out") "," POOL("p", "s.out") "," NODE(
        "Flatten", "f", "p.out") "," GEMM("f.out"),
};
static const int fc_inputs[] = {3 * 3 * 4, 3 * 3 * 4, 3 * 3 * 4, 3 * 3 * 4};

static void write_chain_weights(int fc_in)
{
    static float w1[4 * 3 * 9], w2[4 * 4 * 9], fc[6 * 64];
    static const float g[] = {0.5f, -0.25f, 2.0f, 1.0f}, b[] = {1, -2, 3, 0},
                       m[] = {0.5f, 1, -3, 2}, v[] = {4, 1, 0.25f, 1};
    for (int i = 0; i < 4 * 4 * 9; i++) {
        w1[i % (4 * 3 * 9)] = sinf((float)i) * 0.4f;
        w2[i] = cosf((float)i * 1.3f) * 0.3f;
    }
    for (int i = 0; i < 6 * fc_in; i++) {
        fc[i] = sinf((float)i * 0.7f) * 0.2f;
    }
    const struct tensor_spec t[] = {{"w1", "F32", 4, {4, 3, 3, 3}, w1},
                                    {"w2", "F32", 4, {4, 4, 3, 3}, w2},
                                    {"fc.w", "F32", 2, {6, fc_in}, fc},
                                    {"g", "F32", 1, {4}, g},
                                    {"b", "F32", 1, {4}, b},
                                    {"m", "F32", 1, {4}, m},
                                    {"v", "F32", 1, {4}, v}};
    model_write("model.safetensors", t, 7, NULL);
}

static struct qx_setting layer_setting(const struct folder *f, int layer, const char *gran,
                                       int bits, const struct qx_act *act)
{
    struct qx_setting s = rtn_setting(f, layer, gran, bits);
    s.act = *act;
    if (qx_act_open(&s.act)) {
        s.act.has_range = true;
        s.act.range = s.act.sym ? (struct qx_range){-3.0, 3.0} : (struct qx_range){-1.5, 3.5};
    }
    return s;
}

static void apply_all(struct folder *f, const char *gran, int bits, const struct qx_act *act)
{
    for (int i = 0; i < qx_net_n_layers(f->net); i++) {
        if (qx_net_layer(f->net, i)->role == QX_ROLE_LINEAR) {
            const struct qx_setting s = layer_setting(f, i, gran, bits, act);
            integer_apply(f, i, &s);
        }
    }
}

static float *waves(const struct folder *f, int64_t rows)
{
    const int64_t n = rows * qx_net_sample_size(f->net);
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = qx_net_input_is_ids(f->net) ? (float)(i * 7 % 12) : sinf((float)i * 0.37f) * 2.0f;
    }
    return x;
}

/* Few codes differ between the engines, and logits are near. */
static void check_agreement(struct folder *f, const char *what)
{
    float *x = waves(f, ROWS);
    integer_prepare(f, QX_ENGINE_SIMULATED);
    float *want = integer_run(f, x, ROWS, NULL);
    integer_prepare(f, QX_ENGINE_INTEGER);
    float *have = integer_run(f, x, ROWS, NULL);
    struct qx_net_report r = {0};
    struct qx_error err = {0};
    assert_int_equal(qx_net_compare(f->net, f->weights, x, ROWS, &r, NULL, NULL, &err), QX_OK);
    const int n = qx_net_n_classes(f->net);
    double top = 0, worst = 0;
    for (int i = 0; i < ROWS * n; i++) {
        top = fmax(top, fabs((double)want[i]));
        worst = fmax(worst, fabs((double)want[i] - (double)have[i]));
    }
    if (r.n_codes == 0 || r.n_rows != ROWS || r.n_codes_differ * 200 > r.n_codes ||
        worst > 0.03 * top) {
        fail_msg("%s: %lld of %lld codes differ, logits by %g of %g", what,
                 (long long)r.n_codes_differ, (long long)r.n_codes, worst, top);
    }
    free(x);
    free(want);
    free(have);
}

struct variant {
    const char *gran;
    int bits;
    bool dynamic, sym;
    int act_bits;
};
static const struct variant variants[] = {
    {"channel", 8, false, false, 8}, {"channel", 8, true, true, 8},
    {"tensor", 8, false, true, 8},   {"channel", 4, true, false, 8},
    {"group:32", 4, true, true, 8},  {"group:32", 4, false, false, 8},
    {"group:5", 6, false, true, 7},  {"group:64", 3, true, false, 8},
};

static struct qx_act variant_act(const struct variant *v)
{
    struct qx_act a = v->dynamic ? qx_act_dynamic(v->act_bits) : qx_act_static(v->act_bits);
    a.sym = v->sym;
    return a;
}

static void chains_agree_with_the_simulation(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof chains / sizeof *chains; c++) {
        write_chain_weights(fc_inputs[c]);
        struct folder f;
        integer_open_written(&f, chains[c], "['N',3,6,6]", "y");
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
            char what[64];
            const struct qx_act act = variant_act(&variants[v]);
            snprintf(what, sizeof what, "chain %zu, variant %zu", c, v);
            apply_all(&f, variants[v].gran, variants[v].bits, &act);
            check_agreement(&f, what);
        }
        folder_close(&f);
    }
}

/* Of the others some node has no integer form: a product of two values, a bias of another shape. */
static void golden_nets_agree_with_the_simulation(void **state)
{
    (void)state;
    static const char *const nets[] = {"residual_net", "conv2d_groups", "conv1d",
                                       "conv2d",       "transformer",   "matmul"};
    for (size_t k = 0; k < sizeof nets / sizeof *nets; k++) {
        for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
            struct folder f;
            char what[64];
            const struct qx_act act = variant_act(&variants[v]);
            golden_open(&f, nets[k]);
            apply_all(&f, variants[v].gran, variants[v].bits, &act);
            snprintf(what, sizeof what, "%s, variant %zu", nets[k], v);
            integer_prepare(&f, QX_ENGINE_INTEGER);
            check_agreement(&f, what);
            folder_close(&f);
        }
    }
}

/* Static codes pass from product to product without a float between. */
static void codes_stay_codes_where_all_readers_take_them(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_static(8);
    write_chain_weights(fc_inputs[0]);
    struct folder f;
    integer_open_written(&f, chains[0], "['N',3,6,6]", "y");
    apply_all(&f, "channel", 8, &act);
    integer_prepare(&f, QX_ENGINE_INTEGER);
    const struct qx_exec *e = f.weights->exec;
    static const enum qx_exec_kind kinds[] = {QX_EXEC_LINEAR, QX_EXEC_NONE,   QX_EXEC_NONE,
                                              QX_EXEC_CODES,  QX_EXEC_LINEAR, QX_EXEC_NONE,
                                              QX_EXEC_LINEAR};
    for (int i = 0; i < f.net->n_nodes; i++) {
        assert_int_equal(e->nodes[i].kind, kinds[i]);
        const int out = e->nodes[i].out;
        const bool is_last = f.net->values[out] == f.net->output;
        if (kinds[i] != QX_EXEC_NONE) {
            assert_int_equal(e->values[out].form, is_last ? QX_FORM_PLAIN : QX_FORM_CODES);
        }
    }
    folder_close(&f);
}

static void threads_and_tiles_do_not_change_a_bit(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_dynamic(8);
    struct folder f;
    golden_open(&f, "residual_net");
    apply_all(&f, "channel", 8, &act);
    integer_prepare(&f, QX_ENGINE_INTEGER);
    float *x = waves(&f, 103), *want = integer_run(&f, x, 103, NULL);
    const int n = qx_net_n_classes(f.net);
    for (int threads = 1; threads <= 3; threads += 2) {
        struct qx_pool *pool = NULL;
        assert_int_equal(qx_pool_new(threads, &pool, NULL), QX_OK);
        float *have = integer_run(&f, x, 103, pool);
        assert_memory_equal(have, want, (size_t)(103 * n) * sizeof *have);
        free(have);
        qx_pool_free(pool);
    }
    float *one = integer_run(&f, x + 50 * qx_net_sample_size(f.net), 1, NULL);
    assert_memory_equal(one, want + 50 * n, (size_t)n * sizeof *one);
    free(one);
    free(x);
    free(want);
    folder_close(&f);
}

/* ---- edits ---- */

/* Logits of weights that pack everything under the settings that f's have. */
static float *packed_anew(const struct folder *f, const struct qx_setting *set, const float *x)
{
    struct folder fresh = *f;
    assert_int_equal(qx_weights_new(f->net, &fresh.weights, NULL), QX_OK);
    for (int i = 0; i < qx_net_n_layers(f->net); i++) {
        integer_apply(&fresh, i, &set[i]);
    }
    integer_prepare(&fresh, QX_ENGINE_INTEGER);
    float *out = integer_run(&fresh, x, ROWS, NULL);
    qx_weights_free(fresh.weights);
    return out;
}

/* Layers one after the other get any of the variants, or lose the quantization of their input. */
static void edits_walk(struct folder *f, const char *what)
{
    enum { MOST = 32 };
    const int n = qx_net_n_layers(f->net);
    const struct qx_act off = {.bits = 0};
    struct qx_setting set[MOST];
    assert_true(n <= MOST);
    float *x = waves(f, ROWS);
    for (int i = 0; i < n; i++) {
        const bool is_linear = qx_net_layer(f->net, i)->role == QX_ROLE_LINEAR;
        const struct qx_act act = variant_act(&variants[0]);
        set[i] = is_linear ? layer_setting(f, i, "channel", 8, &act) : qx_setting_fp32();
        integer_apply(f, i, &set[i]);
    }
    for (int step = 0; step < 30; step++) {
        const int layer = step * 7 % n;
        const struct variant *v = &variants[step * 5 % (int)(sizeof variants / sizeof *variants)];
        const struct qx_act act = step % 11 == 10 ? off : variant_act(v);
        if (qx_net_layer(f->net, layer)->role == QX_ROLE_LINEAR) {
            set[layer] = layer_setting(f, layer, v->gran, v->bits, &act);
            integer_apply(f, layer, &set[layer]);
        }
        if (step % 6 != 5 && f->weights->has_act) { /* else two edits at a time */
            integer_prepare(f, QX_ENGINE_INTEGER);
            float *have = integer_run(f, x, ROWS, NULL), *want = packed_anew(f, set, x);
            if (memcmp(have, want, ROWS * (size_t)qx_net_n_classes(f->net) * sizeof *have) != 0) {
                fail_msg("%s, step %d: other logits than when all is packed anew", what, step);
            }
            free(have);
            free(want);
        }
    }
    free(x);
}

static void an_edit_gives_the_bits_of_packing_everything(void **state)
{
    (void)state;
    static const char *const nets[] = {"residual_net", "conv2d_groups", "transformer"};
    struct folder f;
    char what[64];
    for (size_t c = 0; c < sizeof chains / sizeof *chains; c++) {
        write_chain_weights(fc_inputs[c]);
        integer_open_written(&f, chains[c], "['N',3,6,6]", "y");
        snprintf(what, sizeof what, "chain %zu", c);
        edits_walk(&f, what);
        folder_close(&f);
    }
    for (size_t k = 0; k < sizeof nets / sizeof *nets; k++) {
        golden_open(&f, nets[k]);
        edits_walk(&f, nets[k]);
        folder_close(&f);
    }
}

static void an_edit_packs_its_own_layer_only(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_static(8);
    const struct qx_qlinear *before[3], *now[3];
    struct folder f;
    write_chain_weights(fc_inputs[0]);
    integer_open_written(&f, chains[0], "['N',3,6,6]", "y");
    apply_all(&f, "channel", 8, &act);
    for (int pass = 0; pass < 2; pass++) {
        integer_prepare(&f, QX_ENGINE_INTEGER);
        for (int i = 0, n = 0; i < f.net->n_nodes; i++) {
            if (f.weights->exec->nodes[i].linear) {
                (pass ? now : before)[n++] = f.weights->exec->nodes[i].linear;
            }
        }
        const struct qx_setting s = layer_setting(&f, 1, "channel", 5, &act);
        integer_apply(&f, 1, &s);
    }
    assert_ptr_equal(now[0], before[0]);
    assert_ptr_not_equal(now[1], before[1]);
    assert_ptr_equal(now[2], before[2]);
    folder_close(&f);
}

/* ---- what goes wrong ---- */

static void auto_simulates_what_no_kernel_runs_and_integer_names_it(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_dynamic(8);
    struct qx_error err = {0};
    struct folder f;
    golden_open(&f, "gemm_transposed_input");
    integer_prepare(&f, QX_ENGINE_AUTO);
    assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_SIMULATED);
    apply_all(&f, "channel", 8, &act);
    assert_int_equal(qx_weights_prepare(f.weights, QX_ENGINE_INTEGER, NULL, NULL, &err),
                     QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "node '"));
    integer_prepare(&f, QX_ENGINE_AUTO);
    assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_SIMULATED);
    folder_close(&f);
    golden_open(&f, "residual_net");
    apply_all(&f, "channel", 8, &act);
    integer_prepare(&f, QX_ENGINE_AUTO);
    assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_INTEGER);
    const struct qx_setting plain = qx_setting_fp32();
    integer_apply(&f, 0, &plain);
    assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_SIMULATED);
    folder_close(&f);
}

static void a_static_range_must_be_there(void **state)
{
    (void)state;
    struct qx_error err = {0};
    struct folder f;
    golden_open(&f, "gemm");
    struct qx_setting s = rtn_setting(&f, 0, "channel", 8);
    s.act = qx_act_static(8);
    assert_int_equal(qx_weights_apply(f.weights, 0, &s, NULL, NULL, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "calibrate"));
    folder_close(&f);
}

static void values_that_are_no_numbers_are_counted(void **state)
{
    (void)state;
    struct folder f;
    golden_open(&f, "residual_net");
    for (int dynamic = 0; dynamic < 2; dynamic++) {
        const struct qx_act act = dynamic ? qx_act_dynamic(8) : qx_act_static(8);
        apply_all(&f, "channel", 8, &act);
        for (int engine = QX_ENGINE_SIMULATED; engine <= QX_ENGINE_INTEGER; engine++) {
            integer_prepare(&f, (enum qx_engine)engine);
            float *x = waves(&f, ROWS), logits[ROWS * 16];
            x[3] = NAN;
            x[40] = INFINITY;
            struct qx_net_report r = {0};
            assert_true(qx_net_n_classes(f.net) <= 16);
            assert_int_equal(qx_net_run(f.net, f.weights, x, ROWS, logits, &r, NULL, NULL, NULL),
                             QX_OK);
            assert_int_equal(r.n_nonfinite, 2);
            assert_true(isfinite(logits[0]));
            free(x);
        }
    }
    folder_close(&f);
}

static void failed_allocations_and_cancelling_leave_the_weights_as_they_were(void **state)
{
    (void)state;
    struct folder f;
    struct qx_ctl ctl = {0};
    struct qx_error err = {0};
    const struct qx_act act = qx_act_static(8);
    golden_open(&f, "residual_net");
    apply_all(&f, "group:32", 4, &act);
    float *x = waves(&f, ROWS), *want = integer_run(&f, x, ROWS, NULL);
    const size_t bytes = (size_t)(ROWS * qx_net_n_classes(f.net)) * sizeof *want;
    float *have = malloc(bytes);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_weights_prepare(f.weights, QX_ENGINE_INTEGER, NULL, &ctl, &err),
                     QX_ECANCELLED);
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        qx_mem_fail_at(n);
        st = qx_weights_prepare(f.weights, QX_ENGINE_INTEGER, NULL, NULL, &err);
        qx_mem_fail_at(0);
        assert_true(n < 1000 && (st == QX_OK || st == QX_ENOMEM));
        if (st != QX_OK) {
            assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_SIMULATED);
            assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, have, NULL, NULL, &err),
                             QX_OK);
            assert_memory_equal(have, want, bytes);
        }
    }
    for (int64_t n = 1; st == QX_ENOMEM || n == 1; n++) {
        struct qx_net_report r = {0};
        qx_mem_fail_at(n);
        st = qx_net_compare(f.net, f.weights, x, ROWS, &r, NULL, NULL, &err);
        qx_mem_fail_at(0);
        assert_true(st == QX_OK || (st == QX_ENOMEM && r.n_rows == 0));
    }
    free(x);
    free(want);
    free(have);
    folder_close(&f);
}

/* What was packed before is lost with the failure, no more. */
static void a_failed_edit_leaves_nothing_half_packed(void **state)
{
    (void)state;
    struct folder f;
    struct qx_error err = {0};
    const struct qx_act act = qx_act_static(8);
    golden_open(&f, "residual_net");
    apply_all(&f, "channel", 8, &act);
    float *x = waves(&f, ROWS);
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        struct qx_setting set[16];
        assert_true(n < 1000 && qx_net_n_layers(f.net) <= 16);
        integer_prepare(&f, QX_ENGINE_INTEGER);
        for (int i = 0; i < qx_net_n_layers(f.net); i++) {
            set[i] = layer_setting(&f, i, "channel", i == 0 ? 3 + (int)(n % 2) : 8, &act);
        }
        integer_apply(&f, 0, &set[0]);
        qx_mem_fail_at(n);
        st = qx_weights_prepare(f.weights, QX_ENGINE_INTEGER, NULL, NULL, &err);
        qx_mem_fail_at(0);
        assert_true(st == QX_OK || st == QX_ENOMEM);
        integer_prepare(&f, QX_ENGINE_INTEGER);
        float *have = integer_run(&f, x, ROWS, NULL), *want = packed_anew(&f, set, x);
        assert_memory_equal(have, want, (size_t)(ROWS * qx_net_n_classes(f.net)) * sizeof *want);
        free(have);
        free(want);
    }
    free(x);
    folder_close(&f);
}

int test_net_integer(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_agree_with_the_simulation),
        cmocka_unit_test(golden_nets_agree_with_the_simulation),
        cmocka_unit_test(codes_stay_codes_where_all_readers_take_them),
        cmocka_unit_test(threads_and_tiles_do_not_change_a_bit),
        cmocka_unit_test(an_edit_gives_the_bits_of_packing_everything),
        cmocka_unit_test(an_edit_packs_its_own_layer_only),
        cmocka_unit_test(auto_simulates_what_no_kernel_runs_and_integer_names_it),
        cmocka_unit_test(a_static_range_must_be_there),
        cmocka_unit_test(values_that_are_no_numbers_are_counted),
        cmocka_unit_test(failed_allocations_and_cancelling_leave_the_weights_as_they_were),
        cmocka_unit_test(a_failed_edit_leaves_nothing_half_packed),
    };
    return cmocka_run_group_tests_name("net integer", tests, integer_enter, integer_leave);
}

/* Quantizers in training against the papers' gradients in closed form, losses by finite differences. */
#include "base/rng.h"
#include "method/loss.h"
#include "method/optim.h"
#include "method/quantizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- quantizers against their formulas ---- */

enum { N_VALUES = 5003 };

struct values {
    float x[N_VALUES], d_y[N_VALUES], d_x[N_VALUES];
};

static void values_make(struct values *v, float spread)
{
    struct qx_rng r;
    qx_rng_init(&r, 3);
    for (int i = 0; i < N_VALUES; i++) {
        v->x[i] = spread * (float)qx_rng_normal(&r);
        v->d_y[i] = (float)qx_rng_normal(&r);
        v->d_x[i] = 0.5f; /* written over */
    }
}

static const struct qxk_affine grids[] = {
    {0.1f, 0.0f, -7.0f, 7.0f}, {0.13f, 0.0f, 0.0f, 15.0f}, {0.05f, 5.0f, 0.0f, 15.0f}};

static void lsq_has_the_papers_gradients(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++) {
        const struct qxk_affine *q = &grids[g];
        const double lo = (double)(q->qmin - q->zero), hi = (double)(q->qmax - q->zero);
        struct values v;
        double want = 0.0, size = 0.0;
        values_make(&v, 0.7f);
        const double have = qx_quantizer_lsq.fn->weights(v.x, v.d_y, N_VALUES, q, v.d_x);
        for (int i = 0; i < N_VALUES; i++) {
            const double u = (double)(v.x[i] * (1.0f / q->scale));
            const double slope = u <= lo ? lo : u >= hi ? hi : rint(u) - u;
            want += slope * (double)v.d_y[i];
            size += fabs(slope * (double)v.d_y[i]);
            const float d = u > lo && u < hi ? v.d_y[i] : 0.0f;
            assert_float_equal(v.d_x[i], d, 1e-6);
        }
        assert_true(fabs(have - want) <= 1e-6 * size);
    }
}

static void pact_has_the_papers_gradients(void **state)
{
    (void)state;
    for (size_t g = 1; g < sizeof grids / sizeof *grids; g++) {
        const struct qxk_affine *q = &grids[g];
        const float lo = (q->qmin - q->zero) * q->scale, hi = (q->qmax - q->zero) * q->scale;
        struct values v;
        double by_top = 0.0, by_bottom = 0.0, size = 0.0;
        values_make(&v, 1.5f);
        const double have = qx_quantizer_pact.fn->inputs(v.x, v.d_y, N_VALUES, q, v.d_x);
        for (int i = 0; i < N_VALUES; i++) {
            by_top += v.x[i] >= hi ? (double)v.d_y[i] : 0.0;
            by_bottom += v.x[i] < lo ? (double)v.d_y[i] : 0.0;
            size += fabs((double)v.d_y[i]);
            const float d = v.x[i] >= lo && v.x[i] < hi ? v.d_y[i] : 0.0f;
            assert_float_equal(v.d_x[i], d, 1e-6);
        }
        /* the range's ends are a = (qmax - z) s and b = (qmin - z) s */
        const double want =
            by_top * (double)(q->qmax - q->zero) + by_bottom * (double)(q->qmin - q->zero);
        assert_true(fabs(have - want) <= 1e-6 * size * (double)q->qmax);
    }
}

static void rounding_lets_gradients_through_within_the_range(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++) {
        const struct qxk_affine *q = &grids[g];
        struct values v;
        values_make(&v, 0.9f);
        const double d_scale = qx_quantizer_ste.fn->inputs(v.x, v.d_y, N_VALUES, q, v.d_x);
        assert_true(d_scale == 0.0);
        for (int i = 0; i < N_VALUES; i++) {
            const double code = (double)v.x[i] / (double)q->scale + (double)q->zero;
            if (fabs(code - (double)q->qmin + 0.5) < 1e-4 ||
                fabs(code - (double)q->qmax - 0.5) < 1e-4) {
                continue; /* on the edge, either */
            }
            const bool is_in = rint(code) >= (double)q->qmin && rint(code) <= (double)q->qmax;
            assert_float_equal(v.d_x[i], is_in ? v.d_y[i] : 0.0f, 1e-6);
        }
    }
}

static void rows_are_found_by_name(void **state)
{
    (void)state;
    struct qx_error err = {0};
    for (int i = 0; i < qx_quantizer_count(); i++) {
        const struct qx_quantizer *q = NULL;
        assert_int_equal(qx_quantizer_find(qx_quantizer_at(i)->name, &q, &err), QX_OK);
        assert_ptr_equal(q, qx_quantizer_at(i));
        assert_true(strlen(q->help) > 20);
    }
    for (int i = 0; i < qx_optimizer_count(); i++) {
        const struct qx_optimizer *o = NULL;
        assert_int_equal(qx_optimizer_find(qx_optimizer_at(i)->name, &o, &err), QX_OK);
        assert_ptr_equal(o, qx_optimizer_at(i));
        assert_true(o->rate > 0.0);
    }
    const struct qx_quantizer *q = NULL;
    assert_int_equal(qx_quantizer_find("lsqq", &q, &err), QX_ENAME);
    assert_non_null(strstr(err.text, "lsq"));
}

/* ---- losses ---- */

static void losses_have_the_slope_of_their_gradient(void **state)
{
    enum { CLASSES = 5 };
    const double step = 1.0 / 64.0;
    float logits[CLASSES], teacher[CLASSES], q[CLASSES], d[CLASSES];
    struct qx_rng r;
    (void)state;
    qx_rng_init(&r, 5);
    for (int row = 0; row < 18; row++) {
        const struct qx_loss l = {CLASSES, row / 6 * 0.5, 2.5, 1.0 / 6.0};
        for (int i = 0; i < CLASSES; i++) {
            logits[i] = 3.0f * (float)qx_rng_normal(&r);
            teacher[i] = 3.0f * (float)qx_rng_normal(&r);
        }
        const double q_log_q = qx_loss_teacher(teacher, CLASSES, 2.5, q);
        qx_loss_row(&l, logits, row % CLASSES, q, q_log_q, d);
        for (int i = 0; i < CLASSES; i++) {
            const float keep = logits[i];
            logits[i] = keep + (float)step;
            const double up = qx_loss_row(&l, logits, row % CLASSES, q, q_log_q, NULL);
            logits[i] = keep - (float)step;
            const double down = qx_loss_row(&l, logits, row % CLASSES, q, q_log_q, NULL);
            logits[i] = keep;
            assert_true(fabs((up - down) / (2.0 * step) - (double)d[i]) < 2e-5);
        }
    }
    /* known values: equal logits give ln 5; a teacher of one's own gives 0 */
    memset(logits, 0, sizeof logits);
    assert_float_equal(
        qx_loss_row(&(struct qx_loss){CLASSES, 0.0, 1.0, 1.0}, logits, 3, NULL, 0.0, d),
        1.6094379124341003, 1e-6);
    const double self = qx_loss_teacher(teacher, CLASSES, 3.0, q);
    assert_float_equal(
        qx_loss_row(&(struct qx_loss){CLASSES, 1.0, 3.0, 1.0}, teacher, -1, q, self, d), 0.0, 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lsq_has_the_papers_gradients),
        cmocka_unit_test(pact_has_the_papers_gradients),
        cmocka_unit_test(rounding_lets_gradients_through_within_the_range),
        cmocka_unit_test(rows_are_found_by_name),
        cmocka_unit_test(losses_have_the_slope_of_their_gradient),
    };
    return cmocka_run_group_tests_name("quantizer", tests, NULL, NULL);
}

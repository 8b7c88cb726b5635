/* Number formats: properties of every row. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/fp16.h"
#include "qx/quant.h"

static void format_rows_are_complete(void **state)
{
    char keys[32] = "";

    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);

        assert_ptr_equal(qx_format_find(f->name), f);
        assert_true(strlen(f->title) > 0 && strlen(f->help) > 10);
        assert_true(strlen(f->title) <= 4 && !strchr(f->title, ' ')); /* columns count on it */
        assert_true(f->min_bits >= 2 && f->min_bits <= f->max_bits);
        assert_int_equal(f->kind == QX_FORMAT_FLOAT, f->round != NULL);
        assert_int_equal(f->kind == QX_FORMAT_FLOAT, f->max > 0.0f);
        assert_int_equal(f->kind == QX_FORMAT_TABLE, f->book != NULL);
        assert_int_equal(f->kind == QX_FORMAT_AFFINE || f->kind == QX_FORMAT_TABLE,
                         qx_format_is_scaled(f));
        assert_null(strchr(keys, f->key));
        strncat(keys, &f->key, 1);
    }
    assert_null(qx_format_find("fp33"));
    assert_null(qx_format_at(-1));
    assert_null(qx_format_at(qx_format_count()));
}

/* Values of every size and sign, from a fixed sequence. */
static float value(int i)
{
    float m = 1.0f + (float)((i * 7919) % 4096) / 4096.0f + (float)(i % 7) * 0x1p-20f;

    return (i % 2 ? -m : m) * ldexpf(1.0f, i % 29 - 14);
}

static void rounding_is_idempotent_odd_and_within_tolerance(void **state)
{
    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);

        for (int k = 0; f->round && k < 20000; k++) {
            float x = value(k), y = f->round(x);

            assert_true(f->round(y) == y);
            assert_true(f->round(-x) == -y);
            assert_true(fabs((double)y - (double)x) <= f->tolerance * fabs((double)x));
        }
        if (f->round) {
            assert_true(f->round(0.0f) == 0.0f);
            assert_true(f->round(f->max) == f->max && f->round(-f->max) == -f->max);
            assert_true(f->round(3.4028235e38f) == f->max);
            assert_true(f->round(-3.4028235e38f) == -f->max);
        }
    }
}

static void rounding_is_monotone(void **state)
{
    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);
        float last = -INFINITY;

        for (int k = -4000; f->round && k <= 4000; k++) {
            float y = f->round((float)k * 0.37f);

            assert_true(y >= last);
            last = y;
        }
    }
}

static void ties_go_to_even(void **state)
{
    const struct qx_format *h = qx_format_find("fp16"), *b = qx_format_find("bf16");

    (void)state;
    assert_true(h->round(1.0f + 0x1p-11f) == 1.0f);
    assert_true(h->round(1.0f + 3 * 0x1p-11f) == 1.0f + 0x1p-9f);
    assert_true(h->round(1.0f + 0x1p-11f + 0x1p-20f) == 1.0f + 0x1p-10f);
    assert_true(b->round(1.0f + 0x1p-8f) == 1.0f);
    assert_true(b->round(1.0f + 3 * 0x1p-8f) == 1.0f + 0x1p-6f);
    assert_true(b->round(1.0f + 0x1p-8f + 0x1p-20f) == 1.0f + 0x1p-7f);
    assert_true(h->round(0x1p-25f) == 0.0f); /* subnormal tie */
    assert_true(h->round(3 * 0x1p-25f) == 0x1p-23f);
}

static void every_half_pattern_round_trips(void **state)
{
    (void)state;
    for (uint32_t p = 0; p < 65536; p++) {
        float h = qx_f16_to_f32((uint16_t)p), b = qx_bf16_to_f32((uint16_t)p);

        assert_true(!isfinite(h) || qx_format_find("fp16")->round(h) == h);
        assert_true(!isfinite(b) || qx_format_find("bf16")->round(b) == b);
    }
}

static void integer_widths_reconstruct_their_own_levels(void **state)
{
    const struct qx_format *f = qx_format_find("int");

    (void)state;
    for (int bits = f->min_bits; bits <= f->max_bits; bits++) {
        for (int sym = 0; sym < 2; sym++) {
            struct qx_setting s = qx_setting_int(bits);
            struct qx_qparams p;

            s.sym = sym;
            s.gran = QX_GRAN_TENSOR;
            s.range = (struct qx_range){sym ? -1.3 : -0.4, 1.3};
            s.has_range = true;
            p = qx_qparams_of(&s, 0.0f, 0.0f);
            assert_int_equal(p.qmax - p.qmin, (1 << bits) - 1 - sym);
            for (int q = p.qmin; q <= p.qmax; q++) {
                float x = qx_dequantize(&p, q);

                assert_int_equal(qx_quantize(&p, x), q);
                /* anything nearer than half a step gives the same code */
                assert_int_equal(qx_quantize(&p, x + 0.49f * p.scale), q);
                assert_int_equal(qx_quantize(&p, x - 0.49f * p.scale), q);
            }
        }
    }
}

/* Levels ascend through 0, edges lie half-way, and what is half-way goes down by no more than the last
 * place of a float32. */
static void code_books_are_ordered(void **state)
{
    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_book *b = qx_format_at(i)->book;

        if (!b) {
            continue;
        }
        assert_true(b->bits == qx_format_at(i)->max_bits && b->n > 2 && b->n <= 1 << b->bits);
        assert_true(b->level[b->zero] == 0.0f);
        assert_true(b->top == fmaxf(-b->level[0], b->level[b->n - 1]));
        for (int k = 0; k + 1 < 1 << b->bits; k++) {
            float mid = (float)(0.5 * ((double)b->level[k] + (double)b->level[k + 1]));

            if (k + 1 < b->n) {
                assert_true(b->level[k] < b->level[k + 1]);
                assert_true(b->edge[k] == mid || b->edge[k] == nextafterf(mid, -INFINITY));
            } else {
                assert_true(isinf(b->edge[k]));
            }
        }
    }
}

/* The levels of the small floats are their bit patterns in order, ties go to the even one. */
static void small_floats_have_the_levels_of_their_patterns(void **state)
{
    const struct qx_book *e4m3 = qx_format_find("fp8-e4m3")->book;
    const struct qx_book *e5m2 = qx_format_find("fp8-e5m2")->book;
    const struct qx_book *fp4 = qx_format_find("fp4")->book;

    (void)state;
    for (int m = 0; m < 127; m++) {
        assert_true(e4m3->level[126 + m] == qx_f8e4m3_to_f32((uint8_t)m));
        assert_true(e4m3->level[126 - m] == -qx_f8e4m3_to_f32((uint8_t)m));
    }
    for (int m = 0; m < 124; m++) {
        assert_true(e5m2->level[123 + m] == qx_f8e5m2_to_f32((uint8_t)m));
        assert_true(e5m2->level[123 - m] == -qx_f8e5m2_to_f32((uint8_t)m));
    }
    for (int i = 0; i < 3; i++) {
        const struct qx_book *b = i == 0 ? e4m3 : i == 1 ? e5m2 : fp4;

        for (int k = 0; k + 1 < b->n; k++) {
            float mid = (float)(0.5 * ((double)b->level[k] + (double)b->level[k + 1]));
            int lower = k >= b->zero ? k - b->zero : b->zero - k; /* its pattern without the sign */

            assert_int_equal(b->edge[k] == mid, lower % 2 == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_rows_are_complete),
        cmocka_unit_test(rounding_is_idempotent_odd_and_within_tolerance),
        cmocka_unit_test(rounding_is_monotone),
        cmocka_unit_test(ties_go_to_even),
        cmocka_unit_test(every_half_pattern_round_trips),
        cmocka_unit_test(integer_widths_reconstruct_their_own_levels),
        cmocka_unit_test(code_books_are_ordered),
        cmocka_unit_test(small_floats_have_the_levels_of_their_patterns),
    };

    return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}

/* Formats in blocks: bytes of ggml's reference functions (gcc 12, -O2 -ffp-contract=off), round trips, layouts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "format/block.h"

/* x[i] = (((i * 37) % 101) - 50) / 64 through the reference: all bytes, and the squared error. */
static const struct {
    const char *name, *bytes;
    double sse;
    bool is_exact; /* encoding gives the same bytes; else an error no larger */
} golden[] = {
    {"q8_0", "4d1e81df3d9af856b41270cd2b89e745a2005ebb1977d53390ee4caa0866c3217fdc", 9.43145715e-05,
     true},
    {"q4_0", "402ee046acf258bd1379df358be046acf268", 0.0350646973, true},
    {"q4_1", "ab2e40bad0369bf257bd1369ce258ae0469cf258", 0.0370766968, true},
    {"q5_0", "402aa4a52d6dc07c38f3bf6b26e2ae5a15d18d49f4c0", 0.00750350952, true},
    {"q5_1", "742a40baa4a52d6db07b37e3af6a26d29d5905c18c48f4b0", 0.00538021326, true},
    {"mxfp4", "7c6fdb257ec946fea267ec146fda357eb0", 0.0747070312, true},
    {"q4_k",
     "de162c22fefffffcfffdfefecfdcfffea0156bc1278cd3489e045ab0167bc2378de349ae056ab1267cd2389d"
     "e459af15268ce248ad0459b0157bd1379ce348ae046ac0267bd2379df359be156ac1268c9df359be157ac126"
     "8ce248ad0459b0157bd1379ce348ae046ac0267bd2379df3156ac1268cd2489df459b0157bc1378ce348ae04"
     "6ab0267bd2379de359ae156a",
     0.188488574, false},
    {"q6_k",
     "d158bf37be25ad048b047bf37ad159d0c941ea63eb74fb741d951ea72fc841c9bf35ad169b048df26be069d1"
     "47cf38bd1a922c840d85ed77ff57d038b04aa22b67df58c139b22aa22b931c85fd76ee57ce5ad137b31a902c"
     "830f86ec78ff55d1c841da62eb63fc840d951ea63fb840c9d129b30b931c74fe86de67ff47d129b118b1c66c"
     "b11b6c861b71c61cb1c76cb22453f9248ef9138ef4538d2452f9248ed4a209d47e09a37e14a349d4ae09d77e"
     "c863be1463c9147ec923bec463bd1463807f897a867a84877f737d7a81877c89758a",
     0.0104514373, false},
};

static const struct qx_block *block_of(const char *name)
{
    const struct qx_format *f = qx_format_find(name);

    assert_non_null(f);
    assert_int_equal(f->kind, QX_FORMAT_BLOCK);
    return f->block;
}

static double error_of(const struct qx_block *b, const uint8_t *stored, const float *x)
{
    float y[QX_BLOCK_MOST];
    double sse = 0.0;

    qx_block_decode(b, stored, 1, y);
    for (int i = 0; i < b->n; i++) {
        sse += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
    }
    return sse;
}

static void golden_bytes_are_decoded_and_reached(void **state)
{
    float x[QX_BLOCK_MOST];

    (void)state;
    for (int i = 0; i < QX_BLOCK_MOST; i++) {
        x[i] = (float)((i * 37) % 101 - 50) / 64.0f;
    }
    for (size_t k = 0; k < sizeof golden / sizeof *golden; k++) {
        const struct qx_block *b = block_of(golden[k].name);
        uint8_t want[512], have[512];

        assert_int_equal(strlen(golden[k].bytes), 2 * (size_t)b->bytes);
        for (int i = 0; i < b->bytes; i++) {
            unsigned byte;

            assert_int_equal(sscanf(golden[k].bytes + 2 * i, "%2x", &byte), 1);
            want[i] = (uint8_t)byte;
        }
        assert_true(fabs(error_of(b, want, x) - golden[k].sse) < 1e-8);
        b->encode(x, NULL, 1, have);
        if (golden[k].is_exact) {
            assert_memory_equal(have, want, (size_t)b->bytes);
        }
        assert_true(error_of(b, have, x) <= golden[k].sse + 1e-9);
    }
}

/* ggml's tests/test-quantize-fns.cpp. */
static void round_trips_stay_within_the_tolerance(void **state)
{
    enum { N = 4096 };
    float x[N], y[N];

    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = 0.1f + 2.0f * cosf((float)i);
    }
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);
        uint8_t stored[N * 2];
        double sse = 0.0;

        if (f->kind != QX_FORMAT_BLOCK) {
            continue;
        }
        f->block->encode(x, NULL, (size_t)(N / f->block->n), stored);
        qx_block_decode(f->block, stored, (size_t)(N / f->block->n), y);
        for (int k = 0; k < N; k++) {
            sse += ((double)x[k] - (double)y[k]) * ((double)x[k] - (double)y[k]);
        }
        assert_true(sqrt(sse) / N < f->tolerance && sqrt(sse) / N > 0.0);
    }
}

/* More codes or more freedom, less error. */
static void errors_come_in_the_expected_order(void **state)
{
    static const char *const better[][2] = {{"q8_0", "q6_k"}, {"q6_k", "q5_0"}, {"q5_1", "q4_1"},
                                            {"q5_0", "q4_0"}, {"q4_k", "q4_0"}, {"q4_0", "mxfp4"}};
    enum { N = 4096 };
    float x[N];
    uint32_t seed = 7;

    (void)state;
    for (int i = 0; i < N; i++) { /* a sum of uniform numbers: nearly normal */
        x[i] = 0.0f;
        for (int k = 0; k < 8; k++) {
            seed = seed * 1664525u + 1013904223u;
            x[i] += ((float)(seed >> 8) / 0x1p24f - 0.5f) * 0.05f;
        }
    }
    for (size_t k = 0; k < sizeof better / sizeof *better; k++) {
        double sse[2] = {0.0, 0.0};

        for (int side = 0; side < 2; side++) {
            const struct qx_block *b = block_of(better[k][side]);

            for (int i = 0; i < N; i += b->n) {
                uint8_t stored[512];

                b->encode(x + i, NULL, 1, stored);
                sse[side] += error_of(b, stored, x + i);
            }
        }
        assert_true(sse[0] < sse[1]);
    }
}

static double weighted_error(const struct qx_block *b, const uint8_t *stored, const float *x,
                             const float *w)
{
    float y[QX_BLOCK_MOST];
    double sum = 0.0;

    qx_block_decode(b, stored, 1, y);
    for (int i = 0; i < b->n; i++) {
        const double e = (double)y[i] - (double)x[i];

        sum += (double)w[i] * e * e;
    }
    return sum;
}

/* Weights are heeded: over many blocks the weighted error falls, by far where a few values have nearly all the weight;
 * equal weights of K types change nothing. */
static void weights_move_the_error(void **state)
{
    enum { BLOCKS = 64 };
    uint32_t seed = 3;

    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);
        const struct qx_block *b = f->block;
        double plain = 0.0, heeded = 0.0;

        for (int k = 0; b && k < BLOCKS; k++) {
            float x[QX_BLOCK_MOST], w[QX_BLOCK_MOST], same[QX_BLOCK_MOST];
            uint8_t without[512], with[512], equal[512];

            for (int j = 0; j < b->n; j++) {
                seed = seed * 1664525u + 1013904223u;
                x[j] = ((float)(seed >> 8) / 0x1p24f - 0.5f) * 0.1f;
                w[j] = j % 8 == 3 ? 40.0f : 0.01f;
                same[j] = 2.5f;
            }
            b->encode(x, NULL, 1, without);
            b->encode(x, w, 1, with);
            b->encode(x, same, 1, equal);
            plain += weighted_error(b, without, x, w);
            heeded += weighted_error(b, with, x, w);
            if (b->n == 256) {
                assert_memory_equal(equal, without, (size_t)b->bytes);
            }
        }
        if (b && strcmp(f->name, "q8_0") != 0) {
            const bool is_coarse = strcmp(f->name, "mxfp4") == 0; /* its scales are powers of two */

            assert_true(heeded < (is_coarse ? 1.0 : 0.5) * plain);
        }
    }
}

/* A part whose values all have the weight 0 is still stored as finite numbers. */
static void weights_of_nothing_are_harmless(void **state)
{
    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_block *b = qx_format_at(i)->block;
        float x[QX_BLOCK_MOST], w[QX_BLOCK_MOST] = {0}, y[QX_BLOCK_MOST];
        uint8_t stored[512];

        for (int j = 0; b && j < b->n; j++) {
            x[j] = (float)(j % 7 - 3) * 0.5f;
        }
        if (b) {
            b->encode(x, w, 1, stored);
            qx_block_decode(b, stored, 1, y);
        }
        for (int j = 0; b && j < b->n; j++) {
            assert_true(isfinite(y[j]) && fabsf(y[j]) < 8.0f);
        }
    }
}

static void odd_values_give_finite_ones(void **state)
{
    static const float odd[] = {0.0f, -0.0f, 1.0f, -3.25f, 1e-30f, 1e-42f, 60000.0f, 3e38f};

    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_block *b = qx_format_at(i)->block;

        for (size_t k = 0; b && k < sizeof odd / sizeof *odd; k++) {
            for (int alternate = 0; alternate < 2; alternate++) {
                float x[QX_BLOCK_MOST], y[QX_BLOCK_MOST];
                uint8_t stored[512];

                for (int j = 0; j < b->n; j++) {
                    x[j] = alternate && j % 2 ? -odd[k] / 2.0f : odd[k];
                }
                b->encode(x, NULL, 1, stored);
                qx_block_decode(b, stored, 1, y);
                for (int j = 0; j < b->n; j++) {
                    assert_true(isfinite(y[j]));
                    assert_true(odd[k] != 0.0f || y[j] == 0.0f);
                    /* E2M1 clips the top quarter of a binade at most; the scale is a half */
                    assert_true(odd[k] < 0.5f || odd[k] > 2000.0f ||
                                fabs((double)y[j] - (double)x[j]) <= 0.26 * (double)fabsf(odd[k]));
                }
            }
        }
    }
}

static void six_bit_scales_pack_and_unpack(void **state)
{
    (void)state;
    uint8_t s[12] = {0};
    for (int i = 0; i < 8; i++) {
        qx_block_scale_min_put(s, i, (i * 11 + 5) % 64, (i * 23 + 40) % 64);
    }
    for (int i = 0; i < 8; i++) {
        int scale, min;

        qx_block_scale_min(s, i, &scale, &min);
        assert_int_equal(scale, (i * 11 + 5) % 64);
        assert_int_equal(min, (i * 23 + 40) % 64);
    }
}

static void rows_are_complete(void **state)
{
    int n = 0;

    (void)state;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);

        assert_int_equal(f->kind == QX_FORMAT_BLOCK, f->block != NULL);
        if (f->block) {
            n++;
            assert_non_null(f->block->encode);
            assert_true(f->min_bits == f->max_bits && f->tolerance > 0.0);
            assert_int_equal(QX_BLOCK_MOST % f->block->n, 0);
            assert_int_equal(f->block->n % f->block->n_sub, 0);
            assert_true(f->block->lo <= 0 && f->block->hi > 0);
        }
    }
    assert_int_equal(n, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bytes_are_decoded_and_reached),
        cmocka_unit_test(round_trips_stay_within_the_tolerance),
        cmocka_unit_test(errors_come_in_the_expected_order),
        cmocka_unit_test(odd_values_give_finite_ones),
        cmocka_unit_test(weights_move_the_error),
        cmocka_unit_test(weights_of_nothing_are_harmless),
        cmocka_unit_test(six_bit_scales_pack_and_unpack),
        cmocka_unit_test(rows_are_complete),
    };

    return cmocka_run_group_tests_name("formats in blocks", tests, NULL, NULL);
}

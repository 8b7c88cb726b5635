#include "test_quant_data.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fp16.h"

enum { ZERO_ROW = 7, POSITIVE_ROW = 11, NEGATIVE_ROW = 13, DRAWS = 48 };

static const char *const names[DATA_COUNT] = {"gauss",   "laplace", "t3",
                                              "outlier", "bf16",    "shifted"};

const char *data_name(int which)
{
    return names[which];
}

static uint64_t splitmix64(uint64_t counter)
{
    uint64_t z = (counter + 1) * 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Four nearly normal numbers: sums of 12 uniforms, minus 6. */
static void normals(int which, int64_t i, double g[4])
{
    uint64_t base = ((uint64_t)(which + 1) << 32) + (uint64_t)i * DRAWS;

    for (int k = 0; k < 4; k++) {
        g[k] = 0.0;
        for (int j = 0; j < 12; j++) {
            g[k] += (double)(splitmix64(base + (uint64_t)(k * 12 + j)) >> 40) * 0x1p-24;
        }
        g[k] -= 6.0;
    }
}

static double value(int which, int64_t i)
{
    double g[4];

    normals(which, i, g);
    switch (which) {
    case 1:
        return g[0] * g[1] + g[2] * g[3];
    case 2:
        return g[0] / sqrt((g[1] * g[1] + g[2] * g[2] + g[3] * g[3]) / 3.0);
    case 5:
        return g[0] + 1.5;
    default:
        return g[0];
    }
}

static float scaled(int which, int64_t row, int64_t col)
{
    static const double part[5] = {1.0, 0.5, 0.25, 0.125, 0.0625};
    double scale = (1.0 + (double)(row % 7)) * part[row % 5] * 0.01;
    float x = (float)(value(which, row * DATA_COLS + col) * scale);

    if (row == ZERO_ROW) {
        return 0.0f;
    }
    if (which == 3 && row == 5 && col == 17) {
        return 7.0f;
    }
    return row == POSITIVE_ROW ? fabsf(x) : row == NEGATIVE_ROW ? -fabsf(x) : x;
}

struct data data_from(const float *x, int64_t rows, int64_t cols)
{
    size_t bytes = (size_t)(rows * cols) * sizeof(float);
    struct data d = {.shape = {rows, cols}, .channels = {1, rows, cols}};

    d.x = malloc(bytes + 1);
    d.raw = malloc(bytes + 1);
    memcpy(d.x, x, bytes);
    memcpy(d.raw, x, bytes);
    d.tensor = (struct qx_tensor){.name = "t",
                                  .dtype = QX_DTYPE_F32,
                                  .rank = 2,
                                  .numel = rows * cols,
                                  .data = d.raw,
                                  .bytes = bytes};
    return d;
}

struct data data_make(int which)
{
    float *x = malloc(DATA_N * sizeof(float));
    struct data d;

    for (int64_t i = 0; i < DATA_N; i++) {
        x[i] = scaled(which, i / DATA_COLS, i % DATA_COLS);
    }
    d = data_from(x, DATA_ROWS, DATA_COLS);
    free(x);
    if (which == 4) {
        uint16_t *half = d.raw;

        for (int64_t i = 0; i < DATA_N; i++) {
            half[i] = qx_f32_to_bf16(d.x[i]);
            d.x[i] = qx_bf16_to_f32(half[i]);
        }
        d.tensor.dtype = QX_DTYPE_BF16;
        d.tensor.bytes = DATA_N * sizeof(uint16_t);
    }
    return d;
}

void data_release(struct data *d)
{
    free(d->x);
    free(d->raw);
}

struct qx_hist *data_hist_spec(const struct data *d, enum qx_gran gran, int64_t group, bool sym)
{
    struct qx_setting s = data_setting(8, sym, gran, group, -1.0, 1.0);

    return data_hist(d, &s);
}

struct qx_hist *data_hist(const struct data *d, const struct qx_setting *s)
{
    struct qx_hist_spec spec = qx_setting_spec(s, d->channels);
    struct qx_tensor t = d->tensor;
    struct qx_hist *h = NULL;
    struct qx_error err;

    t.shape = d->shape;
    if (qx_hist_build(&t, &spec, 0, NULL, NULL, &h, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return h;
}

struct qx_setting data_setting(int bits, bool sym, enum qx_gran gran, int64_t group, double lo,
                               double hi)
{
    struct qx_setting s = qx_setting_int(bits);

    s.sym = sym;
    s.gran = gran;
    s.group = group;
    s.calib = qx_calib_find("manual");
    s.range = (struct qx_range){lo, hi};
    s.has_range = true;
    return s;
}

struct qx_range data_range(const struct data *d, bool sym, enum qx_gran gran, double r)
{
    double lo = 0.0, hi = 0.0, top;

    if (gran != QX_GRAN_TENSOR) {
        return (struct qx_range){-r, r};
    }
    for (int64_t i = 0; i < d->tensor.numel; i++) {
        lo = fmin(lo, (double)d->x[i]);
        hi = fmax(hi, (double)d->x[i]);
    }
    top = r * fmax(-lo, hi);
    return sym ? (struct qx_range){-top, top} : (struct qx_range){r * lo, r * hi};
}

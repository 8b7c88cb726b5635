/* Test tensors of floor 4, the same bits as tests/golden/quant/values.py. */
#ifndef TEST_QUANT_DATA_H
#define TEST_QUANT_DATA_H

#include "qx/hist.h"
#include "qx/quant.h"

enum { DATA_ROWS = 96, DATA_COLS = 1500, DATA_N = DATA_ROWS * DATA_COLS, DATA_COUNT = 6 };

/* A tensor and the memory it borrows. */
struct data {
    struct qx_tensor tensor;
    struct qx_channels channels;
    int64_t shape[2];
    float *x; /* [numel] values */
    void *raw;
};

const char *data_name(int which);
/* Tensor `which` (BF16 for "bf16", else F32), rows as channels. */
struct data data_make(int which);
/* F32 tensor of rows x cols from x, rows as channels. */
struct data data_from(const float *x, int64_t rows, int64_t cols);
void data_release(struct data *d);

/* Histogram that the setting needs; fails the test on error. */
struct qx_hist *data_hist(const struct data *d, const struct qx_setting *s);
struct qx_hist *data_hist_spec(const struct data *d, enum qx_gran gran, int64_t group, bool sym);
/* int setting with the range given. */
struct qx_setting data_setting(int bits, bool sym, enum qx_gran gran, int64_t group, double lo,
                               double hi);
/* Range at ratio r of the data (tensor: real units). */
struct qx_range data_range(const struct data *d, bool sym, enum qx_gran gran, double r);

#endif

/* Images moved by up to MOST pixels up or down and left or right; what comes in from outside is 0, as in the
 * padding of convolutions. */
#include "method/augment.h"

#include <string.h>

enum { MOST = 2 };

/* -most .. most, and never beyond the image. */
static int64_t draw(struct qx_rng *rng, int64_t size)
{
    const int64_t most = size <= MOST ? size - 1 : MOST;
    return (int64_t)qx_rng_below(rng, (uint64_t)(2 * most + 1)) - most;
}

/* n values to where they are `by` further, 0 behind them. */
static void move(float *x, int64_t n, int64_t by)
{
    const int64_t gap = by < 0 ? -by : by;
    const int64_t from = by < 0 ? gap : 0, to = by < 0 ? 0 : gap;
    memmove(x + to, x + from, (size_t)(n - gap) * sizeof *x);
    memset(by < 0 ? x + n - gap : x, 0, (size_t)gap * sizeof *x);
}

static void apply(float *x, int64_t planes, int64_t h, int64_t w, struct qx_rng *rng)
{
    const int64_t down = draw(rng, h), right = draw(rng, w);
    for (int64_t p = 0; p < planes; p++, x += h * w) {
        move(x, h * w, down * w);
        for (int64_t i = 0; i < h; i++) {
            move(x + i * w, w, right);
        }
    }
}

static const struct qx_augment_fn fn = {apply};

const struct qx_augment qx_augment_shift = {
    .name = "shift",
    .help = "Images moved by up to two pixels, each way and by chance; 0 comes in at the border.",
    .fn = &fn,
};

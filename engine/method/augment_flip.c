/* Every second image as in a mirror. */
#include "method/augment.h"

static void apply(float *x, int64_t planes, int64_t h, int64_t w, struct qx_rng *rng)
{
    if (qx_rng_below(rng, 2) == 0) {
        return;
    }
    for (int64_t line = 0; line < planes * h; line++, x += w) {
        for (int64_t i = 0, k = w - 1; i < k; i++, k--) {
            const float keep = x[i];
            x[i] = x[k];
            x[k] = keep;
        }
    }
}

static const struct qx_augment_fn fn = {apply};

const struct qx_augment qx_augment_flip = {
    .name = "flip",
    .help = "Every second image as in a mirror, left and right exchanged: clothing stays what it "
            "is, digits do not.",
    .fn = &fn,
};

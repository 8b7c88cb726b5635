/* Seeded random numbers, the same on every machine (splitmix64 seeding xoshiro256**). */
#ifndef QX_BASE_RNG_H
#define QX_BASE_RNG_H

#include <stdint.h>

struct qx_rng {
    uint64_t s[4];
};

void qx_rng_init(struct qx_rng *r, uint64_t seed);
uint64_t qx_rng_next(struct qx_rng *r);
uint64_t qx_rng_below(struct qx_rng *r, uint64_t n); /* 0 .. n-1, unbiased, n > 0 */
double qx_rng_uniform(struct qx_rng *r);             /* [0, 1) */
double qx_rng_normal(struct qx_rng *r);              /* mean 0, variance 1 */

#endif

#include "base/rng.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = *x += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void qx_rng_init(struct qx_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        r->s[i] = splitmix64(&seed);
    }
}

/* xoshiro256** 1.0, Blackman and Vigna 2018. */
uint64_t qx_rng_next(struct qx_rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t qx_rng_below(struct qx_rng *r, uint64_t n)
{
    uint64_t limit = -n % n; /* 2^64 mod n: values below it would be drawn once too often */
    uint64_t x;
    do {
        x = qx_rng_next(r);
    } while (x < limit);
    return x % n;
}

double qx_rng_uniform(struct qx_rng *r)
{
    return (double)(qx_rng_next(r) >> 11) * 0x1p-53;
}

/* Marsaglia's polar method; the second value of each pair is dropped, so that the state is only s. */
double qx_rng_normal(struct qx_rng *r)
{
    double u, v, q;
    do {
        u = 2.0 * qx_rng_uniform(r) - 1.0;
        v = 2.0 * qx_rng_uniform(r) - 1.0;
        q = u * u + v * v;
    } while (q >= 1.0 || q == 0.0);
    return u * sqrt(-2.0 * log(q) / q);
}

#include "shapes.h"

#include <stdio.h>
#include <string.h>

enum { CANARY = 0xA5 };

int pick(struct qx_rng *r, int lo, int hi)
{
    return lo + (int)qx_rng_below(r, (uint64_t)(hi - lo + 1));
}

void fill_bytes(struct qx_rng *r, enum byte_fill fill, int lo, int hi, void *p, size_t n)
{
    unsigned char *out = p;
    size_t hot = n > 0 ? qx_rng_below(r, n) : 0;
    for (size_t i = 0; i < n; i++) {
        int v = 0;
        switch (fill) {
        case BYTES_SMALL:
            v = pick(r, lo < 0 ? -1 : 0, 1);
            break;
        case BYTES_EXTREME:
            v = qx_rng_next(r) & 1 ? lo : hi;
            break;
        case BYTES_TOP:
            v = hi;
            break;
        case BYTES_BOTTOM:
            v = lo;
            break;
        case BYTES_ALTERNATE:
            v = i & 1 ? lo : hi;
            break;
        case BYTES_RANDOM:
            v = pick(r, lo, hi);
            break;
        case BYTES_ONE_HOT:
            v = i == hot ? hi : 0;
            break;
        default:
            break;
        }
        out[i] = (unsigned char)v;
    }
}

void *place_input(struct shape_test *t, size_t n)
{
    return guard_place(&t->a, n, qx_rng_below(&t->rng, 64), qx_rng_next(&t->rng) & 1);
}

void *place_output(struct shape_test *t, size_t n)
{
    size_t offset = 4 * qx_rng_below(&t->rng, 16);
    void *y = guard_place(&t->y, (n + 3) / 4 * 4, offset, qx_rng_next(&t->rng) & 1);
    memset(t->y.start, CANARY, t->y.bytes < n + 256 ? t->y.bytes : n + 256);
    memset(y, CANARY, n);
    memset(t->y_ref, CANARY, n);
    return y;
}

struct guarded {
    struct shape_test *t;
    void (*call)(void *);
    void *arg;
    const unsigned char *y;
    size_t n;
};

static bool call_and_compare(void *p, char why[200])
{
    struct guarded *g = p;
    g->call(g->arg);
    for (size_t i = 0; i < g->n; i++) {
        if (g->y[i] != g->t->y_ref[i]) {
            size_t at = i / 4 * 4;
            int32_t a = 0, b = 0;
            memcpy(&a, g->t->y_ref + at, g->n - at < 4 ? g->n - at : 4);
            memcpy(&b, g->y + at, g->n - at < 4 ? g->n - at : 4);
            snprintf(why, 200, "byte %zu: want %02X got %02X (word %d %08X want, %d %08X got)", i,
                     g->t->y_ref[i], g->y[i], a, (unsigned)a, b, (unsigned)b);
            return false;
        }
    }
    return true;
}

bool run_case(struct shape_test *t, void (*call)(void *), void *arg, const void *y, size_t n,
              const char *what)
{
    struct guarded g = {t, call, arg, y, n};
    char why[200] = "";
    bool ok = run_guarded(call_and_compare, &g, why);
    if (!ok) {
        t->n_bad++;
        printf("FAIL %s/%s %s seed %llu: %s\n", t->op, t->isa, what, (unsigned long long)t->seed,
               why);
    }
    return ok;
}

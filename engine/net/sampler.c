/* The next token of a text, drawn from its logits. */
#include "qx/decode.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

struct choice {
    float logit;
    int32_t id;
};

struct qx_sampler {
    struct qx_sampling how;
    int n;
    struct qx_rng rng;
    struct choice choice[]; /* [n] */
};

enum qx_status qx_sampler_new(const struct qx_sampling *s, int n_classes, struct qx_sampler **out,
                              struct qx_error *err)
{
    if (!(s->temperature >= 0.0f && isfinite(s->temperature))) {
        return qx_fail(err, QX_ERANGE, "a temperature of %g: it is 0 or more",
                       (double)s->temperature);
    }
    if (!(s->top_p > 0.0f && s->top_p <= 1.0f)) {
        return qx_fail(err, QX_ERANGE, "a top-p of %g: it is above 0 and at most 1",
                       (double)s->top_p);
    }
    const size_t bytes = sizeof(struct qx_sampler) + (size_t)n_classes * sizeof(struct choice);
    struct qx_sampler *r = qx_mem_alloc(bytes);
    if (!r) {
        return qx_fail_nomem(err, bytes);
    }
    r->how = *s;
    r->n = n_classes;
    qx_rng_init(&r->rng, s->seed);
    *out = r;
    return QX_OK;
}

void qx_sampler_free(struct qx_sampler *s)
{
    qx_mem_free(s);
}

/* The likelier first, the lower id where equal. */
static int likelier(const void *a, const void *b)
{
    const struct choice *p = a, *q = b;
    return p->logit != q->logit ? (p->logit < q->logit) - (p->logit > q->logit)
                                : (p->id > q->id) - (p->id < q->id);
}

/* Share of a token, not yet divided by the sum of all. */
static double share(const struct qx_sampler *s, float logit, float top)
{
    return exp(((double)logit - (double)top) / (double)s->how.temperature);
}

int32_t qx_sampler_next(struct qx_sampler *s, const float *logits)
{
    struct choice *c = s->choice;
    int32_t best = 0;
    for (int32_t i = 0; i < s->n; i++) {
        c[i] = (struct choice){isnan(logits[i]) ? -INFINITY : logits[i], i};
        best = c[i].logit > c[best].logit ? i : best;
    }
    const float top = c[best].logit;
    if (s->how.temperature == 0.0f || !isfinite(top)) {
        return best;
    }
    double all = 0.0, kept = 0.0;
    int n = s->n;
    if (s->how.top_p < 1.0f) {
        qsort(c, (size_t)s->n, sizeof *c, likelier);
    }
    for (int i = 0; i < s->n; i++) {
        all += share(s, c[i].logit, top);
    }
    for (n = 0; n < s->n && (n == 0 || kept < (double)s->how.top_p * all); n++) {
        kept += share(s, c[n].logit, top);
    }
    double left = qx_rng_uniform(&s->rng) * kept;
    for (int i = 0; i < n; i++) {
        left -= share(s, c[i].logit, top);
        if (left < 0.0) {
            return c[i].id;
        }
    }
    return c[n - 1].id;
}

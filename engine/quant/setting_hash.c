/* A number for what the arithmetic sees of a setting. */
#include "qx/overlay.h"
#include "qx/quant.h"

#include "base/str.h"

#include <string.h>

static uint64_t hash_str(uint64_t h, const char *s)
{
    return qx_hash64(s, strlen(s) + 1, h);
}

static uint64_t hash_act(uint64_t h, const struct qx_act *a)
{
    if (a->bits == 0) {
        return h;
    }
    int64_t whole[4] = {a->bits, a->sym, a->gran, a->dynamic};
    h = qx_hash64(whole, sizeof whole, h);
    if (a->dynamic) {
        return h;
    }
    if (a->has_range) {
        double range[2] = {a->range.lo + 0.0, a->range.hi + 0.0};
        return qx_hash64(range, sizeof range, h);
    }
    h = hash_str(h, a->calib->name);
    return qx_hash64(&a->param, sizeof a->param, h);
}

uint64_t qx_setting_hash(const struct qx_setting *s, uint64_t h)
{
    h = hash_str(h, s->format->name);
    if (!qx_format_is_scaled(s->format)) {
        const uint64_t key = qx_importance_key(s);
        return key ? qx_hash64(&key, sizeof key, h) : h;
    }
    h = hash_act(h, &s->act);
    if (s->algo[0]) {
        const struct qx_overlay *o = qx_setting_overlay(s);
        h = o ? qx_hash64(&o->key, sizeof o->key, h) : hash_str(h, s->algo);
    }
    int64_t whole[5] = {s->bits, s->sym, s->gran, s->gran == QX_GRAN_GROUP ? s->group : 0,
                        s->scale};
    h = qx_hash64(whole, sizeof whole, h);
    if (s->has_range) {
        double range[2] = {s->range.lo + 0.0, s->range.hi + 0.0}; /* -0 and +0 are one */
        return qx_hash64(range, sizeof range, h);
    }
    h = hash_str(h, s->calib->name);
    return qx_hash64(&s->param, sizeof s->param, h);
}

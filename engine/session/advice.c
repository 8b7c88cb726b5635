#include "session/advice.h"

#include "base/mem.h"
#include "session/session_impl.h"

#include <math.h>
#include <string.h>

enum { ADVICE_PRIORITY = 1, BITS_MIN = 2, BITS_MAX = 8, ALL_KNOWN = 7 };

struct advice_task {
    struct qx_task task;
    int slot;
    struct qx_setting key;
    struct qx_hist *hist; /* own reference */
    bool is_sampled;
    unsigned part;
    struct qx_advice advice; /* result: the fields of part */
};

/* ---- worker ---- */

static enum qx_status choices_make(struct advice_task *a, struct qx_error *err)
{
    const struct qx_scheme scheme = {a->key.bits, a->key.sym, a->key.format};
    for (int i = 0; i < qx_calib_count() && a->advice.n < QX_ADVICE_CALIBS; i++) {
        const struct qx_calibrator *calib = qx_calib_at(i);
        struct qx_advice_choice *c = &a->advice.choice[a->advice.n];
        if (strcmp(calib->name, "manual") == 0) {
            continue;
        }
        if (qx_cancel_test(&a->task.ctl)) {
            return QX_ECANCELLED;
        }
        *c = (struct qx_advice_choice){.calib = calib, .param = calib->param_default};
        enum qx_status status = qx_calib_range(a->hist, &scheme, calib, c->param, &c->range, err);
        if (status != QX_OK) {
            return status;
        }
        struct qx_setting s = a->key;
        s.range = c->range;
        s.has_range = true;
        c->mse = qx_metric_hist_mse(a->hist, &s);
        a->advice.n++;
    }
    return QX_OK;
}

/* The ladder is of integers, whatever the layer is in. */
static enum qx_status ladder_make(struct advice_task *a, struct qx_error *err)
{
    for (int bits = BITS_MIN; bits <= BITS_MAX; bits++) {
        struct qx_setting s = a->key;
        struct qx_metrics m;
        s.format = qx_format_find("int");
        s.bits = bits;
        s.has_range = false;
        if (qx_cancel_test(&a->task.ctl)) {
            return QX_ECANCELLED;
        }
        enum qx_status status = qx_setting_resolve(&s, a->hist, err);
        if (status == QX_OK) {
            status = qx_metric_hist(a->hist, &s, &m, err);
        }
        if (status != QX_OK) {
            return status;
        }
        a->advice.ladder_db[bits] = m.sqnr_db;
    }
    return QX_OK;
}

static enum qx_status best_make(struct advice_task *a, struct qx_error *err)
{
    for (int bits = BITS_MIN; bits <= BITS_MAX; bits++) {
        enum qx_status status =
            qx_metric_lloyd_max_db(a->hist, bits, &a->task.ctl, &a->advice.best_db[bits], err);
        if (status != QX_OK) {
            return status;
        }
    }
    return QX_OK;
}

static enum qx_status advice_run(struct qx_task *t, struct qx_error *err)
{
    struct advice_task *a = (struct advice_task *)t;
    return a->part == QX_ADVICE_CHOICES  ? choices_make(a, err)
           : a->part == QX_ADVICE_LADDER ? ladder_make(a, err)
                                         : best_make(a, err);
}

/* ---- host ---- */

static void advice_drop(struct qx_task *t)
{
    struct advice_task *a = (struct advice_task *)t;
    qx_hist_unref(a->hist);
    qx_mem_free(a);
}

static void unknown_fill(double *db)
{
    for (int bits = 0; bits <= BITS_MAX; bits++) {
        db[bits] = NAN;
    }
}

static void part_copy(struct qx_advice *to, const struct qx_advice *from, unsigned part)
{
    if (part & QX_ADVICE_CHOICES) {
        to->n = from->n;
        memcpy(to->choice, from->choice, sizeof to->choice);
    }
    if (part & QX_ADVICE_LADDER) {
        memcpy(to->ladder_db, from->ladder_db, sizeof to->ladder_db);
    }
    if (part & QX_ADVICE_BEST) {
        memcpy(to->best_db, from->best_db, sizeof to->best_db);
    }
}

static bool same_calib(const struct qx_setting *a, const struct qx_setting *b)
{
    return a->calib == b->calib && a->param == b->param;
}

static bool same_layout(const struct qx_setting *a, const struct qx_setting *b)
{
    return a->sym == b->sym && a->gran == b->gran && a->scale == b->scale &&
           (a->gran != QX_GRAN_GROUP || a->group == b->group);
}

static void advice_done(struct qx_session *s, struct qx_task *t);

static void part_submit(struct qx_session *s, int at)
{
    struct qx_advice_slot *slot = &s->advisor.slot[at];
    unsigned missing = ALL_KNOWN & ~slot->known;
    struct qx_hist_spec spec = qx_setting_spec(&slot->key, s->items.v[slot->item].channels);
    const struct qx_cache_entry *e = qx_cache_find(&s->cache, slot->item, &spec);
    if (!missing || slot->task || !e || !e->hist || !s->preview.is_started) {
        return;
    }
    struct advice_task *a = qx_mem_zalloc(sizeof *a);
    if (!a) {
        return;
    }
    a->task = (struct qx_task){.run = advice_run, .drop = advice_drop, .priority = ADVICE_PRIORITY};
    a->task.done = advice_done;
    a->slot = at;
    a->key = slot->key;
    a->hist = qx_hist_ref(e->hist);
    a->is_sampled = e->state != QX_HIST_READY;
    a->part = missing & -missing;
    unknown_fill(a->advice.ladder_db);
    unknown_fill(a->advice.best_db);
    slot->task = &a->task;
    slot->is_sampled = slot->is_sampled || a->is_sampled;
    qx_lane_submit(&s->preview, &a->task);
}

static void advice_done(struct qx_session *s, struct qx_task *t)
{
    struct advice_task *a = (struct advice_task *)t;
    struct qx_advice_slot *slot = &s->advisor.slot[a->slot];
    slot->task = NULL;
    bool is_stale = a->part == QX_ADVICE_LADDER && !same_calib(&a->key, &slot->key);
    if (!is_stale) {
        if (t->status == QX_OK) {
            part_copy(&slot->advice, &a->advice, a->part);
        }
        slot->known |= a->part; /* a part that failed is not asked for again */
        slot->advice.is_complete = slot->known == ALL_KNOWN && !slot->is_sampled;
        s->news |= QX_NEWS_METRICS;
    }
    part_submit(s, a->slot);
}

static int slot_find(struct qx_advisor *v, int64_t item, const struct qx_setting *key)
{
    for (int i = 0; i < QX_ADVICE_KEPT; i++) {
        const struct qx_advice_slot *slot = &v->slot[i];
        if (slot->is_used && slot->item == item && slot->key.format == key->format &&
            slot->key.bits == key->bits && same_layout(&slot->key, key)) {
            return i;
        }
    }
    return -1;
}

/* What does not depend on the bits is taken from another slot of the same layout. */
static void slot_inherit(struct qx_advisor *v, struct qx_advice_slot *slot)
{
    for (int i = 0; i < QX_ADVICE_KEPT; i++) {
        const struct qx_advice_slot *from = &v->slot[i];
        if (from != slot && from->is_used && from->item == slot->item && !from->is_sampled &&
            same_layout(&from->key, &slot->key)) {
            unsigned parts = from->known & QX_ADVICE_BEST;
            parts |= same_calib(&from->key, &slot->key) ? from->known & QX_ADVICE_LADDER : 0;
            part_copy(&slot->advice, &from->advice, parts);
            slot->known |= parts;
        }
    }
}

/* Least recently used slot that no task writes to; -1 when all are busy. */
static int slot_new(struct qx_advisor *v, int64_t item, const struct qx_setting *key)
{
    int at = -1;
    for (int i = 0; i < QX_ADVICE_KEPT; i++) {
        const struct qx_advice_slot *slot = &v->slot[i];
        if (!slot->task && (at < 0 || slot->used < v->slot[at].used)) {
            at = i;
        }
    }
    if (at >= 0) {
        struct qx_advice_slot *slot = &v->slot[at];
        *slot = (struct qx_advice_slot){.is_used = true, .item = item, .key = *key};
        unknown_fill(slot->advice.ladder_db);
        unknown_fill(slot->advice.best_db);
        slot_inherit(v, slot);
    }
    return at;
}

/* The ladder follows the calibrator; a range by hand has none. */
static void ladder_follow(struct qx_advice_slot *slot, const struct qx_setting *now)
{
    if (!same_calib(&slot->key, now)) {
        slot->key.calib = now->calib;
        slot->key.param = now->param;
        slot->known &= ~(unsigned)QX_ADVICE_LADDER;
        unknown_fill(slot->advice.ladder_db);
    }
    if (qx_setting_is_manual(now)) {
        slot->known |= QX_ADVICE_LADDER;
    }
}

bool qx_session_advice(struct qx_session *s, int64_t item, struct qx_advice *out)
{
    struct qx_setting key = s->now.set[item];
    if (!qx_format_is_scaled(key.format) || !s->items.v[item].can_quantize) {
        return false;
    }
    struct qx_hist_spec spec = qx_setting_spec(&key, s->items.v[item].channels);
    const struct qx_cache_entry *e = qx_cache_want(s, item, &spec);
    if (!e || !e->hist) {
        return false;
    }
    struct qx_advisor *v = &s->advisor;
    int at = slot_find(v, item, &key);
    at = at >= 0 ? at : slot_new(v, item, &key);
    if (at < 0) {
        return false;
    }
    struct qx_advice_slot *slot = &v->slot[at];
    slot->used = ++v->clock;
    ladder_follow(slot, &key);
    if (slot->is_sampled && !slot->task && e->state == QX_HIST_READY) {
        slot->is_sampled = false; /* once more, from all values */
        slot->known = qx_setting_is_manual(&key) ? QX_ADVICE_LADDER : 0;
    }
    slot->advice.is_complete = slot->known == ALL_KNOWN && !slot->is_sampled;
    part_submit(s, at);
    *out = slot->advice;
    return slot->known != 0;
}

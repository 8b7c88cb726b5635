/* Edits of the recipe: patches, undo, redo, snapshots. */
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/history.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- sums ---- */

static void sums_add(struct qx_sums *sums, const struct qx_item *it, const struct qx_setting *set,
                     int sign)
{
    if (!qx_dtype_get(it->tensor->dtype)->is_float) {
        return;
    }
    uint64_t bytes = qx_setting_tensor_bytes(set, it->tensor, it->channels);
    sums->float_bytes += sign > 0 ? bytes : -bytes;
    sums->n_quantized += qx_setting_is_fp32(set) ? 0 : sign;
}

void qx_sums_of(const struct qx_session *s, const struct qx_recipe *r, struct qx_sums *out)
{
    *out = (struct qx_sums){0};
    for (int64_t i = 0; i < r->n; i++) {
        const struct qx_item *it = &s->items.v[i];
        if (qx_dtype_get(it->tensor->dtype)->is_float) {
            out->n_float += it->tensor->numel;
            out->float_fp32_bytes += 4 * (uint64_t)it->tensor->numel;
        } else {
            out->other_bytes += it->tensor->bytes;
        }
        out->n_quantizable += it->can_quantize;
        sums_add(out, it, &r->set[i], 1);
    }
}

static void totals_of(const struct qx_sums *sums, struct qx_totals *out)
{
    out->bytes = sums->float_bytes + sums->other_bytes;
    out->bytes_fp32 = sums->float_fp32_bytes + sums->other_bytes;
    out->bits_per_weight =
        sums->n_float > 0 ? 8.0 * (double)sums->float_bytes / (double)sums->n_float : 0;
    out->n_quantized = sums->n_quantized;
    out->n_quantizable = sums->n_quantizable;
}

void qx_session_totals(const struct qx_session *s, struct qx_totals *out)
{
    totals_of(&s->sums, out);
}

void qx_session_totals_a(const struct qx_session *s, struct qx_totals *out)
{
    totals_of(s->has_a ? &s->sums_a : &s->sums, out);
}

/* ---- ranges still to be chosen ---- */

bool qx_pending_open(const struct qx_session *s)
{
    return s->pending.n > 0;
}

static void pending_set(struct qx_pending *p, int64_t item, uint8_t state)
{
    if (p->state[item] == QX_PENDING_NONE && state != QX_PENDING_NONE) {
        p->place[item] = p->n;
        p->item[p->n++] = item;
    } else if (p->state[item] != QX_PENDING_NONE && state == QX_PENDING_NONE) {
        int64_t last = p->item[--p->n];
        p->item[p->place[item]] = last;
        p->place[last] = p->place[item];
    }
    p->state[item] = state;
}

/* Not an edit, but part of the one that asked for it. */
void qx_pending_resolve(struct qx_session *s, int64_t item, const struct qx_hist *hist,
                        bool is_final)
{
    struct qx_setting set = s->now.set[item];
    qx_setting_choose(&set, hist);
    bool differs = !qx_setting_equal(&set, &s->now.set[item]);
    s->now.set[item] = set;
    pending_set(&s->pending, item, is_final ? QX_PENDING_NONE : QX_PENDING_PROVISIONAL);
    if (is_final) {
        qx_undo_resolve(&s->undo, item, &set);
    }
    if (differs) {
        s->news |= QX_NEWS_RECIPE;
        qx_recipe_touched(s, false);
    }
}

/* False when the item's histogram is not there yet. */
static bool pending_try(struct qx_session *s, int64_t item)
{
    struct qx_hist_spec spec = qx_setting_spec(&s->now.set[item], s->items.v[item].channels);
    const struct qx_cache_entry *e = qx_cache_want(s, item, &spec);
    bool is_final = e && (e->state == QX_HIST_READY || (e->hist && !e->task));
    if (e && e->state == QX_HIST_FAILED) {
        pending_set(&s->pending, item, QX_PENDING_NONE); /* measuring will say why */
        return true;
    }
    if (!e || !e->hist || (s->pending.state[item] == QX_PENDING_PROVISIONAL && !is_final)) {
        return false;
    }
    qx_pending_resolve(s, item, e->hist, is_final);
    return true;
}

void qx_pending_work(struct qx_session *s, double budget_s)
{
    enum { ASKED_AT_ONCE = 8 }; /* so that a small budget of memory is not overrun */
    double end = qx_clock_s() + budget_s;
    int64_t before = s->pending.n;
    int waiting = 0;
    for (int64_t i = s->pending.n - 1; i >= 0 && waiting < ASKED_AT_ONCE; i--) {
        waiting += !pending_try(s, s->pending.item[i]);
        if (qx_clock_s() > end) {
            break;
        }
    }
    if (s->pending.n < before) {
        qx_measure_touched(s); /* what was open may be known already */
    }
}

/* A small histogram takes about a frame: the next key, typed within milliseconds, finds its
 * threshold. */
static void pending_hurry(struct qx_session *s)
{
    enum { HURRY_ELEMS = 200000 };
    if (s->is_batch || s->pending.n != 1) {
        return;
    }
    int64_t item = s->pending.item[0];
    const struct qx_item *it = &s->items.v[item];
    struct qx_hist_spec spec = qx_setting_spec(&s->now.set[item], it->channels);
    const struct qx_hist *hist;
    if (!it->tensor->reason && it->tensor->numel <= HURRY_ELEMS) {
        qx_cache_build(s, item, &spec, NULL, &hist, NULL);
    }
}

/* ---- changes ---- */

void qx_item_set(struct qx_session *s, int64_t item, const struct qx_setting *set, uint8_t origin)
{
    const struct qx_item *it = &s->items.v[item];
    sums_add(&s->sums, it, &s->now.set[item], -1);
    sums_add(&s->sums, it, set, 1);
    s->now.set[item] = *set;
    s->now.set[item].importance = it->importance;
    s->now.origin[item] = origin;
    pending_set(&s->pending, item, qx_setting_open(set) ? QX_PENDING_OPEN : QX_PENDING_NONE);
}

void qx_recipe_touched(struct qx_session *s, bool is_move)
{
    s->revision++;
    s->n_moves += is_move;
    s->last_edit_s = qx_clock_s();
    s->save.is_dirty = true;
    s->save.due_s = s->last_edit_s + 0.5;
    qx_ranges_touched(s);
    qx_methods_touched(s);
    qx_measure_touched(s);
}

void qx_step_apply(struct qx_session *s, const struct qx_step *step, bool forward)
{
    for (int64_t i = 0; i < step->n; i++) {
        const struct qx_change *c = &step->change[i];
        qx_item_set(s, c->item, forward ? &c->after : &c->before,
                    forward ? c->origin_after : c->origin_before);
    }
}

/* ---- patches ---- */

static void bounds_of(struct qx_session *s, int64_t item, struct qx_bounds *out)
{
    *out = (struct qx_bounds){0};
    const struct qx_hist *hist = qx_cache_any(&s->cache, item);
    if (!hist && (s->is_batch || s->items.v[item].tensor->numel <= 1 << 20)) {
        struct qx_setting plain = qx_setting_int(8);
        plain.gran = QX_GRAN_TENSOR;
        struct qx_hist_spec spec = qx_setting_spec(&plain, s->items.v[item].channels);
        qx_cache_build(s, item, &spec, NULL, &hist, NULL);
    }
    if (hist && qx_hist_stats(hist)->n > 0) {
        const struct qx_stats *st = qx_hist_stats(hist);
        *out = (struct qx_bounds){true, st->min, st->max, st->absmax};
    }
}

static enum qx_status patched(struct qx_session *s, int64_t item, const struct qx_patch *patch,
                              struct qx_setting *out, struct qx_error *err)
{
    const struct qx_setting *now = &s->now.set[item];
    const char *name = s->items.v[item].tensor->name;
    struct qx_bounds bounds = {0};
    /* asked only when a threshold by hand changes its kind */
    if ((patch->fields & QX_PATCH_GRAN) && now->has_range && qx_setting_is_manual(now) &&
        (now->gran == QX_GRAN_TENSOR) != (patch->value.gran == QX_GRAN_TENSOR)) {
        bounds_of(s, item, &bounds);
    }
    enum qx_status status = qx_patch_apply(patch, now, &bounds, name, out, err);
    return status == QX_OK ? qx_methods_check(s, item, out, err) : status;
}

/* Does the edit pass this item over? */
static bool is_skipped(const struct qx_session *s, int64_t item, const struct qx_patch *patch)
{
    return !s->items.v[item].can_quantize || qx_patch_needs_bits(patch, &s->now.set[item]);
}

static enum qx_status refuse(const struct qx_session *s, int64_t item, const struct qx_patch *patch,
                             struct qx_error *err)
{
    const struct qx_item *it = &s->items.v[item];
    if (!it->can_quantize) {
        return qx_fail_at(err, QX_EUNSUPPORTED, NULL, it->tensor->name, -1,
                          "'%s' cannot be quantized. %s", it->tensor->name, it->reason);
    }
    struct qx_setting set;
    return qx_patch_apply(patch, &s->now.set[item], NULL, it->tensor->name, &set, err);
}

/* The open merge step on just these items, NULL when there is none. */
static struct qx_step *joinable(const struct qx_session *s, const int64_t *items, int64_t n,
                                const struct qx_patch *patch)
{
    struct qx_step *top = qx_undo_top(&s->undo);
    if (!top || !top->is_open || s->undo.pos != s->undo.n) {
        return NULL;
    }
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        if (is_skipped(s, items[i], patch)) {
            continue;
        }
        if (k == top->n || top->change[k].item != items[i]) {
            return NULL;
        }
        k++;
    }
    return k == top->n ? top : NULL;
}

static enum qx_status step_join(struct qx_session *s, struct qx_step *top,
                                const struct qx_patch *patch, struct qx_error *err)
{
    struct qx_setting set;
    for (int64_t i = 0; i < top->n; i++) { /* all or none */
        enum qx_status status = patched(s, top->change[i].item, patch, &set, err);
        if (status != QX_OK) {
            return status;
        }
    }
    for (int64_t i = 0; i < top->n; i++) {
        struct qx_change *c = &top->change[i];
        if (patched(s, c->item, patch, &set, NULL) == QX_OK) {
            c->after = set;
            qx_item_set(s, c->item, &set, c->origin_after);
        }
    }
    top->is_amended = true;
    qx_past_begin(s, &top->past);
    qx_step_describe(top, &s->items);
    return QX_OK;
}

static enum qx_status step_fill(struct qx_session *s, struct qx_step *step, const int64_t *items,
                                int64_t n, const struct qx_patch *patch, bool *changes,
                                struct qx_error *err)
{
    int64_t k = 0;
    *changes = false;
    for (int64_t i = 0; i < n; i++) {
        if (is_skipped(s, items[i], patch)) {
            continue;
        }
        struct qx_change *c = &step->change[k++];
        c->item = items[i];
        c->before = s->now.set[items[i]];
        c->origin_before = s->now.origin[items[i]];
        c->origin_after = QX_ORIGIN_MANUAL;
        enum qx_status status = patched(s, items[i], patch, &c->after, err);
        if (status != QX_OK) {
            return status;
        }
        *changes = *changes || !qx_setting_equal(&c->before, &c->after);
    }
    return QX_OK;
}

/* Forget changes that change nothing; a merge step keeps them, its items are its identity. */
static void step_trim(struct qx_step *step)
{
    int64_t k = 0;
    for (int64_t i = 0; i < step->n; i++) {
        if (!qx_setting_equal(&step->change[i].before, &step->change[i].after)) {
            step->change[k++] = step->change[i];
        }
    }
    step->n = k;
}

static enum qx_status step_commit(struct qx_session *s, struct qx_step *step, struct qx_error *err)
{
    qx_edit_log_note(s); /* the step before is complete now */
    qx_step_describe(step, &s->items);
    enum qx_status status = qx_undo_push(&s->undo, step, err);
    if (status == QX_OK) {
        qx_step_apply(s, step, true);
        qx_past_begin(s, &step->past);
    }
    return status;
}

static enum qx_status step_new(struct qx_session *s, const int64_t *items, int64_t n,
                               const struct qx_patch *patch, bool merge, struct qx_error *err)
{
    int64_t applies = 0;
    for (int64_t i = 0; i < n; i++) {
        applies += !is_skipped(s, items[i], patch);
    }
    if (applies == 0) {
        return n > 0 ? refuse(s, items[0], patch, err) : QX_OK;
    }
    struct qx_step *step = qx_step_new(QX_STEP_EDIT, applies);
    if (!step) {
        return qx_fail_nomem(err, sizeof *step + (size_t)applies * sizeof *step->change);
    }
    bool changes;
    enum qx_status status = step_fill(s, step, items, n, patch, &changes, err);
    if (status != QX_OK || !changes) {
        qx_step_free(step);
        return status;
    }
    step->is_open = merge;
    if (!merge) {
        step_trim(step);
    }
    return step_commit(s, step, err);
}

enum qx_status qx_session_edit(struct qx_session *s, const int64_t *items, int64_t n,
                               const struct qx_patch *patch, bool merge, struct qx_error *err)
{
    struct qx_step *top = merge ? joinable(s, items, n, patch) : NULL;
    const struct qx_step *last = qx_undo_top(&s->undo);
    enum qx_status status =
        top ? step_join(s, top, patch, err) : step_new(s, items, n, patch, merge, err);
    bool is_new = qx_undo_top(&s->undo) != last;
    if (status == QX_OK && (top || is_new)) {
        qx_recipe_touched(s, !top);
        if (s->pending.n > 0) {
            pending_hurry(s);
            qx_pending_work(s, 0.002);
        }
        qx_ranges_work(s, 0.002);
    }
    return status;
}

void qx_session_seal(struct qx_session *s)
{
    struct qx_step *top = qx_undo_top(&s->undo);
    if (top) {
        top->is_open = false;
    }
}

/* ---- undo and redo ---- */

/* A flip changes A too. Put A back only where it still is what the flip made it. */
void qx_flip_follow(struct qx_session *s, const struct qx_step *step, bool forward)
{
    for (int64_t i = 0; i < step->n && s->has_a; i++) {
        const struct qx_change *c = &step->change[i];
        const struct qx_setting *from = forward ? &c->after : &c->before;
        if (qx_setting_equal(&s->a.set[c->item], from)) {
            s->a.set[c->item] = forward ? c->before : c->after;
            s->a.origin[c->item] = forward ? c->origin_before : c->origin_after;
        }
    }
    qx_sums_of(s, &s->a, &s->sums_a);
    qx_measure_a_touched(s);
}

bool qx_step_move(struct qx_session *s, bool forward)
{
    struct qx_step *step = forward ? qx_undo_forward(&s->undo) : qx_undo_back(&s->undo);
    if (step) {
        step->is_open = false;
        qx_step_apply(s, step, forward);
        if (step->kind == QX_STEP_FLIP) {
            qx_flip_follow(s, step, forward);
        }
    }
    return step != NULL;
}

/* Where undo and redo lead is the recipe from now on. */
static void moved(struct qx_session *s)
{
    qx_recipe_touched(s, true);
    qx_pending_work(s, 0.002);
    qx_ranges_work(s, 0.002);
}

static bool move(struct qx_session *s, bool forward)
{
    qx_session_seal(s);
    qx_edit_log_note(s);
    if (!qx_step_move(s, forward)) {
        return false;
    }
    qx_edit_log_move(s, forward);
    moved(s);
    return true;
}

void qx_step_jump(struct qx_session *s, struct qx_step *target)
{
    const int common = qx_undo_common(&s->undo, target);
    while (s->undo.pos > common) {
        qx_step_move(s, false);
    }
    const int to = qx_undo_aim(&s->undo, target);
    while (s->undo.pos < to) {
        qx_step_move(s, true);
    }
}

enum qx_status qx_session_go_to(struct qx_session *s, int id, struct qx_error *err)
{
    struct qx_step *target = qx_undo_find(&s->undo, id);
    if (!target && id != s->undo.first_id) {
        return qx_fail(err, QX_ERANGE, "there is no state %d in the history (0 to %d)", id,
                       s->undo.last_id);
    }
    if (target == qx_undo_top(&s->undo)) {
        return QX_OK;
    }
    qx_session_seal(s);
    qx_edit_log_note(s);
    qx_step_jump(s, target);
    qx_edit_log_jump(s);
    moved(s);
    return QX_OK;
}

bool qx_session_undo(struct qx_session *s)
{
    return move(s, false);
}

bool qx_session_redo(struct qx_session *s)
{
    return move(s, true);
}

int qx_session_n_edits(const struct qx_session *s)
{
    return s->undo.pos;
}

const char *qx_session_edit_text(const struct qx_session *s, int k)
{
    return k >= 0 && k < s->undo.pos ? s->undo.v[s->undo.pos - 1 - k]->text : NULL;
}

uint64_t qx_session_revision(const struct qx_session *s)
{
    return s->revision;
}

const char *qx_session_recipe_hash(struct qx_session *s)
{
    snprintf(s->hash_text, sizeof s->hash_text, "%016" PRIx64,
             qx_recipe_hash(&s->now, &s->items, NULL));
    return s->hash_text;
}

const struct qx_setting *qx_session_setting(const struct qx_session *s, int64_t item)
{
    return &s->now.set[item];
}

/* ---- whole recipes ---- */

enum qx_status qx_recipe_replace(struct qx_session *s, const struct qx_recipe *want,
                                 enum qx_step_kind kind, struct qx_error *err)
{
    int64_t n = 0;
    for (int64_t i = 0; i < want->n; i++) {
        n += !qx_setting_equal(&s->now.set[i], &want->set[i]);
    }
    if (n == 0) {
        return QX_OK;
    }
    struct qx_step *step = qx_step_new(kind, n);
    if (!step) {
        return qx_fail_nomem(err, sizeof *step + (size_t)n * sizeof *step->change);
    }
    for (int64_t i = 0, k = 0; i < want->n; i++) {
        if (!qx_setting_equal(&s->now.set[i], &want->set[i])) {
            step->change[k++] = (struct qx_change){i, s->now.set[i], want->set[i], s->now.origin[i],
                                                   want->origin[i]};
        }
    }
    enum qx_status status = step_commit(s, step, err);
    if (status == QX_OK) {
        qx_recipe_touched(s, true);
        qx_pending_work(s, 0.002);
    }
    return status;
}

/* ---- snapshot A ---- */

void qx_session_snapshot(struct qx_session *s)
{
    qx_recipe_copy(&s->a, &s->now);
    s->has_a = true;
    s->sums_a = s->sums;
    qx_measure_a_touched(s);
    qx_edit_log_snapshot(s);
    s->news |= QX_NEWS_RECIPE;
}

bool qx_session_has_snapshot(const struct qx_session *s)
{
    return s->has_a;
}

const struct qx_setting *qx_session_setting_a(const struct qx_session *s, int64_t item)
{
    return s->has_a ? &s->a.set[item] : &s->now.set[item];
}

void qx_session_flip(struct qx_session *s)
{
    const struct qx_step *last = qx_undo_top(&s->undo);
    if (!s->has_a || qx_recipe_replace(s, &s->a, QX_STEP_FLIP, NULL) != QX_OK) {
        return;
    }
    const struct qx_step *top = qx_undo_top(&s->undo);
    if (top != last) { /* else A and B are equal */
        qx_flip_follow(s, top, true);
    }
}

enum qx_status qx_session_take_from_a(struct qx_session *s, int64_t item, struct qx_error *err)
{
    if (!s->has_a) {
        return qx_fail(err, QX_EDATA, "there is no snapshot A yet: take one with m");
    }
    struct qx_patch patch = {.fields = QX_PATCH_ALL, .value = s->a.set[item]};
    return qx_session_edit(s, &item, 1, &patch, false, err);
}

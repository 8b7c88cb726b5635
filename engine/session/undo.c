#include "session/undo.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

struct qx_step *qx_step_new(enum qx_step_kind kind, int64_t n)
{
    size_t bytes;
    if (!qx_size_mul((size_t)n, sizeof(struct qx_change), &bytes) ||
        !qx_size_add(bytes, sizeof(struct qx_step), &bytes)) {
        return NULL;
    }
    struct qx_step *step = qx_mem_zalloc(bytes);
    if (step) {
        step->kind = kind;
        step->n = n;
    }
    return step;
}

void qx_step_free(struct qx_step *step)
{
    qx_mem_free(step);
}

void qx_undo_release(struct qx_undo *u)
{
    for (int i = 0; i < u->n_all; i++) {
        qx_step_free(u->all[i]);
    }
    qx_mem_free(u->v);
    qx_mem_free(u->all);
    *u = (struct qx_undo){0};
}

/* ---- the limits ---- */

enum { OFF_LINE = -1, GONE = -2 }; /* places */

/* The oldest step that is not on the line, and all that grew from it. False: there are no branches. */
static bool drop_branch(struct qx_undo *u)
{
    int first = 0;
    while (first < u->n_all && u->all[first]->place >= 0) {
        first++;
    }
    for (int i = first; i < u->n_all; i++) { /* parents stand before their children */
        const struct qx_step *parent = u->all[i]->parent;
        u->all[i]->place =
            i == first || (parent && parent->place == GONE) ? GONE : u->all[i]->place;
    }
    int n = first;
    for (int i = first; i < u->n_all; i++) {
        if (u->all[i]->place == GONE) {
            u->n_changes -= u->all[i]->n;
            qx_step_free(u->all[i]);
        } else {
            u->all[n++] = u->all[i];
        }
    }
    const bool has_dropped = n < u->n_all;
    u->n_all = n;
    return has_dropped;
}

/* The first step of the line; without branches all are on it. */
static void drop_oldest(struct qx_undo *u)
{
    u->first_id = u->v[0]->id;
    u->past = u->v[0]->past;
    u->n_changes -= u->v[0]->n;
    qx_step_free(u->v[0]);
    u->n--;
    u->n_all--;
    u->pos--;
    memmove(u->v, u->v + 1, (size_t)u->n * sizeof *u->v);
    memmove(u->all, u->all + 1, (size_t)u->n_all * sizeof *u->all);
    for (int i = 0; i < u->n; i++) {
        u->v[i]->place = i;
    }
    u->v[0]->parent = NULL;
}

static bool reserve(struct qx_undo *u)
{
    if (u->n_all < u->cap) {
        return true;
    }
    const int cap = u->cap ? 2 * u->cap : 64;
    struct qx_step **v = qx_mem_realloc(u->v, (size_t)cap * sizeof *v);
    u->v = v ? v : u->v;
    struct qx_step **all = v ? qx_mem_realloc(u->all, (size_t)cap * sizeof *all) : NULL;
    u->all = all ? all : u->all;
    u->cap = all ? cap : u->cap;
    return all != NULL;
}

/* What is undone leaves the line. */
static void cut_undone(struct qx_undo *u)
{
    while (u->n > u->pos) {
        u->v[--u->n]->place = OFF_LINE;
    }
}

static void line_add(struct qx_undo *u, struct qx_step *step)
{
    step->place = u->n;
    if (u->n > 0) {
        u->v[u->n - 1]->next = step;
    }
    u->v[u->n++] = step;
}

enum qx_status qx_undo_push(struct qx_undo *u, struct qx_step *step, struct qx_error *err)
{
    if (!reserve(u)) {
        qx_step_free(step);
        return qx_fail_nomem(err, 2 * (size_t)u->cap * sizeof *u->v);
    }
    cut_undone(u);
    step->id = ++u->last_id;
    step->parent = qx_undo_top(u);
    line_add(u, step);
    u->all[u->n_all++] = step;
    u->pos = u->n;
    u->n_changes += step->n;
    while (u->n_all > QX_UNDO_STEPS || (u->n_all > 1 && u->n_changes > QX_UNDO_CHANGES)) {
        if (!drop_branch(u)) {
            drop_oldest(u);
        }
    }
    return QX_OK;
}

/* Index in all; -1 = none. */
static int index_of(const struct qx_undo *u, int id)
{
    int lo = 0, hi = u->n_all;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        if (u->all[mid]->id < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < u->n_all && u->all[lo]->id == id ? lo : -1;
}

void qx_undo_replace(struct qx_undo *u, struct qx_step *step)
{
    struct qx_step *old = qx_undo_top(u);
    step->id = old->id;
    step->place = old->place;
    step->parent = old->parent;
    step->next = old->next;
    for (int i = 0; i < u->n_all; i++) {
        u->all[i]->parent = u->all[i]->parent == old ? step : u->all[i]->parent;
        u->all[i]->next = u->all[i]->next == old ? step : u->all[i]->next;
    }
    u->all[index_of(u, old->id)] = step;
    u->v[old->place] = step;
    u->n_changes += step->n - old->n;
    qx_step_free(old);
}

/* ---- moving ---- */

struct qx_step *qx_undo_top(const struct qx_undo *u)
{
    return u->pos > 0 ? u->v[u->pos - 1] : NULL;
}

struct qx_step *qx_undo_back(struct qx_undo *u)
{
    return u->pos > 0 ? u->v[--u->pos] : NULL;
}

struct qx_step *qx_undo_forward(struct qx_undo *u)
{
    return u->pos < u->n ? u->v[u->pos++] : NULL;
}

struct qx_step *qx_undo_find(const struct qx_undo *u, int id)
{
    const int i = index_of(u, id);
    return i >= 0 ? u->all[i] : NULL;
}

static bool is_done(const struct qx_undo *u, const struct qx_step *step)
{
    return step->place >= 0 && step->place < u->pos;
}

int qx_undo_common(const struct qx_undo *u, const struct qx_step *target)
{
    while (target && !is_done(u, target)) {
        target = target->parent;
    }
    return target ? target->place + 1 : 0;
}

int qx_undo_aim(struct qx_undo *u, struct qx_step *target)
{
    int n = 0;
    if (!target || target->place >= 0) {
        return target ? target->place + 1 : 0;
    }
    for (const struct qx_step *s = target; s && !is_done(u, s); s = s->parent) {
        n++;
    }
    cut_undone(u);
    const int to = u->pos + n;
    struct qx_step *s = target;
    for (int k = to - 1; k >= u->pos; k--, s = s->parent) {
        u->v[k] = s;
    }
    while (u->n < to) {
        line_add(u, u->v[u->n]);
    }
    while (u->v[u->n - 1]->next) {
        line_add(u, u->v[u->n - 1]->next);
    }
    return to;
}

void qx_undo_resolve(struct qx_undo *u, int64_t item, const struct qx_setting *now)
{
    enum { FAR = 64 }; /* older steps choose anew when they are reached */
    for (int k = u->pos - 1; k >= 0 && k >= u->pos - FAR; k--) {
        struct qx_step *step = u->v[k];
        for (int64_t i = 0; i < step->n; i++) {
            struct qx_change *c = &step->change[i];
            if (c->item == item) {
                if ((qx_setting_open(&c->after) || qx_act_open(&c->after.act) ||
                     qx_setting_awaits(&c->after)) &&
                    qx_setting_resolves_to(&c->after, now)) {
                    c->after = *now;
                    step->is_amended = true;
                }
                return;
            }
        }
    }
}

/* ---- texts ---- */

static const char *gran_text(const struct qx_setting *s, char *buf, size_t cap)
{
    if (s->gran == QX_GRAN_GROUP) {
        snprintf(buf, cap, "group %lld", (long long)s->group);
        return buf;
    }
    return s->gran == QX_GRAN_CHANNEL ? "channel" : "tensor";
}

/* The one thing that changed, or the whole new setting when several did. */
static void change_describe(const struct qx_setting *a, const struct qx_setting *b, char *out,
                            size_t cap)
{
    char x[40], y[40];
    bool alike = a->format == b->format && qx_format_is_scaled(a->format);
    bool bits = a->bits != b->bits, sym = a->sym != b->sym;
    bool gran = a->gran != b->gran || (a->gran == QX_GRAN_GROUP && a->group != b->group);
    bool calib = a->calib != b->calib || a->param != b->param;
    if (!alike || bits + sym + gran + (calib && !qx_setting_is_manual(b)) > 1) {
        qx_setting_text(a, x, sizeof x);
        qx_setting_text(b, y, sizeof y);
        snprintf(out, cap, "%s -> %s", x, y);
    } else if (bits) {
        snprintf(out, cap, "bits %d -> %d", a->bits, b->bits);
    } else if (sym) {
        snprintf(out, cap, "%s", b->sym ? "symmetric" : "asymmetric");
    } else if (gran) {
        snprintf(out, cap, "granularity %s -> %s", gran_text(a, x, sizeof x),
                 gran_text(b, y, sizeof y));
    } else if (strcmp(a->algo, b->algo) != 0) {
        snprintf(out, cap, "method %.24s -> %.24s", a->algo[0] ? a->algo : "rtn",
                 b->algo[0] ? b->algo : "rtn");
    } else if (calib && !qx_setting_is_manual(b)) {
        snprintf(out, cap, "calibrator %s -> %s", a->calib->title, b->calib->title);
    } else if (!qx_act_equal(&a->act, &b->act)) {
        snprintf(out, cap, "inputs %s -> %s", qx_act_text(&a->act, x, sizeof x),
                 qx_act_text(&b->act, y, sizeof y));
    } else if (a->scale != b->scale) {
        snprintf(out, cap, "scales stored as %s", qx_scale_name(b->scale));
    } else {
        const char *what = b->gran != QX_GRAN_TENSOR ? "clip ratio"
                           : b->sym                  ? "threshold"
                                                     : "high end";
        double from = a->range.hi, to = b->range.hi;
        if (!b->sym && from == to) {
            what = "low end";
            from = a->range.lo;
            to = b->range.lo;
        }
        if (a->has_range) {
            snprintf(out, cap, "%s %.4g -> %.4g", what, from, to);
        } else {
            snprintf(out, cap, "%s %.4g", what, to);
        }
    }
}

void qx_step_describe(struct qx_step *step, const struct qx_items *items)
{
    char what[112] = "nothing changed", name[64];
    if (step->kind == QX_STEP_LOAD || step->kind == QX_STEP_FLIP) {
        snprintf(step->text, sizeof step->text, "%s: %lld %s",
                 step->kind == QX_STEP_LOAD ? "recipe loaded" : "A and B swapped",
                 (long long)step->n, step->n == 1 ? "layer" : "layers");
        return;
    }
    if (step->n > 0) {
        change_describe(&step->change[0].before, &step->change[0].after, what, sizeof what);
    }
    if (step->n == 1) {
        qx_str_copy(name, sizeof name, items->v[step->change[0].item].tensor->name);
        snprintf(step->text, sizeof step->text, "%s: %s", name, what);
    } else {
        snprintf(step->text, sizeof step->text, "%lld layers: %s", (long long)step->n, what);
    }
}

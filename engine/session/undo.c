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
    for (int i = 0; i < u->n; i++) {
        qx_step_free(u->v[i]);
    }
    qx_mem_free(u->v);
    *u = (struct qx_undo){0};
}

static void drop_undone(struct qx_undo *u)
{
    while (u->n > u->pos) {
        struct qx_step *step = u->v[--u->n];
        u->n_changes -= step->n;
        qx_step_free(step);
    }
}

static void drop_oldest(struct qx_undo *u)
{
    u->n_changes -= u->v[0]->n;
    qx_step_free(u->v[0]);
    u->n--;
    u->pos--;
    memmove(u->v, u->v + 1, (size_t)u->n * sizeof *u->v);
}

enum qx_status qx_undo_push(struct qx_undo *u, struct qx_step *step, struct qx_error *err)
{
    if (u->pos == u->cap) {
        int cap = u->cap ? 2 * u->cap : 64;
        struct qx_step **v = qx_mem_realloc(u->v, (size_t)cap * sizeof *v);
        if (!v) {
            qx_step_free(step);
            return qx_fail_nomem(err, (size_t)cap * sizeof *v);
        }
        u->v = v;
        u->cap = cap;
    }
    drop_undone(u);
    u->v[u->n++] = step;
    u->pos = u->n;
    u->n_changes += step->n;
    while (u->n > QX_UNDO_STEPS || (u->n > 1 && u->n_changes > QX_UNDO_CHANGES)) {
        drop_oldest(u);
    }
    return QX_OK;
}

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

/* Lists of methods: their text, and which layers may take them. */
#include "method/method.h"

#include "base/error.h"
#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum qx_status unknown(const char *name, struct qx_error *err)
{
    const char *names[64];
    size_t n = 0;
    char list[160] = "";
    for (int i = 0; i < qx_method_count() && n < 64; i++) {
        names[n++] = qx_method_at(i)->name;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "",
                 qx_method_at(i)->name);
    }
    const char *near = qx_nearest(name, names, n);
    return near ? qx_fail(err, QX_ENAME, "unknown method '%.40s': did you mean '%s'?", name, near)
                : qx_fail(err, QX_ENAME, "unknown method '%.40s': choose %s", name, list);
}

static enum qx_status param_parse(const struct qx_method *m, const char *text, double *out,
                                  struct qx_error *err)
{
    char *end;
    *out = m->param_default;
    if (!text) {
        return QX_OK;
    }
    if (!m->param) {
        return qx_fail(err, QX_ERANGE, "%s takes no number", m->name);
    }
    *out = strtod(text, &end);
    if (end == text || *end || !(*out >= m->param_lo && *out <= m->param_hi)) {
        return qx_fail(err, QX_ERANGE, "%s takes %s from %g to %g, not '%.40s'", m->name, m->param,
                       m->param_lo, m->param_hi, text);
    }
    return QX_OK;
}

static enum qx_status add(struct qx_algo *a, const struct qx_method *m, double param,
                          struct qx_error *err)
{
    int at = a->n;
    for (int i = 0; i < a->n; i++) {
        if (a->v[i].method == m) {
            return qx_fail(err, QX_ERANGE, "%s is named twice", m->name);
        }
        const unsigned both = m->claims & a->v[i].method->claims;
        if (both) {
            return qx_fail(err, QX_ERANGE, "%s and %s both choose %s: name one of them",
                           a->v[i].method->name, m->name,
                           both & QX_CLAIM_CODES    ? "the codes"
                           : both & QX_CLAIM_INPUTS ? "the factors of inputs"
                           : both & QX_CLAIM_BIASES ? "the biases"
                                                    : "the inputs kept apart");
        }
    }
    if (a->n == QX_ALGO_METHODS) {
        return qx_fail(err, QX_ERANGE, "at most %d methods can be named", QX_ALGO_METHODS);
    }
    while (at > 0 && a->v[at - 1].method->stage > m->stage) {
        a->v[at] = a->v[at - 1];
        at--;
    }
    a->v[at].method = m;
    a->v[at].param = param;
    a->n++;
    return QX_OK;
}

static bool text_make(const struct qx_algo *a, char *out)
{
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i < a->n; i++) {
        const struct qx_method *m = a->v[i].method;
        const bool is_default = isnan(a->v[i].param) || a->v[i].param == m->param_default;
        const int n = m->param && !is_default
                          ? snprintf(out + len, QX_ALGO_MOST - len, "%s%s:%.6g", i ? "," : "",
                                     m->name, a->v[i].param)
                          : snprintf(out + len, QX_ALGO_MOST - len, "%s%s", i ? "," : "", m->name);
        len += (size_t)n;
        if (n < 0 || len >= QX_ALGO_MOST) {
            return false;
        }
    }
    return true;
}

enum qx_status qx_algo_parse(const char *text, struct qx_algo *out, char *canonical,
                             struct qx_error *err)
{
    struct qx_algo a = {0};
    char made[QX_ALGO_MOST];
    enum qx_status st = QX_OK;
    if (strcmp(text, "rtn") == 0) {
        text = "";
    }
    for (const char *p = text; st == QX_OK && *p;) {
        char name[64];
        const size_t n = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        p += n + (p[n] == ',');
        char *colon = strchr(name, ':');
        if (colon) {
            *colon = '\0';
        }
        const struct qx_method *m = qx_method_find(name);
        double param = (double)NAN;
        st = m ? param_parse(m, colon ? colon + 1 : NULL, &param, err) : unknown(name, err);
        if (st == QX_OK) {
            st = add(&a, m, param, err);
        }
    }
    if (st == QX_OK && !text_make(&a, made)) {
        st = qx_fail(err, QX_ERANGE, "the list of methods is longer than %d characters",
                     QX_ALGO_MOST - 1);
    }
    if (st != QX_OK) {
        return st;
    }
    if (canonical) {
        memcpy(canonical, made, sizeof made);
    }
    *out = a;
    return QX_OK;
}

bool qx_algo_needs_inputs(const struct qx_algo *a, const struct qx_setting *s)
{
    const bool is_static = s->act.bits > 0 && !s->act.dynamic;
    for (int i = 0; i < a->n; i++) {
        const struct qx_method *m = a->v[i].method;
        if (m->needs_inputs || (is_static && (m->claims & QX_CLAIM_INPUTS))) {
            return true;
        }
    }
    return false;
}

enum qx_status qx_algo_check(const struct qx_net *net, int layer, const char *tensor,
                             const struct qx_setting *s, struct qx_error *err)
{
    struct qx_algo a;
    struct qx_method_target t = {.net = net, .layer = layer, .set = s};
    enum qx_status st = qx_algo_parse(s->algo, &a, NULL, err);
    if (st != QX_OK || a.n == 0) {
        return st;
    }
    if (!qx_format_is_scaled(s->format)) {
        return qx_fail_at(err, QX_EUNSUPPORTED, NULL, tensor, -1,
                          "'%s' cannot take %s: %s has no codes to choose", tensor, s->algo,
                          s->format->title);
    }
    t.has_product = net && layer >= 0 && qx_net_layer_product(net, layer, &t.product);
    for (int i = 0; i < a.n; i++) {
        const struct qx_method *m = a.v[i].method;
        const char *why = m->refuse ? m->refuse(&t) : NULL;
        if (why) {
            return qx_fail_at(err, QX_EUNSUPPORTED, NULL, tensor, -1, "'%s' cannot take %s: %s",
                              tensor, m->name, why);
        }
    }
    return QX_OK;
}

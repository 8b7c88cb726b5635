/* Attributes of a node, checked against the operation's list. */
#include "op.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

/* Text of the only or the possible values, for messages. */
static enum qx_status fail_range(const struct qx_attr_spec *spec, int64_t v, struct qx_error *err)
{
    if (spec->min == spec->max) {
        return qx_fail(err, QX_EUNSUPPORTED, "attribute '%s' is %lld; only %lld is supported",
                       spec->name, (long long)v, (long long)spec->min);
    }
    return qx_fail(err, QX_EFORMAT, "attribute '%s' is %lld; it must be %lld to %lld", spec->name,
                   (long long)v, (long long)spec->min, (long long)spec->max);
}

static enum qx_status read_int(const struct qx_attr_spec *spec, const struct qx_jval *v,
                               int64_t *out, struct qx_error *err)
{
    if (!qx_jint(v, out)) {
        return qx_fail(err, QX_EFORMAT, "attribute '%s' must be a whole number", spec->name);
    }
    return *out < spec->min || *out > spec->max ? fail_range(spec, *out, err) : QX_OK;
}

static enum qx_status read_list(const struct qx_attr_spec *spec, const struct qx_jval *v,
                                struct qx_attr *out, struct qx_error *err)
{
    if (!qx_jis_array(v) || qx_jlen(v) > QX_ATTR_INTS) {
        return qx_fail(err, QX_EFORMAT, "attribute '%s' must be a list of at most %d whole numbers",
                       spec->name, QX_ATTR_INTS);
    }
    for (const struct qx_jval *e = qx_jfirst(v); e; e = qx_jnext(e)) {
        enum qx_status st = read_int(spec, e, &out->ints[out->n], err);
        if (st != QX_OK) {
            return st;
        }
        out->n++;
    }
    return QX_OK;
}

/* Index of `word` among the words of `choices`, -1 when absent. */
static int64_t choice_of(const char *choices, const char *word)
{
    size_t len = strlen(word);
    int64_t i = 0;
    for (const char *p = choices; *p; i++) {
        size_t n = strcspn(p, " ");
        if (n == len && memcmp(p, word, n) == 0) {
            return i;
        }
        p += n + (p[n] == ' ');
    }
    return -1;
}

static enum qx_status read_one(const struct qx_attr_spec *spec, const struct qx_jval *v,
                               struct qx_attr *out, struct qx_error *err)
{
    out->is_given = true;
    switch (spec->type) {
    case QX_ATTR_INT:
        return read_int(spec, v, &out->i, err);
    case QX_ATTR_INTS_LIST:
        return read_list(spec, v, out, err);
    case QX_ATTR_FLOAT:
        out->f = qx_jnum(v, NAN);
        if (!qx_jis_number(v) || !isfinite((float)out->f)) {
            return qx_fail(err, QX_EFORMAT, "attribute '%s' must be a finite number", spec->name);
        }
        return QX_OK;
    case QX_ATTR_CHOICE:
        out->i = qx_jis_string(v) ? choice_of(spec->choices, qx_jstr(v, "")) : -1;
        if (out->i < 0) {
            return qx_fail(err, QX_EUNSUPPORTED, "attribute '%s' is '%.40s'; supported: %s",
                           spec->name, qx_jstr(v, "not a text"), spec->choices);
        }
        return QX_OK;
    }
    return QX_EBUG;
}

enum qx_status qx_attr_parse(const struct qx_op *op, const struct qx_jval *attrs,
                             struct qx_attr *attr, struct qx_error *err)
{
    for (int k = 0; k < op->n_attrs; k++) {
        attr[k] = (struct qx_attr){
            .i = op->attrs[k].type == QX_ATTR_INT ? (int64_t)op->attrs[k].fallback : 0,
            .f = op->attrs[k].fallback};
    }
    for (const struct qx_jval *v = qx_jfirst(attrs); v; v = qx_jnext(v)) {
        int k = 0;
        while (k < op->n_attrs && strcmp(op->attrs[k].name, qx_jkey(v)) != 0) {
            k++;
        }
        if (k == op->n_attrs) {
            return qx_fail(err, QX_EFORMAT, "%s has no attribute '%.60s'", op->name, qx_jkey(v));
        }
        enum qx_status st = read_one(&op->attrs[k], v, &attr[k], err);
        if (st != QX_OK) {
            return st;
        }
    }
    for (int k = 0; k < op->n_attrs; k++) {
        if (op->attrs[k].is_required && !attr[k].is_given) {
            return qx_fail(err, QX_EFORMAT, "attribute '%s' is missing", op->attrs[k].name);
        }
    }
    return QX_OK;
}

enum qx_status qx_attr_list(const struct qx_node *node, int attr, int n, int64_t fallback,
                            int64_t *out, struct qx_error *err)
{
    const struct qx_attr *a = &node->attr[attr];
    if (a->is_given && a->n != n) {
        return qx_fail(err, QX_EFORMAT, "attribute '%s' has %d numbers; %d are needed",
                       node->op->attrs[attr].name, a->n, n);
    }
    for (int i = 0; i < n; i++) {
        out[i] = a->is_given ? a->ints[i] : fallback;
    }
    return QX_OK;
}

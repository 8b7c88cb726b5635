#include "verb_search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *end_of_net(struct qx_session *s, bool is_last)
{
    const struct qx_net *net = qx_session_net(s);
    const char *name = NULL;
    for (int i = 0; net && i < qx_net_n_layers(net); i++) {
        const struct qx_layer *l = qx_net_layer(net, i);
        if (l->role == QX_ROLE_LINEAR && (!name || is_last)) {
            name = qx_session_item(s, l->tensor)->tensor->name;
        }
    }
    return name;
}

const char *ui_search_glob(struct qx_session *s, const char *glob)
{
    const bool is_last = strcmp(glob, "last") == 0;
    const char *name = is_last || strcmp(glob, "first") == 0 ? end_of_net(s, is_last) : NULL;
    return name ? name : glob;
}

bool ui_search_match(struct qx_session *s, int64_t item, const char *glob)
{
    const struct qx_item *it = qx_session_item(s, item);
    return qx_str_glob(glob, it->tensor->name) || qx_str_glob(glob, it->alias);
}

/* "first=fp16" becomes "stem.conv.weight=fp16". */
static const char *keep_of(struct qx_session *s, const char *spec, char *buf, size_t cap)
{
    const char *eq = strrchr(spec, '=');
    snprintf(buf, cap, "%.*s", (int)(eq - spec), spec);
    const char *glob = ui_search_glob(s, buf);
    if (glob == buf) {
        return spec;
    }
    snprintf(buf, cap, "%s%s", glob, eq);
    return buf;
}

bool ui_search_apply(const struct ui_args *args, struct qx_session *s, struct qx_error *err)
{
    enum { CAP = 512 };
    struct ui_args a = *args;
    char(*keep)[CAP] = calloc(UI_MAX_KEEP, CAP);
    if (!keep) {
        *err = (struct qx_error){.status = QX_ENOMEM, .text = "out of memory", .offset = -1};
        return false;
    }
    for (int i = 0; i < a.n_keep; i++) {
        a.keep[i] = keep_of(s, a.keep[i], keep[i], CAP);
    }
    /* the widths are the search's: any serves to carry the rest */
    if (a.gran || a.method || a.sym || a.asym || a.scale || a.act_bits || a.dynamic || a.act_gran ||
        a.act_method) {
        a.bits = 8;
    }
    a.layers = NULL;
    const bool ok = ui_apply_recipe(&a, s, err);
    free(keep);
    return ok;
}

enum qx_status ui_search_columns(const struct ui_args *args, struct qx_sens_column *out, int *n,
                                 struct qx_error *err)
{
    return qx_sens_columns_parse(args->columns ? args->columns : "2,3,4,5,6,8", out, n, err);
}

enum qx_status ui_search_measure(const struct ui_args *args, int *n, struct qx_error *err)
{
    char *end;
    *n = 0;
    if (!args->n_measure) {
        return QX_OK;
    }
    if (strcmp(args->n_measure, "all") == 0) {
        *n = -1;
        return QX_OK;
    }
    const long v = strtol(args->n_measure, &end, 10);
    if (end == args->n_measure || *end || v < 0 || v > 1000000) {
        *err = (struct qx_error){.status = QX_ERANGE, .offset = -1};
        snprintf(err->text, sizeof err->text, "--measure wants a number or `all`, not '%.40s'",
                 args->n_measure);
        return QX_ERANGE;
    }
    *n = (int)v;
    return QX_OK;
}

bool ui_search_gate(const struct ui_args *args, const char *what, double accuracy, double drop)
{
    if (!isnan(args->fail_under) && accuracy < args->fail_under) {
        fprintf(stderr, "qexplore %s: %s has accuracy %.4f, under --fail-under %g\n", args->verb,
                what, accuracy, args->fail_under);
        return true;
    }
    if (!isnan(args->max_drop) && drop > args->max_drop) {
        fprintf(stderr, "qexplore %s: %s loses %.4f of accuracy, more than --max-drop %g\n",
                args->verb, what, drop, args->max_drop);
        return true;
    }
    return false;
}

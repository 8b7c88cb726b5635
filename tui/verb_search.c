#include "verb_search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ui_search_apply(const struct ui_args *args, struct qx_session *s, struct qx_error *err)
{
    struct ui_args a = *args;
    /* the widths are the search's: any serves to carry the rest */
    if (a.gran || a.method || a.sym || a.asym || a.scale || a.act_bits || a.dynamic || a.act_gran ||
        a.act_method) {
        a.bits = 8;
    }
    a.layers = NULL;
    return ui_apply_recipe(&a, s, err);
}

enum qx_scope ui_search_scope(const struct ui_args *args)
{
    return args->scope && strcmp(args->scope, "all") == 0 ? QX_SCOPE_ALL : QX_SCOPE_LINEAR;
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

bool ui_search_is_words(const struct qx_session *s)
{
    return qx_session_net(s) && qx_net_is_words(qx_session_net(s));
}

enum qx_status ui_search_check(const struct ui_args *args, const struct qx_session *s,
                               struct qx_error *err)
{
    const char *flag = !isnan(args->fail_under) ? "--fail-under"
                       : !isnan(args->min_acc)  ? "--min-acc"
                                                : NULL;
    if (!flag || !ui_search_is_words(s)) {
        return QX_OK;
    }
    *err = (struct qx_error){.status = QX_EUNSUPPORTED, .offset = -1};
    snprintf(err->text, sizeof err->text,
             "%s is for classifiers; a language model has --max-drop, the relative increase of its "
             "perplexity",
             flag);
    return err->status;
}

bool ui_search_gate(const struct ui_args *args, const char *what, bool is_words, double accuracy,
                    double drop)
{
    if (is_words) {
        if (!isnan(args->max_drop) && drop > args->max_drop) {
            fprintf(stderr,
                    "qexplore %s: %s increases perplexity by %.4f, more than --max-drop %g\n",
                    args->verb, what, drop, args->max_drop);
            return true;
        }
        return false;
    }
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

/* The rows, or a language model's tokens, that change most from FP32 to the recipe: part of what eval says. */
#include "qx/try.h"
#include "verb.h"

#include <stdio.h>
#include <string.h>

enum { IN_LIST = 10, MOST = 1000, TEXT_BYTES = 512, TOKEN_BYTES = 64 };

static enum qx_change_order order_of(const struct ui_args *args)
{
    return args->changes_by && strcmp(args->changes_by, "kl") == 0 ? QX_CHANGES_KL
                                                                   : QX_CHANGES_ANSWERS;
}

static int64_t changes_of(const struct ui_args *args, const struct qx_eval_result *fp32,
                          const struct qx_eval_result *recipe, int64_t most,
                          struct qx_eval_change *out)
{
    int64_t n = 0;
    return qx_eval_changes(fp32, recipe, order_of(args), most < MOST ? most : MOST, out, &n,
                           NULL) == QX_OK
               ? n
               : 0;
}

bool ui_changes_check(const struct ui_args *args, bool is_words, struct qx_error *err)
{
    if (order_of(args) == QX_CHANGES_ANSWERS || is_words) {
        return true;
    }
    *err = (struct qx_error){.status = QX_EUNSUPPORTED, .offset = -1};
    snprintf(err->text, sizeof err->text,
             "--changes-by kl is for language models, whose KL divergence is measured token by "
             "token");
    return false;
}

static void row_json(struct qx_jw *w, struct qx_session *s, const struct qx_eval_change *c)
{
    const struct qx_net *net = qx_session_net(s);
    char text[TEXT_BYTES], token[TOKEN_BYTES];
    const bool is_text = qx_session_row_text(s, c->row, text, sizeof text);
    qx_jw_object(w);
    qx_jw_put_int(w, "row", c->row);
    qx_jw_put_str(w, "text", is_text ? text : NULL);
    if (qx_net_is_words(net)) {
        qx_session_token(s, c->label, token, sizeof token);
        qx_jw_put_int(w, "id", c->label);
        qx_jw_put_str(w, "token", token[0] ? token : NULL);
        qx_jw_put_num(w, "p_fp32", (double)c->before);
        qx_jw_put_num(w, "p", (double)c->after);
        qx_jw_put_num(w, "kl", (double)c->kl_b);
        qx_session_token(s, c->top_a, token, sizeof token);
        qx_jw_put_str(w, "top_fp32", token[0] ? token : NULL);
        qx_session_token(s, c->top_b, token, sizeof token);
        qx_jw_put_str(w, "top", token[0] ? token : NULL);
    } else {
        qx_jw_put_str(w, "label", qx_net_class_name(net, c->label));
        qx_jw_put_str(w, "class_fp32", qx_net_class_name(net, c->top_a));
        qx_jw_put_str(w, "class", qx_net_class_name(net, c->top_b));
        qx_jw_put_num(w, "margin_fp32", (double)c->before);
        qx_jw_put_num(w, "margin", (double)c->after);
    }
    qx_jw_end(w);
}

void ui_changes_json(const struct ui_args *args, struct qx_jw *w, struct qx_session *s,
                     const struct qx_eval_result *fp32, const struct qx_eval_result *recipe)
{
    static struct qx_eval_change v[MOST];
    const int64_t n =
        changes_of(args, fp32, recipe, args->n_changes ? args->n_changes : IN_LIST, v);
    qx_jw_key(w, "changes");
    qx_jw_array(w);
    for (int64_t i = 0; i < n; i++) {
        row_json(w, s, &v[i]);
    }
    qx_jw_end(w);
}

static void row_print(struct qx_session *s, const struct qx_eval_change *c)
{
    const struct qx_net *net = qx_session_net(s);
    char text[TEXT_BYTES], safe[TEXT_BYTES], token[TOKEN_BYTES];
    const bool is_text = qx_session_row_text(s, c->row, text, sizeof text);
    const char *shown = is_text ? ui_safe_text(text, safe, sizeof safe) : "";
    if (qx_net_is_words(net)) {
        printf("%9lld  p %6.2f %% -> %6.2f %%  KL %.4f  '%s' after: %s\n", (long long)c->row,
               100 * (double)c->before, 100 * (double)c->after, (double)c->kl_b,
               qx_session_token(s, c->label, token, sizeof token), shown);
    } else {
        printf("%9lld  %s -> %s (label %s), margin %+.3f -> %+.3f  %s\n", (long long)c->row,
               qx_net_class_name(net, c->top_a), qx_net_class_name(net, c->top_b),
               qx_net_class_name(net, c->label), (double)c->before, (double)c->after, shown);
    }
}

void ui_changes_print(const struct ui_args *args, struct qx_session *s,
                      const struct qx_eval_result *fp32, const struct qx_eval_result *recipe)
{
    static struct qx_eval_change v[MOST];
    const int64_t most = args->n_changes ? args->n_changes : args->changes_by ? IN_LIST : 0;
    const int64_t n = changes_of(args, fp32, recipe, most, v);
    if (n > 0) {
        printf("%s that change most from FP32%s:\n",
               qx_net_is_words(qx_session_net(s)) ? "tokens" : "rows",
               order_of(args) == QX_CHANGES_KL ? ", by KL divergence" : "");
    }
    for (int64_t i = 0; i < n; i++) {
        row_print(s, &v[i]);
    }
}

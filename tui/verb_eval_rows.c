/* The rows that a recipe loses next, the one nearest to another class first: part of what eval says. */
#include "verb.h"

#include <stdio.h>
#include <stdlib.h>

enum { IN_JSON = 10, TEXT_BYTES = 512 };

bool ui_rows_measured(const struct qx_eval_result *fp32, const struct qx_eval_result *recipe,
                      struct ui_rows *out)
{
    *out = (struct ui_rows){.n = recipe->n};
    out->v = malloc(((size_t)recipe->n + 1) * sizeof *out->v);
    if (!out->v || qx_eval_leads(fp32, recipe, out->v, NULL) != QX_OK) {
        free(out->v);
        *out = (struct ui_rows){.v = NULL};
        return false;
    }
    ui_rows_sort(out);
    return true;
}

void ui_rows_sort(struct ui_rows *r)
{
    r->n_all = r->n;
    r->n_lost = qx_leads_sort(r->v, &r->n);
}

/* The next ones: those that are lost lie before them. */
static int64_t end_of(const struct ui_rows *r, int64_t most)
{
    return r->n - r->n_lost < most ? r->n : r->n_lost + most;
}

void ui_rows_json(const struct ui_args *args, struct qx_jw *w, struct qx_session *s,
                  const struct ui_rows *r)
{
    const struct qx_net *net = qx_session_net(s);
    char text[TEXT_BYTES];
    qx_jw_key(w, "rows");
    qx_jw_object(w);
    qx_jw_put_str(w, "basis", r->is_predicted ? "predicted" : "measured");
    qx_jw_put_int(w, "n", r->n_all);
    qx_jw_put_int(w, "right_fp32", r->n);
    if (r->is_predicted) { /* how many go is what "predicted" says, with its band */
        qx_jw_put_str(w, "lost", NULL);
    } else {
        qx_jw_put_int(w, "lost", r->n_lost);
    }
    qx_jw_key(w, "next");
    qx_jw_array(w);
    for (int64_t i = r->n_lost; i < end_of(r, args->n_rows ? args->n_rows : IN_JSON); i++) {
        const struct qx_lead *l = &r->v[i];
        const bool is_text = qx_session_row_text(s, l->row, text, sizeof text);
        qx_jw_object(w);
        qx_jw_put_int(w, "row", l->row);
        qx_jw_put_str(w, "text", is_text ? text : NULL);
        qx_jw_put_str(w, "class", qx_net_class_name(net, l->top0));
        qx_jw_put_num(w, "lead_fp32", (double)l->before);
        qx_jw_put_num(w, "lead", (double)l->now);
        qx_jw_end(w);
    }
    qx_jw_end(w);
    qx_jw_end(w);
}

void ui_rows_print(const struct ui_args *args, struct qx_session *s, const struct ui_rows *r)
{
    const struct qx_net *net = qx_session_net(s);
    const char *mark = r->is_predicted ? "≈" : "";
    char text[TEXT_BYTES], safe[TEXT_BYTES];
    if (!args->n_rows) {
        return;
    }
    if (r->is_predicted) {
        printf("rows that go next, predicted on %lld rows\n", (long long)r->n_all);
    } else {
        printf("rows that go next: %lld of %lld that FP32 has right are lost\n",
               (long long)r->n_lost, (long long)r->n);
    }
    for (int64_t i = r->n_lost; i < end_of(r, args->n_rows); i++) {
        const struct qx_lead *l = &r->v[i];
        const bool is_text = qx_session_row_text(s, l->row, text, sizeof text);
        printf("%9lld  %s, lead %+.3f -> %s%+.3f  %s\n", (long long)l->row,
               qx_net_class_name(net, l->top0), (double)l->before, mark, (double)l->now,
               is_text ? ui_safe_text(text, safe, sizeof safe) : "");
    }
}

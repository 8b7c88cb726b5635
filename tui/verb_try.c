/* qexplore try: sentences classified in FP32 and under a recipe; of a language model, continued. */
#include "cli.h"
#include "qx/qx.h"
#include "verb.h"

#include <stdio.h>

static const char *const keys[] = {"fp32", "a", "recipe"};

static void answer_json(struct qx_jw *w, const struct qx_net *net, const struct qx_try *t,
                        enum qx_which which)
{
    const struct qx_try_answer *a = &t->answer[which];
    const int n = qx_net_n_classes(net) < QX_TRY_CLASSES ? qx_net_n_classes(net) : QX_TRY_CLASSES;
    qx_jw_key(w, keys[which]);
    qx_jw_object(w);
    qx_jw_key(w, "class");
    qx_jw_str(w, qx_net_class_name(net, a->top));
    qx_jw_key(w, "lead");
    qx_jw_float(w, a->margin);
    qx_jw_key(w, "p");
    qx_jw_array(w);
    for (int c = 0; c < n; c++) {
        qx_jw_float(w, a->p[c]);
    }
    qx_jw_end(w);
    qx_jw_end(w);
}

static void classes_json(struct qx_jw *w, const struct qx_net *net)
{
    qx_jw_key(w, "classes");
    qx_jw_array(w);
    for (int c = 0; c < qx_net_n_classes(net); c++) {
        qx_jw_str(w, qx_net_class_name(net, c));
    }
    qx_jw_end(w);
}

static int tries_json(const struct ui_args *args, struct qx_session *s)
{
    const struct qx_net *net = qx_session_net(s);
    struct qx_jw *w = ui_json_begin(args, "try");
    struct qx_try t;
    if (!qx_net_is_words(net)) {
        classes_json(w, net);
    }
    qx_jw_key(w, "sentences");
    qx_jw_array(w);
    for (int i = qx_session_n_tries(s) - 1; i >= 0 && qx_session_try_at(s, i, &t); i--) {
        qx_jw_object(w);
        qx_jw_key(w, "text");
        qx_jw_str(w, t.text);
        qx_jw_key(w, "tokens");
        qx_jw_int(w, t.n_tokens);
        qx_jw_key(w, "cut");
        qx_jw_bool(w, t.is_cut);
        if (qx_net_is_words(net)) {
            ui_said_json(w, keys[QX_WHICH_FP32], &t.answer[QX_WHICH_FP32]);
            ui_said_json(w, keys[QX_WHICH_B], &t.answer[QX_WHICH_B]);
        } else {
            answer_json(w, net, &t, QX_WHICH_FP32);
            answer_json(w, net, &t, QX_WHICH_B);
        }
        qx_jw_end(w);
    }
    qx_jw_end(w);
    return ui_json_print(w);
}

static int tries_print(struct qx_session *s)
{
    const struct qx_net *net = qx_session_net(s);
    struct qx_try t;
    for (int i = qx_session_n_tries(s) - 1; i >= 0 && qx_session_try_at(s, i, &t); i--) {
        const struct qx_try_answer *fp32 = &t.answer[QX_WHICH_FP32], *now = &t.answer[QX_WHICH_B];
        if (qx_net_is_words(net)) {
            ui_said_print(&t);
            continue;
        }
        printf("%s\n  FP32   %-20s lead %+.4f\n  recipe %-20s lead %+.4f%s\n", t.text,
               qx_net_class_name(net, fp32->top), (double)fp32->margin,
               qx_net_class_name(net, now->top), (double)now->margin,
               now->top != fp32->top ? "  changed" : "");
    }
    return UI_EXIT_OK;
}

static int try_report(const struct ui_args *args, struct qx_session *s)
{
    struct qx_error err = {.offset = -1};
    enum qx_status st = QX_OK;
    if (ui_has_recipe(args) && !ui_apply_recipe(args, s, &err)) {
        return ui_report(args, &err);
    }
    for (int i = 1; i < args->n_positional && st == QX_OK; i++) {
        st = qx_session_try(s, args->positional[i], &err);
    }
    if (st == QX_OK) {
        st = qx_session_run_tries(s, ui_batch_ctl(), &err);
    }
    if (st != QX_OK) {
        return ui_report(args, &err);
    }
    return args->json ? tries_json(args, s) : tries_print(s);
}

static int try_run(const struct ui_args *args)
{
    int code;
    struct qx_session *s = ui_open_batch(args, &code);
    if (s) {
        code = try_report(args, s);
        qx_session_close(&s);
    }
    return code;
}

const struct ui_verb ui_verb_try = {
    .name = "try",
    .usage = "FOLDER \"SENTENCE\" ... [--bits N ...] [--json]",
    .help = "Classify sentences in FP32 and under a recipe.",
    .example = "qexplore try bert-folder \"not bad at all\" --bits 4",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_RECIPE | UI_FLAGS_SESSION,
    .min_positional = 2,
    .max_positional = 1 + QX_TRY_SENTENCES,
    .run = try_run,
};

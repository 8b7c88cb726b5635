/* qexplore generate: a text continued in FP32 and under a recipe, and where the two part. */
#include "cli.h"
#include "verb.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void ui_said_json(struct qx_jw *w, const char *key, const struct qx_try_answer *a)
{
    qx_jw_key(w, key);
    qx_jw_object(w);
    qx_jw_key(w, "text");
    qx_jw_str(w, a->text);
    qx_jw_key(w, "tokens");
    qx_jw_int(w, a->n_new);
    qx_jw_key(w, "same_tokens");
    qx_jw_int(w, a->n_same);
    qx_jw_key(w, "ended");
    qx_jw_bool(w, a->is_ended);
    qx_jw_put_str(w, "engine", qx_engine_name(a->engine));
    qx_jw_end(w);
}

/* Lines of a text, the part that is FP32's plain and the rest from a mark on. */
static void text_print(const char *name, const struct qx_try_answer *a, bool is_fp32)
{
    printf("  %-6s ", name);
    for (size_t i = 0; a->text[i]; i++) {
        const char c = a->text[i];
        if (!is_fp32 && i == a->same_bytes) {
            printf("||");
        }
        if (c == '\n') {
            printf("\n         ");
        } else {
            putchar((unsigned char)c < 0x20 || c == 0x7f ? '?' : c);
        }
    }
    printf("%s\n", a->is_ended ? " [end]" : "");
}

void ui_said_print(const struct qx_try *t)
{
    const struct qx_try_answer *fp32 = &t->answer[QX_WHICH_FP32], *now = &t->answer[QX_WHICH_B];
    char text[1024];
    printf("%s\n", ui_safe_text(t->text, text, sizeof text));
    text_print("FP32", fp32, true);
    text_print("recipe", now, false);
    if (now->n_same < now->n_new || now->n_new != fp32->n_new) {
        printf("  part at || after %lld of %lld tokens; recipe: %s\n", (long long)now->n_same,
               (long long)fp32->n_new, qx_engine_name(now->engine));
    } else {
        printf("  the same %lld tokens; recipe: %s\n", (long long)now->n_new,
               qx_engine_name(now->engine));
    }
}

static int generate_json(const struct ui_args *args, const struct qx_try_options *o,
                         const struct qx_try *t)
{
    struct qx_jw *w = ui_json_begin(args, "generate");
    qx_jw_key(w, "prompt");
    qx_jw_str(w, t->text);
    qx_jw_key(w, "prompt_tokens");
    qx_jw_int(w, t->n_tokens);
    qx_jw_key(w, "temperature");
    qx_jw_float(w, o->sampling.temperature);
    qx_jw_key(w, "top_p");
    qx_jw_float(w, o->sampling.top_p);
    qx_jw_key(w, "seed");
    qx_jw_int(w, (int64_t)o->sampling.seed);
    ui_said_json(w, "fp32", &t->answer[QX_WHICH_FP32]);
    ui_said_json(w, "recipe", &t->answer[QX_WHICH_B]);
    return ui_json_print(w);
}

static int generate_report(const struct ui_args *args, struct qx_session *s)
{
    struct qx_error err = {.offset = -1};
    struct qx_try_options o = {
        .n_tokens = args->tokens ? args->tokens : QX_TRY_TOKENS,
        .sampling = {isnan(args->temperature) ? 0.0f : (float)args->temperature,
                     isnan(args->top_p) ? 1.0f : (float)args->top_p, args->seed}};
    struct qx_try t;
    if ((args->engine && qx_engine_parse(args->engine, &o.engine, &err) != QX_OK) ||
        (ui_has_recipe(args) && !ui_apply_recipe(args, s, &err))) {
        return ui_report(args, &err);
    }
    if (qx_session_net(s) && !qx_net_is_words(qx_session_net(s))) {
        return ui_usage_error(
            args, "this network classifies; qexplore try shows what it says of a sentence");
    }
    enum qx_status st = qx_session_try_options(s, &o, &err);
    if (st == QX_OK) {
        st = qx_session_try(s, args->prompt, &err);
    }
    if (st == QX_OK) {
        ui_progress_begin(args, "generate");
        st = qx_session_run_tries(s, ui_batch_ctl(), &err);
        ui_progress_end();
    }
    if (st != QX_OK) {
        return ui_report(args, &err);
    }
    qx_session_try_at(s, 0, &t);
    if (args->json) {
        return generate_json(args, &o, &t);
    }
    ui_said_print(&t);
    return UI_EXIT_OK;
}

static int generate_run(const struct ui_args *args)
{
    int code;
    if (!args->prompt) {
        return ui_usage_error(args, "there is nothing to go on with: give --prompt TEXT");
    }
    struct qx_session *s = ui_open_batch(args, &code);
    if (s) {
        code = generate_report(args, s);
        qx_session_close(&s);
    }
    return code;
}

const struct ui_verb ui_verb_generate = {
    .name = "generate",
    .usage =
        "FOLDER --prompt TEXT [--tokens N] [--temperature X] [--bits N ...] [--engine E] [--json]",
    .help = "Continue a text in FP32 and under a recipe.",
    .example = "qexplore generate llama-folder --prompt \"Once upon a time\" --bits 4",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_RECIPE | UI_FLAGS_SESSION | UI_FLAGS_GENERATE,
    .min_positional = 1,
    .max_positional = 1,
    .run = generate_run,
};

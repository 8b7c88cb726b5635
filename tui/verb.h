/* Batch verbs: one file and one row each (verb_table.c). */
#ifndef UI_VERB_H
#define UI_VERB_H

#include "cli.h"

struct ui_verb {
    const char *name;
    const char *alias;   /* another name, NULL = none */
    const char *usage;   /* "MODEL [flags]" */
    const char *help;    /* one sentence */
    const char *example; /* one command line */
    unsigned groups;     /* flags it takes */
    int min_positional, max_positional;
    int (*run)(const struct ui_args *args); /* returns the exit code */
};

int ui_verb_count(void);
const struct ui_verb *ui_verb_at(int i);
const struct ui_verb *ui_verb_find(const char *name);
/* The verb most like a mistyped name, NULL when none is. */
const char *ui_verb_nearest(const char *name); /* NULL when unknown */
/* Parse and run `qexplore VERB ...`; argv[0] is the verb's name. */
int ui_verb_main(const struct ui_verb *verb, int argc, char **argv);
/* `qexplore --help`: verbs, keys in short, examples. Printed to stdout. */
void ui_print_help(bool full);

/* A prediction as a member "predicted" of the object that is open, and as a line (verb_predicted.c). */
struct qx_jw;
void ui_predicted_json(struct qx_jw *w, const struct qx_prediction *p);
void ui_predicted_print(const struct qx_prediction *p);
/* The rows or tokens that change most from FP32, as a member "changes" of the object that is open, and as
 * lines where --changes asks for them (verb_eval_changes.c). */
void ui_changes_json(const struct ui_args *args, struct qx_jw *w, struct qx_session *s,
                     const struct qx_eval_result *fp32, const struct qx_eval_result *recipe);
/* False where --changes-by asks for what the network has not, with why. */
bool ui_changes_check(const struct ui_args *args, bool is_words, struct qx_error *err);
void ui_changes_print(const struct ui_args *args, struct qx_session *s,
                      const struct qx_eval_result *fp32, const struct qx_eval_result *recipe);
/* The rows of a classifier's data under FP32 and a recipe, those that are lost first, then those that go next
 * (verb_eval_rows.c). */
struct ui_rows {
    struct qx_lead *v; /* [n] that FP32 has right; free with free */
    int64_t n, n_lost;
    int64_t n_all; /* rows that were looked at */
    bool is_predicted;
};
bool ui_rows_measured(const struct qx_eval_result *fp32, const struct qx_eval_result *recipe,
                      struct ui_rows *out);
void ui_rows_sort(struct ui_rows *r); /* of n rows in any order */
/* As a member "rows" of the object that is open, and as lines where --rows asks for them. */
void ui_rows_json(const struct ui_args *args, struct qx_jw *w, struct qx_session *s,
                  const struct ui_rows *r);
void ui_rows_print(const struct ui_args *args, struct qx_session *s, const struct ui_rows *r);
/* Where the ranges of activations came from, as a member "calib" of the object that is open; nothing where none
 * were calibrated (verb_eval.c). */
void ui_calib_json(struct qx_jw *w, const struct qx_session *s);
/* eval of a language model: perplexity, and against FP32 (verb_eval_words.c). */
int ui_eval_words(const struct ui_args *args, struct qx_session *s);
/* --fail-under has no sense for a language model: said on stderr, false. */
bool ui_words_gate(const struct ui_args *args, const char *verb);
/* eval of an encoder without a classifier: agreement of its embeddings with FP32's. */
int ui_eval_embedding(const struct ui_args *args, struct qx_session *s);

/* A row of a benchmark as an object's members, and as a line without its end (verb_bench.c). recipe_hash: of
 * the row of the recipe. */
void ui_bench_row_json(struct qx_jw *w, const struct qx_bench_row *r, const char *recipe_hash);
/* Settings of a training from its flags (verb_train.c). */
enum qx_status ui_train_options(const struct ui_args *args, const struct qx_net *net,
                                struct qx_train_options *o, struct qx_error *err);

extern const struct ui_verb ui_verb_info, ui_verb_quantize, ui_verb_eval, ui_verb_sweep,
    ui_verb_pareto, ui_verb_bench, ui_verb_try, ui_verb_generate, ui_verb_render, ui_verb_play,
    ui_verb_doctor, ui_verb_completions, ui_verb_formats, ui_verb_lesson, ui_verb_train,
    ui_verb_presets;

/* What a language model went on with (verb_generate.c): an object under `key`; lines on stdout. */
void ui_said_json(struct qx_jw *w, const char *key, const struct qx_try_answer *a);
void ui_said_print(const struct qx_try *t);

#endif

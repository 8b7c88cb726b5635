/* The batch verbs, and the help that is made from them. */
#include "verb.h"

#include <stdio.h>
#include <string.h>

static const struct ui_verb *const verbs[] = {
    &ui_verb_info,   &ui_verb_quantize, &ui_verb_presets, &ui_verb_formats,
    &ui_verb_eval,   &ui_verb_sweep,    &ui_verb_pareto,  &ui_verb_bench,
    &ui_verb_try,    &ui_verb_generate, &ui_verb_lesson,  &ui_verb_train,
    &ui_verb_render, &ui_verb_play,     &ui_verb_doctor,  &ui_verb_completions,
};

int ui_verb_count(void)
{
    return (int)(sizeof verbs / sizeof *verbs);
}

const struct ui_verb *ui_verb_at(int i)
{
    return verbs[i];
}

const struct ui_verb *ui_verb_find(const char *name)
{
    for (int i = 0; i < ui_verb_count(); i++) {
        const char *alias = verbs[i]->alias;
        if (strcmp(verbs[i]->name, name) == 0 || (alias && strcmp(alias, name) == 0)) {
            return verbs[i];
        }
    }
    return NULL;
}

static void flag_print(void *arg, const char *name, const char *metavar, const char *help)
{
    (void)arg;
    char left[96];
    snprintf(left, sizeof left, "--%s%s%s", name, metavar ? " " : "", metavar ? metavar : "");
    if (strlen(left) > 28) {
        printf("  %s\n  %-28s %s\n", left, "", help);
    } else {
        printf("  %-28s %s\n", left, help);
    }
}

static int verb_help(const struct ui_verb *verb, bool full)
{
    printf("%s\n\n  %s\n\nusage: qexplore %s %s\n", verb->help, verb->example, verb->name,
           verb->usage);
    if (full) {
        printf("\n");
        ui_flags_each(verb->groups, flag_print, NULL);
        printf("\nExit codes: 0 done, 1 failed, 2 usage, 3 input unreadable or invalid, 4 not "
               "supported,\n5 gate missed, 6 out of memory or disk, 130 (143, 129) interrupted.\n");
    } else {
        printf("All flags: qexplore %s --help\n", verb->name);
    }
    return UI_EXIT_OK;
}

void ui_print_help(bool full)
{
    printf("qexplore opens a neural network in the terminal: pick a layer, drag its clipping "
           "threshold,\nsee what it does to the error and to the measured accuracy.\n\n"
           "  qexplore                      choose among the models found here\n"
           "  qexplore MODEL                a .safetensors file, a folder, or an index.json\n"
           "  qexplore quantize MODEL --bits 4 --json\n"
           "  qexplore eval FOLDER --bits 4 --gran group:32\n\n"
           "verbs (a model named like a verb needs ./):\n");
    for (int i = 0; i < ui_verb_count(); i++) {
        printf("  %-12s %s\n", verbs[i]->name, verbs[i]->help);
    }
    if (full) {
        printf("\nflags of the explorer:\n");
        ui_flags_each(UI_FLAGS_COMMON | UI_FLAGS_SESSION | UI_FLAGS_SCREEN | UI_FLAGS_EXPLORE,
                      flag_print, NULL);
        printf("\nInside: ? lists every key, : finds every command, q quits.\n");
    } else {
        printf("\nMore: qexplore --help, qexplore VERB --help, man qexplore\n");
    }
}

int ui_verb_main(const struct ui_verb *verb, int argc, char **argv)
{
    struct ui_args args;
    int code = ui_args_parse(&args, verb->name, verb->groups, argc - 1, argv + 1);
    if (code) {
        return code;
    }
    if (args.help || args.short_help) {
        return ui_stdout_done(&args, verb_help(verb, args.help));
    }
    if (args.n_positional < verb->min_positional) {
        return ui_usage_error(&args, "an argument is missing: qexplore %s %s", verb->name,
                              verb->usage);
    }
    if (args.n_positional > verb->max_positional) {
        return ui_usage_error(&args, "unexpected argument '%s': qexplore %s %s",
                              args.positional[verb->max_positional], verb->name, verb->usage);
    }
    return ui_stdout_done(&args, verb->run(&args));
}

const char *ui_verb_nearest(const char *name)
{
    const char *names[sizeof verbs / sizeof *verbs];
    for (int i = 0; i < ui_verb_count(); i++) {
        names[i] = verbs[i]->name;
    }
    return qx_nearest(name, names, (size_t)ui_verb_count());
}

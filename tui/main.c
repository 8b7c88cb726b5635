/* qexplore: a verb, or the explorer. */
#include "restart.h"
#include "term.h"
#include "ui.h"
#include "verb.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    static const struct ui_terminal terminal = {ui_term_curses, ui_term_emergency};
    ui_use_terminal(&terminal);
    signal(SIGXFSZ, SIG_IGN);       /* a file beyond the limit of its size is a full disk */
    setlocale(LC_CTYPE, "C.UTF-8"); /* numbers stay in the C locale */
    if (argc > 1 && argv[1][0] != '-') {
        const struct ui_verb *verb = ui_verb_find(argv[1]);
        if (verb) {
            return ui_verb_main(verb, argc - 1, argv + 1);
        }
    }
    struct ui_args args;
    unsigned groups = UI_FLAGS_COMMON | UI_FLAGS_SESSION | UI_FLAGS_SCREEN | UI_FLAGS_EXPLORE;
    int code = ui_args_parse(&args, NULL, groups, argc - 1, argv + 1);
    if (code != UI_EXIT_OK) {
        return code;
    }
    if (args.version) {
        printf("qexplore %s (%s, %s)\n", QX_VERSION, qx_cpu_get()->name,
               qx_isa_name(qx_cpu_get()->isa));
        return ui_stdout_done(&args, UI_EXIT_OK);
    }
    if (args.help || args.short_help) {
        ui_print_help(args.help);
        return ui_stdout_done(&args, UI_EXIT_OK);
    }
    const char *first = args.n_positional ? args.positional[0] : "";
    const char *near = strpbrk(first, "./") ? NULL : ui_verb_nearest(first);
    if (near && access(first, F_OK) != 0) {
        return ui_usage_error(&args, "no verb or model '%s'; did you mean 'qexplore %s'?", first,
                              near);
    }
    if (args.n_positional > 1) {
        return ui_usage_error(&args, "one model at a time, not '%s' too", args.positional[1]);
    }
    return ui_run(&args);
}

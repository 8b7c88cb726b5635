/* qexplore completions: shell completions made from the tables of verbs and flags. */
#include "verb.h"

#include <stdio.h>
#include <string.h>

enum { EXPLORER_FLAGS = UI_FLAGS_COMMON | UI_FLAGS_SESSION | UI_FLAGS_SCREEN | UI_FLAGS_EXPLORE };

/* "a|b|c" (every part lower case) names choices; others are placeholders. */
static bool is_choices(const char *metavar)
{
    return metavar && strchr(metavar, '|') && !strpbrk(metavar, ":ABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

static bool is_file(const char *metavar)
{
    return metavar && (strcmp(metavar, "FILE") == 0 || strcmp(metavar, "LOG") == 0 ||
                       strcmp(metavar, "PATH") == 0);
}

static void bash_word(void *arg, const char *name, const char *metavar, const char *help)
{
    (void)arg, (void)metavar, (void)help;
    printf(" --%s", name);
}

static void bash_value(void *arg, const char *name, const char *metavar, const char *help)
{
    (void)arg, (void)help;
    if (is_choices(metavar)) {
        printf("    --%s) COMPREPLY=($(compgen -W \"", name);
        for (const char *p = metavar; *p; p++) {
            putchar(*p == '|' ? ' ' : *p);
        }
        printf("\" -- \"$cur\")); return;;\n");
    } else if (is_file(metavar)) {
        printf("    --%s) COMPREPLY=($(compgen -f -- \"$cur\")); return;;\n", name);
    } else if (metavar) {
        printf("    --%s) return;;\n", name);
    }
}

static void bash(void)
{
    printf("# bash completion of qexplore; made by: qexplore completions bash\n_qexplore() {\n"
           "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "  COMPREPLY=()\n  case $prev in\n");
    ui_flags_each(~0u, bash_value, NULL);
    printf("  esac\n  local flags\n  case ${COMP_WORDS[1]} in\n");
    for (int i = 0; i < ui_verb_count(); i++) {
        printf("    %s) flags=\"", ui_verb_at(i)->name);
        ui_flags_each(ui_verb_at(i)->groups, bash_word, NULL);
        printf("\";;\n");
    }
    printf("    *) flags=\"");
    ui_flags_each(EXPLORER_FLAGS, bash_word, NULL);
    printf("\";;\n  esac\n  if [[ $cur == -* ]]; then\n"
           "    COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n"
           "  elif [[ ${COMP_WORDS[1]} == completions ]]; then\n"
           "    COMPREPLY=($(compgen -W \"bash zsh fish\" -- \"$cur\"))\n  else\n"
           "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
           "    [[ $COMP_CWORD == 1 ]] && COMPREPLY+=($(compgen -W \"");
    for (int i = 0; i < ui_verb_count(); i++) {
        printf("%s%s", i ? " " : "", ui_verb_at(i)->name);
    }
    printf("\" -- \"$cur\"))\n  fi\n}\ncomplete -o filenames -F _qexplore qexplore\n");
}

/* Text inside single quotes of a zsh _arguments specification. */
static void zsh_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '\'') {
            printf("'\\''");
        } else if (strchr("[]:\\", *text)) {
            printf("\\%c", *text);
        } else {
            putchar(*text);
        }
    }
}

static void zsh_flag(void *arg, const char *name, const char *metavar, const char *help)
{
    (void)arg;
    printf(" \\\n      '*--%s%s[", name, metavar ? "=" : "");
    zsh_text(help);
    printf("]");
    if (is_choices(metavar)) {
        printf(":value:(");
        for (const char *p = metavar; *p; p++) {
            putchar(*p == '|' ? ' ' : *p);
        }
        printf(")");
    } else if (is_file(metavar)) {
        printf(":file:_files");
    } else if (metavar) {
        printf(":value:");
    }
    printf("'");
}

static void zsh(void)
{
    printf("#compdef qexplore\n# zsh completion; made by: qexplore completions zsh\n_qexplore() {\n"
           "  local -a verbs=(\n");
    for (int i = 0; i < ui_verb_count(); i++) {
        printf("    '%s:", ui_verb_at(i)->name);
        zsh_text(ui_verb_at(i)->help);
        printf("'\n");
    }
    printf("  )\n  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
           "    _describe verb verbs\n    _files\n    return\n  fi\n  case $words[2] in\n");
    for (int i = 0; i < ui_verb_count(); i++) {
        printf("    %s) _arguments", ui_verb_at(i)->name);
        ui_flags_each(ui_verb_at(i)->groups, zsh_flag, NULL);
        printf(" \\\n      '*:%s';;\n", strcmp(ui_verb_at(i)->name, "completions") == 0
                                            ? "shell:(bash zsh fish)"
                                            : "model:_files");
    }
    printf("    *) _arguments");
    ui_flags_each(EXPLORER_FLAGS, zsh_flag, NULL);
    printf(" \\\n      '*:model:_files';;\n  esac\n}\n_qexplore \"$@\"\n");
}

static void fish_quoted(const char *text)
{
    putchar('\'');
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') {
            putchar('\\');
        }
        putchar(*text);
    }
    putchar('\'');
}

static void fish_flag(void *arg, const char *name, const char *metavar, const char *help)
{
    printf("complete -c qexplore -n %s -l %s", (const char *)arg, name);
    if (is_choices(metavar)) {
        printf(" -x -a '");
        for (const char *p = metavar; *p; p++) {
            putchar(*p == '|' ? ' ' : *p);
        }
        printf("'");
    } else if (metavar) {
        printf(is_file(metavar) ? " -r" : " -x");
    }
    printf(" -d ");
    fish_quoted(help);
    printf("\n");
}

static void fish(void)
{
    printf("# fish completion of qexplore; made by: qexplore completions fish\n");
    for (int i = 0; i < ui_verb_count(); i++) {
        const struct ui_verb *verb = ui_verb_at(i);
        printf("complete -c qexplore -n __fish_use_subcommand -a %s -d ", verb->name);
        fish_quoted(verb->help);
        printf("\n");
        char condition[96];
        snprintf(condition, sizeof condition, "'__fish_seen_subcommand_from %s'", verb->name);
        ui_flags_each(verb->groups, fish_flag, condition);
    }
    char condition[] = "__fish_use_subcommand";
    ui_flags_each(EXPLORER_FLAGS, fish_flag, condition);
    printf("complete -c qexplore -n '__fish_seen_subcommand_from completions' -f -a 'bash zsh "
           "fish'\n");
}

static int completions_run(const struct ui_args *args)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(args->positional[0], shells[i].name) == 0) {
            shells[i].print();
            return UI_EXIT_OK;
        }
    }
    return ui_usage_error(args, "no completions for '%s': choose bash, zsh or fish",
                          args->positional[0]);
}

const struct ui_verb ui_verb_completions = {
    .name = "completions",
    .usage = "bash|zsh|fish",
    .help = "Print shell completions made from the program's own tables.",
    .example = "qexplore completions bash > ~/.local/share/bash-completion/completions/qexplore",
    .groups = UI_FLAGS_COMMON,
    .min_positional = 1,
    .max_positional = 1,
    .run = completions_run,
};

/* The line at the bottom: palette, filter, and values that a command asks for. */
#ifndef UI_PROMPT_H
#define UI_PROMPT_H

#include "app.h"

enum { UI_CANDIDATES = 10 };

/* One completion. */
struct ui_candidate {
    char text[160];   /* replaces the word being typed */
    const char *help; /* borrowed */
    bool is_command;  /* else an argument */
    bool is_layer;    /* a layer's name in place of a command: runs `select` */
    int score;
};

/* Ask for the argument of a command; PALETTE asks for a whole command line. */
void ui_prompt_ask(struct ui_app *app, enum ui_cmd cmd);
/* A key while the prompt is active. */
void ui_prompt_key(struct ui_app *app, int key);
/* Text pasted. */
void ui_prompt_text(struct ui_app *app, const char *text);
/* Completions of what is typed, best first; returns how many. No allocation. */
int ui_prompt_candidates(struct ui_app *app, struct ui_candidate *out, int cap);
/* Fuzzy score of a pattern in a text: 0 = does not match, more is better. */
int ui_fuzzy(const char *pattern, const char *text);

#endif

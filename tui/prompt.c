#include "prompt.h"

#include "utf8.h"
#include "view.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int ui_fuzzy(const char *pattern, const char *text)
{
    int score = 1, run = 0;
    const char *t = text;
    for (const char *p = pattern; *p; p++) {
        if (*p == ' ') {
            continue;
        }
        const char *from = t;
        while (*t && tolower((unsigned char)*t) != tolower((unsigned char)*p)) {
            t++;
        }
        if (*t == 0) {
            return 0;
        }
        bool start = t == text || !isalnum((unsigned char)t[-1]);
        run = t == from && p != pattern ? run + 1 : 0;
        score += 10 + 8 * run + (start ? 12 : 0) - (t - from > 8 ? 8 : (int)(t - from));
        t++;
    }
    int rest = (int)strlen(t);
    return score * 4 - (rest > 60 ? 60 : rest) > 1 ? score * 4 - (rest > 60 ? 60 : rest) : 1;
}

void ui_prompt_ask(struct ui_app *app, enum ui_cmd cmd)
{
    struct ui_prompt *p = &app->prompt;
    p->active = true;
    p->cmd = cmd;
    p->text[0] = 0;
    p->len = 0;
    p->cursor = 0;
    p->pick = -1;
    p->scope = NULL;
    p->at_history = p->n_history;
    app->explain = -1;
    if (cmd == UI_CMD_FILTER) {
        snprintf(p->before, sizeof(p->before), "%s", app->filter);
    }
}

/* ---- completions ---- */

struct collect {
    struct ui_candidate *out;
    int n, cap;
    const char *pattern;
};

static void offer(struct collect *c, const char *text, const char *help, int bonus, bool is_command,
                  bool is_layer)
{
    int score = ui_fuzzy(c->pattern, text);
    if (score == 0) {
        return;
    }
    score += bonus;
    int at = c->n;
    while (at > 0 && c->out[at - 1].score < score) {
        at--;
    }
    if (at >= c->cap) {
        return;
    }
    if (c->n < c->cap) {
        c->n++;
    }
    memmove(c->out + at + 1, c->out + at, (size_t)(c->n - at - 1) * sizeof(c->out[0]));
    struct ui_candidate *row = &c->out[at];
    snprintf(row->text, sizeof(row->text), "%s", text);
    row->help = help;
    row->score = score;
    row->is_command = is_command;
    row->is_layer = is_layer;
}

static void offer_layers(struct ui_app *app, struct collect *c, bool as_argument)
{
    for (int64_t i = 0; i < app->n_items; i++) {
        const struct qx_item *item = qx_session_item(app->session, i);
        offer(c, item->tensor->name, as_argument ? item->alias : "select this layer",
              as_argument ? 0 : -6, false, !as_argument);
    }
}

/* Words between | in the argument column of a command. */
static void offer_words(struct collect *c, const char *words)
{
    while (*words) {
        words += strspn(words, "|[]");
        size_t len = strcspn(words, "|]");
        char word[64];
        snprintf(word, sizeof(word), "%.*s", (int)len, words);
        if (len) {
            offer(c, word, "", 0, false, false);
        }
        words += len;
    }
}

static void offer_arguments(struct ui_app *app, struct collect *c, enum ui_cmd cmd)
{
    switch (cmd) {
    case UI_CMD_SELECT:
        offer_layers(app, c, true);
        break;
    case UI_CMD_GO:
        for (int i = 0; i < ui_view_count(); i++) {
            if (ui_view_at(i)->key) {
                offer(c, ui_view_at(i)->id, ui_view_at(i)->help, 0, false, false);
            }
        }
        break;
    case UI_CMD_CALIB:
        for (int i = 0; i < qx_calib_count(); i++) {
            offer(c, qx_calib_at(i)->name, qx_calib_at(i)->help, 0, false, false);
        }
        break;
    case UI_CMD_FORMAT:
        for (int i = 0; i < qx_format_count(); i++) {
            offer(c, qx_format_at(i)->name, qx_format_at(i)->help, 0, false, false);
        }
        break;
    case UI_CMD_ALGO:
        offer(c, "rtn", "Rounds every weight to the nearest code.", 0, false, false);
        for (int i = 0; i < qx_method_count(); i++) {
            if (!qx_method_at(i)->is_trained) {
                offer(c, qx_method_at(i)->name, qx_method_at(i)->help, 0, false, false);
            }
        }
        break;
    case UI_CMD_PRESET:
        for (int i = 0; i < qx_preset_count(); i++) {
            offer(c, qx_preset_at(i)->name, qx_preset_at(i)->help, 0, false, false);
        }
        break;
    case UI_CMD_BITS:
        offer_words(c, "2|3|4|5|6|7|8");
        break;
    case UI_CMD_GRAN:
        offer_words(c, "tensor|channel|group:128|group:64|group:32");
        break;
    case UI_CMD_SORT:
    case UI_CMD_SYM:
    case UI_CMD_SCALE:
    case UI_CMD_THEME:
    case UI_CMD_GLYPHS:
        offer_words(c, ui_command_get(cmd)->argument);
        break;
    default:
        break;
    }
}

static void offer_commands(struct ui_app *app, struct collect *c)
{
    const char *view = ui_view_at(app->view)->id;
    const char *scope = app->prompt.scope;
    for (int i = 0; i < UI_CMD_COUNT; i++) {
        const struct ui_command *row = ui_command_get((enum ui_cmd)i);
        bool here = ui_command_in((enum ui_cmd)i, view);
        bool own = row->scope[0] != 0 && here;
        if (scope ? own : here) {
            offer(c, row->name, row->help, own ? 4 : 0, true, false);
        }
    }
}

/* The command whose argument is being typed in a command line; NONE while the name is typed. */
static enum ui_cmd argument_of(const struct ui_prompt *p, const char **arg)
{
    if (p->cmd != UI_CMD_PALETTE) {
        *arg = p->text;
        return p->cmd;
    }
    const char *space = strchr(p->text, ' ');
    *arg = space ? space + 1 : p->text;
    return space ? ui_command_find(p->text, (size_t)(space - p->text)) : UI_CMD_NONE;
}

int ui_prompt_candidates(struct ui_app *app, struct ui_candidate *out, int cap)
{
    struct collect c = {.out = out, .cap = cap};
    enum ui_cmd cmd = argument_of(&app->prompt, &c.pattern);
    if (app->prompt.cmd == UI_CMD_FILTER) {
        return 0;
    }
    if (cmd != UI_CMD_NONE) {
        offer_arguments(app, &c, cmd);
        return c.n;
    }
    offer_commands(app, &c);
    if (c.pattern[0] && !app->prompt.scope && app->session) {
        offer_layers(app, &c, false);
    }
    return c.n;
}

/* ---- typing ---- */

static void set_text(struct ui_prompt *p, const char *text)
{
    snprintf(p->text, sizeof(p->text), "%s", text);
    p->len = (int)strlen(p->text);
    p->cursor = p->len;
}

/* Filter without a record: while the text is typed, and back on Esc. Help filters its own list. */
static void filter_live(struct ui_app *app, const char *text)
{
    const struct ui_view *view = ui_view_at(app->view);
    if (view->command && view->command(app, app->state[app->view], UI_CMD_FILTER, text)) {
        return;
    }
    snprintf(app->filter, sizeof(app->filter), "%.63s", text);
    ui_rows_update(app);
}

static void changed(struct ui_app *app)
{
    app->prompt.pick = -1;
    if (app->prompt.cmd == UI_CMD_FILTER) {
        filter_live(app, app->prompt.text);
    }
}

static void insert(struct ui_app *app, const char *bytes, int n)
{
    struct ui_prompt *p = &app->prompt;
    if (p->len + n >= (int)sizeof(p->text)) {
        return;
    }
    memmove(p->text + p->cursor + n, p->text + p->cursor, (size_t)(p->len - p->cursor) + 1);
    memcpy(p->text + p->cursor, bytes, (size_t)n);
    p->len += n;
    p->cursor += n;
    changed(app);
}

void ui_prompt_text(struct ui_app *app, const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        int cp;
        int n = ui_utf8_decode(text, len, &cp);
        if (cp >= 32 && cp != 127) {
            insert(app, text, n);
        }
        text += n;
        len -= (size_t)n;
    }
}

/* Bytes of the character before (step -1) or at (+1) the cursor. */
static int char_bytes(const struct ui_prompt *p, int step)
{
    int n = 0;
    if (step < 0) {
        while (p->cursor - n > 0) {
            n++;
            if ((p->text[p->cursor - n] & 0xc0) != 0x80) {
                break;
            }
        }
        return n;
    }
    while (p->cursor + n < p->len) {
        n++;
        if ((p->text[p->cursor + n] & 0xc0) != 0x80) {
            break;
        }
    }
    return n;
}

static void erase(struct ui_app *app, int from, int n)
{
    struct ui_prompt *p = &app->prompt;
    memmove(p->text + from, p->text + from + n, (size_t)(p->len - from - n) + 1);
    p->len -= n;
    p->cursor = from;
    changed(app);
}

static void remember(struct ui_prompt *p)
{
    int last = p->n_history - 1;
    if (p->cmd != UI_CMD_PALETTE || p->len == 0 ||
        (last >= 0 && strcmp(p->history[last], p->text) == 0)) {
        return;
    }
    if (p->n_history == (int)(sizeof(p->history) / sizeof(p->history[0]))) {
        memmove(p->history, p->history + 1, sizeof(p->history) - sizeof(p->history[0]));
        p->n_history--;
    }
    snprintf(p->history[p->n_history++], sizeof(p->history[0]), "%s", p->text);
}

static void history(struct ui_prompt *p, int step)
{
    int at = p->at_history + step;
    if (at < 0 || at > p->n_history) {
        return;
    }
    p->at_history = at;
    set_text(p, at == p->n_history ? "" : p->history[at]);
}

/* Put a completion in place of the word being typed. */
static void complete(struct ui_app *app, const struct ui_candidate *c)
{
    struct ui_prompt *p = &app->prompt;
    const char *arg;
    enum ui_cmd cmd = argument_of(p, &arg);
    char text[sizeof(p->text)];
    if (c->is_layer) {
        snprintf(text, sizeof(text), "select %s", c->text);
    } else if (c->is_command) {
        enum ui_cmd found = ui_command_find(c->text, strlen(c->text));
        bool more = found != UI_CMD_NONE && ui_command_get(found)->argument[0] != 0;
        snprintf(text, sizeof(text), "%s%s", c->text, more ? " " : "");
    } else if (p->cmd == UI_CMD_PALETTE) {
        snprintf(text, sizeof(text), "%s %s", ui_command_get(cmd)->name, c->text);
    } else {
        snprintf(text, sizeof(text), "%s", c->text);
    }
    set_text(p, text);
    p->pick = -1;
}

static void submit(struct ui_app *app)
{
    struct ui_prompt *p = &app->prompt;
    struct ui_candidate list[UI_CANDIDATES];
    int n = ui_prompt_candidates(app, list, UI_CANDIDATES);
    if (p->pick >= 0 && p->pick < n) {
        complete(app, &list[p->pick]);
        const char *arg;
        enum ui_cmd cmd = argument_of(p, &arg);
        if (cmd != UI_CMD_NONE && arg[0] == 0 && ui_command_get(cmd)->argument[0] != '[') {
            return; /* the command still wants its argument */
        }
    } else if (p->cmd == UI_CMD_PALETTE && n > 0) {
        /* A name typed in part means the best match. */
        size_t len = strcspn(p->text, " ");
        if (ui_command_find(p->text, len) == UI_CMD_NONE && p->text[len] == 0) {
            complete(app, &list[0]);
        }
    }
    remember(p);
    p->active = false;
    char text[sizeof(p->text)];
    snprintf(text, sizeof(text), "%s", p->text);
    if (p->cmd == UI_CMD_PALETTE) {
        if (text[strspn(text, " :")]) {
            ui_do_line(app, text);
        }
        return;
    }
    if (p->cmd == UI_CMD_FILTER && text[0] == 0) {
        filter_live(app, "");
        return;
    }
    if (text[0]) {
        if (p->cmd == UI_CMD_THRESHOLD) {
            ui_do(app, UI_CMD_RELEASE, ""); /* a typed value is an undo step of its own */
        }
        ui_do(app, p->cmd, text);
    }
}

static void leave(struct ui_app *app)
{
    app->prompt.active = false;
    if (app->prompt.cmd == UI_CMD_FILTER) {
        filter_live(app, app->prompt.before);
    }
}

static void pick(struct ui_app *app, int step)
{
    struct ui_candidate list[UI_CANDIDATES];
    int n = ui_prompt_candidates(app, list, UI_CANDIDATES);
    if (n == 0) {
        history(&app->prompt, step);
        return;
    }
    int at = app->prompt.pick + step;
    if (at < -1) {
        history(&app->prompt, -1);
        return;
    }
    app->prompt.pick = at >= n ? n - 1 : at;
}

static void tab(struct ui_app *app)
{
    struct ui_candidate list[UI_CANDIDATES];
    int n = ui_prompt_candidates(app, list, UI_CANDIDATES);
    int at = app->prompt.pick < 0 ? 0 : app->prompt.pick;
    if (at < n) {
        complete(app, &list[at]);
    }
}

void ui_prompt_key(struct ui_app *app, int key)
{
    struct ui_prompt *p = &app->prompt;
    char bytes[5];
    int n;
    switch (key) {
    case UI_KEY_ENTER:
        submit(app);
        break;
    case UI_KEY_ESC:
        leave(app);
        break;
    case UI_KEY_TAB:
        tab(app);
        break;
    case UI_KEY_UP:
        pick(app, -1);
        break;
    case UI_KEY_DOWN:
        pick(app, 1);
        break;
    case UI_KEY_LEFT:
        p->cursor -= char_bytes(p, -1);
        break;
    case UI_KEY_RIGHT:
        p->cursor += char_bytes(p, 1);
        break;
    case UI_KEY_HOME:
    case UI_KEY_CTRL('a'):
        p->cursor = 0;
        break;
    case UI_KEY_END:
    case UI_KEY_CTRL('e'):
        p->cursor = p->len;
        break;
    case UI_KEY_BACKSPACE:
    case UI_KEY_CTRL('h'):
        n = char_bytes(p, -1);
        if (p->len == 0) {
            leave(app);
        } else if (n) {
            erase(app, p->cursor - n, n);
        }
        break;
    case UI_KEY_DELETE:
        erase(app, p->cursor, char_bytes(p, 1));
        break;
    case UI_KEY_CTRL('u'):
        erase(app, 0, p->cursor);
        break;
    case UI_KEY_CTRL('w'):
        n = p->cursor;
        while (n > 0 && p->text[n - 1] == ' ') {
            n--;
        }
        while (n > 0 && p->text[n - 1] != ' ') {
            n--;
        }
        erase(app, n, p->cursor - n);
        break;
    default:
        if (key >= 32 && key < UI_KEY_UP) {
            n = ui_utf8_encode(key, bytes);
            insert(app, bytes, n);
        }
    }
}

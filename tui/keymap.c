#include "keymap.h"

#include "qx/qx.h"
#include "utf8.h"
#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *shown;
    int key;
} names[] = {
    {"Tab", "Tab", UI_KEY_TAB},
    {"Enter", "Enter", UI_KEY_ENTER},
    {"Esc", "Esc", UI_KEY_ESC},
    {"BS", "Backspace", UI_KEY_BACKSPACE},
    {"Space", "Space", ' '},
    {"Eq", "=", '='},
    {"Lt", "<", '<'},
    {"Up", "Up", UI_KEY_UP},
    {"Down", "Down", UI_KEY_DOWN},
    {"Left", "Left", UI_KEY_LEFT},
    {"Right", "Right", UI_KEY_RIGHT},
    {"Home", "Home", UI_KEY_HOME},
    {"End", "End", UI_KEY_END},
    {"PgUp", "PgUp", UI_KEY_PGUP},
    {"PgDn", "PgDn", UI_KEY_PGDN},
    {"Del", "Del", UI_KEY_DELETE},
    {"Ins", "Ins", UI_KEY_INSERT},
    {"S-Tab", "S-Tab", UI_KEY_BACKTAB},
};
enum { N_NAMES = sizeof(names) / sizeof(names[0]) };

/* The name between < and >. 0 when there is no such key. */
static int named_key(const char *name, size_t len)
{
    for (int i = 0; i < N_NAMES; i++) {
        if (strlen(names[i].name) == len && strncmp(names[i].name, name, len) == 0) {
            return names[i].key;
        }
    }
    if (len == 3 && name[0] == 'C' && name[1] == '-') {
        return UI_KEY_CTRL(name[2]);
    }
    if (len >= 2 && len <= 3 && name[0] == 'F') {
        int n = atoi(name + 1);
        return n >= 1 && n <= 12 ? UI_KEY_F0 + n : 0;
    }
    return 0;
}

int ui_keys_parse(const char *text, size_t len, int *keys, int max)
{
    int n = 0;
    while (len > 0) {
        const char *end = text[0] == '<' ? memchr(text, '>', len) : NULL;
        int key, used;
        if (end && end > text + 1) {
            key = named_key(text + 1, (size_t)(end - text) - 1);
            used = (int)(end - text) + 1;
        } else {
            used = ui_utf8_decode(text, len, &key);
        }
        if (key <= 0 || n == max) {
            return 0;
        }
        keys[n++] = key;
        text += used;
        len -= (size_t)used;
    }
    return n;
}

char *ui_key_text(int key, char *buf, size_t cap)
{
    for (int i = 0; i < N_NAMES; i++) {
        if (names[i].key == key) {
            snprintf(buf, cap, "%s", names[i].shown);
            return buf;
        }
    }
    if (key > UI_KEY_F0 && key <= UI_KEY_F0 + 12) {
        snprintf(buf, cap, "F%d", key - UI_KEY_F0);
    } else if (key > 0 && key < 32) {
        snprintf(buf, cap, "^%c", key + 64);
    } else if (key < UI_KEY_UP) {
        char utf8[5];
        ui_utf8_encode(key, utf8);
        snprintf(buf, cap, "%s", utf8);
    } else {
        snprintf(buf, cap, "?");
    }
    return buf;
}

static void bind(struct ui_keymap *map, const int *keys, int n, enum ui_cmd cmd, const char *arg)
{
    if (map->n >= UI_BINDINGS_MAX || n < 1 || n > UI_KEYS_MAX) {
        return;
    }
    struct ui_binding *b = &map->binding[map->n++];
    memset(b, 0, sizeof(*b));
    memcpy(b->keys, keys, (size_t)n * sizeof(keys[0]));
    b->n = n;
    b->cmd = cmd;
    b->scope = ui_command_get(cmd)->scope;
    snprintf(b->arg, sizeof(b->arg), "%s", arg);
}

/* Entries of a row of commands.def: KEYS or KEYS=ARG, separated by spaces. */
static void bind_row(struct ui_keymap *map, enum ui_cmd cmd)
{
    const char *p = ui_command_get(cmd)->keys;
    while (*p) {
        size_t len = strcspn(p, " ");
        const char *eq = len > 1 ? memchr(p + 1, '=', len - 1) : NULL;
        size_t n_spelled = eq ? (size_t)(eq - p) : len;
        char arg[UI_ARG_MAX] = "";
        if (eq) {
            snprintf(arg, sizeof(arg), "%.*s", (int)(len - n_spelled - 1), eq + 1);
        }
        int keys[UI_KEYS_MAX];
        int n = ui_keys_parse(p, n_spelled, keys, UI_KEYS_MAX);
        bind(map, keys, n, cmd, arg);
        p += len;
        p += strspn(p, " ");
    }
}

static void bind_tables(struct ui_keymap *map)
{
    for (int i = 0; i < ui_view_count(); i++) {
        const struct ui_view *v = ui_view_at(i);
        if (v->key) {
            bind(map, (int[]){'g', v->key}, 2, UI_CMD_GO, v->id);
        }
        if (v->fkey) {
            bind(map, (int[]){UI_KEY_F0 + v->fkey}, 1, UI_CMD_GO, v->id);
        }
    }
    for (int i = 0; i < qx_calib_count(); i++) {
        const struct qx_calibrator *row = qx_calib_at(i);
        if (row->key) {
            bind(map, (int[]){'c', row->key}, 2, UI_CMD_CALIB, row->name);
            bind(map, (int[]){'c', row->key}, 2, UI_CMD_ACT_METHOD, row->name);
        }
    }
    bind(map, (int[]){'c', qx_calib_ema.key}, 2, UI_CMD_ACT_METHOD, qx_calib_ema.name);
    bind(map, (int[]){'a', 'r'}, 2, UI_CMD_ALGO, "rtn");
    for (int i = 0; i < qx_method_count(); i++) {
        if (!qx_method_at(i)->is_trained) {
            bind(map, (int[]){'a', qx_method_at(i)->key}, 2, UI_CMD_ALGO, qx_method_at(i)->name);
        }
    }
    for (int i = 0; i < qx_preset_count(); i++) {
        bind(map, (int[]){'p', qx_preset_at(i)->key}, 2, UI_CMD_PRESET, qx_preset_at(i)->name);
    }
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *row = qx_format_at(i);
        if (row->key) {
            bind(map, (int[]){'.', row->key}, 2, UI_CMD_FORMAT, row->name);
        }
    }
}

void ui_keymap_init(struct ui_keymap *map)
{
    map->n = 0;
    for (int c = 0; c < UI_CMD_COUNT; c++) {
        bind_row(map, (enum ui_cmd)c);
    }
    bind_tables(map);
}

static bool same_keys(const struct ui_binding *b, const int *keys, int n)
{
    return b->n >= n && memcmp(b->keys, keys, (size_t)n * sizeof(keys[0])) == 0;
}

/* "key = command arg": NULL when right, else what is wrong. */
static const char *user_line(struct ui_keymap *map, char *line)
{
    char *p = line + strspn(line, " \t");
    size_t n_spelled = strcspn(p, " \t");
    char *eq = p + n_spelled + strspn(p + n_spelled, " \t");
    if (*eq != '=') {
        return "expected: key = command argument";
    }
    char *name = eq + 1 + strspn(eq + 1, " \t");
    size_t n_name = strcspn(name, " \t");
    char *arg = name + n_name + strspn(name + n_name, " \t");
    int keys[UI_KEYS_MAX];
    int n = ui_keys_parse(p, n_spelled, keys, UI_KEYS_MAX);
    if (n == 0) {
        return "no such key; names are as in <Enter>, <C-l>, <F2>";
    }
    enum ui_cmd cmd = ui_command_find(name, n_name);
    bool unbind = n_name == 4 && strncmp(name, "none", 4) == 0;
    if (cmd == UI_CMD_NONE && !unbind) {
        return "no such command; the palette lists them";
    }
    /* The user's binding replaces those that it would hide or that would hide it. */
    int kept = 0;
    for (int i = 0; i < map->n; i++) {
        const struct ui_binding *b = &map->binding[i];
        bool hides = same_keys(b, keys, n < b->n ? n : b->n) && b->n <= n;
        bool hidden = same_keys(b, keys, n);
        if (!hides && !hidden) {
            map->binding[kept++] = *b;
        }
    }
    map->n = kept;
    if (!unbind) {
        bind(map, keys, n, cmd, arg);
        map->binding[map->n - 1].from_user = true;
    }
    return NULL;
}

bool ui_keymap_load(struct ui_keymap *map, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        return false;
    }
    static struct ui_keymap before;
    before = *map;
    char line[256], text[400];
    for (int number = 1; fgets(line, sizeof(line), f); number++) {
        line[strcspn(line, "\r\n")] = 0;
        size_t blank = strspn(line, " \t");
        if (line[blank] == 0 || line[blank] == '#') {
            continue;
        }
        const char *wrong = user_line(map, line);
        if (wrong) {
            snprintf(text, sizeof(text), "%.200s:%d: %s", path, number, wrong);
            qx_log_put(QX_LOG_WARN, text);
        }
    }
    fclose(f);
    char key[24];
    if (ui_keymap_text(map, UI_CMD_QUIT, "model", key, sizeof(key))[0] == 0) {
        *map = before;
        snprintf(text, sizeof(text), "%.300s: refused, it leaves no key for quit", path);
        qx_log_put(QX_LOG_WARN, text);
        return false;
    }
    return true;
}

bool ui_binding_on(const struct ui_keymap *map, const struct ui_binding *b, const char *view_id)
{
    if (!ui_command_in(b->cmd, view_id)) {
        return false;
    }
    for (int i = 0; i < map->n && !b->scope[0] && !b->from_user; i++) {
        const struct ui_binding *other = &map->binding[i];
        if (other->scope[0] && other->n == b->n && same_keys(other, b->keys, b->n) &&
            ui_command_in(other->cmd, view_id)) {
            return false;
        }
    }
    return true;
}

const struct ui_binding *ui_keymap_find(const struct ui_keymap *map, const char *view_id,
                                        const int *keys, int n, bool *longer)
{
    const struct ui_binding *found = NULL;
    *longer = false;
    for (int i = 0; i < map->n; i++) {
        const struct ui_binding *b = &map->binding[i];
        if (!same_keys(b, keys, n) || !ui_command_in(b->cmd, view_id)) {
            continue;
        }
        if (b->n > n) {
            *longer = true;
        } else if (!found || (b->scope[0] && !found->scope[0] && !found->from_user)) {
            found = b;
        }
    }
    return found;
}

char *ui_keymap_text(const struct ui_keymap *map, enum ui_cmd cmd, const char *view_id, char *buf,
                     size_t cap)
{
    buf[0] = 0;
    for (int i = 0; i < map->n; i++) {
        const struct ui_binding *b = &map->binding[i];
        if (b->cmd != cmd || !ui_binding_on(map, b, view_id)) {
            continue;
        }
        size_t used = 0;
        for (int k = 0; k < b->n && used < cap; k++) {
            char one[16];
            ui_key_text(b->keys[k], one, sizeof(one));
            used += (size_t)snprintf(buf + used, cap - used, "%s%s", k ? " " : "", one);
        }
        return buf;
    }
    return buf;
}

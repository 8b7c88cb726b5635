/* Keys: codes, spelling, and which command a sequence of them runs on a view. */
#ifndef UI_KEYMAP_H
#define UI_KEYMAP_H

#include "command.h"

#include <stddef.h>

/* Printable characters are their Unicode code point; the rest: */
enum ui_keycode {
    UI_KEY_NONE = 0,
    UI_KEY_TAB = 9,
    UI_KEY_ENTER = 13,
    UI_KEY_ESC = 27,
    UI_KEY_BACKSPACE = 127,
    UI_KEY_UP = 0x110000, /* beyond Unicode */
    UI_KEY_DOWN,
    UI_KEY_LEFT,
    UI_KEY_RIGHT,
    UI_KEY_HOME,
    UI_KEY_END,
    UI_KEY_PGUP,
    UI_KEY_PGDN,
    UI_KEY_DELETE,
    UI_KEY_INSERT,
    UI_KEY_BACKTAB,
    UI_KEY_F0, /* UI_KEY_F0 + n */
    UI_KEY_LAST = UI_KEY_F0 + 13,
    UI_KEY_OTHER /* a sequence we do not know; ignored */
};
#define UI_KEY_CTRL(c) ((c)&31)

enum { UI_KEYS_MAX = 3, UI_BINDINGS_MAX = 320, UI_ARG_MAX = 48 };

struct ui_binding {
    int keys[UI_KEYS_MAX];
    int n;
    enum ui_cmd cmd;
    char arg[UI_ARG_MAX];
    const char *scope; /* of the command */
    bool from_user;
};

struct ui_keymap {
    struct ui_binding binding[UI_BINDINGS_MAX];
    int n;
};

/* Bindings of commands.def and of the tables of views, calibrators and formats. */
void ui_keymap_init(struct ui_keymap *map);
/* "key = command arg" lines; "#" comments. Each bad line gives a log message naming file and line;
 * a map that leaves no key for quit is refused as a whole. False then, or when unreadable. */
bool ui_keymap_load(struct ui_keymap *map, const char *path);
/* Does the binding act on the view? Those of commands of one screen go before those of all screens. */
bool ui_binding_on(const struct ui_keymap *map, const struct ui_binding *b, const char *view_id);
/* Exact match of keys on the view, NULL when none. *longer: some binding begins with these keys. */
const struct ui_binding *ui_keymap_find(const struct ui_keymap *map, const char *view_id,
                                        const int *keys, int n, bool *longer);
/* Spelling of the first binding of the command on the view ("g m", "Enter"); "" when none. */
char *ui_keymap_text(const struct ui_keymap *map, enum ui_cmd cmd, const char *view_id, char *buf,
                     size_t cap);
/* One key: "Esc", "^L", "F2", "a". */
char *ui_key_text(int key, char *buf, size_t cap);
/* Parse vim spelling ("<C-l>gg") into keys; number of keys, 0 when wrong. */
int ui_keys_parse(const char *text, size_t len, int *keys, int max);

#endif

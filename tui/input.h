/* Bytes of a terminal to keys and mouse reports. Knows no curses; a split escape sequence is put
 * together again and never read as letters. */
#ifndef UI_INPUT_H
#define UI_INPUT_H

#include "view.h"

#include <stddef.h>
#include <stdint.h>

enum ui_event_kind {
    UI_EVENT_NONE,
    UI_EVENT_KEY,
    UI_EVENT_MOUSE,
    UI_EVENT_PASTE,      /* text */
    UI_EVENT_BACKGROUND, /* the terminal told its background: rgb */
};
struct ui_event {
    enum ui_event_kind kind;
    int key;
    struct ui_mouse mouse;
    int rgb;
    char text[256]; /* a piece of a paste, NUL-terminated */
};

/* A sequence the terminal's own description names, beside the built-in ones. */
struct ui_input_seq {
    char bytes[15];
    unsigned char len;
    int key;
};

struct ui_input {
    unsigned char buf[4096];
    size_t n;
    int64_t last_ms;     /* when the last byte came */
    int64_t lone_esc_ms; /* when a lone Esc was reported; a '[' soon after belongs to it */
    bool pasting;
    int esc_delay_ms; /* 25 */
    struct ui_input_seq extra[48];
    int n_extra;
};

void ui_input_init(struct ui_input *in, int esc_delay_ms);
/* Take in bytes that were read at now_ms. Returns how many were taken (less only when full). */
size_t ui_input_feed(struct ui_input *in, const void *bytes, size_t n, int64_t now_ms);
/* Next event; false when more bytes or time are needed. */
bool ui_input_next(struct ui_input *in, int64_t now_ms, struct ui_event *out);
/* Milliseconds until ui_input_next may say more without further bytes; -1 = never. */
int ui_input_timeout_ms(const struct ui_input *in, int64_t now_ms);

#endif

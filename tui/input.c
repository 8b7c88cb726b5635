#include "input.h"

#include "utf8.h"

#include <stdlib.h>
#include <string.h>

enum { SPLIT_MS = 300, DROP_MS = 600 };

void ui_input_init(struct ui_input *in, int esc_delay_ms)
{
    memset(in, 0, sizeof(*in));
    in->esc_delay_ms = esc_delay_ms;
    in->lone_esc_ms = -1000000;
}

size_t ui_input_feed(struct ui_input *in, const void *bytes, size_t n, int64_t now_ms)
{
    size_t room = sizeof(in->buf) - in->n;
    n = n > room ? room : n;
    memcpy(in->buf + in->n, bytes, n);
    in->n += n;
    if (n) {
        in->last_ms = now_ms;
    }
    return n;
}

static void drop(struct ui_input *in, size_t n)
{
    memmove(in->buf, in->buf + n, in->n - n);
    in->n -= n;
}

/* Numbers between ';' of a control sequence. */
static int numbers(const unsigned char *p, size_t n, int *out, int max)
{
    int count = 0;
    size_t i = 0;
    while (i < n && count < max) {
        int v = 0;
        while (i < n && p[i] >= '0' && p[i] <= '9') {
            v = v < 100000 ? v * 10 + (p[i] - '0') : v;
            i++;
        }
        out[count++] = v;
        while (i < n && p[i] != ';') {
            i++;
        }
        i++;
    }
    return count;
}

static bool mouse_event(const unsigned char *p, size_t n, bool release, struct ui_event *out)
{
    int v[3];
    if (numbers(p, n, v, 3) != 3 || v[1] < 1 || v[2] < 1) {
        return false;
    }
    int code = v[0];
    out->kind = UI_EVENT_MOUSE;
    out->mouse = (struct ui_mouse){.x = v[1] - 1,
                                   .y = v[2] - 1,
                                   .button = code & 3,
                                   .shift = (code & 4) != 0,
                                   .alt = (code & 8) != 0,
                                   .ctrl = (code & 16) != 0};
    if (code & 64) {
        out->mouse.kind = UI_MOUSE_WHEEL;
        out->mouse.wheel = (code & 3) == 0 ? -1 : (code & 3) == 1 ? 1 : 0;
        return !release && out->mouse.wheel != 0;
    }
    out->mouse.kind = release ? UI_MOUSE_RELEASE : code & 32 ? UI_MOUSE_DRAG : UI_MOUSE_PRESS;
    return (code & 3) != 3; /* motion without a button */
}

static int final_key(int final)
{
    switch (final) {
    case 'A':
        return UI_KEY_UP;
    case 'B':
        return UI_KEY_DOWN;
    case 'C':
        return UI_KEY_RIGHT;
    case 'D':
        return UI_KEY_LEFT;
    case 'H':
        return UI_KEY_HOME;
    case 'F':
        return UI_KEY_END;
    case 'Z':
        return UI_KEY_BACKTAB;
    case 'M':
        return UI_KEY_ENTER;
    case 'P':
    case 'Q':
    case 'R':
    case 'S':
        return UI_KEY_F0 + 1 + final - 'P';
    default:
        return UI_KEY_OTHER;
    }
}

static int tilde_key(int n)
{
    switch (n) {
    case 1:
    case 7:
        return UI_KEY_HOME;
    case 2:
        return UI_KEY_INSERT;
    case 3:
        return UI_KEY_DELETE;
    case 4:
    case 8:
        return UI_KEY_END;
    case 5:
        return UI_KEY_PGUP;
    case 6:
        return UI_KEY_PGDN;
    default:
        if (n >= 11 && n <= 15) {
            return UI_KEY_F0 + n - 10;
        }
        if (n >= 17 && n <= 21) {
            return UI_KEY_F0 + n - 11;
        }
        return n == 23 || n == 24 ? UI_KEY_F0 + n - 12 : UI_KEY_OTHER;
    }
}

/* A control sequence whose parameters begin at p (behind "ESC [" or a bare "[" after a split). Returns
 * its length from p, 0 when it is not complete. */
static size_t control(struct ui_input *in, const unsigned char *p, size_t n, struct ui_event *out)
{
    size_t i = 0;
    if (n > 0 && p[0] == '[') { /* Linux console: ESC [ [ A .. E are F1 .. F5 */
        if (n == 1) {
            return 0;
        }
        out->key = p[1] >= 'A' && p[1] <= 'E' ? UI_KEY_F0 + 1 + p[1] - 'A' : UI_KEY_OTHER;
        out->kind = UI_EVENT_KEY;
        return 2;
    }
    while (i < n && p[i] >= 0x20 && p[i] < 0x40) {
        i++;
    }
    if (i == n) {
        return n > 64 ? n : 0; /* no terminal sends such a thing: let go of it */
    }
    int final = p[i];
    out->kind = UI_EVENT_KEY;
    out->key = UI_KEY_OTHER;
    if (p[0] == '<' && (final == 'M' || final == 'm')) {
        if (!mouse_event(p + 1, i - 1, final == 'm', out)) {
            out->kind = UI_EVENT_KEY;
        }
    } else if (final == '~') {
        int v = 0;
        numbers(p, i, &v, 1);
        in->pasting = v == 200 || (in->pasting && v != 201);
        out->key = tilde_key(v);
    } else if (i == 0 || (p[0] >= '0' && p[0] <= '9')) {
        out->key = final_key(final);
    }
    return i + 1;
}

static int hex_channel(const unsigned char *p, size_t n, size_t *i)
{
    int v = 0, digits = 0;
    while (*i < n && strchr("0123456789abcdefABCDEF", p[*i]) && p[*i]) {
        int d = p[*i] <= '9' ? p[*i] - '0' : (p[*i] | 32) - 'a' + 10;
        if (digits < 2) {
            v = v * 16 + d;
        }
        digits++;
        (*i)++;
    }
    return digits == 1 ? v * 17 : v;
}

/* "ESC ] 11 ; rgb:RRRR/GGGG/BBBB" up to BEL or ESC \. Returns the length, 0 = not complete. */
static size_t operating_command(const unsigned char *p, size_t n, struct ui_event *out)
{
    size_t end = 2;
    while (end < n && p[end] != 7 && !(p[end] == 27 && end + 1 < n && p[end + 1] == '\\')) {
        end++;
    }
    if (end >= n) {
        return n > 200 ? n : 0;
    }
    size_t length = end + (p[end] == 7 ? 1 : 2);
    static const char head[] = "11;rgb:";
    out->kind = UI_EVENT_KEY;
    out->key = UI_KEY_OTHER;
    if (end > 2 + sizeof(head) && memcmp(p + 2, head, sizeof(head) - 1) == 0) {
        size_t i = 2 + sizeof(head) - 1;
        int r = hex_channel(p, end, &i);
        i++;
        int g = hex_channel(p, end, &i);
        i++;
        int b = hex_channel(p, end, &i);
        out->kind = UI_EVENT_BACKGROUND;
        out->rgb = r << 16 | g << 8 | b;
    }
    return length;
}

/* Does a sequence of the terminal's description begin here? Length, 0 = no. */
static size_t extra_key(const struct ui_input *in, struct ui_event *out)
{
    for (int i = 0; i < in->n_extra; i++) {
        const struct ui_input_seq *s = &in->extra[i];
        if (s->len <= in->n && memcmp(in->buf, s->bytes, s->len) == 0) {
            out->kind = UI_EVENT_KEY;
            out->key = s->key;
            return s->len;
        }
    }
    return 0;
}

/* A sequence that begins with ESC. Length, 0 = wait. */
static size_t escape(struct ui_input *in, int64_t now_ms, struct ui_event *out)
{
    size_t used = extra_key(in, out);
    if (used) {
        return used;
    }
    bool waited = now_ms - in->last_ms >= in->esc_delay_ms;
    if (in->n == 1) {
        if (!waited) {
            return 0;
        }
        in->lone_esc_ms = now_ms;
        out->kind = UI_EVENT_KEY;
        out->key = UI_KEY_ESC;
        return 1;
    }
    if (in->buf[1] == '[' || in->buf[1] == ']' || in->buf[1] == 'O') {
        if (in->buf[1] == '[') {
            used = control(in, in->buf + 2, in->n - 2, out);
            used = used ? used + 2 : 0;
        } else if (in->buf[1] == ']') {
            used = operating_command(in->buf, in->n, out);
        } else if (in->n > 2) {
            out->kind = UI_EVENT_KEY;
            out->key = final_key(in->buf[2]);
            used = 3;
        }
        if (used == 0 && now_ms - in->last_ms >= DROP_MS) {
            used = in->n; /* the rest never came */
            out->kind = UI_EVENT_KEY;
            out->key = UI_KEY_OTHER;
        }
        return used;
    }
    out->kind = UI_EVENT_KEY; /* Esc and the next key typed fast, or Alt: two keys */
    out->key = UI_KEY_ESC;
    return 1;
}

/* "[<" or "[A" soon after a lone Esc: the second half of a split sequence. */
static size_t split_rest(struct ui_input *in, int64_t now_ms, struct ui_event *out)
{
    if (in->last_ms - in->lone_esc_ms > SPLIT_MS || in->buf[0] != '[') {
        return 0;
    }
    size_t used = in->n > 1 ? control(in, in->buf + 1, in->n - 1, out) : 0;
    if (used) {
        return used + 1;
    }
    if (now_ms - in->last_ms < in->esc_delay_ms || (in->n > 1 && now_ms - in->last_ms < DROP_MS)) {
        out->kind = UI_EVENT_NONE; /* wait */
        return 1;
    }
    return 0;
}

static size_t character(struct ui_input *in, int64_t now_ms, struct ui_event *out)
{
    int cp;
    unsigned char c = in->buf[0];
    size_t need = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (in->n < need && now_ms - in->last_ms < DROP_MS) {
        return 0;
    }
    size_t used = (size_t)ui_utf8_decode((const char *)in->buf, in->n, &cp);
    out->kind = UI_EVENT_KEY;
    out->key = cp == 8 ? UI_KEY_BACKSPACE : cp == 10 ? UI_KEY_ENTER : cp <= 0 ? UI_KEY_OTHER : cp;
    return used;
}

/* Text up to "ESC [ 201 ~". */
static size_t paste(struct ui_input *in, int64_t now_ms, struct ui_event *out)
{
    static const char end[] = "\033[201~";
    const unsigned char *stop = memmem(in->buf, in->n, end, sizeof(end) - 1);
    size_t n = stop ? (size_t)(stop - in->buf) : in->n;
    if (n == 0 && stop) {
        in->pasting = false;
        out->kind = UI_EVENT_KEY;
        out->key = UI_KEY_OTHER;
        return sizeof(end) - 1;
    }
    bool late = now_ms - in->last_ms >= DROP_MS;
    if (!stop && !late && n < 2 * sizeof(end)) {
        return 0; /* the end mark may be on its way */
    }
    n = stop || late ? n : n - sizeof(end);
    n = n > sizeof(out->text) - 1 ? sizeof(out->text) - 1 : n;
    memcpy(out->text, in->buf, n);
    out->text[n] = 0;
    out->kind = UI_EVENT_PASTE;
    return n;
}

bool ui_input_next(struct ui_input *in, int64_t now_ms, struct ui_event *out)
{
    while (in->n > 0) {
        out->kind = UI_EVENT_NONE;
        size_t used;
        if (in->pasting) {
            used = paste(in, now_ms, out);
        } else if (in->buf[0] == 27) {
            used = escape(in, now_ms, out);
        } else {
            used = split_rest(in, now_ms, out);
            if (used && out->kind == UI_EVENT_NONE) {
                return false;
            }
            used = used ? used : character(in, now_ms, out);
        }
        if (used == 0) {
            return false;
        }
        drop(in, used);
        if (out->kind != UI_EVENT_KEY || out->key != UI_KEY_OTHER) {
            return true;
        }
    }
    return false;
}

int ui_input_timeout_ms(const struct ui_input *in, int64_t now_ms)
{
    if (in->n == 0) {
        return -1;
    }
    int64_t wait = in->n == 1 ? in->esc_delay_ms : DROP_MS;
    int64_t left = in->last_ms + wait - now_ms;
    return left < 0 ? 0 : (int)left + 1;
}

/* The input decoder: sequences arrive in any pieces, and none is ever read as letters. */
#include "cmocka_all.h"

#include "input.h"

#include <stdio.h>
#include <string.h>

/* What was decoded, as text: "Up", "a", "drag 3,4" ... separated by spaces. */
static void describe(const struct ui_event *e, char *out, size_t cap)
{
    static const char *const kind[] = {"press", "drag", "release", "wheel"};
    size_t n = strlen(out);
    char key[16];
    switch (e->kind) {
    case UI_EVENT_KEY:
        snprintf(out + n, cap - n, "%s ", ui_key_text(e->key, key, sizeof(key)));
        break;
    case UI_EVENT_MOUSE:
        snprintf(out + n, cap - n, "%s%s:%d,%d ", kind[e->mouse.kind],
                 e->mouse.kind != UI_MOUSE_WHEEL ? ""
                 : e->mouse.wheel < 0            ? "-up"
                                                 : "-down",
                 e->mouse.x, e->mouse.y);
        break;
    case UI_EVENT_PASTE:
        snprintf(out + n, cap - n, "paste:%s ", e->text);
        break;
    case UI_EVENT_BACKGROUND:
        snprintf(out + n, cap - n, "ground:%06x ", (unsigned)e->rgb);
        break;
    case UI_EVENT_NONE:
        break;
    }
}

static void drain(struct ui_input *in, int64_t now, char *out, size_t cap)
{
    struct ui_event e;
    while (ui_input_next(in, now, &e)) {
        describe(&e, out, cap);
    }
}

/* Decode with a pause of gap_ms between the two halves. */
static void decode(const char *bytes, size_t split, int gap_ms, char *out, size_t cap)
{
    struct ui_input in;
    size_t n = strlen(bytes);
    int64_t now = 1000000;
    out[0] = 0;
    ui_input_init(&in, 25);
    ui_input_feed(&in, bytes, split, now);
    drain(&in, now, out, cap);
    now += gap_ms;
    drain(&in, now, out, cap);
    ui_input_feed(&in, bytes + split, n - split, now);
    drain(&in, now, out, cap);
    drain(&in, now + 5000, out, cap);
    assert_true(ui_input_timeout_ms(&in, now + 5000) == -1);
}

static const struct {
    const char *bytes, *events;
} cases[] = {
    {"a", "a "},
    {"\033[A", "Up "},
    {"\033OB", "Down "},
    {"\033[1;5C", "Right "},
    {"\033[H\033[4~", "Home End "},
    {"\033[5~\033[6~", "PgUp PgDn "},
    {"\033[Z", "S-Tab "},
    {"\033OP\033[12~\033[24~", "F1 F2 F12 "},
    {"\033[[A", "F1 "},
    {"\033[<0;11;5M", "press:10,4 "},
    {"\033[<32;230;5M", "drag:229,4 "},
    {"\033[<0;11;5m", "release:10,4 "},
    {"\033[<64;1;1M\033[<65;1;1M", "wheel-up:0,0 wheel-down:0,0 "},
    {"\033[<35;1;1M", ""}, /* motion without a button */
    {"\033[<9;;M", ""},    /* nonsense is swallowed whole */
    {"\033[?1;2c", ""},    /* an answer nobody asked for */
    {"\xc3\xa9", "\xc3\xa9 "},
    {"\xff"
     "a",
     "a "},
    {"\033]11;rgb:ffff/ffff/ffff\033\\", "ground:ffffff "},
    {"\033]11;rgb:1e1e/20/2e\a", "ground:1e202e "},
    {"\033[200~hi there\033[201~q", "paste:hi there q "},
    {"\r\t\177\b", "Enter Tab Backspace Backspace "},
    {"\x12\x0c", "^R ^L "},
};

static void sequences_are_decoded(void **state)
{
    (void)state;
    char out[400];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        decode(cases[i].bytes, strlen(cases[i].bytes), 0, out, sizeof(out));
        assert_string_equal(out, cases[i].events);
    }
}

static void split_anywhere_the_events_are_the_same(void **state)
{
    (void)state;
    char out[400];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strstr(cases[i].bytes, "200~")) {
            continue; /* a paste comes in pieces by nature */
        }
        for (size_t k = 1; k < strlen(cases[i].bytes); k++) {
            decode(cases[i].bytes, k, 10, out, sizeof(out));
            assert_string_equal(out, cases[i].events);
        }
    }
}

static void split_by_a_long_pause_no_letter_comes_out(void **state)
{
    (void)state;
    char out[400];
    static const char *const mouse = "\033[<32;17;42M";
    for (size_t k = 1; k < strlen(mouse); k++) {
        decode(mouse, k, 120, out, sizeof(out));
        if (k == 1) {
            assert_string_equal(out, "Esc drag:16,41 "); /* the Esc could not be known */
        } else {
            assert_string_equal(out, "drag:16,41 ");
        }
    }
}

static void escape_alone_is_escape(void **state)
{
    (void)state;
    struct ui_input in;
    struct ui_event e;
    ui_input_init(&in, 25);
    ui_input_feed(&in, "\033", 1, 1000);
    assert_false(ui_input_next(&in, 1000, &e));
    assert_in_range(ui_input_timeout_ms(&in, 1000), 1, 30);
    assert_true(ui_input_next(&in, 1030, &e));
    assert_int_equal(e.key, UI_KEY_ESC);
    char out[100];
    decode("\033j", 2, 0, out, sizeof(out));
    assert_string_equal(out, "Esc j ");
    decode("\033[", 1, 400, out, sizeof(out)); /* Esc, and long after it the key [ */
    assert_string_equal(out, "Esc [ ");
}

static void unfinished_bytes_do_not_stay_for_ever(void **state)
{
    (void)state;
    static const char *const part[] = {"\033[<1;2", "\033]11;rgb", "\xe2\x82", "\033O",
                                       "\033[200~abc\033[20"};
    char out[400];
    for (size_t i = 0; i < 5; i++) {
        decode(part[i], strlen(part[i]), 0, out, sizeof(out)); /* asserts that nothing is left */
    }
}

static void random_bytes_never_hang(void **state)
{
    (void)state;
    static const char alphabet[] = "\033[<;0123456789MmO~]\a\\ab\xe2\xa0";
    unsigned seed = 7;
    static struct ui_input in;
    struct ui_event e;
    ui_input_init(&in, 25);
    for (int i = 0; i < 200000; i++) {
        seed = seed * 1103515245 + 12345;
        char byte = alphabet[(seed >> 16) % (sizeof(alphabet) - 1)];
        ui_input_feed(&in, &byte, 1, i);
        while (ui_input_next(&in, i, &e)) {
        }
        assert_true(in.n < sizeof(in.buf));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_decoded),
        cmocka_unit_test(split_anywhere_the_events_are_the_same),
        cmocka_unit_test(split_by_a_long_pause_no_letter_comes_out),
        cmocka_unit_test(escape_alone_is_escape),
        cmocka_unit_test(unfinished_bytes_do_not_stay_for_ever),
        cmocka_unit_test(random_bytes_never_hang),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The terminal through ncurses: screen output only. Input is read as bytes and decoded by input.c,
 * because ncurses' own mouse gives no drag by default and none at all for TERM=tmux* and screen*. */
#include "term.h"

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

struct curses_term {
    struct ui_term term;
    struct ui_input input;
    SCREEN *screen;
    FILE *in, *out;
    bool mouse;
    bool whole_frames; /* frames are bracketed, so none is shown half */
    attr_t attrs[UI_STYLE_COUNT];
    int pair[UI_STYLE_COUNT];
    bool plain[UI_STYLE_COUNT];                 /* a space shows nothing of it */
    int last;                                   /* style sent last */
    int next_pair;                              /* for the next pair of shades */
    int shades[UI_SHADE_COUNT][UI_SHADE_COUNT]; /* [ink][ground] pair, 0 = none yet */
    struct ui_canvas shown;                     /* what curses was told last */
};

/* For ui_term_emergency: set before the terminal is touched, valid until close. */
static struct {
    volatile sig_atomic_t active;
    int fd;
    struct termios before;
    char bytes[256];
    size_t n;
} rescue;

static const char modes_on[] = "\033[?2004h";
static const char modes_off[] = "\033[?2026l\033[?1002l\033[?1006l\033[?2004l";
static const char mouse_on[] = "\033[?1002h\033[?1006h";

/* A terminal that knows mode 2026 (synchronized output) shows what lies between at once. */
static const char frame_begin[] = "\033[?2026h";
static const char frame_end[] = "\033[?2026l";

static void send(const struct curses_term *t, const char *bytes)
{
    fflush(t->out);
    size_t n = strlen(bytes);
    while (n > 0) {
        ssize_t done = write(fileno(t->out), bytes, n);
        if (done < 0 && errno != EINTR) {
            return;
        }
        bytes += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
}

void ui_term_emergency(void)
{
    if (!rescue.active) {
        return;
    }
    rescue.active = 0;
    ssize_t ignored = write(rescue.fd, rescue.bytes, rescue.n);
    (void)ignored;
    tcsetattr(rescue.fd, TCSANOW, &rescue.before);
}

static void prepare_rescue(int fd)
{
    char *leave = tigetstr("rmcup"), *show = tigetstr("cnorm");
    rescue.fd = fd;
    tcgetattr(fd, &rescue.before);
    snprintf(rescue.bytes, sizeof(rescue.bytes), "%s\033[0m%s%s\r\n", modes_off,
             show && show != (char *)-1 ? show : "\033[?25h",
             leave && leave != (char *)-1 ? leave : "");
    rescue.n = strlen(rescue.bytes);
    rescue.active = 1;
}

static bool read_bytes(struct ui_term *term, int64_t now_ms)
{
    struct curses_term *t = (struct curses_term *)term;
    struct pollfd p = {.fd = term->fd, .events = POLLIN};
    while (t->input.n < sizeof(t->input.buf) && poll(&p, 1, 0) > 0) {
        unsigned char bytes[1024];
        size_t room = sizeof(t->input.buf) - t->input.n;
        ssize_t n = read(term->fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
        if (n <= 0) {
            return n < 0 && (errno == EINTR || errno == EAGAIN);
        }
        ui_input_feed(&t->input, bytes, (size_t)n, now_ms);
    }
    return true;
}

static bool next(struct ui_term *term, int64_t now_ms, struct ui_event *out)
{
    return ui_input_next(&((struct curses_term *)term)->input, now_ms, out);
}

static int timeout_of(struct ui_term *term, int64_t now_ms)
{
    return ui_input_timeout_ms(&((struct curses_term *)term)->input, now_ms);
}

/* ---- colours ---- */

/* Numbers and attributes of a style for this terminal; -1 = default. */
static struct ui_look look_of(enum ui_colour colour, const struct ui_theme *theme,
                              enum ui_style_id id)
{
    struct ui_look look = theme->look[id];
    switch (colour) {
    case UI_COLOUR_NONE:
        look.fg = look.bg = -1;
        look.attrs = look.mono;
        break;
    case UI_COLOUR_16:
        return ui_look_few(theme, id, COLORS);
    case UI_COLOUR_256:
        look.fg = look.fg < 0 ? -1 : ui_colour_256(look.fg);
        look.bg = look.bg < 0 ? -1 : ui_colour_256(look.bg);
        break;
    default:
        break;
    }
    return look;
}

static void set_theme(struct ui_term *term, const struct ui_theme *theme)
{
    struct curses_term *t = (struct curses_term *)term;
    int n_pairs = 0;
    int fg[UI_STYLE_COUNT], bg[UI_STYLE_COUNT], number[UI_STYLE_COUNT];
    for (int i = 0; i < UI_STYLE_COUNT; i++) {
        struct ui_look look = look_of(term->colour, theme, (enum ui_style_id)i);
        unsigned a = look.attrs;
        t->attrs[i] = (a & UI_ATTR_BOLD ? A_BOLD : 0) | (a & UI_ATTR_DIM ? A_DIM : 0) |
                      (a & UI_ATTR_REVERSE ? A_REVERSE : 0) |
                      (a & UI_ATTR_UNDERLINE ? A_UNDERLINE : 0);
        int f = look.fg, b = look.bg;
        int k = 0;
        while (k < n_pairs && (fg[k] != f || bg[k] != b)) {
            k++;
        }
        if (k == n_pairs) { /* at most UI_STYLE_COUNT pairs: they fit where there are only 64 */
            fg[k] = f;
            bg[k] = b;
            number[k] = f < 0 && b < 0 ? 0 : k + 1;
            n_pairs++;
            if (number[k]) {
                init_extended_pair(number[k], f, b);
            }
        }
        t->pair[i] = number[k];
        t->plain[i] = b < 0 && !(a & (UI_ATTR_REVERSE | UI_ATTR_UNDERLINE));
    }
    t->next_pair = UI_STYLE_COUNT + 1;
    memset(t->shades, 0, sizeof(t->shades));
}

static int shade_colour(const struct curses_term *t, int shade)
{
    const int rgb = ui_shade_rgb(shade);
    return rgb < 0 || t->term.colour == UI_COLOUR_TRUE ? rgb : ui_colour_256(rgb);
}

/* Pairs are made when they are first met: a picture needs few of the 16,000. */
static int shade_pair(struct curses_term *t, const struct ui_cell *cell)
{
    int *pair = &t->shades[cell->ink][cell->ground];
    if (*pair == 0) {
        *pair = t->next_pair++;
        init_extended_pair(*pair, shade_colour(t, cell->ink), shade_colour(t, cell->ground));
    }
    return *pair;
}

static enum ui_colour colour_mode(const struct ui_term_options *o)
{
    const char *name = o->color ? o->color : "auto";
    const char *env = getenv("NO_COLOR");
    bool forced = strcmp(name, "auto") != 0 && strcmp(name, "never") != 0;
    if (o->no_color || strcmp(name, "never") == 0 || (env && env[0] && !forced) || !has_colors()) {
        return UI_COLOUR_NONE;
    }
    if (COLORS >= 1 << 24 && strcmp(name, "16") != 0 && strcmp(name, "256") != 0) {
        return UI_COLOUR_TRUE;
    }
    return COLORS >= 256 && strcmp(name, "16") != 0 ? UI_COLOUR_256 : UI_COLOUR_16;
}

/* ---- output ---- */

/* The style to send a cell with. A space on plain ground looks the same in any colour: it keeps the
 * one in use, which saves a third of the bytes of a drag. */
static int sent_style(struct curses_term *t, const struct ui_cell *cell)
{
    if (strcmp(cell->glyph, " ") != 0 || !t->plain[cell->style]) {
        t->last = cell->style;
        return cell->style;
    }
    return t->plain[t->last] ? t->last : UI_STYLE_NORMAL;
}

static void put_cell(struct curses_term *t, int x, int y, const struct ui_cell *cell)
{
    wchar_t text[3] = {L' ', 0, 0};
    cchar_t wide;
    if (cell->glyph[0] == 0) {
        return; /* right half of a wide character */
    }
    if (mbstowcs(text, cell->glyph, 2) == (size_t)-1) {
        text[0] = L'?';
    }
    text[1] = 0;
    int style = sent_style(t, cell);
    int pair = cell->ink || cell->ground ? shade_pair(t, cell) : t->pair[style];
    setcchar(&wide, text, t->attrs[style], (short)pair, &pair);
    mvadd_wch(y, x, &wide);
}

static void blit(struct ui_term *term, const struct ui_canvas *c, bool all)
{
    struct curses_term *t = (struct curses_term *)term;
    if (t->shown.w != c->w || t->shown.h != c->h) {
        ui_canvas_release(&t->shown);
        if (!ui_canvas_init(&t->shown, c->w, c->h)) {
            return;
        }
        all = true;
    }
    if (all) {
        erase();
        clearok(curscr, TRUE);
    }
    for (int y = 0; y < c->h; y++) {
        for (int x = 0; x < c->w; x++) {
            const struct ui_cell *now = &c->cells[y * c->w + x];
            struct ui_cell *was = &t->shown.cells[y * c->w + x];
            if (all || memcmp(now, was, sizeof(*now)) != 0) {
                put_cell(t, x, y, now);
                *was = *now;
            }
        }
    }
    send(t, t->whole_frames ? frame_begin : "");
    refresh();
    send(t, t->whole_frames ? frame_end : "");
    term->n_updates++;
}

static void kernel_size(struct ui_term *term)
{
    struct winsize size;
    if (ioctl(term->fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        term->w = size.ws_col;
        term->h = size.ws_row;
    }
}

static void resize_screen(struct ui_term *term)
{
    kernel_size(term);
    resizeterm(term->h, term->w);
    ui_canvas_release(&((struct curses_term *)term)->shown);
}

static void copy(struct ui_term *term, const char *text)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char out[4096] = "\033]52;c;";
    size_t n = strlen(out), len = strlen(text);
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < len && n + 8 < sizeof(out); i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < len ? (unsigned)p[i + 1] << 8 : 0) |
                     (i + 2 < len ? p[i + 2] : 0);
        out[n++] = digit[v >> 18];
        out[n++] = digit[v >> 12 & 63];
        out[n++] = i + 1 < len ? digit[v >> 6 & 63] : '=';
        out[n++] = i + 2 < len ? digit[v & 63] : '=';
    }
    out[n] = 0;
    strcat(out, "\a");
    send((struct curses_term *)term, out);
}

/* ---- taking and giving back ---- */

static void leave(struct ui_term *term)
{
    struct curses_term *t = (struct curses_term *)term;
    const char *alternate = tigetstr("rmcup");
    send(t, modes_off);
    if (!alternate || alternate == (const char *)-1) { /* the shell writes where the screen was */
        erase();
        refresh();
    }
    endwin();
    fflush(t->out);
    rescue.active = 0;
}

static void enter(struct ui_term *term)
{
    struct curses_term *t = (struct curses_term *)term;
    rescue.active = 1;
    kernel_size(term);
    reset_prog_mode();
    if (term->w != COLS || term->h != LINES) {
        resizeterm(term->h, term->w);
    }
    ui_canvas_release(&t->shown);
    send(t, modes_on);
    if (t->mouse) {
        send(t, mouse_on);
    }
}

static void close_curses(struct ui_term *term)
{
    struct curses_term *t = (struct curses_term *)term;
    leave(term);
    tcsetattr(rescue.fd, TCSADRAIN, &rescue.before);
    delscreen(t->screen);
    ui_canvas_release(&t->shown);
    fclose(t->in);
    fclose(t->out);
    free(t);
}

/* Does the locale of the user, or else C.UTF-8, speak UTF-8? C.UTF-8 serves where no locale is named,
 * and where one is that this machine lacks (as over ssh). LC_NUMERIC stays "C". */
static bool set_locale(void)
{
    const char *named = getenv("LC_ALL");
    named = named && named[0] ? named : getenv("LC_CTYPE");
    named = named && named[0] ? named : getenv("LANG");
    bool unset = !named || !named[0];
    bool known = setlocale(LC_CTYPE, "") != NULL;
    bool utf8 = known && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    bool lacking = !known && !unset && (strstr(named, "UTF-8") || strstr(named, "utf8"));
    if (!utf8 && (unset || lacking)) {
        utf8 = setlocale(LC_CTYPE, "C.UTF-8") != NULL;
    }
    return utf8;
}

static enum ui_glyphs most_glyphs(bool utf8)
{
    const char *term = getenv("TERM");
    if (!utf8) {
        return UI_GLYPHS_ASCII;
    }
    return term && strcmp(term, "linux") == 0 ? UI_GLYPHS_BLOCK : UI_GLYPHS_BRAILLE;
}

/* Does it pass over private modes and strings that it does not know? Old ones print them. */
static bool takes_new_modes(void)
{
    const char *term = getenv("TERM");
    return term && strcmp(term, "linux") != 0 && strncmp(term, "vt", 2) != 0;
}

static void learn_key(struct ui_input *in, const char *capability, int key)
{
    const char *s = tigetstr(capability);
    if (!s || s == (const char *)-1 || s[0] != 27 || in->n_extra >= 48) {
        return;
    }
    size_t n = strlen(s);
    if (n < 2 || n >= sizeof(in->extra[0].bytes)) {
        return;
    }
    struct ui_input_seq *row = &in->extra[in->n_extra++];
    memcpy(row->bytes, s, n);
    row->len = (unsigned char)n;
    row->key = key;
}

static void learn_keys(struct ui_input *in)
{
    static const struct {
        const char *capability;
        int key;
    } table[] = {{"kcuu1", UI_KEY_UP},     {"kcud1", UI_KEY_DOWN},  {"kcub1", UI_KEY_LEFT},
                 {"kcuf1", UI_KEY_RIGHT},  {"khome", UI_KEY_HOME},  {"kend", UI_KEY_END},
                 {"kpp", UI_KEY_PGUP},     {"knp", UI_KEY_PGDN},    {"kdch1", UI_KEY_DELETE},
                 {"kich1", UI_KEY_INSERT}, {"kcbt", UI_KEY_BACKTAB}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        learn_key(in, table[i].capability, table[i].key);
    }
    for (int f = 1; f <= 12; f++) {
        char name[8];
        snprintf(name, sizeof(name), "kf%d", f);
        learn_key(in, name, UI_KEY_F0 + f);
    }
}

/* Ask for the background colour: the answer comes as UI_EVENT_BACKGROUND. Until then COLORFGBG. */
static int ask_background(struct curses_term *t)
{
    const char *told = getenv("COLORFGBG");
    const char *last = told ? strrchr(told, ';') : NULL;
    if (takes_new_modes()) {
        send(t, "\033]11;?\033\\");
    }
    if (!last) {
        return -1;
    }
    int n = atoi(last + 1);
    return n == 7 || n == 15 ? 0xffffff : 0x000000;
}

static bool open_tty(struct curses_term *t, char *why, size_t cap)
{
    int in = isatty(0) ? fcntl(0, F_DUPFD_CLOEXEC, 3) : open("/dev/tty", O_RDWR | O_CLOEXEC);
    int out = fcntl(1, F_DUPFD_CLOEXEC, 3);
    t->in = in < 0 ? NULL : fdopen(in, "r");
    t->out = out < 0 ? NULL : fdopen(out, "w");
    if (!t->in || !t->out) {
        snprintf(why, cap, "no terminal to read keys from (/dev/tty: %s)", strerror(errno));
        return false;
    }
    setvbuf(t->out, NULL, _IOFBF, 1 << 16);
    t->term.fd = in;
    return true;
}

static void abandon(struct curses_term *t)
{
    if (t->in) {
        fclose(t->in);
    }
    if (t->out) {
        fclose(t->out);
    }
    free(t);
}

struct ui_term *ui_term_curses(const struct ui_term_options *options, char *why, size_t cap)
{
    struct curses_term *t = calloc(1, sizeof(*t));
    if (!t || !open_tty(t, why, cap)) {
        if (t) {
            abandon(t);
        }
        return NULL;
    }
    bool utf8 = set_locale();
    struct termios before;
    tcgetattr(t->term.fd, &before);
    t->screen = newterm(NULL, t->out, t->in);
    if (!t->screen) {
        const char *name = getenv("TERM");
        snprintf(why, cap, "the terminal '%s' is not in terminfo; set TERM, for example TERM=xterm",
                 name ? name : "");
        abandon(t);
        return NULL;
    }
    prepare_rescue(t->term.fd);
    rescue.before = before;
    cbreak();
    noecho();
    nonl();
    curs_set(0);
    if (has_colors()) {
        start_color();
        use_default_colors();
    }
    const char *delay = getenv("ESCDELAY");
    ui_input_init(&t->input, delay && atoi(delay) > 0 ? atoi(delay) : 25);
    learn_keys(&t->input);
    t->mouse = options->mouse;
    t->whole_frames = takes_new_modes();
    t->term.read = read_bytes;
    t->term.next = next;
    t->term.timeout_ms = timeout_of;
    t->term.theme = set_theme;
    t->term.blit = blit;
    t->term.resize = resize_screen;
    t->term.copy = copy;
    t->term.leave = leave;
    t->term.enter = enter;
    t->term.close = close_curses;
    t->term.colour = colour_mode(options);
    t->term.glyphs = most_glyphs(utf8);
    t->term.has_shades = t->term.colour >= UI_COLOUR_256 &&
                         COLOR_PAIRS > UI_SHADE_COUNT * UI_SHADE_COUNT + UI_STYLE_COUNT;
    t->term.w = COLS;
    t->term.h = LINES;
    refresh();
    send(t, modes_on);
    if (t->mouse) {
        send(t, mouse_on);
    }
    t->term.background = t->term.colour == UI_COLOUR_NONE ? -1 : ask_background(t);
    return &t->term;
}

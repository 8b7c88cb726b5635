#include "term.h"

#include <stdlib.h>
#include <string.h>

struct headless {
    struct ui_term term;
    struct ui_input input;
    struct ui_canvas screen;
};

static bool read_nothing(struct ui_term *t, int64_t now_ms)
{
    (void)t;
    (void)now_ms;
    return true;
}

static bool next(struct ui_term *t, int64_t now_ms, struct ui_event *out)
{
    return ui_input_next(&((struct headless *)t)->input, now_ms, out);
}

static int timeout(struct ui_term *t, int64_t now_ms)
{
    return ui_input_timeout_ms(&((struct headless *)t)->input, now_ms);
}

static void blit(struct ui_term *t, const struct ui_canvas *c, bool all)
{
    struct headless *h = (struct headless *)t;
    (void)all;
    t->n_updates++;
    if (h->screen.w != c->w || h->screen.h != c->h) {
        ui_canvas_release(&h->screen);
        if (!ui_canvas_init(&h->screen, c->w, c->h)) {
            return;
        }
    }
    memcpy(h->screen.cells, c->cells, (size_t)c->w * (size_t)c->h * sizeof(c->cells[0]));
}

static void theme(struct ui_term *t, const struct ui_theme *theme)
{
    (void)t;
    (void)theme;
}

static void copy(struct ui_term *t, const char *text)
{
    (void)t;
    (void)text;
}

static void nothing(struct ui_term *t)
{
    (void)t;
}

static void close_headless(struct ui_term *t)
{
    ui_canvas_release(&((struct headless *)t)->screen);
    free(t);
}

struct ui_term *ui_term_headless(int w, int h)
{
    struct headless *t = calloc(1, sizeof(*t));
    if (!t) {
        return NULL;
    }
    t->term = (struct ui_term){.fd = -1,
                               .w = w,
                               .h = h,
                               .colour = UI_COLOUR_TRUE,
                               .glyphs = UI_GLYPHS_BRAILLE,
                               .has_shades = true,
                               .background = -1,
                               .read = read_nothing,
                               .next = next,
                               .timeout_ms = timeout,
                               .theme = theme,
                               .blit = blit,
                               .resize = nothing,
                               .copy = copy,
                               .leave = nothing,
                               .enter = nothing,
                               .close = close_headless};
    ui_input_init(&t->input, 25);
    return &t->term;
}

void ui_term_headless_type(struct ui_term *t, const void *bytes, size_t n)
{
    ui_input_feed(&((struct headless *)t)->input, bytes, n, 0);
}

const struct ui_canvas *ui_term_headless_screen(const struct ui_term *t)
{
    return &((const struct headless *)t)->screen;
}

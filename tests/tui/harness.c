#include "cmocka_all.h"

#include "harness.h"

#include "script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *sample_path(const char *name)
{
    static char path[1000];
    snprintf(path, sizeof(path), "%s/samples/%s", QX_SOURCE_ROOT, name);
    return path;
}

void app_open(struct ui_app *app, const char *path, int w, int h, bool measure)
{
    struct qx_session_options options = {.threads = 1, .fresh = true};
    struct qx_session *session;
    struct qx_error err;
    if (qx_session_open(path, &options, &session, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    qx_session_set_auto_measure(session, measure);
    assert_true(ui_app_init(app, session, w, h));
    app->animate = false;
}

void app_close(struct ui_app *app)
{
    ui_app_release(app);
}

void app_settle(struct ui_app *app)
{
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, app->w, app->h));
    for (int i = 0; i < 3; i++) {
        qx_session_settle(app->session, 120000);
        ui_news(app, ~0u);
        ui_draw(app, &c);
    }
    qx_session_settle(app->session, 120000);
    ui_canvas_release(&c);
}

void app_line(struct ui_app *app, const char *line)
{
    char why[300];
    if (!ui_script_line(app, line, why, sizeof(why))) {
        fail_msg("%s: %s", line, why);
    }
}

bool app_shows(struct ui_app *app, const char *text)
{
    static char line[400 * 7];
    struct ui_canvas c;
    bool found = false;
    assert_true(ui_canvas_init(&c, app->w, app->h));
    ui_draw(app, &c);
    for (int y = 0; y < c.h && !found; y++) {
        line[0] = '\0';
        for (int x = 0; x < c.w; x++) {
            strcat(line, ui_canvas_at(&c, x, y)->glyph);
        }
        found = strstr(line, text) != NULL;
    }
    ui_canvas_release(&c);
    return found;
}

const char *app_recipe(struct ui_app *app)
{
    static char text[2][65536];
    static int turn;
    char path[100];
    struct qx_error err;
    turn = !turn;
    snprintf(path, sizeof(path), "recipe-%d.json", (int)getpid());
    if (qx_session_save_recipe(app->session, path, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text[turn], 1, sizeof(text[turn]) - 1, f);
    text[turn][n] = 0;
    fclose(f);
    unlink(path);
    return text[turn];
}

unsigned next_random(unsigned *seed, unsigned n)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 10) % n;
}

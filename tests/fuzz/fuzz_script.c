/* A command log of any bytes: every line is done or refused with a reason, the screen can be drawn
 * after it, and undoing everything leads back to the recipe of the start. Lines that touch files or
 * leave are skipped. */
#include "fuzz.h"

#include "script.h"
#include "view.h"

#include <stdio.h>
#include <string.h>

static struct ui_app app;
static struct ui_canvas canvas;

static bool begin(void)
{
    struct qx_session_options options = {.threads = 1, .fresh = true, .batch = true};
    struct qx_session *session;
    struct qx_error err;
    if (qx_session_open(QX_SOURCE_ROOT "/samples/five-weights", &options, &session, &err) !=
        QX_OK) {
        fprintf(stderr, "%s\n", err.text);
        return false;
    }
    return ui_app_init(&app, session, 80, 24);
}

static bool is_harmless(const char *line)
{
    static const char *const words[] = {"save",   "load",  "write", "dump",
                                        "settle", "theme", "resize"};
    line += strspn(line, " \t:");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strncmp(line, words[i], strlen(words[i])) == 0) {
            return false;
        }
    }
    return strncmp(line, "key", 3) != 0 || !strpbrk(line, "wW:");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char line[512], why[300];
    fuzz_check(begin(), "the sample opens");
    fuzz_check(ui_canvas_init(&canvas, 80, 24), "there is memory");
    for (size_t at = 0; at < size;) {
        size_t n = 0;
        while (at + n < size && data[at + n] != '\n' && n < sizeof(line) - 1) {
            line[n] = (char)data[at + n];
            n++;
        }
        line[n] = 0;
        at += n + 1;
        if (is_harmless(line)) {
            why[0] = 0;
            fuzz_check(ui_script_line(&app, line, why, sizeof(why)) || why[0],
                       "a refusal has a reason");
            fuzz_check(app.cursor >= -1 && app.cursor < app.n_items, "the cursor is on an item");
            ui_draw(&app, &canvas);
        }
        app.quit = app.suspend = app.reload = false;
    }
    while (qx_session_undo(app.session)) {
    }
    for (int64_t i = 0; i < app.n_items; i++) {
        fuzz_check(qx_setting_is_fp32(qx_session_setting(app.session, i)), "all edits are undone");
    }
    ui_canvas_release(&canvas);
    ui_app_release(&app);
    return 0;
}

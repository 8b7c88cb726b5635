/* Commands that change the recipe but not a threshold. */
#include "commands.h"
#include "flags_text.h"
#include "view.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

bool ui_edit(struct ui_app *app, const int64_t *items, int64_t n, const struct qx_patch *patch,
             bool merge)
{
    struct qx_error err;
    if (n == 0) {
        return ui_refuse(app, "no layer here");
    }
    if (qx_session_edit(app->session, items, n, patch, merge, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    app->first_line = false;
    return true;
}

/* Is the layer under the cursor in sight? */
static bool shows_layers(const struct ui_app *app)
{
    const char *id = ui_view_at(app->view)->id;
    return strcmp(id, "model") == 0 || strcmp(id, "layer") == 0 || strcmp(id, "compare") == 0;
}

/* Edit all targets and say what happened when it happened elsewhere too. */
static bool edit_targets(struct ui_app *app, const struct qx_patch *patch, const char *what)
{
    int64_t n;
    const int64_t *items = ui_targets(app, &n);
    if (!ui_edit(app, items, n, patch, false)) {
        return false;
    }
    if (n > 1) {
        ui_toast(app, UI_TOAST_INFO, "%s for %lld marked layers, u undoes it", what, (long long)n);
    } else if (!shows_layers(app)) {
        ui_toast(app, UI_TOAST_INFO, "%s: %s, u undoes it", ui_item(app)->alias, what);
    }
    return true;
}

static bool set_format(struct ui_app *app, const char *name)
{
    struct qx_patch patch = {.fields = QX_PATCH_FORMAT};
    patch.value.format = qx_format_find(name);
    if (!patch.value.format) {
        char list[128] = "";
        for (int i = 0; i < qx_format_count(); i++) {
            strncat(list, " ", sizeof(list) - strlen(list) - 1);
            strncat(list, qx_format_at(i)->name, sizeof(list) - strlen(list) - 1);
        }
        return ui_refuse(app, "no format '%s'; there are%s", name, list);
    }
    return edit_targets(app, &patch, patch.value.format->title);
}

bool cmd_format(struct ui_app *app, const char *arg)
{
    return set_format(app, arg);
}

bool cmd_ends(struct ui_app *app, const char *arg)
{
    struct qx_patch patch = {.fields = QX_PATCH_FORMAT};
    int64_t items[16], n = 0;
    patch.value.format = qx_format_find(arg[0] ? arg : "fp16");
    if (!patch.value.format || qx_format_is_scaled(patch.value.format)) {
        return ui_refuse(app, "the ends take fp16, bf16 or fp32, not '%s'", arg);
    }
    for (int64_t i = 0; i < qx_session_n_items(app->session) && n < 16; i++) {
        if (qx_session_item(app->session, i)->can_quantize &&
            qx_session_match(app->session, i, "ends")) {
            items[n++] = i;
        }
    }
    if (n == 0) {
        return ui_refuse(app, "%s",
                         qx_session_net(app->session) ? "the network has no linear layer"
                                                      : qx_session_net_reason(app->session));
    }
    if (!ui_edit(app, items, n, &patch, false)) {
        return false;
    }
    ui_toast(app, UI_TOAST_INFO, "%s: %s to %s, u undoes it", patch.value.format->title,
             qx_session_item(app->session, items[0])->alias,
             qx_session_item(app->session, items[n - 1])->alias);
    return true;
}

bool cmd_bits(struct ui_app *app, const char *arg)
{
    char *end;
    long bits = strtol(arg, &end, 10);
    if (bits == 16 || bits == 32) {
        return set_format(app, bits == 16 ? "fp16" : "fp32");
    }
    if (*end != 0 || bits < 2 || bits > 8) {
        return ui_refuse(app, "bits are 2 to 8 (16: FP16, 32: FP32), not '%s'", arg);
    }
    struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = (int)bits}};
    char what[24];
    snprintf(what, sizeof(what), "%ld bits", bits);
    return edit_targets(app, &patch, what);
}

static bool set_gran(struct ui_app *app, enum qx_gran gran, int64_t group)
{
    static const char *const word[] = {"one scale per tensor", "one scale per channel",
                                       "one scale per group"};
    struct qx_patch patch = {.fields = QX_PATCH_GRAN, .value = {.gran = gran, .group = group}};
    return edit_targets(app, &patch, word[gran]);
}

bool cmd_gran(struct ui_app *app, const char *arg)
{
    if (strcmp(arg, "tensor") == 0) {
        return set_gran(app, QX_GRAN_TENSOR, 0);
    }
    if (strcmp(arg, "channel") == 0) {
        return set_gran(app, QX_GRAN_CHANNEL, 0);
    }
    long long group = strncmp(arg, "group:", 6) == 0 ? atoll(arg + 6) : 0;
    if (group <= 0) {
        return ui_refuse(app, "granularity is tensor, channel or group:N, not '%s'", arg);
    }
    return set_gran(app, QX_GRAN_GROUP, group);
}

static const struct {
    enum qx_gran gran;
    int64_t group;
} grans[] = {{QX_GRAN_TENSOR, 0},
             {QX_GRAN_CHANNEL, 0},
             {QX_GRAN_GROUP, 128},
             {QX_GRAN_GROUP, 64},
             {QX_GRAN_GROUP, 32}};
enum { N_GRANS = sizeof(grans) / sizeof(grans[0]) };

static bool step_gran(struct ui_app *app, int step)
{
    const struct qx_setting *s = ui_setting(app);
    int at = 0;
    while (at < N_GRANS - 1 && (grans[at].gran != s->gran ||
                                (s->gran == QX_GRAN_GROUP && grans[at].group != s->group))) {
        at++;
    }
    at = (at + step + N_GRANS) % N_GRANS;
    return set_gran(app, grans[at].gran, grans[at].group);
}

bool cmd_gran_next(struct ui_app *app, const char *arg)
{
    (void)arg;
    return step_gran(app, 1);
}

bool cmd_gran_prev(struct ui_app *app, const char *arg)
{
    (void)arg;
    return step_gran(app, -1);
}

bool cmd_sym(struct ui_app *app, const char *arg)
{
    bool sym = strcmp(arg, "on") == 0;
    if (arg[0] == 0) {
        sym = !ui_setting(app)->sym;
    } else if (!sym && strcmp(arg, "off") != 0) {
        return ui_refuse(app, "symmetric is on or off, not '%s'", arg);
    }
    struct qx_patch patch = {.fields = QX_PATCH_SYM, .value = {.sym = sym}};
    app->handle = 0;
    return edit_targets(app, &patch, sym ? "symmetric" : "asymmetric");
}

bool cmd_calib(struct ui_app *app, const char *arg)
{
    struct qx_patch patch = {.fields = QX_PATCH_CALIB};
    struct qx_error err;
    bool has_range = false;
    if (qx_calib_parse(arg, &patch.value.calib, &patch.value.param, &patch.value.range, &has_range,
                       &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    if (has_range) {
        patch.fields = QX_PATCH_RANGE;
        patch.value.has_range = true;
    }
    return edit_targets(app, &patch, patch.value.calib->title);
}

bool cmd_algo(struct ui_app *app, const char *arg)
{
    struct qx_patch patch = {.fields = QX_PATCH_ALGO};
    struct qx_algo algo;
    struct qx_error err;
    if (qx_algo_parse(arg, &algo, patch.value.algo, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    return edit_targets(app, &patch,
                        algo.n == 1  ? algo.v[0].method->title
                        : algo.n > 1 ? patch.value.algo
                                     : "round to nearest");
}

bool cmd_preset(struct ui_app *app, const char *arg)
{
    const struct qx_preset *p;
    struct qx_error err;
    char flags[300] = "";
    int64_t n;
    if (qx_preset_find(arg, &p, &err) != QX_OK ||
        qx_session_preset(app->session, p, &n, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    app->first_line = false;
    ui_flags_of_preset(flags, sizeof(flags), p, app->session);
    ui_toast(app, UI_TOAST_INFO, "%s: %lld layer%s, u undoes it; %s", p->name, (long long)n,
             n == 1 ? "" : "s", flags);
    return true;
}

bool cmd_scale(struct ui_app *app, const char *arg)
{
    static const char *const words[QX_SCALE_TYPES] = {"scales in FP32", "scales in FP16",
                                                      "scales quantized too, 256 together"};
    struct qx_patch patch = {.fields = QX_PATCH_SCALE};
    if (!qx_scale_find(arg, &patch.value.scale)) {
        return ui_refuse(app, "scales are f32, f16 or dq, not '%s'", arg);
    }
    return edit_targets(app, &patch, words[patch.value.scale]);
}

bool cmd_undo(struct ui_app *app, const char *arg)
{
    (void)arg;
    const char *text = qx_session_edit_text(app->session, 0);
    char what[200];
    snprintf(what, sizeof(what), "%s", text ? text : "");
    if (!qx_session_undo(app->session)) {
        return ui_refuse(app, "nothing to undo");
    }
    app->first_line = false;
    ui_toast(app, UI_TOAST_INFO, "undone: %s", what);
    return true;
}

bool cmd_redo(struct ui_app *app, const char *arg)
{
    (void)arg;
    if (!qx_session_redo(app->session)) {
        return ui_refuse(app, "nothing to redo");
    }
    const char *text = qx_session_edit_text(app->session, 0);
    ui_toast(app, UI_TOAST_INFO, "done again: %s", text ? text : "");
    return true;
}

bool cmd_state(struct ui_app *app, const char *arg)
{
    struct qx_error err;
    char *end;
    const long id = strtol(arg, &end, 10);
    int back = 0, forward = 0;
    if (end == arg || *end || id < 0 || id > INT_MAX) {
        return ui_refuse(app, "'%s' is no number of a state", arg);
    }
    qx_session_way(app->session, (int)id, &back, &forward);
    if (qx_session_go_to(app->session, (int)id, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    if (back + forward > 0) {
        ui_toast(app, UI_TOAST_INFO, "state %ld: %d undone, %d done again", id, back, forward);
    }
    return true;
}

bool cmd_snapshot(struct ui_app *app, const char *arg)
{
    (void)arg;
    qx_session_snapshot(app->session);
    ui_toast(app, UI_TOAST_GOOD, "this recipe is A now; ` flips, g c compares");
    return true;
}

bool cmd_flip(struct ui_app *app, const char *arg)
{
    (void)arg;
    qx_session_flip(app->session);
    ui_toast(app, UI_TOAST_INFO, "A and B swapped");
    return true;
}

bool cmd_take_a(struct ui_app *app, const char *arg)
{
    (void)arg;
    struct qx_error err;
    if (app->cursor < 0 || qx_session_take_from_a(app->session, app->cursor, &err) != QX_OK) {
        return ui_refuse(app, "%s", app->cursor < 0 ? "no layer here" : err.text);
    }
    ui_toast(app, UI_TOAST_INFO, "%s: A's setting taken, u undoes it", ui_item(app)->alias);
    return true;
}

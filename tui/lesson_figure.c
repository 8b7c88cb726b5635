/* Figures that lessons speak of, one row each: of the layer under the cursor, or of the whole model. */
#include "lesson_impl.h"

#include "view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MOST = 40 };

static bool number(struct ui_lesson_value *out, double v)
{
    out->is_text = false;
    out->number = v;
    return isfinite(v);
}

static bool word(struct ui_lesson_value *out, const char *text)
{
    out->is_text = true;
    snprintf(out->text, sizeof(out->text), "%s", text);
    return true;
}

/* ---- the setting ---- */

static bool get_bits(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_setting *s = ui_setting(app);
    return s && number(out, s->format->kind == QX_FORMAT_AFFINE ? s->bits : s->format->max_bits);
}

static bool get_format(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_setting *s = ui_setting(app);
    return s && word(out, s->format->name);
}

static bool get_gran(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_setting *s = ui_setting(app);
    if (s && s->gran == QX_GRAN_GROUP) {
        char text[32];
        snprintf(text, sizeof(text), "group:%lld", (long long)s->group);
        return word(out, text);
    }
    return s && word(out, s->gran == QX_GRAN_TENSOR ? "tensor" : "channel");
}

static bool get_symmetric(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_setting *s = ui_setting(app);
    return s && number(out, s->sym);
}

static bool get_method(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_setting *s = ui_setting(app);
    return s && s->calib && word(out, s->calib->name);
}

static bool get_threshold(struct ui_app *app, struct ui_lesson_value *out)
{
    return number(out, ui_threshold(app, app->cursor));
}

static bool get_layer(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_item *item = ui_item(app);
    return item && word(out, item->tensor->name);
}

/* ---- its error ---- */

static bool metrics(struct ui_app *app, struct qx_metrics *m)
{
    return app->cursor >= 0 && qx_session_metrics(app->session, app->cursor, m);
}

static bool get_mse(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_metrics m;
    return metrics(app, &m) && number(out, m.mse);
}

static bool get_mse_clip(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_metrics m;
    return metrics(app, &m) && number(out, m.mse_clip);
}

static bool get_mse_round(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_metrics m;
    return metrics(app, &m) && number(out, m.mse_round);
}

static bool get_sqnr(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_metrics m;
    return metrics(app, &m) && number(out, m.sqnr_db);
}

static bool get_clipped(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_metrics m;
    return metrics(app, &m) && m.n > 0 &&
           number(out, 100.0 * (m.clipped_low + m.clipped_high) / (double)m.n);
}

static bool get_scale(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_metrics m;
    return metrics(app, &m) && number(out, m.scale_max);
}

static bool get_levels(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_metrics m;
    return metrics(app, &m) && number(out, m.levels);
}

static bool get_levels_used(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_metrics m;
    return metrics(app, &m) && number(out, m.levels_used);
}

/* ---- inputs of the layer ---- */

static bool get_act_bits(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_act *a = app->cursor >= 0 ? ui_act(app, app->cursor) : NULL;
    return a && number(out, a->bits);
}

static bool get_act_symmetric(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_act *a = app->cursor >= 0 ? ui_act(app, app->cursor) : NULL;
    return a && number(out, a->sym);
}

static bool get_act_dynamic(struct ui_app *app, struct ui_lesson_value *out)
{
    const struct qx_act *a = app->cursor >= 0 ? ui_act(app, app->cursor) : NULL;
    return a && number(out, a->dynamic);
}

static bool get_act_noise(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_session_calib c;
    return qx_session_calib(app->session, &c) && number(out, c.is_noise);
}

/* ---- the model ---- */

static bool get_kilobytes(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_totals t;
    qx_session_totals(app->session, &t);
    return number(out, (double)t.bytes / 1000.0);
}

static bool get_bits_per_weight(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_totals t;
    qx_session_totals(app->session, &t);
    return number(out, t.bits_per_weight);
}

static bool get_quantized(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_totals t;
    qx_session_totals(app->session, &t);
    return number(out, (double)t.n_quantized);
}

static bool get_marked(struct ui_app *app, struct ui_lesson_value *out)
{
    return number(out, (double)app->n_marked);
}

/* Measured for the recipe of now, on every row. */
static bool measured(struct ui_app *app, struct qx_gauge *g)
{
    qx_session_gauge(app->session, g);
    return g->state == QX_GAUGE_MEASURED && g->edits_since == 0 && g->n > 0 && g->correct >= 0;
}

static bool get_accuracy(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_gauge g;
    return measured(app, &g) && number(out, 100.0 * (double)g.correct / (double)g.n);
}

static bool get_accuracy_fp32(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_gauge g;
    qx_session_gauge(app->session, &g);
    return g.n > 0 && g.fp32_correct >= 0 &&
           number(out, 100.0 * (double)g.fp32_correct / (double)g.n);
}

static bool get_lost(struct ui_app *app, struct ui_lesson_value *out)
{
    struct qx_gauge g;
    return measured(app, &g) && g.fp32_correct >= 0 &&
           number(out, 100.0 * (double)(g.fp32_correct - g.correct) / (double)g.n);
}

/* The last training, when it is over: percent of the evaluation rows right before it (0) and at its best. */
static bool trained(struct ui_app *app, bool is_best, struct ui_lesson_value *out)
{
    struct qx_training t;
    struct qx_train_epoch e;
    qx_session_training(app->session, &t);
    return t.state == QX_TRAINING_DONE &&
           qx_session_training_epoch(app->session, is_best ? t.best : 0, &e) && e.n > 0 &&
           number(out, 100.0 * (double)e.correct / (double)e.n);
}

static bool get_untrained(struct ui_app *app, struct ui_lesson_value *out)
{
    return trained(app, false, out);
}

static bool get_trained(struct ui_app *app, struct ui_lesson_value *out)
{
    return trained(app, true, out);
}

static bool get_screen(struct ui_app *app, struct ui_lesson_value *out)
{
    return word(out, ui_view_at(app->view)->id);
}

static bool get_snapshot(struct ui_app *app, struct ui_lesson_value *out)
{
    return number(out, qx_session_has_snapshot(app->session));
}

struct figure {
    const char *name;
    bool (*get)(struct ui_app *app, struct ui_lesson_value *out);
};

static const struct figure figures[] = {
    {"bits", get_bits},
    {"format", get_format},
    {"gran", get_gran},
    {"symmetric", get_symmetric},
    {"method", get_method},
    {"threshold", get_threshold}, /* real units of a tensor, ratio of a channel or group */
    {"layer", get_layer},
    {"mse", get_mse},
    {"mse_clip", get_mse_clip},
    {"mse_round", get_mse_round},
    {"sqnr", get_sqnr},       /* dB */
    {"clipped", get_clipped}, /* percent of the values */
    {"scale", get_scale},     /* largest step */
    {"levels", get_levels},
    {"levels_used", get_levels_used},
    {"act_bits", get_act_bits},
    {"act_symmetric", get_act_symmetric},
    {"act_dynamic", get_act_dynamic},
    {"act_noise", get_act_noise}, /* 1: ranges come from noise */
    {"kilobytes", get_kilobytes}, /* whole model */
    {"bits_per_weight", get_bits_per_weight},
    {"quantized", get_quantized}, /* tensors */
    {"marked", get_marked},
    {"accuracy", get_accuracy}, /* percent, measured */
    {"accuracy_fp32", get_accuracy_fp32},
    {"lost", get_lost},           /* points below FP32, measured */
    {"untrained", get_untrained}, /* percent, before the last training */
    {"trained", get_trained},     /* percent, its best epoch */
    {"screen", get_screen},
    {"snapshot", get_snapshot},
};

static const struct figure *find(const char *name)
{
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        if (strcmp(figures[i].name, name) == 0) {
            return &figures[i];
        }
    }
    return NULL;
}

bool ui_lesson_figure_known(const char *name)
{
    return find(name) != NULL;
}

bool ui_lesson_figure(struct ui_app *app, const char *name, struct ui_lesson_value *out)
{
    const struct figure *f = find(name);
    return f && app->session && f->get(app, out);
}

/* ---- conditions ---- */

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * (1.0 + fabs(b));
}

static bool holds(struct ui_app *app, const struct qx_jval *c)
{
    struct ui_lesson_value v;
    const struct qx_jval *is = qx_jget(c, "is"), *is_not = qx_jget(c, "is_not");
    const struct qx_jval *least = qx_jget(c, "at_least"), *most = qx_jget(c, "at_most");
    if (!ui_lesson_figure(app, qx_jstr(qx_jget(c, "figure"), ""), &v)) {
        return false;
    }
    if (v.is_text) {
        return is ? strcmp(v.text, qx_jstr(is, "")) == 0 : strcmp(v.text, qx_jstr(is_not, "")) != 0;
    }
    return (!is || is_near(v.number, qx_jnum(is, 0))) &&
           (!is_not || !is_near(v.number, qx_jnum(is_not, 0))) &&
           (!least || v.number >= qx_jnum(least, 0)) && (!most || v.number <= qx_jnum(most, 0));
}

bool ui_lesson_holds(struct ui_app *app, const struct qx_jval *conditions)
{
    for (const struct qx_jval *c = qx_jfirst(conditions); c; c = qx_jnext(c)) {
        if (!holds(app, c)) {
            return false;
        }
    }
    return true;
}

bool ui_lesson_conditions_check(const struct qx_jval *conditions, char *why, size_t cap)
{
    if (!qx_jis_array(conditions) || qx_jlen(conditions) == 0) {
        snprintf(why, cap, "a list of conditions is needed");
        return false;
    }
    for (const struct qx_jval *c = qx_jfirst(conditions); c; c = qx_jnext(c)) {
        const char *name = qx_jstr(qx_jget(c, "figure"), "");
        if (!find(name)) {
            snprintf(why, cap, "there is no figure '%.40s'", name);
            return false;
        }
        if (!qx_jget(c, "is") && !qx_jget(c, "is_not") && !qx_jget(c, "at_least") &&
            !qx_jget(c, "at_most")) {
            snprintf(why, cap, "'%.40s' needs is, is_not, at_least or at_most", name);
            return false;
        }
    }
    return true;
}

/* ---- texts ---- */

static bool value_text(struct ui_app *app, const char *name, char *buf, size_t cap)
{
    struct ui_lesson_value v;
    const bool is_known = ui_lesson_figure(app, name, &v);
    if (!is_known) {
        snprintf(buf, cap, "%s", app->glyphs == UI_GLYPHS_ASCII ? ".." : "\u2026");
    } else if (v.is_text) {
        snprintf(buf, cap, "%s", v.text);
    } else {
        snprintf(buf, cap, "%.4g", v.number);
    }
    return is_known;
}

bool ui_lesson_expand(struct ui_app *app, const char *text, char *buf, size_t cap)
{
    bool all = true;
    size_t n = 0;
    while (*text && n + 1 < cap) {
        size_t len = *text == '{' ? strcspn(text + 1, "}") : 0;
        if (*text == '{' && text[1 + len] == '}' && len < NAME_MOST) {
            char name[NAME_MOST], value[80];
            snprintf(name, sizeof(name), "%.*s", (int)len, text + 1);
            all &= value_text(app, name, value, sizeof(value));
            n += (size_t)snprintf(buf + n, cap - n, "%s", value);
            n = n < cap ? n : cap - 1;
            text += len + 2;
        } else {
            buf[n++] = *text++;
        }
    }
    buf[n] = 0;
    return all;
}

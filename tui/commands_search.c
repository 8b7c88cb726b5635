/* What the Sensitivity and Pareto screens share: acts at a fixed size, and texts. */
#include "commands.h"
#include "figure.h"
#include "gauge_text.h"
#include "search_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool ui_is_words(const struct ui_app *app)
{
    const struct qx_net *net = qx_session_net(app->session);
    return net && qx_net_is_words(net);
}

bool ui_can_run(struct ui_app *app)
{
    if (!qx_session_net(app->session)) {
        return ui_refuse(app, "%s", qx_session_net_reason(app->session));
    }
    if (!qx_session_data(app->session)) {
        return ui_refuse(app, "%s", qx_session_data_reason(app->session));
    }
    return true;
}

void ui_point_figure(const struct ui_app *app, double value, char *buf, size_t cap)
{
    char change[UI_FIG];
    if (ui_is_words(app)) {
        snprintf(buf, cap, "perplexity %s", ui_fig_change(change, true, value - 1));
    } else {
        snprintf(buf, cap, "%.2f %%", 100 * value);
    }
}

void ui_point_text(const struct ui_app *app, const struct qx_point *p, char *buf, size_t cap)
{
    char size[64], harm[UI_FIG], value[64];
    ui_fmt_bytes(size, 32, (double)p->bytes);
    if (!isnan(p->latency_ms)) {
        snprintf(size + strlen(size), sizeof(size) - strlen(size), ", %.3g ms", p->latency_ms);
    }
    if (isnan(p->value)) {
        snprintf(buf, cap, "%s, %.2f bits, %s %s", size, p->bits_per_weight,
                 p->basis == QX_SENS_RANK ? "relative error" : "KL", ui_fig_real(harm, p->harm, 2));
    } else {
        ui_point_figure(app, p->value, value, sizeof(value));
        snprintf(buf, cap, "%s, %.2f bits, %s%s", size, p->bits_per_weight, value,
                 p->basis == QX_SENS_PREDICTED ? ui_sym(app->glyphs, UI_SYM_APPROX) : " measured");
    }
}

void ui_width_text(const struct qx_setting *set, char *buf, size_t cap)
{
    if (qx_setting_is_int(set)) {
        snprintf(buf, cap, "%d", set->bits);
    } else {
        snprintf(buf, cap, "%s", set->format->name);
    }
}

/* The marked layers pay for what the cell costs. */
bool ui_purse(struct ui_app *app, int layer, int column)
{
    struct qx_error err;
    int n_paid = 0;
    const int64_t item = qx_session_map_item(app->session, layer);
    const struct qx_sens_column *c = qx_session_map(app->session)
                                         ? qx_sens_column_at(qx_session_map(app->session), column)
                                         : NULL;
    if (!c || c->site != QX_SITE_W || c->format->kind != QX_FORMAT_AFFINE) {
        return ui_refuse(app, "put the cursor on a number of bits for weights first");
    }
    if (app->n_marked == 0) {
        return ui_refuse(app, "mark with Space the layers that shall pay");
    }
    if (qx_session_purse(app->session, item, c->bits, app->marked, &n_paid, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    ui_toast(app, UI_TOAST_GOOD, "%s has %d bits, %d marked layer%s paid; u undoes it",
             qx_session_item(app->session, item)->alias, c->bits, n_paid, n_paid == 1 ? "" : "s");
    return true;
}

/* ---- the best trade, here and on the map ---- */

static void side_text(struct ui_app *app, int64_t item, int column, char *buf, size_t cap)
{
    char now[16], then[24];
    ui_width_text(qx_session_setting(app->session, item), now, sizeof(now));
    qx_sens_column_text(qx_sens_column_at(qx_session_map(app->session), column), then,
                        sizeof(then));
    snprintf(buf, cap, "%s %s to %s", qx_session_item(app->session, item)->alias, now, then);
}

bool cmd_trade(struct ui_app *app, const char *arg)
{
    struct qx_trade *t = &app->trade;
    struct qx_error err;
    char up[160], down[170] = "", gain[UI_FIG], bytes[32];
    const uint64_t now = qx_session_revision(app->session) + 1;
    (void)arg;
    qx_session_map_want(app->session);
    if (app->trade_revision == now && t->up >= 0) {
        app->trade_revision = 0;
        if (qx_session_trade_take(app->session, t, &err) != QX_OK) {
            return ui_refuse(app, "%s", err.text);
        }
        ui_toast(app, UI_TOAST_GOOD, "traded; u undoes it, B looks for the next");
        return true;
    }
    if (qx_session_trade(app->session, t, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    if (t->up < 0) {
        return ui_refuse(app, "no exchange at this size does less harm");
    }
    app->trade_revision = now;
    side_text(app, t->up, t->up_column, up, sizeof(up));
    if (t->down >= 0) {
        snprintf(down, sizeof(down), ", ");
        side_text(app, t->down, t->down_column, down + 2, sizeof(down) - 2);
    }
    ui_fmt_bytes(bytes, sizeof(bytes), t->bytes);
    ui_toast(app, UI_TOAST_INFO, "B again: %s%s: %s -%s%s for %s", up, down,
             t->is_rank ? "relative error" : "KL", ui_fig_real(gain, t->gain, 2),
             ui_sym(app->glyphs, UI_SYM_APPROX), bytes);
    return true;
}

/* ---- how a cell came about ---- */

bool ui_sens_explain(struct ui_app *app, int layer, int column, int n_rows, struct ui_explain *out)
{
    const struct qx_sens *map = qx_session_map(app->session);
    struct qx_map_state m;
    const struct qx_sens_cell *c = qx_sens_cell_at(map, layer, column);
    const struct qx_predict_layer *change = qx_sens_change(map, layer, column);
    const enum qx_site site = qx_sens_column_at(map, column)->site;
    char width[24], text[96], alias[48];
    qx_session_map_state(app->session, &m);
    qx_sens_column_text(qx_sens_column_at(map, column), width, sizeof(width));
    const struct qx_item *it =
        qx_session_item(app->session, qx_session_map_item(app->session, layer));
    snprintf(out->title, sizeof(out->title), "%s alone at %.16s",
             ui_fit_name(alias, sizeof(alias), it->alias, 40, app->glyphs), width);
    ui_explain_add(out, "%s",
                   qx_setting_text(qx_sens_setting(map, layer, column), text, sizeof(text)));
    ui_explain_add(out, "relative error: rounding %.4g, clipping %.4g", change->t[site].round,
                   change->t[site].clip);
    if (c->basis == QX_SENS_MEASURED) {
        ui_explain_add(out, "Measured: the network ran on %lld rows with only this changed.",
                       (long long)m.n_rows);
    } else if (c->basis == QX_SENS_PREDICTED) {
        ui_explain_add(out, "Predicted from measured changes of the logits on %lld rows, by the",
                       (long long)m.n_rows);
        ui_explain_add(out, "relative error above. M measures this cell.");
    } else {
        ui_explain_add(out, "Number %d of %d by relative error alone: no accuracy can be said.",
                       c->rank, n_rows);
    }
    if (c->basis >= QX_SENS_PREDICTED) {
        ui_explain_add(out, "KL(float32 || this) = %.5g nats a row", c->kl);
    }
    if (!isnan(c->accuracy)) {
        ui_explain_add(out, "accuracy there %.2f %%, %+.2f points; 90 %%: %.2f to %.2f %%",
                       100 * c->accuracy, 100 * c->delta, 100 * c->lo, 100 * c->hi);
    }
    return true;
}

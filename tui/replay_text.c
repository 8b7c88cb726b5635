#include "replay_text.h"

#include "gauge_text.h"

#include <stdio.h>

bool ui_replay_now(const struct ui_app *app, const struct qx_gauge *g, struct qx_replay_result *out)
{
    struct qx_session_replay replay;
    const bool is_open = g->state == QX_GAUGE_WAITING || g->state == QX_GAUGE_RUNNING;
    if (!is_open || !qx_session_replayed(app->session, &replay) || !replay.is_current) {
        return false;
    }
    *out = replay.result;
    return true;
}

char *ui_fmt_replay(char *buf, size_t cap, const struct qx_replay_result *r, bool brief)
{
    char points[UI_FIG];
    snprintf(buf, cap, brief ? "%s on %lld" : "%s on %lld rows", ui_fig_pair(points, &r->pair),
             (long long)r->n);
    return buf;
}

void ui_explain_replay(struct ui_explain *e, const struct ui_app *app, const struct qx_gauge *g)
{
    struct qx_replay_result r;
    if (!ui_replay_now(app, g, &r)) {
        return;
    }
    const struct qx_layer *layer = qx_net_layer(qx_session_net(app->session), r.from);
    ui_explain_add(e, "On %lld rows drawn by seed: FP32 right on %lld, this recipe on %lld",
                   (long long)r.n, (long long)r.fp32_correct, (long long)r.correct);
    ui_explain_add(e, "(%lld lost, %lld gained), KL %.3g: measured %s in %.1f ms.",
                   (long long)r.pair.lost, (long long)r.pair.gained, r.kl,
                   r.engine == QX_ENGINE_INTEGER ? "by the integer engine" : "by simulation",
                   1000 * r.time_s);
    if (r.is_suffix && layer) {
        ui_explain_add(e, "Only the layers from '%.60s' on were run: what lies before was kept.",
                       layer->name);
    }
    ui_explain_add(e, "All %lld rows are measured when the hand rests, or with e.",
                   (long long)g->n);
    ui_explain_add(e, " ");
}

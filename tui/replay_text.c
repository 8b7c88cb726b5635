#include "replay_text.h"

#include "gauge_text.h"

#include <math.h>
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

static bool is_words(const struct qx_replay_result *r)
{
    return !isnan(r->pair.increase);
}

char *ui_fmt_replay(char *buf, size_t cap, const struct qx_replay_result *r, enum ui_glyphs g,
                    bool brief)
{
    char change[UI_FIG];
    ui_fig_pair(change, &r->pair);
    if (brief) {
        snprintf(buf, cap, "%s on %lld", change, (long long)r->n);
    } else if (is_words(r)) {
        snprintf(buf, cap, "%s %s%.1f on %lld tokens", change, ui_plus_minus(g),
                 100 * r->pair.increase_error, (long long)r->n);
    } else {
        snprintf(buf, cap, "%s on %lld rows", change, (long long)r->n);
    }
    return buf;
}

char *ui_fmt_replay_long(char *buf, size_t cap, const struct qx_replay_result *r, enum ui_glyphs g)
{
    char said[64];
    ui_fmt_replay(said, sizeof(said), r, g, false);
    if (is_words(r)) {
        snprintf(buf, cap, "%s: %lld next tokens differ", said, (long long)r->pair.flips);
    } else {
        snprintf(buf, cap, "%s: %lld lost, %lld gained", said, (long long)r->pair.lost,
                 (long long)r->pair.gained);
    }
    return buf;
}

static void explain_words(struct ui_explain *e, const struct qx_replay_result *r,
                          enum ui_glyphs glyphs)
{
    const struct qx_eval_pair *p = &r->pair;
    ui_explain_add(e, "On %lld tokens of documents drawn by seed: -log p grows by %.5f %s%.5f,",
                   (long long)r->n, p->nll_delta, ui_plus_minus(glyphs), p->nll_error);
    ui_explain_add(e, "so perplexity by %+.3f %% %s%.3f; the likeliest next token is another one",
                   100 * p->increase, ui_plus_minus(glyphs), 100 * p->increase_error);
    ui_explain_add(e, "at %lld places.", (long long)p->flips);
}

static void explain_rows(struct ui_explain *e, const struct qx_replay_result *r)
{
    ui_explain_add(e, "On %lld rows drawn by seed: FP32 right on %lld, this recipe on %lld",
                   (long long)r->n, (long long)r->fp32_correct, (long long)r->correct);
    ui_explain_add(e, "(%lld lost, %lld gained).", (long long)r->pair.lost,
                   (long long)r->pair.gained);
}

void ui_explain_replay(struct ui_explain *e, const struct ui_app *app, const struct qx_gauge *g)
{
    struct qx_replay_result r;
    if (!ui_replay_now(app, g, &r)) {
        return;
    }
    const struct qx_layer *layer = qx_net_layer(qx_session_net(app->session), r.from);
    if (is_words(&r)) {
        explain_words(e, &r, app->glyphs);
    } else {
        explain_rows(e, &r);
    }
    ui_explain_add(e, "KL %.3g: measured %s in %.1f ms.", r.kl,
                   r.engine == QX_ENGINE_INTEGER ? "by the integer engine" : "by simulation",
                   1000 * r.time_s);
    if (r.is_suffix && layer) {
        ui_explain_add(e, "Only the layers from '%.60s' on were run: what lies before was kept.",
                       layer->name);
    }
    ui_explain_add(e, "All %lld %s are measured when the hand rests, or with e.", (long long)g->n,
                   g->is_words ? "tokens" : "rows");
    ui_explain_add(e, " ");
}

#include "compare_figures.h"

#include "gauge_text.h"
#include "qx/try.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL = 18 }; /* cells of the first column */

struct figures {
    const struct qx_eval_result *fp32, *a, *b;
    struct qx_totals totals_a, totals_b;
};

static void put_absolute(struct ui_canvas *c, int x, int y, int w, const struct qx_eval_result *r,
                         enum ui_glyphs g)
{
    char text[UI_FIG];
    if (r && r->nll) {
        ui_fig_real(text, r->perplexity, 5);
    } else if (r) {
        snprintf(text, sizeof(text), "%.2f %%", 100 * r->accuracy);
    } else {
        snprintf(text, sizeof(text), "%s", g == UI_GLYPHS_ASCII ? ".." : "…");
    }
    ui_put_right(c, x, y, w, r ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED, text);
}

static void put_f1(struct ui_canvas *c, int x, int y, int w, const struct qx_eval_result *r,
                   enum ui_glyphs g)
{
    char text[UI_FIG];
    if (r) {
        snprintf(text, sizeof(text), "%.4f", r->macro_f1);
    }
    ui_put_right(c, x, y, w, r ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED,
                 r                      ? text
                 : g == UI_GLYPHS_ASCII ? ".."
                                        : "…");
}

static bool pair_of(const struct qx_eval_result *a, const struct qx_eval_result *b,
                    struct qx_eval_pair *out)
{
    return a && b && qx_eval_compare(a, b, out, NULL) == QX_OK;
}

/* Rows whose class is another than FP32's; of a language model the share of tokens with the same likeliest one. */
static void put_flips(struct ui_canvas *c, int x, int y, int w, const struct qx_eval_result *fp32,
                      const struct qx_eval_result *r, enum ui_glyphs g)
{
    struct qx_eval_pair pair;
    char text[UI_FIG];
    bool known = pair_of(fp32, r, &pair);
    if (known && r->nll) {
        snprintf(text, sizeof(text), "%.2f %%", 100 * pair.agreement);
    } else if (known) {
        snprintf(text, sizeof(text), "%lld", (long long)pair.flips);
    } else {
        snprintf(text, sizeof(text), "%s", g == UI_GLYPHS_ASCII ? ".." : "…");
    }
    ui_put_right(c, x, y, w, known ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED, text);
}

static void put_change(struct ui_canvas *c, int x, int y, int w, double change, bool up_is_good,
                       const char *text)
{
    enum ui_style_id style = change == 0                  ? UI_STYLE_DIM
                             : (change > 0) == up_is_good ? UI_STYLE_GOOD
                                                          : UI_STYLE_BAD;
    ui_put_right(c, x, y, w, style, text);
}

static void put_engine(struct ui_canvas *c, int x, int y, int w, const struct qx_eval_result *r,
                       const struct qx_totals *t)
{
    ui_put_right(c, x, y, w, UI_STYLE_DIM,
                 !r                                 ? ""
                 : t->n_quantized == 0              ? "float32"
                 : r->engine == QX_ENGINE_INTEGER   ? "integer"
                 : r->engine == QX_ENGINE_PACKED    ? "packed"
                 : r->engine == QX_ENGINE_SIMULATED ? "simulated"
                                                    : "?");
}

static void draw_f1(struct ui_canvas *c, struct ui_rect r, int w, const struct figures *f,
                    enum ui_glyphs g)
{
    const struct qx_eval_result *const which[] = {f->fp32, f->a, f->b};
    char text[UI_FIG];
    ui_put(c, r.x, r.y, LABEL, UI_STYLE_NORMAL, "macro F1");
    for (int i = 0; i < 3; i++) {
        put_f1(c, r.x + LABEL + i * w, r.y, w, which[i], g);
    }
    if (f->a && f->b) {
        const double change = f->b->macro_f1 - f->a->macro_f1;
        snprintf(text, sizeof(text), "%+.4f", change);
        put_change(c, r.x + LABEL + 3 * w, r.y, w, change, true, change == 0 ? "0" : text);
    }
}

/* Of the shares of tokens with FP32's likeliest one: FP32's own, and what B has more than A. */
static void put_same_change(struct ui_canvas *c, int x, int y, int w, const struct figures *f)
{
    struct qx_eval_pair a, b;
    char text[UI_FIG];
    ui_put_right(c, x, y, w, UI_STYLE_DIM, "100 %");
    if (pair_of(f->fp32, f->a, &a) && pair_of(f->fp32, f->b, &b)) {
        const double d = b.agreement - a.agreement;
        snprintf(text, sizeof text, "%+.2f pt", 100 * d);
        put_change(c, x + 3 * w, y, w, d, true, d == 0 ? "0" : text);
    }
}

/* Rows drawn. */
static int draw_measured(struct ui_app *app, struct ui_canvas *c, struct ui_rect r, int w,
                         const struct figures *f)
{
    enum ui_glyphs g = app->glyphs;
    char text[UI_FIG];
    struct qx_eval_pair pair;
    int x = r.x + LABEL, y = r.y;
    const bool is_words = qx_net_is_words(qx_session_net(app->session));
    ui_put(c, r.x, y, LABEL, UI_STYLE_NORMAL, is_words ? "perplexity" : "accuracy");
    put_absolute(c, x, y, w, f->fp32, g);
    put_absolute(c, x + w, y, w, f->a, g);
    put_absolute(c, x + 2 * w, y, w, f->b, g);
    if (pair_of(f->a, f->b, &pair)) {
        const double change = is_words ? pair.increase : pair.delta;
        put_change(c, x + 3 * w, y, w, change, !is_words, ui_fig_pair(text, &pair));
    }
    y++;
    if (!is_words) {
        draw_f1(c, (struct ui_rect){r.x, y, r.w, 1}, w, f, g);
        y++;
    }
    ui_put(c, r.x, y, LABEL, UI_STYLE_NORMAL, is_words ? "same top token" : "rows unlike FP32");
    if (is_words) {
        put_same_change(c, x, y, w, f);
    }
    put_flips(c, x + w, y, w, f->fp32, f->a, g);
    put_flips(c, x + 2 * w, y, w, f->fp32, f->b, g);
    y++;
    ui_put(c, r.x, y, LABEL, UI_STYLE_NORMAL, "A and B differ on");
    if (pair_of(f->a, f->b, &pair)) {
        snprintf(text, sizeof(text), "%lld", (long long)pair.flips);
        ui_put_right(c, x + 2 * w, y, w, UI_STYLE_MEASURED, text);
        snprintf(text, sizeof(text), "-%lld +%lld", (long long)pair.lost, (long long)pair.gained);
        ui_put_right(c, x + 3 * w, y, w, UI_STYLE_DIM, text);
    }
    y++;
    ui_put(c, r.x, y, LABEL, UI_STYLE_NORMAL, "engine");
    ui_put_right(c, x, y, w, UI_STYLE_DIM, f->fp32 ? "float32" : "");
    put_engine(c, x + w, y, w, f->a, &f->totals_a);
    put_engine(c, x + 2 * w, y, w, f->b, &f->totals_b);
    return y + 1 - r.y;
}

/* What is known of a recipe beside FP32, one row of the table. */
struct beside_row {
    const char *title;
    bool up_is_good;
    bool is_share; /* shown in percent */
    double (*of)(const struct qx_beside *b);
    const char *fp32;
};

static double kld_mean(const struct qx_beside *b)
{
    return b->divergence.kld_mean;
}

static double kld_p99(const struct qx_beside *b)
{
    return b->divergence.kld_p99;
}

static double rms_delta_p(const struct qx_beside *b)
{
    return b->divergence.rms_delta_p;
}

static double cosine(const struct qx_beside *b)
{
    return b->agreement.cosine;
}

static double spearman(const struct qx_beside *b)
{
    return b->agreement.spearman;
}

static double same_nearest(const struct qx_beside *b)
{
    return b->agreement.same_top;
}

static const struct beside_row words_rows[] = {{"KL from FP32", false, false, kld_mean, "0"},
                                               {"KL, 99 %", false, false, kld_p99, "0"},
                                               {"RMS delta-p", false, true, rms_delta_p, "0 %"}};
static const struct beside_row embedding_rows[] = {
    {"embedding cosine", true, false, cosine, "1"},
    {"Spearman of pairs", true, false, spearman, "1"},
    {"same nearest row", true, true, same_nearest, "100 %"}};
enum { N_BESIDE = 3 };

static char *beside_text(char buf[UI_FIG], const struct beside_row *row, double x)
{
    if (row->is_share) {
        snprintf(buf, UI_FIG, "%.2f %%", 100 * x);
        return buf;
    }
    return ui_fig_real(buf, x, 4);
}

static void put_beside(struct ui_app *app, struct ui_canvas *c, struct ui_rect r, int w,
                       const struct beside_row *row, const struct qx_beside *const both[2])
{
    char text[UI_FIG], change[UI_FIG];
    const int x = r.x + LABEL;
    ui_put(c, r.x, r.y, LABEL, UI_STYLE_NORMAL, row->title);
    ui_put_right(c, x, r.y, w, UI_STYLE_DIM, row->fp32);
    for (int i = 0; i < 2; i++) {
        const char *shown = both[i] ? beside_text(text, row, row->of(both[i]))
                            : app->glyphs == UI_GLYPHS_ASCII ? ".."
                                                             : "…";
        ui_put_right(c, x + (i + 1) * w, r.y, w, both[i] ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED,
                     shown);
    }
    if (both[0] && both[1]) {
        const double d = row->of(both[1]) - row->of(both[0]);
        if (row->is_share) {
            snprintf(change, sizeof change, "%+.2f pt", 100 * d);
        } else {
            ui_fig_signed(change, d, 3);
        }
        put_change(c, x + 3 * w, r.y, w, d, row->up_is_good, d == 0 ? "0" : change);
    }
}

static bool is_embedding(const struct ui_app *app)
{
    const struct qx_net *net = qx_session_net(app->session);
    return net && strcmp(qx_net_task(net), "embedding") == 0;
}

/* Rows drawn, at most `most`. */
static int draw_beside(struct ui_app *app, struct ui_canvas *c, struct ui_rect r, int w, int most)
{
    const struct beside_row *rows = is_embedding(app) ? embedding_rows : words_rows;
    const struct qx_beside *const both[2] = {qx_session_beside(app->session, QX_WHICH_A),
                                             qx_session_beside(app->session, QX_WHICH_B)};
    const int n = most < N_BESIDE ? most : N_BESIDE;
    for (int i = 0; i < n; i++) {
        put_beside(app, c, (struct ui_rect){r.x, r.y + i, r.w, 1}, w, &rows[i], both);
    }
    return n;
}

/* Rows drawn. */
static int draw_evaluated(struct ui_app *app, struct ui_canvas *c, struct ui_rect r, int w,
                          const struct figures *f)
{
    const struct qx_net *net = qx_session_net(app->session);
    if (!net || !qx_session_data(app->session)) {
        ui_put(c, r.x, r.y, LABEL, UI_STYLE_NORMAL, "accuracy");
        ui_put(c, r.x + LABEL, r.y, r.w - LABEL, UI_STYLE_DIM,
               net ? qx_session_data_reason(app->session) : qx_session_net_reason(app->session));
        return 1;
    }
    if (is_embedding(app)) {
        return draw_beside(app, c, r, w, N_BESIDE);
    }
    const int n = draw_measured(app, c, (struct ui_rect){r.x, r.y, r.w, 5}, w, f);
    /* the tensors below keep a few rows */
    return n + (qx_net_is_words(net) ? draw_beside(app, c, (struct ui_rect){r.x, r.y + n, r.w, 0},
                                                   w, r.h >= 14 ? N_BESIDE : 1)
                                     : 0);
}

static void draw_size(struct ui_canvas *c, struct ui_rect r, int w, const struct figures *f)
{
    char text[UI_FIG], signed_text[UI_FIG + 2];
    const int x = r.x + LABEL;
    int y = r.y;
    ui_put(c, r.x, y, LABEL, UI_STYLE_NORMAL, "size");
    ui_put_right(c, x, y, w, UI_STYLE_NORMAL,
                 ui_fmt_bytes(text, sizeof(text), (double)f->totals_b.bytes_fp32));
    ui_put_right(c, x + w, y, w, UI_STYLE_NORMAL,
                 ui_fmt_bytes(text, sizeof(text), (double)f->totals_a.bytes));
    ui_put_right(c, x + 2 * w, y, w, UI_STYLE_NORMAL,
                 ui_fmt_bytes(text, sizeof(text), (double)f->totals_b.bytes));
    double change = (double)f->totals_b.bytes - (double)f->totals_a.bytes;
    snprintf(signed_text, sizeof(signed_text), "%s%s",
             change < 0   ? "-"
             : change > 0 ? "+"
                          : "",
             ui_fmt_bytes(text, sizeof(text), fabs(change)));
    put_change(c, x + 3 * w, y, w, change, false, signed_text);
    y++;
    ui_put(c, r.x, y, LABEL, UI_STYLE_NORMAL, "bits/weight");
    ui_put_right(c, x, y, w, UI_STYLE_NORMAL, "32.00");
    snprintf(text, sizeof(text), "%.2f", f->totals_a.bits_per_weight);
    ui_put_right(c, x + w, y, w, UI_STYLE_NORMAL, text);
    snprintf(text, sizeof(text), "%.2f", f->totals_b.bits_per_weight);
    ui_put_right(c, x + 2 * w, y, w, UI_STYLE_NORMAL, text);
    change = f->totals_b.bits_per_weight - f->totals_a.bits_per_weight;
    snprintf(text, sizeof(text), "%+.2f", change);
    put_change(c, x + 3 * w, y, w, change, false, change == 0 ? "0" : text);
}

int ui_compare_figures(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    static const char *const title[] = {"FP32", "A", "B", "B - A"};
    static const enum ui_style_id style[] = {UI_STYLE_HEADER, UI_STYLE_SIDE_A, UI_STYLE_SIDE_B,
                                             UI_STYLE_HEADER};
    struct figures f = {qx_session_result(app->session, QX_WHICH_FP32),
                        qx_session_result(app->session, QX_WHICH_A),
                        qx_session_result(app->session, QX_WHICH_B),
                        {0},
                        {0}};
    qx_session_totals_a(app->session, &f.totals_a);
    qx_session_totals(app->session, &f.totals_b);
    const int w = r.w >= 100 ? 16 : (r.w - LABEL) / 4;
    for (int i = 0; i < 4; i++) {
        ui_put_right(c, r.x + LABEL + i * w, r.y, w, style[i], title[i]);
    }
    const int n = draw_evaluated(app, c, (struct ui_rect){r.x, r.y + 1, r.w, r.h - 1}, w, &f);
    draw_size(c, (struct ui_rect){r.x, r.y + 1 + n, r.w, 2}, w, &f);
    return 1 + n + 2;
}

/* ---- behind `i` ---- */

static void explain_divergence(const char *side, const struct qx_beside *b, struct ui_explain *out)
{
    const struct qx_divergence *d = &b->divergence;
    ui_explain_add(out, "%s beside FP32: KL %.5f ±%.5f nats, 99 %% %.4f, largest %.3f;", side,
                   d->kld_mean, d->kld_error, d->kld_p99, d->kld_max);
    ui_explain_add(out, "   delta-p %+.3f %%, RMS %.3f %% ±%.3f; same top token %.2f %% ±%.2f",
                   100 * d->delta_p, 100 * d->rms_delta_p, 100 * d->rms_delta_p_error,
                   100 * d->same_top, 100 * d->same_top_error);
}

/* The tokens that lose most: the largest fall of their probability from A to B. */
static void explain_tokens(struct ui_app *app, const struct qx_eval_result *a,
                           const struct qx_eval_result *b, struct ui_explain *out)
{
    enum { MOST = 3 };
    int64_t worst[MOST];
    float fall[MOST];
    int n = 0;
    for (int64_t i = 0; i < a->n; i++) {
        const float f = expf(-a->nll[i]) - expf(-b->nll[i]);
        int at = n < MOST ? n : MOST;
        while (at > 0 && f > fall[at - 1]) {
            at--;
        }
        if (at == MOST || f <= 0.0f) {
            continue;
        }
        n = n < MOST ? n + 1 : n;
        for (int k = n - 1; k > at; k--) {
            fall[k] = fall[k - 1];
            worst[k] = worst[k - 1];
        }
        fall[at] = f;
        worst[at] = i;
    }
    for (int k = 0; k < n; k++) {
        char text[32];
        const int64_t i = worst[k];
        ui_explain_add(out, "token %lld '%s': p %.1f %% in A, %.1f %% in B", (long long)a->rows[i],
                       qx_session_token(app->session, a->label[i], text, sizeof text),
                       100 * exp(-(double)a->nll[i]), 100 * exp(-(double)b->nll[i]));
    }
}

void ui_compare_explain_words(struct ui_app *app, const struct qx_eval_result *a,
                              const struct qx_eval_result *b, struct ui_explain *out)
{
    const struct qx_beside *of_a = qx_session_beside(app->session, QX_WHICH_A);
    const struct qx_beside *of_b = qx_session_beside(app->session, QX_WHICH_B);
    if (of_a) {
        explain_divergence("A", of_a, out);
    }
    if (of_b) {
        explain_divergence("B", of_b, out);
    }
    explain_tokens(app, a, b, out);
}

bool ui_compare_explain_embedding(struct ui_app *app, struct ui_explain *out)
{
    static const char *const side[] = {"A", "B"};
    static const enum qx_which which[] = {QX_WHICH_A, QX_WHICH_B};
    if (!is_embedding(app)) {
        return false;
    }
    ui_explain_add(out,
                   "Each row's embedding beside FP32's, and the similarities (cosines) of all");
    ui_explain_add(out, "pairs of rows: their ranks (Spearman), and the most similar row of each.");
    for (int i = 0; i < 2; i++) {
        const struct qx_beside *b = qx_session_beside(app->session, which[i]);
        if (b) {
            const struct qx_agreement *g = &b->agreement;
            ui_explain_add(out, "%s: cosine %.5f, smallest %.5f; Spearman %.5f; same nearest row",
                           side[i], g->cosine, g->cosine_least, g->spearman);
            ui_explain_add(out, "   %.1f %% of %lld, 95 %% interval %.1f to %.1f",
                           100 * g->same_top, (long long)g->n, 100 * g->same_top_lo,
                           100 * g->same_top_hi);
        } else {
            ui_explain_add(out, "%s: being measured", side[i]);
        }
    }
    return true;
}

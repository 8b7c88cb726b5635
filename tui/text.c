/* Words for figures. */
#include "app.h"

#include "gauge_text.h"
#include "predict_text.h"
#include "replay_text.h"
#include "utf8.h"

#include <math.h>
#include <string.h>

char *ui_fmt_bytes(char *buf, size_t cap, double bytes)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    int u = 0;
    while (bytes >= 999.5 && u < 5) {
        bytes /= 1000;
        u++;
    }
    int digits = u == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2;
    snprintf(buf, cap, "%.*f %s", digits, bytes, unit[u]);
    return buf;
}

char *ui_fmt_count(char *buf, size_t cap, int64_t n)
{
    char digits[32];
    int len = snprintf(digits, sizeof(digits), "%lld", (long long)n);
    size_t used = 0;
    for (int i = 0; i < len && used + 2 < cap; i++) {
        bool comma = i > 0 && digits[i - 1] != '-' && (len - i) % 3 == 0;
        if (comma) {
            buf[used++] = ',';
        }
        buf[used++] = digits[i];
    }
    buf[used] = 0;
    return buf;
}

char *ui_fmt_shape(char *buf, size_t cap, const struct qx_tensor *t, enum ui_glyphs g)
{
    size_t used = 0;
    buf[0] = 0;
    for (int i = 0; i < t->rank && used < cap; i++) {
        used += (size_t)snprintf(buf + used, cap - used, "%s%lld", i ? ui_sym(g, UI_SYM_TIMES) : "",
                                 (long long)t->shape[i]);
    }
    if (t->rank == 0) {
        snprintf(buf, cap, "scalar");
    }
    return buf;
}

/* Shorten the segments between dots to `keep` letters, from the left, until the name fits. Numbers
 * stay: they tell layers apart. */
static void shorten_segments(char *name, int w, size_t keep)
{
    char *segment = name;
    while (ui_text_width(name) > w) {
        char *dot = strchr(segment, '.');
        if (!dot) {
            return; /* the last segment stays whole */
        }
        size_t len = (size_t)(dot - segment);
        bool is_plain = (segment[0] < '0' || segment[0] > '9') && (segment[keep] & 0xc0) != 0x80;
        if (len > keep && is_plain) {
            memmove(segment + keep, dot, strlen(dot) + 1);
            dot = segment + keep;
        }
        segment = dot + 1;
    }
}

/* Bytes of the first characters of text that fit in w cells. */
static size_t head_bytes(const char *text, int w)
{
    size_t at = 0, len = strlen(text);
    while (at < len) {
        int cp, n = ui_utf8_decode(text + at, len - at, &cp);
        int cells = cp < 0 ? 1 : ui_utf8_width(cp);
        w -= cells > 0 ? cells : 1;
        if (w < 0) {
            break;
        }
        at += (size_t)n;
    }
    return at;
}

/* The last characters of text that fit in w cells. */
static const char *tail_of(const char *text, int w)
{
    while (ui_text_width(text) > w) {
        int cp;
        text += ui_utf8_decode(text, strlen(text), &cp);
    }
    return text;
}

char *ui_fit_name(char *buf, size_t cap, const char *name, int w, enum ui_glyphs g)
{
    enum { SHORTENED = 200 }; /* longer ones keep nothing worth reading in their middle */
    char copy[SHORTENED + 1];
    w = w < 8 ? 8 : w;
    if (strlen(name) <= SHORTENED) {
        snprintf(copy, sizeof(copy), "%s", name);
        shorten_segments(copy, w, 3);
        shorten_segments(copy, w, 1);
        name = copy;
    }
    if (ui_text_width(name) <= w) {
        snprintf(buf, cap, "%s", name);
        return buf;
    }
    const char *dots = g == UI_GLYPHS_ASCII ? ".." : "\u2026";
    size_t head = head_bytes(name, w / 3);
    snprintf(buf, cap, "%.*s%s%s", (int)head, name, dots,
             tail_of(name, w - w / 3 - ui_text_width(dots)));
    return buf;
}

char *ui_fmt_value(char *buf, size_t cap, double v)
{
    if (isnan(v)) {
        snprintf(buf, cap, "?");
    } else {
        snprintf(buf, cap, v != 0 && (fabs(v) < 1e-4 || fabs(v) >= 1e6) ? "%.3e" : "%.4g", v);
    }
    return buf;
}

char *ui_fmt_percent(char *buf, size_t cap, double fraction)
{
    double p = 100 * fraction;
    snprintf(buf, cap, "%.*f %%", p == 0 || p >= 10 ? 1 : p >= 1 ? 2 : 3, p);
    return buf;
}

const char *ui_mark(enum qx_basis basis, enum ui_glyphs g)
{
    switch (basis) {
    case QX_BASIS_HISTOGRAM:
        return ui_sym(g, UI_SYM_APPROX);
    case QX_BASIS_SAMPLED:
        return ui_sym(g, UI_SYM_DOTS);
    case QX_BASIS_UNKNOWN:
        return "?";
    default:
        return "";
    }
}

char *ui_fmt_gauge(struct ui_app *app, char *buf, size_t cap, enum ui_style_id *style, bool brief)
{
    struct qx_gauge g;
    *style = UI_STYLE_DIM;
    buf[0] = 0;
    if (!app->session) {
        return buf;
    }
    qx_session_gauge(app->session, &g);
    char figure[96] = "";
    bool fresh = g.edits_since == 0;
    if (g.correct >= 0 && g.pair.n > 0) {
        ui_fmt_measured(figure, sizeof(figure), &g, app->glyphs, brief || !fresh);
        *style = fresh ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED;
    } else if (g.fp32_correct >= 0) {
        ui_fmt_fp32(figure, sizeof(figure), &g, brief);
        *style = UI_STYLE_MEASURED;
    }
    char said[64];
    ui_fmt_predicted(said, sizeof(said), &g, app->glyphs, brief);
    bool is_open =
        g.state == QX_GAUGE_WAITING || g.state == QX_GAUGE_RUNNING || g.state == QX_GAUGE_BASELINE;
    bool is_said = said[0] && is_open && qx_session_n_edits(app->session) > 0;
    if (is_said) {
        snprintf(figure, sizeof(figure), "%s", said);
        *style = UI_STYLE_PREDICTED;
        fresh = true;
    }
    struct qx_replay_result replay;
    if (ui_replay_now(app, &g, &replay)) {
        ui_fmt_replay(figure, sizeof(figure), &replay, app->glyphs, brief);
        *style = UI_STYLE_MEASURED;
        fresh = is_said = true;
    }
    bool edited = !is_said && g.correct < 0 && g.revision != qx_session_revision(app->session) &&
                  qx_session_n_edits(app->session) > 0;
    if (edited && figure[0]) {
        *style = UI_STYLE_PREDICTED;
        ui_fmt_fp32(figure, sizeof(figure), &g, true);
        const char *edits = g.state == QX_GAUGE_RUNNING ? ""
                            : brief                     ? ", edited"
                                                        : ", edits not measured";
        strncat(figure, edits, sizeof(figure) - strlen(figure) - 1);
    }
    switch (g.state) {
    case QX_GAUGE_DATA:
        snprintf(buf, cap, brief ? "own text %.0f %%" : "writing text of its own %.0f %%",
                 100 * g.progress);
        break;
    case QX_GAUGE_NONE:
        if (g.guess == QX_GUESS_RANK && qx_session_n_edits(app->session) > 0) {
            snprintf(buf, cap, brief ? "risk %s ?" : "risk %s ? (i: why)", ui_risk_name(g.risk));
        } else if (said[0]) {
            snprintf(buf, cap, "%s", said);
            *style = UI_STYLE_PREDICTED;
        } else {
            snprintf(buf, cap, brief ? "no accuracy" : "no accuracy (i: why)");
        }
        break;
    case QX_GAUGE_BASELINE:
        snprintf(buf, cap, "%s%s FP32 %.0f %%", is_said ? figure : "measuring", is_said ? "," : "",
                 100 * g.progress);
        break;
    case QX_GAUGE_FAILED:
        if (said[0] && qx_session_n_edits(app->session) > 0) { /* rows without labels */
            *style = UI_STYLE_PREDICTED;
            snprintf(buf, cap, "%s", said);
            break;
        }
        *style = UI_STYLE_BAD;
        snprintf(buf, cap, brief ? "not measured" : "not measured (i: why)");
        break;
    case QX_GAUGE_RUNNING:
        snprintf(buf, cap, "%s%s%s %.0f %%", figure, figure[0] ? ", " : "",
                 brief ? "meas." : "measuring", 100 * g.progress);
        break;
    case QX_GAUGE_WAITING:
    case QX_GAUGE_MEASURED:
        if (fresh || brief) {
            snprintf(buf, cap, "%s%s", figure, fresh ? "" : " stale");
        } else {
            snprintf(buf, cap, "%s, %d edit%s ago", figure, g.edits_since,
                     g.edits_since == 1 ? "" : "s");
        }
        break;
    }
    if (g.is_own_text) {
        strncat(buf, brief ? " own" : " (own text)", cap - strlen(buf) - 1);
    }
    return buf;
}

char *ui_fmt_format(char *buf, size_t cap, const struct qx_setting *s)
{
    if (!qx_setting_is_int(s)) {
        snprintf(buf, cap, "%s", s->format->title);
    } else if (s->act.bits > 0) {
        snprintf(buf, cap, "W%dA%d%s", s->bits, s->act.bits, s->act.dynamic ? "d" : "");
    } else {
        snprintf(buf, cap, "INT%d", s->bits);
    }
    return buf;
}

char *ui_fmt_job(struct ui_app *app, char *buf, size_t cap, const char *title)
{
    struct qx_job_info job;
    char left[UI_FIG];
    buf[0] = '\0';
    for (int i = 0; qx_session_job(app->session, i, &job); i++) {
        if (job.state == QX_JOB_RUNNING && job.total > 0 &&
            strncmp(job.title, title, strlen(title)) == 0) {
            ui_fig_time(left, job.eta_s);
            snprintf(buf, cap, ", %.0f %%%s%s%s", 100.0 * (double)job.done / (double)job.total,
                     left[0] ? ", " : "", left, left[0] ? " left" : "");
        }
    }
    return buf;
}

/* Which measurement would narrow the band of the prediction most, and running it. */
#include "base/fs.h"
#include "session/session_impl.h"

#include <math.h>

enum { K_BAND = 9, K_PRINTED = 19 };
static const double draw_limit_s =
    5; /* shorter ones run by themselves when nothing else is to do */

/* Random recipes until the band is one of measured residuals; 0 = none are wanted, or they come by
 * themselves. */
static int draws_wanted(const struct qx_session *s, int k)
{
    const struct qx_predictor *p = &s->predictor;
    const int n = (k < K_BAND ? K_BAND : K_PRINTED) - k, left = QX_POINTS_DRAWN - p->n_drawn;
    const bool can = p->is_complete && p->n_drawing == 0 && !isnan(s->measure.eval_time_s) &&
                     s->measure.eval_time_s >= draw_limit_s && qx_measure_has_truth(s);
    return can && n > 0 && left > 0 ? (n < left ? n : left) : 0;
}

void qx_session_next(struct qx_session *s, struct qx_next *out)
{
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    *out = (struct qx_next){.kind = QX_NEXT_NONE, .then = NAN};
    if (g.guess != QX_GUESS_PREDICTED || !g.predicted.has_value) {
        return;
    }
    out->now = 0.5 * (g.predicted.hi - g.predicted.lo);
    if (g.state == QX_GAUGE_WAITING && qx_measure_due(s, qx_clock_s()) < 0) {
        out->kind = QX_NEXT_RECIPE;
        out->n = 1;
        out->then = 0.0;
    } else {
        const double spread = qx_predict_anchors_spread(s->predictor.anchors);
        out->n = draws_wanted(s, g.predicted.n_points);
        out->kind = out->n > 0 ? QX_NEXT_BAND : QX_NEXT_NONE;
        out->then = fmax(out->now * spread / g.predicted.q, g.predicted.floor);
        out->then = isnan(spread) || g.predicted.q <= 0.0 ? NAN : out->then;
    }
    out->time_s = out->n * g.eval_time_s;
}

enum qx_next_kind qx_session_measure_next(struct qx_session *s)
{
    struct qx_next next;
    qx_session_next(s, &next);
    if (next.kind == QX_NEXT_RECIPE) {
        qx_session_measure(s);
    } else if (next.kind == QX_NEXT_BAND) {
        s->predictor.n_drawing = next.n;
        s->news |= QX_NEWS_GAUGE;
    }
    return next.kind;
}

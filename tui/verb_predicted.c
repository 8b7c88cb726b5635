/* A predicted outcome as the verbs say it. */
#include "verb.h"

#include <math.h>
#include <stdio.h>

/* Relative increase of perplexity. */
static double increase_of(double value)
{
    return 1.0 / value - 1.0;
}

void ui_predicted_json(struct qx_jw *w, const struct qx_prediction *p)
{
    const bool is_band = p->coverage == QX_PREDICT_90, has = p->has_value;
    const double lo = p->is_words ? increase_of(p->hi) : p->lo;
    const double hi = p->is_words ? increase_of(p->lo) : p->hi;
    const double value = p->is_words ? increase_of(p->value) : p->value;
    qx_jw_key(w, "predicted");
    qx_jw_object(w);
    qx_jw_key(w, "metric");
    qx_jw_str(w, !has ? "kl" : p->is_words ? "increase" : p->is_labelled ? "accuracy" : "same_top");
    qx_jw_put_num(w, "value", has ? value : p->kl);
    qx_jw_put_num(w, "lo", has ? lo : NAN);
    qx_jw_put_num(w, "hi", has ? hi : NAN);
    qx_jw_put_num(w, "coverage", is_band ? 0.9 : NAN); /* null until it can be promised */
    qx_jw_key(w, "band");
    qx_jw_str(w, qx_predict_coverage_name(p->coverage));
    qx_jw_key(w, "basis");
    qx_jw_str(w, "predicted");
    qx_jw_key(w, "n_measured");
    qx_jw_int(w, p->n_points);
    qx_jw_put_num(w, "change", !has ? NAN : p->is_words ? value : p->change);
    qx_jw_key(w, "within_noise");
    qx_jw_bool(w, p->is_within_noise);
    qx_jw_put_num(w, "kl", p->kl);
    qx_jw_put_num(w, "same_top", p->same_top);
    qx_jw_end(w);
}

void ui_predicted_print(const struct qx_prediction *p)
{
    if (!p->has_value) {
        printf("predicted: KL %.3g; fewer than %d rows give no percentage\n", p->kl,
               QX_PREDICT_ROWS_LEAST);
        return;
    }
    if (p->is_words) {
        printf("predicted: perplexity %+.2f %%%s, band %+.2f to %+.2f (%s, %d measured), KL %.3g\n",
               100 * increase_of(p->value), p->is_within_noise ? " (within noise)" : "",
               100 * increase_of(p->hi), 100 * increase_of(p->lo),
               qx_predict_coverage_name(p->coverage), p->n_points, p->kl);
        return;
    }
    printf("predicted: %s %.2f %% (%+.2f points%s), band %.2f to %.2f (%s, %d measured), KL %.3g\n",
           p->is_labelled ? "accuracy" : "agreement with FP32", 100 * p->value, 100 * p->change,
           p->is_within_noise ? ", within noise" : "", 100 * p->lo, 100 * p->hi,
           qx_predict_coverage_name(p->coverage), p->n_points, p->kl);
}

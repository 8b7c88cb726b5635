/* High-bias absorption (Nagel et al. 2019, arXiv 1906.04721, section 4.1.3). Where a channel hardly ever falls below
 * c > 0, its inputs are quantized without c, and W c is added behind the product: r(z - c) = r(z) - c for all z > c. The
 * range of the inputs need not hold what they all have, and the error of the weights meets smaller inputs.
 *
 * c = max(0, beta - 3 gamma) by the batch normalization right in front (0.135 % of a normal lie below); where there is
 * none, mean and deviation are those of the calibration rows. The shift stays with the layer that reads the inputs, so
 * that it gives what it gave, whatever its neighbours are. Windows padded with zeros would need -c there: they are left
 * alone. */
#include "method/method.h"

#include "qx/links.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>

/* By the batch normalization that a Relu alone parts from the inputs. QX_EUNSUPPORTED: there is none. */
static enum qx_status by_norm(const struct qx_method_work *w, double deviations, float *shift,
                              struct qx_error *err)
{
    const struct qx_net *net = w->target->net;
    struct qx_net_link link;
    struct qx_net_batchnorm b;
    enum qx_status st = qx_net_link(net, w->target->layer, &link, err);
    if (st != QX_OK) {
        return st;
    }
    const bool is_there = link.producer >= 0 && link.is_rectified && link.is_direct &&
                          qx_net_layer_batchnorm(net, link.producer, &b) && b.n == link.n_out;
    float *v = is_there ? qx_mem_array((size_t)b.n + 1, 2 * sizeof *v) : NULL;
    if (!v) {
        st = is_there ? qx_fail_nomem(err, (size_t)b.n * 2 * sizeof *v) : QX_EUNSUPPORTED;
    }
    if (st == QX_OK) {
        st = qx_tensor_read(qx_model_tensor(qx_net_model(net), b.beta), 0, b.n, v, err);
    }
    if (st == QX_OK) {
        st = qx_tensor_read(qx_model_tensor(qx_net_model(net), b.gamma), 0, b.n, v + b.n, err);
    }
    for (int64_t j = 0; st == QX_OK && j < link.n_in; j++) {
        const int64_t c = link.channel[j];
        shift[j] = (float)((double)v[c] - deviations * fabs((double)v[b.n + c]));
    }
    qx_mem_free(v);
    qx_net_link_release(&link);
    return st;
}

/* As the calibration rows have it, the places of a window together. */
static void by_rows(const struct qx_method_work *w, double deviations, float *shift)
{
    for (int64_t i = 0; i < w->groups * w->k / w->taps; i++) {
        double mean = 0.0, square = 0.0;
        for (int64_t t = i * w->taps; t < (i + 1) * w->taps; t++) {
            mean += (double)w->m->mean[t] / (double)w->taps;
            square += (double)w->m->second[t * w->k + t % w->k] / (double)w->taps;
        }
        shift[i] = (float)(mean - deviations * sqrt(fmax(square - mean * mean, 0.0)));
    }
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    const int64_t n = w->groups * w->k / w->taps;
    int64_t n_high = 0;
    if (w->target->product.is_padded) {
        qx_work_note(w, "absorbs nothing: zeros pad its windows");
        return QX_OK;
    }
    float *shift = qx_mem_array((size_t)n + 1, sizeof *shift);
    if (!shift) {
        return qx_fail_nomem(err, (size_t)n * sizeof *shift);
    }
    enum qx_status st = by_norm(w, param, shift, err);
    const bool is_norm = st == QX_OK;
    if (st == QX_EUNSUPPORTED) {
        by_rows(w, param, shift);
        st = QX_OK;
    }
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        shift[i] = shift[i] > 0.0f && isfinite(shift[i]) ? shift[i] : 0.0f;
        n_high += shift[i] > 0.0f;
    }
    if (st != QX_OK || n_high == 0) {
        qx_mem_free(shift);
        if (st == QX_OK) {
            qx_work_note(w, "no channel has a high bias");
        }
        return st;
    }
    w->in_shift = shift;
    qx_work_note(w, "biases of %lld of %lld channels absorbed, by %s", (long long)n_high,
                 (long long)n, is_norm ? "batch norm" : "calibration rows");
    return w->bias ? QX_OK : qx_work_correct(w, shift, w->taps, err); /* else of all the mean */
}

const struct qx_method qx_method_absorb = {
    .name = "absorb",
    .title = "absorb",
    .help = "Quantizes inputs without what a channel always has: high biases (1906.04721, 4.1.3).",
    .key = 'h',
    .stage = QX_STAGE_AFTER,
    .needs_inputs = true,
    .param = "a number of deviations",
    .param_default = 3.0,
    .param_lo = 0.0,
    .param_hi = 10.0,
    .refuse = qx_refuse_no_inputs,
    .run = run,
};

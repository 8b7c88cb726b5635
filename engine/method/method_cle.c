/* Cross-layer equalization (Nagel et al. 2019, arXiv 1906.04721, section 4.1): equal.c finds the factors. */
#include "method/equal.h"
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

static enum qx_status copy(const float *from, int64_t n, float **out, struct qx_error *err)
{
    if (!from) {
        return QX_OK;
    }
    *out = qx_mem_array((size_t)n + 1, sizeof **out);
    if (!*out) {
        return qx_fail_nomem(err, (size_t)n * sizeof **out);
    }
    memcpy(*out, from, (size_t)n * sizeof **out);
    return QX_OK;
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    const struct qx_equal_factors *f = &w->equal->v[w->target->layer];
    (void)param;
    enum qx_status st = copy(f->in, w->groups * w->k / w->taps, &w->in_scale, err);
    if (st == QX_OK) {
        st = copy(f->out, w->groups * w->n, &w->out_scale, err);
    }
    if (st != QX_OK) {
        return st;
    }
    if (!f->in && !f->out) {
        qx_work_note(w, "CLE: no neighbour takes factors up");
        return QX_OK;
    }
    w->is_folded = true;
    st = qx_work_calibrate(w, err);
    if (st == QX_OK) {
        qx_work_round(w);
        qx_work_note(w, "CLE with %d layer%s%s", f->n_links, f->n_links == 1 ? "" : "s",
                     f->has_batchnorm ? ", batch norm taken in" : "");
    }
    return st;
}

const struct qx_method qx_method_cle = {
    .name = "cle",
    .title = "CLE",
    .help =
        "Equalizes the weights of neighbours that both name it, channel by channel (1906.04721).",
    .key = 'c',
    .stage = QX_STAGE_SCALE,
    .claims = QX_CLAIM_INPUTS,
    .refuse = qx_refuse_no_inputs,
    .run = run,
};

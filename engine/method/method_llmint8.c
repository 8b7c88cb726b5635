/* LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339, section 3.2): inputs with values beyond a threshold
 * are multiplied in 16-bit floats beside the integers; and AWQ's first observation (2306.00978, section
 * 3.1): keeping the weights of the 1 % largest inputs in 16 bits saves most of the accuracy. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

static enum qx_status kept_begin(struct qx_method_work *w, struct qx_error *err)
{
    w->is_kept = qx_mem_zalloc((size_t)w->k + 1);
    return w->is_kept ? QX_OK : qx_fail_nomem(err, (size_t)w->k);
}

static void kept_end(struct qx_method_work *w, const char *name, int64_t n)
{
    qx_work_units(w);
    qx_work_round(w);
    qx_work_note(w, "%s keeps %lld of %lld inputs", name, (long long)n, (long long)w->k);
}

static enum qx_status int8_run(struct qx_method_work *w, double param, struct qx_error *err)
{
    int64_t n = 0;
    enum qx_status st = kept_begin(w, err);
    for (int64_t j = 0; st == QX_OK && j < w->k; j++) {
        w->is_kept[j] = (double)fmaxf(-w->m->lo[j], w->m->hi[j]) >= param;
        n += w->is_kept[j];
    }
    if (st == QX_OK) {
        kept_end(w, "LLM.int8", n);
    }
    return st;
}

static int falling(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static enum qx_status salient_run(struct qx_method_work *w, double param, struct qx_error *err)
{
    const int64_t most = (int64_t)ceil(param / 100.0 * (double)w->k);
    float *sorted = qx_mem_array((size_t)w->k + 1, sizeof *sorted);
    enum qx_status st = sorted ? kept_begin(w, err) : qx_fail_nomem(err, (size_t)w->k);
    int64_t n = 0;
    for (int64_t j = 0; st == QX_OK && j < w->k; j++) {
        sorted[j] = w->m->mean_abs[j];
    }
    if (st == QX_OK) {
        qsort(sorted, (size_t)w->k, sizeof *sorted, falling);
        for (int64_t j = 0; j < w->k && n < most; j++) {
            w->is_kept[j] = w->m->mean_abs[j] >= sorted[most - 1];
            n += w->is_kept[j];
        }
        kept_end(w, "salient", n);
    }
    qx_mem_free(sorted);
    return st;
}

static const char *salient_refuse(const struct qx_method_target *t)
{
    return !t->has_product        ? "it multiplies no inputs that could be looked at"
           : t->product.input < 0 ? "columns of a convolution's windows cannot be kept apart"
                                  : NULL;
}

static const char *int8_refuse(const struct qx_method_target *t)
{
    return salient_refuse(t) ? salient_refuse(t)
           : t->set->act.bits == 0
               ? "its inputs stay float32: quantize them too (--act-bits 8 or --dynamic)"
               : NULL;
}

const struct qx_method qx_method_llmint8 = {
    .name = "llm-int8",
    .title = "LLM.int8",
    .help = "Inputs beyond a threshold are multiplied in 16-bit floats beside the integers "
            "(2208.07339).",
    .key = 'l',
    .stage = QX_STAGE_SCALE,
    .claims = QX_CLAIM_COLUMNS,
    .needs_inputs = true,
    .param = "a threshold",
    .param_default = 6.0,
    .param_lo = 0.0,
    .param_hi = 1e6,
    .refuse = int8_refuse,
    .run = int8_run,
};
const struct qx_method qx_method_salient = {
    .name = "salient",
    .title = "salient",
    .help = "The weights of the largest inputs, 1 % of them, stay 16-bit floats (2306.00978, 3.1).",
    .key = '1',
    .stage = QX_STAGE_SCALE,
    .claims = QX_CLAIM_COLUMNS,
    .needs_inputs = true,
    .param = "a percentage",
    .param_default = 1.0,
    .param_lo = 0.01,
    .param_hi = 100.0,
    .refuse = salient_refuse,
    .run = salient_run,
};

/* A prediction in the caller's thread: only what the recipe needs is measured. */
#include "base/error.h"
#include "base/mem.h"
#include "session/predictor_task.h"

#include <math.h>

/* All that the recipe needs, entry by entry. */
static enum qx_status entries_all(struct qx_build_task *b, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_predict_spec spec;
    do {
        qx_build_entries(b);
        if (b->n_failures > 0) {
            *err = b->why;
            return b->why.status;
        }
        if (qx_cancel_test(ctl)) {
            return qx_fail(err, QX_ECANCELLED, "the prediction was cancelled");
        }
    } while (qx_predict_next(b->table, b->s->net, &b->want, &spec));
    return QX_OK;
}

/* Anchors, and the composition of the recipe. */
static enum qx_status compose(struct qx_build_task *b, const struct qx_setting *set,
                              struct qx_ctl *ctl, struct qx_predict_mix **out, struct qx_error *err)
{
    struct qx_session *s = b->s;
    const int n = qx_net_n_layers(s->net);
    const struct qx_predict_mix_options o = {.seed = s->seed};
    enum qx_status st = qx_predict_probe_change(b->probe, set, s->pool, ctl, b->change, err);
    if (st == QX_OK) {
        /* points speak of all rows */
        const bool is_all = b->scale.n == qx_dataset_n(s->data);
        st = qx_predict_anchors_new(b->table, &o, &b->scale, s->predictor.points,
                                    is_all ? s->predictor.n_points : 0, ctl, &b->anchors, err);
    }
    if (st == QX_OK) {
        st = qx_predict_mix_new(b->table, &o, out, err);
    }
    for (int l = 0; st == QX_OK && l < n; l++) {
        qx_predict_mix_set(*out, l, &b->change[l]);
    }
    return st;
}

static enum qx_status predict(struct qx_build_task *b, const struct qx_eval_options *options,
                              const bool *also, struct qx_ctl *ctl, struct qx_predict_mix **out,
                              struct qx_error *err)
{
    struct qx_session *s = b->s;
    const int n = qx_net_n_layers(s->net);
    struct qx_eval_result *r = NULL;
    bool *only = qx_mem_zalloc((size_t)n + 1);
    b->set = qx_mem_array((size_t)n + 1, sizeof *b->set);
    b->change = qx_mem_zalloc(((size_t)n + 1) * sizeof *b->change);
    enum qx_status st = only && b->set && b->change ? QX_OK : qx_fail_nomem(err, (size_t)n);
    for (int l = 0; st == QX_OK && l < n; l++) {
        b->set[l] = qx_setting_fp32();
    }
    if (st == QX_OK && qx_measure_has_truth(s)) {
        st = qx_measure_run(s, b->set, options, ctl, &r, err);
    }
    b->scale = qx_measure_scale(s, r);
    /* not by the clock: every run shall come to the same rows */
    const double pass_s = qx_build_pass_s(s, b->scale.n);
    b->rows = qx_build_rows_first(
        s, &b->scale, b->scale.is_words ? pass_s / (double)qx_net_sample_size(s->net) : pass_s);
    b->rows = b->rows < QX_PREDICT_ROWS ? b->rows : qx_build_rows_goal(s, &b->scale);
    b->key = qx_predictor_key(s, b->rows);
    for (int l = 0; st == QX_OK && l < n; l++) {
        b->set[l] = s->now.set[qx_net_layer(s->net, l)->tensor];
        only[l] = !qx_setting_is_fp32(&b->set[l]) || (also && also[l]);
    }
    b->want = (struct qx_predict_want){QX_PREDICT_LITE, false, qx_build_any_act(s), -1, NULL, only};
    b->is_without_act = !b->want.is_act_urgent;
    if (st == QX_OK) {
        st = qx_build_start(b, err);
    }
    if (st == QX_OK) {
        st = entries_all(b, ctl, err);
    }
    if (st == QX_OK) {
        st = compose(b, b->set, ctl, out, err);
    }
    qx_eval_result_free(r);
    qx_mem_free(only);
    return st;
}

enum qx_status qx_build_batch(struct qx_session *s, const struct qx_eval_options *options,
                              const bool *also, struct qx_ctl *ctl, struct qx_build_task **out,
                              struct qx_predict_mix **mix, struct qx_error *err)
{
    struct qx_error why = {.offset = -1};
    *out = NULL;
    *mix = NULL;
    if (!s->net || !s->data) {
        why = s->net ? s->data_error : s->net_error;
        if (err) {
            *err = why;
        }
        return why.status;
    }
    enum qx_status st = qx_session_run_resolve(s, ctl, &why);
    struct qx_build_task *b = st == QX_OK ? qx_mem_zalloc(sizeof *b) : NULL;
    if (st == QX_OK && !b) {
        st = qx_fail_nomem(&why, sizeof *b);
    }
    if (b && s->is_batch && s->predictor.n_points == 0) {
        qx_predictor_load(s);
    }
    if (b) {
        b->s = s;
        b->task.ctl.parent = ctl;
        b->task.ctl.is_quiet = true;
        st = predict(b, options, also, ctl, mix, &why);
    }
    *out = b;
    if (st != QX_OK && err) {
        *err = why;
    }
    return st;
}

/* P row by row under the composition. */
static enum qx_status leads(const struct qx_build_task *b, const struct qx_predict_mix *mix,
                            struct qx_lead *rows, int64_t *n_rows, struct qx_error *err)
{
    const struct qx_predict_base *base = qx_predict_table_base(b->table);
    const int64_t n = qx_predict_base_n(base);
    const size_t n_z = (size_t)n * (size_t)qx_predict_base_n_classes(base);
    float *z = qx_mem_array(n_z, sizeof *z);
    if (!z) {
        return qx_fail_nomem(err, n_z * sizeof *z);
    }
    qx_predict_mix_logits(mix, z);
    qx_predict_leads(base, z, rows);
    for (int64_t i = 0; i < n; i++) {
        rows[i].label = qx_dataset_label(b->s->data, rows[i].row);
    }
    *n_rows = n;
    qx_mem_free(z);
    return QX_OK;
}

enum qx_status qx_session_run_predict(struct qx_session *s, const struct qx_eval_options *options,
                                      struct qx_ctl *ctl, struct qx_prediction *out,
                                      struct qx_lead *rows, int64_t *n_rows, struct qx_error *err)
{
    struct qx_build_task *b;
    struct qx_predict_mix *mix;
    enum qx_status st = qx_build_batch(s, options, NULL, ctl, &b, &mix, err);
    if (st == QX_OK && rows) {
        st = leads(b, mix, rows, n_rows, err);
    }
    if (st == QX_OK) {
        qx_predict_anchors_ask(b->anchors, mix, out);
    }
    qx_predict_mix_free(mix);
    if (b) {
        qx_build_drop(&b->task);
    }
    return st;
}

/* Tables of formats in the caller's thread. */
#include "session/formats.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/predictor_task.h"

#include <math.h>
#include <string.h>

enum { PASSES = 4 }; /* over the values of a row, about */

struct batch {
    struct qx_session *s;
    const int64_t *items;
    int64_t n;
    struct qx_ctl *ctl;
    struct qx_formats_row *rows; /* [n][QX_FORMATS_MOST] */
    int n_rows;
    struct qx_moments *moments;
    struct qx_formats_state *state;
};

static int layer_of(const struct batch *b, int64_t i)
{
    return b->s->net ? qx_net_layer_of_tensor(b->s->net, b->items[i]) : -1;
}

/* Failing to look at inputs leaves a column empty, and says why. */
static enum qx_status inputs_look(struct batch *b, int layer, bool *fits, struct qx_error *err)
{
    struct qx_error why;
    struct qx_ctl quiet = {.parent = b->ctl, .is_quiet = true};
    *fits = layer >= 0 && b->moments && qx_formats_same_inputs(b->s->net, layer, b->moments);
    if (layer < 0 || *fits) {
        return QX_OK;
    }
    qx_moments_free(b->moments);
    b->moments = NULL;
    const enum qx_status st = qx_formats_moments(b->s, layer, &quiet, &b->moments, &why);
    if (st == QX_ECANCELLED || st == QX_ENOMEM) {
        *err = why;
        return st;
    }
    *fits = st == QX_OK;
    if (st != QX_OK) {
        qx_str_copy(b->state->output_reason, sizeof b->state->output_reason, why.text);
    }
    return QX_OK;
}

static enum qx_status row_make(struct batch *b, int64_t item, bool fits, struct qx_formats_row *row,
                               struct qx_error *err)
{
    struct qx_session *s = b->s;
    const struct qx_item *it = &s->items.v[item];
    const struct qx_hist *hist = NULL;
    struct qx_ctl quiet = {.parent = b->ctl, .is_quiet = true};
    enum qx_status st = QX_OK;
    if (qx_formats_wants_hist(&row->set)) {
        const struct qx_hist_spec spec = qx_setting_spec(&row->set, it->channels);
        st = qx_cache_build(s, item, &spec, &quiet, &hist, err);
    }
    if (st == QX_OK) {
        b->state->is_diagonal = b->state->is_diagonal || (!fits && it->importance);
        st = qx_formats_row_make(it, hist, fits ? b->moments : NULL, !fits, s->pool, &quiet, row,
                                 err);
    }
    qx_ctl_add(b->ctl, PASSES * it->tensor->numel);
    return st;
}

static enum qx_status item_make(struct batch *b, int64_t i, struct qx_error *err)
{
    const int64_t item = b->items[i];
    struct qx_formats_row *rows = b->rows + i * QX_FORMATS_MOST;
    bool fits;
    enum qx_status st = inputs_look(b, layer_of(b, i), &fits, err);
    for (int k = 0; st == QX_OK && k < b->n_rows; k++) {
        st = row_make(b, item, fits, &rows[k], err);
        if (st == QX_EDATA) {
            qx_error_context(err, "'%.100s'", b->s->items.v[item].tensor->name);
        }
    }
    if (st == QX_OK) {
        qx_formats_front(rows, b->n_rows);
        qx_model_dontneed(b->s->model, b->s->items.v[item].tensor);
    }
    return st;
}

/* ---- predictions ---- */

static void layer_ask(struct batch *b, int64_t i, const struct qx_predict_anchors *anchors,
                      struct qx_predict_mix *mix)
{
    const int layer = layer_of(b, i);
    struct qx_formats_row *rows = b->rows + i * QX_FORMATS_MOST;
    if (layer < 0) {
        return;
    }
    const struct qx_predict_layer before = *qx_predict_mix_layer(mix, layer);
    for (int k = 0; k < b->n_rows; k++) {
        const struct qx_predict_layer change = qx_formats_change(&rows[k], &before);
        qx_predict_mix_set(mix, layer, &change);
        qx_predict_anchors_ask(anchors, mix, &rows[k].predicted);
        rows[k].has_prediction = rows[k].predicted.sum.n_missing == 0;
    }
    qx_predict_mix_set(mix, layer, &before);
}

static enum qx_status predict(struct batch *b, struct qx_error *err)
{
    struct qx_session *s = b->s;
    struct qx_build_task *task;
    struct qx_predict_mix *mix;
    struct qx_error why = {.offset = -1};
    const size_t n = s->net ? (size_t)qx_net_n_layers(s->net) : 0;
    bool *also = qx_mem_zalloc(n + 1);
    if (!also) {
        return qx_fail_nomem(err, n + 1);
    }
    for (int64_t i = 0; i < b->n; i++) {
        if (layer_of(b, i) >= 0) {
            also[layer_of(b, i)] = true;
        }
    }
    enum qx_status st = qx_build_batch(s, NULL, also, b->ctl, &task, &mix, &why);
    for (int64_t i = 0; st == QX_OK && i < b->n; i++) {
        layer_ask(b, i, task->anchors, mix);
    }
    qx_predict_mix_free(mix);
    if (task) {
        qx_build_drop(&task->task);
    }
    qx_mem_free(also);
    if (st == QX_ECANCELLED || st == QX_ENOMEM) {
        *err = why;
        return st;
    }
    if (st != QX_OK) {
        qx_str_copy(b->state->predict_reason, sizeof b->state->predict_reason, why.text);
    }
    return QX_OK;
}

static void rows_begin(struct batch *b, const struct qx_setting *base)
{
    int64_t total = 0;
    for (int64_t i = 0; i < b->n; i++) {
        b->n_rows = qx_formats_rows(base ? base : &b->s->now.set[b->items[i]],
                                    b->rows + i * QX_FORMATS_MOST);
        total += PASSES * b->n_rows * b->s->items.v[b->items[i]].tensor->numel;
    }
    if (b->ctl) {
        atomic_store(&b->ctl->done, 0);
        qx_ctl_total(b->ctl, total);
    }
}

enum qx_status qx_session_run_formats(struct qx_session *s, const int64_t *items, int64_t n,
                                      const struct qx_setting *base, struct qx_ctl *ctl,
                                      struct qx_formats_row *rows, int *n_rows,
                                      struct qx_formats_state *state, struct qx_error *err)
{
    struct batch b = {.s = s, .items = items, .n = n, .ctl = ctl, .rows = rows, .state = state};
    enum qx_status st = QX_OK;
    *state = (struct qx_formats_state){0};
    if (!s->net) {
        qx_str_copy(state->output_reason, sizeof state->output_reason, s->net_error.text);
    }
    rows_begin(&b, base);
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        st = item_make(&b, i, err);
    }
    qx_moments_free(b.moments);
    if (st == QX_OK) {
        st = predict(&b, err);
    }
    state->n = b.n_rows;
    state->n_known = st == QX_OK ? b.n_rows : 0;
    state->has_inputs = !state->output_reason[0];
    *n_rows = b.n_rows;
    return st;
}

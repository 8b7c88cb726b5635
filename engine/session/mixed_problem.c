/* From the map to an allocation problem. */
#include "session/mixed_impl.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

static const char *const mode_name[] = {"dp", "greedy", "closed-form"};

enum qx_status qx_mixed_mode_find(const char *name, enum qx_mixed_mode *out, struct qx_error *err)
{
    for (int i = 0; i <= QX_MIXED_CLOSED; i++) {
        if (strcmp(name, mode_name[i]) == 0) {
            *out = (enum qx_mixed_mode)i;
            return QX_OK;
        }
    }
    return qx_fail(err, QX_ENAME, "unknown mode '%.40s': choose dp, greedy or closed-form", name);
}

const char *qx_mixed_mode_name(enum qx_mixed_mode mode)
{
    return mode_name[mode];
}

struct qx_mixed_options qx_mixed_options_default(void)
{
    const double none = (double)INFINITY;
    return (struct qx_mixed_options){.max_bytes = none, .max_bpw = none, .max_latency_ms = none};
}

struct qx_setting qx_mixed_setting(const struct qx_sens *map, const struct qx_setting *now,
                                   int layer, int column)
{
    if (column < 0) {
        return now[layer];
    }
    struct qx_setting s = *qx_sens_setting(map, layer, column);
    if (s.format->kind == QX_FORMAT_AFFINE) {
        s.act = now[layer].act;
    }
    return s;
}

struct qx_predict_layer qx_mixed_change(const struct qx_mixed_input *in, int layer, int column)
{
    if (column < 0) {
        return in->change[layer];
    }
    struct qx_predict_layer c = *qx_sens_change(in->map, layer, column);
    if (qx_sens_setting(in->map, layer, column)->format->kind == QX_FORMAT_AFFINE) {
        c.t[QX_SITE_A] = in->change[layer].t[QX_SITE_A];
        c.key[QX_SITE_A] = in->change[layer].key[QX_SITE_A];
    }
    return c;
}

bool qx_mixed_is_on(const struct qx_sens *map, int layer)
{
    for (int c = 0; c < qx_sens_n_columns(map); c++) {
        if (qx_sens_cell_at(map, layer, c)->basis != QX_SENS_NONE) {
            return true;
        }
    }
    return false;
}

/* ---- the tables ---- */

static bool is_free(const struct qx_mixed_input *in, int layer)
{
    return qx_mixed_is_on(in->map, layer) && !(in->options->keep && in->options->keep[layer]);
}

static enum qx_status room_make(struct qx_mixed_problem *p, struct qx_error *err)
{
    const struct qx_mixed_input *in = p->in;
    for (int c = 0; c < qx_sens_n_columns(in->map); c++) {
        if (qx_sens_column_at(in->map, c)->site == QX_SITE_W) {
            p->column[p->alloc.n_choices++] = c;
        }
    }
    const int *tie = in->options->tie ? in->options->tie : in->tie;
    const int rows = qx_sens_n_layers(in->map);
    const size_t cells = ((size_t)rows + 1) * (size_t)(p->alloc.n_choices + 1);
    p->layer = qx_mem_array((size_t)rows + 1, sizeof *p->layer);
    p->tie = qx_mem_array((size_t)rows + 1, sizeof *p->tie);
    p->cost = qx_mem_zalloc(cells * sizeof *p->cost);
    p->score = qx_mem_zalloc(cells * sizeof *p->score);
    p->bytes = qx_mem_zalloc(cells * sizeof *p->bytes);
    if (!p->layer || !p->tie || !p->cost || !p->score || !p->bytes) {
        return qx_fail_nomem(err, cells * sizeof *p->cost);
    }
    for (int i = 0; i < rows; i++) {
        if (is_free(in, i)) {
            p->tie[p->alloc.n_sites] = tie ? tie[i] : -1;
            p->layer[p->alloc.n_sites++] = i;
        }
    }
    return p->alloc.n_sites > 0 && p->alloc.n_choices > 0
               ? QX_OK
               : qx_fail(err, QX_EDATA, "there is no layer left to choose bits for");
}

static void cells_fill(struct qx_mixed_problem *p)
{
    const struct qx_mixed_input *in = p->in;
    for (int i = 0; i < p->alloc.n_sites; i++) {
        for (int c = 0; c < p->alloc.n_choices; c++) {
            const int at = i * p->alloc.n_choices + c, layer = p->layer[i], column = p->column[c];
            const struct qx_sens_layer *l = &in->layers[layer];
            const struct qx_setting *s = qx_sens_setting(in->map, layer, column);
            const struct qx_sens_cell *cell = qx_sens_cell_at(in->map, layer, column);
            p->bytes[at] = (double)qx_setting_tensor_bytes(s, l->tensor, l->channels);
            p->cost[at] = in->options->by_latency
                              ? in->latency_ms[layer * qx_sens_n_columns(in->map) + column]
                              : p->bytes[at];
            p->score[at] = p->is_rank ? cell->proxy : cell->kl;
        }
    }
}

/* The tightest limit in the unit of the cost; those in another unit are looked at afterwards. */
static double limit_of(const struct qx_mixed_input *in)
{
    const struct qx_mixed_options *o = in->options;
    if (o->by_latency) {
        return o->max_latency_ms - in->rest_ms;
    }
    return fmin(o->max_bytes - in->rest_bytes, o->max_bpw * in->n_float / 8 - in->rest_float_bytes);
}

static bool any_rank(const struct qx_mixed_problem *p)
{
    for (int i = 0; i < p->alloc.n_sites; i++) {
        for (int c = 0; c < p->alloc.n_choices; c++) {
            if (qx_sens_cell_at(p->in->map, p->layer[i], p->column[c])->basis < QX_SENS_PREDICTED) {
                return true;
            }
        }
    }
    return false;
}

/* Values are about the evaluation data, or about P as long as float32 was not measured there. */
static struct qx_predict_scale scale_of(const struct qx_mixed_input *in)
{
    const struct qx_predict_base *base = qx_predict_table_base(in->table);
    return isnan(in->scale.fp32_accuracy) && qx_predict_base_has_labels(base)
               ? qx_predict_scale_of(base)
               : in->scale;
}

enum qx_status qx_mixed_problem_make(const struct qx_mixed_input *in, struct qx_mixed_problem *out,
                                     struct qx_error *err)
{
    struct qx_mixed_problem p = {.in = in};
    const struct qx_predict_mix_options one = {.members = 1}, all = {.seed = in->seed};
    enum qx_status st = room_make(&p, err);
    if (st == QX_OK) {
        p.is_rank = !in->table || any_rank(&p);
        cells_fill(&p);
        p.limit = limit_of(in);
        p.alloc.cost = p.cost;
        p.alloc.score = p.score;
        p.alloc.tie = p.tie;
    }
    if (st == QX_OK && !p.is_rank) {
        st = qx_predict_mix_new(in->table, &one, &p.quick, err);
    }
    if (st == QX_OK && !p.is_rank) {
        st = qx_predict_mix_new(in->table, &all, &p.full, err);
    }
    if (st == QX_OK && !p.is_rank) {
        const struct qx_predict_scale scale = scale_of(in);
        st = qx_predict_anchors_new(in->table, &all, &scale, in->points, in->n_points, NULL,
                                    &p.scale, err);
    }
    for (int i = 0; st == QX_OK && p.full && i < qx_sens_n_layers(in->map); i++) {
        const struct qx_predict_layer now = in->change[i];
        qx_predict_mix_set(p.quick, i, &now);
        qx_predict_mix_set(p.full, i, &now);
    }
    if (st != QX_OK) {
        qx_mixed_problem_release(&p);
        return st;
    }
    *out = p;
    return QX_OK;
}

void qx_mixed_problem_release(struct qx_mixed_problem *p)
{
    qx_predict_mix_free(p->quick);
    qx_predict_mix_free(p->full);
    qx_predict_anchors_unref(p->scale);
    qx_mem_free(p->layer);
    qx_mem_free(p->tie);
    qx_mem_free(p->cost);
    qx_mem_free(p->score);
    qx_mem_free(p->bytes);
}

/* ---- greedy and closed form ---- */

/* Sensitivity at the width nearest 4 bits: harm for each unit of squared error of a weight,
 * s = k / (t^2 n (v + mean^2)). */
static enum qx_status closed(const struct qx_mixed_problem *p, double budget, uint8_t *choice,
                             struct qx_error *err)
{
    const size_t n = (size_t)p->alloc.n_sites;
    double bits[QX_SENS_COLUMNS], *sensitivity = qx_mem_array(n, sizeof *sensitivity);
    double *variance = qx_mem_array(n, sizeof *variance);
    int mid = 0;
    for (int c = 0; c < p->alloc.n_choices; c++) {
        bits[c] = qx_sens_column_at(p->in->map, p->column[c])->bits;
        mid = fabs(bits[c] - 4) < fabs(bits[mid] - 4) ? c : mid;
    }
    for (int i = 0; sensitivity && variance && i < p->alloc.n_sites; i++) {
        const struct qx_sens_cell *cell = qx_sens_cell_at(p->in->map, p->layer[i], p->column[mid]);
        double mean;
        qx_sens_moments(p->in->map, p->layer[i], &mean, &variance[i]);
        const double sum_sq = (double)p->in->layers[p->layer[i]].tensor->numel *
                              (variance[i] + mean * mean) * cell->proxy;
        sensitivity[i] = sum_sq > 0 ? p->score[i * p->alloc.n_choices + mid] / sum_sq : 0.0;
    }
    const struct qx_alloc_law law = {bits, sensitivity, variance};
    const enum qx_status st = sensitivity && variance
                                  ? qx_alloc_closed(&p->alloc, &law, budget, choice, err)
                                  : qx_fail_nomem(err, n * sizeof *variance);
    qx_mem_free(sensitivity);
    qx_mem_free(variance);
    return st;
}

enum qx_status qx_mixed_choose(const struct qx_mixed_problem *p, double budget, uint8_t *choice,
                               struct qx_alloc_step *steps, int cap, int *n_steps,
                               struct qx_error *err)
{
    *n_steps = 0;
    return p->in->options->mode == QX_MIXED_CLOSED
               ? closed(p, budget, choice, err)
               : qx_alloc_greedy(&p->alloc, budget, choice, steps, cap, n_steps, err);
}

/* Rows of the table of formats: which there are, and the figures of one. */
#include "session/formats.h"

#include "base/error.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <math.h>
#include <string.h>

int qx_formats_rows(const struct qx_setting *base, struct qx_formats_row *rows)
{
    int n = 0;
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);
        const int last = f->kind == QX_FORMAT_AFFINE ? f->max_bits : f->min_bits;
        for (int bits = f->min_bits; bits <= last && n < QX_FORMATS_MOST - 1; bits++) {
            const struct qx_setting set = qx_setting_as(base, f, bits);
            if (!qx_setting_is_fp32(&set)) {
                rows[n++] = (struct qx_formats_row){.set = set, .output = NAN, .measured = NAN};
            }
        }
    }
    return n;
}

bool qx_formats_wants_hist(const struct qx_setting *set)
{
    return qx_format_is_scaled(set->format) && !set->has_range;
}

/* ---- the error of the outputs ---- */

struct outputs {
    const float *w, *v; /* storage order */
    struct qx_channels channels;
    int64_t k;
};

static void outputs_row(void *arg, int64_t row, float *w, float *error)
{
    const struct outputs *o = arg;
    const struct qx_channels c = o->channels;
    for (int64_t j = 0; j < o->k; j++) {
        const int64_t at = (j / c.inner * c.count + row) * c.inner + j % c.inner;
        w[j] = isfinite(o->w[at]) ? o->w[at] : 0.0f;
        error[j] = w[j] - o->v[at];
    }
}

/* By the mean square of each input alone. */
static double diagonal(struct outputs *o, const struct qx_importance *of, float *row)
{
    double e = 0.0, ref = 0.0;
    for (int64_t r = 0; r < o->channels.count; r++) {
        outputs_row(o, r, row, row + o->k);
        for (int64_t j = 0; j < o->k; j++) {
            const double v = (double)of->v[j], w = (double)row[j], d = (double)row[o->k + j];
            e += v * d * d;
            ref += v * w * w;
        }
    }
    return ref > 0.0 ? e / ref : 0.0;
}

/* moments NULL: by the item's importance. */
static enum qx_status outputs_compare(const struct qx_item *it, const struct qx_moments *m,
                                      const struct qx_setting *set, struct qx_pool *pool,
                                      struct qx_ctl *ctl, double *out, struct qx_error *err)
{
    const int64_t n = it->tensor->numel, k = it->channels.outer * it->channels.inner;
    float *w = qx_mem_array((size_t)n + 1, sizeof *w), *v = qx_mem_array((size_t)n + 1, sizeof *v);
    float *row = qx_mem_array((size_t)k + 1, 2 * sizeof *row);
    struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
    struct outputs o = {w, v, it->channels, k};
    enum qx_status st = w && v && row ? qx_tensor_read(it->tensor, 0, n, w, err)
                                      : qx_fail_nomem(err, (size_t)n * 2 * sizeof *w);
    if (st == QX_OK) {
        st = qx_fakequant(it->tensor, it->channels, set, pool, &quiet, v, NULL, NULL, err);
    }
    if (st == QX_OK && m) {
        st = qx_moments_error(m, outputs_row, &o, pool, &quiet, out, err);
    } else if (st == QX_OK) {
        *out = diagonal(&o, it->importance, row);
    }
    qx_mem_free(w);
    qx_mem_free(v);
    qx_mem_free(row);
    return st;
}

enum qx_status qx_formats_row_make(const struct qx_item *it, const struct qx_hist *hist,
                                   const struct qx_moments *moments, bool is_diagonal,
                                   struct qx_pool *pool, struct qx_ctl *ctl,
                                   struct qx_formats_row *row, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    if (qx_formats_wants_hist(&row->set)) {
        st = qx_setting_resolve(&row->set, hist, err);
    }
    if (st == QX_OK && !row->has_metrics) {
        struct qx_ctl part = {.parent = ctl};
        st = qx_metric_exact(it->tensor, it->channels, &row->set, pool, &part, &row->metrics, err);
        row->has_metrics = st == QX_OK;
    }
    if (st == QX_OK && (moments || (is_diagonal && it->importance)) && isnan(row->output)) {
        st = outputs_compare(it, moments, &row->set, pool, ctl, &row->output, err);
    }
    return st;
}

/* ---- which are worth having ---- */

static double db_of(const struct qx_metrics *m)
{
    return isnan(m->sqnr_db) ? (double)INFINITY : m->sqnr_db;
}

static bool is_beaten(const struct qx_metrics *a, const struct qx_metrics *b)
{
    const bool no_worse = b->bytes <= a->bytes && db_of(b) >= db_of(a);
    return no_worse && (b->bytes < a->bytes || db_of(b) > db_of(a));
}

void qx_formats_front(struct qx_formats_row *rows, int n)
{
    for (int i = 0; i < n; i++) {
        rows[i].is_front = rows[i].has_metrics;
        for (int k = 0; k < n && rows[i].is_front; k++) {
            rows[i].is_front =
                !rows[k].has_metrics || !is_beaten(&rows[i].metrics, &rows[k].metrics);
        }
    }
}

/* ---- inputs ---- */

bool qx_formats_same_inputs(const struct qx_net *net, int layer, const struct qx_moments *m)
{
    struct qx_net_product p;
    return qx_net_layer_product(net, layer, &p) && p.input == m->product.input &&
           p.k == m->product.k && p.groups == m->product.groups;
}

enum qx_status qx_formats_moments(struct qx_session *s, int layer, struct qx_ctl *ctl,
                                  struct qx_moments **out, struct qx_error *err)
{
    struct qx_dataset *own = NULL;
    const struct qx_dataset *data;
    struct qx_weights *w = NULL;
    int64_t n_rows;
    enum qx_status st = qx_ranges_data(s, &own, &data, &n_rows, err);
    if (st == QX_OK) {
        st = qx_weights_new(s->net, &w, err);
    }
    if (st == QX_OK) {
        st = qx_moments_run(s->net, w, data, 0, n_rows, layer, s->pool, ctl, out, err);
    }
    qx_weights_free(w);
    qx_dataset_close(&own);
    return st;
}

struct qx_setting qx_formats_put(const struct qx_formats_row *row, const struct qx_setting *before)
{
    struct qx_setting set = row->set;
    if (qx_setting_is_int(&set)) {
        set.act = before->act;
    }
    return set;
}

struct qx_predict_layer qx_formats_change(const struct qx_formats_row *row,
                                          const struct qx_predict_layer *before)
{
    struct qx_predict_layer change = {0};
    if (qx_setting_is_int(&row->set)) {
        change.t[QX_SITE_A] = before->t[QX_SITE_A];
        change.key[QX_SITE_A] = before->key[QX_SITE_A];
    }
    change.t[QX_SITE_W] = qx_amplitude_of(&row->metrics);
    change.key[QX_SITE_W] = qx_predict_key(&row->set, QX_SITE_W);
    return change;
}

struct qx_setting *qx_formats_settings(const struct qx_session *s, int64_t item,
                                       const struct qx_formats_row *row)
{
    struct qx_setting *v = qx_measure_settings(s, &s->now);
    for (int i = 0; v && i < qx_net_n_layers(s->net); i++) {
        if (qx_net_layer(s->net, i)->tensor == item) {
            v[i] = qx_formats_put(row, &v[i]);
        }
    }
    return v;
}

/* What layers cost in time at each width: whole networks of one width, timed layer by layer. */
#include "base/error.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <string.h>

struct timing {
    struct qx_session *s;
    const struct qx_sens *map;
    const struct qx_setting *now;
    struct qx_setting *set; /* [rows] */
    float *x;               /* one row */
    double *column;         /* [rows] of the width at hand */
};

static enum qx_status weights_make(struct timing *t, int column, struct qx_ctl *ctl,
                                   struct qx_error *err)
{
    struct qx_session *s = t->s;
    struct qx_measure *m = &s->measure;
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        const bool is_free = qx_sens_cell_at(t->map, i, column)->basis != QX_SENS_NONE;
        t->set[i] = qx_mixed_setting(t->map, t->now, i, is_free ? column : -1);
    }
    enum qx_status st = qx_settings_resolve(s, t->set, ctl, err);
    if (st == QX_OK && !m->weights) {
        st = qx_weights_new_lazy(s->net, &m->weights, err);
    }
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(s->net); i++) {
        st = qx_weights_set(m->weights, i, &t->set[i], err);
    }
    return st == QX_OK ? qx_weights_prepare(m->weights, QX_ENGINE_AUTO, s->pool, ctl, err) : st;
}

/* What runs a row at a width: such times differ by nothing but noise, and share their mean. */
enum way { IN_FLOAT, IN_8_BITS, IN_4_BITS, WAYS };

static enum way way_of(const struct timing *t, int row, int column, bool is_float)
{
    const struct qx_setting *set = qx_sens_setting(t->map, row, column);
    return is_float                                       ? IN_FLOAT
           : set->gran == QX_GRAN_GROUP && set->bits <= 4 ? IN_4_BITS
                                                          : IN_8_BITS;
}

static void share_means(const struct timing *t, double *ms, const bool *is_float)
{
    const int columns = qx_sens_n_columns(t->map);
    for (int i = 0; i < qx_sens_n_layers(t->map); i++) {
        double sum[WAYS] = {0.0};
        int n[WAYS] = {0};
        for (int c = 0; c < columns; c++) {
            if (qx_sens_column_at(t->map, c)->site == QX_SITE_W) {
                const enum way way = way_of(t, i, c, is_float[c]);
                sum[way] += ms[i * columns + c];
                n[way]++;
            }
        }
        for (int c = 0; c < columns; c++) {
            const enum way way = way_of(t, i, c, is_float[c]);
            ms[i * columns + c] = n[way] > 0 ? sum[way] / n[way] : 0.0;
        }
    }
}

static enum qx_status columns_time(struct timing *t, struct qx_ctl *ctl, double *ms,
                                   double *rest_ms, struct qx_error *err)
{
    const int rows = qx_sens_n_layers(t->map), columns = qx_sens_n_columns(t->map);
    bool is_float[QX_SENS_COLUMNS] = {false};
    enum qx_status st = qx_dataset_read(t->s->data, 0, 1, t->x, err);
    double rest = 0.0;
    int n = 0;
    for (int c = 0; st == QX_OK && c < columns; c++) {
        if (qx_sens_column_at(t->map, c)->site != QX_SITE_W) {
            continue;
        }
        struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
        double before = 0.0;
        st = weights_make(t, c, &quiet, err);
        if (st == QX_OK) {
            st = qx_latency_layers(t->s->net, t->s->measure.weights, t->x, &quiet, t->column,
                                   &before, err);
        }
        for (int i = 0; st == QX_OK && i < rows; i++) {
            ms[i * columns + c] = t->column[i];
        }
        is_float[c] = qx_weights_engine(t->s->measure.weights) == QX_ENGINE_SIMULATED;
        rest += before;
        n++;
    }
    if (st == QX_OK) {
        share_means(t, ms, is_float);
        *rest_ms = n > 0 ? rest / n : 0.0;
    }
    return st;
}

enum qx_status qx_search_latency(struct qx_session *s, const struct qx_sens *map,
                                 const struct qx_setting *now, struct qx_ctl *ctl, double *ms,
                                 double *rest_ms, struct qx_error *err)
{
    struct timing t = {.s = s, .map = map, .now = now};
    if (!qx_search_can(s)) {
        return qx_fail(err, QX_EUNSUPPORTED, "a network and data are needed to time its layers");
    }
    const size_t rows = (size_t)qx_sens_n_layers(map) + 1;
    t.set = qx_mem_array(rows, sizeof *t.set);
    t.x = qx_mem_array((size_t)qx_net_sample_size(s->net), sizeof *t.x);
    t.column = qx_mem_zalloc(rows * sizeof *t.column);
    enum qx_status st = t.set && t.x && t.column ? QX_OK : qx_fail_nomem(err, rows * sizeof *t.set);
    if (st == QX_OK) {
        pthread_mutex_lock(&s->measure.weights_lock);
        st = columns_time(&t, ctl, ms, rest_ms, err);
        pthread_mutex_unlock(&s->measure.weights_lock);
    }
    qx_mem_free(t.set);
    qx_mem_free(t.x);
    qx_mem_free(t.column);
    return st;
}

/* Rows that stay as they are cost what they cost at the widest column. */
double qx_search_kept_ms(const struct qx_sens *map, const struct qx_mixed_options *o,
                         const double *ms)
{
    const int columns = qx_sens_n_columns(map);
    double sum = 0.0;
    for (int i = 0; i < qx_sens_n_layers(map); i++) {
        const bool is_free = qx_sens_cell_at(map, i, 0)->basis != QX_SENS_NONE;
        sum += !is_free || (o->keep && o->keep[i]) ? ms[i * columns + columns - 1] : 0.0;
    }
    return sum;
}

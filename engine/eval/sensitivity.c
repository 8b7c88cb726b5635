/* The map of layers and settings, and the order in which its cells are worth measuring. */
#include "qx/sensitivity.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qx_sens {
    int n_layers, n_columns;
    struct qx_sens_column column[QX_SENS_COLUMNS];
    struct qx_setting *setting;      /* [n_layers, n_columns] */
    struct qx_predict_layer *change; /* the same */
    struct qx_sens_cell *cell;       /* the same */
    double (*moment)[2];             /* [n_layers] mean and variance of the weights */
};

static const double none = (double)NAN;

/* ---- columns ---- */

char *qx_sens_column_text(const struct qx_sens_column *c, char *buf, size_t cap)
{
    if (c->format->kind != QX_FORMAT_AFFINE) {
        snprintf(buf, cap, "%s", c->format->name);
    } else {
        const bool is_int = strcmp(c->format->name, "int") == 0;
        snprintf(buf, cap, "%s%s%d", c->site == QX_SITE_A ? "a" : "", is_int ? "" : c->format->name,
                 c->bits);
    }
    return buf;
}

static enum qx_status column_parse(const char *text, struct qx_sens_column *out,
                                   struct qx_error *err)
{
    const bool is_act = text[0] == 'a' && text[1] >= '0' && text[1] <= '9';
    char *end;
    const long bits = strtol(text + is_act, &end, 10);
    *out = (struct qx_sens_column){.site = is_act ? QX_SITE_A : QX_SITE_W, .bits = (int)bits};
    if (end > text + is_act && *end == 0) {
        const bool is_half = bits == 16 && !is_act;
        out->format = qx_format_find(is_half ? "fp16" : "int");
        return is_half || (bits >= 2 && bits <= 8)
                   ? QX_OK
                   : qx_fail(
                         err, QX_ERANGE,
                         "'%s' bits: integers have 2 to 8 (16 is fp16, a2 to a8 are activations)",
                         text);
    }
    out->format = qx_format_find(text);
    if (!out->format || strcmp(text, "int") == 0) {
        return qx_fail(err, QX_ENAME, "'%s' is neither bits nor a number format", text);
    }
    out->bits = out->format->max_bits;
    return QX_OK;
}

static bool column_is(const struct qx_sens_column *a, const struct qx_sens_column *b)
{
    return a->site == b->site && a->format == b->format && a->bits == b->bits;
}

enum qx_status qx_sens_columns_parse(const char *list, struct qx_sens_column out[QX_SENS_COLUMNS],
                                     int *n, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    int count = 0;
    for (const char *p = list; st == QX_OK && *p;) {
        const size_t len = strcspn(p, ",");
        char part[32];
        struct qx_sens_column c;
        bool is_new = true;
        snprintf(part, sizeof part, "%.*s", (int)(len < sizeof part ? len : sizeof part - 1), p);
        st = count < QX_SENS_COLUMNS
                 ? column_parse(part, &c, err)
                 : qx_fail(err, QX_ERANGE, "more than %d widths", QX_SENS_COLUMNS);
        for (int i = 0; st == QX_OK && i < count; i++) {
            is_new = is_new && !column_is(&out[i], &c);
        }
        if (st == QX_OK && is_new) {
            out[count++] = c;
        }
        p += len + (p[len] == ',');
    }
    if (st == QX_OK && count == 0) {
        st = qx_fail(err, QX_ERANGE, "no widths: say, for instance, 2,3,4,8");
    }
    *n = st == QX_OK ? count : *n;
    return st;
}

const char *qx_sens_basis_name(enum qx_sens_basis basis)
{
    static const char *const name[] = {"none", "rank", "predicted", "measured"};
    return name[basis];
}

/* ---- settings ---- */

/* Quantized inputs belong to a layer of integers: 8 bits here, and what those do is left out. */
static struct qx_setting setting_of(const struct qx_sens_column *c, const struct qx_setting *now)
{
    struct qx_setting s = qx_setting_fp32();
    if (c->site == QX_SITE_A) {
        s = qx_setting_int(8);
        s.act = now->act.bits ? now->act : qx_act_static(c->bits);
        s.act.bits = c->bits;
        s.act.has_range = false;
        return s;
    }
    s = qx_setting_as(now, c->format, c->bits);
    if (qx_format_is_scaled(now->format)) {
        memcpy(s.algo, now->algo, sizeof s.algo);
        s.overlay = now->overlay;
        s.overlay_key = now->overlay_key;
    }
    return s;
}

static enum qx_status cell_prepare(struct qx_sens *s, int layer, int column,
                                   const struct qx_hist *hist, const struct qx_observed *observed,
                                   struct qx_error *err)
{
    const int at = layer * s->n_columns + column;
    struct qx_setting *set = &s->setting[at];
    const enum qx_site site = s->column[column].site;
    enum qx_status st = QX_OK;
    if (site == QX_SITE_A) {
        if (!observed || !observed->packed) {
            return qx_fail(
                err, QX_EDATA,
                "the inputs of the layers were not calibrated: activations cannot be judged");
        }
        st = qx_act_resolve(&set->act, observed, err);
    }
    if (st == QX_OK && qx_format_is_scaled(set->format)) {
        st = qx_setting_resolve(set, hist, err);
    }
    if (st == QX_OK) {
        st = qx_predict_layer_of(set, hist, observed, &s->change[at], err);
    }
    if (site == QX_SITE_A) {
        s->change[at].t[QX_SITE_W] = (struct qx_amplitude){0.0, 0.0};
        s->change[at].key[QX_SITE_W] = 0;
    }
    const struct qx_amplitude *t = &s->change[at].t[site];
    s->cell[at] = (struct qx_sens_cell){.basis = QX_SENS_RANK,
                                        .proxy = t->round * t->round + t->clip * t->clip,
                                        .kl = none,
                                        .accuracy = none,
                                        .delta = none,
                                        .lo = none,
                                        .hi = none};
    return st;
}

/* Columns of one layer that share a histogram are neighbours or not: it is built when it changes. */
static enum qx_status layer_prepare(struct qx_sens *s, int layer, const struct qx_sens_layer *l,
                                    const struct qx_setting *now,
                                    const struct qx_calibration *calibration, struct qx_pool *pool,
                                    struct qx_ctl *ctl, struct qx_error *err)
{
    const struct qx_observed *observed =
        calibration ? qx_calibration_layer(calibration, layer) : NULL;
    struct qx_hist_spec have = {0};
    struct qx_hist *hist = NULL;
    enum qx_status st = QX_OK;
    for (int c = 0; st == QX_OK && c < s->n_columns; c++) {
        struct qx_setting *set = &s->setting[layer * s->n_columns + c];
        if (l->is_table && s->column[c].site == QX_SITE_A) {
            continue;
        }
        *set = setting_of(&s->column[c], now);
        const struct qx_hist_spec spec = qx_setting_spec(set, l->channels);
        const bool is_had =
            hist && spec.gran == have.gran && spec.sym == have.sym && spec.group == have.group;
        if (!is_had) {
            struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
            qx_hist_unref(hist);
            hist = NULL;
            have = spec;
            st = qx_hist_build(l->tensor, &spec, 0, pool, &quiet, &hist, err);
        }
        if (st == QX_OK && hist) {
            const struct qx_stats *stats = qx_hist_stats(hist);
            s->moment[layer][0] = stats->mean;
            s->moment[layer][1] = stats->std * stats->std;
        }
        st = st == QX_OK ? cell_prepare(s, layer, c, hist, observed, err) : st;
    }
    qx_hist_unref(hist);
    return st;
}

static enum qx_status sens_alloc(int n_layers, const struct qx_sens_column *columns, int n_columns,
                                 struct qx_sens **out, struct qx_error *err)
{
    const size_t cells = (size_t)n_layers * (size_t)n_columns;
    struct qx_sens *s = qx_mem_zalloc(sizeof *s);
    if (!s) {
        return qx_fail_nomem(err, sizeof *s);
    }
    s->n_layers = n_layers;
    s->n_columns = n_columns;
    memcpy(s->column, columns, (size_t)n_columns * sizeof *columns);
    s->setting = qx_mem_zalloc((cells + 1) * sizeof *s->setting);
    s->change = qx_mem_zalloc((cells + 1) * sizeof *s->change);
    s->cell = qx_mem_zalloc((cells + 1) * sizeof *s->cell);
    s->moment = qx_mem_zalloc(((size_t)n_layers + 1) * sizeof *s->moment);
    if (!s->setting || !s->change || !s->cell || !s->moment) {
        qx_sens_free(s);
        return qx_fail_nomem(err, cells * sizeof *s->setting);
    }
    *out = s;
    return QX_OK;
}

enum qx_status qx_sens_copy(const struct qx_sens *s, struct qx_sens **out, struct qx_error *err)
{
    const size_t cells = (size_t)s->n_layers * (size_t)s->n_columns;
    struct qx_sens *c = NULL;
    const enum qx_status st = sens_alloc(s->n_layers, s->column, s->n_columns, &c, err);
    if (st == QX_OK) {
        memcpy(c->setting, s->setting, cells * sizeof *s->setting);
        memcpy(c->change, s->change, cells * sizeof *s->change);
        memcpy(c->cell, s->cell, cells * sizeof *s->cell);
        memcpy(c->moment, s->moment, (size_t)s->n_layers * sizeof *s->moment);
        *out = c;
    }
    return st;
}

enum qx_status qx_sens_new(const struct qx_sens_layer *layers, int n_layers,
                           const struct qx_setting *now, const struct qx_calibration *calibration,
                           const struct qx_sens_column *columns, int n_columns,
                           struct qx_pool *pool, struct qx_ctl *ctl, struct qx_sens **out,
                           struct qx_error *err)
{
    struct qx_sens *s = NULL;
    enum qx_status st = sens_alloc(n_layers, columns, n_columns, &s, err);
    if (st != QX_OK) {
        return st;
    }
    qx_ctl_total(ctl, n_layers);
    for (int i = 0; st == QX_OK && i < n_layers; i++) {
        if (qx_cancel_test(ctl)) {
            st = qx_fail(err, QX_ECANCELLED, "the map was cancelled");
        } else if (layers[i].can) {
            st = layer_prepare(s, i, &layers[i], &now[i], calibration, pool, ctl, err);
        }
        qx_ctl_add(ctl, 1);
    }
    st = st == QX_OK ? qx_sens_fill(s, NULL, err) : st;
    if (st != QX_OK) {
        qx_sens_free(s);
        return st;
    }
    *out = s;
    return QX_OK;
}

void qx_sens_free(struct qx_sens *s)
{
    if (s) {
        qx_mem_free(s->setting);
        qx_mem_free(s->change);
        qx_mem_free(s->cell);
        qx_mem_free(s->moment);
        qx_mem_free(s);
    }
}

int qx_sens_n_layers(const struct qx_sens *s)
{
    return s->n_layers;
}

int qx_sens_n_columns(const struct qx_sens *s)
{
    return s->n_columns;
}

const struct qx_sens_column *qx_sens_column_at(const struct qx_sens *s, int column)
{
    return &s->column[column];
}

const struct qx_sens_cell *qx_sens_cell_at(const struct qx_sens *s, int layer, int column)
{
    return &s->cell[layer * s->n_columns + column];
}

const struct qx_setting *qx_sens_setting(const struct qx_sens *s, int layer, int column)
{
    return &s->setting[layer * s->n_columns + column];
}

const struct qx_predict_layer *qx_sens_change(const struct qx_sens *s, int layer, int column)
{
    return &s->change[layer * s->n_columns + column];
}

void qx_sens_moments(const struct qx_sens *s, int layer, double *mean, double *variance)
{
    *mean = s->moment[layer][0];
    *variance = s->moment[layer][1];
}

int qx_sens_count(const struct qx_sens *s, enum qx_sens_basis basis)
{
    int n = 0;
    for (int i = 0; i < s->n_layers * s->n_columns; i++) {
        n += s->cell[i].basis == basis;
    }
    return n;
}

/* ---- figures ---- */

/* Run on P: exact there; what the rows that flipped say of other rows. */
static void cell_measured(struct qx_sens_cell *c, const struct qx_predict_base *base,
                          const struct qx_predict_truth *truth)
{
    const int64_t n = qx_predict_base_n(base);
    const bool has_labels = qx_predict_base_has_labels(base);
    c->basis = QX_SENS_MEASURED;
    c->kl = truth->kl;
    if (n < QX_PREDICT_ROWS_LEAST) {
        return;
    }
    if (qx_predict_base_is_words(base)) {
        const struct qx_predict_scale scale = qx_predict_scale_of(base);
        const struct qx_predict_sum sum = {.kl = truth->kl, .ce = truth->ce};
        c->accuracy = exp(-qx_predict_drop(base, &scale, &sum));
        c->delta = c->accuracy - 1.0;
        const double off = c->accuracy * 1.64 * sqrt(2.0 * truth->kl / (double)n);
        c->lo = fmax(c->accuracy - off, 0.0);
        c->hi = c->accuracy + off;
        return;
    }
    const double half = 1.64 * sqrt((1.0 - truth->same_top) / (double)n);
    c->accuracy = has_labels ? truth->accuracy : truth->same_top;
    c->delta = c->accuracy - (has_labels ? qx_predict_base_accuracy(base) : 1.0);
    c->lo = fmax(c->accuracy - half, 0.0);
    c->hi = fmin(c->accuracy + half, 1.0);
}

static void cell_predicted(struct qx_sens_cell *c, const struct qx_prediction *p)
{
    c->basis = QX_SENS_PREDICTED;
    c->kl = p->sum.kl;
    if (p->has_value) {
        c->accuracy = p->value;
        c->delta = p->change;
        c->lo = p->lo;
        c->hi = p->hi;
    }
}

/* What fills cells: the table, this layer alone changed in a mix, and what P says of P. */
struct filler {
    const struct qx_predict_table *table;
    struct qx_predict_mix *mix;
    struct qx_predict_anchors *scale;
};

static void filler_release(struct filler *f)
{
    qx_predict_mix_free(f->mix);
    qx_predict_anchors_unref(f->scale);
}

static enum qx_status filler_init(struct filler *f, const struct qx_predict_table *table,
                                  struct qx_error *err)
{
    const struct qx_predict_base *base = qx_predict_table_base(table);
    const struct qx_predict_scale scale = qx_predict_scale_of(base);
    f->table = table;
    enum qx_status st = qx_predict_mix_new(table, NULL, &f->mix, err);
    return st == QX_OK ? qx_predict_anchors_new(table, NULL, &scale, NULL, 0, NULL, &f->scale, err)
                       : st;
}

/* Exact entries of the site, else what the mix says with this layer alone changed. */
static void cell_fill(struct qx_sens *s, const struct filler *f, int layer, int column)
{
    const int at = layer * s->n_columns + column;
    const struct qx_predict_layer untouched = {0}, *change = &s->change[at];
    const enum qx_site site = s->column[column].site;
    const struct qx_predict_base *base = qx_predict_table_base(f->table);
    struct qx_sens_cell *c = &s->cell[at];
    struct qx_prediction p;
    for (int i = 0; i < qx_predict_table_n(f->table); i++) {
        struct qx_predict_entry_info info;
        qx_predict_entry_look(qx_predict_table_entry(f->table, i), &info);
        const bool is_site = (info.spec.family >= QX_FAMILY_A_ROUND) == (site == QX_SITE_A);
        if (info.key != 0 && info.key == change->key[site] && info.spec.layer == layer && is_site) {
            cell_measured(c, base, &info.truth);
            return;
        }
    }
    if (qx_predict_table_covers(f->table, layer, change)) {
        qx_predict_mix_set(f->mix, layer, change);
        qx_predict_anchors_ask(f->scale, f->mix, &p);
        qx_predict_mix_set(f->mix, layer, &untouched);
        cell_predicted(c, &p);
    }
}

/* 1 = worst of the column. */
static void ranks_fill(struct qx_sens *s, int column)
{
    bool has_kl = true;
    for (int i = 0; i < s->n_layers; i++) {
        const struct qx_sens_cell *c = qx_sens_cell_at(s, i, column);
        has_kl = has_kl && (c->basis == QX_SENS_NONE || c->basis >= QX_SENS_PREDICTED);
    }
    for (int i = 0; i < s->n_layers; i++) {
        struct qx_sens_cell *c = &s->cell[i * s->n_columns + column];
        const double mine = has_kl ? c->kl : c->proxy;
        c->rank = 1;
        for (int k = 0; k < s->n_layers; k++) {
            const struct qx_sens_cell *d = qx_sens_cell_at(s, k, column);
            const double other = has_kl ? d->kl : d->proxy;
            c->rank += d->basis != QX_SENS_NONE && (other > mine || (other == mine && k < i));
        }
    }
}

static enum qx_status rows_fill(struct qx_sens *s, int first, int end,
                                const struct qx_predict_table *table, struct qx_error *err)
{
    struct filler f = {0};
    if (table && qx_predict_table_n_layers(table) != s->n_layers) {
        return qx_fail(err, QX_ERANGE, "the table is of another network");
    }
    const enum qx_status st = table ? filler_init(&f, table, err) : QX_OK;
    for (int at = first * s->n_columns; st == QX_OK && table && at < end * s->n_columns; at++) {
        if (s->cell[at].basis != QX_SENS_NONE) {
            cell_fill(s, &f, at / s->n_columns, at % s->n_columns);
        }
    }
    for (int c = 0; st == QX_OK && c < s->n_columns; c++) {
        ranks_fill(s, c);
    }
    filler_release(&f);
    return st;
}

enum qx_status qx_sens_fill(struct qx_sens *s, const struct qx_predict_table *table,
                            struct qx_error *err)
{
    return rows_fill(s, 0, s->n_layers, table, err);
}

enum qx_status qx_sens_fill_row(struct qx_sens *s, int layer, const struct qx_predict_table *table,
                                struct qx_error *err)
{
    return rows_fill(s, layer, layer + 1, table, err);
}

void qx_sens_take(struct qx_sens *s, int layer, int column, const struct qx_predict_base *base,
                  const struct qx_predict_entry *entry)
{
    struct qx_predict_entry_info info;
    qx_predict_entry_look(entry, &info);
    cell_measured(&s->cell[layer * s->n_columns + column], base, &info.truth);
    ranks_fill(s, column);
}

/* ---- what to measure next ---- */

/* How much the layer's measured cells say about this one: neighbours half, the next a quarter. */
static double known(const struct qx_sens *s, int layer, int column)
{
    double sum = 0.0;
    for (int c = 0; c < s->n_columns; c++) {
        if (s->column[c].site == s->column[column].site &&
            qx_sens_cell_at(s, layer, c)->basis == QX_SENS_MEASURED) {
            sum += pow(2.0, -abs(c - column));
        }
    }
    return sum;
}

/* Between nothing and ruin a budget is decided: KL about .03 nats weighs most. Without a KL, the relative
 * error stands in. */
static double worth(const struct qx_sens_cell *c)
{
    const double middle = 0.03, x = isnan(c->kl) ? c->proxy : c->kl;
    return x / ((x + middle) * (x + middle));
}

bool qx_sens_next(const struct qx_sens *s, int *layer, int *column)
{
    double best = -1.0;
    for (int i = 0; i < s->n_layers; i++) {
        for (int c = 0; c < s->n_columns; c++) {
            const struct qx_sens_cell *cell = qx_sens_cell_at(s, i, c);
            if (cell->basis != QX_SENS_RANK && cell->basis != QX_SENS_PREDICTED) {
                continue;
            }
            const double value = worth(cell) / (1.0 + 4.0 * known(s, i, c));
            if (value > best) {
                best = value;
                *layer = i;
                *column = c;
            }
        }
    }
    return best >= 0.0;
}

/* The host's questions about map and plan, the purse, and loading points. */
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <string.h>

/* ---- the map ---- */

void qx_session_map_columns(struct qx_session *s, const struct qx_sens_column *columns, int n)
{
    struct qx_search *r = &s->search;
    memcpy(r->column, columns, (size_t)n * sizeof *columns);
    r->n_columns = n;
    r->map_key = 0;
    r->is_paused = false;
    r->ask_layer = -1;
}

void qx_session_map_want(struct qx_session *s)
{
    struct qx_search *r = &s->search;
    if (!r->is_wanted) {
        r->is_wanted = true;
        r->ask_layer = -1;
        r->cell_s = (double)NAN;
        qx_search_work(s);
    }
}

const struct qx_sens *qx_session_map(const struct qx_session *s)
{
    return s->search.map;
}

void qx_session_map_state(const struct qx_session *s, struct qx_map_state *out)
{
    const struct qx_search *r = &s->search;
    *out = (struct qx_map_state){.is_building = r->task_map || r->map_is_due,
                                 .is_measuring = r->task_site != NULL,
                                 .n_left = r->n_left + (r->ask_layer >= 0),
                                 .cell_s = r->cell_s > 0 ? r->cell_s : (double)NAN};
    if (r->map) {
        out->n_measured = qx_sens_count(r->map, QX_SENS_MEASURED);
        out->n_predicted = qx_sens_count(r->map, QX_SENS_PREDICTED);
        out->n_cells = out->n_measured + out->n_predicted + qx_sens_count(r->map, QX_SENS_RANK);
    }
    out->n_rows = r->n_rows_p;
    qx_str_copy(out->reason, sizeof out->reason,
                !s->net    ? s->net_error.text
                : !s->data ? s->data_error.text
                           : r->reason);
}

int64_t qx_session_map_item(const struct qx_session *s, int layer)
{
    return layer >= 0 && layer < s->search.n_rows ? s->search.item[layer] : -1;
}

int qx_session_map_layer(const struct qx_session *s, int64_t item)
{
    for (int i = 0; i < s->search.n_rows; i++) {
        if (s->search.item[i] == item) {
            return i;
        }
    }
    return -1;
}

void qx_session_map_measure(struct qx_session *s, int layer, int column)
{
    struct qx_search *r = &s->search;
    if (r->map && qx_search_can(s) && layer < r->n_rows && column < qx_sens_n_columns(r->map) &&
        qx_sens_cell_at(r->map, layer, column)->basis != QX_SENS_NONE) {
        r->ask_layer = layer;
        r->ask_column = column;
        r->is_paused = false;
        r->reason[0] = 0;
        qx_search_work(s);
    }
}

void qx_session_map_measure_all(struct qx_session *s, int n)
{
    struct qx_search *r = &s->search;
    r->n_left = n;
    if (n > 0) {
        r->is_paused = false;
        r->reason[0] = 0;
    }
    qx_search_work(s);
}

/* ---- the plan ---- */

static bool rows_copy(struct qx_search *r, const struct qx_mixed_options *o)
{
    const size_t n = (size_t)r->n_rows;
    bool *keep = o->keep ? qx_mem_array(n + 1, sizeof *keep) : NULL;
    int *tie = o->tie ? qx_mem_array(n + 1, sizeof *tie) : NULL;
    if ((o->keep && !keep) || (o->tie && !tie)) {
        qx_mem_free(keep);
        qx_mem_free(tie);
        return false;
    }
    if (keep) {
        memcpy(keep, o->keep, n * sizeof *keep);
    }
    if (tie) {
        memcpy(tie, o->tie, n * sizeof *tie);
    }
    qx_mem_free(r->plan_keep);
    qx_mem_free(r->plan_tie);
    r->plan_keep = keep;
    r->plan_tie = tie;
    return true;
}

void qx_session_mixed_want(struct qx_session *s, const struct qx_mixed_options *options)
{
    struct qx_search *r = &s->search;
    struct qx_error why = {.text = "out of memory"};
    qx_session_map_want(s);
    if (qx_search_rows(s, &why) != QX_OK || !rows_copy(r, options)) {
        qx_str_copy(r->plan_reason, sizeof r->plan_reason, why.text);
        return;
    }
    r->plan_options = *options;
    r->plan_options.keep = NULL;
    r->plan_options.tie = NULL;
    r->plan_wanted = true;
    r->plan_reason[0] = 0;
    qx_search_work(s);
}

const struct qx_mixed *qx_session_mixed(const struct qx_session *s)
{
    return s->search.plan;
}

const struct qx_sens *qx_session_mixed_map(const struct qx_session *s)
{
    return s->search.plan_map;
}

bool qx_session_mixed_busy(const struct qx_session *s)
{
    return s->search.plan_wanted || s->search.task_plan;
}

const char *qx_session_mixed_reason(const struct qx_session *s)
{
    return s->search.plan_reason;
}

/* A recipe with some rows at columns of a map. column [rows]; -1 = as it is. */
static enum qx_status columns_load(struct qx_session *s, const struct qx_sens *map,
                                   const int *column, enum qx_step_kind kind, struct qx_error *err)
{
    const struct qx_search *r = &s->search;
    struct qx_recipe want = {0};
    struct qx_setting *now = qx_search_settings(s);
    enum qx_status st = now ? qx_recipe_init(&want, s->items.n, err)
                            : qx_fail_nomem(err, (size_t)r->n_rows * sizeof *now);
    if (st == QX_OK) {
        qx_recipe_copy(&want, &s->now);
        for (int i = 0; i < r->n_rows; i++) {
            if (column[i] >= 0) {
                want.set[r->item[i]] = qx_mixed_setting(map, now, i, column[i]);
                want.origin[r->item[i]] = QX_ORIGIN_SEARCH;
            }
        }
        qx_session_seal(s);
        st = qx_recipe_replace(s, &want, kind, err);
    }
    qx_recipe_release(&want);
    qx_mem_free(now);
    return st;
}

static int *columns_new(const struct qx_search *r)
{
    int *column = qx_mem_array((size_t)r->n_rows + 1, sizeof *column);
    for (int i = 0; column && i < r->n_rows; i++) {
        column[i] = -1;
    }
    return column;
}

enum qx_status qx_session_mixed_load(struct qx_session *s, int i, struct qx_error *err)
{
    const struct qx_search *r = &s->search;
    if (!r->plan || i < 0 || i >= qx_mixed_n(r->plan)) {
        return qx_fail(err, QX_ERANGE, "there is no such point");
    }
    int *column = columns_new(r);
    if (!column) {
        return qx_fail_nomem(err, (size_t)r->n_rows * sizeof *column);
    }
    for (int k = 0; k < r->n_rows; k++) {
        column[k] = qx_mixed_column(r->plan, i, k);
    }
    const enum qx_status st = columns_load(s, r->plan_map, column, QX_STEP_LOAD, err);
    qx_mem_free(column);
    return st;
}

void qx_session_mixed_now(struct qx_session *s, struct qx_point *out)
{
    struct qx_totals totals;
    struct qx_gauge g;
    qx_session_totals(s, &totals);
    qx_session_gauge(s, &g);
    *out = (struct qx_point){.bytes = totals.bytes,
                             .bits_per_weight = totals.bits_per_weight,
                             .latency_ms = NAN,
                             .harm = NAN,
                             .value = NAN,
                             .lo = NAN,
                             .hi = NAN};
    if (g.guess == QX_GUESS_PREDICTED) {
        qx_mixed_value(&g.predicted, out);
    }
    if (g.state == QX_GAUGE_MEASURED && g.correct >= 0) {
        const double half = 1.64 * sqrt(qx_measure_flip(&g.pair) / (double)g.n);
        out->basis = QX_SENS_MEASURED;
        out->value = qx_measure_value(&g);
        out->lo = fmax(out->value - half, 0.0);
        out->hi = fmin(out->value + half, 1.0);
        out->n_rows = g.n;
    }
}

/* Is point i the recipe as it stands? */
static bool is_now(const struct qx_search *r, const struct qx_session *s, int i)
{
    for (int k = 0; k < r->n_rows; k++) {
        const int column = qx_mixed_column(r->plan, i, k);
        if (column >= 0 && !qx_setting_equal_weight(&s->now.set[r->item[k]],
                                                    qx_sens_setting(r->plan_map, k, column))) {
            return false;
        }
    }
    return true;
}

void qx_search_measured(struct qx_session *s)
{
    const struct qx_search *r = &s->search;
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    for (int i = 0;
         r->plan && g.state == QX_GAUGE_MEASURED && g.correct >= 0 && i < qx_mixed_n(r->plan);
         i++) {
        if (is_now(r, s, i)) {
            qx_mixed_measured(r->plan, i, qx_measure_value(&g), qx_measure_flip(&g.pair), g.n);
        }
    }
}

/* ---- the purse ---- */

/* The rows of the map as an allocation: its weight columns, and last the setting of now (which may be any
 * other). Scores: KL where all cells have one, else relative errors. */
struct purse {
    struct qx_alloc a;
    double *cost, *score;
    int *layer, column[QX_SENS_COLUMNS];
    uint8_t *choice;
    bool is_rank;
};

static void purse_release(struct purse *p)
{
    qx_mem_free(p->cost);
    qx_mem_free(p->score);
    qx_mem_free(p->layer);
    qx_mem_free(p->choice);
}

/* Column of the map that is the row's setting of now; -1 = none. */
static int column_now(const struct qx_search *r, int row, const struct qx_setting *now)
{
    for (int c = 0; c < qx_sens_n_columns(r->map); c++) {
        const struct qx_sens_column *col = qx_sens_column_at(r->map, c);
        if (col->site == QX_SITE_W && col->format == now->format &&
            (!qx_format_is_scaled(now->format) || col->bits == now->bits) &&
            qx_sens_cell_at(r->map, row, c)->basis != QX_SENS_NONE) {
            return c;
        }
    }
    return -1;
}

static void purse_row(struct qx_session *s, struct purse *p, int row)
{
    const struct qx_search *r = &s->search;
    const struct qx_item *it = &s->items.v[r->item[row]];
    const struct qx_setting *now = &s->now.set[r->item[row]];
    const int site = p->a.n_sites++, n = p->a.n_choices, has = column_now(r, row, now);
    p->layer[site] = row;
    for (int c = 0; c < n - 1; c++) {
        const struct qx_sens_cell *cell = qx_sens_cell_at(r->map, row, p->column[c]);
        p->cost[site * n + c] = (double)qx_setting_tensor_bytes(
            qx_sens_setting(r->map, row, p->column[c]), it->tensor, it->channels);
        p->score[site * n + c] = p->is_rank ? cell->proxy : cell->kl;
        p->choice[site] = has == p->column[c] ? (uint8_t)c : p->choice[site];
    }
    /* float32, or a width that is no column: harmless as far as is known, and not to be chosen */
    p->cost[site * n + n - 1] = (double)qx_setting_tensor_bytes(now, it->tensor, it->channels);
    p->score[site * n + n - 1] = has < 0 ? 0.0 : (double)INFINITY;
    p->choice[site] = has < 0 ? (uint8_t)(n - 1) : p->choice[site];
}

static enum qx_status purse_make(struct qx_session *s, struct purse *p, struct qx_error *err)
{
    const struct qx_search *r = &s->search;
    if (!r->map) {
        return qx_fail(err, QX_EDATA, "the sensitivity map is not there yet");
    }
    for (int c = 0; c < qx_sens_n_columns(r->map); c++) {
        if (qx_sens_column_at(r->map, c)->site == QX_SITE_W) {
            p->column[p->a.n_choices++] = c;
        }
    }
    p->a.n_choices++;
    const size_t rows = (size_t)r->n_rows + 1, cells = rows * (size_t)p->a.n_choices;
    p->cost = qx_mem_zalloc(cells * sizeof *p->cost);
    p->score = qx_mem_zalloc(cells * sizeof *p->score);
    p->layer = qx_mem_array(rows, sizeof *p->layer);
    p->choice = qx_mem_zalloc(rows);
    if (!p->cost || !p->score || !p->layer || !p->choice) {
        return qx_fail_nomem(err, cells * sizeof *p->cost);
    }
    p->is_rank = qx_sens_count(r->map, QX_SENS_RANK) > 0;
    for (int i = 0; i < r->n_rows; i++) {
        if (qx_mixed_is_on(r->map, i)) {
            purse_row(s, p, i);
        }
    }
    p->a.cost = p->cost;
    p->a.score = p->score;
    return p->a.n_sites > 0 ? QX_OK : qx_fail(err, QX_EDATA, "there is no layer to trade with");
}

static int site_of(const struct purse *p, int row)
{
    for (int i = 0; i < p->a.n_sites; i++) {
        if (p->layer[i] == row) {
            return i;
        }
    }
    return -1;
}

/* Load what the purse has become. */
static enum qx_status purse_load(struct qx_session *s, const struct purse *p, const uint8_t *was,
                                 int *n_paid, struct qx_error *err)
{
    const struct qx_search *r = &s->search;
    int *column = columns_new(r);
    if (!column) {
        return qx_fail_nomem(err, (size_t)r->n_rows * sizeof *column);
    }
    *n_paid = 0;
    for (int i = 0; i < p->a.n_sites; i++) {
        if (p->choice[i] != was[i]) {
            const double *cost = p->cost + i * p->a.n_choices;
            column[p->layer[i]] = p->column[p->choice[i]];
            *n_paid += cost[p->choice[i]] < cost[was[i]];
        }
    }
    const enum qx_status st = columns_load(s, r->map, column, QX_STEP_EDIT, err);
    qx_mem_free(column);
    return st;
}

static enum qx_status purse_pay(struct qx_session *s, struct purse *p, int site, int bits,
                                const bool *pays, int *n_paid, struct qx_error *err)
{
    int to = -1;
    for (int c = 0; c < p->a.n_choices - 1; c++) {
        const struct qx_sens_column *col = qx_sens_column_at(s->search.map, p->column[c]);
        to = qx_format_is_scaled(col->format) && col->bits == bits && to < 0 ? c : to;
    }
    if (to < 0) {
        return qx_fail(err, QX_ERANGE, "the map has no column of %d bits", bits);
    }
    bool *payer = qx_mem_array((size_t)p->a.n_sites, sizeof *payer);
    uint8_t *was = qx_mem_array((size_t)p->a.n_sites, 1);
    enum qx_status st =
        payer && was ? QX_OK : qx_fail_nomem(err, (size_t)p->a.n_sites * sizeof *payer);
    for (int i = 0; st == QX_OK && i < p->a.n_sites; i++) {
        payer[i] = i != site && pays[s->search.item[p->layer[i]]];
        was[i] = p->choice[i];
    }
    if (st == QX_OK) {
        st = qx_alloc_pay(&p->a, site, to, payer, qx_alloc_cost(&p->a, p->choice), p->choice, err);
    }
    if (st == QX_EDATA && err) {
        qx_str_copy(err->text, sizeof err->text,
                    "the marked layers cannot pay for that: mark more, or raise it less");
    }
    st = st == QX_OK ? purse_load(s, p, was, n_paid, err) : st;
    qx_mem_free(payer);
    qx_mem_free(was);
    return st;
}

enum qx_status qx_session_purse(struct qx_session *s, int64_t item, int bits, const bool *pays,
                                int *n_paid, struct qx_error *err)
{
    struct purse p = {0};
    enum qx_status st = purse_make(s, &p, err);
    if (st == QX_OK) {
        const int site = site_of(&p, qx_session_map_layer(s, item));
        st = site < 0 ? qx_fail(err, QX_EDATA, "'%.100s' is not on the map", s->items.v[item].alias)
                      : purse_pay(s, &p, site, bits, pays, n_paid, err);
    }
    purse_release(&p);
    return st;
}

enum qx_status qx_session_trade(struct qx_session *s, struct qx_trade *out, struct qx_error *err)
{
    struct purse p = {0};
    struct qx_alloc_offer offer = {.up = -1};
    enum qx_status st = purse_make(s, &p, err);
    if (st == QX_OK) {
        st = qx_alloc_trade(&p.a, qx_alloc_cost(&p.a, p.choice), p.choice, &offer, err);
    }
    if (st == QX_OK) {
        const int64_t *item = s->search.item;
        *out = (struct qx_trade){.up = -1, .down = -1, .is_rank = p.is_rank};
        if (offer.up >= 0) {
            out->up = item[p.layer[offer.up]];
            out->up_column = p.column[offer.up_to];
            out->gain = offer.gain;
            out->bytes = offer.moved;
        }
        if (offer.up >= 0 && offer.down >= 0) {
            out->down = item[p.layer[offer.down]];
            out->down_column = p.column[offer.down_to];
        }
    }
    purse_release(&p);
    return st;
}

enum qx_status qx_session_trade_take(struct qx_session *s, const struct qx_trade *trade,
                                     struct qx_error *err)
{
    const struct qx_search *r = &s->search;
    if (!r->map || trade->up < 0) {
        return qx_fail(err, QX_EDATA, "there is no trade to take");
    }
    int *column = columns_new(r);
    if (!column) {
        return qx_fail_nomem(err, (size_t)r->n_rows * sizeof *column);
    }
    column[qx_session_map_layer(s, trade->up)] = trade->up_column;
    if (trade->down >= 0) {
        column[qx_session_map_layer(s, trade->down)] = trade->down_column;
    }
    const enum qx_status st = columns_load(s, r->map, column, QX_STEP_EDIT, err);
    qx_mem_free(column);
    return st;
}

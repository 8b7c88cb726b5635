/* Exact entries: the sites of the recipe in hand, each measured alone at its own setting once the hand
 * rests, and cells of the sensitivity map. They join the table that is asked. */
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const double rest_s = 0.15; /* after the last edit */
enum { FRESH_WAIT = 16 };          /* cells that wait while the map goes on */

/* ---- what is missing ---- */

/* The recipe is answered from the table that is built, on the same rows. */
static bool is_answered(const struct qx_session *s)
{
    const struct qx_predictor *p = &s->predictor;
    return p->is_on && !p->has_failed && p->mix && p->table && p->has_answer && p->n_unknown == 0 &&
           p->answer.sum.n_missing == 0 &&
           p->rows == qx_predict_base_n(qx_predict_table_base(p->table));
}

/* A new table or setting whose answer is looked up when the hand rests. */
static bool is_to_answer(const struct qx_session *s)
{
    const struct qx_predictor *p = &s->predictor;
    return p->is_on && !p->has_failed && p->table && p->is_dirty &&
           (p->mix || qx_predictor_exact_left(s, qx_clock_s()) > 0);
}

bool qx_predictor_exact_waits(const struct qx_session *s)
{
    const struct qx_measure *m = &s->measure;
    return (is_to_answer(s) || is_answered(s)) && s->predictor.exact_key != m->key_b &&
           m->key_b != m->key_fp32 && !qx_pending_open(s) && !qx_ranges_pending(s) &&
           !qx_methods_pending(s);
}

double qx_predictor_exact_left(const struct qx_session *s, double now_s)
{
    const double left = s->last_edit_s + rest_s - now_s;
    return left > 0 ? left : 0;
}

static bool is_missing(const struct qx_predictor *p, int layer, enum qx_site site)
{
    const uint64_t key = qx_predict_mix_layer(p->mix, layer)->key[site];
    return key != 0 && !qx_predict_table_has_exact(p->table, layer, site, key);
}

static int largest_first(const void *a, const void *b)
{
    const struct qx_exact_site *x = a, *y = b;
    return x->kl != y->kl ? (x->kl < y->kl) - (x->kl > y->kl) : x->layer - y->layer;
}

int qx_predictor_exact_list(struct qx_session *s, struct qx_exact_site **out)
{
    struct qx_predictor *p = &s->predictor;
    const int n_layers = qx_net_n_layers(s->net);
    struct qx_exact_site *v = qx_mem_array((size_t)n_layers * QX_SITE_COUNT + 1, sizeof *v);
    int n = 0;
    if (!v) {
        return 0;
    }
    for (int i = 0; i < n_layers * QX_SITE_COUNT; i++) {
        const int layer = i / QX_SITE_COUNT;
        const enum qx_site site = (enum qx_site)(i % QX_SITE_COUNT);
        if (is_missing(p, layer, site)) {
            v[n++] = (struct qx_exact_site){layer, site, p->seen[layer],
                                            qx_predict_mix_site_kl(p->mix, layer, site)};
        }
    }
    if (n == 0) {
        p->exact_key = s->measure.key_b;
        qx_mem_free(v);
        return 0;
    }
    qsort(v, (size_t)n, sizeof *v, largest_first);
    *out = v;
    return n;
}

/* ---- in the lane ---- */

void qx_predictor_entry_name(char *text, size_t cap, int layer, enum qx_site site, uint64_t key)
{
    snprintf(text, cap, "e%d-%d-x%016" PRIx64, layer, (int)site, key);
}

enum qx_status qx_predictor_exact_measure(struct qx_session *s, uint64_t key,
                                          struct qx_predict_probe *probe,
                                          const struct qx_exact_site *at, struct qx_pool *pool,
                                          struct qx_ctl *ctl, struct qx_predict_entry **out,
                                          struct qx_error *err)
{
    char name[64];
    struct qx_error why;
    qx_predictor_entry_name(name, sizeof name, at->layer, at->site,
                            qx_predict_key(&at->set, at->site));
    char *path = qx_predictor_path(s, key, name);
    enum qx_status st = QX_EFORMAT;
    if (path && qx_fs_exists(path)) { /* measured earlier, and gone from the table since */
        st = qx_predict_entry_load(path, key, qx_predict_probe_base(probe), out, NULL);
    }
    if (st != QX_OK) {
        st = qx_predict_probe_exact(probe, at->layer, at->site, &at->set, pool, ctl, out, err);
        if (st == QX_OK && path && qx_predict_entry_save(*out, path, key, &why) != QX_OK) {
            qx_log(QX_LOG_WARN, "a prediction's entry is not kept on disk: %s", why.text);
        }
    }
    qx_mem_free(path);
    return st;
}

/* ---- cells of the map ---- */

void qx_predictor_take(struct qx_session *s, const struct qx_predict_entry *entry)
{
    struct qx_predictor *p = &s->predictor;
    const size_t n = (size_t)p->n_fresh;
    if (!p->is_on || p->has_failed) {
        return;
    }
    if ((n & (n - 1)) == 0) { /* full at powers of two */
        struct qx_predict_entry **v = qx_mem_realloc(p->fresh, (n > 0 ? 2 * n : 1) * sizeof *v);
        if (!v) {
            return; /* it is on disk, and in the map */
        }
        p->fresh = v;
    }
    p->fresh[p->n_fresh++] = qx_predict_entry_ref(entry);
}

bool qx_predictor_fresh_due(const struct qx_session *s)
{
    const struct qx_predictor *p = &s->predictor;
    return p->n_fresh > 0 && p->growing && (s->search.n_left == 0 || p->n_fresh >= FRESH_WAIT);
}

void qx_predictor_fresh_drop(struct qx_predictor *p, int n)
{
    for (int i = 0; i < n; i++) {
        qx_predict_entry_unref(p->fresh[i]);
    }
    p->n_fresh -= n;
    for (int i = 0; i < p->n_fresh; i++) {
        p->fresh[i] = p->fresh[n + i];
    }
    if (p->n_fresh == 0) {
        qx_mem_free(p->fresh);
        p->fresh = NULL;
    }
}

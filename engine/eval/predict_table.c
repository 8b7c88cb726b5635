/* The table of measured sites: an immutable list of entries, shared by reference count. */
#include "eval/predict_impl.h"

#include "base/error.h"
#include "base/mem.h"
#include "kernels/kernels.h"

#include <string.h>

static struct qx_predict_table *table_alloc(const struct qx_predict_base *base, int n_layers, int n,
                                            struct qx_error *err)
{
    const size_t n_lists = (size_t)n_layers * QX_FAMILY_COUNT;
    struct qx_predict_table *t = qx_mem_zalloc(sizeof *t);
    if (!t) {
        qx_fail_nomem(err, sizeof *t);
        return NULL;
    }
    atomic_init(&t->refs, 1);
    t->base = qx_predict_base_ref(base);
    t->n_layers = n_layers;
    t->v = qx_mem_zalloc(((size_t)n + 1) * sizeof(struct qx_predict_entry *));
    t->dot = qx_mem_zalloc(((size_t)n + 1) * sizeof *t->dot);
    t->first = qx_mem_zalloc((n_lists + 1) * sizeof *t->first);
    t->n_family = qx_mem_zalloc((n_lists + 1) * sizeof *t->n_family);
    if (!t->v || !t->dot || !t->first || !t->n_family) {
        qx_predict_table_unref(t);
        qx_fail_nomem(err, ((size_t)n + n_lists) * sizeof(double));
        return NULL;
    }
    return t;
}

enum qx_status qx_predict_table_new(const struct qx_predict_base *base, int n_layers,
                                    struct qx_predict_table **out, struct qx_error *err)
{
    if (n_layers < 0) {
        return qx_fail(err, QX_ERANGE, "a network cannot have %d layers", n_layers);
    }
    struct qx_predict_table *t = table_alloc(base, n_layers, 0, err);
    if (!t) {
        return QX_ENOMEM;
    }
    *out = t;
    return QX_OK;
}

struct qx_predict_table *qx_predict_table_ref(const struct qx_predict_table *table)
{
    struct qx_predict_table *t = (struct qx_predict_table *)table;
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void qx_predict_table_unref(struct qx_predict_table *t)
{
    if (t && atomic_fetch_sub(&t->refs, 1) == 1) {
        for (int i = 0; t->v && i < t->n; i++) {
            qx_predict_entry_unref(t->v[i]);
        }
        qx_predict_base_unref(t->base);
        qx_mem_free(t->v);
        qx_mem_free(t->dot);
        qx_mem_free(t->first);
        qx_mem_free(t->n_family);
        qx_mem_free(t);
    }
}

static int list_of(const struct qx_predict_entry *e)
{
    return e->spec.layer * QX_FAMILY_COUNT + (int)e->spec.family;
}

/* By layer and family; of those exact ones last, as they come; by t. */
static bool is_before(const struct qx_predict_entry *a, const struct qx_predict_entry *b)
{
    const int la = list_of(a), lb = list_of(b);
    if (la != lb) {
        return la < lb;
    }
    return a->key == 0 && (b->key != 0 || qx_entry_t(a) < qx_entry_t(b));
}

/* First of the exact entries of this one's site, when there is no room for more; -1 = there is. */
static int oldest(const struct qx_predict_table *t, const struct qx_predict_entry *e)
{
    const int list = list_of(e), first = t->first[list] + t->n_family[list];
    return e->key != 0 && t->first[list + 1] - first >= QX_PREDICT_EXACT ? first : -1;
}

static bool is_same(const struct qx_predict_entry *a, const struct qx_predict_spec *spec,
                    uint64_t key)
{
    return a->spec.layer == spec->layer && a->spec.family == spec->family && a->key == key &&
           (key != 0 || a->spec.param == spec->param);
}

static const struct qx_predict_entry *find(const struct qx_predict_table *t,
                                           const struct qx_predict_spec *spec, uint64_t key)
{
    const int list = spec->layer * QX_FAMILY_COUNT + (int)spec->family;
    for (int i = t->first[list]; i < t->first[list + 1]; i++) {
        if (is_same(t->v[i], spec, key)) {
            return t->v[i];
        }
    }
    return NULL;
}

/* Where the lists begin; inner products of neighbours, taken from the old table where both were
 * neighbours there. */
static enum qx_status index_table(struct qx_predict_table *t, const struct qx_predict_table *old,
                                  struct qx_error *err)
{
    const int n_lists = t->n_layers * QX_FAMILY_COUNT;
    const size_t cells = (size_t)t->base->n * (size_t)t->base->width;
    float *x = NULL;
    for (int i = 0; i < t->n; i++) {
        t->first[list_of(t->v[i]) + 1]++;
        t->n_family[list_of(t->v[i])] += t->v[i]->key == 0;
    }
    for (int l = 0; l < n_lists; l++) {
        t->first[l + 1] += t->first[l];
    }
    for (int i = 0, j = 0; i + 1 < t->n; i++) {
        if (list_of(t->v[i]) != list_of(t->v[i + 1]) || t->v[i + 1]->key != 0) {
            continue;
        }
        while (j < old->n && is_before(old->v[j], t->v[i])) {
            j++;
        }
        if (j + 1 < old->n && old->v[j] == t->v[i] && old->v[j + 1] == t->v[i + 1]) {
            t->dot[i] = old->dot[j];
            continue;
        }
        if (!x && !(x = qx_mem_array(cells, 2 * sizeof *x))) {
            return qx_fail_nomem(err, cells * 2 * sizeof *x);
        }
        qxk_get()->f16_to_f32(t->v[i]->r, cells, x);
        qxk_get()->f16_to_f32(t->v[i + 1]->r, cells, x + cells);
        for (size_t k = 0; k < cells; k++) {
            t->dot[i] += (double)x[k] * (double)x[cells + k];
        }
    }
    qx_mem_free(x);
    return QX_OK;
}

enum qx_status qx_predict_table_add(const struct qx_predict_table *table,
                                    const struct qx_predict_entry *entry,
                                    struct qx_predict_table **out, struct qx_error *err)
{
    if (entry->base_id != table->base->id || entry->n != table->base->n ||
        entry->width != table->base->width || entry->spec.layer < 0 ||
        entry->spec.layer >= table->n_layers || (int)entry->spec.family < 0 ||
        entry->spec.family >= QX_FAMILY_COUNT) {
        return qx_fail(err, QX_ERANGE,
                       "the measured site belongs to other rows or another network");
    }
    struct qx_predict_table *t = table_alloc(table->base, table->n_layers, table->n + 1, err);
    if (!t) {
        return QX_ENOMEM;
    }
    const bool is_known = entry->key != 0 && find(table, &entry->spec, entry->key);
    const int out_of_room = is_known ? -1 : oldest(table, entry);
    bool is_in = false;
    for (int i = 0; i < table->n; i++) {
        if (i == out_of_room || is_same(table->v[i], &entry->spec, entry->key)) {
            continue;
        }
        if (!is_in && is_before(entry, table->v[i])) {
            t->v[t->n++] = qx_predict_entry_ref(entry);
            is_in = true;
        }
        t->v[t->n++] = qx_predict_entry_ref(table->v[i]);
    }
    if (!is_in) {
        t->v[t->n++] = qx_predict_entry_ref(entry);
    }
    enum qx_status st = index_table(t, table, err);
    if (st != QX_OK) {
        qx_predict_table_unref(t);
        return st;
    }
    *out = t;
    return QX_OK;
}

const struct qx_predict_base *qx_predict_table_base(const struct qx_predict_table *table)
{
    return table->base;
}

int qx_predict_table_n_layers(const struct qx_predict_table *table)
{
    return table->n_layers;
}

int qx_predict_table_n(const struct qx_predict_table *table)
{
    return table->n;
}

const struct qx_predict_entry *qx_predict_table_entry(const struct qx_predict_table *table, int i)
{
    return i >= 0 && i < table->n ? table->v[i] : NULL;
}

bool qx_predict_table_has(const struct qx_predict_table *table, const struct qx_predict_spec *spec)
{
    return find(table, spec, 0) != NULL;
}

static struct qx_predict_spec exact_spec(int layer, enum qx_site site)
{
    return (struct qx_predict_spec){
        .layer = layer, .family = site == QX_SITE_W ? QX_FAMILY_W_ROUND : QX_FAMILY_A_ROUND};
}

const struct qx_predict_entry *qx_table_exact(const struct qx_predict_table *table, int layer,
                                              enum qx_site site, uint64_t key)
{
    const struct qx_predict_spec spec = exact_spec(layer, site);
    return key ? find(table, &spec, key) : NULL;
}

bool qx_predict_table_has_exact(const struct qx_predict_table *table, int layer, enum qx_site site,
                                uint64_t key)
{
    return qx_table_exact(table, layer, site, key) != NULL;
}

bool qx_predict_table_covers(const struct qx_predict_table *table, int layer,
                             const struct qx_predict_layer *change)
{
    struct qx_piece pieces[QX_PIECES];
    return qx_pieces_of(table, layer, change, pieces) == 0;
}

/* Overlays of the recipe, in any thread; methods_job.c runs them in the background. */
#include "session/methods.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void qx_methods_init(struct qx_session *s)
{
    pthread_mutex_init(&s->methods.lock, NULL);
}

void qx_methods_release(struct qx_session *s)
{
    for (int i = 0; i < s->methods.n; i++) {
        qx_overlay_free(s->methods.v[i]);
    }
    qx_mem_free(s->methods.v);
    pthread_mutex_destroy(&s->methods.lock);
}

static char *path_of(const struct qx_session *s, uint64_t key)
{
    char name[48];
    snprintf(name, sizeof name, "overlay-%016" PRIx64 ".qxh", key);
    return s->cache.dir ? qx_fs_join(s->cache.dir, name) : NULL;
}

static const struct qx_overlay *in_memory(struct qx_methods *m, uint64_t key)
{
    const struct qx_overlay *found = NULL;
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < m->n && !found; i++) {
        found = m->v[i]->key == key ? m->v[i] : NULL;
    }
    pthread_mutex_unlock(&m->lock);
    return found;
}

/* Takes it over; one that another thread brought first serves as well. */
static const struct qx_overlay *put(struct qx_methods *m, struct qx_overlay *o)
{
    const struct qx_overlay *there = in_memory(m, o->key);
    if (there) {
        qx_overlay_free(o);
        return there;
    }
    pthread_mutex_lock(&m->lock);
    if (m->n == m->cap) {
        const int cap = m->cap ? 2 * m->cap : 32;
        struct qx_overlay **v = qx_mem_realloc(m->v, (size_t)cap * sizeof *v);
        if (!v) {
            pthread_mutex_unlock(&m->lock);
            qx_overlay_free(o);
            return NULL;
        }
        m->v = v;
        m->cap = cap;
    }
    m->v[m->n++] = o;
    pthread_mutex_unlock(&m->lock);
    return o;
}

static const struct qx_overlay *find(void *arg, int layer, uint64_t key,
                                     const struct qx_setting *set)
{
    struct qx_session *s = arg;
    const struct qx_overlay *there = in_memory(&s->methods, key);
    char *path = there ? NULL : path_of(s, key);
    struct qx_overlay *o = NULL;
    struct qx_error why;
    if (path && qx_fs_exists(path) &&
        qx_overlay_load(path, key, qx_net_layer(s->net, layer)->channels, set, &o, &why) != QX_OK) {
        qx_log(QX_LOG_INFO, "%s", why.text);
    }
    qx_mem_free(path);
    return there ? there : o ? put(&s->methods, o) : NULL;
}

const struct qx_overlay *qx_methods_keep(struct qx_session *s, struct qx_overlay *o)
{
    char *path = path_of(s, o->key);
    struct qx_error why;
    if (path && qx_overlay_save(o, path, &why) != QX_OK) {
        qx_log(QX_LOG_WARN, "what a method chose is not kept on disk: %s", why.text);
    }
    qx_mem_free(path);
    return put(&s->methods, o);
}

static const struct qx_overlay *keep(void *arg, int layer, struct qx_overlay *o)
{
    (void)layer;
    return qx_methods_keep(arg, o);
}

/* Overlays that the recipe names by their key, as far as they are there. */
static void named_find(struct qx_session *s, struct qx_setting *set)
{
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        if (!qx_setting_awaits(&set[i]) || set[i].overlay_key == 0) {
            continue;
        }
        struct qx_setting plain = set[i];
        plain.act = (struct qx_act){0};
        plain.overlay = NULL;
        plain.overlay_key = 0;
        set[i].overlay = find(s, i, set[i].overlay_key, &plain);
        set[i].overlay_key = 0;
        const struct qx_overlay *o = qx_setting_overlay(&set[i]);
        if (!o || !qx_overlay_serves(o, &set[i].act)) { /* of another setting, or not there */
            set[i].overlay = NULL;
        }
    }
}

static bool any_awaits(const struct qx_session *s, const struct qx_setting *set)
{
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        if (qx_setting_awaits(&set[i])) {
            return true;
        }
    }
    return false;
}

static bool needs_inputs(const struct qx_session *s, const struct qx_setting *set)
{
    struct qx_algo a;
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        if (qx_setting_awaits(&set[i]) && qx_algo_parse(set[i].algo, &a, NULL, NULL) == QX_OK &&
            qx_algo_needs_inputs(&a, &set[i])) {
            return true;
        }
    }
    return false;
}

enum qx_status qx_methods_resolve(struct qx_session *s, struct qx_setting *set, struct qx_ctl *ctl,
                                  struct qx_error *err)
{
    struct qx_dataset *own = NULL;
    struct qx_methods_run run = {
        .net = s->net, .find = find, .keep = keep, .arg = s, .key = qx_ranges_net_hash(s)};
    enum qx_status st = QX_OK;
    if (!any_awaits(s, set)) {
        return QX_OK;
    }
    named_find(s, set);
    if (needs_inputs(s, set)) {
        st = qx_ranges_data(s, &own, &run.data, &run.n_rows, err);
        if (st == QX_OK) {
            const char *hash = qx_dataset_hash(run.data);
            run.key = qx_hash64(hash, strlen(hash), run.key);
        }
    }
    if (st == QX_OK) {
        st = qx_methods_run(&run, set, s->pool, ctl, err);
    }
    qx_dataset_close(&own);
    return st;
}

enum qx_status qx_settings_resolve(struct qx_session *s, struct qx_setting *set, struct qx_ctl *ctl,
                                   struct qx_error *err)
{
    const enum qx_status st = qx_ranges_resolve(s, set, ctl, err);
    return st == QX_OK ? qx_methods_resolve(s, set, ctl, err) : st;
}

enum qx_status qx_methods_resolve_recipe(struct qx_session *s, struct qx_ctl *ctl,
                                         struct qx_error *err)
{
    struct qx_setting *set = s->net ? qx_measure_settings(s, &s->now) : NULL;
    if (!s->net) {
        return QX_OK;
    }
    if (!set) {
        return qx_fail_nomem(err, (size_t)qx_net_n_layers(s->net) * sizeof *set);
    }
    enum qx_status st = qx_methods_resolve(s, set, ctl, err);
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(s->net); i++) {
        struct qx_setting *now = &s->now.set[qx_net_layer(s->net, i)->tensor];
        now->overlay = set[i].overlay;
        now->overlay_key = 0;
    }
    qx_mem_free(set);
    qx_methods_touched(s);
    return st;
}

enum qx_status qx_methods_check(const struct qx_session *s, int64_t item,
                                const struct qx_setting *set, struct qx_error *err)
{
    const char *name = s->items.v[item].tensor->name;
    const int layer = s->net ? qx_net_layer_of_tensor(s->net, item) : -1;
    if (!set->algo[0] || !qx_format_is_scaled(set->format)) {
        return QX_OK;
    }
    if (!s->net) {
        return qx_fail_at(err, QX_EUNSUPPORTED, NULL, name, -1, "'%s' cannot take %s: %s", name,
                          set->algo, s->net_error.text);
    }
    if (layer < 0) {
        return qx_fail_at(err, QX_EUNSUPPORTED, NULL, name, -1,
                          "'%s' cannot take %s: no layer of the network reads it", name, set->algo);
    }
    return qx_algo_check(s->net, layer, name, set, err);
}

enum qx_status qx_methods_check_recipe(const struct qx_session *s, const struct qx_recipe *r,
                                       struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int64_t i = 0; st == QX_OK && i < r->n; i++) {
        st = qx_methods_check(s, i, &r->set[i], err);
    }
    return st;
}

/* Calibrations and the ranges that come of them, in any thread: made once, kept in memory and on disk. */
#include "session/ranges.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/cpu.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MOST = 1024, ROWS_OF_EVAL = 256 };

void qx_ranges_init(struct qx_session *s)
{
    pthread_mutex_init(&s->ranges.lock, NULL);
}

void qx_ranges_release(struct qx_session *s)
{
    qx_calibration_unref(s->ranges.calibration);
    qx_mem_free(s->ranges.source);
    pthread_mutex_destroy(&s->ranges.lock);
}

/* "random:64" -> 64; 0 when the source is something else. */
static int64_t noise_rows(const char *source)
{
    long long n = 0;
    char rest;
    if (!source || sscanf(source, "random:%9lld%c", &n, &rest) != 1) {
        return 0;
    }
    return n;
}

/* The rows to calibrate on. *own: opened here. */
static enum qx_status data_find(struct qx_session *s, const char *named, struct qx_dataset **own,
                                const struct qx_dataset **out, struct qx_session_calib *info,
                                struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_dataset_options options = s->data_options;
    options.ctl = ctl;
    char *path = named ? NULL : qx_fs_join(qx_model_folder(s->model), "calib.safetensors");
    enum qx_status st = QX_OK;
    pthread_mutex_lock(&s->ranges.lock); /* the model's own text arrives later */
    const struct qx_dataset *data = s->data;
    pthread_mutex_unlock(&s->ranges.lock);
    if (!named && !path) {
        return qx_fail_nomem(err, 1);
    }
    if (named || qx_fs_exists(path)) {
        st = qx_dataset_open_with(named ? named : path, s->net, &options, own, err);
        *out = *own;
        info->n = ROWS_MOST;
    } else if (data) {
        *out = data;
        info->n = ROWS_OF_EVAL;
        snprintf(info->note, sizeof info->note,
                 "There is no calib.safetensors beside the model: the ranges of activations come "
                 "from the first rows of the evaluation data, which flatters the result.");
    } else {
        st =
            qx_fail(err, QX_EDATA,
                    "activations need rows to find their ranges, and there is no calib.safetensors "
                    "beside the model: name a file with --calib FILE, %s, or use --dynamic",
                    qx_net_is_words(s->net) ? "let the model write its own with --calib self"
                                            : "take noise with --calib random:64");
    }
    qx_mem_free(path);
    return st;
}

/* ---- on disk ---- */

/* Everything that the figures depend on: weights, graph, rows, and the float arithmetic. */
uint64_t qx_ranges_net_hash(const struct qx_session *s)
{
    enum { GRAPH_MOST = 16 << 20 };
    const char *const words[] = {QX_VERSION, qx_isa_name(qx_cpu_get()->isa)};
    uint64_t h = s->file_hash;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        h = qx_hash64(words[i], strlen(words[i]), h);
    }
    char *path = qx_fs_join(qx_model_folder(s->model), "graph.json"), *text = NULL;
    size_t len = 0;
    if (path && qx_fs_exists(path) && qx_fs_read(path, GRAPH_MOST, &text, &len, NULL) == QX_OK) {
        h = qx_hash64(text, len, h);
    }
    qx_mem_free(text);
    qx_mem_free(path);
    return h;
}

static uint64_t cache_key(const struct qx_session *s, const struct qx_session_calib *info)
{
    const uint64_t whole[3] = {(uint64_t)info->n, info->is_noise, info->is_noise ? s->seed : 0};
    const uint64_t h = qx_hash64(info->hash, strlen(info->hash), qx_ranges_net_hash(s));
    return qx_hash64(whole, sizeof whole, h);
}

static char *cache_path(const struct qx_session *s, uint64_t key)
{
    char name[40];
    snprintf(name, sizeof name, "calib-%016" PRIx64 ".qxh", key);
    return s->cache.dir ? qx_fs_join(s->cache.dir, name) : NULL;
}

static enum qx_status kept_or_run(struct qx_session *s, const struct qx_dataset *data,
                                  struct qx_session_calib *info, struct qx_ctl *ctl,
                                  struct qx_calibration **out, struct qx_error *err)
{
    const uint64_t key = cache_key(s, info);
    char *path = cache_path(s, key);
    struct qx_error why;
    enum qx_status st = QX_EDATA;
    if (path && qx_fs_exists(path)) {
        st = qx_calibration_load(s->net, path, key, out, &why);
        info->is_kept = st == QX_OK;
        if (st != QX_OK) {
            qx_log(QX_LOG_INFO, "%s", why.text);
        }
    }
    if (st != QX_OK) {
        st = qx_calibration_run(s->net, data, info->n, s->seed, s->pool, ctl, out, err);
        if (st == QX_OK && path && qx_calibration_save(*out, path, key, &why) != QX_OK) {
            qx_log(QX_LOG_WARN, "the calibration is not kept on disk: %s", why.text);
        }
    }
    qx_mem_free(path);
    return st;
}

/* ---- in any thread ---- */

static enum qx_status calibrate(struct qx_session *s, const char *source, struct qx_ctl *ctl,
                                struct qx_session_calib *info, struct qx_calibration **out,
                                struct qx_error *err)
{
    struct qx_dataset *own = NULL;
    const struct qx_dataset *data = NULL;
    enum qx_status st = QX_OK;
    *info = (struct qx_session_calib){.n = noise_rows(source), .is_named = source != NULL};
    if (info->n > 0) {
        info->is_noise = true;
        qx_str_copy(info->source, sizeof info->source, source);
        snprintf(info->note, sizeof info->note,
                 "The ranges of activations come from noise, not from data.");
    } else {
        st = data_find(s, source, &own, &data, info, ctl, err);
        if (st == QX_OK && source && strncmp(source, "self", 4) == 0) {
            qx_str_copy(info->note, sizeof info->note, qx_dataset_note(data));
        }
        if (st == QX_OK) {
            qx_str_copy(info->source, sizeof info->source, qx_dataset_path(data));
            qx_str_copy(info->hash, sizeof info->hash, qx_dataset_hash(data));
            info->n = qx_dataset_n(data) < info->n ? qx_dataset_n(data) : info->n;
        }
    }
    if (st == QX_OK) {
        st = kept_or_run(s, data, info, ctl, out, err);
    }
    if (st != QX_OK && st != QX_ECANCELLED && st != QX_ENOMEM) {
        qx_error_context(err, "calibrating the activations");
    }
    qx_dataset_close(&own);
    return st;
}

enum qx_status qx_ranges_data(struct qx_session *s, struct qx_dataset **own,
                              const struct qx_dataset **out, int64_t *n_rows, struct qx_error *err)
{
    struct qx_ranges *r = &s->ranges;
    struct qx_session_calib info = {0};
    pthread_mutex_lock(&r->lock);
    const bool is_named = r->source != NULL;
    char *source = is_named ? qx_mem_strdup(r->source) : NULL;
    pthread_mutex_unlock(&r->lock);
    *own = NULL;
    enum qx_status st = is_named && !source ? qx_fail_nomem(err, 1) : QX_OK;
    if (st == QX_OK && noise_rows(source) > 0) {
        st = qx_fail(err, QX_EDATA,
                     "methods need real rows to look at the inputs of layers, not noise: name a "
                     "file with --calib FILE");
    }
    if (st == QX_OK) {
        st = data_find(s, source, own, out, &info, NULL, err);
    }
    if (st == QX_OK) {
        *n_rows = qx_dataset_n(*out) < info.n ? qx_dataset_n(*out) : info.n;
    }
    qx_mem_free(source);
    return st;
}

static struct qx_calibration *calibration_now(struct qx_ranges *r)
{
    pthread_mutex_lock(&r->lock);
    struct qx_calibration *c = r->calibration ? qx_calibration_ref(r->calibration) : NULL;
    pthread_mutex_unlock(&r->lock);
    return c;
}

/* Unless the source was changed meanwhile. */
static void publish(struct qx_ranges *r, struct qx_calibration *c,
                    const struct qx_session_calib *info, int64_t generation)
{
    pthread_mutex_lock(&r->lock);
    if (!r->calibration && r->generation == generation) {
        r->calibration = qx_calibration_ref(c);
        r->info = *info;
    }
    pthread_mutex_unlock(&r->lock);
}

enum qx_status qx_ranges_get(struct qx_session *s, struct qx_ctl *ctl, struct qx_calibration **out,
                             struct qx_error *err)
{
    struct qx_ranges *r = &s->ranges;
    struct qx_session_calib info;
    struct qx_calibration *c = calibration_now(r);
    if (c) {
        *out = c;
        return QX_OK;
    }
    pthread_mutex_lock(&r->lock);
    const bool is_named = r->source != NULL;
    const int64_t generation = r->generation;
    char *source = is_named ? qx_mem_strdup(r->source) : NULL;
    pthread_mutex_unlock(&r->lock);
    enum qx_status st =
        is_named && !source ? qx_fail_nomem(err, 1) : calibrate(s, source, ctl, &info, &c, err);
    if (st == QX_OK) {
        publish(r, c, &info, generation);
        *out = c;
    }
    qx_mem_free(source);
    return st;
}

bool qx_ranges_is_open(const struct qx_setting *set)
{
    return qx_setting_is_int(set) && qx_act_open(&set->act);
}

enum qx_status qx_ranges_resolve(struct qx_session *s, struct qx_setting *set, struct qx_ctl *ctl,
                                 struct qx_error *err)
{
    struct qx_calibration *c = NULL;
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(s->net); i++) {
        if (!qx_ranges_is_open(&set[i])) {
            continue;
        }
        if (!c) {
            st = qx_ranges_get(s, ctl, &c, err);
        }
        if (st == QX_OK) {
            st = qx_act_resolve(&set[i].act, qx_calibration_layer(c, i), err);
        }
        if (st != QX_OK && st != QX_ECANCELLED && st != QX_ENOMEM) {
            qx_error_context(err, "layer '%.100s'", qx_net_layer(s->net, i)->name);
        }
    }
    qx_calibration_unref(c);
    return st;
}

enum qx_status qx_ranges_resolve_recipe(struct qx_session *s, struct qx_ctl *ctl,
                                        struct qx_error *err)
{
    const int n = s->net ? qx_net_n_layers(s->net) : 0;
    bool any = false;
    for (int i = 0; i < n; i++) {
        any |= qx_ranges_is_open(&s->now.set[qx_net_layer(s->net, i)->tensor]);
    }
    if (!any) {
        return QX_OK;
    }
    struct qx_setting *set = qx_mem_array((size_t)n, sizeof *set);
    if (!set) {
        return qx_fail_nomem(err, (size_t)n * sizeof *set);
    }
    for (int i = 0; i < n; i++) {
        set[i] = s->now.set[qx_net_layer(s->net, i)->tensor];
    }
    enum qx_status st = qx_ranges_resolve(s, set, ctl, err);
    for (int i = 0; st == QX_OK && i < n; i++) { /* no edit: the recipe now says it in numbers */
        s->now.set[qx_net_layer(s->net, i)->tensor].act = set[i].act;
    }
    qx_mem_free(set);
    qx_ranges_touched(s);
    return st;
}

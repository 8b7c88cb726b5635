#include "session/ranges.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MOST = 1024, ROWS_OF_EVAL = 256 };

void qx_ranges_release(struct qx_session *s)
{
    qx_calibration_free(s->ranges.calibration);
    qx_mem_free(s->ranges.source);
    s->ranges = (struct qx_ranges){0};
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
static enum qx_status data_find(struct qx_session *s, struct qx_dataset **own,
                                const struct qx_dataset **out, struct qx_session_calib *info,
                                struct qx_error *err)
{
    const char *named = s->ranges.source;
    char *path = named ? NULL : qx_fs_join(qx_model_folder(s->model), "calib.safetensors");
    enum qx_status st = QX_OK;
    if (!named && !path) {
        return qx_fail_nomem(err, 1);
    }
    if (named || qx_fs_exists(path)) {
        st = qx_dataset_open(named ? named : path, s->net, own, err);
        *out = *own;
        info->n = ROWS_MOST;
    } else if (s->data) {
        *out = s->data;
        info->n = ROWS_OF_EVAL;
        snprintf(info->note, sizeof info->note,
                 "There is no calib.safetensors beside the model: the ranges of activations come "
                 "from the first rows of the evaluation data, which flatters the result.");
    } else {
        st = qx_fail(err, QX_EDATA,
                     "activations need data to find their ranges, and there is no "
                     "calib.safetensors beside the model: name a file with --calib FILE, or use "
                     "--dynamic");
    }
    qx_mem_free(path);
    return st;
}

static enum qx_status calibrate(struct qx_session *s, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_ranges *r = &s->ranges;
    struct qx_session_calib info = {.n = noise_rows(r->source)};
    struct qx_dataset *own = NULL;
    const struct qx_dataset *data = NULL;
    enum qx_status st = QX_OK;
    if (info.n > 0) {
        qx_str_copy(info.source, sizeof info.source, r->source);
        snprintf(info.note, sizeof info.note,
                 "The ranges of activations come from noise, not from data.");
    } else {
        st = data_find(s, &own, &data, &info, err);
        if (st == QX_OK) {
            qx_str_copy(info.source, sizeof info.source, qx_dataset_path(data));
            qx_str_copy(info.hash, sizeof info.hash, qx_dataset_hash(data));
        }
    }
    if (st == QX_OK) {
        st = qx_calibration_run(s->net, data, info.n, s->seed, s->pool, ctl, &r->calibration, err);
    }
    if (st == QX_OK) {
        info.n = qx_calibration_rows(r->calibration);
        r->info = info;
    } else if (st != QX_ECANCELLED && st != QX_ENOMEM) {
        qx_error_context(err, "calibrating the activations");
    }
    qx_dataset_close(&own);
    return st;
}

static bool is_open(const struct qx_setting *set)
{
    return set->format->kind == QX_FORMAT_AFFINE && qx_act_open(&set->act);
}

enum qx_status qx_ranges_resolve(struct qx_session *s, struct qx_setting *set, struct qx_ctl *ctl,
                                 struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(s->net); i++) {
        if (!is_open(&set[i])) {
            continue;
        }
        if (!s->ranges.calibration) {
            st = calibrate(s, ctl, err);
        }
        if (st == QX_OK) {
            const struct qx_observed *o = qx_calibration_layer(s->ranges.calibration, i);
            st = qx_act_resolve(&set[i].act, o, err);
        }
        if (st != QX_OK && st != QX_ECANCELLED && st != QX_ENOMEM) {
            qx_error_context(err, "layer '%.100s'", qx_net_layer(s->net, i)->name);
        }
    }
    return st;
}

enum qx_status qx_ranges_resolve_recipe(struct qx_session *s, struct qx_ctl *ctl,
                                        struct qx_error *err)
{
    const int n = s->net ? qx_net_n_layers(s->net) : 0;
    bool any = false;
    for (int i = 0; i < n; i++) {
        any |= is_open(&s->now.set[qx_net_layer(s->net, i)->tensor]);
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
    pthread_mutex_lock(&s->measure.weights_lock);
    enum qx_status st = qx_ranges_resolve(s, set, ctl, err);
    pthread_mutex_unlock(&s->measure.weights_lock);
    for (int i = 0; st == QX_OK && i < n;
         i++) { /* no edit: what the recipe says is now in numbers */
        s->now.set[qx_net_layer(s->net, i)->tensor].act = set[i].act;
    }
    qx_mem_free(set);
    return st;
}

bool qx_session_calib(const struct qx_session *s, struct qx_session_calib *out)
{
    if (!s->ranges.calibration) {
        return false;
    }
    *out = s->ranges.info;
    return true;
}

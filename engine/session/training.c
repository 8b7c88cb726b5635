/* Training from the open model. */
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/grad.h"
#include "qx/qat.h"
#include "session/session_impl.h"
#include "session/write_model.h"

#include <string.h>

/* Where the rows to train on lie; free with qx_mem_free. */
static enum qx_status data_find(const struct qx_session *s, const char *named, char **out,
                                struct qx_error *err)
{
    const char *below = qx_net_train_data(s->net);
    char *installed =
        s->datasets_dir && below && !named ? qx_fs_join(s->datasets_dir, below) : NULL;
    char *own = qx_fs_join(qx_model_folder(s->model), "train.safetensors");
    const char *path = named                                  ? named
                       : installed && qx_fs_exists(installed) ? installed
                       : own && qx_fs_exists(own)             ? own
                                                              : NULL;
    enum qx_status st = QX_OK;
    if (path) {
        *out = qx_mem_strdup(path);
        st = *out ? QX_OK : qx_fail_nomem(err, strlen(path) + 1);
    } else if (installed) {
        st = qx_fail(
            err, QX_EDATA,
            "There is no train.safetensors beside the model, and no %.200s (Debian: apt-get "
            "install dataset-%.*s): name labelled data with --train-data FILE to train.",
            installed, (int)strcspn(below, "/"), below);
    } else {
        st = qx_fail(err, QX_EDATA,
                     "There is no train.safetensors beside the model: name labelled data with "
                     "--train-data FILE to train.");
    }
    qx_mem_free(installed);
    qx_mem_free(own);
    return st;
}

enum qx_status qx_session_train_data(const struct qx_session *s, const char *data, char *path,
                                     size_t cap, struct qx_error *err)
{
    char *found;
    const enum qx_status st = data_find(s, data, &found, err);
    if (st == QX_OK) {
        qx_str_copy(path, cap, found);
        qx_mem_free(found);
    }
    return st;
}

enum qx_status qx_session_train_check(struct qx_session *s, const char *data, const char *out_dir,
                                      struct qx_error *err)
{
    if (!s->net || !s->data) {
        const struct qx_error *why = s->net ? &s->data_error : &s->net_error;
        if (err) {
            *err = *why;
        }
        return why->status;
    }
    if (strcmp(qx_net_task(s->net), "classification") != 0 && !qx_net_is_words(s->net)) {
        return qx_fail(
            err, QX_EUNSUPPORTED,
            "Training takes networks that classify, and language models; this one is for %s.",
            qx_net_task(s->net));
    }
    char *path = NULL;
    enum qx_status st = data_find(s, data, &path, err);
    qx_mem_free(path);
    const struct qx_write w = {s->model, &s->items, &s->now, s->pool, NULL};
    return st == QX_OK && out_dir ? qx_write_check(&w, out_dir, err) : st;
}

enum qx_status qx_training_data(const struct qx_session *s, const char *named,
                                struct qx_dataset **out, struct qx_error *err)
{
    char *path = NULL;
    enum qx_status st = data_find(s, named, &path, err);
    if (st == QX_OK) {
        st = qx_dataset_open_with(path, s->net, &s->data_options, out, err);
    }
    qx_mem_free(path);
    return st;
}

enum qx_status qx_training_settings(struct qx_session *s, struct qx_setting *set,
                                    struct qx_ctl *ctl, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(s->net); i++) {
        const struct qx_layer *l = qx_net_layer(s->net, i);
        struct qx_hist_spec spec = qx_setting_spec(&set[i], l->channels);
        struct qx_hist *hist = NULL;
        if (!qx_setting_open(&set[i])) {
            continue;
        }
        st =
            qx_hist_build(qx_model_tensor(s->model, l->tensor), &spec, 0, s->pool, ctl, &hist, err);
        if (st == QX_OK) {
            qx_setting_choose(&set[i], hist);
        }
        qx_hist_unref(hist);
    }
    return st == QX_OK ? qx_ranges_resolve(s, set, ctl, err) : st;
}

enum qx_status qx_training_recipe(const struct qx_session *s, const struct qx_trained *t,
                                  struct qx_recipe *out, struct qx_error *err)
{
    enum qx_status st = qx_recipe_init(out, s->items.n, err);
    if (st != QX_OK) {
        return st;
    }
    qx_recipe_copy(out, &s->now);
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        const int64_t item = qx_net_layer(s->net, i)->tensor;
        out->set[item] = t->set[i];
        out->origin[item] = QX_ORIGIN_METHOD;
    }
    return QX_OK;
}

enum qx_status qx_session_run_train(struct qx_session *s, const char *data,
                                    const struct qx_train_options *options,
                                    const struct qx_train_watch *watch, struct qx_ctl *ctl,
                                    struct qx_trained **out, struct qx_error *err)
{
    struct qx_dataset *rows = NULL;
    struct qx_setting *set = NULL;
    enum qx_status st = qx_session_train_check(s, data, NULL, err);
    if (st == QX_OK) {
        st = qx_training_data(s, data, &rows, err);
    }
    if (st == QX_OK) {
        st = qx_session_run_resolve(s, ctl, err);
    }
    if (st == QX_OK) {
        set = qx_measure_settings(s, &s->now);
        st = set ? QX_OK : qx_fail_nomem(err, sizeof *set);
    }
    if (st == QX_OK) {
        if (ctl) {
            atomic_store(&ctl->done, 0);
        }
        st = qx_train_run(s->net, rows, s->data, set, options, watch, s->pool, ctl, out, err);
    }
    qx_mem_free(set);
    qx_dataset_close(&rows);
    return st;
}

enum qx_status qx_session_write_trained(struct qx_session *s, const struct qx_trained *t,
                                        const char *out_dir, struct qx_ctl *ctl,
                                        struct qx_error *err)
{
    struct qx_recipe r;
    enum qx_status st = qx_training_recipe(s, t, &r, err);
    if (st != QX_OK) {
        return st;
    }
    const struct qx_write w = {s->model, &s->items, &r, s->pool, t};
    st = qx_write_folder(&w, out_dir, ctl, err);
    qx_recipe_release(&r);
    return st;
}

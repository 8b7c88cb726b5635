/* Training from the open model. */
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "qx/grad.h"
#include "qx/qat.h"
#include "session/session_impl.h"
#include "session/write_model.h"

#include <string.h>

/* The training data's path; free with qx_mem_free. */
static enum qx_status data_find(const struct qx_session *s, const char *named, char **out,
                                struct qx_error *err)
{
    char *path =
        named ? qx_mem_strdup(named) : qx_fs_join(qx_model_folder(s->model), "train.safetensors");
    if (!path) {
        return qx_fail_nomem(err, 1);
    }
    if (!named && !qx_fs_exists(path)) {
        qx_mem_free(path);
        return qx_fail(err, QX_EDATA,
                       "There is no train.safetensors beside the model: name labelled data with "
                       "--train-data FILE to train.");
    }
    *out = path;
    return QX_OK;
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
    const char *op = qx_net_untrainable(s->net);
    if (op) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "The network has a node of operation %s, which has no backward pass: it "
                       "cannot be trained here.",
                       op);
    }
    if (strcmp(qx_net_task(s->net), "classification") != 0) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "Training takes networks that classify; this one is for %s.",
                       qx_net_task(s->net));
    }
    char *path;
    enum qx_status st = data_find(s, data, &path, err);
    if (st == QX_OK) {
        qx_mem_free(path);
    }
    const struct qx_write w = {s->model, &s->items, &s->now, s->pool, NULL};
    return st == QX_OK && out_dir ? qx_write_check(&w, out_dir, err) : st;
}

enum qx_status qx_session_run_train(struct qx_session *s, const char *data,
                                    const struct qx_train_options *options,
                                    const struct qx_train_watch *watch, struct qx_ctl *ctl,
                                    struct qx_trained **out, struct qx_error *err)
{
    char *path = NULL;
    struct qx_dataset *rows = NULL;
    struct qx_setting *set = NULL;
    enum qx_status st = qx_session_train_check(s, data, NULL, err);
    if (st == QX_OK) {
        st = data_find(s, data, &path, err);
    }
    if (st == QX_OK) {
        st = qx_dataset_open_with(path, s->net, &s->data_options, &rows, err);
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
    qx_mem_free(path);
    return st;
}

enum qx_status qx_session_write_trained(struct qx_session *s, const struct qx_trained *t,
                                        const char *out_dir, struct qx_ctl *ctl,
                                        struct qx_error *err)
{
    struct qx_recipe r;
    enum qx_status st = qx_recipe_init(&r, s->items.n, err);
    if (st != QX_OK) {
        return st;
    }
    qx_recipe_copy(&r, &s->now);
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        const int64_t item = qx_net_layer(s->net, i)->tensor;
        r.set[item] = t->set[i];
        r.origin[item] = QX_ORIGIN_METHOD;
    }
    const struct qx_write w = {s->model, &s->items, &r, s->pool, t};
    st = qx_write_folder(&w, out_dir, ctl, err);
    qx_recipe_release(&r);
    return st;
}

/* The rows that a session measures on, as it is opened. */
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <string.h>

static enum qx_status data_take(struct qx_session *s, const char *path, struct qx_error *err)
{
    const enum qx_status status =
        qx_dataset_open_with(path, s->net, &s->data_options, &s->data, err);
    if (status == QX_OK && qx_dataset_note(s->data)[0]) {
        qx_log(QX_LOG_INFO, "%s: %s", path, qx_dataset_note(s->data));
    }
    return status;
}

enum qx_status qx_data_open(struct qx_session *s, const char *named, bool is_predicted,
                            struct qx_error *err)
{
    bool is_there = false;
    static const char *const names[] = {"eval.safetensors", "eval.tsv", "eval.csv", "eval.jsonl",
                                        "eval.txt"};
    struct qx_error why;
    if (!s->net) {
        return QX_OK;
    }
    if (named && qx_dataset_is_self(named) && !s->is_batch) {
        return qx_own_text_want(s, named, err);
    }
    if (named) {
        return data_take(s, named, err);
    }
    enum qx_status status =
        qx_fail(&why, QX_EDATA,
                "There is no eval.safetensors beside the model: name labelled data with --data "
                "FILE to see accuracy%s.",
                qx_net_is_words(s->net) ? ", or let it write its own with --data self" : "");
    for (size_t i = 0; !is_there && i < sizeof names / sizeof names[0]; i++) {
        char *path = qx_fs_join(qx_model_folder(s->model), names[i]);
        if (!path) {
            return qx_fail_nomem(err, strlen(names[i]));
        }
        is_there = qx_fs_exists(path);
        status = is_there ? data_take(s, path, &why) : status;
        qx_mem_free(path);
    }
    if (status == QX_ENOMEM) {
        *err = why;
        return status;
    }
    if (!s->data) {
        s->data_error = why;
    }
    const bool is_written =
        is_predicted && !is_there && qx_dataset_self_check("self", s->net, NULL) == QX_OK;
    return !is_written   ? QX_OK
           : s->is_batch ? data_take(s, "self", err)
                         : qx_own_text_want(s, "self", err);
}

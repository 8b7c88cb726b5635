/* Reading the undo log back. */
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/recipe_json.h"
#include "session/session_impl.h"

#include <string.h>

enum { LOG_MAX_BYTES = 256 << 20 };

static enum qx_status kind_read(const struct qx_jval *v, enum qx_step_kind *kind)
{
    const char *text = qx_jstr(v, "");
    *kind = strcmp(text, "load") == 0   ? QX_STEP_LOAD
            : strcmp(text, "flip") == 0 ? QX_STEP_FLIP
                                        : QX_STEP_EDIT;
    return *kind != QX_STEP_EDIT || strcmp(text, "edit") == 0 ? QX_OK : QX_EFORMAT;
}

static enum qx_status change_read(struct qx_session *s, const struct qx_jval *v, const char *path,
                                  struct qx_change *c, struct qx_error *err)
{
    enum qx_origin before, after;
    c->item = qx_model_find(s->model, qx_jkey(v));
    if (c->item < 0 || !s->items.v[c->item].can_quantize || qx_jlen(v) != 2) {
        return qx_fail(err, QX_EFORMAT, "%s: '%s' is not a tensor to change", path, qx_jkey(v));
    }
    enum qx_status status =
        qx_setting_read(qx_jat(v, 0), path, qx_jkey(v), &c->before, &before, err);
    if (status == QX_OK) {
        status = qx_setting_read(qx_jat(v, 1), path, qx_jkey(v), &c->after, &after, err);
    }
    if (status == QX_OK) {
        c->origin_before = (uint8_t)before;
        c->origin_after = (uint8_t)after;
    }
    return status;
}

/* A step as a line says it, in no list yet. */
static enum qx_status step_parse(struct qx_session *s, const struct qx_jval *root, const char *op,
                                 const char *path, struct qx_step **out, struct qx_error *err)
{
    const struct qx_jval *changes = qx_jget(root, "changes");
    enum qx_step_kind kind;
    if (kind_read(qx_jget(root, op), &kind) != QX_OK || !qx_jis_object(changes)) {
        return qx_fail(err, QX_EFORMAT, "%s: a step without a kind or changes", path);
    }
    struct qx_step *step = qx_step_new(kind, (int64_t)qx_jlen(changes));
    if (!step) {
        return qx_fail_nomem(err, sizeof *step);
    }
    int64_t k = 0;
    enum qx_status status = QX_OK;
    for (const struct qx_jval *v = qx_jfirst(changes); v && status == QX_OK; v = qx_jnext(v)) {
        status = change_read(s, v, path, &step->change[k++], err);
    }
    if (status != QX_OK) {
        qx_step_free(step);
        return status;
    }
    step->is_logged = true;
    qx_step_describe(step, &s->items);
    *out = step;
    return QX_OK;
}

static enum qx_status step_read(struct qx_session *s, const struct qx_jval *root, const char *path,
                                struct qx_error *err)
{
    struct qx_step *step;
    enum qx_status status = step_parse(s, root, "step", path, &step, err);
    status = status == QX_OK ? qx_undo_push(&s->undo, step, err) : status;
    if (status == QX_OK) {
        s->undo.pos--;
        qx_step_move(s, true);
        qx_past_begin(s, &step->past);
    }
    return status;
}

/* The last step becomes another one. */
static enum qx_status amend_read(struct qx_session *s, const struct qx_jval *root, const char *path,
                                 struct qx_error *err)
{
    struct qx_step *step, *old = qx_undo_top(&s->undo);
    if (!old) {
        return qx_fail(err, QX_EFORMAT, "%s: nothing to amend", path);
    }
    const enum qx_status status = step_parse(s, root, "amend", path, &step, err);
    if (status == QX_OK) {
        qx_step_apply(s, old, false);
        qx_undo_replace(&s->undo, step);
        qx_step_apply(s, step, true);
        qx_past_begin(s, &step->past);
    }
    return status;
}

static enum qx_status move_read(struct qx_session *s, bool forward, const char *path,
                                struct qx_error *err)
{
    return qx_step_move(s, forward) ? QX_OK
                                    : qx_fail(err, QX_EFORMAT, "%s: nothing to undo or redo", path);
}

static enum qx_status jump_read(struct qx_session *s, const struct qx_jval *v, const char *path,
                                struct qx_error *err)
{
    int64_t id = -1;
    const bool is_whole = qx_jint(v, &id) && id >= 0 && id <= s->undo.last_id;
    struct qx_step *target = is_whole ? qx_undo_find(&s->undo, (int)id) : NULL;
    if (!target && !(is_whole && id == s->undo.first_id)) {
        return qx_fail(err, QX_EFORMAT, "%s: a jump to a step that is not there", path);
    }
    qx_step_jump(s, target);
    return QX_OK;
}

static enum qx_status known_read(struct qx_session *s, const struct qx_jval *v)
{
    struct qx_step *top = qx_undo_top(&s->undo);
    qx_past_read(s, v, top ? &top->past : &s->undo.past);
    return QX_OK;
}

static enum qx_status layers_put(struct qx_session *s, const struct qx_jval *layers,
                                 const char *path, bool is_a, struct qx_error *err)
{
    struct qx_recipe r;
    enum qx_status status = qx_recipe_init(&r, s->items.n, err);
    if (status != QX_OK) {
        return status;
    }
    status = qx_layers_read(layers, path, &s->items, &r, err);
    if (status == QX_OK && is_a) {
        qx_recipe_copy(&s->a, &r);
        qx_sums_of(s, &s->a, &s->sums_a);
        s->has_a = true;
    }
    for (int64_t i = 0; i < r.n && status == QX_OK && !is_a; i++) {
        if (!qx_setting_equal(&s->now.set[i], &r.set[i])) {
            qx_item_set(s, i, &r.set[i], r.origin[i]);
        }
    }
    qx_recipe_release(&r);
    return status;
}

static enum qx_status head_read(struct qx_session *s, const struct qx_jval *root, const char *path,
                                struct qx_error *err)
{
    if (strcmp(qx_jstr(qx_jget(root, "schema"), ""), "qexplore.log/1") != 0 ||
        strcmp(qx_jstr(qx_jget(root, "model"), ""), qx_model_id(s->model)) != 0) {
        return qx_fail(err, QX_EFORMAT, "%s is no undo log of this model", path);
    }
    return layers_put(s, qx_jget(root, "base"), path, false, err);
}

static enum qx_status line_read(struct qx_session *s, const char *text, size_t len,
                                const char *path, bool is_first, struct qx_error *err)
{
    struct qx_json *json = NULL;
    enum qx_status status = qx_json_parse(text, len, path, &json, err);
    if (status != QX_OK) {
        return status;
    }
    const struct qx_jval *root = qx_json_root(json);
    if (is_first) {
        status = head_read(s, root, path, err);
    } else if (qx_jget(root, "step")) {
        status = step_read(s, root, path, err);
    } else if (qx_jget(root, "amend")) {
        status = amend_read(s, root, path, err);
    } else if (qx_jget(root, "undo") || qx_jget(root, "redo")) {
        status = move_read(s, qx_jget(root, "redo") != NULL, path, err);
    } else if (qx_jget(root, "goto")) {
        status = jump_read(s, qx_jget(root, "goto"), path, err);
    } else if (qx_jget(root, "known")) {
        status = known_read(s, qx_jget(root, "known"));
    } else if (qx_jget(root, "a")) {
        status = layers_put(s, qx_jget(root, "a"), path, true, err);
    } else {
        status = qx_fail(err, QX_EFORMAT, "%s: a line of no known kind", path);
    }
    qx_json_free(json);
    return status;
}

bool qx_edit_log_replay(struct qx_session *s, const char *path)
{
    char *text = NULL;
    size_t len = 0, at = 0;
    struct qx_error why;
    s->log.must_rewrite = true;
    if (!qx_fs_exists(path) || qx_fs_read(path, LOG_MAX_BYTES, &text, &len, &why) != QX_OK) {
        return false;
    }
    enum qx_status status = QX_OK;
    int n_lines = 0;
    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        if (!end) {
            break; /* torn by a crash */
        }
        size_t n = (size_t)(end - (text + at));
        status = line_read(s, text + at, n, path, n_lines == 0, &why);
        if (status != QX_OK) {
            qx_log(QX_LOG_WARN, "undo steps from line %d of %s on are lost: %s", n_lines + 1, path,
                   why.text);
            break;
        }
        n_lines++;
        at += n + 1;
    }
    /* an untouched, not overlong log goes on growing; any other is written anew */
    s->log.must_rewrite = at < len || n_lines == 0 || n_lines > 3 * s->undo.n_all + 1000;
    s->log.good = (int64_t)at;
    qx_mem_free(text);
    return n_lines > 0;
}

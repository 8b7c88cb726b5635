#include "session/edit_log.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "session/recipe_json.h"
#include "session/session_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const kind_names[] = {"edit", "load", "flip"};

/* Finishes w as one line of b. */
static void line_put(struct qx_buf *b, struct qx_jw *w)
{
    size_t len;
    char *text = qx_jw_take(w, &len);
    if (text) {
        qx_buf_add(b, text, len);
        qx_free_text(text);
    } else {
        b->oom = true;
    }
}

static void step_put(struct qx_buf *b, const struct qx_session *s, const struct qx_step *step,
                     const char *op)
{
    struct qx_jw *w = qx_jw_new(false);
    qx_jw_object(w);
    qx_jw_key(w, op);
    qx_jw_str(w, kind_names[step->kind]);
    qx_jw_key(w, "changes");
    qx_jw_object(w);
    for (int64_t i = 0; i < step->n; i++) {
        const struct qx_change *c = &step->change[i];
        qx_jw_key(w, s->items.v[c->item].tensor->name);
        qx_jw_array(w);
        qx_setting_write(w, &c->before, c->origin_before);
        qx_setting_write(w, &c->after, c->origin_after);
        qx_jw_end(w);
    }
    qx_jw_end(w);
    qx_jw_end(w);
    line_put(b, w);
}

static void snapshot_put(struct qx_buf *b, const struct qx_session *s)
{
    struct qx_jw *w = qx_jw_new(false);
    qx_jw_object(w);
    qx_jw_key(w, "a");
    qx_layers_write(w, &s->a, &s->items, NULL);
    qx_jw_end(w);
    line_put(b, w);
}

static void past_put(struct qx_buf *b, const struct qx_session *s, struct qx_past *p)
{
    struct qx_jw *w = qx_jw_new(false);
    qx_jw_object(w);
    qx_jw_key(w, "known");
    qx_jw_object(w);
    qx_past_write(w, s, p);
    qx_jw_end(w);
    qx_jw_end(w);
    line_put(b, w);
    p->is_logged = true;
}

static void number_put(struct qx_buf *b, const char *op, int n)
{
    char line[48];
    snprintf(line, sizeof line, "{\"%s\":%d}\n", op, n);
    qx_buf_puts(b, line);
}

void qx_edit_log_note(struct qx_session *s)
{
    struct qx_step *top = qx_undo_top(&s->undo);
    struct qx_past *past = top ? &top->past : &s->undo.past;
    qx_past_note(s);
    if (!s->log.is_on) {
        return;
    }
    if (top && (!top->is_logged || top->is_amended)) {
        step_put(&s->log.buf, s, top, top->is_logged ? "amend" : "step");
        top->is_logged = true;
        top->is_amended = false;
    }
    if (!past->is_logged) {
        past_put(&s->log.buf, s, past);
    }
}

void qx_edit_log_move(struct qx_session *s, bool forward)
{
    if (s->log.is_on) {
        number_put(&s->log.buf, forward ? "redo" : "undo", 1);
    }
}

void qx_edit_log_jump(struct qx_session *s)
{
    const struct qx_step *top = qx_undo_top(&s->undo);
    if (s->log.is_on) {
        number_put(&s->log.buf, "goto", top ? top->id : s->undo.first_id);
    }
}

void qx_edit_log_snapshot(struct qx_session *s)
{
    if (s->log.is_on) {
        qx_edit_log_note(s);
        snapshot_put(&s->log.buf, s);
    }
}

/* ---- the file ---- */

/* The recipe as it was before the first step kept. */
static enum qx_status base_put(struct qx_buf *b, const struct qx_session *s, struct qx_error *err)
{
    struct qx_recipe base;
    enum qx_status status = qx_recipe_init(&base, s->items.n, err);
    if (status != QX_OK) {
        return status;
    }
    qx_recipe_copy(&base, &s->now);
    for (int k = s->undo.pos - 1; k >= 0; k--) {
        const struct qx_step *step = s->undo.v[k];
        for (int64_t i = 0; i < step->n; i++) {
            base.set[step->change[i].item] = step->change[i].before;
            base.origin[step->change[i].item] = step->change[i].origin_before;
        }
    }
    struct qx_jw *w = qx_jw_new(false);
    qx_jw_object(w);
    qx_jw_key(w, "schema");
    qx_jw_str(w, "qexplore.log/1");
    qx_jw_key(w, "model");
    qx_jw_str(w, qx_model_id(s->model));
    qx_jw_key(w, "base");
    qx_layers_write(w, &base, &s->items, NULL);
    qx_jw_end(w);
    line_put(b, w);
    qx_recipe_release(&base);
    return QX_OK;
}

/* All steps, numbered anew; in the end the line is as it is now. */
static void tree_put(struct qx_buf *b, struct qx_session *s)
{
    struct qx_undo *u = &s->undo;
    const struct qx_step *at = NULL, *tip = u->n > 0 ? u->v[u->n - 1] : NULL;
    past_put(b, s, &u->past);
    u->first_id = 0;
    u->last_id = u->n_all;
    for (int i = 0; i < u->n_all; i++) {
        struct qx_step *step = u->all[i];
        step->id = i + 1; /* parents have theirs already */
        if (step->parent != at) {
            number_put(b, "goto", step->parent ? step->parent->id : 0);
        }
        step_put(b, s, step, "step");
        past_put(b, s, &step->past);
        at = step;
    }
    if (at != tip) {
        number_put(b, "goto", tip ? tip->id : 0);
    }
    for (int i = u->pos; i < u->n; i++) {
        number_put(b, "undo", 1);
    }
}

static enum qx_status rewrite(struct qx_session *s, struct qx_error *err)
{
    struct qx_buf b = {0};
    enum qx_status status = base_put(&b, s, err);
    if (status == QX_OK) {
        tree_put(&b, s);
    }
    if (s->has_a) {
        snapshot_put(&b, s);
    }
    if (status == QX_OK && b.oom) {
        status = qx_fail_nomem(err, b.len);
    }
    if (status == QX_OK) {
        status = qx_fs_write_atomic(s->save.log_path, b.data, b.len, err);
    }
    if (status == QX_OK) {
        for (int i = 0; i < s->undo.n_all; i++) {
            s->undo.all[i]->is_logged = true;
            s->undo.all[i]->is_amended = false;
        }
        s->log.good = (int64_t)b.len;
        s->log.must_rewrite = false;
        qx_buf_release(&s->log.buf);
        if (s->log.fd >= 0) {
            close(s->log.fd); /* that was the file before */
            s->log.fd = -1;
        }
    }
    qx_buf_release(&b);
    return status;
}

static enum qx_status fail_log(const struct qx_session *s, struct qx_error *err)
{
    bool is_full = errno == ENOSPC || errno == EDQUOT;
    return qx_fail_at(err, is_full ? QX_ENOSPC : QX_EIO, s->save.log_path, NULL, -1,
                      "cannot write '%s': %s; undo steps are kept in memory only", s->save.log_path,
                      strerror(errno));
}

static enum qx_status append(struct qx_session *s, struct qx_error *err)
{
    struct qx_edit_log *log = &s->log;
    if (log->fd < 0) {
        log->fd = open(s->save.log_path, O_WRONLY | O_APPEND | O_CLOEXEC);
        if (log->fd < 0) {
            return fail_log(s, err);
        }
    }
    size_t done = 0;
    while (done < log->buf.len) {
        ssize_t n = write(log->fd, log->buf.data + done, log->buf.len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            enum qx_status status = fail_log(s, err);
            log->must_rewrite = ftruncate(log->fd, log->good) != 0;
            return status;
        }
        done += (size_t)n;
    }
    log->good += (int64_t)done;
    qx_buf_release(&log->buf);
    return QX_OK;
}

enum qx_status qx_edit_log_write(struct qx_session *s, struct qx_error *err)
{
    if (!s->log.is_on) {
        return QX_OK;
    }
    qx_edit_log_note(s);
    if (s->log.must_rewrite || s->log.buf.oom) {
        return rewrite(s, err);
    }
    return s->log.buf.len > 0 ? append(s, err) : QX_OK;
}

void qx_edit_log_close(struct qx_session *s)
{
    if (s->log.fd >= 0) {
        close(s->log.fd);
    }
    qx_buf_release(&s->log.buf);
    s->log = (struct qx_edit_log){.fd = -1};
}

/* The undo log: one JSON object a line, appended as steps are done, replayed when the model is opened
 * again.
 *
 *   {"schema":"qexplore.log/1","model":ID,"base":{LAYERS}}      first line: the recipe before step 1
 *   {"step":"edit"|"load"|"flip","changes":{TENSOR:[before,after],...}}
 *   {"amend":...,"changes":...}                                 the last step became this (a drag)
 *   {"undo":1} {"redo":1}
 *   {"goto":N}                                                  to the state behind the N-th step, 0: the base
 *   {"known":{...}}                                             what was found out of the state of then (past.h)
 *   {"a":{LAYERS}}                                              snapshot A
 * Settings and LAYERS are those of the recipe (recipe_json.h). */
#ifndef QX_SESSION_EDIT_LOG_H
#define QX_SESSION_EDIT_LOG_H

#include "base/buf.h"
#include "qx/session.h"

struct qx_edit_log {
    bool is_on;
    int fd;            /* open for appending, -1 = none */
    int64_t good;      /* bytes of whole lines in the file */
    struct qx_buf buf; /* lines not yet written */
    bool must_rewrite; /* the file is not what memory says: write it anew */
};

/* Note what is known of the recipe of now, and put that and the last step into the log if they are new, or
 * amended since. */
void qx_edit_log_note(struct qx_session *s);
void qx_edit_log_move(struct qx_session *s, bool forward);
void qx_edit_log_jump(struct qx_session *s); /* after qx_session_go_to */
void qx_edit_log_snapshot(struct qx_session *s);
/* Write what is noted. QX_EIO, QX_ENOSPC, QX_ENOMEM: all is kept for the next try. */
enum qx_status qx_edit_log_write(struct qx_session *s, struct qx_error *err);
void qx_edit_log_close(struct qx_session *s);

/* edit_replay.c: read the log into recipe, undo steps and snapshot A. A torn last line is cut off;
 * from a line that makes no sense on, the rest is left out (and logged). False when there is no log
 * for this model. */
bool qx_edit_log_replay(struct qx_session *s, const char *path);

#endif

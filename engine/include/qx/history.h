/* The history of a session's recipe: every state it was in, as a tree whose branches stay (a step made after an
 * undo begins one), with what was found out of each while it was there. Kept with the undo log, up to 10,000
 * steps.
 *
 * Thread rule: as qx/session.h. */
#ifndef QX_HISTORY_H
#define QX_HISTORY_H

#include "qx/session.h"

/* The recipe behind one step, or (parent -1) as it was at first. */
struct qx_state {
    int id,
        parent; /* ids grow in the order in which states came about; a parent's is the smaller one */
    const char *text; /* of the step that led there; "" at first */
    bool is_now;      /* the recipe of now */
    bool is_done;     /* undo leads there, or it is the recipe of now */
    bool is_line;     /* undo or redo leads there; else it lies on another branch */
    bool is_measured; /* on all rows, while it was the recipe */
    int64_t time_s;   /* when, seconds since 1970; 0: not known */
    uint64_t bytes;   /* as struct qx_totals; 0: not known */
    double bits_per_weight;
};
int qx_session_n_states(const struct qx_session *s); /* 1 and more */
/* State i, 0 = newest .. n-1 = the first. Its text is borrowed until the next edit. False beyond. O(1) */
bool qx_session_state(struct qx_session *s, int i, struct qx_state *out);
/* What was last known of it as a gauge would say it: predicted (guess), measured on all rows (state MEASURED,
 * correct, n, perplexity, and of pair: n, delta, increase, increase_error). False beyond. */
bool qx_session_state_gauge(struct qx_session *s, int i, struct qx_gauge *out);
/* How many steps would be undone and redone on the way there; false for an id that is not there. */
bool qx_session_way(const struct qx_session *s, int id, int *back, int *forward);
/* Make that state the recipe, by undoing to where its branch begins and redoing from there; undo and redo then
 * follow that branch. Not a step of its own. QX_ERANGE for an id that is not there. */
enum qx_status qx_session_go_to(struct qx_session *s, int id, struct qx_error *err);

#endif

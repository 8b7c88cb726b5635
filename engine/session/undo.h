/* Undo: steps of changes, each with the settings before and after. */
#ifndef QX_SESSION_UNDO_H
#define QX_SESSION_UNDO_H

#include "session/recipe.h"

enum { QX_UNDO_STEPS = 10000, QX_UNDO_CHANGES = 250000 };

struct qx_change {
    int64_t item;
    struct qx_setting before, after;
    uint8_t origin_before, origin_after;
};

enum qx_step_kind { QX_STEP_EDIT, QX_STEP_LOAD, QX_STEP_FLIP };

struct qx_step {
    enum qx_step_kind kind;
    bool is_open;    /* a merge step that later merges on the same items may join */
    bool is_logged;  /* stands in the log file */
    bool is_amended; /* changed since it was logged */
    char text[192];
    int64_t n;
    struct qx_change change[]; /* [n] */
};

/* v[0 .. pos) are done, v[pos .. n) undone. The oldest are dropped beyond the limits. */
struct qx_undo {
    struct qx_step **v;
    int n, pos, cap;
    int64_t n_changes;
};

void qx_undo_release(struct qx_undo *u);
/* A step of n changes to fill, not yet in the list; NULL when out of memory. Free with qx_step_free. */
struct qx_step *qx_step_new(enum qx_step_kind kind, int64_t n);
void qx_step_free(struct qx_step *step);
/* Appends a done step, forgetting undone ones. Takes the step also when it fails (QX_ENOMEM). */
enum qx_status qx_undo_push(struct qx_undo *u, struct qx_step *step, struct qx_error *err);
/* The step that undo or redo moves over; NULL when there is none. */
struct qx_step *qx_undo_back(struct qx_undo *u);
struct qx_step *qx_undo_forward(struct qx_undo *u);
/* Last done step, NULL when none. */
struct qx_step *qx_undo_top(const struct qx_undo *u);
/* A calibrated range arrived: put it into the newest step that left it open. */
void qx_undo_resolve(struct qx_undo *u, int64_t item, const struct qx_setting *now);
/* "conv1.weight: bits 8 -> 4" from the step's changes. */
void qx_step_describe(struct qx_step *step, const struct qx_items *items);

#endif

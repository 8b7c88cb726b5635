/* Undo: steps of changes, each with the settings before and after. They form a tree: a step made after an undo
 * begins a branch, and what was undone stays. */
#ifndef QX_SESSION_UNDO_H
#define QX_SESSION_UNDO_H

#include "session/past.h"
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
    int id;          /* 1, 2, ... in the order they were made; a child's is above its parent's */
    int place;       /* index in v, -1 when it lies on another branch */
    struct qx_step *parent; /* NULL: what was there at first */
    struct qx_step *next;   /* the child that redo goes to; NULL: none */
    struct qx_past past;    /* of the recipe behind it */
    char text[192];
    int64_t n;
    struct qx_change change[]; /* [n] */
};

/* v: the line from the beginning through the recipe of now on to where redo leads; v[0 .. pos) are done,
 * v[pos .. n) undone. all: these and the branches, by id. Beyond the limits branches are dropped, the oldest
 * first, then the oldest steps of the line. */
struct qx_undo {
    struct qx_step **v, **all;
    int n, pos, n_all, cap; /* cap of both */
    int first_id,
        last_id; /* first_id: the state before v[0]: 0, or the last step that was dropped there */
    int64_t n_changes;   /* of all */
    struct qx_past past; /* of that state */
};

void qx_undo_release(struct qx_undo *u);
/* A step of n changes to fill, not yet in the list; NULL when out of memory. Free with qx_step_free. */
struct qx_step *qx_step_new(enum qx_step_kind kind, int64_t n);
void qx_step_free(struct qx_step *step);
/* Appends a done step; undone ones become a branch. Takes the step also when it fails (QX_ENOMEM). */
enum qx_status qx_undo_push(struct qx_undo *u, struct qx_step *step, struct qx_error *err);
/* The last done step becomes this one, in its place. Takes it. */
void qx_undo_replace(struct qx_undo *u, struct qx_step *step);
/* The step that undo or redo moves over; NULL when there is none. */
struct qx_step *qx_undo_back(struct qx_undo *u);
struct qx_step *qx_undo_forward(struct qx_undo *u);
/* Last done step, NULL when none. */
struct qx_step *qx_undo_top(const struct qx_undo *u);
/* Step of an id; NULL when there is none. O(log n) */
struct qx_step *qx_undo_find(const struct qx_undo *u, int id);
/* Done steps that lead to `target` (NULL: the beginning) too. */
int qx_undo_common(const struct qx_undo *u, const struct qx_step *target);
/* Make the undone steps those that lead to target, and on from there; pos must be qx_undo_common. Returns the
 * pos of target. */
int qx_undo_aim(struct qx_undo *u, struct qx_step *target);
/* A calibrated range arrived: put it into the newest step that left it open. */
void qx_undo_resolve(struct qx_undo *u, int64_t item, const struct qx_setting *now);
/* "conv1.weight: bits 8 -> 4" from the step's changes. */
void qx_step_describe(struct qx_step *step, const struct qx_items *items);

#endif

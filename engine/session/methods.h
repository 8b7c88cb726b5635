/* Overlays of the recipe: what its methods chose, made once, kept in memory and on disk. */
#ifndef QX_SESSION_METHODS_H
#define QX_SESSION_METHODS_H

#include "qx/method.h"
#include "session/lane.h"
#include "session/recipe.h"

struct qx_methods {
    pthread_mutex_t lock; /* of the first three */
    /* Kept until the session closes: settings point to them, those of undo steps too. */
    struct qx_overlay **v; /* [n] */
    int n, cap;
    /* host only */
    struct qx_task *task; /* out with the queue lane; NULL = none */
    uint64_t task_key;    /* of the settings it was given */
    uint64_t ended_key;   /* of settings whose run failed or was cancelled; 0 = none */
    bool was_cancelled;
    char reason[256];
    int n_open; /* layers that await their methods */
};

void qx_methods_init(struct qx_session *s);
void qx_methods_release(struct qx_session *s); /* after the lanes have stopped */
/* Fill the overlays that settings [layers of the network] await; ranges must be resolved. Any thread. */
enum qx_status qx_methods_resolve(struct qx_session *s, struct qx_setting *set, struct qx_ctl *ctl,
                                  struct qx_error *err);
/* Ranges of activations, then methods: all that a setting needs before it is applied. Any thread. */
enum qx_status qx_settings_resolve(struct qx_session *s, struct qx_setting *set, struct qx_ctl *ctl,
                                   struct qx_error *err);
/* The same for the recipe itself, in the host's thread. Nothing is done without a network. */
enum qx_status qx_methods_resolve_recipe(struct qx_session *s, struct qx_ctl *ctl,
                                         struct qx_error *err);
/* Keep an overlay made elsewhere, here and on disk, under its key; NULL: no memory. Any thread. */
const struct qx_overlay *qx_methods_keep(struct qx_session *s, struct qx_overlay *o);
/* May these items have the methods of their settings? */
enum qx_status qx_methods_check(const struct qx_session *s, int64_t item,
                                const struct qx_setting *set, struct qx_error *err);
enum qx_status qx_methods_check_recipe(const struct qx_session *s, const struct qx_recipe *r,
                                       struct qx_error *err);

/* ---- in the background; host thread ---- */

/* The recipe changed. */
void qx_methods_touched(struct qx_session *s);
/* Methods wait to run, or run. */
bool qx_methods_pending(const struct qx_session *s);
/* Seconds until they should start; negative: nothing is due. */
double qx_methods_due(const struct qx_session *s, double now_s);
void qx_methods_work(struct qx_session *s, double now_s);
void qx_methods_retry(struct qx_session *s);

#endif

/* Ranges of activations: calibrated once a session, chosen per setting. */
#ifndef QX_SESSION_RANGES_H
#define QX_SESSION_RANGES_H

#include "qx/session.h"

/* Under measure.weights_lock but for `source`. */
struct qx_ranges {
    char *source; /* as the host named it; NULL = the folder's */
    struct qx_calibration *calibration;
    struct qx_session_calib info;
};

void qx_ranges_release(struct qx_session *s);
/* Fill the ranges still open among the settings [layers of the network]; calibrates when that was not
 * done yet. The lock is held by the caller. */
enum qx_status qx_ranges_resolve(struct qx_session *s, struct qx_setting *set, struct qx_ctl *ctl,
                                 struct qx_error *err);
/* The same for the recipe itself. Takes the lock. Nothing is done without a network. */
enum qx_status qx_ranges_resolve_recipe(struct qx_session *s, struct qx_ctl *ctl,
                                        struct qx_error *err);

#endif

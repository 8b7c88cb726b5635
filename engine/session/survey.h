/* What single sites do on P, measured once and kept: the table of the prediction, and its files. Belongs to
 * the queue's thread (in a batch session: the caller's). */
#ifndef QX_SESSION_SURVEY_H
#define QX_SESSION_SURVEY_H

#include "qx/sensitivity.h"
#include "qx/session.h"

struct qx_survey {
    struct qx_predict_probe *probe; /* NULL = not yet */
    struct qx_predict_table *table; /* all that was measured; NULL with probe */
    bool has_act;                   /* the probe knows the layers' inputs */
    struct qx_calibration *inputs;  /* which must outlive it */
    uint64_t key;                   /* of the files */
};

void qx_survey_release(struct qx_survey *v); /* zero struct allowed */

/* Draws and runs P, unless it is known or in its file; with the layers' inputs when `has_act`. */
enum qx_status qx_survey_open(struct qx_session *s, bool has_act,
                              const struct qx_predict_base *known, struct qx_ctl *ctl,
                              struct qx_error *err);
/* The next entry of the lite table, weights and (has_act) activations: from its file, or measured; added
 * to the table. *out: a reference, NULL when the table is complete. */
enum qx_status qx_survey_lite(struct qx_session *s, bool has_act, struct qx_ctl *ctl,
                              struct qx_predict_entry **out, struct qx_error *err);
/* Entries of the lite table that are still missing. */
int qx_survey_missing(struct qx_session *s, bool has_act);
/* A layer's site under a setting (range chosen), an exact entry; is_kept: only when a file or the table has
 * it (else *out NULL). */
enum qx_status qx_survey_cell(struct qx_session *s, int layer, enum qx_site site,
                              const struct qx_setting *set, bool is_kept, struct qx_ctl *ctl,
                              struct qx_predict_entry **out, struct qx_error *err);

#endif

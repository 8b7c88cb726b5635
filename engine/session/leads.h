/* The rows of P by how near they are to another class, and the thresholds at which the next one goes.
 * Host thread. */
#ifndef QX_SESSION_LEADS_H
#define QX_SESSION_LEADS_H

#include "session/flip_path.h"

enum { QX_LEAD_NODES = 80 }; /* thresholds that are tried */

/* Leads of all rows over the thresholds of one layer, everything else as it is. */
struct qx_lead_profile {
    uint64_t key;  /* of what it depends on; 0 = none */
    int64_t item;  /* asked for; -1 = none */
    bool is_low;   /* the low end of an asymmetric range moves */
    int n_done;    /* nodes */
    int64_t n;     /* rows */
    double *place; /* [QX_LEAD_NODES] sizes of the threshold, falling */
    float *lead;   /* [QX_LEAD_NODES, n] */
    float *z;      /* [n, classes] scratch */
};

struct qx_leads_state {
    struct qx_lead *v; /* [n] by lead, smallest first */
    float *lead, *z;   /* [cap], [cap_z] scratch */
    int64_t n, cap, cap_z, n_flipped;
    uint64_t key; /* of what they were made from; 0 = none */
    struct qx_lead_profile profile;
    struct qx_flip_path path; /* of the last drag */
    struct qx_flip flip[2];   /* as composed last */
    uint64_t flip_key;
};

void qx_leads_release(struct qx_session *s);
/* Fill the profile that was asked for, for at most about budget_s. */
void qx_leads_work(struct qx_session *s, double budget_s);
bool qx_leads_waits(const struct qx_session *s);

#endif

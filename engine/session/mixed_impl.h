/* Inside a plan. */
#ifndef QX_SESSION_MIXED_IMPL_H
#define QX_SESSION_MIXED_IMPL_H

#include "session/mixed.h"

enum { QX_MIXED_POINTS = 64, QX_MIXED_STEPS = 400 };

struct qx_mixed {
    int n, n_layers, best;
    struct qx_point *point; /* [QX_MIXED_POINTS] */
    int8_t *column;         /* [QX_MIXED_POINTS, n_layers] */
    char **step;            /* [QX_MIXED_STEPS + 1], NULL behind the last */
};

/* The problem: sites are the rows that are free, choices the map's weight columns. */
struct qx_mixed_problem {
    const struct qx_mixed_input *in;
    struct qx_alloc alloc;
    int *layer;                          /* [sites] */
    int *tie;                            /* [sites] */
    int column[QX_SENS_COLUMNS];         /* [choices] of the map */
    double *cost, *score;                /* [sites, choices] */
    double *bytes;                       /* the same */
    double limit;                        /* of the cost */
    bool is_rank;                        /* scores are relative errors */
    struct qx_predict_mix *quick, *full; /* of the table; NULL = ranks only */
    struct qx_predict_anchors *scale;    /* of the values; NULL with them */
};

enum qx_status qx_mixed_problem_make(const struct qx_mixed_input *in, struct qx_mixed_problem *out,
                                     struct qx_error *err);
void qx_mixed_problem_release(struct qx_mixed_problem *p);
/* Choices [sites] for a budget by a mode that is not the front. steps: as qx_alloc_greedy. */
enum qx_status qx_mixed_choose(const struct qx_mixed_problem *p, double budget, uint8_t *choice,
                               struct qx_alloc_step *steps, int cap, int *n_steps,
                               struct qx_error *err);

#endif

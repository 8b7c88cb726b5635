/* The problem with its ties and locks resolved: one column block per group of sites. */
#ifndef QX_EVAL_ALLOCATE_H
#define QX_EVAL_ALLOCATE_H

#include "qx/allocate.h"

struct qx_groups {
    int n, n_choices;
    int *of_site;  /* [n_sites] */
    int *first;    /* [n] first site of each group */
    double *cost;  /* [n, n_choices] */
    double *score; /* [n, n_choices] infinity: not to be had, or locked elsewhere */
};

/* As qx_front_find says about errors. */
enum qx_status qx_groups_make(const struct qx_alloc *a, struct qx_groups *out,
                              struct qx_error *err);
void qx_groups_release(struct qx_groups *g); /* zero struct allowed */
/* The next dearer (dir 1) or cheaper (-1) choice of a group that can be had; -1 = none. */
int qx_group_step(const struct qx_groups *g, int group, int choice, int dir);
/* Choices of groups to choices of sites and back (the group's first site speaks). */
void qx_groups_spread(const struct qx_groups *g, int n_sites, const uint8_t *of_group,
                      uint8_t *of_site);
void qx_groups_gather(const struct qx_groups *g, const uint8_t *of_site, uint8_t *of_group);

#endif

/* Items: one per tensor of the model, with what the network says about it. */
#ifndef QX_SESSION_ITEMS_H
#define QX_SESSION_ITEMS_H

#include "base/arena.h"
#include "qx/session.h"

struct qx_items {
    int64_t n;
    struct qx_item *v;     /* [n] */
    struct qx_arena arena; /* owns v and the aliases */
    const struct qx_model *model;
    uint64_t imatrix_key; /* of the file that importances are from; 0 = none */
};

/* Build from a model and its network (NULL = roles are guessed from names and shapes). Both must
 * outlive the items. QX_ENOMEM. */
enum qx_status qx_items_build(struct qx_items *out, const struct qx_model *model,
                              const struct qx_net *net, struct qx_error *err);
/* What the file knows of items' inputs, where the counts agree; returns of how many. */
int64_t qx_items_weigh(struct qx_items *items, const struct qx_imatrix *m);
void qx_items_release(struct qx_items *items);
/* Item of exactly this tensor name, else of this alias when just one has it; else -1 with QX_ENAME
 * naming the nearest. O(log n) for names, O(n) for aliases. */
int64_t qx_items_find(const struct qx_items *items, const char *name, struct qx_error *err);
/* Role of a tensor that no graph describes: decisions.md, "Without a graph". */
enum qx_role qx_role_guess(const struct qx_tensor *t, int min_rank);

#endif

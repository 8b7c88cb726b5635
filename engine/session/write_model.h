/* Writing a model folder from parts that stay as they are meanwhile: in any thread. */
#ifndef QX_SESSION_WRITE_MODEL_H
#define QX_SESSION_WRITE_MODEL_H

#include "qx/links.h"
#include "qx/session.h"
#include "qx/train.h"
#include "session/recipe.h"

struct qx_pool;

/* What a folder is written from; all borrowed. Every range of the recipe has been chosen. */
struct qx_write {
    struct qx_model *model;
    const struct qx_items *items;
    const struct qx_recipe *recipe;
    struct qx_pool *pool;
    const struct qx_trained *trained; /* NULL, or values to write instead of the stored ones */
    const struct qx_folder_tensor
        *as;                  /* [items] names and rows in the folder; made by qx_write_folder */
    const struct qx_net *net; /* NULL: factors and corrections of methods are not looked for */
    const struct qx_rewrite *folded; /* they, as values of tensors; made by qx_write_folder */
};

/* May the folder be written: QX_EIO when it is the model's own, or holds other things. Makes nothing. */
enum qx_status qx_write_check(const struct qx_write *w, const char *dir, struct qx_error *err);
/* Write it: all files aside first, then each into its place. On failure or cancel the folder is as it
 * was before, or gone when it was made here. Progress is in bytes. */
enum qx_status qx_write_folder(const struct qx_write *w, const char *dir, struct qx_ctl *ctl,
                               struct qx_error *err);

/* Factors and corrections of the recipe's overlays as values of tensors; *out NULL where there is no network.
 * QX_EUNSUPPORTED: a correction has no place; QX_ENOMEM, QX_ECANCELLED. write_fold.c */
enum qx_status qx_write_fold(const struct qx_write *w, struct qx_ctl *ctl, struct qx_rewrite **out,
                             struct qx_error *err);

/* Queue a writing of the recipe as it stands, or (NULL: not) of what was trained, which must outlive it.
 * write_job.c; host thread. */
enum qx_status qx_write_submit(struct qx_session *s, const char *out_dir,
                               const struct qx_trained *trained, struct qx_error *err);

#endif

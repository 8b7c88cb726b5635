/* Quantization-aware training of the open model under the recipe as it stands. */
#ifndef QX_QAT_H
#define QX_QAT_H

#include "qx/session.h"
#include "qx/train.h"

/* ---- in the caller's thread [blocking] ---- */

/* Can it be trained, and (NULL: not asked) written to out_dir? QX_EUNSUPPORTED, QX_EDATA, QX_EIO say why
 * not; data NULL: train.safetensors of the folder. */
enum qx_status qx_session_train_check(struct qx_session *s, const char *data, const char *out_dir,
                                      struct qx_error *err);
/* Resolve the recipe and train under it: see qx_train_run. data as above; rows to measure on are the
 * session's. Nothing of the session changes. */
enum qx_status qx_session_run_train(struct qx_session *s, const char *data,
                                    const struct qx_train_options *options,
                                    const struct qx_train_watch *watch, struct qx_ctl *ctl,
                                    struct qx_trained **out, struct qx_error *err);
/* The model folder of what came of it, as qx_session_run_write: weights on their levels, in the original
 * dtypes, and recipe.json with the trained ranges. */
enum qx_status qx_session_write_trained(struct qx_session *s, const struct qx_trained *t,
                                        const char *out_dir, struct qx_ctl *ctl,
                                        struct qx_error *err);

#endif

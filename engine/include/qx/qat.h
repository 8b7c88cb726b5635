/* Quantization-aware training of the open model under the recipe as it stands. */
#ifndef QX_QAT_H
#define QX_QAT_H

#include "qx/session.h"
#include "qx/train.h"

/* ---- in the caller's thread [blocking] ---- */

/* Can it be trained, and (NULL: not asked) written to out_dir? QX_EUNSUPPORTED, QX_EDATA, QX_EIO say why
 * not. data NULL: the installed rows that the network names (qx_net_train_data), else train.safetensors of the
 * folder. */
enum qx_status qx_session_train_check(struct qx_session *s, const char *data, const char *out_dir,
                                      struct qx_error *err);
/* The file that those rows come from. QX_EDATA: there is none. */
enum qx_status qx_session_train_data(const struct qx_session *s, const char *data, char *path,
                                     size_t cap, struct qx_error *err);
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

/* ---- in the background: one training at a time, watched while it runs ---- */

enum qx_training_state {
    QX_TRAINING_NONE, /* not asked for yet */
    QX_TRAINING_QUEUED,
    QX_TRAINING_RUNNING,
    QX_TRAINING_DONE,  /* see the end; what was best is kept until the next one starts */
    QX_TRAINING_FAILED /* reason */
};
struct qx_training {
    enum qx_training_state state;
    bool is_paused, is_stopping;
    int job; /* id while QUEUED or RUNNING, else 0 */
    char reason[256];
    struct qx_train_options options;
    char data[512];        /* the file of the rows; "" when NONE */
    int64_t n_data;        /* rows in it; 0 before it is open */
    char setting[96];      /* of the first quantized layer, in words */
    int n_quantized;       /* layers */
    int64_t step, n_steps; /* 0 before the first */
    double loss, rate;     /* of the last step */
    double time_s;
    int n_points, n_epochs, n_frames; /* to ask for below */
    enum qx_train_end end;            /* DONE */
    int best;
};
void qx_session_training(const struct qx_session *s, struct qx_training *out);
/* Mean loss of some steps that follow each other. */
struct qx_training_point {
    int64_t step; /* the last of them */
    double loss;
};
bool qx_session_training_point(const struct qx_session *s, int i, struct qx_training_point *out);
/* Epoch i, 0 = before training. */
bool qx_session_training_epoch(const struct qx_session *s, int i, struct qx_train_epoch *out);
/* The values of a layer's weight before rounding, at one step: counts over equal columns of axis_lo..axis_hi,
 * which is the same for all frames of a layer; in the tensor's own units, or with a scale for each channel or group
 * as a share of the unit's last level. False when the layer is not quantized. Borrowed until the next
 * poll. */
enum { QX_TRAINING_COLUMNS = 240, QX_TRAINING_FRAMES = 64 };
struct qx_training_frame {
    int64_t step;
    double axis_lo, axis_hi;
    const float *count; /* [QX_TRAINING_COLUMNS] */
    double on_level;    /* share of the values within a tenth of a step of a level; 0.2 by chance */
    double last; /* the last level in the tensor's own units; of channels, groups their mean */
    struct qx_setting setting;
};
bool qx_session_training_frame(const struct qx_session *s, int64_t item, int frame,
                               struct qx_training_frame *out);

/* Start training under the recipe as it stands (a copy). data as above. QX_NEWS_TRAIN while it runs.
 * QX_EUNSUPPORTED while another runs, or in batch; what qx_session_train_check returns; QX_ERANGE when nothing
 * is quantized. */
enum qx_status qx_session_train(struct qx_session *s, const char *data,
                                const struct qx_train_options *options, struct qx_error *err);
void qx_session_train_pause(struct qx_session *s, bool is_paused);
void qx_session_train_stop(struct qx_session *s); /* keeps what was best */
/* Put what came of the last training into the recipe, as one edit: the layers that were trained get the method "qat",
 * with overlays that hold their codes and the norms and biases that go with them, so that measurements under the
 * recipe are those of the training. QX_EDATA: there is nothing; QX_EUNSUPPORTED: what qx_trained_check says. */
enum qx_status qx_session_train_take(struct qx_session *s, struct qx_error *err);
/* Queue the writing of what came of the last training, as qx_session_write. QX_EDATA: there is nothing. */
enum qx_status qx_session_train_keep(struct qx_session *s, const char *out_dir,
                                     struct qx_error *err);

#endif

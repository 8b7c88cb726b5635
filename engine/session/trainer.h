/* The training in the background, and what is seen of it. */
#ifndef QX_SESSION_TRAINER_H
#define QX_SESSION_TRAINER_H

#include "qx/qat.h"
#include "session/lane.h"

enum { QX_TRAINER_POINTS = 400, QX_TRAINER_EPOCHS = 128 };

/* What the worker writes, under the lock, and the host copies when it polls. */
struct qx_trainer_view {
    int64_t step, n_steps, n_data;
    double loss, rate, start_s, end_s;
    int n_points, n_epochs, n_frames;
    struct qx_training_point point[QX_TRAINER_POINTS];
    struct qx_train_epoch epoch[QX_TRAINER_EPOCHS];
    int64_t frame_step[QX_TRAINING_FRAMES];
};
struct qx_trainer_frame {
    float count[QX_TRAINING_COLUMNS];
    float on_level, last;
    struct qx_setting setting;
};
struct qx_trainer_layer {
    double top;                                        /* the axis is -top..top */
    struct qx_trainer_frame frame[QX_TRAINING_FRAMES]; /* written once, then only read */
};

/* Of one training. */
struct qx_trainer_run {
    pthread_mutex_t lock;
    struct qx_trainer_view live;
    struct qx_trainer_layer **layer; /* [layers] NULL where nothing is quantized */
    int n_layers;
    int64_t stride; /* steps of one point; under the lock, as the next two */
    double sum;
    int64_t n_sum;
    int seen; /* layers looked at in this frame: worker only */
    atomic_bool is_paused;
    double rung_s;
    struct qx_trained *trained;        /* worker until done */
    const struct qx_overlay **overlay; /* [layers] of it; NULL: why_not says why there are none */
    char why_not[256];
};

struct qx_trainer {
    struct qx_trainer_run *run; /* NULL = none yet */
    struct qx_trainer_view view;
    struct qx_train_options options;
    struct qx_task *task; /* out with the queue lane; NULL = none */
    char setting[96], reason[256], data[512];
    int n_quantized;
    enum qx_training_state end; /* NONE, DONE, FAILED */
};

/* training.c: any thread. The data named, else the folder's. */
enum qx_status qx_training_data(const struct qx_session *s, const char *named,
                                struct qx_dataset **out, struct qx_error *err);
/* Ranges still open among the settings of the network's layers are chosen. */
enum qx_status qx_training_settings(struct qx_session *s, struct qx_setting *set,
                                    struct qx_ctl *ctl, struct qx_error *err);
/* Host thread: the recipe with what was trained; released by the caller. */
struct qx_recipe;
enum qx_status qx_training_recipe(const struct qx_session *s, const struct qx_trained *t,
                                  struct qx_recipe *out, struct qx_error *err);

void qx_trainer_release(struct qx_session *s); /* after the lanes have stopped */
/* Take in what the worker wrote. True when there was something. */
bool qx_trainer_work(struct qx_session *s);

#endif

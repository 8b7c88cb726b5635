/* Quantization-aware training: a network is fine-tuned from its checkpoint while its weights and the inputs
 * of its layers pass through their quantizers, whose rounding the gradient ignores.
 *
 *   x^ = s (clamp(rint(x / s) + z, qmin, qmax) - z); forwards the network sees x^, backwards the gradient
 *   passes to x where x / s + z lies within qmin..qmax, and is 0 outside (straight-through estimator,
 *   Bengio et al., arXiv 1308.3432).
 *
 * The result is weights that lie on their levels, and settings with ranges, which the engines of qx/net.h
 * run as they are. */
#ifndef QX_TRAIN_H
#define QX_TRAIN_H

#include "qx/eval.h"

/* ---- quantizers: one row each (method/quantizer_table.c) ---- */

struct qx_quantizer_fn; /* method/quantizer.h */
struct qx_quantizer {
    const char *name;                   /* "lsq" */
    const char *title;                  /* "LSQ" */
    const char *help;                   /* one sentence */
    bool learns_weights, learns_inputs; /* the scale is trained with the weights */
    bool follows_inputs;                /* ranges of inputs follow the batches */
    double dampen;                      /* by default: qx_train_options */
    const struct qx_quantizer_fn *fn;
};
int qx_quantizer_count(void);
const struct qx_quantizer *qx_quantizer_at(int i); /* the first is the default */
/* QX_ENAME with the nearest name. */
enum qx_status qx_quantizer_find(const char *name, const struct qx_quantizer **out,
                                 struct qx_error *err);

/* ---- optimizers: one row each (method/optim_table.c) ---- */

struct qx_optimizer_fn; /* method/optim.h */
struct qx_optimizer {
    const char *name; /* "adamw" */
    const char *title, *help;
    double rate; /* peak learning rate by default */
    const struct qx_optimizer_fn *fn;
};
int qx_optimizer_count(void);
const struct qx_optimizer *qx_optimizer_at(int i); /* the first is the default */
enum qx_status qx_optimizer_find(const char *name, const struct qx_optimizer **out,
                                 struct qx_error *err);

/* ---- augmentations of images: one row each (method/augment_table.c) ---- */

struct qx_augment_fn; /* method/augment.h */
struct qx_augment {
    const char *name, *help; /* "shift" */
    const struct qx_augment_fn *fn;
};
int qx_augment_count(void);
const struct qx_augment *qx_augment_at(int i);
/* "shift,flip", "none": a bit for each row of the table. QX_ENAME with the nearest name. */
enum qx_status qx_augment_parse(const char *list, unsigned *out, struct qx_error *err);
const char *qx_augment_text(unsigned chosen, char *buf, size_t cap); /* the other way; buf */

/* ---- training ---- */

struct qx_train_options {
    const struct qx_quantizer *quantizer; /* NULL: the first of the table */
    const struct qx_optimizer *optimizer; /* NULL: the first of the table */
    int epochs;                           /* 1.. */
    int64_t batch;                        /* rows a step */
    int64_t
        epoch_rows; /* rows an epoch, at most: of more, every epoch takes other ones until all have been
                            taken; 0 = all */
    unsigned
        augment; /* what is done to the images of a batch, by seed and step: qx_augment_parse; 0 =
                            nothing. Never to rows that are held out or evaluated */
    int64_t max_rows;    /* of the training data, drawn by seed; 0 = all */
    double rate;         /* peak learning rate; 0 = the optimizer's own */
    double warmup;       /* share of the steps in which it rises, then it falls as a cosine to 0 */
    double weight_decay; /* of layers' weights; biases, norms and scales have none */
    double clip;         /* largest norm of all gradients together; 0 = any */
    double distill;      /* 0..1: share of the loss that compares with the float32 network, the rest
                            compares with the labels */
    double temperature;  /* of that comparison */
    /* Weights are drawn to their levels, so that they do not go to and fro between two (oscillation dampening,
     * Nagel et al., arXiv 2203.11086, eq. 5): after each step w -= (1 - exp(-k)) (w - x^), a step along the
     * gradient of ||x^ - clamp(w)||^2 that is kept apart from the optimizer's, as AdamW keeps decay. k grows as
     * the twelfth power of the time and sums up to this: by itself it would shrink distances by exp(-dampen),
     * nine tenths of that in the last sixth. Drawn earlier, networks learn less. NaN = the quantizer's own;
     * 0 = not. */
    double dampen;
    double freeze; /* share of the steps, the last ones, in which running statistics and followed
                            ranges stay as they are */
    int patience;  /* stop after so many epochs without a better one; 0 = never */
    uint64_t seed;
    uint64_t max_bytes; /* values of a batch beyond it are computed twice: qx_tape_new */
    const char *
        checkpoint; /* file written after every epoch, from which a training goes on bit by bit; NULL:
                               none. Borrowed for the run */
    bool resume;    /* go on from it: QX_EDATA when it is of another training */
};
/* What works for the samples: LSQ, AdamW, 4 epochs of 10,000 rows at most (language models 3 over all), half of
 * the loss by distillation. For a language model (NULL: not known) all of it, at temperature 1, so that what is
 * gained over PTQ is not gained by reading more text than float32 has; batches of 8 documents. Images are not
 * augmented. Chosen on rows of fashion-cnn that are neither trained on nor its evaluation rows (INT4 weights and
 * inputs, one scale a tensor; FP32 92.76 %, PTQ 91.19 %, of 8,000), one run each, where two runs that differ in
 * their seed alone are up to 0.4 apart: other rows every epoch instead of the same 10,000 gave 92.5 instead of
 * 92.2 %, augmented by shift and flip 91.9, all of the loss by distillation 92.0 to 92.3. Of peak rates the lower
 * ones left the lower losses on the rows held out (5 epochs: 0.118 at 1e-3, 0.113 at 5e-4, 0.110 at 2e-4). */
struct qx_train_options qx_train_defaults(const struct qx_net *net);

/* Why a training ended. */
enum qx_train_end {
    QX_TRAIN_DONE,    /* all epochs */
    QX_TRAIN_EARLY,   /* patience */
    QX_TRAIN_STOPPED, /* cancelled: what was best until then is kept */
    QX_TRAIN_DIVERGED /* the loss was no number: what was best until then is kept */
};
const char *qx_train_end_name(enum qx_train_end end); /* "done", "early", "stopped", "diverged" */

/* How it goes. Borrowed for the call. */
struct qx_train_step {
    int64_t step, n_steps; /* 1.. */
    double loss, rate;     /* of the batch */
};
struct qx_train_epoch {
    int epoch, n_epochs;  /* 0: before training (quantized after training, PTQ) */
    double loss;          /* mean over the epoch's batches; NaN for 0 */
    double held_out_loss; /* on rows kept from training: what decides which epoch is best */
    double accuracy;      /* on the evaluation data, simulated; 0..1 */
    double perplexity;    /* the same of language models, else NaN */
    int64_t correct, n;   /* rows, of language models tokens */
    bool is_best;
    double time_s; /* since the start */
};
struct qx_train_look { /* one layer as it stands */
    int layer;
    const float *weight; /* [n] before rounding */
    const float *unit;   /* [n] the same, the last level of its tensor, channel or group being 1 */
    int64_t n;
    struct qx_setting setting; /* with the ranges of now */
};
struct qx_train_watch {
    void *arg; /* the calls come from the thread that runs the training */
    void (*step)(void *arg, const struct qx_train_step *step);
    void (*epoch)(void *arg, const struct qx_train_epoch *epoch);
    /* Called after steps for all quantized layers, when want_look says so. */
    bool (*want_look)(void *arg, int64_t step);
    void (*look)(void *arg, const struct qx_train_look *look);
};

/* What came of it; free with qx_trained_free. Immutable. */
struct qx_trained {
    enum qx_train_end end;
    int epochs, best;       /* finished, and the one that is kept (0: none was better than PTQ) */
    double time_s, steps_s; /* of all, and of the steps alone (of this run) */
    int64_t n_data;         /* rows of the data */
    int64_t n_rows;         /* of them to train on */
    int64_t epoch_rows;     /* an epoch */
    int64_t n_held_out, n_steps;
    double ptq, best_accuracy;              /* simulated, on the evaluation data */
    double ptq_perplexity, best_perplexity; /* of language models, else NaN */
    struct qx_setting *set;                 /* [layers], ranges by hand */
    int64_t n_tensors;                      /* of the model */
    float **values; /* [n_tensors] NULL: as stored. Layers' weights lie on their levels */
};
void qx_trained_free(struct qx_trained *t); /* NULL allowed */

/* Can overlays hold all of it? Not what was trained and stays in float32 (layers without bits), or goes with no
 * quantized layer: QX_EUNSUPPORTED names it. */
enum qx_status qx_trained_check(const struct qx_net *net, const struct qx_trained *t,
                                struct qx_error *err);
/* A quantized layer's overlay for its setting with the method "qat": codes, scales, and the norms and biases
 * that go with the layer. The caller's. QX_ENOMEM. */
struct qx_overlay;
enum qx_status qx_trained_overlay(const struct qx_net *net, const struct qx_trained *t, int layer,
                                  struct qx_pool *pool, struct qx_overlay **out,
                                  struct qx_error *err);

/* Fine-tune the network under these settings of its layers (ranges resolved). data: rows to train on,
 * eval: rows to measure on. A row of a language model is a document, and every token that counts an answer;
 * rows may differ in length: those of a tile lie one behind the other, and padding is not computed. Nothing
 * of the model is changed. Cancelling is no error: see the end. Progress in rows. Memory: qx_tape_bytes,
 * float32's weights and three copies of them; the teacher's answers to all rows [rows, classes], or of language models to a
 * batch [batch, places, vocabulary].
 * The result is the same for any number of threads.
 * QX_EUNSUPPORTED: an operation that cannot be trained through, dynamic ranges, or what the quantizer
 * cannot do, named; QX_EDATA: no labels, too few rows; QX_ERANGE: an option; QX_ENOMEM. */
enum qx_status qx_train_run(const struct qx_net *net, const struct qx_dataset *data,
                            const struct qx_dataset *eval, const struct qx_setting *set,
                            const struct qx_train_options *options,
                            const struct qx_train_watch *watch, struct qx_pool *pool,
                            struct qx_ctl *ctl, struct qx_trained **out, struct qx_error *err);

#endif

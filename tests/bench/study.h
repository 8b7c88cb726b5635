/* What the files of predict_study share: a model with its rows, random configurations, their measured
 * outcome, and figures over many of them. A program, not a library: failures end it. */
#ifndef STUDY_H
#define STUDY_H

#include "base/rng.h"
#include "qx/predict.h"

#include <stdio.h>

/* ---- a model ---- */

/* Rows of the evaluation set and what the float32 network says of them. */
struct study_rows {
    int64_t n;
    int64_t *row; /* [n] ascending */
    float *x;     /* [n, sample] */
    int *label;   /* [n] */
    float *z0;    /* [n, classes] */
    double accuracy0;
    double ce0;
    /* language models (study_words.c): row [n_inputs] documents, x theirs, n answers */
    int64_t n_inputs, *first, *place; /* [n_inputs + 1], [n] */
};

struct study_truth; /* outcomes on disk */

struct study {
    const char *name;
    struct qx_pool *pool;
    struct qx_model *model;
    struct qx_net *net;
    struct qx_dataset *data;
    struct qx_calibration *calib;
    struct qx_weights *weights;
    int n_layers, n_classes;
    struct qx_predict_probe *probe;
    struct study_rows p, e; /* P: what predictors may look at; E: what they are judged by */
    struct qx_range *span;  /* [n_layers] smallest and largest weight */
    bool is_words;          /* a language model */
    struct study_truth *truth;
    uint64_t key; /* of model, data, rows and arithmetic: seeds the keys of outcomes */
};

/* P has p_rows rows (0: the usual number). E has at most max_rows rows, drawn by the seed among those outside P. */
struct study *study_open(const char *folder, int64_t p_rows, int64_t max_rows,
                         struct study_truth *truth);
void study_close(struct study *s);
const struct qx_tensor *study_tensor(const struct study *s, int layer);

/* Of language models: row holds the documents; x, labels and places of all their tokens that count. */
void study_words_load(struct study *s, struct study_rows *r);
void study_words_run(struct study *s, const struct study_rows *rows, float *z);
/* Documents that P is of. */
void study_words_taken(const struct study *s, const struct qx_predict_base *base, bool *taken);
/* About so many tokens. */
int64_t study_words_documents(const struct study *s, int64_t tokens);

/* ---- configurations ---- */

enum study_kind { STUDY_MILD, STUDY_FEW, STUDY_FULL, STUDY_KINDS };

struct study_config {
    enum study_kind kind;
    bool has_act;
    struct qx_setting *s; /* [n_layers] with their ranges */
};

/* Configuration i of the study (README.md of engine/eval, "Configurations"). */
struct study_config study_draw(const struct study *s, int i, struct qx_rng *rng);
struct study_config study_copy(const struct study *s, const struct study_config *c);
void study_config_free(struct study_config *c);
/* Every layer at these bits, per channel, ranges by mse: what the search for mixed precision uses. */
struct qx_setting study_plain(const struct study *s, int layer, int bits);
/* Bits, scheme and ratio of one weight: of its own range (tensor) or of each unit's. */
struct qx_setting study_weight(const struct study *s, int layer, int bits, bool sym,
                               enum qx_gran gran, double ratio);
void study_act(const struct study *s, int layer, int bits, double ratio, struct qx_act *out);
/* Draw the weight of a layer anew (is_act: its input), as hard as the kind allows. */
void study_redraw(const struct study *s, struct study_config *c, int layer, bool is_act,
                  struct qx_rng *rng);
/* Bits per weight over all layers, without scales. */
double study_mean_bits(const struct study *s, const struct study_config *c);

/* ---- outcomes ---- */

struct study_outcome {
    double kl;       /* mean KL(softmax z0 || softmax z), nats */
    double accuracy; /* 0..1; of language models float32's perplexity over this one's */
    double same_top; /* share of rows whose largest logit is the float32 network's */
};
/* Points of accuracy lost against float32 on the same rows; of language models the increase of perplexity
 * in percent. */
double study_drop(const struct study_rows *rows, const struct study_outcome *o);
/* The same of a predicted value. */
double study_drop_of(const struct study *s, double value, double change);
struct study_outcome study_score(const struct study *s, const struct study_rows *rows,
                                 const float *z);
/* Run the rows with the weights as they are now. */
struct study_outcome study_run(struct study *s, const struct study_rows *rows);
void study_apply(struct study *s, const struct study_config *c);
void study_apply_fp32(struct study *s);
/* On E, and on P, from disk when it was ever measured before. */
struct study_outcome study_measure(struct study *s, const struct study_config *c);
struct study_outcome study_measure_p(struct study *s, const struct study_config *c);
uint64_t study_key(const struct study *s, const struct study_config *c);

struct study_truth *study_truth_open(const char *path);
void study_truth_close(struct study_truth *t);
bool study_truth_find(const struct study_truth *t, uint64_t key, struct study_outcome *out);
void study_truth_add(struct study_truth *t, uint64_t key, const struct study_outcome *o);

/* ---- the predictor under test ---- */

/* The whole table of the model, and a mix on it. */
struct study_predictor;
struct study_predictor *study_predictor_make(struct study *s);
void study_predictor_free(struct study_predictor *p);
struct study *study_of(const struct study_predictor *p);
struct study_guess {
    double kl, drop; /* points on E */
    double same_top;
    double by_tokens, by_kl; /* of language models: the two that make drop */
};
/* Points lost (per cent of perplexity) that a composition says without anchors. */
double study_plain_drop(const struct study_predictor *p, const struct qx_predict_sum *sum);
struct study_guess study_predict(struct study_predictor *p, const struct study_config *c);
/* The same with every site measured at its own setting. */
struct study_guess study_predict_exact(struct study_predictor *p, const struct study_config *c);
/* `from` (NULL: the whole table) with the sites of c measured at their own settings. */
struct qx_predict_table *study_exact_table(struct study_predictor *p,
                                           const struct qx_predict_table *from,
                                           const struct study_config *c);
/* A measured configuration, and the anchored prediction of another one. table NULL: the whole table. */
struct qx_predict_point *study_point(struct study_predictor *p, const struct study_config *c,
                                     bool is_drawn);
struct qx_predict_anchors *study_anchors(struct study_predictor *p,
                                         const struct qx_predict_table *table,
                                         struct qx_predict_point *const *points, int n);
struct qx_prediction study_ask(struct study_predictor *p, const struct qx_predict_table *table,
                               const struct qx_predict_anchors *anchors,
                               const struct study_config *c);
/* What a layer's setting is to the predictor. */
void study_change(struct study_predictor *p, int layer, const struct qx_setting *setting,
                  struct qx_predict_layer *out);

/* ---- baselines: a scalar per site, summed ---- */

/* KL = sum of alpha t^2 over sites, t^2 = relative squared error of the weight or input. */
struct study_scores {
    double *weight, *act; /* [n_layers] alpha */
};
struct study_baselines {
    struct study_scores higgs, fisher;
    /* the way from KL to points lost: noise of growing size in all weights, on P */
    int n_curve;
    double *curve_kl, *curve_drop;
};
struct study_baselines *study_baselines_make(struct study *s);
void study_baselines_free(struct study_baselines *b);
/* t^2 of weight and input of every layer at c, [n_layers] each. */
void study_site_errors(struct study *s, const struct study_config *c, double *weight, double *act);
double study_scalar_kl(const struct study *s, const struct study_scores *scores,
                       const double *weight, const double *act);
double study_curve_drop(const struct study_baselines *b, double kl);

/* ---- anchors (study_anchored.c): each prints rows of a table ---- */

/* Coverage of the others' bands when k of the n configurations are measured, over random choices. */
void study_bands(struct study_predictor *p, const struct study_config *configs, int n, int k);
/* One layer drawn anew from a measured base, beside 19 measured configurations. */
void study_edits(struct study_predictor *p, const struct study_config *configs, int n);
/* Steps of hands that tune, beside 19 measured configurations. */
void study_walks(struct study_predictor *p, const struct study_config *configs);
/* A threshold pulled down, each step an anchor of the next. */
void study_pulls(struct study_predictor *p);

/* Prints a row: points that a drag's steps are off, of those that they lose, and abs log10 of the KL's ratio,
 * for thresholds from .45 of the largest value on, from .3 on, and below (study_drags.c). */
void study_drags(struct study_predictor *p);

/* ---- encoders without a classifier (study_similar.c) ---- */

/* Prints a table of one layer, four and all at 2 to 6 bits, and of n random configurations. P is what is predicted. */
void study_similar(struct study *s, int n_configs, uint64_t seed);

/* ---- mixed precision (study_mixed.c) ---- */

/* Prints a row for each budget: true KL on E (and mean bits) of uniform, HIGGS, Fisher, greedy, the best
 * sum of measured sites, and that improved by the composed KL. */
void study_mixed(struct study_predictor *p, const struct study_baselines *b);

/* ---- figures ---- */

/* Rank correlation, ties at their mean rank; NaN for fewer than 3 pairs. */
double study_spearman(const double *a, const double *b, int n);
/* 1 - SSres / SStot of log10, over pairs whose truth is above 1e-9; predictions are floored there. */
double study_r2_log10(const double *predicted, const double *truth, int n);
double study_r2(const double *predicted, const double *truth, int n);
double study_median(double *x, int n); /* sorts x */

/* Mean absolute error in points by the size of the true drop. */
enum { STUDY_REGIMES = 3 }; /* below 5 points, 5 to 15, above */
struct study_errors {
    double mae[STUDY_REGIMES], bias[STUDY_REGIMES];
    int n[STUDY_REGIMES];
};
int study_regime(double drop);
struct study_errors study_mae(const double *predicted, const double *truth, int n);

/* ---- small things ---- */

void study_die(const char *what) __attribute__((noreturn));
void study_check(enum qx_status st, const struct qx_error *err);
void *study_take(size_t n, size_t size); /* zeroed */

#endif

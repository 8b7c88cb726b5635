/* Predicting what a recipe does to the whole network before it is run: gain / shift / residual
 * superposition.
 *
 * A site is one layer's weights (W) or one layer's input activations (A). For every site a table holds
 * measured changes of the logits on a few cached rows P, rounding and clipping apart (four families).
 * Each change is split into a gain, a class shift and a residual; over sites gains multiply, shifts and
 * residuals add. Measured configurations (anchors) then correct the composition and give its band.
 *
 *   base   P: its rows and float32 logits          qx_predict_base_*    immutable, refcounted
 *   probe  runs the network on P                   qx_predict_probe_*   one thread at a time
 *   entry  one measured site                       qx_predict_entry_*   immutable, refcounted
 *   table  all entries                             qx_predict_table_*   immutable, refcounted
 *   mix    the composition of one recipe           qx_predict_mix_*     one thread at a time
 *   point  one measured configuration              qx_predict_point_*   immutable, refcounted
 *   anchors  points seen by one table, the band    qx_predict_anchors_* immutable, refcounted
 *
 * Immutable objects may be read from any thread: a job adds to a table while the host asks an older one.
 * Nothing here depends on the kind of network, only on logits [n_rows, n_classes]. Of encoders without a
 * classifier the logits are similarities of the rows' unit vectors, [n, n] (eval/similarity.h); it is the vectors
 * that are measured, split and composed, since products do not add. Results do not depend
 * on the number of threads. Everything random comes from the base's seed. */
#ifndef QX_PREDICT_H
#define QX_PREDICT_H

#include "qx/eval.h"
#include "qx/metric.h"
#include "qx/net.h"

enum {
    QX_PREDICT_ROWS = 256,       /* rows of P (all, if the data have fewer) */
    QX_PREDICT_ROWS_MOST = 1024, /* where that is quick: sessions go on to these */
    QX_PREDICT_PLACES = 512,     /* of language models */
    QX_PREDICT_SPREAD = 4,       /* tokens that are run for each of them */
    QX_PREDICT_PREFIX = 128, /* of each document at most: many documents say more than long ones */
    QX_PREDICT_ROWS_LEAST = 64 /* below: no percentage, KL only */
};

/* ---- sites, families, amplitudes ---- */

enum qx_site { QX_SITE_W, QX_SITE_A, QX_SITE_COUNT };
enum qx_family {
    QX_FAMILY_W_ROUND,
    QX_FAMILY_W_CLIP,
    QX_FAMILY_A_ROUND,
    QX_FAMILY_A_CLIP,
    QX_FAMILY_COUNT
};

/* Relative errors of a site: ||Q(C) - C|| / ||x|| and ||C - x|| / ||x||, C = clamp(x, lo, hi);
 * Frobenius norms for weights, sums over the calibration values for activations. 0 = untouched. */
struct qx_amplitude {
    double round, clip;
};

/* What a recipe does to one layer, as far as the prediction is concerned. Zero = float32. */
struct qx_predict_layer {
    struct qx_amplitude t[QX_SITE_COUNT];
    uint64_t key[QX_SITE_COUNT]; /* of the site's setting: finds exact entries; 0 = float32 */
};

/* Amplitudes from the figures of qx_metric_hist. 0 when the tensor is all zeros. */
struct qx_amplitude qx_amplitude_of(const struct qx_metrics *m);
/* Both sites of a layer. hist: of the weight, matching qx_setting_spec, unused (NULL) for fp32 weights;
 * observed: of its input, unused for float32 activations. Dynamic ranges are those of the calibration's
 * batches. Ranges must be resolved. O(levels), no allocation, pure: safe on the UI thread.
 * QX_EDATA without a needed range, histogram or observation. */
enum qx_status qx_predict_layer_of(const struct qx_setting *s, const struct qx_hist *hist,
                                   const struct qx_observed *observed, struct qx_predict_layer *out,
                                   struct qx_error *err);
/* Never 0 for a quantized site, 0 for a float32 one. */
uint64_t qx_predict_key(const struct qx_setting *s, enum qx_site site);

/* ---- P ---- */

struct qx_predict_base;
/* P from logits at hand: z [n, n_classes], labels [n] (NULL = none), rows [n] (NULL = 0..n-1). Copied.
 * QX_ERANGE (n < 1, fewer than two classes), QX_EDATA (a logit that is not finite), QX_ENOMEM. */
enum qx_status qx_predict_base_new(const float *z, const int32_t *labels, const int64_t *rows,
                                   int64_t n, int n_classes, struct qx_predict_base **out,
                                   struct qx_error *err);
struct qx_predict_base *qx_predict_base_ref(const struct qx_predict_base *base);
void qx_predict_base_unref(struct qx_predict_base *base); /* NULL allowed */
int64_t qx_predict_base_n(const struct qx_predict_base *base);
int qx_predict_base_n_classes(const struct qx_predict_base *base);
const int64_t *qx_predict_base_rows(const struct qx_predict_base *base); /* ascending */
int qx_predict_base_top(const struct qx_predict_base *base, int64_t i);  /* float32's class */
bool qx_predict_base_has_labels(const struct qx_predict_base *base);
double qx_predict_base_accuracy(const struct qx_predict_base *base); /* NaN without labels */
double qx_predict_base_ce(const struct qx_predict_base *base);       /* mean -log p, the same */
/* Rows are places of a language model's documents. Their logits are few: of the 64 likeliest tokens, of
 * the one that follows (the label) and of all others together, so that an entry takes 132 bytes for each
 * of 512 places, 66 KiB, whatever the vocabulary. softmax of them is exact for the tokens kept; kl is a
 * lower bound of the KL over the whole vocabulary (what others exchange among themselves is not seen). */
bool qx_predict_base_is_words(const struct qx_predict_base *base);

/* What logits z [n, n_classes] of P say against float32's. */
struct qx_predict_truth {
    double kl;       /* mean KL(softmax z0 || softmax z), nats */
    double accuracy; /* NaN without labels */
    double same_top; /* share of rows whose largest logit is float32's */
    double ce;       /* mean -log softmax(z) of the label; NaN without labels */
};
void qx_predict_compare(const struct qx_predict_base *base, const float *z,
                        struct qx_predict_truth *out);

/* ---- entries (prediction.md 3.1) ---- */

/* Which change an entry measures. A family at its parameter: ROUND = bits (weights: symmetric per
 * channel; activations: asymmetric, their whole range), CLIP = ratio of the range, no rounding. */
struct qx_predict_spec {
    int layer;
    enum qx_family family;
    double param;
};
struct qx_predict_entry;
/* From the logits z [n, n_classes] that P has with only this site changed, by amplitude t (of a family's
 * entry: the family's own counts). key != 0: an exact entry, for the one setting with this key, of the
 * family's site; zero t: unknown. QX_ENOMEM, QX_EDATA (z is not finite), QX_ERANGE (P of an encoder without
 * a classifier: a probe measures its vectors). */
enum qx_status qx_predict_entry_new(const struct qx_predict_base *base,
                                    const struct qx_predict_spec *spec, uint64_t key,
                                    struct qx_amplitude t, const float *z,
                                    struct qx_predict_entry **out, struct qx_error *err);
struct qx_predict_entry *qx_predict_entry_ref(const struct qx_predict_entry *e);
void qx_predict_entry_unref(struct qx_predict_entry *e); /* NULL allowed */
struct qx_predict_entry_info {
    struct qx_predict_spec spec;
    uint64_t key; /* 0: of a family */
    struct qx_amplitude t;
    double gamma;    /* gain */
    double residual; /* norm of r */
    struct qx_predict_truth truth;
};
void qx_predict_entry_look(const struct qx_predict_entry *e, struct qx_predict_entry_info *out);

/* ---- the table ---- */

struct qx_predict_table;
enum qx_status qx_predict_table_new(const struct qx_predict_base *base, int n_layers,
                                    struct qx_predict_table **out, struct qx_error *err);
enum { QX_PREDICT_EXACT = 32 }; /* exact entries of one site that a table holds */
/* A new table with one entry more (an equal spec and key is replaced; of more than QX_PREDICT_EXACT exact
 * ones of a site the one added first goes); the old one stays as it is. O(entries + n * n_classes). QX_ERANGE when the entry is of another P or network. */
enum qx_status qx_predict_table_add(const struct qx_predict_table *table,
                                    const struct qx_predict_entry *entry,
                                    struct qx_predict_table **out, struct qx_error *err);
struct qx_predict_table *qx_predict_table_ref(const struct qx_predict_table *table);
void qx_predict_table_unref(struct qx_predict_table *table); /* NULL allowed */
const struct qx_predict_base *qx_predict_table_base(const struct qx_predict_table *table);
int qx_predict_table_n_layers(const struct qx_predict_table *table);
int qx_predict_table_n(const struct qx_predict_table *table); /* entries */
const struct qx_predict_entry *qx_predict_table_entry(const struct qx_predict_table *table, int i);
bool qx_predict_table_has(const struct qx_predict_table *table, const struct qx_predict_spec *spec);
bool qx_predict_table_has_exact(const struct qx_predict_table *table, int layer, enum qx_site site,
                                uint64_t key);
/* Can every site that the layer touches be predicted? (One entry of each family touched is enough.) */
bool qx_predict_table_covers(const struct qx_predict_table *table, int layer,
                             const struct qx_predict_layer *change);

/* ---- measuring (3.1, 3.4) ---- */

struct qx_pool;
struct qx_predict_probe;
/* P of a data set: n_rows (0 = QX_PREDICT_ROWS) rows by seed, all if there are fewer, and the network's
 * float32 answers to them. base != NULL: those of an earlier probe (or a file); nothing is run. Of language
 * models n_rows (0 = QX_PREDICT_PLACES) places, of documents (the first QX_PREDICT_PREFIX tokens) with four times as many; base only
 * says how many.
 * calibration: of the layers' inputs, NULL = activations are not measured. Net, data and calibration
 * must outlive the probe. Memory: the inputs of P, the weights of changed layers. QX_EDATA (answers that
 * are not finite; a base of other rows), what qx_net_run returns. */
enum qx_status qx_predict_probe_new(const struct qx_net *net, const struct qx_dataset *data,
                                    const struct qx_calibration *calibration,
                                    const struct qx_predict_base *base, int64_t n_rows,
                                    uint64_t seed, struct qx_pool *pool, struct qx_ctl *ctl,
                                    struct qx_predict_probe **out, struct qx_error *err);
void qx_predict_probe_free(struct qx_predict_probe *probe); /* NULL allowed */
/* From now on inputs are measured by this calibration, which must outlive the probe. */
void qx_predict_probe_calibrate(struct qx_predict_probe *probe,
                                const struct qx_calibration *calibration);
const struct qx_predict_base *qx_predict_probe_base(const struct qx_predict_probe *probe);
/* Measure one entry: one forward of P with only that site changed. A site without values, or that the
 * change leaves as it is, gives an entry with t = 0. QX_ECANCELLED and failures lose only this entry.
 * QX_EDATA for activations that were not calibrated. */
enum qx_status qx_predict_probe_entry(struct qx_predict_probe *probe,
                                      const struct qx_predict_spec *spec, struct qx_pool *pool,
                                      struct qx_ctl *ctl, struct qx_predict_entry **out,
                                      struct qx_error *err);
/* The exact entry of one site of a layer under a setting (ranges resolved). Its amplitude is known for
 * weights, whose histogram is built, and for calibrated inputs. */
enum qx_status qx_predict_probe_exact(struct qx_predict_probe *probe, int layer, enum qx_site site,
                                      const struct qx_setting *s, struct qx_pool *pool,
                                      struct qx_ctl *ctl, struct qx_predict_entry **out,
                                      struct qx_error *err);
/* Run a whole configuration (set [layers], ranges resolved) on P. z: [n, n_classes], NULL = not wanted.
 * truth NULL allowed. An answer that is not finite: QX_EDATA. */
enum qx_status qx_predict_probe_run(struct qx_predict_probe *probe, const struct qx_setting *set,
                                    enum qx_engine engine, struct qx_pool *pool, struct qx_ctl *ctl,
                                    struct qx_predict_truth *truth, float *z, struct qx_error *err);

/* What a configuration (set [layers], ranges resolved) does to every layer: change [layers]. Builds the
 * histograms it needs. */
enum qx_status qx_predict_probe_change(struct qx_predict_probe *probe, const struct qx_setting *set,
                                       struct qx_pool *pool, struct qx_ctl *ctl,
                                       struct qx_predict_layer *change, struct qx_error *err);
/* A random configuration, ranges resolved, for calibrating the band (prediction.md 2):
 *   MILD  every layer 3-8 bits, clip ratio .7-1
 *   FEW   8 bits but for 1-4 layers of 2-8 bits, clip ratio .3-1
 *   WILD  every layer 2-8 bits, symmetric or not, tensor, channel or groups of 32, clip ratio .3-1
 * Half of them quantize the inputs too (asymmetric, static, same bits and ratios), where those were
 * calibrated. Embeddings stay. set [layers]. QX_EIO, QX_EUNSUPPORTED: weights that cannot be read. */
enum qx_predict_kind { QX_PREDICT_MILD, QX_PREDICT_FEW, QX_PREDICT_WILD, QX_PREDICT_KINDS };
enum qx_status qx_predict_probe_draw(struct qx_predict_probe *probe, enum qx_predict_kind kind,
                                     uint64_t seed, struct qx_setting *set, struct qx_error *err);

/* What to measure next. */
enum qx_predict_level {
    QX_PREDICT_LITE, /* 6 entries a layer: weights 3 and 5 bits, clip .45 .15; activations 4 bits, clip .5 */
    QX_PREDICT_FULL /* 20: 2, 3, 4, 5, 6, 8 bits, clip .15 .3 .45 .6 .8; 3, 4, 5, 6, 8 bits, .15 .3 .5 .75 */
};
struct qx_predict_want {
    enum qx_predict_level level;
    bool has_act;         /* activations are measurable */
    bool is_act_urgent;   /* the recipe quantizes some: not after all weights */
    int first;            /* layer that goes first; -1 = none */
    const double *weight; /* [layers] the larger the earlier, such as n t^2; NULL = by values */
    const bool *only;     /* [layers] those that are wanted; NULL = all */
};
/* The next entry that the table lacks: lite before full, weights before activations, the first layer
 * before others. False when the level is complete. O(layers). */
bool qx_predict_next(const struct qx_predict_table *table, const struct qx_net *net,
                     const struct qx_predict_want *want, struct qx_predict_spec *out);
/* Entries of a level in all, over the network's layers. */
int qx_predict_n_specs(const struct qx_net *net, const struct qx_predict_want *want);

/* ---- on disk ---- */

/* One file each, written atomically. key: hash of all that the numbers depend on (weights, rows, graph,
 * version); a file with another key, of another P or damaged is QX_EFORMAT, and the caller measures
 * again. */
enum qx_status qx_predict_base_save(const struct qx_predict_base *base, const char *path,
                                    uint64_t key, struct qx_error *err);
enum qx_status qx_predict_base_load(const char *path, uint64_t key, struct qx_predict_base **out,
                                    struct qx_error *err);
enum qx_status qx_predict_entry_save(const struct qx_predict_entry *e, const char *path,
                                     uint64_t key, struct qx_error *err);
enum qx_status qx_predict_entry_load(const char *path, uint64_t key,
                                     const struct qx_predict_base *base,
                                     struct qx_predict_entry **out, struct qx_error *err);

/* ---- composition (3.2, 3.3) ---- */

/* Outcome of a composition; percentages need QX_PREDICT_ROWS_LEAST rows. */
struct qx_predict_sum {
    int n_missing;   /* changed sites that the table does not cover: they count as untouched */
    double kl;       /* all signs +; nats */
    double same_top; /* like accuracy, against float32's class */
    double accuracy; /* expected: mean over the signs' ensemble. NaN without labels, and of language
                         models */
    double accuracy0; /* the same of float32: accuracy0 - accuracy is the drop */
    double ce;        /* all signs +; NaN without labels */
    double drop; /* D = logit(accuracy of float32) - logit(accuracy), of same_top without labels;
                        p = (n p + 1/2) / (n + 1) keeps it finite */
};

struct qx_predict_mix;
struct qx_predict_mix_options {
    int members; /* random sign vectors, M; 0 = 8. Each is read with its signs and with all turned */
    uint64_t seed; /* of the signs */
};
/* Everything float32. options NULL = defaults. Memory: (M + 5) * n * n_classes floats; of
 * an encoder without a classifier 3 * n * width + n * n. */
enum qx_status qx_predict_mix_new(const struct qx_predict_table *table,
                                  const struct qx_predict_mix_options *options,
                                  struct qx_predict_mix **out, struct qx_error *err);
void qx_predict_mix_free(struct qx_predict_mix *mix); /* NULL allowed */
/* Float32's accuracy on E, once it is measured (until then, and 0: that on P). Accuracies are expected
 * ones: in the place of P's few labels stand float32's probabilities at the temperature at which they
 * expect this accuracy. share: of E's rows that are P's (0: P is of other rows); as far as that goes P's
 * own labels count, and the probabilities expect the accuracy of the rest. qx_predict_anchors_ask sees
 * to it. O(n n_classes) when it is another one. */
void qx_predict_mix_expect(struct qx_predict_mix *mix, double fp32_accuracy, double share);
const struct qx_predict_table *qx_predict_mix_table(const struct qx_predict_mix *mix);
/* The same recipe on another table of the same network and P size. O(sites M n n_classes).
 * QX_ERANGE when it is of another shape. */
enum qx_status qx_predict_mix_rebase(struct qx_predict_mix *mix,
                                     const struct qx_predict_table *table, struct qx_error *err);
/* Change one layer. O(M n n_classes), no allocation; every 256th call O(sites M n n_classes). Nothing
 * is done when the layer is so already. */
void qx_predict_mix_set(struct qx_predict_mix *mix, int layer,
                        const struct qx_predict_layer *change);
const struct qx_predict_layer *qx_predict_mix_layer(const struct qx_predict_mix *mix, int layer);
/* O(M n n_classes). */
void qx_predict_mix_sum(const struct qx_predict_mix *mix, struct qx_predict_sum *out);
/* KL with only this site changed (k_p); 0 when untouched. O(n n_classes), kept by the mix. */
double qx_predict_mix_site_kl(struct qx_predict_mix *mix, int layer, enum qx_site site);
/* KL of the whole minus KL without this layer (both sites). O(n n_classes). */
double qx_predict_mix_share(struct qx_predict_mix *mix, int layer);
/* The composed logits, all signs +, centred over classes; z [n, n_classes]. */
void qx_predict_mix_logits(const struct qx_predict_mix *mix, float *z);
/* The same were one layer so; the mix stays as it is. O(n n_classes). */
void qx_predict_mix_try(struct qx_predict_mix *mix, int layer,
                        const struct qx_predict_layer *change, float *z);
/* What logits z [n, n_classes] of P say row by row; labels are left at -1. out [n] */
void qx_predict_leads(const struct qx_predict_base *base, const float *z, struct qx_lead *out);
/* Only their `now`. lead [n] */
void qx_predict_leads_of(const struct qx_predict_base *base, const float *z, float *lead);

/* ---- measured configurations, and the band (3.5) ---- */

/* What the shares are about: the evaluation rows E. Without labels fp32_accuracy is NaN and the
 * prediction speaks of same-top agreement, 1 for float32.
 * Of language models (is_words) the value is what is left of float32's likelihood, perplexity of float32 /
 * perplexity, 1 for float32: 1 / value - 1 is the relative increase. D is then the increase of the mean
 * -log p, in nats. */
struct qx_predict_scale {
    double fp32_accuracy; /* measured on E */
    int64_t n;            /* rows of E; tokens that count */
    bool is_words;
    double fp32_ce; /* of language models, measured on E */
    bool holds_p;   /* P's rows are among E's; false: they are others */
};
/* As if P were E. */
struct qx_predict_scale qx_predict_scale_of(const struct qx_predict_base *base);
/* From float32's result on E (holds_p: false); what the value of another result on E is. */
struct qx_predict_scale qx_predict_scale_measured(const struct qx_eval_result *fp32);
double qx_predict_value(const struct qx_predict_scale *scale, const struct qx_eval_result *r);

struct qx_predict_point;
struct qx_predict_point_info {
    uint64_t key; /* of the recipe */
    double value; /* share of E measured: accuracy, same-top without labels, see qx_predict_scale */
    double kl;    /* measured on P; NaN = not measured */
    bool is_drawn; /* a random configuration, not one of the user's */
};
/* change [n_layers], copied. */
enum qx_status qx_predict_point_new(const struct qx_predict_layer *change, int n_layers,
                                    const struct qx_predict_point_info *info,
                                    struct qx_predict_point **out, struct qx_error *err);
struct qx_predict_point *qx_predict_point_ref(const struct qx_predict_point *p);
void qx_predict_point_unref(struct qx_predict_point *p); /* NULL allowed */
void qx_predict_point_look(const struct qx_predict_point *p, struct qx_predict_point_info *out);
const struct qx_predict_layer *qx_predict_point_change(const struct qx_predict_point *p);

struct qx_predict_anchors;
/* The points as the table sees them. Those of which a site is not covered, or of another network, take
 * no part. O(points sites M n n_classes) + O(points^2 sites): a job's work. QX_ECANCELLED. */
enum qx_status qx_predict_anchors_new(const struct qx_predict_table *table,
                                      const struct qx_predict_mix_options *options,
                                      const struct qx_predict_scale *scale,
                                      struct qx_predict_point *const *points, int n,
                                      struct qx_ctl *ctl, struct qx_predict_anchors **out,
                                      struct qx_error *err);
struct qx_predict_anchors *qx_predict_anchors_ref(const struct qx_predict_anchors *a);
void qx_predict_anchors_unref(struct qx_predict_anchors *a); /* NULL allowed */
/* What the quantile of the residuals would be about, were they normal: 1.64 times their root mean square;
 * NaN for fewer than 3 points. */
double qx_predict_anchors_spread(const struct qx_predict_anchors *a);
/* Points that take part, K. */
int qx_predict_anchors_n(const struct qx_predict_anchors *a);

enum qx_predict_coverage {
    QX_PREDICT_UNCALIBRATED, /* K < 9: q = 2.5 */
    QX_PREDICT_ROUGH,        /* 9..18 */
    QX_PREDICT_90            /* from 19 on: "90 %" */
};
const char *
qx_predict_coverage_name(enum qx_predict_coverage c); /* "uncalibrated", "rough", "90 %" */

struct qx_prediction {
    bool has_value;   /* false: n_missing > 0, or too few rows for a percentage (kl is good then) */
    bool is_labelled; /* value is accuracy; else agreement with float32 */
    bool is_words;    /* value is float32's perplexity over this one's */
    double value, lo, hi; /* shares of E */
    double change, floor; /* value - float32's; the least change that E can show:
                             1.64 sqrt(flip / n), Gaussian bound of the paired difference; flip = 1 -
                             same_top, and a row of P more (as far as KL allows: sqrt(KL / 2)) where P
                             may have missed those that flip; of language models 1.64 sqrt(2 KL / n), 2 KL being the variance of the change
                             of log p, to second order */
    bool is_within_noise; /* |change| below the floor: no measurable change */
    double kl;            /* anchored; nats */
    double same_top;
    enum qx_predict_coverage coverage;
    int n_points; /* K */
    /* how it came about */
    int anchor;                        /* index of the point, -1 = float32 */
    uint64_t anchor_key;               /* its recipe; 0 = float32 */
    double rho;                        /* likeness to the anchor, 0..1 */
    double drop_plain, drop, sigma, q; /* logits: composed, anchored, scale, quantile */
    struct qx_predict_sum sum;
};
/* Anchored prediction of the mix, which must be of the anchors' table. O(points sites) beside
 * qx_predict_mix_sum. */
void qx_predict_anchors_ask(const struct qx_predict_anchors *a, struct qx_predict_mix *mix,
                            struct qx_prediction *out);
/* The formulas by themselves. Of language models D is the increase of -log p: KL, which tokens drawn by
 * float32 would lose, moved towards what P's own tokens lose as far as that is more than chance.
 * Of others D, the drop in logits: of accuracy (same-top without labels) from float32's
 * on E to that plus the change seen on P. Where P and E agree about float32 it is logit(acc0_P) -
 * logit(acc_P); where P has hardly a wrong row that would be a quotient of noise. Shares are taken as
 * (n p + 1/2) / (n + 1), which keeps logits finite. */
double qx_predict_drop(const struct qx_predict_base *base, const struct qx_predict_scale *scale,
                       const struct qx_predict_sum *sum);
/* The band: sigma = (1 - 0.9 rho) sqrt(e0^2 + (0.25 D)^2), e0 = 0.08, and
 * the ceil((K + 1) 0.9)-th smallest of K residuals (sorted in place), 2.5 for K < 9. */
double qx_predict_sigma(double drop, double rho);
double qx_predict_quantile(double *residuals, int n);

#endif

/* What is inside bases, entries, tables and mixes. */
#ifndef QX_EVAL_PREDICT_IMPL_H
#define QX_EVAL_PREDICT_IMPL_H

#include "qx/predict.h"

#include <stdatomic.h>

enum { QX_PIECES = QX_FAMILY_COUNT }; /* of a layer in a composition */

static inline enum qx_site qx_family_site(enum qx_family family)
{
    return family < QX_FAMILY_A_ROUND ? QX_SITE_W : QX_SITE_A;
}

struct qx_predict_base {
    atomic_int refs;
    int64_t n;
    int n_classes, n_tops; /* the first n_tops classes can be the answer: eval/places.h */
    bool is_words;         /* of a language model */
    int width;             /* of what is composed: n_classes, or of embeddings */
    double ce;             /* mean -log p0 of the labels; NaN without */
    uint64_t id;           /* of the logits: entries and tables of another P are refused */
    int64_t *rows;
    int32_t *labels; /* NULL = none */
    float *z0;       /* [n, n_classes] centred over classes */
    float *log_p0;   /* [n, n_classes] log softmax */
    float *p0;       /* [n, n_classes] */
    int32_t *top;    /* [n] class of the largest logit */
    float
        *v0; /* [n, width] what is composed: z0 itself. Of an encoder without a classifier its unit
                      vectors, whose similarities the logits are: these do not add, vectors do */
    float *mean;   /* [width] of v0 */
    double sq_dev; /* sum (v0 - mean)^2 */
    /* rows by their class on top, for qx_base_systematic */
    int32_t *order; /* [n] rows, those of one class together */
    float *lead; /* [n] of the class on top, from the mean of its class, in spreads of all leads */
    int64_t n_right;
};

struct qx_predict_entry {
    atomic_int refs;
    uint64_t base_id;
    struct qx_predict_spec spec;
    uint64_t key;
    struct qx_amplitude t;
    double gamma;
    double norm; /* of r */
    struct qx_predict_truth truth;
    int64_t n;
    int width;   /* of the base */
    float *b;    /* [width] */
    uint16_t *r; /* [n, width] float16 */
};

/* As qx_predict_base_new; is_centred: z already has mean 0 over the classes, to the last bit. vectors
 * [n, width]: z are their similarities; NULL: they are logits. */
struct qx_base_parts {
    const float *z;
    const int32_t *labels; /* NULL = none */
    const int64_t *rows;   /* NULL = 0..n-1 */
    int64_t n;
    int n_classes;
    bool is_centred;
    const float *vectors;
    int width;
};
enum qx_status qx_base_make(const struct qx_base_parts *parts, struct qx_predict_base **out,
                            struct qx_error *err);
static inline bool qx_base_is_similarities(const struct qx_predict_base *base)
{
    return base->v0 != base->z0;
}
/* The base of places. */
struct qx_places;
enum qx_status qx_base_of_places(const struct qx_places *p, const float *z,
                                 struct qx_predict_base **out, struct qx_error *err);
/* What of r [n, n_classes] goes with float32's class and its lead: for each class on top the regression
 * r ~ 1 + lead, held back where rows are few (ridge). Linear in r. work [2 n_classes]. */
void qx_base_systematic(const struct qx_predict_base *base, const float *r, double *work,
                        float *out);
/* One reference, all else zero. */
enum qx_status qx_entry_alloc(int64_t n, int width, struct qx_predict_entry **out,
                              struct qx_error *err);
/* As qx_predict_entry_new. v [n, width]: what z are the similarities of; NULL: z is composed itself. */
enum qx_status qx_entry_make(const struct qx_predict_base *base, const struct qx_predict_spec *spec,
                             uint64_t key, struct qx_amplitude t, const float *z, const float *v,
                             struct qx_predict_entry **out, struct qx_error *err);
bool qx_entry_is_finite(const struct qx_predict_entry *e);

/* Amplitude of a family's entry: its own part. */
static inline double qx_entry_t(const struct qx_predict_entry *e)
{
    return e->spec.family % 2 ? e->t.clip : e->t.round;
}

/* The entries of one family of one layer are neighbours, by t ascending; exact ones come last, as they
 * were added. */
struct qx_predict_table {
    atomic_int refs;
    struct qx_predict_base *base;
    int n_layers;
    int n;
    struct qx_predict_entry **v; /* [n] by layer, family, exact, t */
    double *dot;                 /* [n] <r_i, r_i+1>, 0 for the last of a family */
    int *first;                  /* [n_layers * QX_FAMILY_COUNT + 1] */
    int *n_family;               /* [n_layers * QX_FAMILY_COUNT] without exact ones */
};

/* The weights are float32 between the calls. */
struct qx_predict_probe {
    const struct qx_net *net;
    const struct qx_calibration *calibration;
    struct qx_predict_base *base;
    struct qx_weights *weights;
    struct qx_places *places;
    float *z; /* [n, n_classes] */
    /* the weight that was asked for last */
    int layer; /* -1 = none */
    struct qx_hist *hist;
    struct qx_hist_spec spec;
    /* what P is just before that layer, under float32 */
    struct qx_net_cut *cut; /* NULL = none */
    int cut_layer;
};

/* Histogram of the layer's weight that the setting needs, into p->hist; kept until another is asked for. */
enum qx_status qx_probe_hist(struct qx_predict_probe *p, int layer, const struct qx_setting *s,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err);

/* Gain, shift and residual of one site's family at some amplitude: r = r_a * lo + r_b * hi. */
struct qx_piece {
    const struct qx_predict_entry *lo, *hi; /* NULL lo: untouched */
    double gamma;
    double b_lo, b_hi, r_lo, r_hi;
    double norm; /* of r, as far as it is known without adding up */
};
/* 3.2 at amplitude t; t = 0 gives the untouched piece. False when the family has no entry. */
bool qx_piece_of(const struct qx_predict_table *table, int layer, enum qx_family family, double t,
                 struct qx_piece *out);
/* The four pieces of a layer; exact entries stand for both families of their site. Returns how many
 * sites are not covered (their pieces are untouched). */
int qx_pieces_of(const struct qx_predict_table *table, int layer,
                 const struct qx_predict_layer *change, struct qx_piece out[QX_PIECES]);
/* Single-site KLs of all sites, [n_layers * QX_SITE_COUNT]; borrowed until the mix changes. */
const double *qx_mix_all_k(struct qx_predict_mix *mix);
/* The entry measured for just this setting of a site; NULL when there is none. */
const struct qx_predict_entry *qx_table_exact(const struct qx_predict_table *table, int layer,
                                              enum qx_site site, uint64_t key);
enum { QX_PIECE_SCRATCH = 4096 }; /* floats */
/* d[n, width] += scale * r of the piece; b[width] += scale * its shift. */
void qx_piece_residual(const struct qx_piece *p, double scale, float *d, float *scratch);
void qx_piece_shift(const struct qx_piece *p, double scale, double *b);

/* Of an activation's quantizer, from what was observed. QX_EDATA without that or without a range. */
enum qx_status qx_amplitude_of_act(const struct qx_act *act, const struct qx_observed *o,
                                   struct qx_amplitude *out, struct qx_error *err);

/* KL of one row, p0 against softmax(z), and log softmax(z)[label] (label < 0: 0). shift: mean of z over
 * the classes. */
double qx_kl_row(const struct qx_predict_base *base, int64_t row, const float *z, float shift,
                 int label, double *log_q);
/* Class of the largest of z[n], the lowest index winning a tie. */
int qx_top_of(const float *z, int n);
/* Subtract each row's mean over the classes. */
void qx_centre(const float *z, int64_t n, int n_classes, float *out);
/* log(p / (1 - p)) of (n p + 1/2) / (n + 1). */
double qx_logit(double p, double n);

#endif

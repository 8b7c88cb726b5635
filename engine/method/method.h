/* Private to floor 7: the rows, and what a method works on. */
#ifndef QX_METHOD_METHOD_H
#define QX_METHOD_METHOD_H

#include "qx/method.h"

extern const struct qx_method qx_method_gptq, qx_method_awq, qx_method_adaround, qx_method_cle,
    qx_method_smoothquant, qx_method_llmint8, qx_method_salient, qx_method_biascorr,
    qx_method_biasbn, qx_method_absorb, qx_method_gamma, qx_method_refine, qx_method_auto,
    qx_method_qat;

/* One layer on its way to an overlay: weights as a matrix, one row an output. A method reads what the
 * ones before it left, and leaves codes that fit the units. */
struct qx_method_work {
    const struct qx_setting *set;
    struct qx_setting calibrated; /* the same, with the range that holds for what is aimed at */
    const struct qx_method_target *target;
    struct qx_channels channels;
    int64_t groups, n, k;       /* [groups * n] rows of k; moments are of groups */
    int64_t taps;               /* inputs next to each other that are one channel's */
    const struct qx_moments *m; /* NULL where no method asked */
    /* Of most of the rows, and of n_held others, for methods that judge others; NULL: there are too few. */
    const struct qx_moments *fit, *held;
    int64_t n_held;
    float *w;                    /* [rows][k] finite */
    int8_t *codes;               /* [rows][k], as qx_quantize_tensor has them */
    int64_t row_units, unit_len; /* units of a row, values of a unit; granularity tensor: 0, k */
    struct qx_qparams *units;    /* in the domain of the codes */
    float *in_scale;             /* [groups * k / taps]; NULL = none */
    float *in_shift;             /* [the same] what is taken off inputs first; NULL = none */
    float *out_scale, *bias;     /* [rows]; NULL = none */
    bool is_folded;              /* neighbours take the factors up */
    uint8_t *is_kept;            /* [k] columns that stay 16-bit floats; NULL = none */
    char note[96];
    struct qx_equalizer *equal;   /* of all layers, for methods that look at several */
    const struct qx_setting *all; /* [layers] settings */
    double *alphas; /* [layers] what SmoothQuant found for layers with the same inputs, NaN; NULL */
    struct qx_pool *pool;
    struct qx_ctl *ctl;
};
static inline struct qx_qparams *qx_work_unit(const struct qx_method_work *w, int64_t row,
                                              int64_t j)
{
    return &w->units[w->row_units ? row * w->row_units + j / w->unit_len : 0];
}
/* The factor of an input; and what is rounded for a weight. */
static inline float qx_work_in(const struct qx_method_work *w, int64_t row, int64_t j)
{
    return w->in_scale ? w->in_scale[row / w->n * (w->k / w->taps) + j / w->taps] : 1.0f;
}
static inline float qx_work_aim(const struct qx_method_work *w, int64_t row, int64_t j)
{
    const float x = w->w[row * w->k + j] * qx_work_in(w, row, j);
    return w->out_scale ? x / w->out_scale[row] : x;
}
/* Code of a value, and the value of a code, in a unit of the work. */
static inline int8_t qx_work_code(const struct qx_qparams *u, float x)
{
    return (int8_t)qx_quantize(u, x);
}
static inline float qx_work_value(const struct qx_qparams *u, int8_t code)
{
    return qx_dequantize(u, u->book ? (uint8_t)code : code);
}
/* The weight that codes, factors and kept columns stand for. */
float qx_work_weight(const struct qx_method_work *w, int64_t row, int64_t j);
/* Round what is aimed at to nearest, for all or one row. */
void qx_work_round(struct qx_method_work *w);
void qx_work_round_row(struct qx_method_work *w, int64_t row);
/* Units anew, for what is aimed at without the kept columns: all of them, or unit u of a row (not
 * granularity tensor) clipped to a share of its own range. */
void qx_work_units(struct qx_method_work *w);
/* Each unit clipped where the output loses least, by the moments; thresholds by hand stay. */
void qx_work_clip(struct qx_method_work *w);
/* The same after the setting's calibrator has chosen again, for what is aimed at. */
enum qx_status qx_work_calibrate(struct qx_method_work *w, struct qx_error *err);
struct qx_qparams qx_work_fit(const struct qx_method_work *w, int64_t row, int64_t u, float share);
/* Range of the inputs shifted and divided, without the kept ones, as the moments have seen it; what lies below a shift
 * is cut, as a Relu cuts it. */
struct qx_range qx_work_input_range(const struct qx_method_work *w);
/* ||(W - W^) X||^2 over ||W X||^2, by the moments; NaN without them, 0 / 0 = 0. */
enum qx_status qx_work_error(const struct qx_method_work *w, double *out, struct qx_error *err);
/* bias = (W - W^) mean, instead of what it was. mean: [groups * k / taps], each for `taps` inputs. */
enum qx_status qx_work_correct(struct qx_method_work *w, const float *mean, int64_t taps,
                               struct qx_error *err);
void qx_work_note(struct qx_method_work *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Refusals that several methods share: NULL when the layer can be taken. */
const char *qx_refuse_no_inputs(const struct qx_method_target *t); /* none to look at */
const char *qx_refuse_undivided(const struct qx_method_target *t); /* ... or not one by one */

#endif

/* Weights that a method chose: codes and scales instead of those that rounding to nearest gives. */
#ifndef QX_OVERLAY_H
#define QX_OVERLAY_H

#include "qx/metric.h"
#include "qx/quant.h"

/* One layer's, for one setting: x^ = (codes - zero) * scale of the unit (level[codes] * scale of a
 * table), divided by in_scale of the input channel and multiplied by out_scale of the output channel where
 * there are such; kept columns as they are. Inputs that are quantized have in_shift taken off first; the product with it
 * is added to the outputs. With its factors a layer gives what it gave without them, but for
 * rounding, whatever its neighbours are.
 * Immutable once finished; a setting that points to it borrows it, so its owner outlives them. */
struct qx_overlay {
    uint64_t key;              /* hash of all it was made from: its name */
    struct qx_setting setting; /* it was made for; its overlay is NULL */
    struct qx_channels channels;
    int64_t n_units;
    int8_t *codes; /* storage order, as qx_quantize_tensor has them */
    float *scale;  /* [n_units] */
    int32_t *zero; /* [n_units] */
    /* Input channels lie [groups][outer * inner / taps]: of a convolution, taps weights share one. */
    int64_t groups, taps;
    float
        *in_scale; /* [groups * outer * inner / taps] what inputs are divided by, and their weights
                         were multiplied by; NULL = none */
    float *in_shift; /* [the same] at least 0, before they are divided; NULL = none */
    float *
        out_scale; /* [count] what outputs are multiplied by, and their weights were divided by, before
                         any bias; NULL = none */
    bool is_folded; /* the neighbours take the factors up, so that nothing of them is stored */
    struct qx_range in_range; /* of the inputs shifted and divided, without the kept ones */
    bool has_in_range;
    int act_bits; /* and symmetry of inputs, where a method looked at them; 0: none did */
    bool act_sym;
    float *bias;    /* [count] to be added to each output; NULL = none */
    int64_t n_kept; /* inputs whose weights stay 16-bit floats (and are not quantized as inputs) */
    int32_t *kept;  /* [n_kept] ascending, of outer * inner */
    float *kept_values; /* [count][n_kept] */
    /* Values of other tensors that go with it (norms and biases, from training): [n_others] tensor and how many
     * values, which lie one behind the other in other_values. */
    int64_t n_others, n_other_values;
    struct qx_overlay_other {
        int64_t tensor, n;
    } * others;
    float *other_values;
    /* ||(W - W^) X||^2 / ||W X||^2 on the calibration rows, rounded to nearest and by the method; NaN
     * where no inputs were seen */
    double before, after;
    char note[96];             /* what the method found, "alpha 0.55"; "" = nothing to say */
    struct qx_metrics metrics; /* of the weights, element by element */
};
/* Zeroed arrays for codes, scale, zero; before and after NaN. QX_ENOMEM. */
enum qx_status qx_overlay_new(struct qx_channels channels, const struct qx_setting *s,
                              struct qx_overlay **out, struct qx_error *err);
void qx_overlay_free(struct qx_overlay *o); /* NULL allowed */
/* Fill metrics, once the rest is there. t: the weights it stands for. O(values), in the caller's thread. */
enum qx_status qx_overlay_finish(struct qx_overlay *o, const struct qx_tensor *t,
                                 struct qx_error *err);
/* What the input of value `pos` of a channel is divided by: 1 without factors. */
float qx_overlay_in(const struct qx_overlay *o, int64_t channel, int64_t pos);
/* What in_shift amounts to in an output: the product with it, kept inputs left out. O(inputs) */
double qx_overlay_shifted(const struct qx_overlay *o, int64_t channel);
/* x^ of value `pos` of a channel, and of an element of the tensor. O(log n_kept) */
float qx_overlay_value(const struct qx_overlay *o, int64_t channel, int64_t pos);
float qx_overlay_element(const struct qx_overlay *o, int64_t element);
/* The stored code minus the zero point (of a table: minus the code of level 0). */
int qx_overlay_step(const struct qx_overlay *o, int64_t element);
/* What a picture shows of an element x: its error x - x^, or the step of its code. */
float qx_overlay_shown(const struct qx_overlay *o, bool is_error, float x, int64_t element);
/* What it stores beyond the codes, scales and zero points of its setting, in bytes: two for a factor or a
 * kept value, four for a bias. Other tensors take the place of stored ones. */
uint64_t qx_overlay_extra_bytes(const struct qx_overlay *o);
/* Must inputs be shifted, divided, or some of them be left out, before they are quantized? */
bool qx_overlay_has_inputs(const struct qx_overlay *o);
/* Its static range of inputs under an act, symmetric where the act is; the act's own without that. */
struct qx_act qx_overlay_act(const struct qx_overlay *o, const struct qx_act *act);

/* Is it what its methods would choose with inputs quantized so? Not where they looked at other bits, nor, with
 * factors or kept columns, for a static range if it has none. */
bool qx_overlay_serves(const struct qx_overlay *o, const struct qx_act *act);

/* Its values of another tensor; NULL when it has none. */
const float *qx_overlay_other(const struct qx_overlay *o, int64_t tensor);

/* The overlay of a setting; NULL when it has none, or one that was made for other bits, ranges or
 * methods than the setting now asks for. Its activations are not looked at: qx_overlay_serves. */
const struct qx_overlay *qx_setting_overlay(const struct qx_setting *s);

/* Cache file: header with version, key and checksum, then the arrays. Load returns QX_EFORMAT for
 * anything else than an overlay of this key for a tensor of this layout under this setting. */
enum qx_status qx_overlay_save(const struct qx_overlay *o, const char *path, struct qx_error *err);
enum qx_status qx_overlay_load(const char *path, uint64_t key, struct qx_channels channels,
                               const struct qx_setting *s, struct qx_overlay **out,
                               struct qx_error *err);

#endif

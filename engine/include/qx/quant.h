/* The quantizer: calibrators, one layer's setting, fake quantization.
 *
 * q = clamp(rint(x / s) + z, qmin, qmax), x^ = (q - z) s, float32 throughout, ties to even
 * (Jacob et al., arXiv 1712.05877, eq. 1; rounding before the zero point, as ONNX QuantizeLinear).
 * Symmetric: codes -Q..Q, Q = 2^(b-1) - 1, z = 0, s = T / Q. Asymmetric: codes 0..2^b - 1, the range
 * is widened to contain 0, s = (hi - lo) / (2^b - 1), z = clamp(rint(-lo / s)). A constant or empty
 * range gives s = 1. Formats with a table of levels (qx/format.h) are symmetric in T: s = T / top,
 * x^ = level s of the level nearest to x / s. */
#ifndef QX_QUANT_H
#define QX_QUANT_H

#include "qx/format.h"
#include "qx/hist.h"
#include "qx/imatrix.h"
#include "qx/job.h"
#include "qx/status.h"
#include "qx/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- calibrators: one row each (quant/calib_table.c) ----
 *
 * minmax clips nothing; percentile P keeps P % of the values; mse and mae search the least error; kl is TensorRT's
 * entropy calibrator (Migacz, GTC 2017), kl-full compares over all values, clipped ones included. Both leave values
 * of exactly 0 out, which have a code whatever the threshold is: behind a ReLU they would hide the others
 * (NVIDIA's tools overwrite the first bin for that). A spike elsewhere still hides them, such as the constant
 * background of normalized images: mse or a percentile serve there. */

/* What the calibrator aims at: integers, or the levels of a table. */
struct qx_scheme {
    int bits; /* 2..8 */
    bool sym;
    const struct qx_format *format; /* NULL: integers; of a table bits and sym are its own */
};
/* Chosen clipping range in units of the histogram's u: the tensor's own units for granularity
 * tensor (lo <= 0 <= hi), a ratio of each unit's own range otherwise (then lo = -hi = -ratio). */
struct qx_range {
    double lo, hi;
};

struct qx_calibrator {
    const char *name;  /* "minmax", "percentile", "mse", "mae", "kl", "kl-full", "manual" */
    const char *title; /* "min-max" */
    const char *help;
    char key;         /* after `c`: m p s a k f; manual: 0 */
    char mark;        /* magnet letter on the threshold axis: X P M A K F */
    bool takes_param; /* percentile: 0 < param <= 100, default 99.99 */
    double param_default;
    /* hist->n > 0. Pure. */
    enum qx_status (*range)(const struct qx_hist *hist, const struct qx_scheme *scheme,
                            double param, struct qx_range *out, struct qx_error *err);
};
int qx_calib_count(void);
const struct qx_calibrator *qx_calib_at(int i);
const struct qx_calibrator *qx_calib_find(const char *name);
/* "percentile:99.9" -> row and parameter; "manual:0.13", "manual:-0.1,0.2", "manual:0.7" give the
 * manual row with *range set. QX_ENAME with the nearest name, QX_ERANGE. */
enum qx_status qx_calib_parse(const char *text, const struct qx_calibrator **out, double *param,
                              struct qx_range *range, bool *has_range, struct qx_error *err);
/* Choose the range: calls the row. QX_EDATA when the histogram has no finite value. */
enum qx_status qx_calib_range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                              const struct qx_calibrator *calib, double param, struct qx_range *out,
                              struct qx_error *err);

/* ---- one layer's setting ---- */

/* NESTED (groups only): quantized once more, 256 neighbouring units together (QLoRA, arXiv 2305.14314, section 3,
 * "double quantization"): E4M3 codes of scale - mean over the tensor, under a float32 scale that gives the largest
 * deviation of the 256 E4M3's largest value. 8 bits a unit, 4 bytes every 256 of them, 4 for the mean. */
enum qx_scale_type { QX_SCALE_F32, QX_SCALE_F16, QX_SCALE_NESTED, QX_SCALE_TYPES };
const char *qx_scale_name(enum qx_scale_type type); /* "f32", "f16", "dq" */
bool qx_scale_find(const char *name, enum qx_scale_type *out);

/* What happens to the input of a layer (activations) before it meets the weights. Codes: symmetric
 * -Q..Q, asymmetric 0..2^bits - 1. One scale serves the whole input (tensor; of one sample, when
 * dynamic) or one token: a row of a matrix product, a sample of a convolution. */
enum qx_act_gran { QX_ACT_TENSOR, QX_ACT_TOKEN };
struct qx_act {
    int bits; /* 0: float32, and nothing below matters; else 2..8 */
    bool sym;
    enum qx_act_gran gran; /* TOKEN needs dynamic */
    bool dynamic;          /* range of the values at hand; else `range`, fixed by calibration */
    /* static only: a calibrator or qx_calib_ema, its parameter, and the range in real units */
    const struct qx_calibrator *calib;
    double param;
    bool has_range;
    struct qx_range range;
};

enum { QX_ALGO_MOST = 64 };
struct qx_overlay;
/* Plain values, copied freely; compare with qx_setting_equal. Fields after `format` matter for formats
 * with scales only (qx_format_is_scaled). Table formats: their own bits, symmetric, float32 inputs. */
struct qx_setting {
    const struct qx_format *format;
    int bits; /* 2..8 */
    bool sym;
    enum qx_gran gran;
    int64_t group; /* 32, 64, 128, or any > 0 */
    enum qx_scale_type scale;
    const struct qx_calibrator *calib;
    double param;          /* of the calibrator */
    bool has_range;        /* range below is set: by hand, or resolved by the calibrator */
    struct qx_range range; /* as struct qx_range says */
    struct qx_act act;     /* of the layer's input */
    /* Methods (qx/method.h) by name and parameter, "awq,gptq"; "" = round to nearest. What they chose
     * (qx/overlay.h; borrowed): NULL = they have not run yet. */
    char algo[QX_ALGO_MOST];
    const struct qx_overlay *overlay;
    /* BLOCK formats: what the squared errors of each input count when scales are searched (values of a channel in
     * order); borrowed; NULL = all alike, and where its n is another than the channel's values. */
    const struct qx_importance *importance;
    uint64_t
        overlay_key; /* of the one that a recipe names and that was not looked for yet; 0 = none */
};
struct qx_setting qx_setting_fp32(void);
/* int, symmetric, channel, mse, no range yet; scale f32 (f16 for groups). */
struct qx_setting qx_setting_int(int bits);
/* The same for any format. bits: of integers; other formats have their own. */
struct qx_setting qx_setting_of(const struct qx_format *format, int bits);
/* The same in another format, rounded to nearest: scaled formats keep granularity, symmetry (integers), type
 * of the scale and calibrator (a threshold by hand: mse instead; without scales before: those of
 * qx_setting_of). No range, inputs float32. bits: of integers. */
struct qx_setting qx_setting_as(const struct qx_setting *s, const struct qx_format *format,
                                int bits);
/* Is s of integers? Then bits and symmetry are the user's. */
bool qx_setting_is_int(const struct qx_setting *s);
bool qx_setting_equal(const struct qx_setting *a, const struct qx_setting *b);
/* The same but for the activations: does the weight become the same? */
bool qx_setting_equal_weight(const struct qx_setting *a, const struct qx_setting *b);
bool qx_setting_is_fp32(const struct qx_setting *s);
/* Hash of what the arithmetic sees: format, bits, symmetry, granularity, scale type, range (the
 * calibrator only while it has not chosen one), activations, overlay (methods until they have run). */
uint64_t qx_setting_hash(const struct qx_setting *s, uint64_t seed);
/* Key of the importance that its format heeds; 0 = none. */
uint64_t qx_importance_key(const struct qx_setting *s);
/* Names methods that have still to run. */
bool qx_setting_awaits(const struct qx_setting *s);
/* "INT4 sym channel mse", at most cap bytes. */
char *qx_setting_text(const struct qx_setting *s, char *buf, size_t cap);
/* Histogram that this setting needs. FLOAT and BLOCK formats and granularity tensor always ask for {tensor,
 * group 0, sym true}: one histogram serves them all. */
struct qx_hist_spec qx_setting_spec(const struct qx_setting *s, struct qx_channels channels);
/* Bits, granularity and so on within their ranges; QX_ERANGE names the field. */
enum qx_status qx_setting_check(const struct qx_setting *s, struct qx_error *err);
/* Fill range from the calibrator unless has_range already. hist must match qx_setting_spec. */
enum qx_status qx_setting_resolve(struct qx_setting *s, const struct qx_hist *hist,
                                  struct qx_error *err);
/* Stored size: codes, scales and (asymmetric) zero points of `bits` bits each; every array is rounded
 * up to whole bytes; blocks, and the tensor's scale. n elements in n_units units. */
uint64_t qx_setting_bytes(const struct qx_setting *s, int64_t n, int64_t n_units);
/* The same for a tensor of a file, where FP32 means that it stays as it is stored, whatever its dtype. */
uint64_t qx_setting_tensor_bytes(const struct qx_setting *s, const struct qx_tensor *t,
                                 struct qx_channels channels);
/* Units the setting gives a tensor: 1, channels, groups (the last group of a channel may be short), or the
 * blocks of a BLOCK format. */
int64_t qx_setting_units(const struct qx_setting *s, struct qx_channels channels);

/* ---- activations ---- */

/* Moving average of each batch's min and max, r += param (x - r), static activations only (Jacob et
 * al. 2017, section 3.1). Not in the calibrators' table. */
extern const struct qx_calibrator qx_calib_ema;

/* Asymmetric u8, one range, static, percentile 99.99. */
struct qx_act qx_act_static(int bits);
/* Symmetric, per token, of the values at hand. */
struct qx_act qx_act_dynamic(int bits);
bool qx_act_equal(const struct qx_act *a, const struct qx_act *b);
/* Static and still without a range. */
bool qx_act_open(const struct qx_act *a);
/* "8 bits asym percentile:99.99", "8 bits sym dynamic token", "8 bits asym -0.5..4" (by hand),
 * "float32"; at most cap bytes. */
char *qx_act_text(const struct qx_act *a, char *buf, size_t cap);
/* "percentile:99.9", "ema", "ema:0.05", "manual:LO,HI": calibrator, parameter, range. */
enum qx_status qx_act_method(struct qx_act *a, const char *text, struct qx_error *err);
/* QX_ERANGE names the field. */
enum qx_status qx_act_check(const struct qx_act *a, struct qx_error *err);
/* Scale and zero point: of the static range, or (dynamic) of finite values within lo..hi. */
struct qx_qparams qx_act_qparams(const struct qx_act *a, float lo, float hi);

/* What calibration saw of one layer's input, in float32. A row of the data gives at most layout.outer
 * tokens (of a convolution: one) of layout.count input channels. */
enum { QX_ACT_WIDTHS = 9, QX_STRIP_MOST = 4096 };
struct qx_observed {
    struct qx_hist_packed
        *packed; /* the histogram, see qx_observed_hist; n = 0 when nothing was finite */
    struct qx_hist_shelf *shelf; /* borrowed; NULL: it is unpacked every time */
    int64_t n_batches;
    float *lo, *hi; /* [n_batches] of the finite values; lo > hi where there are none */
    struct qx_channels layout;
    int64_t n_rows, n_tokens; /* tokens with the places that short sequences leave empty */
    float *channel_max;       /* [layout.count] largest finite |x| of each input channel */
    int64_t n_strip;          /* tokens, at most QX_STRIP_MOST */
    float *strip; /* [n_strip] largest finite |x| of each token, or of neighbouring ones; 0 where
                           there is none */
    /* Dynamic scales, tried on n_error_rows of the rows, evenly spread (all, up to 2 M values): the
     * squares of the values, and of the errors at [gran][sym][bits], bits 2..8. */
    int64_t n_error_rows;
    double sq_x, sq_err[2][2][QX_ACT_WIDTHS];
};
void qx_observed_release(struct qx_observed *o); /* zeroed struct allowed */
const struct qx_stats *qx_observed_stats(const struct qx_observed *o);
/* Granularity tensor, symmetric. *out: unref. Any thread. QX_ENOMEM. */
enum qx_status qx_observed_hist(const struct qx_observed *o, struct qx_hist **out,
                                struct qx_error *err);
/* Let the calibrator choose. Nothing is done for dynamic, float32 and ranges that are there. An input
 * without finite values, or of zeros only, gives the range 0..0 (scale 1). */
enum qx_status qx_act_resolve(struct qx_act *a, const struct qx_observed *o, struct qx_error *err);
/* SQNR of scales taken from the values at hand, at a's bits, symmetry and granularity, measured value
 * by value. NaN: no error, or no values. */
double qx_act_dynamic_db(const struct qx_act *a, const struct qx_observed *o);

/* Watches the inputs of one layer, which come twice, in batches: the same in both rounds. First the
 * ranges of all batches, then qx_observer_turn, then their values, then qx_observer_take. The batches
 * may come in any order and from several threads, those of one number from one at a time; the outcome
 * does not depend on that. Memory: that of a qx_hist_stream, 360 bytes a batch, 4 bytes a worker and channel or token. */
struct qx_observer;
struct qx_observation {
    int64_t batch; /* 0..n_batches-1 */
    int worker;    /* 0..n_workers-1, of the calling thread */
    int64_t first_row, rows;
    const float *x;
    const int64_t *begin; /* [rows + 1] index in x where the values of each row begin */
};
enum qx_status qx_observer_new(struct qx_channels layout, int64_t n_rows, int64_t n_batches,
                               int n_workers, struct qx_observer **out, struct qx_error *err);
void qx_observer_free(struct qx_observer *o); /* NULL allowed */
void qx_observer_ranges(struct qx_observer *o, const struct qx_observation *at);
void qx_observer_turn(struct qx_observer *o);
void qx_observer_values(struct qx_observer *o, const struct qx_observation *at,
                        struct qx_hist_stream_work *work);
enum qx_status qx_observer_take(struct qx_observer *o, struct qx_observed *out,
                                struct qx_error *err);

/* ---- quantizing a tensor ---- */

/* Scale and zero point of one unit from its own range and the setting (stored-scale rounding
 * applied, but for NESTED scales, which depend on each other (qx_scales_nest): a scale that FP16 cannot hold becomes its smallest or largest value, never 0 or infinity).
 * lo, hi: the unit's own min and max; ignored for granularity tensor, whose range is the setting's. */
struct qx_qparams {
    float scale;
    int zero;
    int qmin, qmax;
    const struct qx_book *book; /* NULL: even steps; else codes 0..n - 1, zero that of level 0 */
};
struct qx_qparams qx_qparams_of(const struct qx_setting *s, float lo, float hi);
/* What NESTED scales of a whole tensor become, in place: n units in the order of qx_setting_units. Never 0 or below. */
void qx_scales_nest(float *scale, int64_t n);
/* Quantize one value, for displays and tests. */
int qx_quantize(const struct qx_qparams *p, float x);
float qx_dequantize(const struct qx_qparams *p, int q);
/* Reconstruction levels of the setting, ascending; granularity tensor: in real units; otherwise in u
 * (asymmetric: of a unit centred on 0, for every unit has its own zero point). Writes and returns at
 * most cap, never more than 256; 0 for FLOAT formats. */
int qx_setting_levels(const struct qx_setting *s, double *out, int cap);

/* Quantize-dequantize: out[numel] = x^ of every value, storage order. The range must be resolved.
 * Non-finite values become 0 and are counted in *n_nonfinite (NULL allowed). codes (NULL allowed):
 * [numel] stored codes (FLOAT and BLOCK formats leave it alone).
 * ctl->done grows by the values read: numel, twice that for channel and group. QX_EDATA when the
 * range is missing; QX_ECANCELLED. Result independent of the number of threads. */
struct qx_pool;
enum qx_status qx_fakequant(const struct qx_tensor *t, struct qx_channels channels,
                            const struct qx_setting *s, struct qx_pool *pool, struct qx_ctl *ctl,
                            float *out, int16_t *codes, int64_t *n_nonfinite, struct qx_error *err);

/* The stored numbers of a setting with scales, for execution: x^ = (codes - zero) * scale of its unit,
 * or level[codes] * scale of a table, whose codes are to be read as uint8 (zero 0 there).
 * codes [numel] in storage order; scale, zero [qx_setting_units], channels in order, a channel's
 * groups together. Asymmetric codes and zeros are shifted by -2^(bits-1), so that they fit. Of an overlay:
 * its codes, without its factors and kept columns. As qx_fakequant otherwise. */
enum qx_status qx_quantize_tensor(const struct qx_tensor *t, struct qx_channels channels,
                                  const struct qx_setting *s, struct qx_pool *pool,
                                  struct qx_ctl *ctl, int8_t *codes, float *scale, int32_t *zero,
                                  struct qx_error *err);

/* The stored blocks of a BLOCK setting: channels in order (qx_channels_rows), of each all of its blocks, the last
 * one whole; *scale is what decoded values are multiplied by (1 without a scale of the tensor). data:
 * qx_setting_units blocks. As qx_fakequant otherwise. */
enum qx_status qx_encode_tensor(const struct qx_tensor *t, struct qx_channels channels,
                                const struct qx_setting *s, struct qx_pool *pool,
                                struct qx_ctl *ctl, uint8_t *data, float *scale,
                                struct qx_error *err);

#endif

/* The quantizer: calibrators, one layer's setting, fake quantization.
 *
 * q = clamp(rint(x / s) + z, qmin, qmax), x^ = (q - z) s, float32 throughout, ties to even
 * (Jacob et al., arXiv 1712.05877, eq. 1; rounding before the zero point, as ONNX QuantizeLinear).
 * Symmetric: codes -Q..Q, Q = 2^(b-1) - 1, z = 0, s = T / Q. Asymmetric: codes 0..2^b - 1, the range
 * is widened to contain 0, s = (hi - lo) / (2^b - 1), z = clamp(rint(-lo / s)). A constant or empty
 * range gives s = 1. */
#ifndef QX_QUANT_H
#define QX_QUANT_H

#include "qx/format.h"
#include "qx/hist.h"
#include "qx/job.h"
#include "qx/status.h"
#include "qx/tensor.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- calibrators: one row each (quant/calib_table.c) ---- */

/* Integer scheme: what the calibrator aims at. */
struct qx_scheme {
    int bits; /* 2..8 */
    bool sym;
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

enum qx_scale_type { QX_SCALE_F32, QX_SCALE_F16 };

/* Plain values, copied freely; compare with qx_setting_equal. Fields after `format` matter for the
 * affine kind only. */
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
};
struct qx_setting qx_setting_fp32(void);
/* int, symmetric, channel, mse, no range yet; scale f32 (f16 for groups). */
struct qx_setting qx_setting_int(int bits);
bool qx_setting_equal(const struct qx_setting *a, const struct qx_setting *b);
bool qx_setting_is_fp32(const struct qx_setting *s);
/* "INT4 sym channel mse", at most cap bytes. */
char *qx_setting_text(const struct qx_setting *s, char *buf, size_t cap);
/* Histogram that this setting needs. FLOAT formats and granularity tensor always ask for {tensor,
 * group 0, sym true}: one histogram serves them all. */
struct qx_hist_spec qx_setting_spec(const struct qx_setting *s, struct qx_channels channels);
/* Bits, granularity and so on within their ranges; QX_ERANGE names the field. */
enum qx_status qx_setting_check(const struct qx_setting *s, struct qx_error *err);
/* Fill range from the calibrator unless has_range already. hist must match qx_setting_spec. */
enum qx_status qx_setting_resolve(struct qx_setting *s, const struct qx_hist *hist,
                                  struct qx_error *err);
/* Stored size: codes, scales and (asymmetric) zero points of `bits` bits each; every array is rounded
 * up to whole bytes. n elements in n_units units. */
uint64_t qx_setting_bytes(const struct qx_setting *s, int64_t n, int64_t n_units);
/* Units the setting gives a tensor: 1, channels, or groups (the last group of a channel may be short). */
int64_t qx_setting_units(const struct qx_setting *s, struct qx_channels channels);

/* ---- quantizing a tensor ---- */

/* Scale and zero point of one unit from its own range and the setting (stored-scale rounding
 * applied: a scale that FP16 cannot hold becomes its smallest or largest value, never 0 or infinity).
 * lo, hi: the unit's own min and max; ignored for granularity tensor, whose range is the setting's. */
struct qx_qparams {
    float scale;
    int zero;
    int qmin, qmax;
};
struct qx_qparams qx_qparams_of(const struct qx_setting *s, float lo, float hi);
/* Quantize one value, for displays and tests. */
int qx_quantize(const struct qx_qparams *p, float x);
float qx_dequantize(const struct qx_qparams *p, int q);
/* Reconstruction levels of the setting, ascending; granularity tensor: in real units; otherwise in u
 * (asymmetric: of a unit centred on 0, for every unit has its own zero point). Writes and returns at
 * most cap, never more than 256; 0 for FLOAT formats. */
int qx_setting_levels(const struct qx_setting *s, double *out, int cap);

/* Quantize-dequantize: out[numel] = x^ of every value, storage order. The range must be resolved.
 * Non-finite values become 0 and are counted in *n_nonfinite (NULL allowed). codes (NULL allowed):
 * [numel] stored codes, affine kind only (FLOAT formats leave it alone).
 * ctl->done grows by the values read: numel, twice that for channel and group. QX_EDATA when the
 * range is missing; QX_ECANCELLED. Result independent of the number of threads. */
struct qx_pool;
enum qx_status qx_fakequant(const struct qx_tensor *t, struct qx_channels channels,
                            const struct qx_setting *s, struct qx_pool *pool, struct qx_ctl *ctl,
                            float *out, int16_t *codes, int64_t *n_nonfinite, struct qx_error *err);

#endif

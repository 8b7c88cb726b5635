/* Histogram against element-wise figures on real weights: the samples, and the evaluation models
 * beside the source tree when they are there. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "qx/metric.h"
#include "qx/model.h"
#include "test_quant.h"

enum { LARGEST = 300000 }; /* values; larger tensors say nothing new */

/* Worst differences in dB: plain, and where asymmetric units are clipped by classes. */
struct worst {
    double plain_db, class_db;
    int n;
};

static void layer_check(const struct qx_tensor *t, struct qx_channels c, struct qx_setting *s,
                        struct worst *w)
{
    struct qx_hist_spec spec = qx_setting_spec(s, c);
    bool by_class = !s->sym && s->gran != QX_GRAN_TENSOR && s->range.hi < 1.0;
    double *worst = by_class ? &w->class_db : &w->plain_db;
    struct qx_metrics a, b;
    struct qx_hist *h = NULL;
    struct qx_error err;

    if (qx_hist_build(t, &spec, 0, NULL, NULL, &h, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    if (s->gran == QX_GRAN_TENSOR) {
        s->range.hi *= qx_hist_stats(h)->absmax;
        s->range.lo = -s->range.hi;
    }
    if (qx_metric_hist(h, s, &a, &err) != QX_OK ||
        qx_metric_exact(t, c, s, NULL, NULL, &b, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(a.n, b.n);
    assert_int_equal(a.bytes, b.bytes);
    if (b.mse > 0.0 && b.sqnr_db < 100.0) { /* else: float32 rounding, no quantization */
        *worst = fmax(*worst, fabs(10.0 * log10(a.mse / b.mse)));
        w->n++;
    }
    qx_hist_unref(h);
}

static void model_check(const char *path, struct worst *w)
{
    struct qx_model *model = NULL;
    struct qx_error err;

    if (qx_model_open(path, &model, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    for (int64_t i = 0; i < qx_model_n_tensors(model); i++) {
        const struct qx_tensor *t = qx_model_tensor(model, i);

        for (int k = 0; k < 12; k++) {
            struct qx_setting s = qx_setting_int(k % 2 ? 8 : 4);

            if (!qx_dtype_get(t->dtype)->is_float || t->numel < 64 || t->numel > LARGEST) {
                break;
            }
            s.sym = k < 6;
            s.gran = (enum qx_gran)(k / 2 % 3);
            s.group = 32;
            s.has_range = true;
            s.range.hi = k % 4 < 2 ? 1.0 : 0.7;
            s.range.lo = -s.range.hi;
            layer_check(t, qx_channels_of(t, 0), &s, w);
        }
    }
    qx_model_close(&model);
}

void real_weights_keep_the_bound_of_the_histogram(void **state)
{
    static const char *const shared[] = {"bert-smsa", "mlperf-kws", "mnist-cnn", "stories260k"};
    const char *root = getenv("QX_SHARED");
    struct worst w = {0};
    char path[512];
    int n_absent = 0;

    (void)state;
    model_check(QX_SOURCE_ROOT "/samples/fashion-cnn", &w);
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%s", root ? root : QX_SOURCE_ROOT "/../shared/data",
                 shared[i]);
        if (access(path, R_OK) == 0) {
            model_check(path, &w);
        } else {
            n_absent++;
        }
    }
    print_message(
        "%d settings of real layers: worst %.5f dB, by classes %.5f dB; %d models absent\n", w.n,
        w.plain_db, w.class_db, n_absent);
    assert_true(w.plain_db < 0.01 && w.class_db < 0.45);
}

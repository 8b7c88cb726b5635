#include "bench_text.h"

#include <stdio.h>
#include <string.h>

/* Below this two times of one machine do not differ. */
static const double noise = 0.03;

const struct qx_bench_row *ui_bench_done(const struct qx_bench_row *rows, int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        if (rows[i].state == QX_BENCH_DONE && strcmp(rows[i].variant->name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

const char *ui_bench_engine(const struct qx_bench_row *r)
{
    const bool may_simulate = r->variant == &qx_variant_recipe && r->is_quantized;
    return r->figures.engine != QX_ENGINE_SIMULATED ? qx_engine_name(r->figures.engine)
           : may_simulate                           ? "simulated"
                                                    : "float32";
}

static double ms(const struct qx_bench_row *r)
{
    return qx_latency_ms(&r->figures.latency);
}

static const char *compared(double t, double with)
{
    return t > with * (1 + noise)   ? "slower than"
           : t < with * (1 - noise) ? "faster than"
                                    : "as fast as";
}

bool ui_bench_half_text(char buf[UI_BENCH_TEXT], const struct qx_bench_row *rows, int n)
{
    const struct qx_bench_row *fp32 = ui_bench_done(rows, n, "fp32");
    const struct qx_bench_row *fp16 = ui_bench_done(rows, n, "fp16");
    const struct qx_bench_row *convert = ui_bench_done(rows, n, "fp16-convert");
    int at = 0;
    buf[0] = 0;
    if (!fp32 || (!fp16 && !convert)) {
        return false;
    }
    if (fp16) {
        const bool is_slower = ms(fp16) > ms(fp32) * (1 + noise);
        at = snprintf(buf, UI_BENCH_TEXT,
                      "FP16 is %s FP32 here (%.3g and %.3g ms): its weights stay in 16 bits and "
                      "are widened layer by layer; the float32 arithmetic behind is the same%s.",
                      compared(ms(fp16), ms(fp32)), ms(fp16), ms(fp32),
                      is_slower ? ", so widening is the difference" : "");
    }
    if (convert && at < UI_BENCH_TEXT) {
        const double c = convert->figures.convert_ms;
        snprintf(buf + at, UI_BENCH_TEXT - (size_t)at,
                 "%sAll widened before every pass it is %s FP32 (%.3g ms): widening alone takes "
                 "%.3g ms, %.0f %% of it.",
                 at ? " " : "", compared(ms(convert), ms(fp32)), ms(convert), c,
                 100 * c / ms(convert));
    }
    return true;
}

/* Products y[M][N] = a[M][K] w[N][K]: GOP/s, GB/s of weights, share of the measured peak, ratio to
 * OpenBLAS (gemv for one row) and, where built in, to oneDNN, all in one run. Prints, never fails. */
#include "kernels/peak.h"
#include "peer.h"
#include "qx/bench.h"
#include "restart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void row_print(const struct qx_kernel_row *r)
{
    printf("  %-24s %-7s %8.1f GOP/s %7.1f GB/s ", r->kernel, r->weights, r->gops, r->gbs);
    if (isnan(r->peak_share)) {
        printf("%18s", "");
    } else {
        printf("%6.1f %% of peak  ", 100 * r->peak_share);
    }
    printf("%7.2f x OpenBLAS  %s\n", r->ratio_openblas, r->note);
}

static bool bench_shape(const char *text, size_t len, const struct qx_machine *machine, int threads)
{
    int64_t mnk[3];
    struct qx_kernel_row rows[QX_KERNEL_ROWS + 1];
    struct qx_error err;
    if (qx_kernel_shape(text, len, mnk, &err) != QX_OK ||
        qx_kernel_bench(mnk, machine, threads, peer, NULL, rows, &err) != QX_OK) {
        fprintf(stderr, "bench_gemm: %s\n", err.text);
        return false;
    }
    printf("%s\n", rows[0].shape);
    for (int i = 0; i < QX_KERNEL_ROWS + (peer ? 1 : 0); i++) {
        if (rows[i].gops > 0) {
            row_print(&rows[i]);
        }
    }
    fflush(stdout);
    return true;
}

static const char *const default_shapes =
    "1x768x768,1x3072x768,1x768x3072,1x4096x4096,1x11008x4096,16x768x768,128x768x768,128x3072x768,"
    "128x768x3072,512x3072x768,128x4096x4096,1024x1024x1024";

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    const char *shapes = default_shapes;
    int threads = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) {
            threads = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--shapes") == 0) {
            shapes = argv[i + 1];
        } else {
            printf("usage: bench_gemm [--threads T] [--shapes MxNxK,...]; QX_CPU=RUNG lowers the "
                   "rung\n");
            return 1;
        }
    }
    const struct qx_cpu *cpu = qx_cpu_get();
    struct qx_machine machine;
    qx_machine_measure(&machine);
    printf("%s, rung %s, %d thread%s\npeak: %.1f GOP/s a core (%s); read %.1f GB/s of 512 KiB, "
           "%.1f GB/s of 256 MiB\n",
           cpu->name, qx_isa_name(cpu->isa), threads, threads > 1 ? "s" : "", machine.peak_gops,
           machine.peak_how, qxk_peak_read_gbs(1u << 19), machine.read_gbs);
    for (const char *s = shapes; *s;) {
        const size_t len = strcspn(s, ",");
        if (!bench_shape(s, len, &machine, threads)) {
            return 1;
        }
        s += len + (s[len] == ',');
    }
    return 0;
}

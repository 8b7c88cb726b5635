/* The CPU: features found at run time and the rung of the kernel ladder in use. */
#ifndef QX_CPU_H
#define QX_CPU_H

#include "qx/status.h"

#include <stdbool.h>

/* Rungs from slow to fast. Kernels of a rung may run when the CPU has all it names. */
enum qx_isa {
    QX_ISA_REF,
    QX_ISA_AVX2,
    QX_ISA_AVXVNNI,
    QX_ISA_AVX512VNNI,
    QX_ISA_AVX512VBMI,
    QX_ISA_COUNT
};

struct qx_cpu {
    char name[64];  /* brand string, "unknown" when the CPU does not tell */
    char uarch[24]; /* "zen4", "unknown", ... (for vetoes and reports) */
    bool avx2, fma, f16c, avxvnni, avx512, avx512vnni, avx512vbmi; /* usable (OS saves the state) */
    int n_cores;                                                   /* usable by this process */
    enum qx_isa best; /* highest rung this CPU can run among those compiled in */
    enum qx_isa isa;  /* rung in use: best, or lower by QX_CPU or qx_cpu_limit */
};

/* Detected once, on first call; reads the environment variable QX_CPU (ref, avx2, avxvnni,
 * avx512vnni, avx512vbmi; unknown names leave the detected rung and are reported by `doctor`). Any thread. */
const struct qx_cpu *qx_cpu_get(void);

/* Lower (or restore) the rung in use. QX_ENAME when unknown, QX_EUNSUPPORTED when this CPU or build
 * cannot run it. Call before other engine work; not thread-safe. */
enum qx_status qx_cpu_limit(const char *isa_name, struct qx_error *err);

/* "ref", "avx2", "avxvnni", "avx512vnni", "avx512vbmi". */
const char *qx_isa_name(enum qx_isa isa);

#endif

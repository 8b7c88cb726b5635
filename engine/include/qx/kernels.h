/* Which kernel each operation of the engine runs on this CPU, for reports; the BLAS library's core. */
#ifndef QX_KERNELS_H
#define QX_KERNELS_H

#include "qx/cpu.h"

struct qx_kernel {
    const char *operation; /* "gemm_u8s8" */
    enum qx_isa isa;       /* rung of the kernel in use */
    enum qx_isa
        best; /* highest rung up to the CPU's (struct qx_cpu) that has one; the same, but for */
    const char *veto; /* why that one is slower on this microarchitecture; NULL: it is not */
};
int qx_kernel_count(void);
struct qx_kernel qx_kernel_at(int i); /* 0 <= i < count. Any thread. */

/* The core that the BLAS library computes float32 products for ("SkylakeX", as OpenBLAS names it); NULL
 * when it does not tell. Any thread. */
const char *qx_blas_core(void);

/* An OpenBLAS older than the CPU takes it for one of 2004 and is several times slower than it need be: the
 * nearest core with this CPU's instructions, to be named by OPENBLAS_CORETYPE when the program starts (the
 * library reads it only while it is loaded). NULL when the core fits. Any thread. */
const char *qx_blas_better_core(void);

#endif

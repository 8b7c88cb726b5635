/* Which kernel each operation of the engine runs on this CPU, for reports. */
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

#endif

#include "kernels/peak.h"
#include "kernels/pages.h"

#include <string.h>
#include <time.h>

/* Of this thread alone: OpenBLAS's own spins for a while after the program starts. */
static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
#define REGISTERS                                                                            \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define EACH12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define ZMM(i)    "vpdpbusd %%zmm13, %%zmm12, %%zmm" #i "\n\t"
#define YMM(i)    "%{vex%} vpdpbusd %%ymm13, %%ymm12, %%ymm" #i "\n\t"
#define STEP(i)                                                                             \
    "vpmaddubsw %%ymm13, %%ymm12, %%ymm14\n\tvpmaddwd %%ymm13, %%ymm14, %%ymm15\n\tvpaddd " \
    "%%ymm15, "                                                                             \
    "%%ymm" #i ", %%ymm" #i "\n\t"
#define LOOP(BODY)                                                       \
    __asm__ volatile("1:\n\t" BODY BODY "dec %0\n\tjnz 1b\n\tvzeroupper" \
                     : "+r"(n)                                           \
                     :                                                   \
                     : REGISTERS, "cc")

static void run(enum qx_isa isa, long n)
{
    if (isa >= QX_ISA_AVX512VNNI) {
        LOOP(EACH12(ZMM));
    } else if (isa == QX_ISA_AVXVNNI) {
        LOOP(EACH12(YMM));
    } else {
        LOOP(EACH12(STEP));
    }
}

double qxk_peak_gops(enum qx_isa isa, const char **what)
{
    static const char *const names[] = {"none", "vpmaddubsw + vpmaddwd + vpaddd ymm",
                                        "vpdpbusd ymm", "vpdpbusd zmm", "vpdpbusd zmm"};
    *what = names[isa];
    if (isa == QX_ISA_REF) {
        return 0.0;
    }
    const long n = 2000000;
    const double ops = (isa >= QX_ISA_AVX512VNNI ? 128.0 : 64.0) * 24.0 * (double)n;
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        double t = cpu_s();
        run(isa, n);
        t = cpu_s() - t;
        best = t < best ? t : best;
    }
    return ops / best * 1e-9;
}
static void read_all(const void *from, unsigned long bytes)
{
    const char *p = from, *end = p + bytes / 256 * 256;
    __asm__ volatile("1:\n\tvmovups (%0), %%ymm0\n\tvmovups 32(%0), %%ymm1\n\t"
                     "vmovups 64(%0), %%ymm2\n\tvmovups 96(%0), %%ymm3\n\t"
                     "vmovups 128(%0), %%ymm4\n\tvmovups 160(%0), %%ymm5\n\t"
                     "vmovups 192(%0), %%ymm6\n\tvmovups 224(%0), %%ymm7\n\t"
                     "add $256, %0\n\tcmp %1, %0\n\tjb 1b\n\tvzeroupper"
                     : "+r"(p)
                     : "r"(end)
                     : REGISTERS, "cc", "memory");
}
#else
double qxk_peak_gops(enum qx_isa isa, const char **what)
{
    (void)isa;
    *what = "none";
    return 0.0;
}

static void read_all(const void *from, unsigned long bytes)
{
    (void)from;
    (void)bytes;
}
#endif

void qxk_peak_read(const void *p, unsigned long bytes)
{
    if (qx_cpu_get()->avx2) {
        read_all(p, bytes);
    }
}

double qxk_peak_read_gbs(unsigned long bytes)
{
    void *owner = NULL;
    char *p = qxk_pages_alloc(bytes, &owner);
    double best = 1e9;
    if (!p || !qx_cpu_get()->avx2) {
        qxk_pages_free(owner);
        return 0.0;
    }
    const long n = 1 + (long)(200000000 / bytes);
    for (int i = 0; i < 4; i++) {
        double t = cpu_s();
        for (long j = 0; j < n; j++) {
            read_all(p, bytes);
        }
        t = (cpu_s() - t) / (double)n;
        best = t < best ? t : best;
    }
    qxk_pages_free(owner);
    return (double)bytes / best * 1e-9;
}

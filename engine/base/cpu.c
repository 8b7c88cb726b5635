#include "qx/cpu.h"
#include "base/error.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* The build says which rungs have objects (engine/kernels/meson.build). */
#ifndef QX_HAVE_AVX2
#define QX_HAVE_AVX2 0
#endif
#ifndef QX_HAVE_AVXVNNI
#define QX_HAVE_AVXVNNI 0
#endif
#ifndef QX_HAVE_AVX512VNNI
#define QX_HAVE_AVX512VNNI 0
#endif
#ifndef QX_HAVE_AVX512VBMI
#define QX_HAVE_AVX512VBMI 0
#endif

static const char *const isa_names[QX_ISA_COUNT] = {"ref", "avx2", "avxvnni", "avx512vnni",
                                                    "avx512vbmi"};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct qx_cpu cpu;

#if defined(__x86_64__)
static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static void detect_features(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) {
        return;
    }
    uint64_t state = xcr0();
    bool has_ymm = (state & 0x06) == 0x06; /* the OS saves XMM and YMM */
    bool has_zmm = (state & 0xE6) == 0xE6; /* and opmask, ZMM0-15, ZMM16-31 */
    bool has_avx = has_ymm && (c & bit_AVX);
    cpu.fma = has_avx && (c & bit_FMA);
    cpu.f16c = has_avx && (c & bit_F16C);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        return;
    }
    unsigned n_leaves = a;
    cpu.avx2 = has_avx && (b & bit_AVX2);
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    cpu.avx512 = cpu.avx2 && has_zmm && (b & avx512) == avx512;
    cpu.avx512vnni = cpu.avx512 && (c & (1u << 11));
    cpu.avx512vbmi = cpu.avx512 && (c & (1u << 1));
    if (n_leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        cpu.avxvnni = cpu.avx2 && (a & (1u << 4));
    }
}

struct uarch {
    unsigned family, model_lo, model_hi;
    const char *name;
};

/* AMD: Processor Programming Reference manuals; Intel: SDM volume 4, table 2-1. */
static const struct uarch uarch_amd[] = {
    {0x17, 0x00, 0x2F, "zen"},  {0x17, 0x30, 0xFF, "zen2"}, {0x19, 0x10, 0x1F, "zen4"},
    {0x19, 0x60, 0x7F, "zen4"}, {0x19, 0xA0, 0xAF, "zen4"}, {0x19, 0x00, 0xFF, "zen3"},
    {0x1A, 0x00, 0xFF, "zen5"},
};
static const struct uarch uarch_intel[] = {
    {6, 0x3C, 0x3C, "haswell"},        {6, 0x3F, 0x3F, "haswell"},
    {6, 0x45, 0x46, "haswell"},        {6, 0x3D, 0x3D, "broadwell"},
    {6, 0x4F, 0x4F, "broadwell"},      {6, 0x56, 0x56, "broadwell"},
    {6, 0x4E, 0x4E, "skylake"},        {6, 0x5E, 0x5E, "skylake"},
    {6, 0x8E, 0x8E, "skylake"},        {6, 0x9E, 0x9E, "skylake"},
    {6, 0x55, 0x55, "skylake-server"}, {6, 0x6A, 0x6C, "icelake-server"},
    {6, 0x7E, 0x7E, "icelake"},        {6, 0x8C, 0x8D, "tigerlake"},
    {6, 0xA7, 0xA7, "rocketlake"},     {6, 0x8F, 0x8F, "sapphirerapids"},
    {6, 0xCF, 0xCF, "emeraldrapids"},  {6, 0x97, 0x9A, "alderlake"},
    {6, 0xB7, 0xBF, "raptorlake"},     {6, 0xAA, 0xAA, "meteorlake"},
};

static void detect_uarch(void)
{
    unsigned a, b, c, d;
    char vendor[13] = "";
    if (!__get_cpuid(0, &a, &b, &c, &d)) {
        return;
    }
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &d, 4);
    memcpy(vendor + 8, &c, 4);
    __get_cpuid(1, &a, &b, &c, &d);
    unsigned family = (a >> 8) & 15, model = (a >> 4) & 15;
    if (family == 6 || family == 15) {
        model += (a >> 16 & 15) << 4;
    }
    if (family == 15) {
        family += a >> 20 & 255;
    }
    bool is_amd = strcmp(vendor, "AuthenticAMD") == 0;
    const struct uarch *rows = is_amd ? uarch_amd : uarch_intel;
    size_t n = is_amd ? sizeof uarch_amd / sizeof *rows : sizeof uarch_intel / sizeof *rows;
    if (!is_amd && strcmp(vendor, "GenuineIntel") != 0) {
        n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (rows[i].family == family && rows[i].model_lo <= model && model <= rows[i].model_hi) {
            strcpy(cpu.uarch, rows[i].name);
            break;
        }
    }
}

static void detect_name(void)
{
    unsigned r[12];
    char text[sizeof r + 1];
    for (unsigned i = 0; i < 3; i++) {
        unsigned *q = r + 4 * i;
        if (!__get_cpuid(0x80000002 + i, q, q + 1, q + 2, q + 3)) {
            return;
        }
    }
    memcpy(text, r, sizeof r);
    text[sizeof r] = '\0';
    const char *start = text + strspn(text, " ");
    size_t n = strlen(start);
    while (n > 0 && start[n - 1] == ' ') {
        n--;
    }
    if (n > 0) {
        memcpy(cpu.name, start, n);
        cpu.name[n] = '\0';
    }
}
#else
static void detect_features(void)
{
}

static void detect_uarch(void)
{
}

static void detect_name(void)
{
}
#endif

static bool isa_runs(enum qx_isa isa)
{
    bool avx2 = cpu.avx2 && cpu.fma && cpu.f16c;
    switch (isa) {
    case QX_ISA_REF:
        return true;
    case QX_ISA_AVX2:
        return QX_HAVE_AVX2 && avx2;
    case QX_ISA_AVXVNNI:
        return QX_HAVE_AVXVNNI && avx2 && cpu.avxvnni;
    case QX_ISA_AVX512VNNI:
        return QX_HAVE_AVX512VNNI && avx2 && cpu.avx512vnni;
    case QX_ISA_AVX512VBMI: /* builds on the rung below */
        return QX_HAVE_AVX512VBMI && QX_HAVE_AVX512VNNI && avx2 && cpu.avx512vnni && cpu.avx512vbmi;
    case QX_ISA_COUNT:
        break;
    }
    return false;
}

static int isa_find(const char *name)
{
    for (int i = 0; i < QX_ISA_COUNT; i++) {
        if (strcmp(name, isa_names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static void detect(void)
{
    strcpy(cpu.name, "unknown");
    strcpy(cpu.uarch, "unknown");
    detect_features();
    detect_uarch();
    detect_name();
    cpu_set_t set;
    cpu.n_cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    cpu.best = QX_ISA_REF;
    for (int i = 0; i < QX_ISA_COUNT; i++) {
        if (isa_runs((enum qx_isa)i)) {
            cpu.best = (enum qx_isa)i;
        }
    }
    cpu.isa = cpu.best;
    const char *wish = getenv("QX_CPU");
    int i = wish ? isa_find(wish) : -1;
    if (i >= 0 && isa_runs((enum qx_isa)i)) {
        cpu.isa = (enum qx_isa)i;
    }
}

const struct qx_cpu *qx_cpu_get(void)
{
    pthread_once(&once, detect);
    return &cpu;
}

enum qx_status qx_cpu_limit(const char *isa_name, struct qx_error *err)
{
    qx_cpu_get();
    int i = isa_find(isa_name);
    if (i < 0) {
        return qx_fail(err, QX_ENAME,
                       "unknown kernel rung '%s': use ref, avx2, avxvnni, avx512vnni or avx512vbmi",
                       isa_name);
    }
    if (!isa_runs((enum qx_isa)i)) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "kernel rung '%s' cannot run here: the CPU or this build lacks it; the "
                       "highest usable one is '%s'",
                       isa_name, isa_names[cpu.best]);
    }
    cpu.isa = (enum qx_isa)i;
    return QX_OK;
}

const char *qx_isa_name(enum qx_isa isa)
{
    return (unsigned)isa < QX_ISA_COUNT ? isa_names[isa] : "unknown";
}

/* One row per (operation, rung), slowest rung first; a rung takes the best row up to itself that the CPU's
 * microarchitecture does not veto. */
#include "kernels/rungs.h"
#include "qx/kernels.h"

#include <pthread.h>
#include <string.h>

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

/* Rows that a CPU can run but should not, after its vendor's documents. uarchs: names of base/cpu.c, with a
 * space around each. */
static const struct {
    enum qxk_op op;
    enum qx_isa isa;
    const char *uarchs, *reason;
} vetoes[] = {
    {QXK_OP_nearest8, QX_ISA_AVX2,
     " skylake skylake-server icelake icelake-server tigerlake rocketlake ",
     "its microcode against Gather Data Sampling (INTEL-SA-00828) slows gathers down"},
};
enum { N_VETOES = sizeof vetoes / sizeof *vetoes };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct qxk_table tables[QX_ISA_COUNT];     /* of any CPU */
static struct qxk_table own_tables[QX_ISA_COUNT]; /* of this one */

static bool holds_name(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = strstr(list, name); p; p = strstr(p + 1, name)) {
        if (p > list && p[-1] == ' ' && p[len] == ' ') {
            return true;
        }
    }
    return false;
}

const char *qxk_veto(enum qxk_op op, enum qx_isa isa, const char *uarch)
{
    for (int i = 0; uarch && i < N_VETOES; i++) {
        if (vetoes[i].op == op && vetoes[i].isa == isa && holds_name(vetoes[i].uarchs, uarch)) {
            return vetoes[i].reason;
        }
    }
    return NULL;
}

/* A row of the table, unless it is vetoed. */
#define SET(op, rung, suffix)                  \
    if (!qxk_veto(QXK_OP_##op, rung, uarch)) { \
        t->op = qxk_##op##_##suffix;           \
        t->isa[QXK_OP_##op] = rung;            \
    }

void qxk_table_fill(struct qxk_table *t, enum qx_isa isa, const char *uarch)
{
    (void)isa, (void)uarch; /* a build of the portable rung alone looks at neither */
#define SET_REF(op, type) t->op = qxk_##op##_ref, t->isa[QXK_OP_##op] = QX_ISA_REF;
    QXK_OPS(SET_REF)
#undef SET_REF
#if QX_HAVE_AVX2
#define SET_AVX2(op, type) SET(op, QX_ISA_AVX2, avx2)
    if (isa >= QX_ISA_AVX2) {
        QXK_AVX2_OPS(SET_AVX2)
    }
#undef SET_AVX2
#endif
#if QX_HAVE_AVXVNNI
#define SET_AVXVNNI(op, type) SET(op, QX_ISA_AVXVNNI, avxvnni)
    if (isa == QX_ISA_AVXVNNI) { /* not below avx512vnni: few CPUs have both */
        QXK_AVXVNNI_OPS(SET_AVXVNNI)
    }
#undef SET_AVXVNNI
#endif
#if QX_HAVE_AVX512VNNI
#define SET_AVX512VNNI(op, type) SET(op, QX_ISA_AVX512VNNI, avx512vnni)
    if (isa >= QX_ISA_AVX512VNNI) {
        QXK_AVX512VNNI_OPS(SET_AVX512VNNI)
    }
#undef SET_AVX512VNNI
#endif
#if QX_HAVE_AVX512VBMI
#define SET_AVX512VBMI(op, type) SET(op, QX_ISA_AVX512VBMI, avx512vbmi)
    if (isa >= QX_ISA_AVX512VBMI) {
        QXK_AVX512VBMI_OPS(SET_AVX512VBMI)
    }
#undef SET_AVX512VBMI
#endif
}

static void build(void)
{
    for (int isa = 0; isa < QX_ISA_COUNT; isa++) {
        qxk_table_fill(&tables[isa], (enum qx_isa)isa, NULL);
        qxk_table_fill(&own_tables[isa], (enum qx_isa)isa, qx_cpu_get()->uarch);
    }
}

const struct qxk_table *qxk_get_isa(enum qx_isa isa)
{
    pthread_once(&once, build);
    return &tables[isa];
}

const struct qxk_table *qxk_get(void)
{
    pthread_once(&once, build);
    return &own_tables[qx_cpu_get()->isa];
}

const char *qxk_op_name(enum qxk_op op)
{
    static const char *const names[] = {
#define OP_NAME(name, type) #name,
        QXK_OPS(OP_NAME)
#undef OP_NAME
    };
    return (unsigned)op < QXK_OP_COUNT ? names[op] : "unknown";
}

int qx_kernel_count(void)
{
    return QXK_OP_COUNT;
}

struct qx_kernel qx_kernel_at(int i)
{
    const struct qx_cpu *cpu = qx_cpu_get();
    enum qxk_op op = (enum qxk_op)i;
    enum qx_isa best = qxk_get_isa(cpu->isa)->isa[op];
    return (struct qx_kernel){qxk_op_name(op), qxk_get()->isa[op], best,
                              qxk_veto(op, best, cpu->uarch)};
}

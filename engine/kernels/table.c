/* One row per (operation, rung), slowest rung first; a rung takes the best row up to itself. */
#include "kernels/rungs.h"

#include <pthread.h>

#ifndef QX_HAVE_AVX2
#define QX_HAVE_AVX2 0
#endif
#ifndef QX_HAVE_AVXVNNI
#define QX_HAVE_AVXVNNI 0
#endif
#ifndef QX_HAVE_AVX512VNNI
#define QX_HAVE_AVX512VNNI 0
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct qxk_table tables[QX_ISA_COUNT];

static void build(void)
{
    struct qxk_table *t = &tables[QX_ISA_REF];
#define SET_REF(op, type) t->op = qxk_##op##_ref, t->isa[QXK_OP_##op] = QX_ISA_REF;
    QXK_OPS(SET_REF)
#undef SET_REF
    tables[QX_ISA_AVX2] = tables[QX_ISA_REF];
#if QX_HAVE_AVX2
    t = &tables[QX_ISA_AVX2];
#define SET_AVX2(op, type) t->op = qxk_##op##_avx2, t->isa[QXK_OP_##op] = QX_ISA_AVX2;
    QXK_AVX2_OPS(SET_AVX2)
#undef SET_AVX2
#endif
    tables[QX_ISA_AVXVNNI] = tables[QX_ISA_AVX2];
#if QX_HAVE_AVXVNNI
    t = &tables[QX_ISA_AVXVNNI];
#define SET_AVXVNNI(op, type) t->op = qxk_##op##_avxvnni, t->isa[QXK_OP_##op] = QX_ISA_AVXVNNI;
    QXK_AVXVNNI_OPS(SET_AVXVNNI)
#undef SET_AVXVNNI
#endif
    tables[QX_ISA_AVX512VNNI] = tables[QX_ISA_AVX2]; /* not above avxvnni: few CPUs have both */
#if QX_HAVE_AVX512VNNI
    t = &tables[QX_ISA_AVX512VNNI];
#define SET_AVX512VNNI(op, type) \
    t->op = qxk_##op##_avx512vnni, t->isa[QXK_OP_##op] = QX_ISA_AVX512VNNI;
    QXK_AVX512VNNI_OPS(SET_AVX512VNNI)
#undef SET_AVX512VNNI
#endif
}

const struct qxk_table *qxk_get_isa(enum qx_isa isa)
{
    pthread_once(&once, build);
    return &tables[isa];
}

const struct qxk_table *qxk_get(void)
{
    return qxk_get_isa(qx_cpu_get()->isa);
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

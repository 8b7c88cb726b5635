/* Proves the avxvnni bodies on CPUs that have AVX-512 VNNI but not AVX-VNNI: same text, other encoding. */
#include "checkkern.h"
#include "kernels/rungs.h"

#if QX_HAVE_EVEX256
const struct qxk_table *evex256_table(void)
{
    static struct qxk_table t;
    t = *qxk_get_isa(QX_ISA_AVX2);
#define SET(op, type) t.op = qxk_##op##_evex256, t.isa[QXK_OP_##op] = QX_ISA_AVXVNNI;
    QXK_AVXVNNI_OPS(SET)
#undef SET
    return &t;
}
#else
const struct qxk_table *evex256_table(void)
{
    return NULL;
}
#endif

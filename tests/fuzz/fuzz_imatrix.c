/* Any bytes as an imatrix.dat: refused, or entries that are whole and finite. */
#include "fuzz.h"

#include "qx/imatrix.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qx_imatrix *m = NULL;
    struct qx_error err;
    if (qx_imatrix_parse(data, size, "fuzz.dat", &m, &err) != QX_OK) {
        fuzz_check(err.text[0] != '\0', "a refusal says why");
        return 0;
    }
    for (int64_t i = 0; i < qx_imatrix_n(m); i++) {
        const struct qx_importance *of = qx_imatrix_at(m, i);
        fuzz_check(qx_imatrix_find(m, qx_imatrix_name(m, i)) == of, "a name finds its entry");
        for (int64_t k = 0; k < of->n; k++) {
            fuzz_check(of->v[k] >= 0 && !isinf(of->v[k]), "importances are finite");
        }
    }
    qx_imatrix_free(m);
    return 0;
}

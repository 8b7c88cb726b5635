/* All methods, in the order of the menu. */
#include "method/method.h"

#include <string.h>

static const struct qx_method *const rows[] = {
    &qx_method_gptq,     &qx_method_awq,     &qx_method_adaround, &qx_method_smoothquant,
    &qx_method_cle,      &qx_method_llmint8, &qx_method_salient,  &qx_method_refine,
    &qx_method_biascorr, &qx_method_biasbn,  &qx_method_absorb,   &qx_method_gamma,
    &qx_method_auto,     &qx_method_qat,
};
enum { N_ROWS = sizeof rows / sizeof *rows };

int qx_method_count(void)
{
    return N_ROWS;
}

const struct qx_method *qx_method_at(int i)
{
    return i >= 0 && i < N_ROWS ? rows[i] : NULL;
}

const struct qx_method *qx_method_find(const char *name)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i]->name, name) == 0) {
            return rows[i];
        }
    }
    return NULL;
}

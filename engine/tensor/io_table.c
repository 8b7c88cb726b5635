/* The containers of weights, first match wins. */
#include "tensor/model_priv.h"

static const struct qx_io *const rows[] = {
    &qx_io_gguf,
    &qx_io_safetensors,
};

const struct qx_io *qx_io_find(const uint8_t *head, size_t n)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i]->probe(head, n)) {
            return rows[i];
        }
    }
    return NULL;
}

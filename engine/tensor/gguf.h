/* GGUF's numbers, for the arrays of its metadata. */
#ifndef QX_TENSOR_GGUF_H
#define QX_TENSOR_GGUF_H

#include "tensor/model_priv.h"

/* Bytes of a value of this type of the format; 0: strings. */
int qx_gguf_width(int type);
/* A number or truth value that lies at p. */
double qx_gguf_number(int type, const uint8_t *p);

#endif

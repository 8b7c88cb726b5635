/* A fuzz target is one file fuzz_NAME.c with LLVMFuzzerTestOneInput and a corpus/NAME folder. */
#ifndef FUZZ_H
#define FUZZ_H

#include "qx/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Handles any bytes without crashing, leaking or hanging; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program, naming the property and the input, when the property does not hold. */
void fuzz_check(bool holds, const char *what);

/* Any bytes as a file of weights; check (NULL: none) is asked when it opens. */
void fuzz_open(const uint8_t *data, size_t size, void (*check)(const struct qx_model *m));

#endif

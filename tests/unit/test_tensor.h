/* The groups of test_tensor, one per file. Each returns its number of failures. */
#ifndef TEST_TENSOR_H
#define TEST_TENSOR_H

#include "qx/model.h"

#include <stddef.h>
#include <stdint.h>

int test_tensor_read(void);
int test_tensor_open(void);
int test_tensor_gguf(void);
int test_tensor_hostile(void);
int test_tensor_wrong(void);
int test_tensor_hist(void);
int test_tensor_write(void);
int test_tensor_faults(void);

/* Files of the tests lie in one fresh folder below the working folder. */
const char *scratch_path(const char *name); /* the same static buffer, four of them in turn */
void scratch_write(const char *name, const void *data, size_t n);
/* Length, header, data: a safetensors file from its parts; len < 0: the header's own length. */
void scratch_safetensors(const char *name, const char *header, int64_t len, const void *data,
                         size_t n_data);
/* Opens or fails the test with the message. */
struct qx_model *open_ok(const char *path);

#endif

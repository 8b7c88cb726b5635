/* What holds for any container of weights: bytes are refused with a place in them, or opened; then every tensor
 * lies inside the file, is found by its name, and can be read or says why not. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_READ = 4096 };

static void check_tensor(const struct qx_model *m, int64_t i, size_t size)
{
    const struct qx_tensor *t = qx_model_tensor(m, i);
    fuzz_check(qx_model_find(m, t->name) == i, "a tensor is found by its name");
    fuzz_check(t->offset <= size && t->bytes <= size - t->offset, "its data lies in the file");
    fuzz_check(t->numel >= 0 && t->rank >= 0, "its shape is sane");
    fuzz_check((t->reason == NULL) == qx_dtype_get(t->dtype)->is_readable, "its reason fits");
    int64_t n = t->numel < MAX_READ ? t->numel : MAX_READ;
    float x[MAX_READ];
    enum qx_status st = qx_tensor_read(t, t->numel - n, n, x, NULL);
    fuzz_check(st == (t->reason ? QX_EUNSUPPORTED : QX_OK), "its values are read or refused");
}

void fuzz_open(const uint8_t *data, size_t size, void (*check)(const struct qx_model *m))
{
    char path[64];
    struct qx_model *m = NULL;
    struct qx_error err;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size, "the input can be a file");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum qx_status st = qx_model_open(path, &m, &err);
    if (st != QX_OK) {
        fuzz_check(st == QX_EFORMAT || st == QX_EUNSUPPORTED, "the status blames the file");
        fuzz_check(err.offset >= -1 && err.offset <= (int64_t)size, "the offset lies inside");
        fuzz_check(strstr(err.text, path) != NULL, "the message names the file");
    } else {
        for (int64_t i = 0; i < qx_model_n_tensors(m); i++) {
            check_tensor(m, i, size);
        }
        if (check) {
            check(m);
        }
    }
    qx_model_close(&m);
    close(fd);
}

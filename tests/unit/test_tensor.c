#include "test_tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char scratch[64] = "tensor-XXXXXX";

const char *scratch_path(const char *name)
{
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

void scratch_write(const char *name, const void *data, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path(name));
    for (char *p = path + strlen(scratch) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0777);
        *p = '/';
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

void scratch_safetensors(const char *name, const char *header, int64_t len, const void *data,
                         size_t n_data)
{
    size_t n = strlen(header);
    uint64_t stated = len < 0 ? n : (uint64_t)len;
    uint8_t *all = malloc(8 + n + n_data);
    assert_non_null(all);
    for (int i = 0; i < 8; i++) {
        all[i] = (uint8_t)(stated >> (8 * i));
    }
    memcpy(all + 8, header, n);
    if (n_data > 0) {
        memcpy(all + 8 + n, data, n_data);
    }
    scratch_write(name, all, 8 + n + n_data);
    free(all);
}

struct qx_model *open_ok(const char *path)
{
    struct qx_model *m = NULL;
    struct qx_error err = {0};
    if (qx_model_open(path, &m, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return m;
}

int main(void)
{
    if (!mkdtemp(scratch)) {
        perror("test_tensor: no scratch folder");
        return 1;
    }
    int n_failed = test_tensor_read() + test_tensor_open() + test_tensor_gguf() +
                   test_tensor_hostile() + test_tensor_wrong() + test_tensor_hist() +
                   test_tensor_write() + test_tensor_faults();
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch);
    return system(command) == 0 && n_failed == 0 ? 0 : 1;
}

/* Any bytes behind the magic of GGUF: as a file, and the arrays of its metadata end where they say. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static void check_arrays(const struct qx_model *m)
{
    static const char *const keys[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                                       "tokenizer.ggml.token_type", "a"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct qx_model_array a;
        const char *text;
        size_t len;
        double x;
        int64_t n = 0;
        if (!qx_model_array(m, keys[i], &a)) {
            continue;
        }
        while (a.is_text ? qx_model_array_text(&a, &text, &len) : qx_model_array_number(&a, &x)) {
            n++;
        }
        fuzz_check(n == a.n && a.at == a.end, "an array has the elements that it claims");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        fuzz_open(data, size, check_arrays);
        return 0;
    }
    uint8_t *file = malloc(size + 4);
    fuzz_check(file != NULL, "there is memory");
    memcpy(file, "GGUF", 4);
    memcpy(file + 4, data, size);
    fuzz_open(file, size + 4, check_arrays);
    free(file);
    return 0;
}

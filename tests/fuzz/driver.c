/* Replays a corpus through a fuzz target when no fuzzing engine drives it: arguments are files and
 * folders (read one level deep, in natural order). Prints the number of inputs; a finding is a crash,
 * named before it happens. */
#include "fuzz.h"

#include "base/arena.h"
#include "base/fs.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *current = "(none)";

void fuzz_check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s: broken: %s\n", current, what);
        abort();
    }
}

#ifndef FUZZ_ENGINE
/* The copy has exactly the input's size, so that a sanitizer sees every read past its end. */
static void replay(const char *path)
{
    struct qx_error err;
    char *text = NULL;
    size_t len = 0;
    if (qx_fs_read(path, (size_t)64 << 20, &text, &len, &err) != QX_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    uint8_t *input = malloc(len ? len : 1);
    if (!input) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    memcpy(input, text, len);
    qx_mem_free(text);
    current = path;
    LLVMFuzzerTestOneInput(input, len);
    free(input);
}

static int replay_folder(const char *folder)
{
    struct qx_arena arena = {0};
    struct qx_error err;
    char **names;
    size_t n;
    if (qx_fs_list(folder, &arena, &names, &n, &err) != QX_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        replay(qx_arena_printf(&arena, "%s/%s", folder, names[i]));
    }
    qx_arena_release(&arena);
    return (int)n;
}

int main(int argc, char **argv)
{
    int n_inputs = 0;
    for (int i = 1; i < argc; i++) {
        if (qx_fs_is_dir(argv[i])) {
            n_inputs += replay_folder(argv[i]);
        } else {
            replay(argv[i]);
            n_inputs++;
        }
    }
    printf("%d inputs\n", n_inputs);
    return n_inputs > 0 ? 0 : 1;
}
#endif

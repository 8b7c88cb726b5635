/* Any bytes as tokenizer.json, vocab.txt or tokenizer.bin (the first byte says which): refused with a
 * sentence, or read; then a text becomes ids of the vocabulary, and ids become text. */
#include "fuzz.h"

#include "base/fs.h"
#include "base/mem.h"
#include "qx/json.h"
#include "qx/tokenizer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void use(const struct qx_tokenizer *t)
{
    static const char text[] = "Hello  w\xC3\xB6rld, a-b 12 [CLS] \xE4\xB8\x96<s>";
    struct qx_ids ids = {0};
    struct qx_error err;
    char *back = NULL;
    enum qx_status st = qx_tokenizer_encode(t, text, sizeof text - 1, 0, 0, &ids, &err);
    fuzz_check(st == QX_OK || st == QX_EDATA, "a text becomes ids or says why not");
    for (int64_t i = 0; i < ids.n; i++) {
        fuzz_check(ids.id[i] >= 0, "ids are numbers of tokens");
    }
    st = qx_tokenizer_decode(t, ids.id, ids.n, &back, &err);
    fuzz_check(st == QX_OK || st == QX_ERANGE, "ids become text or one is named");
    if (st == QX_OK) {
        qx_free_text(back);
    }
    qx_ids_release(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const endings[] = {"json", "txt", "bin"};
    char path[64];
    struct qx_tokenizer *t = NULL;
    struct qx_error err;
    if (size == 0) {
        return 0;
    }
    snprintf(path, sizeof path, "fuzz_tokenizer_%d.%s", (int)getpid(), endings[data[0] % 3]);
    if (qx_fs_write_atomic(path, data + 1, size - 1, &err) != QX_OK) {
        return 0;
    }
    const enum qx_status st = qx_tokenizer_open(path, &t, &err);
    fuzz_check(st == QX_OK || strlen(err.text) > 10, "the message says something");
    if (st == QX_OK) {
        use(t);
        qx_tokenizer_close(&t);
    }
    unlink(path);
    return 0;
}

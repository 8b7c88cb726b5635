/* Any bytes as a recipe: refused with a sentence, the recipe untouched, or taken; what was taken is
 * written and read again to the same text. */
#include "fuzz.h"

#include "base/error.h"
#include "session/recipe_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One small model for all inputs: a.weight [2, 4], b.weight [2, 4], norm.weight [4], ids I64 [1]. */
static struct qx_model *model;
static struct qx_items items;

static void model_open(void)
{
    static const char header[] =
        "{\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[0,32]},"
        "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[2,4],\"data_offsets\":[32,64]},"
        "\"norm.weight\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[64,80]},"
        "\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[80,88]}}";
    char path[] = "/tmp/fuzz-recipe-XXXXXX";
    uint64_t size = sizeof header - 1;
    uint8_t zeros[88] = {0};
    struct qx_error err = {.text = ""};
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    fuzz_check(f != NULL, "a temporary file can be made");
    fwrite(&size, sizeof size, 1, f);
    fwrite(header, 1, sizeof header - 1, f);
    fwrite(zeros, 1, sizeof zeros, f);
    fclose(f);
    bool ok = qx_model_open(path, &model, &err) == QX_OK &&
              qx_items_build(&items, model, NULL, &err) == QX_OK;
    unlink(path);
    fuzz_check(ok, "the model opens");
}

static enum qx_status read_text(const char *text, size_t len, struct qx_recipe *out,
                                struct qx_error *err)
{
    struct qx_json *json = NULL;
    enum qx_status st = qx_json_parse(text, len, "input", &json, err);
    if (st == QX_OK) {
        st = qx_recipe_read(json, "input", &items, out, err);
    }
    qx_json_free(json);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qx_recipe first = {0}, second = {0};
    struct qx_error err = {.text = ""};
    if (!model) {
        model_open();
    }
    enum qx_status st = read_text((const char *)data, size, &first, &err);
    if (st != QX_OK) {
        fuzz_check(strlen(err.text) > 10, "the message says something");
        fuzz_check(st == QX_EFORMAT || st == QX_ENAME || st == QX_ERANGE || st == QX_EUNSUPPORTED,
                   "the status says what is wrong");
        fuzz_check(first.set == NULL, "nothing comes back from a refusal");
        return 0;
    }
    for (int64_t i = 0; i < first.n; i++) {
        fuzz_check(qx_setting_check(&first.set[i], &err) == QX_OK, "what is taken is valid");
        fuzz_check(items.v[i].can_quantize || qx_setting_is_fp32(&first.set[i]),
                   "whole numbers are left alone");
    }
    size_t len, len_again;
    char *text = qx_recipe_write(&first, &items, model, NULL, &len);
    fuzz_check(text != NULL, "what was read can be written");
    fuzz_check(read_text(text, len, &second, &err) == QX_OK, "what was written can be read");
    char *again = qx_recipe_write(&second, &items, model, NULL, &len_again);
    fuzz_check(again && len == len_again && memcmp(text, again, len) == 0, "the copy is equal");
    fuzz_check(qx_recipe_hash(&first, &items, NULL) == qx_recipe_hash(&second, &items, NULL),
               "equal recipes have equal hashes");
    qx_free_text(text);
    qx_free_text(again);
    qx_recipe_release(&first);
    qx_recipe_release(&second);
    return 0;
}

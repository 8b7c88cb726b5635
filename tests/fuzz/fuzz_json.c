/* Any bytes: refused with a place inside the text, or read; what was read is written and read again
 * to the same text. */
#include "fuzz.h"

#include "qx/json.h"

#include <string.h>

static void copy_value(struct qx_jw *w, const struct qx_jval *v)
{
    if (qx_jis_object(v) || qx_jis_array(v)) {
        bool is_object = qx_jis_object(v);
        if (is_object) {
            qx_jw_object(w);
        } else {
            qx_jw_array(w);
        }
        for (const struct qx_jval *c = qx_jfirst(v); c; c = qx_jnext(c)) {
            if (is_object) {
                qx_jw_key(w, qx_jkey(c));
            }
            copy_value(w, c);
        }
        qx_jw_end(w);
    } else if (qx_jis_string(v)) {
        qx_jw_str(w, qx_jstr(v, NULL));
    } else if (qx_jis_number(v)) {
        qx_jw_num(w, qx_jnum(v, 0));
    } else if (qx_jis_bool(v)) {
        qx_jw_bool(w, qx_jbool(v, false));
    } else {
        qx_jw_null(w);
    }
}

static char *write_copy(const struct qx_json *json, bool pretty, size_t *len)
{
    struct qx_jw *w = qx_jw_new(pretty);
    copy_value(w, qx_json_root(json));
    return qx_jw_take(w, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qx_json *json = NULL, *again = NULL;
    struct qx_error err;
    enum qx_status st = qx_json_parse((const char *)data, size, "input", &json, &err);
    if (st != QX_OK) {
        fuzz_check(st == QX_EFORMAT, "only QX_EFORMAT refuses a text");
        fuzz_check(err.offset >= -1 && err.offset <= (int64_t)size, "the offset lies inside");
        fuzz_check(strlen(err.text) > 10, "the message says something");
        return 0;
    }
    size_t len = 0, len_again = 0;
    char *pretty = write_copy(json, true, &len), *text = write_copy(json, false, &len);
    fuzz_check(pretty && text, "what was read can be written");
    st = qx_json_parse(pretty, strlen(pretty), "copy", &again, &err);
    fuzz_check(st == QX_OK, "what was written can be read");
    char *text_again = write_copy(again, false, &len_again);
    fuzz_check(len == len_again && memcmp(text, text_again, len) == 0, "the copy is equal");
    qx_free_text(text_again);
    qx_free_text(text);
    qx_free_text(pretty);
    qx_json_free(again);
    qx_json_free(json);
    return 0;
}

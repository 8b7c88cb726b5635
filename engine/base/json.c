/* Reading JSON: checked by qx_json_check, parsed by cJSON, then searched for what cJSON lets pass.
 * The only file that names cJSON. */
#include "qx/json.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/json_check.h"
#include "base/mem.h"
#include "base/str.h"

#include <cjson/cJSON.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct qx_json {
    cJSON *root;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Through qx_mem, so that fault tests reach cJSON's allocations. */
static void hooks_init(void)
{
    cJSON_Hooks hooks = {qx_mem_alloc, qx_mem_free};
    cJSON_InitHooks(&hooks);
}

static const cJSON *in(const struct qx_jval *v)
{
    return (const cJSON *)v;
}

static const struct qx_jval *outv(const cJSON *v)
{
    return (const struct qx_jval *)v;
}

/* ---- duplicate keys and numbers beyond double ---- */

struct member {
    const char *key;
    size_t offset;
};

struct walk {
    const char *what;
    const size_t *offsets; /* of all keys, in document order */
    size_t next;
    struct qx_error *err;
};

static int by_key(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order ? order : (x->offset > y->offset) - (x->offset < y->offset);
}

static enum qx_status find_duplicate(struct walk *w, struct member *members, size_t n)
{
    qsort(members, n, sizeof *members, by_key);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(members[i - 1].key, members[i].key) == 0) {
            return qx_fail_at(
                w->err, QX_EFORMAT, w->what, NULL, (int64_t)members[i].offset,
                "cannot read '%s' as JSON: the key '%.100s' comes twice, again at byte %zu",
                w->what, members[i].key, members[i].offset);
        }
    }
    return QX_OK;
}

static enum qx_status walk_value(struct walk *w, const cJSON *v);

/* Children of v in order; `members` has room for them when v is an object. */
static enum qx_status walk_children(struct walk *w, const cJSON *v, struct member *members)
{
    size_t n = 0;
    for (const cJSON *c = v->child; c; c = c->next) {
        if (members) {
            members[n].key = c->string;
            members[n++].offset = w->offsets[w->next++];
        }
        enum qx_status st = walk_value(w, c);
        if (st != QX_OK) {
            return st;
        }
    }
    return members ? find_duplicate(w, members, n) : QX_OK;
}

static enum qx_status walk_value(struct walk *w, const cJSON *v)
{
    if (cJSON_IsNumber(v) && !isfinite(v->valuedouble)) {
        return qx_fail_at(w->err, QX_EFORMAT, w->what, NULL, -1,
                          "cannot read '%s' as JSON: a number is larger than a double can hold",
                          w->what);
    }
    struct member *members = NULL;
    if (cJSON_IsObject(v) && v->child) {
        size_t n = (size_t)cJSON_GetArraySize(v);
        members = qx_mem_array(n, sizeof *members);
        if (!members) {
            return qx_fail_nomem(w->err, n * sizeof *members);
        }
    }
    enum qx_status st = walk_children(w, v, members);
    qx_mem_free(members);
    return st;
}

/* ---- parsing ---- */

static enum qx_status check_bytes(const char *text, size_t len, const char *what,
                                  struct qx_error *err)
{
    const char *nul = len > 0 ? memchr(text, 0, len) : NULL;
    if (nul) {
        return qx_fail_at(err, QX_EFORMAT, what, NULL, nul - text,
                          "cannot read '%s' as JSON: a NUL byte at byte %zu", what,
                          (size_t)(nul - text));
    }
    if (qx_utf8_valid(text, len)) {
        return QX_OK;
    }
    size_t lo = 0, hi = len; /* the longest valid prefix ends where the bad sequence starts */
    while (hi - lo > 4) {
        size_t mid = lo + (hi - lo) / 2;
        size_t cut = mid;
        while (cut > lo && ((unsigned char)text[cut] & 0xC0) == 0x80) {
            cut--;
        }
        if (cut == lo) {
            break;
        }
        if (qx_utf8_valid(text + lo, cut - lo)) {
            lo = cut;
        } else {
            hi = cut;
        }
    }
    return qx_fail_at(err, QX_EFORMAT, what, NULL, (int64_t)lo,
                      "cannot read '%s' as JSON: invalid UTF-8 near byte %zu", what, lo);
}

enum qx_status qx_json_parse(const char *text, size_t len, const char *what, struct qx_json **out,
                             struct qx_error *err)
{
    pthread_once(&once, hooks_init);
    struct qx_buf keys = {0};
    struct qx_json *json = NULL;
    enum qx_status st = check_bytes(text, len, what, err);
    if (st != QX_OK) {
        return st;
    }
    if (!qx_json_check(text, len, what, &keys, err)) {
        st = QX_EFORMAT;
        goto out;
    }
    json = qx_mem_zalloc(sizeof *json);
    if (json) {
        json->root = cJSON_ParseWithLength(text, len);
    }
    if (keys.oom || !json || !json->root) { /* the text is valid, so only memory can be missing */
        st = qx_fail_nomem(err, len);
        goto out;
    }
    struct walk w = {what, (const size_t *)(const void *)keys.data, 0, err};
    st = walk_value(&w, json->root);
out:
    qx_buf_release(&keys);
    if (st != QX_OK) {
        qx_json_free(json);
        return st;
    }
    *out = json;
    return QX_OK;
}

enum qx_status qx_json_load(const char *path, size_t max_bytes, struct qx_json **out,
                            struct qx_error *err)
{
    char *text = NULL;
    size_t len = 0;
    enum qx_status st = qx_fs_read(path, max_bytes, &text, &len, err);
    if (st != QX_OK) {
        return st;
    }
    st = qx_json_parse(text, len, path, out, err);
    qx_mem_free(text);
    return st;
}

void qx_json_free(struct qx_json *json)
{
    if (json) {
        cJSON_Delete(json->root);
        qx_mem_free(json);
    }
}

const struct qx_jval *qx_json_root(const struct qx_json *json)
{
    return json ? outv(json->root) : NULL;
}

/* ---- accessors ---- */

const struct qx_jval *qx_jget(const struct qx_jval *object, const char *key)
{
    return cJSON_IsObject(in(object)) ? outv(cJSON_GetObjectItemCaseSensitive(in(object), key))
                                      : NULL;
}

const struct qx_jval *qx_jat(const struct qx_jval *array, size_t i)
{
    const struct qx_jval *v = qx_jfirst(array);
    while (v && i > 0) {
        v = qx_jnext(v);
        i--;
    }
    return v;
}

size_t qx_jlen(const struct qx_jval *list)
{
    size_t n = 0;
    for (const struct qx_jval *v = qx_jfirst(list); v; v = qx_jnext(v)) {
        n++;
    }
    return n;
}

const struct qx_jval *qx_jfirst(const struct qx_jval *list)
{
    return qx_jis_object(list) || qx_jis_array(list) ? outv(in(list)->child) : NULL;
}

const struct qx_jval *qx_jnext(const struct qx_jval *child)
{
    return child ? outv(in(child)->next) : NULL;
}

const char *qx_jkey(const struct qx_jval *member)
{
    return member ? in(member)->string : NULL;
}

bool qx_jis_object(const struct qx_jval *v)
{
    return cJSON_IsObject(in(v));
}

bool qx_jis_array(const struct qx_jval *v)
{
    return cJSON_IsArray(in(v));
}

bool qx_jis_string(const struct qx_jval *v)
{
    return cJSON_IsString(in(v));
}

bool qx_jis_number(const struct qx_jval *v)
{
    return cJSON_IsNumber(in(v));
}

bool qx_jis_bool(const struct qx_jval *v)
{
    return cJSON_IsBool(in(v));
}

bool qx_jis_null(const struct qx_jval *v)
{
    return cJSON_IsNull(in(v));
}

const char *qx_jstr(const struct qx_jval *v, const char *fallback)
{
    return cJSON_IsString(in(v)) ? in(v)->valuestring : fallback;
}

double qx_jnum(const struct qx_jval *v, double fallback)
{
    return cJSON_IsNumber(in(v)) ? in(v)->valuedouble : fallback;
}

bool qx_jbool(const struct qx_jval *v, bool fallback)
{
    return cJSON_IsBool(in(v)) ? cJSON_IsTrue(in(v)) : fallback;
}

bool qx_jint(const struct qx_jval *v, int64_t *out)
{
    if (!cJSON_IsNumber(in(v))) {
        return false;
    }
    double d = in(v)->valuedouble;
    if (!(fabs(d) <= 0x1p53) || d != floor(d)) {
        return false;
    }
    *out = (int64_t)d;
    return true;
}

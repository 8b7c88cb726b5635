/* safetensors: u64 header length, JSON header, data. Every rule of the format is checked before a
 * tensor is believed (github.com/huggingface/safetensors, README and tensor.rs). */
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/json.h"
#include "tensor/model_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_HEADER = 100000000 };

/* One file being read. */
struct reader {
    struct qx_model *m;
    const struct qx_mapfile *map;
    const char *file; /* path, for messages */
    int index;
    uint64_t header_bytes;
    uint64_t data_start, data_bytes;
    int64_t first_tensor; /* in m->tensors */
    struct qx_error *err;
};

static uint64_t load_u64le(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

static bool probe(const uint8_t *head, size_t n)
{
    return n > LENGTH_BYTES && load_u64le(head) <= MAX_HEADER && head[LENGTH_BYTES] == '{';
}

/* ---- messages ---- */

/* Byte offset in the file of a tensor's entry; the header's start when its name is written with
 * escapes. */
static int64_t entry_offset(const struct reader *r, const char *name)
{
    const char *header = (const char *)r->map->data + LENGTH_BYTES;
    size_t n = strlen(name);
    const char *end = header + r->header_bytes;
    for (const char *p = header; (p = memmem(p, (size_t)(end - p), name, n)) != NULL && p < end;
         p++) {
        if (p > header && p[-1] == '"' && p + n < end && p[n] == '"') {
            return p - 1 - (const char *)r->map->data;
        }
    }
    return LENGTH_BYTES;
}

QX_PRINTF(4, 5)
static enum qx_status fail_tensor(const struct reader *r, const char *name, int64_t offset,
                                  const char *fmt, ...)
{
    char rule[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(rule, sizeof rule, fmt, ap);
    va_end(ap);
    if (offset < 0) {
        offset = entry_offset(r, name);
    }
    return qx_fail_at(r->err, QX_EFORMAT, r->file, name, offset,
                      "cannot open '%.120s': tensor '%.80s' at byte %lld: %s", r->file, name,
                      (long long)offset, rule);
}

QX_PRINTF(3, 4)
static enum qx_status fail_file(const struct reader *r, int64_t offset, const char *fmt, ...)
{
    char rule[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(rule, sizeof rule, fmt, ap);
    va_end(ap);
    return qx_fail_at(r->err, QX_EFORMAT, r->file, NULL, offset,
                      "cannot open '%.120s': at byte %lld: %s", r->file, (long long)offset, rule);
}

/* ---- one entry ---- */

static enum qx_status read_shape(const struct reader *r, struct qx_tensor *t,
                                 const struct qx_jval *shape)
{
    size_t rank = qx_jlen(shape);
    if (!qx_jis_array(shape) || rank > 65535) {
        return fail_tensor(r, t->name, -1, "'shape' must be a list of at most 65535 sizes");
    }
    int64_t *dims = qx_arena_array(&r->m->arena, rank, sizeof *dims);
    if (!dims) {
        return qx_fail_nomem(r->err, rank * sizeof *dims);
    }
    int64_t numel = 1;
    bool fits = true;
    const struct qx_jval *v = qx_jfirst(shape);
    for (size_t i = 0; i < rank; i++, v = qx_jnext(v)) {
        if (!qx_jint(v, &dims[i]) || dims[i] < 0) {
            return fail_tensor(r, t->name, -1,
                               "entry %zu of 'shape' must be an integer of 0 to 2^53", i);
        }
        fits = fits && qx_i64_mul(numel, dims[i], &numel);
    }
    if (!fits) { /* as the reference: from left to right, a later 0 does not save it */
        return fail_tensor(r, t->name, -1, "the product of its 'shape' overflows 64 bits");
    }
    t->rank = (int)rank;
    t->shape = dims;
    t->numel = numel;
    return QX_OK;
}

static enum qx_status read_offsets(const struct reader *r, struct qx_tensor *t,
                                   const struct qx_jval *offsets, int64_t *begin, int64_t *end)
{
    const struct qx_jval *first = qx_jfirst(offsets), *second = qx_jnext(first);
    if (!qx_jis_array(offsets) || !second || qx_jnext(second)) {
        return fail_tensor(r, t->name, -1, "'data_offsets' must be a list of two integers");
    }
    if (!qx_jint(first, begin) || !qx_jint(second, end) || *begin < 0 || *end < 0) {
        return fail_tensor(r, t->name, -1, "'data_offsets' must be integers of 0 to 2^53");
    }
    if (*end < *begin) {
        return fail_tensor(r, t->name, -1, "its 'data_offsets' [%lld, %lld] end before they begin",
                           (long long)*begin, (long long)*end);
    }
    return QX_OK;
}

static enum qx_status check_size(const struct reader *r, const struct qx_tensor *t, int64_t begin,
                                 int64_t end)
{
    const struct qx_dtype_info *info = qx_dtype_get(t->dtype);
    int64_t bits;
    if (!qx_i64_mul(t->numel, info->bits, &bits)) {
        return fail_tensor(r, t->name, -1, "its size in bits (%lld elements of %s) overflows",
                           (long long)t->numel, info->name);
    }
    if (bits % 8 != 0) {
        return fail_tensor(r, t->name, -1, "its %lld elements of %s do not fill whole bytes",
                           (long long)t->numel, info->name);
    }
    if (bits / 8 != end - begin) {
        return fail_tensor(r, t->name, -1,
                           "its %lld elements of %s need %lld bytes, but its 'data_offsets' span "
                           "%lld",
                           (long long)t->numel, info->name, (long long)(bits / 8),
                           (long long)(end - begin));
    }
    return QX_OK;
}

static const char *reason_of(enum qx_dtype dtype)
{
    if (qx_dtype_get(dtype)->is_readable) {
        return NULL;
    }
    switch (dtype) {
    case QX_DTYPE_F4:
    case QX_DTYPE_F6_E2M3:
    case QX_DTYPE_F6_E3M2:
        return "packed block codes; their values need block scales that this dtype does not carry";
    case QX_DTYPE_F8_E8M0:
        return "block scales (powers of two), not values";
    case QX_DTYPE_C64:
        return "complex numbers; a quantizer works on real values";
    default:
        return "an FNUZ variant of FP8, which is not decoded here";
    }
}

/* The tensor's bytes are checked against the file later, by check_layout. */
static enum qx_status read_entry(struct reader *r, const char *name, const struct qx_jval *entry)
{
    struct qx_tensor *t = qx_model_add_tensor(r->m);
    if (t) {
        t->name = qx_arena_strdup(&r->m->arena, name);
    }
    if (!t || !t->name) {
        return qx_fail_nomem(r->err, strlen(name));
    }
    if (!qx_jis_object(entry)) {
        return fail_tensor(r, name, -1, "its entry must be an object");
    }
    const char *dtype = qx_jstr(qx_jget(entry, "dtype"), NULL);
    if (!dtype) {
        return fail_tensor(r, name, -1, "'dtype' is missing or no string");
    }
    if (!qx_dtype_find(dtype, &t->dtype)) {
        return fail_tensor(r, name, -1, "unknown dtype '%.40s'", dtype);
    }
    int64_t begin = 0, end = 0;
    enum qx_status st = read_shape(r, t, qx_jget(entry, "shape"));
    if (st == QX_OK) {
        st = read_offsets(r, t, qx_jget(entry, "data_offsets"), &begin, &end);
    }
    if (st == QX_OK) {
        st = check_size(r, t, begin, end);
    }
    t->file = r->index;
    t->offset = (uint64_t)begin; /* in the data, until check_layout */
    t->bytes = (uint64_t)(end - begin);
    t->reason = reason_of(t->dtype);
    return st;
}

static enum qx_status read_metadata(struct reader *r, const struct qx_jval *meta)
{
    if (!qx_jis_object(meta)) {
        return fail_file(r, entry_offset(r, "__metadata__"), "'__metadata__' must be an object");
    }
    for (const struct qx_jval *v = qx_jfirst(meta); v; v = qx_jnext(v)) {
        const char *value = qx_jstr(v, NULL);
        if (!value) {
            return fail_file(r, entry_offset(r, qx_jkey(v)),
                             "'%.60s' in '__metadata__' must be a string", qx_jkey(v));
        }
        struct qx_meta *pair = qx_model_add_meta(r->m);
        if (pair) {
            pair->key = qx_arena_strdup(&r->m->arena, qx_jkey(v));
            pair->value = qx_arena_strdup(&r->m->arena, value);
        }
        if (!pair || !pair->key || !pair->value) {
            return qx_fail_nomem(r->err, strlen(value));
        }
    }
    return QX_OK;
}

/* ---- the file ---- */

static int by_offset(const void *a, const void *b)
{
    const struct qx_tensor *x = *(struct qx_tensor *const *)a, *y = *(struct qx_tensor *const *)b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Data is one gapless run that ends with the file; then offsets become those of the file. */
static enum qx_status check_order(const struct reader *r, struct qx_tensor *const *order, size_t n)
{
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        struct qx_tensor *t = order[i];
        int64_t where = (int64_t)(r->data_start + t->offset);
        if (t->offset > at) {
            return fail_tensor(r, t->name, where,
                               "a hole of %llu bytes lies before its data; data must be gapless",
                               (unsigned long long)(t->offset - at));
        }
        if (t->offset < at) {
            return fail_tensor(r, t->name, where, "its data overlaps that of '%.80s'",
                               order[i - 1]->name);
        }
        at = t->offset + t->bytes;
        if (at > r->data_bytes) {
            return fail_tensor(r, t->name, where,
                               "its data ends past the end of the file (%llu bytes are missing): a "
                               "partial download? Fetch the file again",
                               (unsigned long long)(at - r->data_bytes));
        }
    }
    if (at < r->data_bytes) {
        return fail_file(r, (int64_t)(r->data_start + at),
                         "%llu bytes follow the last tensor; nothing may follow it",
                         (unsigned long long)(r->data_bytes - at));
    }
    for (size_t i = 0; i < n; i++) {
        order[i]->offset += r->data_start;
        order[i]->data = order[i]->bytes > 0 ? r->map->data + order[i]->offset : NULL;
    }
    return QX_OK;
}

static enum qx_status check_layout(const struct reader *r)
{
    size_t n = (size_t)(r->m->n_tensors - r->first_tensor);
    struct qx_tensor **order = qx_mem_array(n + 1, sizeof(struct qx_tensor *));
    if (!order) {
        return qx_fail_nomem(r->err, n * sizeof *order);
    }
    for (size_t i = 0; i < n; i++) {
        order[i] = &r->m->tensors[r->first_tensor + (int64_t)i];
    }
    qsort(order, n, sizeof *order, by_offset);
    enum qx_status st = check_order(r, order, n);
    qx_mem_free(order);
    return st;
}

static enum qx_status check_length(struct reader *r)
{
    uint64_t size = r->map->size;
    if (size < LENGTH_BYTES) {
        return fail_file(r, 0,
                         "the file has %llu bytes, too small for the 8-byte header length: an "
                         "empty or partial download? Fetch the file again",
                         (unsigned long long)size);
    }
    r->header_bytes = load_u64le(r->map->data);
    if (r->header_bytes > MAX_HEADER) {
        return fail_file(r, 0,
                         "the header length %llu is larger than the limit of 100000000: this is "
                         "no safetensors file, or it is damaged",
                         (unsigned long long)r->header_bytes);
    }
    if (r->header_bytes > size - LENGTH_BYTES) {
        return fail_file(r, 0,
                         "the header of %llu bytes ends past the end of the file (%llu bytes): a "
                         "partial download? Fetch the file again",
                         (unsigned long long)r->header_bytes, (unsigned long long)size);
    }
    if (r->header_bytes < 2 || r->map->data[LENGTH_BYTES] != '{') {
        return fail_file(r, LENGTH_BYTES, "the header must begin with '{'");
    }
    r->data_start = LENGTH_BYTES + r->header_bytes;
    r->data_bytes = size - r->data_start;
    return QX_OK;
}

/* The tensor whose entry holds byte `at` of the (possibly broken) header, "" when there is none. */
static void name_at(const struct reader *r, size_t at, char *name, size_t cap)
{
    const char *header = (const char *)r->map->data + LENGTH_BYTES;
    size_t start = 0, len = 0;
    int depth = 0;
    for (size_t i = 0; i <= at && i < r->header_bytes; i++) {
        char c = header[i];
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (c != '"') {
            continue;
        }
        size_t first = ++i;
        while (i < r->header_bytes && header[i] != '"') {
            i += header[i] == '\\' ? 2 : 1;
        }
        if (depth == 1 && i < r->header_bytes) { /* strings at depth 1 are keys */
            start = first;
            len = i - first;
        }
    }
    snprintf(name, cap, "%.*s", (int)(len < cap ? len : cap - 1), header + start);
    if (!qx_utf8_valid(name, strlen(name))) {
        name[0] = '\0';
    }
}

/* qx_json counts bytes from the header's start; err->offset counts from the file's. */
static enum qx_status json_failed(const struct reader *r, enum qx_status st,
                                  const struct qx_error *why)
{
    if (st != QX_EFORMAT) {
        if (r->err) {
            *r->err = *why;
        }
        return st;
    }
    size_t at = why->offset > 0 ? (size_t)why->offset : 0;
    char name[160];
    name_at(r, at, name, sizeof name);
    return qx_fail_at(r->err, QX_EFORMAT, r->file, name, (int64_t)at + LENGTH_BYTES,
                      "cannot open '%.120s': at byte %zu%s%.80s%s: %.200s (its byte 0 is byte 8 of "
                      "the file)",
                      r->file, at + LENGTH_BYTES, name[0] ? ", tensor '" : "", name,
                      name[0] ? "'" : "", why->text);
}

static enum qx_status open_file(struct qx_model *m, int file, struct qx_error *err)
{
    struct reader r = {.m = m, .map = &m->files[file], .file = m->files[file].path, .index = file};
    struct qx_json *json = NULL;
    struct qx_error why = {0};
    r.err = err;
    r.first_tensor = m->n_tensors;
    enum qx_status st = check_length(&r);
    if (st != QX_OK) {
        return st;
    }
    const char *header = (const char *)r.map->data + LENGTH_BYTES;
    st = qx_json_parse(header, (size_t)r.header_bytes, "header", &json, &why);
    if (st != QX_OK) {
        return json_failed(&r, st, &why);
    }
    const struct qx_jval *v = qx_jfirst(qx_json_root(json));
    for (; v && st == QX_OK; v = qx_jnext(v)) {
        const char *key = qx_jkey(v);
        st = strcmp(key, "__metadata__") == 0 ? read_metadata(&r, v) : read_entry(&r, key, v);
    }
    qx_json_free(json);
    if (st == QX_OK) {
        st = check_layout(&r);
    }
    m->hash = qx_hash64(header, (size_t)r.header_bytes, m->hash);
    return st;
}

const struct qx_io qx_io_safetensors = {"safetensors", probe, open_file};

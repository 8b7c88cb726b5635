/* safetensors: u64 header length, JSON header, data. Every rule of the format is checked before a
 * tensor is believed (github.com/huggingface/safetensors, README and tensor.rs). */
#include "base/buf.h"
#include "base/error.h"
#include "base/json_check.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/text.h"
#include "tensor/jscan.h"
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
    char *header; /* a copy: the file may change under the map between check and use */
    uint64_t header_bytes;
    int64_t entry_at; /* byte offset of the entry being read */
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

static bool slice_is(struct qx_jslice slice, const char *text)
{
    return slice.n == strlen(text) && memcmp(slice.p, text, slice.n) == 0;
}

/* Byte offset in the file of the nth entry with this name; the header's start when memory is short. */
static int64_t entry_offset(const struct reader *r, const char *name, int nth)
{
    struct qx_jscan s = {r->header};
    struct qx_arena scratch = {0};
    int64_t found = LENGTH_BYTES;
    bool more = qx_jscan_open(&s);
    while (more && nth > 0) {
        int64_t at = s.p - r->header + LENGTH_BYTES;
        struct qx_jslice key = qx_jscan_key(&s, &scratch);
        if (!key.p) {
            break;
        }
        if (slice_is(key, name) && --nth == 0) {
            found = at;
        }
        qx_jscan_skip(&s);
        more = qx_jscan_next(&s);
    }
    qx_arena_release(&scratch);
    return found;
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
        offset = r->entry_at;
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

static enum qx_status fail_shape(const struct reader *r, const struct qx_tensor *t, size_t i)
{
    return fail_tensor(r, t->name, -1, "entry %zu of 'shape' must be an integer of 0 to 2^53", i);
}

/* Number of values of the list under s, none of them checked. */
static size_t list_length(struct qx_jscan s)
{
    size_t n = 0;
    for (bool more = qx_jscan_open(&s); more; more = qx_jscan_next(&s)) {
        qx_jscan_skip(&s);
        n++;
    }
    return n;
}

static enum qx_status read_shape(const struct reader *r, struct qx_tensor *t, struct qx_jscan s)
{
    size_t rank = s.p && *s.p == '[' ? list_length(s) : SIZE_MAX;
    if (rank > 65535) {
        return fail_tensor(r, t->name, -1, "'shape' must be a list of at most 65535 sizes");
    }
    int64_t *dims = qx_arena_array(&r->m->arena, rank, sizeof *dims);
    if (!dims) {
        return qx_fail_nomem(r->err, rank * sizeof *dims);
    }
    int64_t numel = 1;
    bool fits = true, more = qx_jscan_open(&s);
    for (size_t i = 0; more; i++, more = qx_jscan_next(&s)) {
        if (!qx_jscan_integer(&s, &dims[i])) {
            return fail_shape(r, t, i);
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

static enum qx_status read_offsets(const struct reader *r, struct qx_tensor *t, struct qx_jscan s,
                                   int64_t *begin, int64_t *end)
{
    if (!s.p || *s.p != '[' || list_length(s) != 2) {
        return fail_tensor(r, t->name, -1, "'data_offsets' must be a list of two integers");
    }
    if (!qx_jscan_open(&s) || !qx_jscan_integer(&s, begin) || !qx_jscan_next(&s) ||
        !qx_jscan_integer(&s, end)) {
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
        return fail_tensor(
            r, t->name, -1,
            "its %lld elements of %s need %lld bytes, but its 'data_offsets' span %lld",
            (long long)t->numel, info->name, (long long)(bits / 8), (long long)(end - begin));
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

enum field { DTYPE, SHAPE, OFFSETS, N_FIELDS };
static const char *const field_names[N_FIELDS] = {"dtype", "shape", "data_offsets"};

/* Where the values of an entry's fields stand; p is NULL for a missing one. */
static enum qx_status find_fields(const struct reader *r, const struct qx_tensor *t,
                                  struct qx_jscan *s, struct qx_jscan *fields)
{
    if (*s->p != '{') {
        return fail_tensor(r, t->name, -1, "its entry must be an object");
    }
    for (bool more = qx_jscan_open(s); more; more = qx_jscan_next(s)) {
        struct qx_jslice key = qx_jscan_key(s, &r->m->arena);
        if (!key.p) {
            return qx_fail_nomem(r->err, 0);
        }
        for (int i = 0; i < N_FIELDS; i++) {
            if (!slice_is(key, field_names[i])) {
                continue;
            }
            if (fields[i].p) {
                return fail_tensor(r, t->name, -1, "the key '%s' comes twice", field_names[i]);
            }
            fields[i] = *s;
        }
        qx_jscan_skip(s);
    }
    return QX_OK;
}

static enum qx_status read_dtype(const struct reader *r, struct qx_tensor *t, struct qx_jscan s)
{
    char name[32];
    if (!s.p || *s.p != '"') {
        return fail_tensor(r, t->name, -1, "'dtype' is missing or no string");
    }
    struct qx_jslice dtype = qx_jscan_string(&s, &r->m->arena);
    if (!dtype.p) {
        return qx_fail_nomem(r->err, 0);
    }
    snprintf(name, sizeof name, "%.*s", (int)(dtype.n < 24 ? dtype.n : 24), dtype.p);
    if (dtype.n > 24 || !qx_dtype_find(name, &t->dtype) || qx_dtype_get(t->dtype)->block) {
        return fail_tensor(r, t->name, -1, "unknown dtype '%s'", name);
    }
    return QX_OK;
}

/* The tensor's bytes are checked against the file later, by check_layout. */
static enum qx_status read_entry(struct reader *r, struct qx_jslice name, struct qx_jscan *s)
{
    struct qx_jscan fields[N_FIELDS] = {{NULL}};
    int64_t begin = 0, end = 0;
    struct qx_tensor *t = qx_model_add_tensor(r->m);
    if (t) {
        t->name = qx_arena_strndup(&r->m->arena, name.p, name.n);
    }
    if (!t || !t->name) {
        return qx_fail_nomem(r->err, name.n);
    }
    enum qx_status st = find_fields(r, t, s, fields);
    st = st == QX_OK ? read_dtype(r, t, fields[DTYPE]) : st;
    st = st == QX_OK ? read_shape(r, t, fields[SHAPE]) : st;
    st = st == QX_OK ? read_offsets(r, t, fields[OFFSETS], &begin, &end) : st;
    st = st == QX_OK ? check_size(r, t, begin, end) : st;
    t->file = r->index;
    t->offset = (uint64_t)begin; /* in the data, until check_layout */
    t->bytes = (uint64_t)(end - begin);
    t->reason = reason_of(t->dtype);
    return st;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct qx_meta *)a)->key, ((const struct qx_meta *)b)->key);
}

static enum qx_status add_pair(struct reader *r, struct qx_jscan *s)
{
    struct qx_arena *arena = &r->m->arena;
    struct qx_jslice key = qx_jscan_key(s, arena);
    if (key.p && *s->p != '"') {
        return fail_file(r, r->entry_at, "'%.*s' in '__metadata__' must be a string",
                         (int)(key.n < 60 ? key.n : 60), key.p);
    }
    struct qx_jslice value = key.p ? qx_jscan_string(s, arena) : key;
    struct qx_meta *pair = value.p ? qx_model_add_meta(r->m) : NULL;
    if (pair) {
        pair->key = qx_arena_strndup(arena, key.p, key.n);
        pair->value = qx_arena_strndup(arena, value.p, value.n);
    }
    return pair && pair->key && pair->value ? QX_OK : qx_fail_nomem(r->err, value.n);
}

static enum qx_status read_metadata(struct reader *r, struct qx_jscan *s)
{
    int64_t first = r->m->n_meta;
    if (*s->p != '{') {
        return fail_file(r, r->entry_at, "'__metadata__' must be an object");
    }
    for (bool more = qx_jscan_open(s); more; more = qx_jscan_next(s)) {
        enum qx_status st = add_pair(r, s);
        if (st != QX_OK) {
            return st;
        }
    }
    size_t n = (size_t)(r->m->n_meta - first);
    struct qx_meta *meta = n > 0 ? r->m->meta + first : NULL;
    if (n > 1) {
        qsort(meta, n, sizeof *meta, by_key);
    }
    for (size_t i = 1; i < n; i++) {
        if (strcmp(meta[i - 1].key, meta[i].key) == 0) {
            return fail_file(r, r->entry_at, "the key '%.60s' comes twice in '__metadata__'",
                             meta[i].key);
        }
    }
    return QX_OK;
}

static enum qx_status read_entries(struct reader *r)
{
    struct qx_jscan s = {r->header};
    bool has_metadata = false;
    for (bool more = qx_jscan_open(&s); more; more = qx_jscan_next(&s)) {
        r->entry_at = s.p - r->header + LENGTH_BYTES;
        struct qx_jslice name = qx_jscan_key(&s, &r->m->arena);
        enum qx_status st;
        if (!name.p) {
            return qx_fail_nomem(r->err, 0);
        }
        if (!slice_is(name, "__metadata__")) {
            st = read_entry(r, name, &s);
        } else if (has_metadata) {
            st = fail_file(r, r->entry_at, "the key '__metadata__' comes twice");
        } else {
            st = read_metadata(r, &s);
            has_metadata = true;
        }
        if (st != QX_OK) {
            return st;
        }
    }
    return QX_OK;
}

/* Sorted as the model will be; equal names stand side by side. */
static enum qx_status check_names(struct reader *r)
{
    struct qx_tensor *t = r->m->tensors + r->first_tensor;
    size_t n = (size_t)(r->m->n_tensors - r->first_tensor);
    if (n < 2) {
        return QX_OK;
    }
    qsort(t, n, sizeof *t, qx_tensor_by_name);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(t[i - 1].name, t[i].name) == 0) {
            return fail_tensor(r, t[i].name, entry_offset(r, t[i].name, 2),
                               "the key comes twice; each name may stand only once");
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
        const uint64_t first = r->data_start + (t->offset < at ? t->offset : at);
        const int64_t where = (int64_t)(first < r->map->size ? first : r->map->size);
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
                         "the header length %llu is larger than the limit of 100000000: this is no "
                         "safetensors file, or it is damaged",
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
    const char *header = r->header;
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
static enum qx_status json_failed(const struct reader *r, const struct qx_error *why)
{
    size_t at = why->offset > 0 ? (size_t)why->offset : 0;
    char name[160];
    name_at(r, at, name, sizeof name);
    return qx_fail_at(
        r->err, QX_EFORMAT, r->file, name, (int64_t)at + LENGTH_BYTES,
        "cannot open '%.120s': at byte %zu%s%.80s%s: %.200s (its byte 0 is byte 8 of the file)",
        r->file, at + LENGTH_BYTES, name[0] ? ", tensor '" : "", name, name[0] ? "'" : "",
        why->text);
}

/* First byte of invalid UTF-8; the header holds some. */
static size_t bad_utf8_at(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        unsigned char c = (unsigned char)text[at];
        size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
        if (len - at < n || !qx_utf8_valid(text + at, n)) {
            break;
        }
        at += n;
    }
    return at;
}

/* The header is one JSON text. */
static enum qx_status check_json(const struct reader *r)
{
    struct qx_buf keys = {0};
    struct qx_error why = {0};
    size_t n = (size_t)r->header_bytes;
    if (!qx_utf8_valid(r->header, n)) {
        size_t at = bad_utf8_at(r->header, n);
        return fail_file(r, (int64_t)at + LENGTH_BYTES, "the header is not valid UTF-8");
    }
    bool is_json = qx_json_check(r->header, n, "header", &keys, &why);
    bool oom = keys.oom;
    qx_buf_release(&keys);
    if (oom) {
        return qx_fail_nomem(r->err, n);
    }
    return is_json ? QX_OK : json_failed(r, &why);
}

static enum qx_status open_file(struct qx_model *m, int file, struct qx_error *err)
{
    struct reader r = {.m = m, .map = &m->files[file], .file = m->files[file].path, .index = file};
    r.err = err;
    r.first_tensor = m->n_tensors;
    enum qx_status st = check_length(&r);
    if (st != QX_OK) {
        return st;
    }
    r.header = qx_mem_alloc((size_t)r.header_bytes + 1);
    if (!r.header) {
        return qx_fail_nomem(err, (size_t)r.header_bytes);
    }
    memcpy(r.header, r.map->data + LENGTH_BYTES, (size_t)r.header_bytes);
    r.header[r.header_bytes] = '\0';
    st = check_json(&r);
    st = st == QX_OK ? read_entries(&r) : st;
    st = st == QX_OK ? check_names(&r) : st;
    st = st == QX_OK ? check_layout(&r) : st;
    m->hash = qx_hash64(r.header, (size_t)r.header_bytes, m->hash);
    qx_mem_free(r.header);
    return st;
}

const struct qx_io qx_io_safetensors = {"safetensors", probe, open_file};

/* GGUF 2 and 3 (ggml-org/ggml, docs/gguf.md and src/gguf.cpp): "GGUF", u32 version, i64 tensors, i64 pairs;
 * the pairs; one entry per tensor; padding; the data. Little-endian. Nothing is allocated for a count that
 * the file claims: what is counted must be there. */
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/text.h"
#include "tensor/gguf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NAME = 63, /* ggml keeps names in 64 bytes */
    MAX_KEY = 65535,
    MAX_DIMS = 4,
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 20,
};

/* One file being read. */
struct reader {
    struct qx_model *m;
    const char *file; /* path, for messages */
    const uint8_t *data;
    uint64_t size, at;
    int index;
    uint64_t alignment;
    int64_t first_tensor, first_meta, first_array; /* in m */
    struct qx_error *err;
};

static bool probe(const uint8_t *head, size_t n)
{
    return n >= 4 && memcmp(head, "GGUF", 4) == 0;
}

/* ---- messages ---- */

QX_PRINTF(4, 5)
static enum qx_status fail_tensor(const struct reader *r, const char *name, uint64_t at,
                                  const char *fmt, ...)
{
    char rule[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(rule, sizeof rule, fmt, ap);
    va_end(ap);
    return qx_fail_at(r->err, QX_EFORMAT, r->file, name, (int64_t)at,
                      "cannot open '%.120s': tensor '%.80s' at byte %llu: %s", r->file, name,
                      (unsigned long long)at, rule);
}

QX_PRINTF(4, 5)
static enum qx_status fail_file(const struct reader *r, enum qx_status status, uint64_t at,
                                const char *fmt, ...)
{
    char rule[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(rule, sizeof rule, fmt, ap);
    va_end(ap);
    return qx_fail_at(r->err, status, r->file, NULL, (int64_t)at,
                      "cannot open '%.120s': at byte %llu: %s", r->file, (unsigned long long)at,
                      rule);
}

static enum qx_status fail_cut(const struct reader *r, const char *what)
{
    return fail_file(
        r, QX_EFORMAT, r->at,
        "the file ends within %s (it has %llu bytes): a partial download? Fetch the file again",
        what, (unsigned long long)r->size);
}

/* ---- numbers and strings ---- */

static uint64_t load(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

static bool take(struct reader *r, int bytes, uint64_t *out)
{
    if (r->size - r->at < (uint64_t)bytes) {
        return false;
    }
    *out = load(r->data + r->at, bytes);
    r->at += (uint64_t)bytes;
    return true;
}

/* u64 length and bytes; the bytes stay in the map. */
static bool take_string(struct reader *r, const char **text, uint64_t *len)
{
    const uint64_t start = r->at;
    if (!take(r, 8, len) || *len > r->size - r->at) {
        r->at = start;
        return false;
    }
    *text = (const char *)r->data + r->at;
    r->at += *len;
    return true;
}

static bool is_plain(const char *text, uint64_t len)
{
    return qx_utf8_valid(text, (size_t)len) && !memchr(text, '\0', (size_t)len);
}

/* A copy in the arena: what lies in the map may change. */
static enum qx_status copy_string(const struct reader *r, const char *text, uint64_t len,
                                  uint64_t at, const char *what, const char **out)
{
    char *copy = qx_arena_strndup(&r->m->arena, text, (size_t)len);
    if (!copy) {
        return qx_fail_nomem(r->err, (size_t)len);
    }
    if (!is_plain(copy, len)) {
        return fail_file(r, QX_EFORMAT, at, "%s is not valid UTF-8 without NUL", what);
    }
    *out = copy;
    return QX_OK;
}

/* ---- metadata ---- */

static const struct {
    int bytes;
    enum { UNSIGNED, SIGNED, FLOATING, TRUTH, STRING, ARRAY } kind;
} types[] = {{1, UNSIGNED}, {1, SIGNED},   {2, UNSIGNED}, {2, SIGNED}, {4, UNSIGNED},
             {4, SIGNED},   {4, FLOATING}, {1, TRUTH},    {0, STRING}, {0, ARRAY},
             {8, UNSIGNED}, {8, SIGNED},   {8, FLOATING}};
enum { N_TYPES = sizeof types / sizeof *types };

double qx_gguf_number(int type, const uint8_t *p)
{
    const int bytes = types[type].bytes;
    const uint64_t v = load(p, bytes);
    const uint32_t low = (uint32_t)v;
    float f;
    double d;
    switch (types[type].kind) {
    case SIGNED:
        return (double)((int64_t)(v << (64 - 8 * bytes)) >> (64 - 8 * bytes));
    case FLOATING:
        memcpy(&f, &low, sizeof f);
        memcpy(&d, &v, sizeof d);
        return bytes == 4 ? (double)f : d;
    default:
        return (double)v;
    }
}

int qx_gguf_width(int type)
{
    return types[type].bytes;
}

static const char *number_text(struct reader *r, int type, const uint8_t *p)
{
    const int bytes = types[type].bytes;
    const uint64_t v = load(p, bytes);
    switch (types[type].kind) {
    case UNSIGNED:
        return qx_arena_printf(&r->m->arena, "%llu", (unsigned long long)v);
    case SIGNED:
        return qx_arena_printf(&r->m->arena, "%lld",
                               (long long)(v << (64 - 8 * bytes)) >> (64 - 8 * bytes));
    case TRUTH:
        return v ? "true" : "false";
    default:
        return qx_arena_printf(&r->m->arena, "%.17g", qx_gguf_number(type, p));
    }
}

static enum qx_status read_array(struct reader *r, const char *key)
{
    const uint64_t start = r->at;
    uint64_t type, n;
    if (!take(r, 4, &type) || !take(r, 8, &n)) {
        return fail_cut(r, "an array's head");
    }
    if (type >= N_TYPES || types[type].kind == ARRAY) {
        return fail_file(r, QX_EFORMAT, start,
                         "the array '%.60s' is of type %llu; arrays of numbers, truth values and "
                         "strings are possible",
                         key, (unsigned long long)type);
    }
    const uint64_t left = r->size - r->at, width = (uint64_t)types[type].bytes, first = r->at;
    if (n > left / (width ? width : 8)) {
        return fail_file(r, QX_EFORMAT, start,
                         "the array '%.60s' of %llu elements ends past the end of the file", key,
                         (unsigned long long)n);
    }
    r->at += n * width;
    for (uint64_t i = 0; width == 0 && i < n; i++) {
        const char *text;
        uint64_t len;
        if (!take_string(r, &text, &len)) {
            return fail_cut(r, "a string of an array");
        }
    }
    struct qx_meta_array *a = qx_model_add_array(r->m);
    if (!a) {
        return qx_fail_nomem(r->err, sizeof *a);
    }
    *a = (struct qx_meta_array){.key = key,
                                .type = (int)type,
                                .n = (int64_t)n,
                                .data = r->data + first,
                                .bytes = r->at - first};
    return QX_OK;
}

static enum qx_status read_value(struct reader *r, const char *key)
{
    const uint64_t start = r->at;
    const char *value = NULL;
    uint64_t type;
    if (!take(r, 4, &type)) {
        return fail_cut(r, "a value's type");
    }
    if (type >= N_TYPES) {
        return fail_file(r, QX_EFORMAT, start, "'%.60s' is of the unknown type %llu", key,
                         (unsigned long long)type);
    }
    if (types[type].kind == ARRAY) {
        return read_array(r, key);
    }
    if (types[type].kind == STRING) {
        const char *text;
        uint64_t len;
        if (!take_string(r, &text, &len)) {
            return fail_cut(r, "a string");
        }
        enum qx_status st = copy_string(r, text, len, start, "a string", &value);
        if (st != QX_OK) {
            return st;
        }
    } else {
        const int width = types[type].bytes;
        if (r->size - r->at < (uint64_t)width) {
            return fail_cut(r, "a number");
        }
        value = number_text(r, (int)type, r->data + r->at);
        r->at += (uint64_t)width;
    }
    struct qx_meta *pair = value ? qx_model_add_meta(r->m) : NULL;
    if (!pair) {
        return qx_fail_nomem(r->err, sizeof *pair);
    }
    *pair = (struct qx_meta){key, value};
    return QX_OK;
}

static enum qx_status read_pair(struct reader *r, const char **keys, uint64_t i)
{
    const uint64_t start = r->at;
    const char *text, *key;
    uint64_t len;
    if (!take_string(r, &text, &len)) {
        return fail_cut(r, "a key");
    }
    if (len == 0 || len > MAX_KEY) {
        return fail_file(r, QX_EFORMAT, start, "a key has %llu bytes; 1 to %d are possible",
                         (unsigned long long)len, MAX_KEY);
    }
    enum qx_status st = copy_string(r, text, len, start, "a key", &key);
    st = st == QX_OK ? read_value(r, key) : st;
    if (st == QX_OK) {
        keys[i] = key;
    }
    return st;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum qx_status read_pairs(struct reader *r, uint64_t n)
{
    enum { LEAST_BYTES = 8 + 1 + 4 + 1 };
    const uint64_t start = r->at;
    if (n > (r->size - r->at) / LEAST_BYTES) {
        return fail_file(r, QX_EFORMAT, 16,
                         "%llu pairs of metadata do not fit into the %llu bytes of the file",
                         (unsigned long long)n, (unsigned long long)r->size);
    }
    const char **keys = qx_mem_array((size_t)n + 1, sizeof *keys);
    enum qx_status st = keys ? QX_OK : qx_fail_nomem(r->err, (size_t)n * sizeof *keys);
    for (uint64_t i = 0; st == QX_OK && i < n; i++) {
        st = read_pair(r, keys, i);
    }
    if (st == QX_OK) {
        qsort(keys, (size_t)n, sizeof *keys, by_text);
    }
    for (uint64_t i = 1; st == QX_OK && i < n; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0) {
            st = fail_file(r, QX_EFORMAT, start, "the key '%.80s' comes twice in the metadata",
                           keys[i]);
        }
    }
    qx_mem_free(keys);
    return st;
}

static enum qx_status read_alignment(struct reader *r)
{
    const char *text = qx_model_metadata(r->m, "general.alignment");
    const unsigned long long a = text ? strtoull(text, NULL, 10) : DEFAULT_ALIGNMENT;
    if (a == 0 || a > MAX_ALIGNMENT || (a & (a - 1)) != 0) {
        return fail_file(r, QX_EFORMAT, 0,
                         "'general.alignment' is '%.20s'; a power of two up to %d is needed", text,
                         MAX_ALIGNMENT);
    }
    r->alignment = a;
    return QX_OK;
}

/* ---- tensors ---- */

/* ggml_type of include/ggml.h. What is missing was removed or never handed out. */
static const struct {
    int type;
    enum qx_dtype dtype;
} dtypes[] = {
    {0, QX_DTYPE_F32},      {1, QX_DTYPE_F16},     {2, QX_DTYPE_Q4_0},     {3, QX_DTYPE_Q4_1},
    {6, QX_DTYPE_Q5_0},     {7, QX_DTYPE_Q5_1},    {8, QX_DTYPE_Q8_0},     {9, QX_DTYPE_Q8_1},
    {10, QX_DTYPE_Q2_K},    {11, QX_DTYPE_Q3_K},   {12, QX_DTYPE_Q4_K},    {13, QX_DTYPE_Q5_K},
    {14, QX_DTYPE_Q6_K},    {15, QX_DTYPE_Q8_K},   {16, QX_DTYPE_IQ2_XXS}, {17, QX_DTYPE_IQ2_XS},
    {18, QX_DTYPE_IQ3_XXS}, {19, QX_DTYPE_IQ1_S},  {20, QX_DTYPE_IQ4_NL},  {21, QX_DTYPE_IQ3_S},
    {22, QX_DTYPE_IQ2_S},   {23, QX_DTYPE_IQ4_XS}, {24, QX_DTYPE_I8},      {25, QX_DTYPE_I16},
    {26, QX_DTYPE_I32},     {27, QX_DTYPE_I64},    {28, QX_DTYPE_F64},     {29, QX_DTYPE_IQ1_M},
    {30, QX_DTYPE_BF16},    {34, QX_DTYPE_TQ1_0},  {35, QX_DTYPE_TQ2_0},   {39, QX_DTYPE_MXFP4},
    {40, QX_DTYPE_NVFP4},   {41, QX_DTYPE_Q1_0},   {42, QX_DTYPE_Q2_0},
};

static bool dtype_of(uint64_t type, enum qx_dtype *out)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if ((uint64_t)dtypes[i].type == type) {
            *out = dtypes[i].dtype;
            return true;
        }
    }
    return false;
}

static const char *reason_of(enum qx_dtype dtype)
{
    const struct qx_dtype_info *info = qx_dtype_get(dtype);
    if (info->is_readable) {
        return NULL;
    }
    return dtype == QX_DTYPE_Q2_0
               ? "a block type of 2 bits that is not decoded here"
               : "codes into large tables of vectors, which are not decoded here";
}

/* Sizes, the innermost first, into a shape, the outermost first. */
static enum qx_status read_shape(struct reader *r, struct qx_tensor *t, uint64_t at)
{
    uint64_t n_dims, size;
    if (!take(r, 4, &n_dims)) {
        return fail_cut(r, "a tensor's entry");
    }
    if (n_dims > MAX_DIMS) {
        return fail_tensor(r, t->name, at, "it has %llu axes; up to %d are possible",
                           (unsigned long long)n_dims, MAX_DIMS);
    }
    int64_t *shape = qx_arena_array(&r->m->arena, MAX_DIMS, sizeof *shape);
    if (!shape) {
        return qx_fail_nomem(r->err, MAX_DIMS * sizeof *shape);
    }
    t->rank = (int)n_dims;
    t->shape = shape;
    t->numel = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (!take(r, 8, &size)) {
            return fail_cut(r, "a tensor's entry");
        }
        if (size > INT64_MAX || !qx_i64_mul(t->numel, (int64_t)size, &t->numel)) {
            return fail_tensor(r, t->name, at, "the product of its sizes overflows 64 bits");
        }
        shape[i] = (int64_t)size;
    }
    return QX_OK;
}

static enum qx_status read_size(struct reader *r, struct qx_tensor *t, uint64_t at)
{
    uint64_t type;
    int64_t bytes;
    if (!take(r, 4, &type) || !take(r, 8, &t->offset)) {
        return fail_cut(r, "a tensor's entry");
    }
    if (!dtype_of(type, &t->dtype)) {
        return fail_tensor(r, t->name, at,
                           "its type %llu is none of ggml's, or one that ggml gave up; make the "
                           "file again with a newer program",
                           (unsigned long long)type);
    }
    const struct qx_dtype_info *info = qx_dtype_get(t->dtype);
    const int64_t width = t->rank > 0 ? t->shape[t->rank - 1] : 1;
    const int64_t unit = info->block ? info->block : 1;
    const int64_t unit_bytes = info->block ? info->block_bytes : info->bits / 8;
    if (width % unit != 0) {
        return fail_tensor(r, t->name, at, "its rows of %lld do not fill blocks of %lld (%s)",
                           (long long)width, (long long)unit, info->name);
    }
    if (!qx_i64_mul(t->numel / unit, unit_bytes, &bytes)) {
        return fail_tensor(r, t->name, at, "its size in bytes overflows");
    }
    t->bytes = (uint64_t)bytes;
    t->reason = reason_of(t->dtype);
    return QX_OK;
}

static enum qx_status read_tensor(struct reader *r)
{
    const uint64_t start = r->at;
    const char *text;
    uint64_t len;
    struct qx_tensor *t = qx_model_add_tensor(r->m);
    if (!t) {
        return qx_fail_nomem(r->err, sizeof *t);
    }
    if (!take_string(r, &text, &len)) {
        return fail_cut(r, "a tensor's name");
    }
    if (len > MAX_NAME) {
        return fail_file(r, QX_EFORMAT, start,
                         "a tensor's name has %llu bytes; up to %d are possible",
                         (unsigned long long)len, MAX_NAME);
    }
    enum qx_status st = copy_string(r, text, len, start, "a tensor's name", &t->name);
    st = st == QX_OK ? read_shape(r, t, start) : st;
    st = st == QX_OK ? read_size(r, t, start) : st;
    t->file = r->index;
    return st;
}

static enum qx_status read_tensors(struct reader *r, uint64_t n)
{
    enum { LEAST_BYTES = 8 + 4 + 4 + 8 };
    if (n > (r->size - r->at) / LEAST_BYTES) {
        return fail_file(r, QX_EFORMAT, 8,
                         "%llu tensors do not fit into the %llu bytes of the file",
                         (unsigned long long)n, (unsigned long long)r->size);
    }
    enum qx_status st = QX_OK;
    for (uint64_t i = 0; st == QX_OK && i < n; i++) {
        st = read_tensor(r);
    }
    return st;
}

/* ---- the file ---- */

static uint64_t padded(uint64_t n, uint64_t alignment)
{
    return (n + alignment - 1) & ~(alignment - 1);
}

/* Data follow each other in the order of the entries, each padded; then offsets become those of the file. */
static enum qx_status check_layout(struct reader *r)
{
    uint64_t start = padded(r->at, r->alignment), expected = 0;
    struct qx_tensor *t = r->m->tensors + r->first_tensor, *end = r->m->tensors + r->m->n_tensors;
    for (; t < end; t++) {
        if (t->offset != expected) {
            return fail_tensor(r, t->name, r->at,
                               "its data begin at %llu, where %llu is expected: they overlap "
                               "others or leave a hole",
                               (unsigned long long)t->offset, (unsigned long long)expected);
        }
        const uint64_t room = r->size > start ? r->size - start : 0;
        if (t->bytes > room || expected > room - t->bytes) {
            return fail_tensor(r, t->name, r->at,
                               "its %llu bytes of data end past the end of the file: a partial "
                               "download? Fetch the file again",
                               (unsigned long long)t->bytes);
        }
        expected = padded(expected + t->bytes, r->alignment);
        t->offset = t->bytes > 0 || t->offset + start < r->size ? t->offset + start : r->size;
        t->data = t->bytes > 0 ? r->data + t->offset : NULL;
    }
    return QX_OK;
}

static enum qx_status check_names(const struct reader *r)
{
    struct qx_tensor *t = r->m->tensors + r->first_tensor;
    const size_t n = (size_t)(r->m->n_tensors - r->first_tensor);
    if (n > 1) {
        qsort(t, n, sizeof *t, qx_tensor_by_name);
    }
    for (size_t i = 1; i < n; i++) {
        if (strcmp(t[i - 1].name, t[i].name) == 0) {
            return fail_tensor(r, t[i].name, r->at, "the name comes twice");
        }
    }
    return QX_OK;
}

static enum qx_status read_head(struct reader *r, uint64_t *n_tensors, uint64_t *n_pairs)
{
    uint64_t version;
    r->at = 4;
    if (!take(r, 4, &version)) {
        return fail_cut(r, "the header");
    }
    if ((version & 0xffff) == 0) {
        return fail_file(r, QX_EUNSUPPORTED, 4,
                         "it is a big-endian GGUF file; make it again for little-endian machines");
    }
    if (version < 2 || version > 3) {
        return fail_file(r, QX_EUNSUPPORTED, 4,
                         "it is GGUF version %llu; versions 2 and 3 are read, so make it again "
                         "with a %s program",
                         (unsigned long long)version, version < 2 ? "newer" : "current");
    }
    return take(r, 8, n_tensors) && take(r, 8, n_pairs) ? QX_OK : fail_cut(r, "the header");
}

static enum qx_status note_split(struct reader *r)
{
    const char *count = qx_model_metadata(r->m, "split.count");
    const char *part = qx_model_metadata(r->m, "split.no");
    if (!count || strtoull(count, NULL, 10) < 2) {
        return QX_OK;
    }
    r->m->note = qx_arena_printf(
        &r->m->arena,
        "part %llu of %.20s of a split GGUF file: only the tensors of this part are shown",
        part ? strtoull(part, NULL, 10) + 1 : 1, count);
    return r->m->note ? QX_OK : qx_fail_nomem(r->err, 0);
}

static enum qx_status open_file(struct qx_model *m, int file, struct qx_error *err)
{
    struct reader r = {.m = m,
                       .file = m->files[file].path,
                       .data = m->files[file].data,
                       .size = m->files[file].size,
                       .index = file,
                       .first_tensor = m->n_tensors,
                       .err = err};
    uint64_t n_tensors = 0, n_pairs = 0;
    enum qx_status st = read_head(&r, &n_tensors, &n_pairs);
    st = st == QX_OK ? read_pairs(&r, n_pairs) : st;
    st = st == QX_OK ? read_alignment(&r) : st;
    st = st == QX_OK ? read_tensors(&r, n_tensors) : st;
    st = st == QX_OK ? check_layout(&r) : st;
    st = st == QX_OK ? check_names(&r) : st;
    st = st == QX_OK ? note_split(&r) : st;
    if (st == QX_OK) {
        m->hash = qx_hash64(r.data, (size_t)r.at, m->hash);
    }
    return st;
}

const struct qx_io qx_io_gguf = {"GGUF", probe, open_file};

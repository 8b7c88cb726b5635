/* llama.cpp's imatrix.dat: a file of strangers, checked entry by entry. */
#include "qx/imatrix.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

enum { FILE_MOST = 1 << 30, ENTRIES_MOST = 1 << 14, NAME_MOST = 1024 };

struct qx_imatrix {
    struct qx_arena arena;
    int64_t n;
    const char **name;        /* [n] */
    struct qx_importance *of; /* [n] */
    const char *data;
    uint64_t key;
};

struct reader {
    const uint8_t *data;
    size_t at, len;
    const char *file;
    struct qx_imatrix *m;
    struct qx_error *err;
};

static enum qx_status bad(const struct reader *r, const char *what)
{
    return qx_fail_at(r->err, QX_EFORMAT, r->file, NULL, (int64_t)r->at,
                      "%.150s is no imatrix.dat, or a damaged one: %s (at byte %lld)", r->file,
                      what, (long long)r->at);
}

static bool word_read(struct reader *r, int32_t *out)
{
    if (r->len - r->at < sizeof *out) {
        return false;
    }
    const uint8_t *p = r->data + r->at;
    const uint32_t u =
        (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    memcpy(out, &u, sizeof u);
    r->at += sizeof *out;
    return true;
}

/* A length and that many bytes, which hold no NUL. */
static enum qx_status text_read(struct reader *r, const char **out)
{
    int32_t len;
    if (!word_read(r, &len) || len < 1 || len > NAME_MOST || (size_t)len > r->len - r->at) {
        return bad(r, "a name's length is not one");
    }
    char *text = qx_arena_array(&r->m->arena, (size_t)len + 1, 1);
    if (!text) {
        return qx_fail_nomem(r->err, (size_t)len);
    }
    memcpy(text, r->data + r->at, (size_t)len);
    text[len] = '\0';
    if (strlen(text) != (size_t)len) {
        return bad(r, "a name holds a zero byte");
    }
    r->at += (size_t)len;
    *out = text;
    return QX_OK;
}

/* Divided by their mean, so that sums of weighted squares stay in float32's range. */
static void normalize(float *v, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)v[i];
    }
    const double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        v[i] = mean > 0.0 ? (float)((double)v[i] / mean) : 1.0f;
    }
}

static enum qx_status values_read(struct reader *r, struct qx_importance *out)
{
    int32_t calls, n;
    if (!word_read(r, &calls) || !word_read(r, &n) || calls < 1 || n < 1 ||
        (size_t)n > (r->len - r->at) / sizeof(float)) {
        return bad(r, "the counts of calls and values make no entry");
    }
    float *v = qx_arena_array(&r->m->arena, (size_t)n, sizeof *v);
    if (!v) {
        return qx_fail_nomem(r->err, (size_t)n * sizeof *v);
    }
    for (int32_t i = 0; i < n; i++) {
        int32_t bits = 0;
        const bool is_there = word_read(r, &bits);
        memcpy(&v[i], &bits, sizeof bits);
        if (!is_there || !(v[i] >= 0.0f) || isinf(v[i])) {
            return bad(r, "a mean square is negative or no number");
        }
    }
    normalize(v, n);
    const uint64_t key = qx_hash64(v, (size_t)n * sizeof *v, 1);
    *out = (struct qx_importance){key ? key : 1, n, v};
    return QX_OK;
}

static enum qx_status entries_read(struct reader *r)
{
    struct qx_imatrix *m = r->m;
    int32_t n;
    enum qx_status st = QX_OK;
    if (!word_read(r, &n) || n < 1 || n > ENTRIES_MOST || (size_t)n > r->len / 12) {
        return bad(r, "it does not begin with a count of entries");
    }
    m->name = qx_arena_array(&m->arena, (size_t)n, sizeof *m->name);
    m->of = qx_arena_array(&m->arena, (size_t)n, sizeof *m->of);
    if (!m->name || !m->of) {
        return qx_fail_nomem(r->err, (size_t)n * sizeof *m->of);
    }
    for (m->n = 0; st == QX_OK && m->n < n; m->n += st == QX_OK) {
        st = text_read(r, &m->name[m->n]);
        if (st == QX_OK && qx_imatrix_find(m, m->name[m->n])) {
            return bad(r, "a tensor comes twice");
        }
        st = st == QX_OK ? values_read(r, &m->of[m->n]) : st;
        if (st == QX_OK) {
            m->key = qx_hash64(&m->of[m->n].key, sizeof m->key, m->key);
            m->key = qx_hash64(m->name[m->n], strlen(m->name[m->n]), m->key);
        }
    }
    return st;
}

/* What newer files say at the end. */
static enum qx_status tail_read(struct reader *r)
{
    int32_t chunk;
    enum qx_status st = QX_OK;
    if (r->at == r->len) {
        return QX_OK;
    }
    if (!word_read(r, &chunk)) {
        return bad(r, "bytes follow its last entry");
    }
    st = text_read(r, &r->m->data);
    return st == QX_OK && r->at != r->len ? bad(r, "bytes follow its end") : st;
}

enum qx_status qx_imatrix_parse(const void *data, size_t len, const char *file,
                                struct qx_imatrix **out, struct qx_error *err)
{
    struct reader r = {.data = data, .len = len, .file = file, .err = err};
    if (len >= 4 && memcmp(data, "GGUF", 4) == 0) {
        return qx_fail_at(err, QX_EUNSUPPORTED, file, NULL, -1,
                          "%.200s is an imatrix in GGUF, which is not read: write it as "
                          "imatrix.dat (llama-imatrix --output-format dat)",
                          file);
    }
    r.m = qx_mem_zalloc(sizeof *r.m);
    if (!r.m) {
        return qx_fail_nomem(err, sizeof *r.m);
    }
    r.m->data = "";
    enum qx_status st = entries_read(&r);
    st = st == QX_OK ? tail_read(&r) : st;
    if (st != QX_OK) {
        qx_imatrix_free(r.m);
        return st;
    }
    r.m->key = r.m->key ? r.m->key : 1;
    *out = r.m;
    return QX_OK;
}

enum qx_status qx_imatrix_open(const char *path, struct qx_imatrix **out, struct qx_error *err)
{
    char *data = NULL;
    size_t len;
    enum qx_status st = qx_fs_read(path, FILE_MOST, &data, &len, err);
    st = st == QX_OK ? qx_imatrix_parse(data, len, path, out, err) : st;
    qx_mem_free(data);
    return st;
}

void qx_imatrix_free(struct qx_imatrix *m)
{
    if (m) {
        qx_arena_release(&m->arena);
        qx_mem_free(m);
    }
}

int64_t qx_imatrix_n(const struct qx_imatrix *m)
{
    return m->n;
}

const char *qx_imatrix_name(const struct qx_imatrix *m, int64_t i)
{
    return m->name[i];
}

const struct qx_importance *qx_imatrix_at(const struct qx_imatrix *m, int64_t i)
{
    return &m->of[i];
}

const struct qx_importance *qx_imatrix_find(const struct qx_imatrix *m, const char *name)
{
    for (int64_t i = 0; i < m->n; i++) {
        if (strcmp(m->name[i], name) == 0) {
            return &m->of[i];
        }
    }
    return NULL;
}

const char *qx_imatrix_data(const struct qx_imatrix *m)
{
    return m->data;
}

uint64_t qx_imatrix_key(const struct qx_imatrix *m)
{
    return m->key;
}

#include "base/gunzip.h"

#include "base/error.h"
#include "base/mem.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

enum { GZIP_ONLY = 16, FIRST_BYTES = 1 << 16 };

bool qx_is_gzip(const void *data, size_t len)
{
    const unsigned char *p = data;
    return len >= 2 && p[0] == 0x1F && p[1] == 0x8B;
}

/* What comes out, as it grows: a small file that claims to be large takes no memory in advance. */
struct sink {
    char *data;
    size_t len, cap, max;
};

static enum qx_status grow(struct sink *s, const char *path, struct qx_error *err)
{
    if (s->cap == s->max + 1) {
        return qx_fail_at(err, QX_ERANGE, path, NULL, -1, "%s unpacks to more than %zu bytes", path,
                          s->max);
    }
    const size_t cap = s->cap == 0 ? FIRST_BYTES : 2 * s->cap;
    const size_t want = cap < s->max + 1 ? cap : s->max + 1;
    char *data = qx_mem_realloc(s->data, want);
    if (!data) {
        return qx_fail_nomem(err, want);
    }
    s->data = data;
    s->cap = want;
    return QX_OK;
}

/* One call of inflate with all the room there is; *end: of a member. */
static enum qx_status more(z_stream *z, struct sink *s, const char *path, bool *end,
                           struct qx_error *err)
{
    enum qx_status st = s->len + 1 >= s->cap ? grow(s, path, err) : QX_OK;
    if (st != QX_OK) {
        return st;
    }
    const size_t room = s->cap - s->len - 1;
    const uInt given = room < UINT_MAX ? (uInt)room : UINT_MAX;
    z->next_out = (Bytef *)s->data + s->len;
    z->avail_out = given;
    const int got = inflate(z, Z_NO_FLUSH);
    s->len += given - z->avail_out;
    *end = got == Z_STREAM_END;
    if (got == Z_MEM_ERROR) {
        return qx_fail_nomem(err, s->cap);
    }
    return got == Z_OK || *end ? QX_OK
                               : qx_fail_at(err, QX_EFORMAT, path, NULL, (int64_t)z->total_in,
                                            "%s is damaged or cut short: %s; get it anew", path,
                                            z->msg ? z->msg : "it ends within the compressed data");
}

enum qx_status qx_gunzip(const char *path, const void *data, size_t len, size_t max_bytes,
                         char **out, size_t *out_len, struct qx_error *err)
{
    z_stream z = {.next_in = (z_const Bytef *)data};
    struct sink s = {.max = max_bytes};
    bool is_end = false;
    if (len > UINT_MAX) {
        return qx_fail_at(err, QX_ERANGE, path, NULL, -1, "%s is larger than 4 GiB", path);
    }
    z.avail_in = (uInt)len;
    if (inflateInit2(&z, MAX_WBITS + GZIP_ONLY) != Z_OK) {
        return qx_fail_nomem(err, FIRST_BYTES);
    }
    enum qx_status st = QX_OK;
    do {
        st = more(&z, &s, path, &is_end, err);
        if (st == QX_OK && is_end && z.avail_in > 0) {
            is_end = false;
            st = inflateReset(&z) == Z_OK ? QX_OK : qx_fail_nomem(err, FIRST_BYTES);
        }
    } while (st == QX_OK && !is_end);
    (void)inflateEnd(&z);
    if (st != QX_OK) {
        qx_mem_free(s.data);
        return st;
    }
    s.data[s.len] = 0;
    *out = s.data;
    *out_len = s.len;
    return QX_OK;
}

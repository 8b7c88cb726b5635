/* tokenizer.bin of llama2.c: i32 longest token, then for each token f32 score, i32 length, bytes. A text
 * begins with a space that is put there; pairs merge by the score of what they make. */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/unicode.h"

#include <string.h>

/* Ids of the format: 0 unknown, 1 begin, 2 end, then the bytes. */
enum { BEGIN = 1, FIRST_BYTE = 3, N_FIRST = FIRST_BYTE + 256 };

static bool pair_score(const struct qx_tokenizer *t, int32_t left, int32_t right, double *good,
                       int32_t *merged)
{
    char text[512];
    const struct qx_token *a = &t->vocab.tokens[left], *b = &t->vocab.tokens[right];
    if (a->len + b->len > sizeof text) {
        return false;
    }
    memcpy(text, a->text, a->len);
    memcpy(text + a->len, b->text, b->len);
    *merged = qx_vocab_find(&t->vocab, text, a->len + b->len);
    *good = *merged >= 0 ? (double)t->score[*merged] : 0.0;
    return *merged >= 0;
}

static enum qx_status word(const struct qx_tokenizer *t, const char *word, size_t len,
                           struct qx_ids *out, struct qx_error *err)
{
    const int64_t first = out->n;
    const int32_t space = qx_vocab_find(&t->vocab, " ", 1);
    bool is_ok = space < 0 || qx_ids_add(out, space);
    for (size_t at = 0; at < len && is_ok;) {
        uint32_t c;
        const size_t n = qx_utf8_next(word + at, len - at, &c);
        const int32_t id = qx_vocab_find(&t->vocab, word + at, n);
        if (id >= 0) {
            is_ok = qx_ids_add(out, id);
        }
        for (size_t i = 0; id < 0 && i < n && is_ok; i++) {
            is_ok = qx_ids_add(out, FIRST_BYTE + (unsigned char)word[at + i]);
        }
        at += n;
    }
    return is_ok && qx_text_merge(t, pair_score, out, first) ? QX_OK : qx_fail_nomem(err, len);
}

const struct qx_text_model qx_text_llama2c = {.type = "llama2.c", .word = word};

/* A little-endian number at *at, which moves on; false behind the end. */
static bool number(const char *data, size_t len, size_t *at, void *out)
{
    if (len - *at < 4) {
        return false;
    }
    memcpy(out, data + *at, 4);
    *at += 4;
    return true;
}

enum qx_status qx_text_llama2c_read(struct qx_tokenizer *t, const char *data, size_t len,
                                    struct qx_error *err)
{
    size_t at = 0;
    int32_t longest = 0, n_bytes = 0;
    int64_t id = 0, cap = 0;
    float score;
    if (!number(data, len, &at, &longest) || longest < 1 || longest > 256) {
        return qx_fail_at(err, QX_EFORMAT, t->path, NULL, 0,
                          "%s is no tokenizer of llama2.c: its longest token has %d bytes", t->path,
                          longest);
    }
    while (at < len) {
        const size_t start = at;
        if (!number(data, len, &at, &score) || !number(data, len, &at, &n_bytes) || n_bytes < 0 ||
            n_bytes > longest || (size_t)n_bytes > len - at || id == QX_TOKEN_MAX) {
            return qx_fail_at(err, QX_EFORMAT, t->path, NULL, (int64_t)start,
                              "%s: token %lld at byte %zu does not fit the file", t->path,
                              (long long)id, start);
        }
        if (id == cap) {
            cap = cap ? cap * 2 : 1024;
            float *more = qx_mem_realloc(t->score, (size_t)cap * sizeof *more);
            if (!more) {
                return qx_fail_nomem(err, (size_t)cap * sizeof *more);
            }
            t->score = more;
        }
        if (!qx_vocab_add(&t->vocab, data + at, (size_t)n_bytes, id)) {
            return qx_fail_nomem(err, (size_t)n_bytes);
        }
        t->vocab.tokens[id].is_special = id < FIRST_BYTE;
        t->score[id++] = score;
        at += (size_t)n_bytes;
    }
    if (id < N_FIRST) {
        return qx_fail(err, QX_EFORMAT, "%s holds %lld tokens: at least %d are needed", t->path,
                       (long long)id, N_FIRST);
    }
    t->kind = "llama2.c";
    t->model = &qx_text_llama2c;
    return qx_ids_add(&t->before, BEGIN) ? QX_OK : qx_fail_nomem(err, sizeof(int32_t));
}

/* The unigram language model of SentencePiece (Kudo, arXiv 1804.10959), as XLM-R has it: of all ways to
 * cut a word into tokens, the one with the largest sum of scores (log probabilities), found by Viterbi's
 * algorithm. A character that begins no token of its own length costs 10 more than the worst token and is
 * unknown; neighbours among those are one unknown token, or tokens of their bytes. */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0

/* ---- the vocabulary: [["token", score], ...], and its tokens in order ---- */

static enum qx_status entry_read(struct qx_tokenizer *t, const struct qx_jval *v, int64_t id,
                                 struct qx_buf *bytes, struct qx_error *err)
{
    const char *text = qx_jstr(qx_jat(v, 0), NULL);
    const double score = qx_jnum(qx_jat(v, 1), NAN);
    size_t len = text ? strlen(text) : 0;
    if (!text || !isfinite(score)) {
        return qx_fail(err, QX_EFORMAT, "%s: entry %lld of the vocabulary is no token with a score",
                       t->path, (long long)id);
    }
    bytes->len = 0;
    if (t->is_bytes && qx_text_letters_to_bytes(text, len, bytes) && !bytes->oom) {
        text = bytes->data ? bytes->data : "";
        len = bytes->len;
    }
    if (bytes->oom || !qx_vocab_add(&t->vocab, text, len, id)) {
        return qx_fail_nomem(err, len);
    }
    t->unigram.score[id] = score;
    t->unigram.unknown_score = fmin(t->unigram.unknown_score, score - UNKNOWN_PENALTY);
    return QX_OK;
}

static int by_bytes(const void *a, const void *b)
{
    const struct qx_piece *x = a, *y = b;
    const uint32_t n = x->len < y->len ? x->len : y->len;
    const int order = memcmp(x->text, y->text, n);
    return order != 0 ? order : x->len != y->len ? (x->len < y->len ? -1 : 1) : x->id - y->id;
}

static enum qx_status vocabulary_read(struct qx_tokenizer *t, const struct qx_jval *list,
                                      struct qx_error *err)
{
    const size_t n = qx_jis_array(list) ? qx_jlen(list) : 0;
    struct qx_buf bytes = {0};
    enum qx_status st = QX_OK;
    int64_t id = 0;
    if (n == 0 || n > QX_TOKEN_MAX) {
        return qx_fail(err, QX_EFORMAT, "%s has no vocabulary", t->path);
    }
    t->unigram.score = qx_mem_array(n, sizeof *t->unigram.score);
    t->unigram.pieces = qx_mem_array(n, sizeof *t->unigram.pieces);
    if (!t->unigram.score || !t->unigram.pieces) {
        return qx_fail_nomem(err, n * sizeof *t->unigram.pieces);
    }
    for (const struct qx_jval *v = qx_jfirst(list); v && st == QX_OK; v = qx_jnext(v)) {
        st = entry_read(t, v, id++, &bytes, err);
    }
    qx_buf_release(&bytes);
    for (int64_t i = 0; st == QX_OK && i < id; i++) {
        const struct qx_token *token = &t->vocab.tokens[i];
        if (token->len > 0) {
            t->unigram.pieces[t->unigram.n++] =
                (struct qx_piece){token->text, token->len, (int32_t)i};
        }
    }
    qsort(t->unigram.pieces, (size_t)t->unigram.n, sizeof *t->unigram.pieces, by_bytes);
    return st;
}

static enum qx_status open(struct qx_tokenizer *t, const struct qx_jval *v, struct qx_error *err)
{
    int64_t unknown = -1;
    t->kind = "Unigram";
    const enum qx_status st = vocabulary_read(t, qx_jget(v, "vocab"), err);
    const struct qx_jval *id = qx_jget(v, "unk_id");
    if (st == QX_OK && id && !qx_jis_null(id) &&
        (!qx_jint(id, &unknown) || unknown < 0 || unknown >= t->vocab.n)) {
        return qx_fail(err, QX_EFORMAT, "%s: unk_id is no entry of the vocabulary", t->path);
    }
    t->unknown = (int32_t)unknown;
    qx_text_bytes_find(t);
    t->bpe.has_bytes = t->bpe.has_bytes && qx_jbool(qx_jget(v, "byte_fallback"), false);
    return st;
}

/* ---- the best cut ---- */

struct place {
    double score; /* of the best way to cut what lies before */
    size_t from;  /* where its last token begins */
    int32_t id;   /* that token; -1: an unknown character; NOT_REACHED */
    /* Of places on the best way: */
    int32_t next; /* the token that begins here */
    size_t to;    /* where it ends */
};
enum { NOT_REACHED = -2 };

static void reach(struct place *p, size_t from, double score, int32_t id)
{
    if (p->id == NOT_REACHED || score > p->score) {
        *p = (struct place){.score = score, .from = from, .id = id};
    }
}

/* First piece of [lo, hi), which agree on their first k bytes, whose byte k is at least `byte`. */
static int64_t first_with(const struct qx_piece *pieces, int64_t lo, int64_t hi, size_t k, int byte)
{
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        const struct qx_piece *p = &pieces[mid];
        if (p->len <= k || (unsigned char)p->text[k] < byte) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* All tokens that begin at word[at], and the character there, whose length is `step`, as unknown when no
 * token is just it. */
static void extend(const struct qx_tokenizer *t, const char *word, size_t len, size_t at,
                   size_t step, struct place *places)
{
    const struct qx_piece *pieces = t->unigram.pieces;
    const double here = places[at].score;
    bool has_single = false;
    int64_t lo = 0, hi = t->unigram.n;
    for (size_t k = 0; at + k < len && lo < hi; k++) {
        const int byte = (unsigned char)word[at + k];
        lo = first_with(pieces, lo, hi, k, byte);
        hi = first_with(pieces, lo, hi, k, byte + 1);
        if (lo < hi && pieces[lo].len == k + 1) {
            reach(&places[at + k + 1], at, here + t->unigram.score[pieces[lo].id], pieces[lo].id);
            has_single = has_single || k + 1 == step;
        }
    }
    if (!has_single) {
        reach(&places[at + step], at, here + t->unigram.unknown_score, -1);
    }
}

static enum qx_status unknown_add(const struct qx_tokenizer *t, const char *text, size_t len,
                                  struct qx_ids *out, struct qx_error *err)
{
    bool is_ok = true;
    if (!t->bpe.has_bytes && t->unknown < 0) {
        return qx_fail(err, QX_EDATA,
                       "the tokenizer has no token for '%.*s' and none for what is unknown",
                       (int)(len < 40 ? len : 40), text);
    }
    for (size_t i = 0; t->bpe.has_bytes && i < len && is_ok; i++) {
        is_ok = qx_ids_add(out, t->bpe.byte[(unsigned char)text[i]]);
    }
    if (!t->bpe.has_bytes) {
        is_ok = qx_ids_add(out, t->unknown);
    }
    return is_ok ? QX_OK : qx_fail_nomem(err, len);
}

static enum qx_status collect(const struct qx_tokenizer *t, const char *word, size_t len,
                              struct place *places, struct qx_ids *out, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (size_t at = len; at > 0; at = places[at].from) {
        places[places[at].from].next = places[at].id;
        places[places[at].from].to = at;
    }
    for (size_t at = 0, end; at < len && st == QX_OK; at = end) {
        end = places[at].to;
        if (places[at].next >= 0) {
            st = qx_ids_add(out, places[at].next) ? QX_OK : qx_fail_nomem(err, len);
            continue;
        }
        while (end < len && places[end].next < 0) {
            end = places[end].to;
        }
        st = unknown_add(t, word + at, end - at, out, err);
    }
    return st;
}

static enum qx_status word(const struct qx_tokenizer *t, const char *word, size_t len,
                           struct qx_ids *out, struct qx_error *err)
{
    struct place *places = qx_mem_array(len + 1, sizeof *places);
    if (!places) {
        return qx_fail_nomem(err, (len + 1) * sizeof *places);
    }
    for (size_t i = 0; i <= len; i++) {
        places[i].id = NOT_REACHED;
    }
    places[0] = (struct place){0};
    for (size_t at = 0, step; at < len; at += step) {
        uint32_t c;
        step = t->is_bytes ? 1 : qx_utf8_next(word + at, len - at, &c);
        extend(t, word, len, at, step, places);
    }
    const enum qx_status st = collect(t, word, len, places, out, err);
    qx_mem_free(places);
    return st;
}

const struct qx_text_model qx_text_unigram = {
    .type = "Unigram", .has_own_vocabulary = true, .open = open, .word = word};

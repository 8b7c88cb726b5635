/* Byte-pair encoding (Sennrich et al., arXiv 1508.07909): over bytes (Radford et al. 2019) or over
 * characters, with a token for each byte where a character has none (Kudo and Richardson,
 * arXiv 1808.06226). */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/unicode.h"

#include <stdio.h>
#include <string.h>

/* ---- pairs ---- */

static struct qx_merge_slot *slot_of(const struct qx_tokenizer *t, int32_t left, int32_t right)
{
    const uint64_t mask = (uint64_t)t->bpe.n_slots - 1;
    const int32_t pair[2] = {left, right};
    uint64_t i = qx_hash64(pair, sizeof pair, 1) & mask;
    while (t->bpe.slots[i].left >= 0 &&
           (t->bpe.slots[i].left != left || t->bpe.slots[i].right != right)) {
        i = (i + 1) & mask;
    }
    return &t->bpe.slots[i];
}

static bool pair_rank(const struct qx_tokenizer *t, int32_t left, int32_t right, double *good,
                      int32_t *merged)
{
    const struct qx_merge_slot *s = slot_of(t, left, right);
    *good = -(double)s->rank;
    *merged = s->merged;
    return s->left >= 0;
}

/* The token of a merge's half, as the vocabulary has it. */
static int32_t half(const struct qx_tokenizer *t, const char *text, size_t len, struct qx_buf *key)
{
    const size_t from = key->len;
    if (!t->is_bytes || !qx_text_letters_to_bytes(text, len, key)) {
        key->len = from;
        qx_buf_add(key, text, len);
    }
    return key->oom ? -1 : qx_vocab_find(&t->vocab, key->data + from, key->len - from);
}

static enum qx_status merge_read(struct qx_tokenizer *t, const struct qx_jval *v, int32_t rank,
                                 struct qx_buf *key, struct qx_error *err)
{
    const char *a = qx_jstr(qx_jis_array(v) ? qx_jat(v, 0) : v, NULL), *b = NULL;
    size_t a_len = 0;
    if (a && qx_jis_array(v)) {
        b = qx_jstr(qx_jat(v, 1), NULL);
        a_len = strlen(a);
    } else if (a && (b = strchr(a, ' ')) != NULL) {
        a_len = (size_t)(b - a);
        b++;
    }
    if (!b) {
        return qx_fail(err, QX_EFORMAT, "%s: merge %d is no pair of tokens", t->path, rank);
    }
    key->len = 0;
    const int32_t left = half(t, a, a_len, key), right = half(t, b, strlen(b), key);
    const int32_t merged = key->oom ? -1 : qx_vocab_find(&t->vocab, key->data, key->len);
    if (key->oom) {
        return qx_fail_nomem(err, a_len + strlen(b));
    }
    if (left < 0 || right < 0 || merged < 0) {
        return qx_fail(err, QX_EFORMAT,
                       "%s: merge %d ('%.30s' and '%.30s') names no tokens of the vocabulary",
                       t->path, rank, a, b);
    }
    struct qx_merge_slot *s = slot_of(t, left, right);
    if (s->left < 0) {
        *s = (struct qx_merge_slot){left, right, rank, merged};
    }
    return QX_OK;
}

static enum qx_status merges_read(struct qx_tokenizer *t, const struct qx_jval *list,
                                  struct qx_error *err)
{
    const size_t n = qx_jlen(list);
    t->bpe.n_slots = 64;
    while ((size_t)t->bpe.n_slots < n * 2) {
        t->bpe.n_slots *= 2;
    }
    t->bpe.slots = qx_mem_array((size_t)t->bpe.n_slots, sizeof *t->bpe.slots);
    if (!t->bpe.slots) {
        return qx_fail_nomem(err, (size_t)t->bpe.n_slots * sizeof *t->bpe.slots);
    }
    for (int64_t i = 0; i < t->bpe.n_slots; i++) {
        t->bpe.slots[i].left = -1;
    }
    struct qx_buf key = {0};
    enum qx_status st = QX_OK;
    int32_t rank = 0;
    for (const struct qx_jval *v = qx_jfirst(list); v && st == QX_OK; v = qx_jnext(v)) {
        st = merge_read(t, v, rank++, &key, err);
    }
    qx_buf_release(&key);
    return st;
}

void qx_text_bytes_find(struct qx_tokenizer *t)
{
    t->bpe.has_bytes = true;
    for (int i = 0; i < 256; i++) {
        char text[8] = {(char)i};
        size_t len = 1;
        if (!t->is_bytes) {
            len = (size_t)snprintf(text, sizeof text, "<0x%02X>", i);
        }
        t->bpe.byte[i] = qx_vocab_find(&t->vocab, text, len);
        t->bpe.has_bytes = t->bpe.has_bytes && t->bpe.byte[i] >= 0;
    }
}

static enum qx_status open(struct qx_tokenizer *t, const struct qx_jval *v, struct qx_error *err)
{
    const char *end = qx_jstr(qx_jget(v, "end_of_word_suffix"), "");
    const char *more = qx_jstr(qx_jget(v, "continuing_subword_prefix"), "");
    const char *unknown = qx_jstr(qx_jget(v, "unk_token"), NULL);
    if (end[0] || more[0]) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "%s: a BPE whose tokens carry '%.20s' is not read; give token ids instead "
                       "(eval.safetensors with input_ids)",
                       t->path, end[0] ? end : more);
    }
    t->kind = t->is_bytes ? "byte-level BPE" : "BPE";
    t->unknown = unknown ? qx_vocab_find(&t->vocab, unknown, strlen(unknown)) : -1;
    t->bpe.fuses_unknown = qx_jbool(qx_jget(v, "fuse_unk"), false);
    t->bpe.ignores_merges = qx_jbool(qx_jget(v, "ignore_merges"), false);
    qx_text_bytes_find(t);
    if (!t->is_bytes && !qx_jbool(qx_jget(v, "byte_fallback"), false)) {
        t->bpe.has_bytes = false;
    }
    return merges_read(t, qx_jget(v, "merges"), err);
}

/* ---- words ---- */

/* The tokens of one character, before merging. 1: added; 0: it has none and was dropped; -1: no memory. */
static int char_add(const struct qx_tokenizer *t, const char *c, size_t n, bool *was_unknown,
                    struct qx_ids *out)
{
    const int32_t id = qx_vocab_find(&t->vocab, c, n);
    const bool is_fused = *was_unknown && t->bpe.fuses_unknown;
    *was_unknown = false;
    if (id >= 0) {
        return qx_ids_add(out, id) ? 1 : -1;
    }
    if (t->bpe.has_bytes) {
        for (size_t i = 0; i < n; i++) {
            if (!qx_ids_add(out, t->bpe.byte[(unsigned char)c[i]])) {
                return -1;
            }
        }
        return 1;
    }
    *was_unknown = true;
    if (t->unknown < 0 || is_fused) {
        return 0;
    }
    return qx_ids_add(out, t->unknown) ? 1 : -1;
}

static enum qx_status word(const struct qx_tokenizer *t, const char *word, size_t len,
                           struct qx_ids *out, struct qx_error *err)
{
    const int64_t first = out->n;
    const int32_t whole = t->bpe.ignores_merges ? qx_vocab_find(&t->vocab, word, len) : -1;
    if (whole >= 0) {
        return qx_ids_add(out, whole) ? QX_OK : qx_fail_nomem(err, len);
    }
    bool was_unknown = false;
    for (size_t at = 0; at < len;) {
        uint32_t c;
        const size_t n = t->is_bytes ? 1 : qx_utf8_next(word + at, len - at, &c);
        if (char_add(t, word + at, n, &was_unknown, out) < 0) {
            return qx_fail_nomem(err, len);
        }
        at += n;
    }
    return qx_text_merge(t, pair_rank, out, first) ? QX_OK : qx_fail_nomem(err, len);
}

const struct qx_text_model qx_text_bpe = {.type = "BPE", .open = open, .word = word};

/* ---- merging: a list of tokens, a heap of pairs ---- */

struct node {
    int32_t id, before, after; /* -1: none; id -1: merged into the one before */
};
struct candidate {
    double good;
    int32_t at, left, right, merged; /* stale when the tokens have changed */
};
struct merger {
    const struct qx_tokenizer *t;
    qx_pair_fn *pair;
    struct node *nodes;
    struct candidate *heap;
    int64_t n;
};

static bool is_better(const struct candidate *a, const struct candidate *b)
{
    return a->good > b->good || (a->good == b->good && a->at < b->at);
}

static void heap_push(struct merger *m, int32_t at)
{
    struct candidate c = {.at = at};
    if (at < 0 || m->nodes[at].after < 0) {
        return;
    }
    c.left = m->nodes[at].id;
    c.right = m->nodes[m->nodes[at].after].id;
    if (!m->pair(m->t, c.left, c.right, &c.good, &c.merged)) {
        return;
    }
    int64_t i = m->n++;
    for (; i > 0 && is_better(&c, &m->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        m->heap[i] = m->heap[(i - 1) / 2];
    }
    m->heap[i] = c;
}

static struct candidate heap_pop(struct merger *m)
{
    const struct candidate top = m->heap[0], last = m->heap[--m->n];
    int64_t i = 0;
    for (int64_t k = 1; k < m->n; k = 2 * i + 1) {
        k += k + 1 < m->n && is_better(&m->heap[k + 1], &m->heap[k]);
        if (!is_better(&m->heap[k], &last)) {
            break;
        }
        m->heap[i] = m->heap[k];
        i = k;
    }
    m->heap[i] = last;
    return top;
}

bool qx_text_merge(const struct qx_tokenizer *t, qx_pair_fn *pair, struct qx_ids *ids,
                   int64_t first)
{
    const int64_t n = ids->n - first;
    if (n < 2) {
        return true;
    }
    /* every merge takes one pair out and puts at most two in: 3n candidates in all */
    struct merger m = {.t = t,
                       .pair = pair,
                       .nodes = qx_mem_array((size_t)n, sizeof *m.nodes),
                       .heap = qx_mem_array((size_t)n, 3 * sizeof *m.heap)};
    const bool is_ok = m.nodes && m.heap && n < INT32_MAX;
    for (int32_t i = 0; is_ok && i < n; i++) {
        m.nodes[i] = (struct node){ids->id[first + i], i - 1, i + 1 < n ? i + 1 : -1};
    }
    for (int32_t i = 0; is_ok && i < n; i++) {
        heap_push(&m, i);
    }
    while (is_ok && m.n > 0) {
        const struct candidate c = heap_pop(&m);
        struct node *left = &m.nodes[c.at];
        if (left->id != c.left || left->after < 0 || m.nodes[left->after].id != c.right) {
            continue;
        }
        struct node *right = &m.nodes[left->after];
        left->id = c.merged;
        left->after = right->after;
        right->id = -1;
        if (left->after >= 0) {
            m.nodes[left->after].before = c.at;
        }
        heap_push(&m, left->before);
        heap_push(&m, c.at);
    }
    if (is_ok) {
        ids->n = first;
        for (int32_t i = 0; i >= 0; i = m.nodes[i].after) {
            ids->id[ids->n++] = m.nodes[i].id;
        }
    }
    qx_mem_free(m.nodes);
    qx_mem_free(m.heap);
    return is_ok;
}

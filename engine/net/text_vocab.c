/* Token <-> id: an array of texts, and a hash table of ids. */
#include "net/text.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

static int64_t slot_of(const struct qx_vocab *v, const char *text, size_t len)
{
    const uint64_t mask = (uint64_t)v->n_slots - 1;
    uint64_t i = qx_hash64(text, len, 0) & mask;
    while (v->slots[i] >= 0) {
        const struct qx_token *t = &v->tokens[v->slots[i]];
        if (t->len == len && memcmp(t->text, text, len) == 0) {
            break;
        }
        i = (i + 1) & mask;
    }
    return (int64_t)i;
}

static bool table_grow(struct qx_vocab *v)
{
    const int64_t n = v->n_slots ? v->n_slots * 2 : 1024;
    int32_t *slots = qx_mem_array((size_t)n, sizeof *slots);
    if (!slots) {
        return false;
    }
    for (int64_t i = 0; i < n; i++) {
        slots[i] = -1;
    }
    int32_t *old = v->slots;
    const int64_t n_old = v->n_slots;
    v->slots = slots;
    v->n_slots = n;
    for (int64_t i = 0; i < n_old; i++) {
        if (old[i] >= 0) {
            const struct qx_token *t = &v->tokens[old[i]];
            slots[slot_of(v, t->text, t->len)] = old[i];
        }
    }
    qx_mem_free(old);
    return true;
}

static bool tokens_grow(struct qx_vocab *v, int64_t n)
{
    int64_t cap = v->cap ? v->cap : 1024;
    while (cap < n) {
        cap *= 2;
    }
    if (cap > v->cap) {
        struct qx_token *more = qx_mem_realloc(v->tokens, (size_t)cap * sizeof *more);
        if (!more) {
            return false;
        }
        memset(more + v->cap, 0, (size_t)(cap - v->cap) * sizeof *more);
        v->tokens = more;
        v->cap = cap;
    }
    v->n = n > v->n ? n : v->n;
    return true;
}

bool qx_vocab_add(struct qx_vocab *v, const char *text, size_t len, int64_t id)
{
    if ((v->n_used + 1) * 2 > v->n_slots && !table_grow(v)) {
        return false;
    }
    char *copy = qx_arena_strndup(&v->arena, text, len);
    if (!copy || !tokens_grow(v, id + 1)) {
        return false;
    }
    const int64_t slot = slot_of(v, text, len);
    v->tokens[id] = (struct qx_token){.text = copy, .len = (uint32_t)len};
    if (v->slots[slot] < 0) {
        v->slots[slot] = (int32_t)id;
        v->n_used++;
    }
    return true;
}

int32_t qx_vocab_find(const struct qx_vocab *v, const char *text, size_t len)
{
    return v->n_slots ? v->slots[slot_of(v, text, len)] : -1;
}

void qx_vocab_release(struct qx_vocab *v)
{
    qx_arena_release(&v->arena);
    qx_mem_free(v->tokens);
    qx_mem_free(v->slots);
    *v = (struct qx_vocab){0};
}

bool qx_ids_add(struct qx_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        const int64_t cap = ids->cap ? ids->cap * 2 : 64;
        int32_t *more = qx_mem_realloc(ids->id, (size_t)cap * sizeof *more);
        if (!more) {
            return false;
        }
        ids->id = more;
        ids->cap = cap;
    }
    ids->id[ids->n++] = id;
    return true;
}

void qx_ids_release(struct qx_ids *ids)
{
    qx_mem_free(ids->id);
    *ids = (struct qx_ids){0};
}

size_t qx_words_n(const struct qx_words *w)
{
    return w->spans.len / sizeof(struct qx_span);
}

const char *qx_words_at(const struct qx_words *w, size_t i, size_t *len)
{
    struct qx_span span;
    memcpy(&span, w->spans.data + i * sizeof span, sizeof span);
    *len = span.len;
    return w->text.data + span.from;
}

void qx_words_add(struct qx_words *w, const char *text, size_t len)
{
    if (len > 0) {
        const struct qx_span span = {w->text.len, len};
        qx_buf_add(&w->spans, &span, sizeof span);
        qx_buf_add(&w->text, text, len);
    }
}

void qx_words_release(struct qx_words *w)
{
    qx_buf_release(&w->text);
    qx_buf_release(&w->spans);
}

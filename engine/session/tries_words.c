/* What a language model makes of a typed text: it goes on with it. */
#include "session/tries.h"

#include "qx/json.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

void qx_said_release(struct qx_said *s)
{
    qx_ids_release(&s->ids);
    qx_free_text(s->text);
    *s = (struct qx_said){0};
}

/* The text of prompt and n tokens more, without the prompt's own. Spaces and accents may depend on what
 * stands before, so both are decoded as a whole. */
static enum qx_status text_behind(const struct qx_tokenizer *t, const int32_t *all,
                                  int64_t n_prompt, int64_t n, char **out, struct qx_error *err)
{
    char *head = NULL, *whole = NULL;
    enum qx_status st = qx_tokenizer_decode(t, all, n_prompt, &head, err);
    if (st == QX_OK) {
        st = qx_tokenizer_decode(t, all, n_prompt + n, &whole, err);
    }
    if (st == QX_OK) {
        const size_t len = strlen(head);
        if (strncmp(whole, head, len) == 0) {
            memmove(whole, whole + len, strlen(whole + len) + 1);
        } else {
            qx_free_text(whole);
            whole = NULL;
            st = qx_tokenizer_decode(t, all + n_prompt, n, &whole, err);
        }
    }
    qx_free_text(head);
    if (st == QX_OK) {
        *out = whole;
    } else {
        qx_free_text(whole);
    }
    return st;
}

/* New ids behind the prompt in all[n_prompt + most]; *n of them. */
static enum qx_status steps_run(struct qx_decode *d, struct qx_sampler *sampler,
                                const struct qx_net *net, int32_t *all, int64_t n_prompt,
                                int64_t most, struct qx_ctl *ctl, int64_t *n, bool *is_ended,
                                struct qx_error *err)
{
    enum qx_status st = qx_decode_feed(d, all, n_prompt, ctl, err);
    for (*n = 0; st == QX_OK && *n < most; ++*n) {
        const int32_t id = qx_sampler_next(sampler, qx_decode_logits(d));
        if (qx_net_ends_text(net, id)) {
            *is_ended = true;
            break;
        }
        all[n_prompt + *n] = id;
        qx_ctl_add(ctl, 1);
        if (*n + 1 < most) {
            st = qx_decode_feed(d, &id, 1, ctl, err);
        }
    }
    return st;
}

enum qx_status qx_said_make(const struct qx_net *net, const struct qx_weights *w,
                            const struct qx_tokenizer *t, const struct qx_ids *prompt,
                            const struct qx_try_options *o, struct qx_pool *pool,
                            struct qx_ctl *ctl, struct qx_said *out, struct qx_error *err)
{
    const int64_t room = qx_decode_context_max(net) - prompt->n;
    const int64_t most = o->n_tokens < room ? o->n_tokens : room;
    struct qx_decode *d = NULL;
    struct qx_sampler *sampler = NULL;
    struct qx_said said = {0};
    int64_t n = 0;
    int32_t *all = qx_mem_array((size_t)(prompt->n + most), sizeof *all);
    enum qx_status st = all ? QX_OK : qx_fail_nomem(err, (size_t)(prompt->n + most) * sizeof *all);
    if (st == QX_OK) {
        memcpy(all, prompt->id, (size_t)prompt->n * sizeof *all);
        st = qx_sampler_new(&o->sampling, qx_net_n_classes(net), &sampler, err);
    }
    if (st == QX_OK) {
        st = qx_decode_open(net, w, prompt->n + most, pool, &d, err);
    }
    if (st == QX_OK) {
        st = steps_run(d, sampler, net, all, prompt->n, most, ctl, &n, &said.is_ended, err);
    }
    if (st == QX_OK) {
        st = text_behind(t, all, prompt->n, n, &said.text, err);
    }
    qx_decode_close(&d);
    qx_sampler_free(sampler);
    if (st != QX_OK) {
        qx_mem_free(all);
        return st;
    }
    memmove(all, all + prompt->n, (size_t)n * sizeof *all);
    said.ids = (struct qx_ids){all, n, prompt->n + most};
    *out = said;
    return QX_OK;
}

/* Bytes of text that the first n_same tokens make. */
static size_t same_bytes(const struct qx_tokenizer *t, const struct qx_try_slot *slot,
                         const struct qx_said *s)
{
    const int64_t n = slot->ids.n + s->n_same;
    char *text = NULL;
    int32_t *all = qx_mem_array((size_t)n, sizeof *all);
    if (!all) {
        return 0;
    }
    memcpy(all, slot->ids.id, (size_t)slot->ids.n * sizeof *all);
    memcpy(all + slot->ids.n, s->ids.id, (size_t)s->n_same * sizeof *all);
    size_t bytes = 0;
    if (text_behind(t, all, slot->ids.n, s->n_same, &text, NULL) == QX_OK) {
        while (text[bytes] && text[bytes] == s->text[bytes]) {
            bytes++;
        }
    }
    qx_free_text(text);
    qx_mem_free(all);
    return bytes;
}

void qx_said_compare(const struct qx_tokenizer *t, struct qx_try_slot *slot)
{
    const struct qx_said *fp32 = &slot->said[QX_WHICH_FP32];
    for (int w = 0; w < QX_TRY_WHICH; w++) {
        struct qx_said *s = &slot->said[w];
        if (!s->text || !fp32->text) {
            continue;
        }
        s->n_same = 0;
        while (s->n_same < s->ids.n && s->n_same < fp32->ids.n &&
               s->ids.id[s->n_same] == fp32->ids.id[s->n_same]) {
            s->n_same++;
        }
        s->same_bytes = s->n_same == s->ids.n ? strlen(s->text) : same_bytes(t, slot, s);
    }
}

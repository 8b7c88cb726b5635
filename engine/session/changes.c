#include "session/changes.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/json.h"
#include "session/session_impl.h"

enum { BEFORE_TOKENS = 24 };

/* What is compared, as an order needs it; NULL while it is not measured. */
static const struct qx_eval_result *side_of(struct qx_session *s, enum qx_change_order order,
                                            enum qx_which which)
{
    if (order == QX_CHANGES_ANSWERS) {
        return qx_session_result(s, which);
    }
    const struct qx_beside *b = qx_session_beside(s, which);
    const bool is_plain = b && !b->recipe && b->agreement.n == 0;
    return is_plain ? qx_session_result(s, QX_WHICH_FP32) : b ? b->recipe : NULL;
}

bool qx_session_changes(struct qx_session *s, enum qx_change_order order, struct qx_changes *out)
{
    const struct qx_eval_result *a = side_of(s, order, QX_WHICH_A);
    const struct qx_eval_result *b = side_of(s, order, QX_WHICH_B);
    if (!a || !b) {
        return false;
    }
    const uint64_t parts[2] = {s->measure.key_a, s->measure.key_b};
    const uint64_t key = qx_hash64(parts, sizeof parts, 1);
    struct qx_eval_change *v = s->changes.of[order].v;
    int64_t *n = &s->changes.of[order].n;
    if (key != s->changes.of[order].key) {
        s->changes.of[order].key = 0;
        *n = 0; /* float32 beside itself: nothing is far */
        const bool is_same = order == QX_CHANGES_KL && !a->kl && !b->kl;
        if (!is_same && qx_eval_changes(a, b, order, QX_CHANGES, v, n, NULL) != QX_OK) {
            return false;
        }
        s->changes.of[order].key = key;
    }
    *out = (struct qx_changes){*n, v};
    return true;
}

/* ---- what a row says ---- */

/* The ids of a row, padding left out; of a token those before it. ids [places + 1 or BEFORE_TOKENS]. */
static bool ids_of(const struct qx_session *s, int64_t row, int32_t *ids, int64_t *n)
{
    const int64_t places = qx_net_sample_size(s->net);
    if (qx_net_is_words(s->net)) {
        return qx_dataset_before(s->data, row, BEFORE_TOKENS, ids, n, NULL) == QX_OK;
    }
    float *x = qx_mem_array((size_t)places + 1, sizeof *x);
    const bool is_read = x && qx_dataset_read(s->data, row, 1, x, NULL) == QX_OK;
    *n = 0;
    for (int64_t i = 0; is_read && i < places; i++) {
        ids[*n] = (int32_t)x[i];
        *n += x[i] >= 0.0f;
    }
    qx_mem_free(x);
    return is_read;
}

bool qx_session_row_text(struct qx_session *s, int64_t row, char *text, size_t cap)
{
    char *all = NULL;
    int64_t n = 0;
    if (!s->data || qx_session_try_check(s, NULL) != QX_OK) {
        return false;
    }
    const int64_t places = qx_net_sample_size(s->net);
    int32_t *ids = qx_mem_array((size_t)places + BEFORE_TOKENS, sizeof *ids);
    const bool is_text = ids && ids_of(s, row, ids, &n) &&
                         qx_tokenizer_decode(s->tries.tokenizer, ids, n, &all, NULL) == QX_OK;
    if (is_text) {
        qx_str_copy(text, cap, all);
    }
    qx_free_text(all);
    qx_mem_free(ids);
    return is_text;
}

/* Attention as in ONNX opset 23, on sequences: q [T N, heads d], k and v [T N, kv_heads d]. A place sees
 * all places of its sequence, or (is_causal) those up to itself, of them the last `window` (0: all), as in
 * Mistral; each key and value head serves consecutive query heads. Of a sequence that goes on, those that
 * came before are seen too. */
#include "op.h"

#include "base/error.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { HEADS, KV_HEADS, CAUSAL, SCALE, WINDOW, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [HEADS] =
        {.name = "q_num_heads", .type = QX_ATTR_INT, .min = 1, .max = 65536, .is_required = true},
    [KV_HEADS] =
        {.name = "kv_num_heads", .type = QX_ATTR_INT, .min = 1, .max = 65536, .is_required = true},
    [CAUSAL] = {.name = "is_causal", .type = QX_ATTR_INT, .max = 1},
    [SCALE] = {.name = "scale", .type = QX_ATTR_FLOAT},
    [WINDOW] = {.name = "window", .type = QX_ATTR_INT, .max = INT64_C(1) << 31}};

static enum qx_status attention_shape(const struct qx_infer *g, struct qx_error *err)
{
    struct qx_node *node = g->node;
    for (int i = 0; i < 3; i++) {
        enum qx_status st = qx_op_sequence(node, i, err);
        if (st != QX_OK) {
            return st;
        }
    }
    const struct qx_shape *q = &node->in[0]->shape, *k = &node->in[1]->shape;
    const int64_t heads = node->attr[HEADS].i, kv = node->attr[KV_HEADS].i;
    const int64_t d = q->dim[1] / heads;
    if (node->attr[WINDOW].i > 0 && !node->attr[CAUSAL].i) {
        return qx_fail(err, QX_EFORMAT, "a window is for causal attention");
    }
    if (d * heads != q->dim[1] || heads % kv != 0 || k->dim[1] != kv * d ||
        !qx_shape_equal(k, &node->in[2]->shape)) {
        return qx_fail(
            err, QX_EFORMAT,
            "%lld heads over %lld values and %lld key heads over %lld and %lld values do not fit",
            (long long)heads, (long long)q->dim[1], (long long)kv, (long long)k->dim[1],
            (long long)node->in[2]->shape.dim[1]);
    }
    node->out->shape = *q;
    node->macs = 2 * q->dim[0] * q->dim[0] * q->dim[1];
    return QX_OK;
}

static int64_t attention_scratch(const struct qx_node *node, const struct qx_room *room)
{
    return qxk_attention_scratch(room->longest, node->in[0]->shape.dim[1] / node->attr[HEADS].i);
}

/* The new keys and values behind those that came before. */
static void remember(const struct qx_run *r)
{
    const int64_t n = r->in_shape[1].dim[0], width = r->in_shape[1].dim[1];
    const size_t bytes = (size_t)(n * width) * sizeof(float);
    memcpy(r->kv->k + r->past * width, r->in[1], bytes);
    memcpy(r->kv->v + r->past * width, r->in[2], bytes);
}

static float scale_of(const struct qx_attr *attr, int64_t d)
{
    return attr[SCALE].is_given ? (float)attr[SCALE].f : (float)(1.0 / sqrt((double)d));
}

/* One place behind `past` others: the heads that share keys are queries of one call, which lie d apart. */
static void place_run(const struct qxk_attention *heads, int64_t share, int64_t past,
                      int64_t window)
{
    struct qxk_attention a = *heads;
    const int64_t n_k = past + 1, first = window > 0 && n_k > window ? n_k - window : 0;
    a.n_q = share;
    a.n_k = n_k - first;
    a.seen = 0;
    a.ld_q = a.d;
    a.k += first * a.ld_kv;
    a.v += first * a.ld_kv;
    qxk_get()->attention(&a);
}

/* One head over one sequence. Queries that do not see the first key any more go one by one, each with the
 * keys of its own window. */
static void head_run(const struct qxk_attention *head, int64_t past, int64_t window)
{
    struct qxk_attention a = *head;
    const int64_t n = a.n_q, whole = window > past ? window - past : 0;
    a.n_q = window == 0 || n < whole ? n : whole;
    a.n_k = past + a.n_q;
    if (a.n_q > 0) {
        qxk_get()->attention(&a);
    }
    for (int64_t i = a.n_q; i < n; i++) {
        struct qxk_attention one = *head;
        one.q += i * one.ld_q;
        one.out += i * one.ld_q;
        place_run(&one, 1, past + i, window);
    }
}

static enum qx_status attention(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const struct qx_attr *attr = r->node->attr;
    const int64_t heads = attr[HEADS].i, share = heads / attr[KV_HEADS].i;
    struct qxk_attention a = {.d = r->in_shape[0].dim[1] / heads,
                              .ld_q = r->in_shape[0].dim[1],
                              .ld_kv = r->in_shape[1].dim[1],
                              .seen = attr[CAUSAL].i ? 1 + r->past : 0,
                              .scratch = r->scratch};
    const float *keys = r->kv ? r->kv->k : r->in[1], *values = r->kv ? r->kv->v : r->in[2];
    if (r->kv) {
        remember(r);
    }
    a.scale = scale_of(attr, a.d);
    for (int64_t row = 0; row < r->rows; row++) {
        const int64_t first = r->start[row];
        a.n_q = r->start[row + 1] - first;
        for (int64_t i = 0; i < heads; i += a.n_q == 1 ? share : 1) {
            const int64_t at = first * a.ld_q + i * a.d, at_kv = first * a.ld_kv + i / share * a.d;
            a.q = r->in[0] + at;
            a.k = keys + at_kv;
            a.v = values + at_kv;
            a.out = r->out + at;
            if (a.n_q == 1) {
                place_run(&a, share, r->past, attr[WINDOW].i);
            } else {
                head_run(&a, r->past, attr[WINDOW].i);
            }
        }
    }
    return QX_OK;
}

/* ---- backwards: the scores are computed again, some queries at a time ---- */

enum { QUERIES = 64 };

static int64_t attention_back_scratch(const struct qx_node *node, const struct qx_room *room)
{
    (void)node;
    return 2 * QUERIES * room->longest;
}

/* One head over one sequence of n places; d_* NULL = not wanted. */
struct head {
    const float *q, *k, *v, *d_out;
    float *d_q, *d_k, *d_v;
    float *p, *d_p; /* [QUERIES][n] */
    int64_t n, d, ld_q, ld_kv, window;
    float scale;
    bool is_causal;
};

/* p = softmax(scale q k'), of m queries over the keys that the last of them sees. */
static void scores_again(const struct head *h, int64_t first, int64_t m, int64_t keys)
{
    qxk_sgemm(0, 1, m, keys, h->d, 1.0f, h->q + first * h->ld_q, h->ld_q, h->k, h->ld_kv, 0.0f,
              h->p, keys);
    for (int64_t i = 0; i < m; i++) {
        float *p = h->p + i * keys;
        const int64_t seen = h->is_causal ? first + i + 1 : keys;
        const int64_t from = h->window > 0 && seen > h->window ? seen - h->window : 0;
        qxk_get()->softmax(p + from, seen - from, h->scale, NULL, p + from);
        memset(p, 0, (size_t)from * sizeof *p);
        memset(p + seen, 0, (size_t)(keys - seen) * sizeof *p);
    }
}

/* With y = p v: d_p = d_y v', and through the soft maximum p (d_p - sum(p d_p)). */
static void queries_back(const struct head *h, int64_t first, int64_t m)
{
    const int64_t keys = h->is_causal ? first + m : h->n, at = first * h->ld_q;
    scores_again(h, first, m, keys);
    qxk_sgemm(0, 1, m, keys, h->d, 1.0f, h->d_out + at, h->ld_q, h->v, h->ld_kv, 0.0f, h->d_p,
              keys);
    if (h->d_v) {
        qxk_sgemm(1, 0, keys, h->d, m, 1.0f, h->p, keys, h->d_out + at, h->ld_q, 1.0f, h->d_v,
                  h->ld_kv);
    }
    for (int64_t i = 0; i < m; i++) {
        const float *p = h->p + i * keys;
        float *d_p = h->d_p + i * keys;
        double sum = 0.0;
        for (int64_t j = 0; j < keys; j++) {
            sum += (double)p[j] * (double)d_p[j];
        }
        for (int64_t j = 0; j < keys; j++) {
            d_p[j] = p[j] * (d_p[j] - (float)sum);
        }
    }
    if (h->d_q) {
        qxk_sgemm(0, 0, m, h->d, keys, h->scale, h->d_p, keys, h->k, h->ld_kv, 1.0f, h->d_q + at,
                  h->ld_q);
    }
    if (h->d_k) {
        qxk_sgemm(1, 0, keys, h->d, m, h->scale, h->d_p, keys, h->q + at, h->ld_q, 1.0f, h->d_k,
                  h->ld_kv);
    }
}

static float *offset(float *p, int64_t by)
{
    return p ? p + by : NULL;
}

static void attention_back(const struct qx_back *b)
{
    const struct qx_run *r = b->run;
    const struct qx_attr *attr = r->node->attr;
    const int64_t heads = attr[HEADS].i, share = heads / attr[KV_HEADS].i;
    const int64_t longest = r->node->in[0]->shape.dim[0], d = r->in_shape[0].dim[1] / heads;
    struct head h = {.d = d,
                     .ld_q = r->in_shape[0].dim[1],
                     .ld_kv = r->in_shape[1].dim[1],
                     .p = b->scratch,
                     .d_p = b->scratch + QUERIES * longest,
                     .scale = scale_of(attr, d),
                     .window = attr[WINDOW].i,
                     .is_causal = attr[CAUSAL].i != 0};
    for (int64_t row = 0; row < r->rows; row++) {
        h.n = r->start[row + 1] - r->start[row];
        for (int64_t i = 0; i < heads; i++) {
            const int64_t at = r->start[row] * h.ld_q + i * d;
            const int64_t at_kv = r->start[row] * h.ld_kv + i / share * d;
            h.q = r->in[0] + at;
            h.k = r->in[1] + at_kv;
            h.v = r->in[2] + at_kv;
            h.d_out = b->d_out + at;
            h.d_q = offset(b->d_in[0], at);
            h.d_k = offset(b->d_in[1], at_kv);
            h.d_v = offset(b->d_in[2], at_kv);
            for (int64_t first = 0; first < h.n; first += QUERIES) {
                const int64_t left = h.n - first;
                queries_back(&h, first, left < QUERIES ? left : QUERIES);
            }
        }
    }
}

const struct qx_op qx_op_attention = {.name = "Attention",
                                      .min_in = 3,
                                      .max_in = 3,
                                      .attrs = attrs,
                                      .n_attrs = N_ATTRS,
                                      .takes_places = true,
                                      .reads_places = true,
                                      .weight = -1,
                                      .shape = attention_shape,
                                      .scratch = attention_scratch,
                                      .forward = attention,
                                      .backward = attention_back,
                                      .back_scratch = attention_back_scratch};

/* P: the rows that are predicted on, their float32 logits, and what other logits say against them. */
#include "eval/predict_impl.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "eval/places.h"
#include "eval/score.h"

#include <math.h>
#include <string.h>

static double row_mean(const float *z, int n)
{
    double sum = 0.0;
    for (int c = 0; c < n; c++) {
        sum += (double)z[c];
    }
    return sum / n;
}

void qx_centre(const float *z, int64_t n, int n_classes, float *out)
{
    for (int64_t i = 0; i < n; i++, z += n_classes, out += n_classes) {
        const float mean = (float)row_mean(z, n_classes);
        for (int c = 0; c < n_classes; c++) {
            out[c] = z[c] - mean;
        }
    }
}

double qx_logit(double p, double n)
{
    const double q = (n * p + 0.5) / (n + 1.0);
    return log(q / (1.0 - q));
}

/* The maximum in eight lanes first: compilers make vectors of that. Then its place. */
int qx_top_of(const float *z, int n)
{
    enum { LANES = 8 };
    float lane[LANES], most = z[0];
    int i = 0;
    for (int k = 0; k < LANES; k++) {
        lane[k] = most;
    }
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            lane[k] = z[i + k] > lane[k] ? z[i + k] : lane[k];
        }
    }
    for (int k = 0; k < LANES; k++) {
        most = lane[k] > most ? lane[k] : most;
    }
    for (; i < n; i++) {
        most = z[i] > most ? z[i] : most;
    }
    for (i = 0; i + 1 < n && z[i] != most; i++) {
    }
    return i;
}

/* (exp(d) - 1) / d for |d| < 0.5: Taylor; what is left out is below 1e-9. */
static inline float expm1_over(float d)
{
    float y = 1.0f + d / 9.0f;
    for (int k = 8; k >= 2; k--) {
        y = 1.0f + y * d * (1.0f / (float)k);
    }
    return y;
}

/* KL(p0 || q) = log sum p0 exp(d) - sum p0 d with d = z - z0: small changes lose no digits in it. Where
 * some d is large, the plain sum p0 (log p0 - log q). */
double qx_kl_row(const struct qx_predict_base *base, int64_t row, const float *z, float shift,
                 int label, double *log_q)
{
    enum { BLOCK = 64 };
    const int n = base->n_classes;
    const float *z0 = base->z0 + row * n, *p0 = base->p0 + row * n, *l0 = base->log_p0 + row * n;
    float most = 0.0f, top = z[0];
    for (int c = 0; c < n; c++) {
        const float d = fabsf(z[c] - shift - z0[c]);
        most = d > most ? d : most;
        top = z[c] > top ? z[c] : top;
    }
    double kl = 0.0, sum = 0.0;
    if (most < 0.5f) {
        for (int first = 0; first < n; first += BLOCK) {
            float grown[BLOCK], moved[BLOCK];
            const int m = BLOCK < n - first ? BLOCK : n - first;
            for (int c = 0; c < m; c++) {
                const float d = z[first + c] - shift - z0[first + c];
                moved[c] = p0[first + c] * d;
                grown[c] = moved[c] * expm1_over(d);
            }
            for (int c = 0; c < m; c++) {
                sum += (double)grown[c];
                kl -= (double)moved[c];
            }
        }
        const double log_sum = log1p(sum);
        *log_q = label < 0 ? 0.0 : (double)(l0[label] + (z[label] - shift - z0[label])) - log_sum;
        return fmax(kl + log_sum, 0.0);
    }
    for (int c = 0; c < n; c++) {
        sum += (double)expf(z[c] - top);
    }
    const double lse = (double)top + log(sum);
    for (int c = 0; c < n; c++) {
        kl += (double)p0[c] * ((double)l0[c] - ((double)z[c] - lse));
    }
    *log_q = label < 0 ? 0.0 : (double)z[label] - lse;
    return fmax(kl, 0.0);
}

void qx_predict_compare(const struct qx_predict_base *base, const float *z,
                        struct qx_predict_truth *out)
{
    const int n_classes = base->n_classes;
    const double n = (double)base->n;
    double kl = 0.0, log_q = 0.0, row_q;
    int64_t right = 0, same = 0;
    for (int64_t i = 0; i < base->n; i++) {
        const float *zi = z + i * n_classes;
        kl += qx_kl_row(base, i, zi, (float)row_mean(zi, n_classes),
                        base->labels ? base->labels[i] : -1, &row_q);
        log_q += row_q;
        const int top = qx_top_of(zi, base->n_tops);
        same += top == base->top[i];
        right += base->labels && top == base->labels[i];
    }
    out->kl = kl / n;
    out->same_top = (double)same / n;
    out->accuracy = base->labels ? (double)right / n : NAN;
    out->ce = base->labels ? -log_q / n : NAN;
}

/* ---- what goes with the class and its lead ---- */

static const double ridge = 4.0; /* rows that say "nothing": README.md */

/* The end of the run of rows that begins at order[first]. */
static int64_t run_end(const struct qx_predict_base *b, int64_t first)
{
    int64_t end = first;
    while (end < b->n && b->top[b->order[end]] == b->top[b->order[first]]) {
        end++;
    }
    return end;
}

/* Rows by class, ascending, and the leads within their classes. */
static void base_classes(struct qx_predict_base *b)
{
    int64_t n = 0;
    double sum = 0.0, sum_sq = 0.0;
    for (int k = 0; k < b->n_tops; k++) {
        for (int64_t i = 0; i < b->n; i++) {
            if (b->top[i] == k) {
                b->order[n++] = (int32_t)i;
            }
        }
    }
    for (int64_t i = 0; i < b->n; i++) {
        b->lead[i] = qx_score_margin(b->z0 + i * b->n_classes, b->n_tops, b->top[i]);
        sum += (double)b->lead[i];
        sum_sq += (double)b->lead[i] * (double)b->lead[i];
    }
    const double rows = (double)b->n, var = sum_sq / rows - sum / rows * sum / rows;
    const double spread = var > 0.0 ? sqrt(var) : 1.0;
    for (int64_t i = 0, end; i < b->n; i = end) {
        double mean = 0.0;
        end = run_end(b, i);
        for (int64_t k = i; k < end; k++) {
            mean += (double)b->lead[b->order[k]] / (double)(end - i);
        }
        for (int64_t k = i; k < end; k++) {
            float *lead = &b->lead[b->order[k]];
            *lead = (float)(((double)*lead - mean) / spread);
        }
    }
}

void qx_base_systematic(const struct qx_predict_base *b, const float *r, double *work, float *out)
{
    const int n = b->n_classes;
    for (int64_t i = 0, end; i < b->n; i = end) {
        double rows = ridge, leads_sq = ridge, *level = work, *slope = work + n;
        end = run_end(b, i);
        memset(work, 0, 2 * (size_t)n * sizeof *work);
        for (int64_t k = i; k < end; k++) {
            const float *row = r + (int64_t)b->order[k] * n;
            const double lead = (double)b->lead[b->order[k]];
            for (int c = 0; c < n; c++) {
                level[c] += (double)row[c];
                slope[c] += lead * (double)row[c];
            }
            rows += 1.0;
            leads_sq += lead * lead;
        }
        for (int64_t k = i; k < end; k++) {
            float *row = out + (int64_t)b->order[k] * n;
            const double lead = (double)b->lead[b->order[k]] / leads_sq;
            for (int c = 0; c < n; c++) {
                row[c] = (float)(level[c] / rows + lead * slope[c]);
            }
        }
    }
}

static enum qx_status base_alloc(const struct qx_base_parts *p, struct qx_predict_base **out,
                                 struct qx_error *err)
{
    const size_t n = (size_t)p->n;
    size_t bytes;
    struct qx_predict_base *b = qx_mem_zalloc(sizeof *b);
    if (!b || !qx_size_mul(n, (size_t)p->n_classes * sizeof(float), &bytes)) {
        qx_mem_free(b);
        return qx_fail_nomem(err, sizeof *b);
    }
    atomic_init(&b->refs, 1);
    b->n = p->n;
    b->n_classes = b->n_tops = p->n_classes;
    b->width = p->vectors ? p->width : p->n_classes;
    b->rows = qx_mem_array(n, sizeof *b->rows);
    b->labels = p->labels ? qx_mem_array(n, sizeof *b->labels) : NULL;
    b->z0 = qx_mem_alloc(bytes);
    b->log_p0 = qx_mem_alloc(bytes);
    b->p0 = qx_mem_alloc(bytes);
    b->v0 = p->vectors ? qx_mem_array(n, (size_t)p->width * sizeof *b->v0) : b->z0;
    b->top = qx_mem_array(n, sizeof *b->top);
    b->mean = qx_mem_zalloc((size_t)b->width * sizeof *b->mean);
    b->order = qx_mem_array(n, sizeof *b->order);
    b->lead = qx_mem_array(n, sizeof *b->lead);
    if (!b->rows || (p->labels && !b->labels) || !b->z0 || !b->log_p0 || !b->p0 || !b->v0 ||
        !b->top || !b->mean || !b->order || !b->lead) {
        qx_predict_base_unref(b);
        return qx_fail_nomem(err, bytes);
    }
    *out = b;
    return QX_OK;
}

/* What float32 has on top, and what it says of the labels. */
static void base_tops(struct qx_predict_base *b)
{
    double sum = 0.0;
    b->n_right = 0;
    for (int64_t i = 0; i < b->n; i++) {
        b->top[i] = qx_top_of(b->z0 + i * b->n_classes, b->n_tops);
        b->n_right += b->labels && b->labels[i] == b->top[i];
        sum -= b->labels ? (double)b->log_p0[i * b->n_classes + b->labels[i]] : 0.0;
    }
    b->ce = b->labels ? sum / (double)b->n : NAN;
    base_classes(b);
}

/* Means of what is composed, and sum (v0 - mean)^2 */
static void base_spread(struct qx_predict_base *b)
{
    for (int c = 0; c < b->width; c++) {
        double sum = 0.0;
        for (int64_t i = 0; i < b->n; i++) {
            sum += (double)b->v0[i * b->width + c];
        }
        b->mean[c] = (float)(sum / (double)b->n);
    }
    for (int64_t i = 0; i < b->n * b->width; i++) {
        const double d = (double)(b->v0[i] - b->mean[i % b->width]);
        b->sq_dev += d * d;
    }
}

static void base_fill(struct qx_predict_base *b)
{
    const int n_classes = b->n_classes;
    for (int64_t i = 0; i < b->n; i++) {
        const float *row = b->z0 + i * n_classes;
        double sum = 0.0;
        const double top = (double)row[qx_top_of(row, n_classes)];
        for (int c = 0; c < n_classes; c++) {
            sum += exp((double)row[c] - top);
        }
        for (int c = 0; c < n_classes; c++) {
            const double log_p = (double)row[c] - top - log(sum);
            b->log_p0[i * n_classes + c] = (float)log_p;
            b->p0[i * n_classes + c] = (float)exp(log_p);
        }
    }
    base_tops(b);
    base_spread(b);
    b->id = qx_hash64(b->z0, (size_t)(b->n * n_classes) * sizeof *b->z0, (uint64_t)n_classes);
}

static enum qx_status check(const struct qx_base_parts *p, struct qx_error *err)
{
    if (p->n < 1 || p->n_classes < 2) {
        return qx_fail(err, QX_ERANGE,
                       "a prediction needs at least 1 row and 2 classes, not %lld and %d",
                       (long long)p->n, p->n_classes);
    }
    for (int64_t i = 0; i < p->n; i++) {
        for (int c = 0; c < p->n_classes; c++) {
            if (!isfinite(p->z[i * p->n_classes + c])) {
                return qx_fail(err, QX_EDATA,
                               "the network's float32 answer to row %lld is not finite, so nothing "
                               "can be predicted from it: measuring (qexplore eval) names the "
                               "tensor that is to blame",
                               (long long)i);
            }
        }
        if (p->labels && (p->labels[i] < 0 || p->labels[i] >= p->n_classes)) {
            return qx_fail(err, QX_ERANGE, "row %lld has the label %d of %d classes", (long long)i,
                           p->labels[i], p->n_classes);
        }
    }
    return QX_OK;
}

enum qx_status qx_base_make(const struct qx_base_parts *p, struct qx_predict_base **out,
                            struct qx_error *err)
{
    struct qx_predict_base *b = NULL;
    enum qx_status st = check(p, err);
    if (st == QX_OK) {
        st = base_alloc(p, &b, err);
    }
    if (st != QX_OK) {
        return st;
    }
    for (int64_t i = 0; i < p->n; i++) {
        b->rows[i] = p->rows ? p->rows[i] : i;
    }
    if (p->labels) {
        memcpy(b->labels, p->labels, (size_t)p->n * sizeof *p->labels);
    }
    if (p->is_centred) {
        memcpy(b->z0, p->z, (size_t)(p->n * p->n_classes) * sizeof *p->z);
    } else {
        qx_centre(p->z, p->n, p->n_classes, b->z0);
    }
    if (p->vectors) {
        memcpy(b->v0, p->vectors, (size_t)(p->n * p->width) * sizeof *p->vectors);
    }
    base_fill(b);
    *out = b;
    return QX_OK;
}

enum qx_status qx_predict_base_new(const float *z, const int32_t *labels, const int64_t *rows,
                                   int64_t n, int n_classes, struct qx_predict_base **out,
                                   struct qx_error *err)
{
    const struct qx_base_parts parts = {
        .z = z, .labels = labels, .rows = rows, .n = n, .n_classes = n_classes};
    return qx_base_make(&parts, out, err);
}

enum qx_status qx_base_of_places(const struct qx_places *p, const float *z,
                                 struct qx_predict_base **out, struct qx_error *err)
{
    struct qx_predict_base *b = NULL;
    const struct qx_base_parts parts = {.z = z,
                                        .labels = p->labels,
                                        .rows = p->rows,
                                        .n = p->n,
                                        .n_classes = p->n_classes,
                                        .vectors = p->embeddings,
                                        .width = qx_net_n_classes(p->net)};
    const enum qx_status st = qx_base_make(&parts, &b, err);
    if (st == QX_OK) {
        b->is_words = p->is_words;
        b->n_tops = p->n_tops;
        base_tops(b);
        *out = b;
    }
    return st;
}

struct qx_predict_base *qx_predict_base_ref(const struct qx_predict_base *base)
{
    struct qx_predict_base *b = (struct qx_predict_base *)base;
    atomic_fetch_add(&b->refs, 1);
    return b;
}

void qx_predict_base_unref(struct qx_predict_base *base)
{
    if (base && atomic_fetch_sub(&base->refs, 1) == 1) {
        qx_mem_free(base->rows);
        qx_mem_free(base->labels);
        qx_mem_free(base->v0 != base->z0 ? base->v0 : NULL);
        qx_mem_free(base->z0);
        qx_mem_free(base->log_p0);
        qx_mem_free(base->p0);
        qx_mem_free(base->top);
        qx_mem_free(base->mean);
        qx_mem_free(base->order);
        qx_mem_free(base->lead);
        qx_mem_free(base);
    }
}

int64_t qx_predict_base_n(const struct qx_predict_base *base)
{
    return base->n;
}

int qx_predict_base_n_classes(const struct qx_predict_base *base)
{
    return base->n_classes;
}

const int64_t *qx_predict_base_rows(const struct qx_predict_base *base)
{
    return base->rows;
}

int qx_predict_base_top(const struct qx_predict_base *base, int64_t i)
{
    return base->top[i];
}

bool qx_predict_base_has_labels(const struct qx_predict_base *base)
{
    return base->labels != NULL;
}

double qx_predict_base_accuracy(const struct qx_predict_base *base)
{
    return base->labels ? (double)base->n_right / (double)base->n : NAN;
}

void qx_predict_leads_of(const struct qx_predict_base *base, const float *z, float *lead)
{
    for (int64_t i = 0; i < base->n; i++) {
        lead[i] = qx_score_margin(z + i * base->n_classes, base->n_tops, base->top[i]);
    }
}

void qx_predict_leads(const struct qx_predict_base *base, const float *z, struct qx_lead *out)
{
    const int n = base->n_classes;
    for (int64_t i = 0; i < base->n; i++) {
        out[i] = (struct qx_lead){.row = base->rows[i],
                                  .label = -1,
                                  .top0 = base->top[i],
                                  .top = qx_top_of(z + i * n, base->n_tops),
                                  .before =
                                      qx_score_margin(base->z0 + i * n, base->n_tops, base->top[i]),
                                  .now = qx_score_margin(z + i * n, base->n_tops, base->top[i])};
    }
}

bool qx_predict_base_is_words(const struct qx_predict_base *base)
{
    return base->is_words;
}

double qx_predict_base_ce(const struct qx_predict_base *base)
{
    return base->ce;
}

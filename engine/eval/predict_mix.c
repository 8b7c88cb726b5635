/* The composition of one recipe (prediction.md 3.3), kept as running sums:
 *
 *   G = prod_p max(gamma_p, 1e-3)     D_m = sum_p (b_p + h_p + eps_m,p (r_p - h_p)) / gamma_p^a
 *   z_m[n] = G z0[n] + G^a D_m[n]     m = 0: all eps = +1; m = 1..M: random signs, fixed by the seed
 *
 * h_p is what of the residual goes with float32's class and its lead (qx_base_systematic): that sites have
 * in common, or not, as it is; only what is left is noise whose sign could as well be the other one.
 *
 * Of an encoder without a classifier z0 are unit vectors, and the logits are the similarities of what comes
 * out: products of two vectors each, which do not add where several sites change both. All signs are + there:
 * a turned sign would be another vector, but no other noise of the similarities.
 *
 * What a site adds shrinks with the gains of the other sites, but less than the signal does: batch
 * normalization and static ranges keep noise as large as it was. a = 1 would be the plain product;
 * eval/README.md says how 0.8 was found. D_m is what is kept; an edit replaces its layer's terms. */
#include "eval/predict_impl.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "eval/similarity.h"

#include <math.h>
#include <string.h>

enum { MEMBERS = 8, MEMBERS_MOST = 64, EDITS_MOST = 256, ODDS_ONE = 1 << 30 };

static const double gain_least = 1e-3;
static const double term_power = 0.8; /* a */
/* Terms over a gain as small as this are so large that taking them out leaves their rounding errors. */
static const double gain_rebuild = 0.05;

struct qx_predict_mix {
    struct qx_predict_table *table;
    int members;
    int64_t n;
    int n_classes, n_layers, n_edits;
    int width;                       /* of what is composed */
    struct qx_predict_layer *change; /* [n_layers] */
    struct qx_piece *pieces;         /* [n_layers * QX_PIECES] */
    uint64_t *signs;                 /* [n_layers * QX_PIECES] bit m-1: eps_m,p = -1 */
    int *missing;                    /* [n_layers] sites */
    double *site_kl;                 /* [n_layers * QX_SITE_COUNT] NaN: not computed */
    int n_sums;
    float *s;             /* [n_sums, n, width] D_m; the last: all eps = -1 */
    float *plus, *minus;  /* [n, width] terms of an edit with eps = +1, -1 */
    float *work, *turned; /* [n_classes] */
    float *vectors;       /* [n, width] of an encoder without a classifier; else NULL, as is */
    float *similar;       /* [n, n_classes] */
    float scratch[QX_PIECE_SCRATCH];
    double *b;            /* [width] */
    double *regression;   /* [2 n_classes] work */
    double fp32_accuracy; /* on E; 0: that on P */
    double share;         /* of E's rows that are P's */
    uint32_t *odds;   /* [n, n_classes] of each class to be right, times ODDS_ONE: whole numbers,
                             so that equal rows give equal shares. NULL: not asked for */
    double accuracy0; /* mean odds of float32's class */
};

/* Language models are judged by the probability of their tokens: no accuracy is expected. */
static bool has_odds(const struct qx_predict_base *base)
{
    return base->labels && !base->is_words;
}

static double gain_of(const struct qx_piece *p)
{
    return fmax(p->gamma, gain_least);
}

static double gain_all(const struct qx_predict_mix *x)
{
    double g = 1.0;
    for (int p = 0; p < x->n_layers * QX_PIECES; p++) {
        g *= gain_of(&x->pieces[p]);
    }
    return g;
}

/* The terms b / gamma^a and r / gamma^a of pieces gather in b and plus. */
static void terms_clear(struct qx_predict_mix *x)
{
    memset(x->plus, 0, (size_t)(x->n * x->width) * sizeof *x->plus);
    memset(x->b, 0, (size_t)x->width * sizeof *x->b);
}

static void terms_add(struct qx_predict_mix *x, const struct qx_piece *p, double sign)
{
    const double scale = sign / pow(gain_of(p), term_power);
    qx_piece_residual(p, scale, x->plus, x->scratch);
    qx_piece_shift(p, scale, x->b);
}

/* plus = b + r, minus = b + h - (r - h) */
static void terms_finish(struct qx_predict_mix *x)
{
    if (x->minus) {
        qx_base_systematic(x->table->base, x->plus, x->regression, x->minus);
    }
    for (int64_t i = 0; i < x->n * x->width; i += x->width) {
        for (int c = 0; c < x->width; c++) {
            const float r = x->plus[i + c], b = (float)x->b[c];
            x->plus[i + c] = b + r;
            if (x->minus) {
                x->minus[i + c] = b + 2.0f * x->minus[i + c] - r;
            }
        }
    }
}

static bool is_minus(const struct qx_predict_mix *x, int member, int piece)
{
    return member > x->members || (member > 0 && (x->signs[piece] >> (member - 1) & 1));
}

static void sums_add(struct qx_predict_mix *x, int piece)
{
    const int64_t cells = x->n * x->width;
    terms_finish(x);
    for (int m = 0; m < x->n_sums; m++) {
        const float *d = is_minus(x, m, piece) ? x->minus : x->plus;
        float *s = x->s + m * cells;
        for (int64_t i = 0; i < cells; i++) {
            s[i] += d[i];
        }
    }
}

/* From zero: running sums drift. */
static void rebuild(struct qx_predict_mix *x)
{
    memset(x->s, 0, (size_t)(x->n_sums * x->n * x->width) * sizeof *x->s);
    for (int p = 0; p < x->n_layers * QX_PIECES; p++) {
        if (x->pieces[p].lo) {
            terms_clear(x);
            terms_add(x, &x->pieces[p], 1.0);
            sums_add(x, p);
        }
    }
    x->n_edits = 0;
}

static void refit(struct qx_predict_mix *x)
{
    for (int l = 0; l < x->n_layers; l++) {
        x->missing[l] = qx_pieces_of(x->table, l, &x->change[l], x->pieces + (size_t)l * QX_PIECES);
        x->site_kl[l * QX_SITE_COUNT] = x->site_kl[l * QX_SITE_COUNT + 1] = NAN;
    }
    rebuild(x);
}

/* ---- what the labels may be ---- */

/* Mean of the largest softmax(z0 / t). */
static double expected(const struct qx_predict_base *base, double t)
{
    double sum = 0.0;
    for (int64_t i = 0; i < base->n; i++) {
        const float *z = base->z0 + i * base->n_classes;
        const double top = z[base->top[i]];
        double all = 0.0;
        for (int c = 0; c < base->n_classes; c++) {
            all += exp(((double)z[c] - top) / t);
        }
        sum += 1.0 / all;
    }
    return sum / (double)base->n;
}

/* odds = share [c is the label] + (1 - share) softmax(z0 / t)_c */
static void odds_fill(struct qx_predict_mix *x, double t)
{
    const struct qx_predict_base *base = x->table->base;
    const int n = base->n_classes;
    int64_t right = 0;
    for (int64_t i = 0; i < base->n; i++) {
        const float *z = base->z0 + i * n;
        const double top = z[base->top[i]];
        double all = 0.0;
        for (int c = 0; c < n; c++) {
            all += exp(((double)z[c] - top) / t);
        }
        for (int c = 0; c < n; c++) {
            const double p = exp(((double)z[c] - top) / t) / all;
            const double is_label = c == base->labels[i];
            x->odds[i * n + c] =
                (uint32_t)rint((x->share * is_label + (1.0 - x->share) * p) * ODDS_ONE);
        }
        right += x->odds[i * n + base->top[i]];
    }
    x->accuracy0 = (double)right / ((double)base->n * ODDS_ONE);
}

/* A few hundred labels bring their own chance into a small drop, and P may be easier or harder than E.
 * float32's probabilities stand in for them, at the temperature (Guo et al., arXiv 1706.04599) at which
 * they expect its accuracy on those rows of E that are not P's. */
static void odds_make(struct qx_predict_mix *x)
{
    if (!x->odds) {
        return;
    }
    const struct qx_predict_base *base = x->table->base;
    const double on_p = qx_predict_base_accuracy(base);
    const double on_e = x->fp32_accuracy > 0.0 ? x->fp32_accuracy : on_p;
    const double want = x->share < 1.0 ? (on_e - x->share * on_p) / (1.0 - x->share) : on_p;
    double cold = 0.05, hot = 20.0; /* the mean falls with t */
    for (int i = 0; i < 60; i++) {
        const double t = sqrt(cold * hot);
        *(expected(base, t) > want ? &cold : &hot) = t;
    }
    odds_fill(x, sqrt(cold * hot));
}

void qx_predict_mix_expect(struct qx_predict_mix *x, double fp32_accuracy, double share)
{
    const double held = fmin(fmax(share, 0.0), 1.0);
    if (x->fp32_accuracy != fp32_accuracy || x->share != held) {
        x->fp32_accuracy = fp32_accuracy;
        x->share = held;
        odds_make(x);
    }
}

static bool arrays_alloc(struct qx_predict_mix *x)
{
    const struct qx_predict_base *base = x->table->base;
    const bool is_similar = qx_base_is_similarities(base);
    const size_t layers = (size_t)x->n_layers + 1, pieces = layers * QX_PIECES;
    const size_t n = (size_t)x->n, cells = n * (size_t)x->width;
    x->change = qx_mem_zalloc(layers * sizeof *x->change);
    x->pieces = qx_mem_zalloc(pieces * sizeof *x->pieces);
    x->signs = qx_mem_zalloc(pieces * sizeof *x->signs);
    x->missing = qx_mem_zalloc(layers * sizeof *x->missing);
    x->site_kl = qx_mem_zalloc(layers * QX_SITE_COUNT * sizeof *x->site_kl);
    x->s = qx_mem_array(cells, (size_t)x->n_sums * sizeof *x->s);
    x->plus = qx_mem_array(cells, sizeof *x->plus);
    x->minus = is_similar ? NULL : qx_mem_array(cells, sizeof *x->minus);
    x->vectors = is_similar ? qx_mem_array(cells, sizeof *x->vectors) : NULL;
    x->similar = is_similar ? qx_mem_array(n, (size_t)x->n_classes * sizeof *x->similar) : NULL;
    x->work = qx_mem_array((size_t)x->n_classes, sizeof *x->work);
    x->turned = qx_mem_array((size_t)x->n_classes, sizeof *x->turned);
    x->b = qx_mem_zalloc((size_t)x->width * sizeof *x->b);
    x->regression = qx_mem_array((size_t)x->n_classes, 2 * sizeof *x->regression);
    x->odds = has_odds(base) ? qx_mem_array(cells, sizeof *x->odds) : NULL;
    return x->change && x->pieces && x->signs && x->missing && x->site_kl && x->s && x->plus &&
           (is_similar ? x->vectors && x->similar : x->minus != NULL) && x->work && x->turned &&
           x->b && x->regression && (x->odds || !has_odds(base));
}

enum qx_status qx_predict_mix_new(const struct qx_predict_table *table,
                                  const struct qx_predict_mix_options *options,
                                  struct qx_predict_mix **out, struct qx_error *err)
{
    const int members = options && options->members > 0 ? options->members : MEMBERS;
    if (members > MEMBERS_MOST) {
        return qx_fail(err, QX_ERANGE, "a prediction takes at most %d sign vectors, not %d",
                       MEMBERS_MOST, members);
    }
    struct qx_predict_mix *x = qx_mem_zalloc(sizeof *x);
    if (!x) {
        return qx_fail_nomem(err, sizeof *x);
    }
    x->table = qx_predict_table_ref(table);
    x->members = qx_base_is_similarities(table->base) ? 0 : members;
    x->n_sums = x->members > 0 ? x->members + 2 : 1;
    x->n = table->base->n;
    x->n_classes = table->base->n_classes;
    x->width = table->base->width;
    x->n_layers = table->n_layers;
    if (!arrays_alloc(x)) {
        const size_t cells = (size_t)x->n * (size_t)x->width;
        qx_predict_mix_free(x);
        return qx_fail_nomem(err, cells * ((size_t)members + 5) * sizeof(float));
    }
    for (int p = 0; p < x->n_layers * QX_PIECES; p++) {
        struct qx_rng rng;
        qx_rng_init(&rng,
                    (options ? options->seed : 0) ^ (0x9e3779b97f4a7c15u * ((uint64_t)p + 1)));
        x->signs[p] = qx_rng_next(&rng);
    }
    odds_make(x);
    refit(x);
    *out = x;
    return QX_OK;
}

void qx_predict_mix_free(struct qx_predict_mix *x)
{
    if (x) {
        qx_predict_table_unref(x->table);
        qx_mem_free(x->change);
        qx_mem_free(x->pieces);
        qx_mem_free(x->signs);
        qx_mem_free(x->missing);
        qx_mem_free(x->site_kl);
        qx_mem_free(x->s);
        qx_mem_free(x->plus);
        qx_mem_free(x->minus);
        qx_mem_free(x->vectors);
        qx_mem_free(x->similar);
        qx_mem_free(x->work);
        qx_mem_free(x->turned);
        qx_mem_free(x->b);
        qx_mem_free(x->regression);
        qx_mem_free(x->odds);
        qx_mem_free(x);
    }
}

const struct qx_predict_table *qx_predict_mix_table(const struct qx_predict_mix *mix)
{
    return mix->table;
}

enum qx_status qx_predict_mix_rebase(struct qx_predict_mix *x, const struct qx_predict_table *table,
                                     struct qx_error *err)
{
    if (table->n_layers != x->n_layers || table->base->n != x->n ||
        table->base->n_classes != x->n_classes || table->base->width != x->width ||
        qx_base_is_similarities(table->base) != (x->similar != NULL) ||
        has_odds(table->base) != (x->odds != NULL)) {
        return qx_fail(err, QX_ERANGE, "the table is of another network or another number of rows");
    }
    struct qx_predict_table *old = x->table;
    const bool is_same_base = old->base->id == table->base->id;
    x->table = qx_predict_table_ref(table);
    qx_predict_table_unref(old);
    if (!is_same_base) {
        odds_make(x);
    }
    refit(x);
    return QX_OK;
}

static bool is_equal_piece(const struct qx_piece *a, const struct qx_piece *b)
{
    return a->lo == b->lo && a->hi == b->hi && a->gamma == b->gamma && a->b_lo == b->b_lo &&
           a->b_hi == b->b_hi && a->r_lo == b->r_lo && a->r_hi == b->r_hi;
}

static bool is_equal_change(const struct qx_predict_layer *a, const struct qx_predict_layer *b)
{
    bool is_equal = true;
    for (int s = 0; s < QX_SITE_COUNT; s++) {
        is_equal &= a->t[s].round == b->t[s].round && a->t[s].clip == b->t[s].clip &&
                    a->key[s] == b->key[s];
    }
    return is_equal;
}

void qx_predict_mix_set(struct qx_predict_mix *x, int layer, const struct qx_predict_layer *change)
{
    if (layer < 0 || layer >= x->n_layers || is_equal_change(&x->change[layer], change)) {
        return;
    }
    struct qx_piece fresh[QX_PIECES], *old = x->pieces + (size_t)layer * QX_PIECES;
    bool is_fragile = false;
    x->change[layer] = *change;
    x->missing[layer] = qx_pieces_of(x->table, layer, change, fresh);
    for (int p = 0; p < QX_PIECES; p++) {
        if (is_equal_piece(&old[p], &fresh[p])) {
            continue;
        }
        terms_clear(x);
        terms_add(x, &old[p], -1.0);
        terms_add(x, &fresh[p], 1.0);
        sums_add(x, layer * QX_PIECES + p);
        is_fragile |= old[p].gamma < gain_rebuild;
        old[p] = fresh[p];
        x->site_kl[layer * QX_SITE_COUNT + p / 2] = NAN;
    }
    if (++x->n_edits >= EDITS_MOST || is_fragile) {
        rebuild(x);
    }
}

const struct qx_predict_layer *qx_predict_mix_layer(const struct qx_predict_mix *x, int layer)
{
    return layer >= 0 && layer < x->n_layers ? &x->change[layer] : NULL;
}

/* ---- what is read from it ---- */

/* G v0 + G^a d of one row. */
static void row_compose(const struct qx_predict_mix *x, int64_t row, const float *d, float gain,
                        float share, float *v)
{
    const float *v0 = x->table->base->v0 + row * x->width;
    for (int c = 0; c < x->width; c++) {
        v[c] = gain * v0[c] + share * d[c];
    }
}

/* Similarities of the vectors that gain and sums d [n, width] give, centred: z [n, n_classes]. */
static void similarities(const struct qx_predict_mix *x, const float *d, double gain, float *z)
{
    const float g = (float)gain, share = (float)pow(gain, term_power);
    for (int64_t i = 0; i < x->n * x->width; i += x->width) {
        row_compose(x, i / x->width, d + i, g, share, x->vectors + i);
        qx_unit_make(x->vectors + i, x->width); /* one that vanished stays 0: like nothing */
    }
    qx_similarity_logits(x->vectors, x->n, x->width, z);
    qx_centre(z, x->n, x->n_classes, z);
}

/* Mean KL and cross entropy of the logits that gain and sums d [n, width] give. */
static double kl_of(const struct qx_predict_mix *x, const float *d, double gain, double *ce)
{
    const struct qx_predict_base *base = x->table->base;
    const float g = (float)gain, share = (float)pow(gain, term_power);
    double kl = 0.0, log_q = 0.0, row_q;
    if (x->similar) {
        similarities(x, d, gain, x->similar);
    }
    for (int64_t i = 0; i < x->n; i++) {
        const float *z = x->similar ? x->similar + i * x->n_classes : x->work;
        if (!x->similar) {
            row_compose(x, i, d + i * x->width, g, share, x->work);
        }
        kl += qx_kl_row(base, i, z, 0.0f, base->labels ? base->labels[i] : -1, &row_q);
        log_q += row_q;
    }
    *ce = base->labels ? -log_q / (double)x->n : NAN;
    return kl / (double)x->n;
}

/* Rows that have float32's class on top, and the odds of the class that they have. */
struct tops {
    int64_t right, same;
};

/* Of member m, or (is_turned) of its mirror image: every sign the other one. */
static struct tops count_tops(const struct qx_predict_mix *x, int m, bool is_turned, double gain)
{
    const int n = x->n_classes;
    const int64_t cells = x->n * n;
    const float *d = x->s + m * cells, *plus = x->s, *minus = x->s + (x->members + 1) * cells;
    const uint32_t *odds = x->odds;
    const float g = (float)gain, share = (float)pow(gain, term_power);
    struct tops t = {0, 0};
    for (int64_t i = 0; i < x->n; i++, d += n, plus += n, minus += n) {
        for (int c = 0; is_turned && c < n; c++) { /* D_m + its mirror = D_0 + all minus */
            x->turned[c] = plus[c] + minus[c] - d[c];
        }
        row_compose(x, i, is_turned ? x->turned : d, g, share, x->work);
        const int top = qx_top_of(x->work, x->table->base->n_tops);
        t.same += top == x->table->base->top[i];
        t.right += odds ? odds[i * n + top] : 0;
    }
    return t;
}

/* Each member is read with its signs and with all of them turned, by how much of the noise's energy has +
 * then: a site that makes all the noise keeps its own sign, many alike have either. [members] */
static void members_weigh(const struct qx_predict_mix *x, double *weight)
{
    double all = 0.0;
    memset(weight, 0, (size_t)x->members * sizeof *weight);
    for (int p = 0; p < x->n_layers * QX_PIECES; p++) {
        const struct qx_piece *at = &x->pieces[p];
        const double size = at->lo ? at->norm / pow(gain_of(at), term_power) : 0.0;
        for (int m = 1; m <= x->members; m++) {
            weight[m - 1] += is_minus(x, m, p) ? 0.0 : size * size;
        }
        all += size * size;
    }
    for (int m = 0; m < x->members; m++) {
        weight[m] = all > 0.0 ? weight[m] / all : 1.0;
    }
}

/* Share of rows whose most similar row is float32's, by the similarities made last. */
static double same_similar(const struct qx_predict_mix *x)
{
    int64_t same = 0;
    for (int64_t i = 0; i < x->n; i++) {
        same += qx_top_of(x->similar + i * x->n_classes, x->n_classes) == x->table->base->top[i];
    }
    return (double)same / (double)x->n;
}

void qx_predict_mix_sum(const struct qx_predict_mix *x, struct qx_predict_sum *out)
{
    double weight[MEMBERS_MOST], right = 0.0, same = 0.0;
    const double gain = gain_all(x), n_all = (double)x->n * x->members;
    *out = (struct qx_predict_sum){.accuracy = NAN, .accuracy0 = NAN};
    for (int l = 0; l < x->n_layers; l++) {
        out->n_missing += x->missing[l];
    }
    out->kl = kl_of(x, x->s, gain, &out->ce);
    if (x->similar) {
        out->same_top = same_similar(x);
        return;
    }
    members_weigh(x, weight);
    for (int m = 0; m < x->members; m++) {
        const double w = weight[m];
        const struct tops as = count_tops(x, m + 1, false, gain);
        const struct tops turned = w < 1.0 ? count_tops(x, m + 1, true, gain) : as;
        right += (double)turned.right + w * (double)(as.right - turned.right);
        same += (double)turned.same + w * (double)(as.same - turned.same);
    }
    out->same_top = same / n_all;
    if (x->odds) {
        out->accuracy0 = x->accuracy0;
        out->accuracy = right / (n_all * ODDS_ONE);
    }
}

double qx_predict_mix_site_kl(struct qx_predict_mix *x, int layer, enum qx_site site)
{
    const struct qx_piece *p = x->pieces + (size_t)layer * QX_PIECES + 2 * (size_t)site;
    double *kl = &x->site_kl[layer * QX_SITE_COUNT + (int)site], ce;
    if (!isnan(*kl)) {
        return *kl;
    }
    if (!p[0].lo && !p[1].lo) {
        *kl = 0.0;
        return 0.0;
    }
    terms_clear(x);
    terms_add(x, &p[0], 1.0);
    terms_add(x, &p[1], 1.0);
    terms_finish(x);
    *kl = kl_of(x, x->plus, gain_of(&p[0]) * gain_of(&p[1]), &ce);
    return *kl;
}

const double *qx_mix_all_k(struct qx_predict_mix *x)
{
    for (int i = 0; i < x->n_layers * QX_SITE_COUNT; i++) {
        qx_predict_mix_site_kl(x, i / QX_SITE_COUNT, (enum qx_site)(i % QX_SITE_COUNT));
    }
    return x->site_kl;
}

double qx_predict_mix_share(struct qx_predict_mix *x, int layer)
{
    const struct qx_piece *p = x->pieces + (size_t)layer * QX_PIECES;
    double gain = gain_all(x), ce;
    const double all = kl_of(x, x->s, gain, &ce);
    terms_clear(x);
    for (int i = 0; i < QX_PIECES; i++) {
        terms_add(x, &p[i], -1.0);
        gain /= gain_of(&p[i]);
    }
    terms_finish(x);
    for (int64_t i = 0; i < x->n * x->width; i++) {
        x->plus[i] += x->s[i];
    }
    return all - kl_of(x, x->plus, gain, &ce);
}

/* Those that gain and sums d [n, width] give. */
static void all_logits(const struct qx_predict_mix *x, const float *d, double gain, float *z)
{
    const float g = (float)gain, share = (float)pow(gain, term_power);
    if (x->similar) {
        similarities(x, d, gain, z);
        return;
    }
    for (int64_t i = 0; i < x->n * x->width; i += x->width) {
        row_compose(x, i / x->width, d + i, g, share, z + i);
    }
}

void qx_predict_mix_logits(const struct qx_predict_mix *x, float *z)
{
    all_logits(x, x->s, gain_all(x), z);
}

void qx_predict_mix_try(struct qx_predict_mix *x, int layer, const struct qx_predict_layer *change,
                        float *z)
{
    const struct qx_piece *old = x->pieces + (size_t)layer * QX_PIECES;
    struct qx_piece fresh[QX_PIECES];
    double gain = gain_all(x);
    qx_pieces_of(x->table, layer, change, fresh);
    terms_clear(x);
    for (int p = 0; p < QX_PIECES; p++) {
        terms_add(x, &old[p], -1.0);
        terms_add(x, &fresh[p], 1.0);
        gain *= gain_of(&fresh[p]) / gain_of(&old[p]);
    }
    terms_finish(x);
    for (int64_t i = 0; i < x->n * x->width; i++) {
        x->plus[i] += x->s[i];
    }
    all_logits(x, x->plus, gain, z);
}

/* A site at any amplitude, between and beyond its measured entries (prediction.md 3.2). */
#include "eval/predict_impl.h"

#include "kernels/kernels.h"

#include <math.h>

/* Residuals that point apart leave little of their mean; it is not blown up beyond this. */
static const double most_stretch = 2.0;

/* Exact entries speak of amplitudes that differ by less than half from theirs, and say at most a factor of
 * four; nearer than a thousandth is the same place. */
static const double reach = 0.5, nearest = 1e-3, most_ln = 1.3862943611198906;
static const double gain_least = 0.05;

static const struct qx_piece untouched = {.gamma = 1.0};

/* t_i <= t <= t_i+1, w = ln(t/t_i) / ln(t_i+1/t_i):
 *   gamma = (1-w) gamma_i + w gamma_i+1
 *   u = r_i t/t_i, v = r_i+1 t/t_i+1, x = (1-w) u + w v (b likewise)
 *   r = x |u|^(1-w) |v|^w / |x|, the norm kept */
static void between(const struct qx_predict_entry *lo, const struct qx_predict_entry *hi,
                    double dot, double t, struct qx_piece *p)
{
    const double w = log(t / qx_entry_t(lo)) / log(qx_entry_t(hi) / qx_entry_t(lo));
    const double cu = (1.0 - w) * t / qx_entry_t(lo), cv = w * t / qx_entry_t(hi);
    const double u = lo->norm * t / qx_entry_t(lo), v = hi->norm * t / qx_entry_t(hi);
    const double sq =
        cu * cu * lo->norm * lo->norm + cv * cv * hi->norm * hi->norm + 2.0 * cu * cv * dot;
    const double want = pow(u, 1.0 - w) * pow(v, w);
    const double x = sqrt(fmax(sq, 0.0));
    const double stretch = want < most_stretch * x ? want / x : x > 0.0 ? most_stretch : 0.0;
    *p = (struct qx_piece){.lo = lo,
                           .hi = hi,
                           .gamma = (1.0 - w) * lo->gamma + w * hi->gamma,
                           .b_lo = cu,
                           .b_hi = cv,
                           .r_lo = cu * stretch,
                           .r_hi = cv * stretch,
                           .norm = x * stretch};
}

bool qx_piece_of(const struct qx_predict_table *table, int layer, enum qx_family family, double t,
                 struct qx_piece *out)
{
    const int list = layer * QX_FAMILY_COUNT + (int)family;
    int n = table->n_family[list], at = table->first[list];
    *out = untouched;
    if (!(t > 0.0)) {
        return true;
    }
    for (; n > 0 && !(qx_entry_t(table->v[at]) > 0.0);
         n--) { /* left the site as it is: says nothing */
        at++;
    }
    if (n == 0) {
        return false;
    }
    struct qx_predict_entry *const *v = table->v + at;
    int i = 0; /* the last entry at or below t */
    while (i + 1 < n && qx_entry_t(v[i + 1]) <= t) {
        i++;
    }
    const double a = t / qx_entry_t(v[i]);
    if (i + 1 < n && t >= qx_entry_t(v[i]) && qx_entry_t(v[i]) < qx_entry_t(v[i + 1])) {
        between(v[i], v[i + 1], table->dot[at + i], t, out);
    } else if (t < qx_entry_t(v[i])) { /* t < t_1: gamma = 1 + (gamma_1 - 1) a^2, b and r by a */
        *out = (struct qx_piece){
            .lo = v[i], .gamma = 1.0 + (v[i]->gamma - 1.0) * a * a, .b_lo = a, .r_lo = a};
        out->norm = a * v[i]->norm;
    } else { /* t >= t_k: gamma = max(0, 1 + (gamma_k - 1) a) */
        *out = (struct qx_piece){
            .lo = v[i], .gamma = fmax(0.0, 1.0 + (v[i]->gamma - 1.0) * a), .b_lo = a, .r_lo = a};
        out->norm = a * v[i]->norm;
    }
    out->gamma = fmax(out->gamma, 0.0);
    return true;
}

/* ---- what exact entries say of settings near theirs ---- */

static bool families_of(const struct qx_predict_table *table, int layer, int site,
                        const struct qx_amplitude *t, struct qx_piece *round, struct qx_piece *clip)
{
    const bool has_round = qx_piece_of(table, layer, (enum qx_family)(2 * site), t->round, round);
    return qx_piece_of(table, layer, (enum qx_family)(2 * site + 1), t->clip, clip) && has_round;
}

static double distance(const struct qx_amplitude *a, const struct qx_amplitude *b)
{
    const double size = fmax(hypot(a->round, a->clip), hypot(b->round, b->clip));
    return size > 0.0 ? hypot(a->round - b->round, a->clip - b->clip) / size : 0.0;
}

static double shift_at(const struct qx_piece *p, int c)
{
    return (p->lo ? p->b_lo * (double)p->lo->b[c] : 0.0) +
           (p->hi ? p->b_hi * (double)p->hi->b[c] : 0.0);
}

/* ln of measured over expected, within what a neighbour may be believed. */
static double ln_ratio(double measured, double expected)
{
    const double least = 1e-9;
    return fmax(-most_ln, fmin(most_ln, log(fmax(measured, least) / fmax(expected, least))));
}

/* What the table gets wrong at an exact entry: gain, shift and residual, as ln of ratios. */
struct correction {
    double gamma, b, r;
};

static bool correction_at(const struct qx_predict_table *table, int layer, int site,
                          const struct qx_predict_entry *e, struct correction *out)
{
    struct qx_piece round, clip;
    double measured = 0.0, expected = 0.0;
    if (!families_of(table, layer, site, &e->t, &round, &clip)) {
        return false;
    }
    for (int c = 0; c < e->width; c++) {
        const double b = shift_at(&round, c) + shift_at(&clip, c);
        measured += (double)e->b[c] * (double)e->b[c];
        expected += b * b;
    }
    out->b = ln_ratio(sqrt(measured), sqrt(expected));
    out->r = ln_ratio(e->norm, hypot(round.norm, clip.norm));
    out->gamma = ln_ratio(fmax(e->gamma, gain_least), fmax(round.gamma * clip.gamma, gain_least));
    return true;
}

static void piece_correct(struct qx_piece *p, const struct correction *k, double share)
{
    p->gamma *= exp(share * k->gamma);
    p->b_lo *= exp(k->b);
    p->b_hi *= exp(k->b);
    p->r_lo *= exp(k->r);
    p->r_hi *= exp(k->r);
    p->norm *= exp(k->r);
}

/* The table's pieces at t, corrected by the exact entries within reach, by inverse distance (Shepard 1968;
 * weights 1/d - 1/reach, and 1/reach for no correction): a drag that leaves a measured setting starts
 * from what was measured there. */
static void neighbours_correct(const struct qx_predict_table *table, int layer, int site,
                               const struct qx_amplitude *t, struct qx_piece *round,
                               struct qx_piece *clip)
{
    const int list = layer * QX_FAMILY_COUNT + 2 * site;
    struct correction sum = {0.0, 0.0, 0.0};
    double weights = 1.0 / reach;
    for (int i = table->first[list] + table->n_family[list]; i < table->first[list + 1]; i++) {
        const struct qx_predict_entry *e = table->v[i];
        const double d = fmax(distance(t, &e->t), nearest);
        struct correction k;
        if (d >= reach || !correction_at(table, layer, site, e, &k)) {
            continue;
        }
        const double w = 1.0 / d - 1.0 / reach;
        sum.gamma += w * k.gamma;
        sum.b += w * k.b;
        sum.r += w * k.r;
        weights += w;
    }
    sum = (struct correction){sum.gamma / weights, sum.b / weights, sum.r / weights};
    const double sq = round->norm * round->norm + clip->norm * clip->norm;
    const double share = sq > 0.0 ? round->norm * round->norm / sq : 0.5;
    piece_correct(round, &sum, share);
    piece_correct(clip, &sum, 1.0 - share);
}

int qx_pieces_of(const struct qx_predict_table *table, int layer,
                 const struct qx_predict_layer *change, struct qx_piece out[QX_PIECES])
{
    int n_missing = 0;
    for (int site = 0; site < QX_SITE_COUNT; site++) {
        struct qx_piece *round = out + 2 * site, *clip = round + 1;
        const struct qx_amplitude *t = &change->t[site];
        const struct qx_predict_entry *exact =
            qx_table_exact(table, layer, (enum qx_site)site, change->key[site]);
        if (exact) {
            *round = (struct qx_piece){.lo = exact,
                                       .gamma = fmax(exact->gamma, 0.0),
                                       .b_lo = 1.0,
                                       .r_lo = 1.0,
                                       .norm = exact->norm};
            *clip = untouched;
            continue;
        }
        if (!families_of(table, layer, site, t, round, clip)) {
            *round = *clip = untouched;
            n_missing++;
        } else if (t->round > 0.0 || t->clip > 0.0) {
            neighbours_correct(table, layer, site, t, round, clip);
        }
    }
    return n_missing;
}

static void add_scaled(const struct qx_predict_entry *e, double scale, float *d, float *scratch)
{
    const size_t block = QX_PIECE_SCRATCH, cells = (size_t)e->n * (size_t)e->width;
    const float s = (float)scale;
    for (size_t first = 0; first < cells; first += block) {
        const size_t n = block < cells - first ? block : cells - first;
        qxk_get()->f16_to_f32(e->r + first, n, scratch);
        for (size_t i = 0; i < n; i++) {
            d[first + i] += s * scratch[i];
        }
    }
}

void qx_piece_residual(const struct qx_piece *p, double scale, float *d, float *scratch)
{
    if (p->lo) {
        add_scaled(p->lo, scale * p->r_lo, d, scratch);
    }
    if (p->hi) {
        add_scaled(p->hi, scale * p->r_hi, d, scratch);
    }
}

void qx_piece_shift(const struct qx_piece *p, double scale, double *b)
{
    for (int c = 0; p->lo && c < p->lo->width; c++) {
        b[c] += scale * p->b_lo * (double)p->lo->b[c];
        b[c] += p->hi ? scale * p->b_hi * (double)p->hi->b[c] : 0.0;
    }
}

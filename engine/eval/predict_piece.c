/* A site at any amplitude, between and beyond its measured entries (prediction.md 3.2). */
#include "eval/predict_impl.h"

#include "kernels/kernels.h"

#include <math.h>

/* Residuals that point apart leave little of their mean; it is not blown up beyond this. */
static const double most_stretch = 2.0;

static const struct qx_piece untouched = {.gamma = 1.0};

/* t_i <= t <= t_i+1, w = ln(t/t_i) / ln(t_i+1/t_i):
 *   gamma = (1-w) gamma_i + w gamma_i+1
 *   u = r_i t/t_i, v = r_i+1 t/t_i+1, x = (1-w) u + w v (b likewise)
 *   r = x |u|^(1-w) |v|^w / |x|, the norm kept */
static void between(const struct qx_predict_entry *lo, const struct qx_predict_entry *hi,
                    double dot, double t, struct qx_piece *p)
{
    const double w = log(t / lo->t) / log(hi->t / lo->t);
    const double cu = (1.0 - w) * t / lo->t, cv = w * t / hi->t;
    const double u = lo->norm * t / lo->t, v = hi->norm * t / hi->t;
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
                           .r_hi = cv * stretch};
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
    for (; n > 0 && !(table->v[at]->t > 0.0); n--) { /* left the site as it is: says nothing */
        at++;
    }
    if (n == 0) {
        return false;
    }
    struct qx_predict_entry *const *v = table->v + at;
    int i = 0; /* the last entry at or below t */
    while (i + 1 < n && v[i + 1]->t <= t) {
        i++;
    }
    const double a = t / v[i]->t;
    if (i + 1 < n && t >= v[i]->t && v[i]->t < v[i + 1]->t) {
        between(v[i], v[i + 1], table->dot[at + i], t, out);
    } else if (t < v[i]->t) { /* t < t_1: gamma = 1 + (gamma_1 - 1) a^2, b and r by a */
        *out = (struct qx_piece){
            .lo = v[i], .gamma = 1.0 + (v[i]->gamma - 1.0) * a * a, .b_lo = a, .r_lo = a};
    } else { /* t >= t_k: gamma = max(0, 1 + (gamma_k - 1) a) */
        *out = (struct qx_piece){
            .lo = v[i], .gamma = fmax(0.0, 1.0 + (v[i]->gamma - 1.0) * a), .b_lo = a, .r_lo = a};
    }
    out->gamma = fmax(out->gamma, 0.0);
    return true;
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
            *round = (struct qx_piece){
                .lo = exact, .gamma = fmax(exact->gamma, 0.0), .b_lo = 1.0, .r_lo = 1.0};
            *clip = untouched;
            continue;
        }
        const bool has_round =
            qx_piece_of(table, layer, (enum qx_family)(2 * site), t->round, round);
        const bool has_clip =
            qx_piece_of(table, layer, (enum qx_family)(2 * site + 1), t->clip, clip);
        if (!has_round || !has_clip) {
            *round = *clip = untouched;
            n_missing++;
        }
    }
    return n_missing;
}

static void add_scaled(const struct qx_predict_entry *e, double scale, float *d, float *scratch)
{
    const size_t block = QX_PIECE_SCRATCH, cells = (size_t)e->n * (size_t)e->n_classes;
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
    for (int c = 0; p->lo && c < p->lo->n_classes; c++) {
        b[c] += scale * p->b_lo * (double)p->lo->b[c];
        b[c] += p->hi ? scale * p->b_hi * (double)p->hi->b[c] : 0.0;
    }
}

/* Which entry is measured next (prediction.md 3.1, 3.4; the clip ratio .15 is ours: README.md says why). */
#include "eval/predict_impl.h"

#include <math.h>

enum { SPECS_MOST = 6 };

/* The entries of a family at a level. */
struct family_specs {
    int n;
    double param[SPECS_MOST];
};
static const struct family_specs specs[2][QX_FAMILY_COUNT] = {
    [QX_PREDICT_LITE] = {{2, {3, 5}}, {2, {0.45, 0.15}}, {1, {4}}, {1, {0.5}}},
    [QX_PREDICT_FULL] = {{6, {2, 3, 4, 5, 6, 8}},
                         {5, {0.15, 0.3, 0.45, 0.6, 0.8}},
                         {5, {3, 4, 5, 6, 8}},
                         {4, {0.15, 0.3, 0.5, 0.75}}},
};

static bool has_family(const struct qx_net *net, int layer, int family, bool has_act)
{
    return qx_family_site((enum qx_family)family) == QX_SITE_W ||
           (has_act && qx_net_layer(net, layer)->role == QX_ROLE_LINEAR);
}

/* First entry of these families that a layer lacks. */
static bool lacks(const struct qx_predict_table *t, const struct qx_net *net, int layer,
                  enum qx_predict_level level, int first, int end, bool has_act,
                  struct qx_predict_spec *out)
{
    for (int f = first; f < end; f++) {
        const struct family_specs *s = &specs[level][f];
        for (int i = 0; i < s->n && has_family(net, layer, f, has_act); i++) {
            *out = (struct qx_predict_spec){layer, (enum qx_family)f, s->param[i]};
            if (!qx_predict_table_has(t, out)) {
                return true;
            }
        }
    }
    return false;
}

static double weight_of(const struct qx_net *net, const struct qx_predict_want *want, int layer)
{
    const struct qx_layer *l = qx_net_layer(net, layer);
    return layer == want->first ? HUGE_VAL
           : want->weight
               ? want->weight[layer]
               : (double)l->channels.outer * (double)l->channels.count * (double)l->channels.inner;
}

/* The heaviest layer that lacks something. */
static bool pick(const struct qx_predict_table *t, const struct qx_net *net,
                 const struct qx_predict_want *want, enum qx_predict_level level, int first,
                 int end, struct qx_predict_spec *out)
{
    double best = -1.0;
    for (int l = 0; l < qx_predict_table_n_layers(t); l++) {
        struct qx_predict_spec s;
        const double w = weight_of(net, want, l);
        if (w > best && (!want->only || want->only[l]) &&
            lacks(t, net, l, level, first, end, want->has_act, &s)) {
            best = w;
            *out = s;
        }
    }
    return best >= 0.0;
}

bool qx_predict_next(const struct qx_predict_table *table, const struct qx_net *net,
                     const struct qx_predict_want *want, struct qx_predict_spec *out)
{
    for (int level = QX_PREDICT_LITE; level <= (int)want->level; level++) {
        const enum qx_predict_level l = (enum qx_predict_level)level;
        const int split = want->is_act_urgent ? QX_FAMILY_COUNT : QX_FAMILY_A_ROUND;
        if (pick(table, net, want, l, 0, split, out) ||
            pick(table, net, want, l, split, QX_FAMILY_COUNT, out)) {
            return true;
        }
    }
    return false;
}

int qx_predict_n_specs(const struct qx_net *net, const struct qx_predict_want *want)
{
    int n = 0;
    for (int l = 0; l < qx_net_n_layers(net); l++) {
        for (int f = 0; f < QX_FAMILY_COUNT; f++) {
            n += has_family(net, l, f, want->has_act) ? specs[want->level][f].n : 0;
        }
    }
    return n;
}

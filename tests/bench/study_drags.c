/* A threshold dragged far: one layer at 4 bits, all others in float32, its threshold from the largest value of
 * each channel down to a tenth of it. Nothing is anchored. */
#include "study.h"

#include <math.h>
#include <stdlib.h>

static const double ratios[] = {1, 0.7, 0.45, 0.37, 0.3, 0.22, 0.15, 0.1};
enum { N_RATIOS = sizeof ratios / sizeof *ratios, REACHES = 3 };

/* From .45 of the largest value on, from .3 on, below. */
static int reach_of(double ratio)
{
    return ratio >= 0.45 ? 0 : ratio >= 0.3 ? 1 : 2;
}

void study_drags(struct study_predictor *p)
{
    struct study *s = study_of(p);
    struct study_config c = {.s = study_take((size_t)s->n_layers, sizeof *c.s)};
    double off[REACHES] = {0}, size[REACHES] = {0}, kl[REACHES] = {0};
    int n[REACHES] = {0};
    for (int k = 0; k < s->n_layers * N_RATIOS; k++) {
        const int layer = k / N_RATIOS;
        const double ratio = ratios[k % N_RATIOS];
        if (qx_net_layer(s->net, layer)->role != QX_ROLE_LINEAR) {
            continue;
        }
        for (int l = 0; l < s->n_layers; l++) {
            c.s[l] = qx_setting_fp32();
        }
        c.s[layer] = study_weight(s, layer, 4, true, QX_GRAN_CHANNEL, ratio);
        const struct study_outcome truth = study_measure(s, &c);
        const struct study_guess said = study_predict(p, &c);
        const double drop = study_drop(&s->e, &truth);
        const int r = reach_of(ratio);
        off[r] += fabs(said.drop - drop);
        size[r] += fabs(drop);
        kl[r] += fabs(log10(fmax(said.kl, 1e-9) / fmax(truth.kl, 1e-9)));
        n[r]++;
    }
    printf("| table, a drag |");
    for (int r = 0; r < REACHES; r++) {
        printf(" %.2f of %.2f, %.3f |", off[r] / n[r], size[r] / n[r], kl[r] / n[r]);
    }
    printf("\n");
    free(c.s);
}

#include "session/flip_path.h"

#include "base/mem.h"
#include "base/str.h"
#include "qx/predict.h"

#include <math.h>
#include <string.h>

static const double near = 1.05; /* thresholds in such a ratio: nothing between them is missed */

void qx_flip_path_release(struct qx_flip_path *p)
{
    qx_mem_free(p->row);
    qx_mem_free(p->lead);
    *p = (struct qx_flip_path){.layer = -1};
}

static uint64_t others_of(int n_layers, const struct qx_setting *set, int layer)
{
    uint64_t h = 1;
    for (int l = 0; l < n_layers; l++) {
        const uint64_t keys[2] = {l == layer ? 0 : qx_predict_key(&set[l], QX_SITE_W),
                                  qx_predict_key(&set[l], QX_SITE_A)};
        h = qx_hash64(keys, sizeof keys, h);
    }
    return h;
}

/* Empty, for so many rows. */
static bool path_begin(struct qx_flip_path *p, int layer, uint64_t others, int64_t n)
{
    if (n != p->n_rows) {
        qx_flip_path_release(p);
        p->row = qx_mem_array((size_t)n, sizeof *p->row);
        p->lead = qx_mem_array((size_t)n, QX_FLIP_STOPS * sizeof *p->lead);
    }
    if (!p->row || !p->lead) {
        qx_flip_path_release(p);
        return false;
    }
    p->layer = layer;
    p->others = others;
    p->n_rows = n;
    p->n = 0;
    return true;
}

static float lead_of(const struct qx_lead *r)
{
    const bool is_gone = r->top != r->top0;
    return r->label >= 0 && r->label != r->top0 ? -INFINITY
           : is_gone && r->now >= 0.0f          ? -1e-30f /* a tie went to the other class */
                                                : r->now;
}

void qx_flip_path_add(struct qx_flip_path *p, int n_layers, const struct qx_setting *set, int layer,
                      const struct qx_lead *rows, int64_t n)
{
    const uint64_t others = others_of(n_layers, set, layer);
    if ((p->layer != layer || p->others != others || p->n_rows != n) &&
        !path_begin(p, layer, others, n)) {
        return;
    }
    if (p->n == QX_FLIP_STOPS) {
        p->n--;
        memmove(p->set, p->set + 1, (size_t)p->n * sizeof *p->set);
        memmove(p->lead, p->lead + n, (size_t)(p->n * n) * sizeof *p->lead);
    }
    p->set[p->n] = set[layer];
    for (int64_t i = 0; i < n; i++) {
        p->row[i] = rows[i].row;
        p->lead[p->n * n + i] = lead_of(&rows[i]);
    }
    p->n++;
}

/* ---- looking ---- */

struct stop {
    double place;
    const float *lead;
};

/* Stops that differ from the setting in the moving end only, by their places. */
static int stops_of(const struct qx_flip_path *p, const struct qx_setting *now, bool is_low,
                    struct stop *out)
{
    const struct qx_setting bare = qx_threshold_at(now, is_low, 1.0);
    const uint64_t key = qx_predict_key(&bare, QX_SITE_W);
    int n = 0;
    for (int k = 0; k < p->n; k++) {
        const struct qx_setting there = qx_threshold_at(&p->set[k], is_low, 1.0);
        const struct stop s = {qx_threshold_of(&p->set[k], is_low), p->lead + k * p->n_rows};
        if (qx_predict_key(&there, QX_SITE_W) != key || !(s.place > 0.0)) {
            continue;
        }
        int at = n++;
        for (; at > 0 && out[at - 1].place > s.place; at--) {
            out[at] = out[at - 1];
        }
        out[at] = s;
    }
    return n;
}

static double ratio(double a, double b)
{
    return a > b ? a / b : b / a;
}

/* From the stop `at` in one direction: the first row that goes, between two stops by straight lines over ln.
 * *reached: as far as the stops lead. */
static struct qx_flip walk(const struct qx_flip_path *p, const struct stop *s, int n, int at,
                           int step, double *reached)
{
    struct qx_flip found = {.row = -1};
    const float *now = s[at].lead;
    *reached = s[at].place;
    for (int k = at + step; k >= 0 && k < n && !found.is_there; k += step) {
        const struct stop *a = &s[k - step], *b = &s[k];
        double least = INFINITY;
        if (ratio(a->place, b->place) > near) {
            break;
        }
        for (int64_t i = 0; i < p->n_rows; i++) {
            if (now[i] >= 0.0f && a->lead[i] >= 0.0f && b->lead[i] < 0.0f) {
                const double w = (double)a->lead[i] / (double)(a->lead[i] - b->lead[i]);
                if (w < least) {
                    least = w;
                    found.row = p->row[i];
                }
            }
        }
        found.is_there = found.is_measured = least <= 1.0;
        found.place = found.is_there ? a->place * pow(b->place / a->place, least) : 0.0;
        *reached = b->place;
    }
    return found;
}

void qx_flip_path_refine(const struct qx_flip_path *p, int n_layers, const struct qx_setting *set,
                         int layer, bool is_low, struct qx_flip flip[2])
{
    struct stop stops[QX_FLIP_STOPS];
    const double from = qx_threshold_of(&set[layer], is_low);
    if (p->n == 0 || p->layer != layer || p->others != others_of(n_layers, set, layer)) {
        return;
    }
    const int n = stops_of(p, &set[layer], is_low, stops);
    int at = 0;
    for (int k = 1; k < n; k++) {
        at = ratio(stops[k].place, from) < ratio(stops[at].place, from) ? k : at;
    }
    if (n == 0 || ratio(stops[at].place, from) > near) {
        return;
    }
    for (int k = 0; k < 2; k++) {
        double reached;
        const struct qx_flip seen = walk(p, stops, n, at, k ? 1 : -1, &reached);
        const bool is_ahead = k ? seen.place >= from : seen.place <= from;
        const bool is_within = k ? flip[k].place <= reached : flip[k].place >= reached;
        if (seen.is_there && is_ahead) {
            flip[k] = seen;
        } else if (!seen.is_there && flip[k].is_there && is_within) {
            flip[k] = (struct qx_flip){.row = -1}; /* it did not go there */
        }
    }
}

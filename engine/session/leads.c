#include "session/leads.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Thresholds from the largest value down to a twentieth of it, in equal ratios. */
static const double least_share = 0.05;

static void profile_release(struct qx_lead_profile *p)
{
    qx_mem_free(p->place);
    qx_mem_free(p->lead);
    qx_mem_free(p->z);
    *p = (struct qx_lead_profile){.item = -1};
}

void qx_leads_release(struct qx_session *s)
{
    struct qx_leads_state *l = &s->leads;
    profile_release(&l->profile);
    qx_flip_path_release(&l->path);
    qx_mem_free(l->v);
    qx_mem_free(l->lead);
    qx_mem_free(l->z);
    *l = (struct qx_leads_state){.profile = {.item = -1}, .path = {.layer = -1}};
}

/* ---- the list ---- */

/* Room for n rows, and for n_z logits in all. */
static bool room_for(struct qx_leads_state *l, int64_t n, int64_t n_z)
{
    if (n > l->cap) {
        qx_mem_free(l->v);
        qx_mem_free(l->lead);
        l->v = qx_mem_array((size_t)n, sizeof *l->v);
        l->lead = qx_mem_array((size_t)n, sizeof *l->lead);
        l->cap = l->v && l->lead ? n : 0;
    }
    if (n_z > l->cap_z) {
        qx_mem_free(l->z);
        l->z = qx_mem_array((size_t)n_z, sizeof *l->z);
        l->cap_z = l->z ? n_z : 0;
    }
    return n <= l->cap && n_z <= l->cap_z;
}

static bool list_measured(struct qx_session *s, const struct qx_eval_result *fp32,
                          const struct qx_eval_result *b)
{
    struct qx_leads_state *l = &s->leads;
    l->n = b->n;
    return room_for(l, b->n, 0) && qx_eval_leads(fp32, b, l->v, NULL) == QX_OK;
}

static bool list_replayed(struct qx_session *s)
{
    struct qx_leads_state *l = &s->leads;
    const struct qx_replayer *r = &s->replayer;
    if (!room_for(l, r->result.n, 0)) {
        return false;
    }
    l->n = r->result.n;
    memcpy(l->v, r->leads, (size_t)l->n * sizeof *l->v);
    return true;
}

/* As composed: the rows of the prediction's table. */
static bool list_predicted(struct qx_session *s)
{
    struct qx_leads_state *l = &s->leads;
    const struct qx_predict_base *base = qx_predict_table_base(s->predictor.table);
    const int64_t n = qx_predict_base_n(base);
    if (!room_for(l, n, n * qx_predict_base_n_classes(base))) {
        return false;
    }
    qx_predict_mix_logits(s->predictor.mix, l->z);
    qx_predict_leads(base, l->z, l->v);
    for (int64_t i = 0; i < n; i++) {
        l->v[i].label = qx_dataset_label(s->data, l->v[i].row);
    }
    l->n = n;
    return true;
}

static bool is_predicted(const struct qx_session *s)
{
    const struct qx_predictor *p = &s->predictor;
    return p->is_on && p->has_answer && p->n_unknown == 0 && p->answer.sum.n_missing == 0;
}

bool qx_session_leads(struct qx_session *s, struct qx_leads *out)
{
    struct qx_leads_state *l = &s->leads;
    struct qx_measure *m = &s->measure;
    if (!qx_measure_can(s) || qx_net_is_words(s->net) ||
        strcmp(qx_net_task(s->net), "embedding") == 0) {
        return false;
    }
    qx_predictor_follow(s);
    const struct qx_eval_result *fp32 = qx_measure_find(m, m->key_fp32);
    const struct qx_eval_result *b = fp32 ? qx_measure_find(m, m->key_b) : NULL;
    const bool is_replayed =
        s->replayer.has_result && s->replayer.leads && s->replayer.key == m->key_b;
    const enum qx_leads_source source = b             ? QX_LEADS_MEASURED
                                        : is_replayed ? QX_LEADS_REPLAYED
                                                      : QX_LEADS_PREDICTED;
    if (source == QX_LEADS_PREDICTED && !is_predicted(s)) {
        return false;
    }
    const uint64_t serial = source == QX_LEADS_PREDICTED ? s->predictor.serial : 0;
    const uint64_t parts[3] = {m->key_b, source, serial};
    const uint64_t key = qx_hash64(parts, sizeof parts, 1);
    if (key != l->key) {
        l->key = 0;
        if (!(b ? list_measured(s, fp32, b) : is_replayed ? list_replayed(s) : list_predicted(s))) {
            return false;
        }
        l->key = key;
        l->n_flipped = qx_leads_sort(l->v, &l->n);
    }
    *out = (struct qx_leads){l->n, l->n_flipped, source, l->v};
    return true;
}

/* ---- thresholds ---- */

static bool is_mirrored(const struct qx_setting *set)
{
    return set->sym || set->gran != QX_GRAN_TENSOR;
}

struct qx_setting qx_threshold_at(const struct qx_setting *set, bool is_low, double place)
{
    struct qx_setting at = *set;
    if (is_mirrored(set)) {
        at.range = (struct qx_range){-place, place};
    } else if (is_low) {
        at.range.lo = -place;
    } else {
        at.range.hi = place;
    }
    return at;
}

double qx_threshold_of(const struct qx_setting *set, bool is_low)
{
    return is_low && !is_mirrored(set) ? -set->range.lo : set->range.hi;
}

/* What the profile is of: this layer's setting but for the threshold, the others whole, the table. */
static uint64_t profile_key(const struct qx_session *s, int layer, const struct qx_setting *set,
                            bool is_low)
{
    const struct qx_predictor *p = &s->predictor;
    struct qx_setting bare = qx_threshold_at(set, is_low, 1.0);
    uint64_t h = qx_predict_key(&bare, QX_SITE_W);
    h = qx_hash64(&p->table_serial, sizeof p->table_serial, h);
    for (int l = 0; l < qx_net_n_layers(s->net); l++) {
        const struct qx_predict_layer *c = qx_predict_mix_layer(p->mix, l);
        const uint64_t keys[3] = {(uint64_t)l, l == layer ? 0 : c->key[QX_SITE_W],
                                  c->key[QX_SITE_A]};
        h = qx_hash64(keys, sizeof keys, h);
    }
    return h ? h : 1;
}

static const struct qx_hist *hist_of(struct qx_session *s, int64_t item,
                                     const struct qx_setting *set)
{
    const struct qx_hist_spec spec = qx_setting_spec(set, s->items.v[item].channels);
    const struct qx_cache_entry *e = qx_cache_find(&s->cache, item, &spec);
    return e && e->state == QX_HIST_READY ? e->hist : NULL;
}

/* Leads of all rows with the threshold there. */
static bool leads_at(struct qx_session *s, int layer, const struct qx_setting *set,
                     const struct qx_hist *hist, float *z, float *lead)
{
    struct qx_predictor *p = &s->predictor;
    struct qx_predict_layer change;
    const struct qx_observed *o =
        p->calibration ? qx_calibration_layer(p->calibration, layer) : NULL;
    if (qx_predict_layer_of(set, hist, o, &change, NULL) != QX_OK) {
        return false;
    }
    qx_predict_mix_try(p->mix, layer, &change, z);
    qx_predict_leads_of(qx_predict_table_base(p->table), z, lead);
    return true;
}

/* Empty, with the places of its nodes. */
static bool profile_begin(struct qx_session *s, uint64_t key, int64_t item, bool is_low,
                          const struct qx_setting *set, const struct qx_hist *hist)
{
    struct qx_lead_profile *p = &s->leads.profile;
    const struct qx_predict_base *base = qx_predict_table_base(s->predictor.table);
    const struct qx_stats *st = qx_hist_stats(hist);
    const int64_t n = qx_predict_base_n(base);
    double top = is_mirrored(set) ? st->absmax : is_low ? -st->min : st->max;
    top = set->gran == QX_GRAN_TENSOR ? top : 1.0;
    profile_release(p);
    p->place = qx_mem_array(QX_LEAD_NODES, sizeof *p->place);
    p->lead = qx_mem_array((size_t)n * QX_LEAD_NODES, sizeof *p->lead);
    p->z = qx_mem_array((size_t)n, (size_t)qx_predict_base_n_classes(base) * sizeof *p->z);
    if (!p->place || !p->lead || !p->z || !(top > 0.0)) {
        profile_release(p);
        return false;
    }
    for (int i = 0; i < QX_LEAD_NODES; i++) {
        p->place[i] = top * pow(least_share, (double)i / (QX_LEAD_NODES - 1));
    }
    p->key = key;
    p->item = item;
    p->is_low = is_low;
    p->n = n;
    return true;
}

void qx_leads_work(struct qx_session *s, double budget_s)
{
    struct qx_lead_profile *p = &s->leads.profile;
    const double end = qx_clock_s() + budget_s;
    if (!qx_leads_waits(s)) {
        return;
    }
    const int layer = qx_net_layer_of_tensor(s->net, p->item);
    const struct qx_setting *set = &s->now.set[p->item];
    const struct qx_hist *hist = qx_setting_open(set) ? NULL : hist_of(s, p->item, set);
    qx_predictor_follow(s);
    if (!hist || !is_predicted(s) || profile_key(s, layer, set, p->is_low) != p->key) {
        profile_release(p); /* asked for anew with the next frame */
        return;
    }
    while (p->n_done < QX_LEAD_NODES && qx_clock_s() < end) {
        const struct qx_setting at = qx_threshold_at(set, p->is_low, p->place[p->n_done]);
        if (!leads_at(s, layer, &at, hist, p->z, p->lead + p->n_done * p->n)) {
            profile_release(p);
            return;
        }
        p->n_done++;
    }
    if (p->n_done == QX_LEAD_NODES) {
        s->news |= QX_NEWS_GAUGE;
    }
}

bool qx_leads_waits(const struct qx_session *s)
{
    const struct qx_lead_profile *p = &s->leads.profile;
    return p->key != 0 && p->n_done < QX_LEAD_NODES;
}

/* From the threshold `from` with leads `now` over the nodes in one direction: where the first row that
 * has float32's class loses it. Between two places leads are taken as straight lines over ln. */
static struct qx_flip flip_search(const struct qx_lead_profile *p, double from, const float *now,
                                  int node, int step, int64_t *index)
{
    struct qx_flip found = {.row = -1};
    const float *before = now;
    double at = from;
    for (; node >= 0 && node < QX_LEAD_NODES && !found.is_there; node += step) {
        const float *there = p->lead + node * p->n;
        double least = INFINITY;
        for (int64_t i = 0; i < p->n; i++) {
            if (now[i] >= 0.0f && there[i] < 0.0f) {
                const double w =
                    before[i] > 0.0f ? (double)before[i] / (double)(before[i] - there[i]) : 0.0;
                found.is_there = true;
                *index = w < least ? i : *index;
                least = fmin(least, w);
            }
        }
        if (found.is_there) {
            found.place = at * pow(p->place[node] / at, least);
        }
        before = there;
        at = p->place[node];
    }
    return found;
}

/* Rows that float32 has wrong count as gone. */
static void lose_wrong(struct qx_session *s, const struct qx_predict_base *base)
{
    for (int64_t i = 0; i < qx_predict_base_n(base); i++) {
        const int label = qx_dataset_label(s->data, qx_predict_base_rows(base)[i]);
        if (label >= 0 && label != qx_predict_base_top(base, i)) {
            s->leads.lead[i] = -INFINITY;
        }
    }
}

bool qx_session_first_flips(struct qx_session *s, int64_t item, bool is_low, struct qx_flip out[2])
{
    struct qx_lead_profile *p = &s->leads.profile;
    const int layer = s->net ? qx_net_layer_of_tensor(s->net, item) : -1;
    const struct qx_setting *set = &s->now.set[item];
    qx_predictor_follow(s);
    if (layer < 0 || qx_net_is_words(s->net) || qx_setting_is_fp32(set) || !set->has_range ||
        qx_setting_open(set) || !is_predicted(s)) {
        return false;
    }
    const struct qx_hist *hist = hist_of(s, item, set);
    const uint64_t key = hist ? profile_key(s, layer, set, is_low) : 0;
    if (!hist ||
        ((p->key != key || p->item != item) && !profile_begin(s, key, item, is_low, set, hist))) {
        return false;
    }
    if (p->n_done < QX_LEAD_NODES) {
        return false;
    }
    const uint64_t parts[2] = {key, qx_predict_key(set, QX_SITE_W)};
    const uint64_t flip_key = qx_hash64(parts, sizeof parts, 1);
    if (flip_key != s->leads.flip_key) {
        const struct qx_predict_base *base = qx_predict_table_base(s->predictor.table);
        const double from = qx_threshold_of(set, is_low);
        int below = 0;
        while (below < QX_LEAD_NODES && p->place[below] >= from) {
            below++;
        }
        if (!room_for(&s->leads, p->n, 0)) {
            return false;
        }
        qx_predict_mix_logits(s->predictor.mix, p->z);
        qx_predict_leads_of(base, p->z, s->leads.lead);
        lose_wrong(s, base);
        for (int k = 0; k < 2; k++) {
            int64_t index = 0;
            s->leads.flip[k] =
                flip_search(p, from, s->leads.lead, k ? below - 1 : below, k ? -1 : 1, &index);
            s->leads.flip[k].row = qx_predict_base_rows(base)[index];
        }
        s->leads.flip_key = flip_key;
    }
    memcpy(out, s->leads.flip, sizeof s->leads.flip);
    if (s->replayer.seen_key == s->measure.key_b) {
        qx_flip_path_refine(&s->leads.path, qx_net_n_layers(s->net), s->replayer.seen, layer,
                            is_low, out);
    }
    return true;
}

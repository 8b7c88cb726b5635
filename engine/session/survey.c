/* Measured sites, in memory and as files: never measured twice. */
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void qx_survey_release(struct qx_survey *v)
{
    qx_predict_probe_free(v->probe);
    qx_predict_table_unref(v->table);
    qx_calibration_unref(v->inputs);
    *v = (struct qx_survey){.probe = NULL};
}

/* ---- files: the predictor's, so that either finds what the other measured ---- */

static void not_kept(const struct qx_error *why)
{
    qx_log(QX_LOG_WARN, "a measured site is not kept: %s", why->text);
}

static void entry_save(struct qx_session *s, const char *name, const struct qx_predict_entry *e)
{
    struct qx_error why;
    char *path = qx_predictor_path(s, s->survey.key, name);
    if (path && qx_predict_entry_save(e, path, s->survey.key, &why) != QX_OK) {
        not_kept(&why);
    }
    qx_mem_free(path);
}

/* NULL when there is none, or it is of something else. */
static struct qx_predict_entry *entry_load(struct qx_session *s, const char *name)
{
    const struct qx_predict_base *base = qx_predict_table_base(s->survey.table);
    char *path = qx_predictor_path(s, s->survey.key, name);
    struct qx_predict_entry *e = NULL;
    if (path && qx_fs_exists(path)) {
        qx_predict_entry_load(path, s->survey.key, base, &e, NULL);
    }
    qx_mem_free(path);
    return e;
}

static struct qx_predict_base *base_load(struct qx_session *s)
{
    char *path = qx_predictor_path(s, s->survey.key, "rows");
    struct qx_predict_base *base = NULL;
    if (path && qx_fs_exists(path)) {
        qx_predict_base_load(path, s->survey.key, &base, NULL);
    }
    qx_mem_free(path);
    return base;
}

static void base_save(struct qx_session *s, const struct qx_predict_base *base)
{
    struct qx_error why;
    char *path = qx_predictor_path(s, s->survey.key, "rows");
    if (path && qx_predict_base_save(base, path, s->survey.key, &why) != QX_OK) {
        not_kept(&why);
    }
    qx_mem_free(path);
}

/* ---- P ---- */

/* P has grown: what was measured on fewer rows is no entry of its table. */
static void start_again(struct qx_survey *v)
{
    qx_predict_probe_free(v->probe);
    qx_predict_table_unref(v->table);
    v->probe = NULL;
    v->table = NULL;
}

/* A probe that knows the layers' inputs takes the place of one that does not; the table stays. */
enum qx_status qx_survey_open(struct qx_session *s, bool has_act,
                              const struct qx_predict_base *known, struct qx_ctl *ctl,
                              struct qx_error *err)
{
    struct qx_survey *v = &s->survey;
    if (v->probe && known &&
        qx_predict_base_n(known) != qx_predict_base_n(qx_predict_probe_base(v->probe))) {
        start_again(v);
    }
    if (v->probe && (v->has_act || !has_act)) {
        return QX_OK;
    }
    v->key = qx_predictor_key(s, known ? qx_predict_base_n(known) : QX_PREDICT_ROWS);
    struct qx_calibration *inputs = NULL;
    enum qx_status st = has_act ? qx_ranges_get(s, ctl, &inputs, err) : QX_OK;
    struct qx_predict_base *base = v->probe ? qx_predict_base_ref(qx_predict_probe_base(v->probe))
                                   : known  ? qx_predict_base_ref(known)
                                            : base_load(s);
    struct qx_predict_probe *probe = NULL;
    if (st == QX_OK) {
        st = qx_predict_probe_new(s->net, s->data, inputs, base, 0, s->seed, s->pool, ctl, &probe,
                                  err);
    }
    if (st == QX_OK && !v->table) {
        const struct qx_predict_base *p = qx_predict_probe_base(probe);
        st = qx_predict_table_new(p, qx_net_n_layers(s->net), &v->table, err);
        if (st == QX_OK && !base) {
            base_save(s, p);
        }
    }
    qx_predict_base_unref(base);
    if (st != QX_OK) {
        qx_predict_probe_free(probe);
        qx_calibration_unref(inputs);
        return st;
    }
    qx_predict_probe_free(v->probe);
    qx_calibration_unref(v->inputs);
    v->probe = probe;
    v->inputs = inputs;
    v->has_act = has_act;
    return QX_OK;
}

/* ---- entries ---- */

static enum qx_status table_add(struct qx_survey *v, const struct qx_predict_entry *e,
                                struct qx_error *err)
{
    struct qx_predict_table *more = NULL;
    const enum qx_status st = qx_predict_table_add(v->table, e, &more, err);
    if (st == QX_OK) {
        qx_predict_table_unref(v->table);
        v->table = more;
    }
    return st;
}

static enum qx_status keep(struct qx_survey *v, struct qx_predict_entry *e, enum qx_status st,
                           struct qx_predict_entry **out, struct qx_error *err)
{
    st = st == QX_OK ? table_add(v, e, err) : st;
    if (st != QX_OK) {
        qx_predict_entry_unref(e);
        return st;
    }
    *out = e;
    return QX_OK;
}

enum qx_status qx_survey_lite(struct qx_session *s, bool has_act, struct qx_ctl *ctl,
                              struct qx_predict_entry **out, struct qx_error *err)
{
    struct qx_survey *v = &s->survey;
    const struct qx_predict_want want = {
        .level = QX_PREDICT_LITE, .has_act = has_act, .is_act_urgent = has_act, .first = -1};
    struct qx_predict_spec spec;
    char name[64];
    *out = NULL;
    if (!qx_predict_next(v->table, s->net, &want, &spec)) {
        return QX_OK;
    }
    snprintf(name, sizeof name, "e%d-%d-%d", spec.layer, (int)spec.family,
             (int)lround(100 * spec.param));
    struct qx_predict_entry *e = entry_load(s, name);
    enum qx_status st = QX_OK;
    if (!e) {
        st = qx_predict_probe_entry(v->probe, &spec, s->pool, ctl, &e, err);
        if (st == QX_OK) {
            entry_save(s, name, e);
        }
    }
    return keep(v, e, st, out, err);
}

int qx_survey_missing(struct qx_session *s, bool has_act)
{
    const struct qx_predict_want want = {.level = QX_PREDICT_LITE, .has_act = has_act};
    const struct qx_predict_table *t = s->survey.table;
    int n = qx_predict_n_specs(s->net, &want);
    for (int i = 0; t && i < qx_predict_table_n(t); i++) {
        struct qx_predict_entry_info info;
        qx_predict_entry_look(qx_predict_table_entry(t, i), &info);
        n -= info.key == 0 && (has_act || info.spec.family < QX_FAMILY_A_ROUND);
    }
    return n > 0 ? n : 0;
}

enum qx_status qx_survey_cell(struct qx_session *s, int layer, enum qx_site site,
                              const struct qx_setting *set, bool is_kept, struct qx_ctl *ctl,
                              struct qx_predict_entry **out, struct qx_error *err)
{
    struct qx_survey *v = &s->survey;
    char name[64];
    *out = NULL;
    qx_predictor_entry_name(name, sizeof name, layer, site, qx_predict_key(set, site));
    struct qx_predict_entry *e = entry_load(s, name);
    enum qx_status st = QX_OK;
    if (!e && is_kept) {
        return QX_OK;
    }
    if (!e) {
        st = qx_predict_probe_exact(v->probe, layer, site, set, s->pool, ctl, &e, err);
        if (st == QX_OK) {
            entry_save(s, name, e);
        }
    }
    return keep(v, e, st, out, err);
}

#include "session/pictures.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

enum { MAP_PRIORITY = 4, MARGINS_PRIORITY = 0, AT_ONCE = 1 << 16 };

struct picture_task {
    struct qx_task task;
    const struct qx_model *model;
    struct qx_matrix matrix;
    struct qx_pool *pool;
    struct qx_matrix_map *map;  /* own reference; NULL for margins */
    struct qx_margins *margins; /* result */
};

static enum qx_status picture_run(struct qx_task *t, struct qx_error *err)
{
    struct picture_task *p = (struct picture_task *)t;
    if (p->map) {
        return qx_matrix_map_run(p->map, p->pool, &t->ctl, err);
    }
    enum qx_status status = qx_margins_make(&p->matrix, p->pool, &t->ctl, &p->margins, err);
    qx_model_dontneed(p->model, p->matrix.tensor);
    return status;
}

static void picture_drop(struct qx_task *t)
{
    struct picture_task *p = (struct picture_task *)t;
    qx_matrix_map_unref(p->map);
    qx_margins_free(p->margins);
    qx_mem_free(p);
}

static void map_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_pictures *v = &s->pictures;
    if (v->task == t) {
        v->task = NULL;
        s->news |= QX_NEWS_METRICS;
    }
    if (t->status != QX_OK && t->status != QX_ECANCELLED) {
        qx_log(QX_LOG_ERROR, "%s", t->err.text);
    }
}

static void margins_done(struct qx_session *s, struct qx_task *t)
{
    struct picture_task *p = (struct picture_task *)t;
    for (int i = 0; i < QX_MARGINS_KEPT; i++) {
        struct qx_margins_slot *slot = &s->pictures.slot[i];
        if (slot->task == t) {
            slot->task = NULL;
            slot->margins = p->margins;
            p->margins = NULL;
            qx_str_copy(slot->reason, sizeof slot->reason, t->err.text);
            s->news |= QX_NEWS_METRICS;
        }
    }
}

static struct picture_task *task_new(struct qx_session *s, int64_t item, struct qx_matrix_map *map)
{
    struct picture_task *p = qx_mem_zalloc(sizeof *p);
    if (p) {
        p->task = (struct qx_task){.run = picture_run,
                                   .done = map ? map_done : margins_done,
                                   .drop = picture_drop,
                                   .priority = map ? MAP_PRIORITY : MARGINS_PRIORITY};
        p->model = s->model;
        p->matrix = qx_matrix_of(s->items.v[item].tensor, s->items.v[item].channels);
        p->pool = s->pool;
        p->map = map ? qx_matrix_map_ref(map) : NULL;
    }
    return p;
}

/* ---- the map ---- */

static void map_forget(struct qx_pictures *v)
{
    if (v->task) {
        qx_task_cancel(v->task);
        v->task = NULL;
    }
    qx_matrix_map_unref(v->map);
    v->map = NULL;
}

static bool is_shown(const struct qx_pictures *v, int64_t item, enum qx_matrix_what what,
                     const struct qx_setting *setting, const struct qx_matrix_part *part)
{
    return v->map && v->key.item == item && v->key.what == what &&
           qx_matrix_part_equal(&v->key.part, part) &&
           (what == QX_MATRIX_VALUE || qx_setting_equal_weight(&v->key.setting, setting));
}

/* False: no histogram with the ranges of all units yet (it is on its way, or there is a reason). */
static bool hist_of(struct qx_session *s, int64_t item, enum qx_matrix_what what,
                    struct qx_hist **out, const char **reason)
{
    const struct qx_setting *setting = &s->now.set[item];
    *out = NULL;
    if (what == QX_MATRIX_VALUE || !qx_format_is_scaled(setting->format)) {
        return true;
    }
    struct qx_hist_spec spec = qx_setting_spec(setting, s->items.v[item].channels);
    const struct qx_cache_entry *e = qx_cache_want(s, item, &spec);
    *out = e && e->state == QX_HIST_READY ? e->hist : NULL;
    *reason =
        e && e->state == QX_HIST_FAILED ? "The ranges cannot be found; the log says why." : NULL;
    return *out != NULL && !qx_setting_open(setting);
}

static void map_start(struct qx_session *s, int64_t item)
{
    struct qx_pictures *v = &s->pictures;
    struct qx_error err;
    if (v->key.part.rows * v->key.part.cols <= AT_ONCE || !s->preview.is_started) {
        if (qx_matrix_map_run(v->map, NULL, NULL, &err) != QX_OK) {
            qx_str_copy(v->reason, sizeof v->reason, err.text);
            map_forget(v);
        }
        return;
    }
    struct picture_task *p = task_new(s, item, v->map);
    if (!p) {
        qx_str_copy(v->reason, sizeof v->reason, "out of memory");
        map_forget(v);
        return;
    }
    v->task = &p->task;
    qx_exact_preempt(s);
    qx_lane_submit(&s->preview, v->task);
}

const struct qx_matrix_map *qx_session_matrix(struct qx_session *s, int64_t item,
                                              enum qx_matrix_what what,
                                              const struct qx_matrix_part *part,
                                              const char **reason)
{
    struct qx_pictures *v = &s->pictures;
    const struct qx_setting *setting = &s->now.set[item];
    const struct qx_item *it = &s->items.v[item];
    struct qx_hist *hist;
    struct qx_error err;
    *reason = NULL;
    if (it->tensor->reason || !qx_dtype_get(it->tensor->dtype)->is_readable) {
        *reason = it->reason;
        return NULL;
    }
    if (is_shown(v, item, what, setting, part)) {
        return v->map;
    }
    map_forget(v);
    if (!hist_of(s, item, what, &hist, reason)) {
        return NULL;
    }
    struct qx_matrix matrix = qx_matrix_of(it->tensor, it->channels);
    if (qx_matrix_map_new(&matrix, what, setting, hist, part, &v->map, &err) != QX_OK) {
        qx_str_copy(v->reason, sizeof v->reason, err.text);
        *reason = v->reason;
        return NULL;
    }
    v->key.item = item;
    v->key.what = what;
    v->key.setting = *setting;
    v->key.part = *part;
    map_start(s, item);
    *reason = v->map ? NULL : v->reason;
    return v->map;
}

/* ---- margins ---- */

static struct qx_margins_slot *slot_take(struct qx_pictures *v)
{
    struct qx_margins_slot *slot = &v->slot[0];
    for (int i = 1; i < QX_MARGINS_KEPT; i++) {
        slot = v->slot[i].used < slot->used ? &v->slot[i] : slot;
    }
    if (slot->task) {
        qx_task_cancel(slot->task);
    }
    qx_margins_free(slot->margins);
    *slot = (struct qx_margins_slot){.is_used = true};
    return slot;
}

/* Small ones at once, others in the background; NULL when out of memory. */
static struct qx_margins_slot *slot_fill(struct qx_session *s, int64_t item)
{
    const struct qx_item *it = &s->items.v[item];
    const bool at_once = it->tensor->numel <= AT_ONCE || !s->preview.is_started;
    struct picture_task *p = at_once ? NULL : task_new(s, item, NULL);
    if (!at_once && !p) {
        return NULL;
    }
    struct qx_margins_slot *slot = slot_take(&s->pictures);
    slot->item = item;
    if (p) {
        slot->task = &p->task;
        qx_lane_submit(&s->preview, slot->task);
        return slot;
    }
    const struct qx_matrix matrix = qx_matrix_of(it->tensor, it->channels);
    struct qx_error err;
    if (qx_margins_make(&matrix, NULL, NULL, &slot->margins, &err) != QX_OK) {
        qx_str_copy(slot->reason, sizeof slot->reason, err.text);
    }
    return slot;
}

const struct qx_margins *qx_session_margins(struct qx_session *s, int64_t item, const char **reason)
{
    struct qx_pictures *v = &s->pictures;
    const struct qx_item *it = &s->items.v[item];
    struct qx_margins_slot *slot = NULL;
    *reason = NULL;
    if (it->tensor->reason || !qx_dtype_get(it->tensor->dtype)->is_readable) {
        *reason = it->reason;
        return NULL;
    }
    for (int i = 0; i < QX_MARGINS_KEPT; i++) {
        slot = v->slot[i].is_used && v->slot[i].item == item ? &v->slot[i] : slot;
    }
    slot = slot ? slot : slot_fill(s, item);
    if (!slot) {
        return NULL;
    }
    slot->used = ++v->clock;
    *reason = slot->reason[0] ? slot->reason : NULL;
    return slot->margins;
}

void qx_pictures_release(struct qx_session *s)
{
    struct qx_pictures *v = &s->pictures;
    qx_matrix_map_unref(v->map);
    for (int i = 0; i < QX_MARGINS_KEPT; i++) {
        qx_margins_free(v->slot[i].margins);
    }
}

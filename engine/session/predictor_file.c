/* Where the predictor's numbers are kept: P and its entries one file each, measured configurations and
 * grades in one. All are refused when weights, data, graph or program have changed. */
#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { POINTS_MOST_BYTES = 64 << 20 };

uint64_t qx_predictor_key(const struct qx_session *s, int64_t rows)
{
    const char *hash = qx_dataset_hash(s->data);
    const uint64_t rest[2] = {(uint64_t)rows, s->seed};
    uint64_t h = qx_ranges_net_hash(s);
    h = qx_hash64(hash, strlen(hash), h);
    return qx_hash64(rest, sizeof rest, h);
}

char *qx_predictor_path(const struct qx_session *s, uint64_t key, const char *name)
{
    char text[128];
    snprintf(text, sizeof text, "predict-%016" PRIx64 "-%s.qxh", key, name);
    return s->cache.dir ? qx_fs_join(s->cache.dir, text) : NULL;
}

struct points_head {
    char magic[8];
    uint64_t key, checksum;
    int64_t n_layers, n_points, n_grades;
};
static const char magic[8] = "qxpoint2";

void qx_predictor_save(struct qx_session *s)
{
    const struct qx_predictor *p = &s->predictor;
    struct points_head h = {{0}, p->key, 0, qx_net_n_layers(s->net), p->n_points, p->n_grades};
    char *path = qx_predictor_path(s, p->key, "points");
    struct qx_error why;
    struct qx_buf b = {0};
    if (!path) {
        return;
    }
    memcpy(h.magic, magic, sizeof h.magic);
    qx_buf_add(&b, &h, sizeof h);
    qx_buf_add(&b, p->grades, (size_t)p->n_grades * sizeof *p->grades);
    for (int i = 0; i < p->n_points; i++) {
        struct qx_predict_point_info info;
        qx_predict_point_look(p->points[i], &info);
        const double v[2] = {info.value, info.kl};
        const uint64_t u[2] = {info.key, info.is_drawn};
        qx_buf_add(&b, v, sizeof v);
        qx_buf_add(&b, u, sizeof u);
        qx_buf_add(&b, qx_predict_point_change(p->points[i]),
                   (size_t)h.n_layers * sizeof(struct qx_predict_layer));
    }
    if (!b.oom) {
        h.checksum = qx_hash64(b.data + sizeof h, b.len - sizeof h, p->key);
        memcpy(b.data, &h, sizeof h);
        if (qx_fs_write_atomic(path, b.data, b.len, &why) != QX_OK) {
            qx_log(QX_LOG_WARN, "measured configurations are not kept on disk: %s", why.text);
        }
    }
    qx_buf_release(&b);
    qx_mem_free(path);
}

static bool layers_are_sound(const struct qx_predict_layer *v, int64_t n)
{
    bool is_sound = true;
    for (int64_t i = 0; i < n; i++) {
        for (int s = 0; s < QX_SITE_COUNT; s++) {
            is_sound &= v[i].t[s].round >= 0.0 && v[i].t[s].clip >= 0.0 &&
                        isfinite(v[i].t[s].round) && isfinite(v[i].t[s].clip);
        }
    }
    return is_sound;
}

static void point_take(struct qx_session *s, const char *at, int64_t n_layers)
{
    double v[2];
    uint64_t u[2];
    struct qx_predict_point *point;
    struct qx_predict_layer *change = qx_mem_array((size_t)n_layers + 1, sizeof *change);
    if (!change) {
        return;
    }
    memcpy(v, at, sizeof v);
    memcpy(u, at + sizeof v, sizeof u);
    memcpy(change, at + sizeof v + sizeof u, (size_t)n_layers * sizeof *change);
    const struct qx_predict_point_info info = {u[0], v[0], v[1], u[1] == 1};
    if (v[0] >= 0.0 && v[0] <= 1.0 && layers_are_sound(change, n_layers) &&
        qx_predict_point_new(change, (int)n_layers, &info, &point, NULL) == QX_OK) {
        qx_predictor_point_add(&s->predictor, point);
    }
    qx_mem_free(change);
}

void qx_predictor_load(struct qx_session *s)
{
    struct qx_predictor *p = &s->predictor;
    char *path = qx_predictor_path(s, p->key, "points"), *text = NULL;
    size_t len = 0;
    struct points_head h;
    const int64_t n_layers = qx_net_n_layers(s->net);
    const size_t point_bytes = 32 + (size_t)n_layers * sizeof(struct qx_predict_layer);
    if (path && qx_fs_exists(path) &&
        qx_fs_read(path, POINTS_MOST_BYTES, &text, &len, NULL) == QX_OK && len >= sizeof h) {
        memcpy(&h, text, sizeof h);
        const char *at = text + sizeof h;
        if (memcmp(h.magic, magic, sizeof h.magic) == 0 && h.key == p->key &&
            h.n_layers == n_layers && h.n_points >= 0 && h.n_points <= QX_POINTS_KEPT &&
            h.n_grades >= 0 && h.n_grades <= QX_GRADES_KEPT &&
            len == sizeof h + (size_t)h.n_grades * sizeof *p->grades +
                       (size_t)h.n_points * point_bytes &&
            h.checksum == qx_hash64(at, len - sizeof h, p->key)) {
            p->n_grades = (int)h.n_grades;
            memcpy(p->grades, at, (size_t)h.n_grades * sizeof *p->grades);
            at += (size_t)h.n_grades * sizeof *p->grades;
            for (int64_t i = 0; i < h.n_points; i++, at += point_bytes) {
                point_take(s, at, n_layers);
            }
        }
    }
    qx_mem_free(text);
    qx_mem_free(path);
}

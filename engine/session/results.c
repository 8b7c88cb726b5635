/* Measurements kept between sessions: a file beside the recipe, valid for the same weights, data and
 * version. Whatever does not fit is left out: it can be measured again. */
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/cpu.h"
#include "qx/json.h"
#include "session/session_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 8, MOST_ROWS = 400000, FILE_MAX_BYTES = 64 << 20 };

static void hex_write(struct qx_jw *w, const char *key, uint64_t value)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    qx_jw_key(w, key);
    qx_jw_str(w, text);
}

static uint64_t hex_read(const struct qx_jval *v)
{
    return strtoull(qx_jstr(v, "0"), NULL, 16);
}

/* ---- writing ---- */

static void result_write(struct qx_jw *w, const struct qx_result_slot *slot)
{
    const struct qx_eval_result *r = slot->result;
    qx_jw_object(w);
    hex_write(w, "key", slot->key);
    qx_jw_key(w, "macro_f1");
    qx_jw_num(w, r->macro_f1);
    qx_jw_key(w, "time_s");
    qx_jw_num(w, r->time_s);
    qx_jw_key(w, "engine");
    qx_jw_str(w, r->engine == QX_ENGINE_INTEGER     ? "integer"
                 : r->engine == QX_ENGINE_SIMULATED ? "simulated"
                                                    : NULL);
    qx_jw_key(w, "predicted");
    qx_jw_array(w);
    for (int64_t i = 0; i < r->n; i++) {
        qx_jw_int(w, r->predicted[i]);
    }
    qx_jw_end(w);
    qx_jw_key(w, "margin");
    qx_jw_array(w);
    for (int64_t i = 0; i < r->n; i++) {
        qx_jw_float(w, r->margin[i]);
    }
    qx_jw_end(w);
    if (r->nll) {
        qx_jw_key(w, "nll");
        qx_jw_array(w);
        for (int64_t i = 0; i < r->n; i++) {
            qx_jw_float(w, r->nll[i]);
        }
        qx_jw_end(w);
    }
    qx_jw_end(w);
}

static int newest_first(const void *a, const void *b)
{
    const struct qx_result_slot *x = *(struct qx_result_slot *const *)a;
    const struct qx_result_slot *y = *(struct qx_result_slot *const *)b;
    return (x->used < y->used) - (x->used > y->used);
}

/* FP32 first, then the most recently used. */
static int choose(struct qx_measure *m, const struct qx_result_slot **out)
{
    const struct qx_result_slot *all[QX_RESULTS_KEPT];
    int n = 0, n_out = 0;
    qx_measure_find(m, m->key_b);
    qx_measure_find(m, m->key_fp32);
    for (int i = 0; i < QX_RESULTS_KEPT; i++) {
        if (m->slot[i].result) {
            all[n++] = &m->slot[i];
        }
    }
    qsort(all, (size_t)n, sizeof *all, newest_first);
    int64_t rows = 0;
    for (int i = 0; i < n && n_out < KEPT; i++) {
        rows += all[i]->result->n;
        if (rows <= MOST_ROWS) {
            out[n_out++] = all[i];
        }
    }
    return n_out;
}

void qx_results_save(struct qx_session *s, const char *path)
{
    const struct qx_result_slot *slot[KEPT];
    struct qx_error why;
    int n = choose(&s->measure, slot);
    if (n == 0) {
        return;
    }
    struct qx_jw *w = qx_jw_new(false);
    qx_jw_object(w);
    qx_jw_key(w, "schema");
    qx_jw_str(w, "qexplore.measured/1");
    qx_jw_key(w, "version");
    qx_jw_str(w, QX_VERSION);
    qx_jw_key(w, "isa");
    qx_jw_str(w, qx_isa_name(qx_cpu_get()->isa));
    qx_jw_key(w, "data");
    qx_jw_str(w, qx_dataset_hash(s->data));
    hex_write(w, "weights", s->file_hash);
    qx_jw_key(w, "results");
    qx_jw_array(w);
    for (int i = 0; i < n; i++) {
        result_write(w, slot[i]);
    }
    qx_jw_end(w);
    qx_jw_end(w);
    size_t len;
    char *text = qx_jw_take(w, &len);
    if (text && qx_fs_write_atomic(path, text, len, &why) != QX_OK) {
        qx_log(QX_LOG_WARN, "measurements are not kept: %s", why.text);
    }
    qx_free_text(text);
}

/* ---- reading ---- */

static bool rows_read(const struct qx_session *s, const struct qx_jval *v, struct qx_eval_result *r)
{
    const struct qx_jval *p = qx_jfirst(qx_jget(v, "predicted"));
    const struct qx_jval *m = qx_jfirst(qx_jget(v, "margin"));
    const struct qx_jval *nll = qx_jfirst(qx_jget(v, "nll"));
    for (int64_t i = 0; i < r->n; i++, p = qx_jnext(p), m = qx_jnext(m)) {
        int64_t class;
        if (r->nll) {
            r->nll[i] = (float)qx_jnum(nll, NAN);
            nll = nll ? qx_jnext(nll) : NULL;
        }
        if (!p || !m || !qx_jint(p, &class) || class < 0 || class >= qx_net_n_classes(s->net) ||
            !qx_jis_number(m)) {
            return false;
        }
        r->predicted[i] = (int32_t) class;
        r->margin[i] = (float)qx_jnum(m, 0);
    }
    return !p && !m;
}

static void result_read(struct qx_session *s, const struct qx_jval *v)
{
    struct qx_eval_result *r = NULL;
    if (qx_eval_result_new(s->net, s->data, &r, NULL) != QX_OK || !rows_read(s, v, r) ||
        qx_eval_result_finish(r, NULL) != QX_OK) {
        qx_eval_result_free(r);
        return;
    }
    r->macro_f1 = qx_jnum(qx_jget(v, "macro_f1"), NAN);
    r->time_s = qx_jnum(qx_jget(v, "time_s"), 0);
    const char *engine = qx_jstr(qx_jget(v, "engine"), "");
    r->engine = strcmp(engine, "integer") == 0     ? QX_ENGINE_INTEGER
                : strcmp(engine, "simulated") == 0 ? QX_ENGINE_SIMULATED
                                                   : QX_ENGINE_AUTO;
    s->measure.eval_time_s = r->time_s;
    qx_measure_put(&s->measure, hex_read(qx_jget(v, "key")), r);
}

void qx_results_load(struct qx_session *s, const char *path)
{
    struct qx_json *json = NULL;
    if (!qx_fs_exists(path) || qx_json_load(path, FILE_MAX_BYTES, &json, NULL) != QX_OK) {
        return;
    }
    const struct qx_jval *root = qx_json_root(json);
    if (strcmp(qx_jstr(qx_jget(root, "schema"), ""), "qexplore.measured/1") == 0 &&
        strcmp(qx_jstr(qx_jget(root, "version"), ""), QX_VERSION) == 0 &&
        strcmp(qx_jstr(qx_jget(root, "isa"), ""), qx_isa_name(qx_cpu_get()->isa)) == 0 &&
        strcmp(qx_jstr(qx_jget(root, "data"), ""), qx_dataset_hash(s->data)) == 0 &&
        hex_read(qx_jget(root, "weights")) == s->file_hash) {
        int n = 0;
        const struct qx_jval *v = qx_jfirst(qx_jget(root, "results"));
        for (; v && n < KEPT; v = qx_jnext(v), n++) {
            result_read(s, v);
        }
    }
    qx_json_free(json);
}

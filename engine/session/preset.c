/* Presets: from a row to the recipe of a model. */
#include "qx/preset.h"

#include "base/error.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum qx_status qx_preset_find(const char *name, const struct qx_preset **out, struct qx_error *err)
{
    enum { MOST = 64 };
    const char *names[MOST];
    int n = 0;
    for (; n < qx_preset_count() && n < MOST; n++) {
        names[n] = qx_preset_at(n)->name;
        if (strcmp(names[n], name) == 0) {
            *out = qx_preset_at(n);
            return QX_OK;
        }
    }
    const char *near = qx_nearest(name, names, (size_t)n);
    return near ? qx_fail(err, QX_ENAME, "unknown preset '%.40s': did you mean '%s'?", name, near)
                : qx_fail(err, QX_ENAME, "unknown preset '%.40s': `qexplore presets` lists them",
                          name);
}

static struct qx_act act_of(const struct qx_preset *p)
{
    if (p->act.bits == 0) {
        return (struct qx_act){0};
    }
    struct qx_act a = p->act.dynamic ? qx_act_dynamic(p->act.bits) : qx_act_static(p->act.bits);
    a.sym = p->act.sym;
    if (p->act.dynamic) {
        a.gran = p->act.by_token ? QX_ACT_TOKEN : QX_ACT_TENSOR;
    }
    if (p->act.method) {
        qx_act_method(&a, p->act.method, NULL);
    }
    return a;
}

struct qx_setting qx_preset_setting(const struct qx_preset *p)
{
    const struct qx_format *f = p->weight.format ? qx_format_find(p->weight.format) : NULL;
    struct qx_setting s = f ? qx_setting_of(f, p->weight.bits) : qx_setting_int(p->weight.bits);
    if (!qx_format_is_scaled(s.format)) {
        return s;
    }
    s.sym = !p->weight.asym;
    if (p->weight.group > 0) {
        s.gran = QX_GRAN_GROUP;
        s.group = p->weight.group;
        s.scale = QX_SCALE_F16;
        if (p->weight.scale) {
            qx_scale_find(p->weight.scale, &s.scale);
        }
    } else if (p->weight.by_tensor) {
        s.gran = QX_GRAN_TENSOR;
    }
    if (p->weight.method) {
        s.calib = qx_calib_find(p->weight.method);
        s.param = s.calib->param_default;
    }
    if (p->weight.algo) {
        struct qx_algo algo;
        qx_algo_parse(p->weight.algo, &algo, s.algo, NULL);
    }
    s.act = act_of(p);
    return s;
}

/* The first number between two dots of a name: that of its block. */
static int64_t block_of(const char *name)
{
    for (const char *p = name; (p = strchr(p, '.')) != NULL; p++) {
        char *end;
        const long v = strtol(p + 1, &end, 10);
        if (isdigit((unsigned char)p[1]) && *end == '.') {
            return v;
        }
    }
    return -1;
}

/* A layer of the preset's, but for its place. */
static bool layer_of(const struct qx_session *s, int64_t item, struct qx_preset_layer *out)
{
    const struct qx_item *it = &s->items.v[item];
    *out = (struct qx_preset_layer){.name = it->tensor->name};
    out->block = block_of(out->name);
    out->is_conv = it->layer ? strstr(it->layer->op, "Conv") != NULL : it->tensor->rank > 2;
    return it->can_quantize && it->role == QX_ROLE_LINEAR;
}

/* Item k in the order of the network, else in the model's. */
static int64_t item_at(const struct qx_session *s, int64_t k)
{
    return s->net ? qx_net_layer(s->net, (int)k)->tensor : k;
}

static int64_t recipe_fill(const struct qx_session *s, const struct qx_preset *p,
                           struct qx_recipe *want)
{
    const int64_t count = s->net ? qx_net_n_layers(s->net) : s->items.n;
    const struct qx_setting usual = qx_preset_setting(p);
    struct qx_preset_layer l;
    int64_t n_blocks = 0, n_set = 0;
    int n = 0, at = 0;
    for (int64_t k = 0; k < count; k++) {
        n += layer_of(s, item_at(s, k), &l);
        n_blocks = l.block >= n_blocks ? l.block + 1 : n_blocks;
    }
    for (int64_t k = 0; k < count; k++) {
        const int64_t item = item_at(s, k);
        if (layer_of(s, item, &l)) {
            l.at = at++;
            l.n = n;
            l.n_blocks = n_blocks;
            const char *other = p->other ? p->other(&l) : NULL;
            want->set[item] = other ? qx_setting_of(qx_format_find(other), 0) : usual;
            want->origin[item] = QX_ORIGIN_METHOD;
            n_set += !qx_setting_is_fp32(&want->set[item]);
        }
    }
    return n_set;
}

enum qx_status qx_session_preset(struct qx_session *s, const struct qx_preset *p, int64_t *n,
                                 struct qx_error *err)
{
    struct qx_recipe want = {0};
    enum qx_status st = qx_recipe_init(&want, s->items.n, err);
    const int64_t n_set = st == QX_OK ? recipe_fill(s, p, &want) : 0;
    if (st == QX_OK) {
        st = qx_methods_check_recipe(s, &want, err);
    }
    if (st == QX_OK) {
        qx_session_seal(s);
        st = qx_recipe_replace(s, &want, QX_STEP_EDIT, err);
    }
    qx_recipe_release(&want);
    if (st == QX_OK && n) {
        *n = n_set;
    }
    return st;
}

#include "session/items.h"

#include "base/error.h"
#include "base/str.h"

#include <string.h>
#include <strings.h>

/* One of the words (which begin with two lower-case letters), in any case. Letters are compared before
 * strncasecmp is asked: this runs for each of perhaps 20,000 names before the first frame. */
static bool name_holds(const char *name, const char *const *words, size_t n)
{
    for (const char *p = name; p[0] && p[1]; p++) {
        for (size_t i = 0; i < n; i++) {
            const char *word = words[i];
            if ((p[0] | 0x20) == word[0] && (p[1] | 0x20) == word[1] &&
                strncasecmp(p, word, strlen(word)) == 0) {
                return true;
            }
        }
    }
    return false;
}

enum qx_role qx_role_guess(const struct qx_tensor *t, int min_rank)
{
    static const char *const tables[] = {"embed", "embd", "wte", "wpe", "tok_emb", "position"};
    static const char *const others[] = {"norm", "ln_", "bn", "bias", "running_"};
    if (!qx_dtype_get(t->dtype)->is_float || t->rank < min_rank ||
        name_holds(t->name, others, sizeof others / sizeof *others)) {
        return QX_ROLE_OTHER;
    }
    return name_holds(t->name, tables, sizeof tables / sizeof *tables) ? QX_ROLE_EMBEDDING
                                                                       : QX_ROLE_LINEAR;
}

static const char *refusal(const struct qx_tensor *t)
{
    const struct qx_dtype_info *info = qx_dtype_get(t->dtype);
    if (t->reason) {
        return t->reason;
    }
    if (!info->is_readable) {
        return "Its values cannot be read in this version.";
    }
    if (!info->is_float) {
        return "It holds whole numbers, which are never quantized.";
    }
    return t->numel == 0 ? "It is empty." : "";
}

/* "conv1.weight" -> "conv1"; other names stay. */
static const char *alias_of(struct qx_arena *arena, const char *name)
{
    static const char suffix[] = ".weight";
    size_t len = strlen(name), cut = sizeof suffix - 1;
    return len > cut && qx_str_ends(name, suffix) ? qx_arena_strndup(arena, name, len - cut) : name;
}

static bool item_fill(struct qx_items *items, int64_t i, const struct qx_model *model,
                      const struct qx_net *net, int min_rank)
{
    struct qx_item *it = &items->v[i];
    it->tensor = qx_model_tensor(model, i);
    int at = net ? qx_net_layer_of_tensor(net, i) : -1;
    it->layer = at >= 0 ? qx_net_layer(net, at) : NULL;
    if (it->layer) {
        it->alias = it->layer->name;
        it->role = it->layer->role;
        it->channels = it->layer->channels;
    } else {
        it->alias = alias_of(&items->arena, it->tensor->name);
        it->role = net ? QX_ROLE_OTHER : qx_role_guess(it->tensor, min_rank);
        it->channels = qx_channels_of(it->tensor, 0);
    }
    it->reason = refusal(it->tensor);
    it->can_quantize = it->reason[0] == '\0';
    it->has_influence = !net || qx_net_uses_tensor(net, i);
    return it->alias != NULL;
}

/* Files whose tensors are all of rank 1 (toy examples) are quantizable too. */
static int rank_floor(const struct qx_model *model)
{
    for (int64_t i = 0; i < qx_model_n_tensors(model); i++) {
        if (qx_model_tensor(model, i)->rank >= 2) {
            return 2;
        }
    }
    return 1;
}

enum qx_status qx_items_build(struct qx_items *out, const struct qx_model *model,
                              const struct qx_net *net, struct qx_error *err)
{
    struct qx_items items = {.n = qx_model_n_tensors(model), .model = model};
    size_t n = (size_t)items.n;
    items.v = qx_arena_array(&items.arena, n + 1, sizeof *items.v);
    bool ok = items.v != NULL;
    int min_rank = rank_floor(model);
    for (int64_t i = 0; ok && i < items.n; i++) {
        ok = item_fill(&items, i, model, net, min_rank);
    }
    if (!ok) {
        qx_items_release(&items);
        return qx_fail_nomem(err, n * sizeof *items.v);
    }
    *out = items;
    return QX_OK;
}

int64_t qx_items_weigh(struct qx_items *items, const struct qx_imatrix *m)
{
    int64_t n = 0;
    items->imatrix_key = qx_imatrix_key(m);
    for (int64_t i = 0; i < items->n; i++) {
        struct qx_item *it = &items->v[i];
        char there[QX_FOLDER_NAME];
        const struct qx_importance *of = qx_imatrix_find(m, it->tensor->name);
        if (!of && qx_net_gguf_name(it->tensor->name, there, sizeof there)) {
            of = qx_imatrix_find(m, there);
        }
        const struct qx_channels rows = qx_channels_rows(it->channels);
        it->importance = of && of->n == rows.outer * rows.inner ? of : NULL;
        n += it->importance != NULL;
    }
    return n;
}

void qx_items_release(struct qx_items *items)
{
    qx_arena_release(&items->arena);
    *items = (struct qx_items){0};
}

static const char *nearest_name(const struct qx_items *items, const char *name)
{
    enum { MOST = 4096 }; /* the search is linear in names and their lengths */
    const char *names[MOST];
    size_t n = 0;
    for (int64_t i = 0; i < items->n && n + 2 <= MOST; i++) {
        names[n++] = items->v[i].tensor->name;
        names[n++] = items->v[i].alias;
    }
    return qx_nearest(name, names, n);
}

int64_t qx_items_find(const struct qx_items *items, const char *name, struct qx_error *err)
{
    int64_t found = qx_model_find(items->model, name);
    if (found >= 0) {
        return found;
    }
    for (int64_t i = 0; i < items->n; i++) {
        if (strcmp(items->v[i].alias, name) != 0) {
            continue;
        }
        if (found >= 0) {
            qx_fail(err, QX_ENAME, "'%s' may mean '%s' or '%s': write the tensor's full name", name,
                    items->v[found].tensor->name, items->v[i].tensor->name);
            return -1;
        }
        found = i;
    }
    if (found >= 0) {
        return found;
    }
    const char *near = nearest_name(items, name);
    if (near) {
        qx_fail(err, QX_ENAME, "the model has no tensor '%s': did you mean '%s'?", name, near);
    } else {
        qx_fail(err, QX_ENAME, "the model has no tensor '%s': `qexplore info` lists them", name);
    }
    return -1;
}

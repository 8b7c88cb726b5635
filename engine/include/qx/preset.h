/* Presets: whole recipes by the names that people know their tools by; one row each
 * (session/preset_table.c). */
#ifndef QX_PRESET_H
#define QX_PRESET_H

#include "qx/session.h"

/* What a preset sees of one layer. */
struct qx_preset_layer {
    const char *name; /* of the tensor */
    int at, n;        /* its place among the linear layers, in execution order */
    int64_t block,
        n_blocks; /* the number in its name ("model.layers.3.x": 3), of how many; -1, 0 */
    bool is_conv;
};
struct qx_preset {
    const char *name; /* in flags and commands: "bnb-nf4" */
    char key;         /* after `p` */
    const char *help; /* one sentence */
    const char *tool; /* what the tool of that name does */
    const char *ours; /* where this differs from it */
    /* of every linear layer; as the flags of the same names say it, NULL and 0 = their defaults */
    struct {
        const char *format;
        int bits;
        bool asym;
        int64_t group; /* 0: channel */
        bool by_tensor;
        const char *scale; /* of groups: "f32", "dq"; NULL: "f16" */
        const char *method, *algo;
    } weight;
    struct {
        int bits; /* 0: float32 */
        bool sym, dynamic, by_token;
        const char *method;
    } act;
    /* Another format for this layer, NULL = as above; "fp32" leaves it as stored. */
    const char *(*other)(const struct qx_preset_layer *l);
};
int qx_preset_count(void);
const struct qx_preset *qx_preset_at(int i);
/* QX_ENAME with the nearest name. */
enum qx_status qx_preset_find(const char *name, const struct qx_preset **out, struct qx_error *err);
/* The setting of a layer that is no exception. */
struct qx_setting qx_preset_setting(const struct qx_preset *p);
/* Make it the recipe: one undo step; layers it does not name become fp32. n: layers quantized (NULL
 * allowed). QX_EUNSUPPORTED when a layer cannot take its methods, QX_ENOMEM; nothing changes then. */
enum qx_status qx_session_preset(struct qx_session *s, const struct qx_preset *p, int64_t *n,
                                 struct qx_error *err);

#endif

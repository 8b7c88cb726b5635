/* Post-training methods: better weights than rounding to nearest gives, layer by layer.
 *
 * A setting names methods in its `algo`: "gptq", "awq:0.5,gptq". They run in the order of their stages,
 * whatever the order of the names, and what they chose is an overlay (qx/overlay.h). */
#ifndef QX_METHOD_H
#define QX_METHOD_H

#include "qx/eval.h"
#include "qx/moments.h"
#include "qx/overlay.h"

/* When a method runs. */
enum qx_method_stage {
    QX_STAGE_SCALE,  /* factors of input channels, clipping of units, columns kept apart */
    QX_STAGE_CODES,  /* which code each weight gets */
    QX_STAGE_REFINE, /* others for some of them */
    QX_STAGE_AFTER   /* corrections once the codes are known */
};

/* What a method decides alone: two that claim the same cannot be named together. */
enum qx_method_claim {
    QX_CLAIM_INPUTS = 1,  /* factors of input channels */
    QX_CLAIM_COLUMNS = 2, /* inputs kept apart */
    QX_CLAIM_CODES = 4,
    QX_CLAIM_BIASES = 8
};

struct qx_method_work;
struct qx_method_target {
    const struct qx_net *net;
    int layer;
    const struct qx_setting *set;
    bool has_product; /* qx_net_layer_product says so */
    struct qx_net_product product;
};

/* One row each (method/method_table.c). */
struct qx_method {
    const char *name;  /* in recipes and flags: "gptq" */
    const char *title; /* on screen: "GPTQ" */
    const char *help;  /* one sentence */
    char key;          /* after `a` on the Layer screen */
    enum qx_method_stage stage;
    unsigned claims;
    bool is_trained;   /* made by training alone: not to be chosen, no key */
    bool needs_inputs; /* moments of the layer's inputs, from calibration rows */
    bool heeds_act;    /* looks at the bits and the symmetry that its inputs are quantized to */
    /* A number behind ':'; NULL = none. NaN as default: the method searches. */
    const char *param;
    double param_default, param_lo, param_hi;
    /* Why this layer cannot take it: the end of a sentence, "its inputs are ..."; NULL = it can. */
    const char *(*refuse)(const struct qx_method_target *t);
    enum qx_status (*run)(struct qx_method_work *w, double param, struct qx_error *err);
};
int qx_method_count(void);
const struct qx_method *qx_method_at(int i);
const struct qx_method *qx_method_find(const char *name); /* NULL when unknown */

/* The methods that a setting names. */
enum { QX_ALGO_METHODS = 8 };
struct qx_algo {
    int n;
    struct {
        const struct qx_method *method;
        double param;
    } v[QX_ALGO_METHODS]; /* by stage */
};
/* "awq:0.5,gptq" -> list, and its canonical text (cap QX_ALGO_MOST; NULL = not wanted). "" and "rtn":
 * none. QX_ENAME with the nearest name, QX_ERANGE. */
enum qx_status qx_algo_parse(const char *text, struct qx_algo *out, char *canonical,
                             struct qx_error *err);
/* Do they look at the layer's inputs? With static activations under factors, for the range too. */
bool qx_algo_needs_inputs(const struct qx_algo *a, const struct qx_setting *s);
/* May this layer have the methods of its setting? QX_EUNSUPPORTED with the reason. layer < 0: a tensor
 * that no node multiplies (weights-only methods may still apply). */
enum qx_status qx_algo_check(const struct qx_net *net, int layer, const char *tensor,
                             const struct qx_setting *s, struct qx_error *err);

/* Run the methods of layer's setting set[layer] (range resolved); set: of all layers, for methods that look
 * at neighbours. moments: NULL unless they are needed. A method
 * that finds no sound result (a matrix that stays singular when damped) leaves the codes of rounding to
 * nearest and says so in the note. The key is left 0. */
enum qx_status qx_methods_apply(const struct qx_net *net, int layer, const struct qx_setting *set,
                                const struct qx_moments *moments, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_overlay **out, struct qx_error *err);

/* The same for all layers of a network, in execution order, each on the inputs that the layers before
 * give it once they are quantized. */
struct qx_methods_run {
    const struct qx_net *net;
    const struct qx_dataset *data; /* calibration rows; NULL: no method may need inputs */
    int64_t n_rows;
    uint64_t key; /* hash of weights and rows; keys of overlays follow from it and the settings */
    /* Overlays made before; NULL when there is none. Borrowed, and outliving the run. */
    const struct qx_overlay *(*find)(void *arg, int layer, uint64_t key,
                                     const struct qx_setting *s);
    /* A new one: taken over, kept as long as settings may point to it; returned. NULL: no memory. */
    const struct qx_overlay *(*keep)(void *arg, int layer, struct qx_overlay *o);
    void *arg;
};
/* Fill the overlays that settings set[layers of the network] still await; their ranges must be resolved.
 * Progress: 1,000 for each of them. The result does not depend on threads. QX_EDATA without rows.
 * Memory beyond the model and the overlays: the moments of one layer (qx_moments_run; of layers with the same input one
 * after the other, once), for GPTQ as much again for their factor, for `auto` three times; what the layer at work
 * needs, 16 bytes a weight; and the float32 values of the layers quantized so far, on which the next ones' inputs are
 * seen. BERT-base: 36 MiB for the largest Hessian and 36 for its factor, 34 MiB beyond Hessians and values. */
enum qx_status qx_methods_run(const struct qx_methods_run *run, struct qx_setting *set,
                              struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err);

#endif

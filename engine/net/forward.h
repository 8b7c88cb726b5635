/* A pass over many rows: what it runs on, and what it does beside running (forward.c). run.c has the
 * passes that others ask for. */
#ifndef QX_NET_FORWARD_H
#define QX_NET_FORWARD_H

#include "cut.h"
#include "exec.h"
#include "qlinear.h"

#include <stdatomic.h>

/* One worker's memory. */
struct qx_worker {
    float *space;     /* [layout->floats] */
    uint8_t *product; /* scratch of products with packed weights */
    float *wide;      /* a weight, decoded */
    struct qx_qkept kept;
    float *fake;     /* an input, quantized and dequantized */
    uint8_t *record; /* compare: codes of every quantized input of the tile */
    uint8_t *codes;  /* compare: of one input */
    float *other;    /* compare: logits of the integer engine */
    int64_t *start;  /* [rows of a tile + 1] where its sequences begin */
    int64_t *begin;  /* the same of the values that a tap sees; in one piece with start */
    struct qx_net_report report;
    const float **in;       /* [QX_NODE_INPUTS] */
    struct qx_shape *shape; /* [QX_NODE_INPUTS] */
};

/* Which rows run together. A network of sequences takes as many rows into a tile as have QX_TILE_PLACES
 * places together, and one at least: short rows share the passes over the weights. A pass whose tiles others
 * count (a tap, a comparison) and other networks take plan.tile_rows. Depends on the rows alone. */
struct qx_tiles {
    int64_t n;
    int64_t *first;      /* [n + 1] row at which each begins */
    int64_t *start;      /* [rows + 1] places before each row; NULL without sequences */
    struct qx_room room; /* that the largest need */
};

enum qx_forward_mode { QX_FORWARD_RUN, QX_FORWARD_COMPARE, QX_FORWARD_TAP };
struct qx_forward {
    const struct qx_net *net;
    const struct qx_weights *weights;
    enum qx_forward_mode mode;
    const struct qx_layout *layout;
    qx_net_tap_fn *tap;
    int tap_layer; /* -1: all */
    int tap_end;   /* nodes that a tap runs */
    void *tap_arg;
    const float *x;
    float *logits;            /* NULL = not wanted */
    qx_net_places_fn *places; /* the same of every place */
    void *places_arg;
    const struct qx_net_cut *from; /* values to go on from; NULL = x alone */
    struct qx_net_cut *to;         /* run up to here and keep the values; NULL = to the end */
    int64_t most_input;            /* values of the largest quantized input of a tile */
    int64_t all_inputs;            /* of all of them */
    int64_t n;
    struct qx_tiles tiles;
    struct qx_ctl *ctl;
    bool is_alone;        /* one tile at a time: its products are cut into blocks */
    struct qx_pool *pool; /* that runs them; NULL: this thread */
    struct qx_worker *workers;
    /* The failure of the lowest tile: tiles are handed out in order, so it is always found. */
    atomic_int_least64_t failed_tile;
    struct {
        int64_t tile;
        enum qx_status status;
        struct qx_error error;
    } * failures; /* [workers] */
};

/* What one pass over a tile does beside running it. */
struct qx_tile {
    int64_t index, first, rows;
    struct qx_extent extent; /* at hand */
    int64_t place; /* behind layout->tail: the first of the tile's places that is at hand */
    int64_t past;  /* places of a sequence that goes on */
    const struct qx_kv
        *kv; /* [n_nodes] its keys and values, where the node is an attention; or NULL */
    int64_t steps, told; /* of progress: what the whole tile counts, and what was added already */
    bool is_program;     /* runs the program, else the simulation */
    uint8_t *record;     /* integer pass of a comparison: where the next codes go */
    const uint8_t *met;  /* simulated pass: the codes that the other had */
};

/* ---- pass.c ---- */

/* Nodes first .. end-1. */
enum qx_status qx_pass_nodes(const struct qx_forward *f, struct qx_worker *w, struct qx_tile *t,
                             int first, int end, struct qx_error *err);
/* Where a computed value lies for the places at hand; the output, whatever it is. */
float *qx_pass_value(const struct qx_forward *f, const struct qx_worker *w, const struct qx_tile *t,
                     int value);
const float *qx_pass_logits(const struct qx_forward *f, const struct qx_worker *w,
                            const struct qx_tile *t);

/* ---- forward.c ---- */

/* n workers for the layout. After a failure they are to be freed as well. */
enum qx_status qx_workers_new(struct qx_forward *f, int n, struct qx_error *err);
void qx_workers_free(struct qx_forward *f, int n);

/* Fill `net` to `ctl` (but for `layout` and `tiles`) and run; the rest is the pass's own. report: NULL allowed, added to. */
enum qx_status qx_forward_run(struct qx_forward *f, struct qx_net_report *report,
                              struct qx_pool *pool, struct qx_error *err);

#endif

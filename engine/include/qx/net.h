/* A network that can be run: the graph of a model folder, its layers, and the float32 forward pass. */
#ifndef QX_NET_H
#define QX_NET_H

#include "qx/job.h"
#include "qx/model.h"
#include "qx/quant.h"
#include "qx/status.h"

#include <stdbool.h>
#include <stdint.h>

enum qx_role {
    QX_ROLE_LINEAR,    /* weight of Conv, Gemm, MatMul: quantized by scope "linear" and "all" */
    QX_ROLE_EMBEDDING, /* table of Gather, embeddings: quantized by scope "all" */
    QX_ROLE_OTHER      /* norms, biases, shapes: never by a scope */
};

/* One weight tensor that a node uses. */
struct qx_layer {
    const char *name;  /* node name, a display alias ("conv1") */
    const char *op;    /* "Conv" */
    int64_t tensor;    /* index in the model */
    enum qx_role role; /* LINEAR or EMBEDDING */
    int axis;          /* output-channel axis (model-folder.md section 5) */
    struct qx_channels channels;
    int64_t macs; /* multiply-adds per sample, 0 for embeddings */
};

struct qx_net;

/* Build the network of a model from the folder's graph.json (or, later, config.json): every node, shape
 * and attribute is checked; the message names file and node. The model must outlive the net.
 * QX_EUNSUPPORTED when the folder describes no network (text: why, and what still works),
 * QX_EFORMAT when it does but wrongly, QX_ENOMEM. */
enum qx_status qx_net_open(const struct qx_model *model, struct qx_net **out, struct qx_error *err);
/* The same with rows of a language model's documents of at most `context` tokens; QX_ERANGE when the model has
 * no positions for so many, or beyond QX_CONTEXT_MOST. 0: as many as it has positions for, halved (down to
 * 1,024) until a row's workspace, as the memory plan has it without what stands behind the last attention,
 * is at most 256 MiB. Other networks take the rows they are made for, whatever is asked. */
enum { QX_CONTEXT_MOST = 1 << 20 };
enum qx_status qx_net_open_with(const struct qx_model *model, int64_t context, struct qx_net **out,
                                struct qx_error *err);
void qx_net_close(struct qx_net **net); /* NULL allowed */

const struct qx_model *qx_net_model(const struct qx_net *net);
const char *qx_net_name(const struct qx_net *net);
const char *qx_net_arch(const struct qx_net *net); /* "graph" */
const char *qx_net_task(const struct qx_net *net); /* "classification" */
/* Layers in execution order, one per quantizable tensor. */
int qx_net_n_layers(const struct qx_net *net);
const struct qx_layer *qx_net_layer(const struct qx_net *net, int i);
/* Is the layer at that end of the network? First: the first linear layer, and those that read the same values
 * (q, k and v); last: the last one, which may be a table that is also the head. */
bool qx_net_layer_is_end(const struct qx_net *net, int layer, bool is_last);
/* Layer that owns the tensor, -1 when none (the tensor has no influence or is not quantizable). */
int qx_net_layer_of_tensor(const struct qx_net *net, int64_t tensor);
/* Does any node use this tensor? */
bool qx_net_uses_tensor(const struct qx_net *net, int64_t tensor);
/* How a row of the data reaches a linear layer: outer tokens (of a convolution: one; of sequences: at
 * most) of count input channels with inner values each. False when the layer takes no float32 input (embeddings). */
bool qx_net_layer_input(const struct qx_net *net, int layer, struct qx_channels *out);
/* Number of the value that a linear layer multiplies: layers with the same one see the same inputs. -1: it takes
 * no float32 input, or several nodes put different ones to its weight. */
int qx_net_layer_reads(const struct qx_net *net, int layer);
int qx_net_n_classes(const struct qx_net *net);
const char *qx_net_class_name(const struct qx_net *net, int c); /* never NULL: "7" when unnamed */
int64_t qx_net_sample_size(const struct qx_net *net);           /* input values per row */
/* Axes of one row, without the batch: *dim [returned rank], borrowed. */
int qx_net_input_shape(const struct qx_net *net, const int64_t **dim);
bool qx_net_input_is_ids(const struct qx_net *net); /* I64 graph input */
/* graph.json's "train", what goes with training this network; NULL where it says nothing. "data": all of the
 * rows that it was trained on, a file below a folder in which a system keeps data sets, such as
 * "fashion-mnist/train-images-idx3-ubyte.gz". "augment": what leaves a row's label as it is, such as
 * "shift,flip" (qx/train.h). */
const char *qx_net_train_data(const struct qx_net *net);
const char *qx_net_train_augment(const struct qx_net *net);
/* Rows are sequences of ids, of 1 to shape[0] places: -1 stands for a place that is left out, which may
 * be any but the first. Only places that are there are computed; padding costs nothing. */
bool qx_net_input_is_sequence(const struct qx_net *net);
/* Places that a row [sample_size] of a network of sequences has: its ids that are not -1. */
int64_t qx_net_places(const struct qx_net *net, const float *row);
/* The layer that a tensor goes with which is no layer's own weight (a norm, a bias): the last one to run before or
 * as it is read; -1: none. O(nodes). */
int qx_net_layer_beside(const struct qx_net *net, int64_t tensor);
/* Does every place of a row get logits, of the token behind it? A language model: data are documents
 * (qx/eval.h), classes the vocabulary. */
bool qx_net_is_words(const struct qx_net *net);
/* Tokens of the windows that long texts are cut into: the context that was asked for, else at most 1,024 (longer
 * ones cost more, attention with the square, and tell little more). */
int64_t qx_net_window(const struct qx_net *net);
bool qx_net_ends_text(const struct qx_net *net, int32_t id); /* config.json's eos_token_id */
int64_t qx_net_macs(const struct qx_net *net); /* per sample; of sequences, the longest one's */

/* float32 weights a forward pass uses: stored values, or replacements for single layers. */
struct qx_weights;
/* All layers start at their stored values (F32 is read in place; of F16, BF16 and F64 one widened copy serves
 * all weights of the net). The net must outlive them. Memory: copies of what is not aligned F32, and of every
 * changed layer. Where those of all layers would take more than 1 GiB, stored values stay in the file: a pass widens
 * each layer's as it comes to it, to the same bits, and each thread holds the largest of them. */
enum qx_status qx_weights_new(const struct qx_net *net, struct qx_weights **out,
                              struct qx_error *err);
/* The same without widening: the next qx_weights_prepare makes what its engine reads, and no pass runs
 * before. Copies are given back when no longer read, and AUTO prefers PACKED to copies of more than 1 GiB. */
enum qx_status qx_weights_new_lazy(const struct qx_net *net, struct qx_weights **out,
                                   struct qx_error *err);
void qx_weights_free(struct qx_weights *w);
/* Make layer i the fake-quantized form of `s` (range resolved). Nothing is done when it already is.
 * After a failure or cancellation the layer is at its stored values. One thread at a time. */
struct qx_pool;
enum qx_status qx_weights_apply(struct qx_weights *w, int i, const struct qx_setting *s,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err);

/* The same without making the values: the next qx_weights_prepare does it, in the form that the engine reads
 * (packed weights never exist as float32), and no pass runs before. */
enum qx_status qx_weights_set(struct qx_weights *w, int i, const struct qx_setting *s,
                              struct qx_error *err);

/* Put layer i at values that no setting gives (clipped but not rounded, say): copied, in storage order;
 * NULL = the stored ones. Its input is quantized as `act` says (NULL: float32), here with up to 16 bits.
 * qx_weights_apply ends it. Such layers are simulated, never run on integers. QX_ERANGE, QX_ENOMEM. */
enum qx_status qx_weights_put(struct qx_weights *w, int i, const float *values,
                              const struct qx_act *act, struct qx_error *err);

/* Which arithmetic runs quantized layers. Layers whose inputs stay float32 run in float32 arithmetic
 * with any engine: on quantized-dequantized copies when simulated, else on packed weights (codes of 4 or 8
 * bits, 16-bit floats), which are decoded as they are used. */
enum qx_engine {
    QX_ENGINE_AUTO, /* integer where the whole network can run so and some input is quantized, else
                       simulated (large lazy weights: packed) */
    QX_ENGINE_SIMULATED, /* float32 on quantized-dequantized values */
    QX_ENGINE_INTEGER,   /* codes, exact integer sums, one scaling, where inputs are quantized */
    QX_ENGINE_PACKED /* no input is quantized: float32 arithmetic on packed weights, of those stored
                            in 16 bits too */
};
const char *qx_engine_name(enum qx_engine engine); /* "auto", "simulated", "integer", "packed" */
/* "integer" -> QX_ENGINE_INTEGER. QX_ENAME. */
enum qx_status qx_engine_parse(const char *name, enum qx_engine *out, struct qx_error *err);
/* Choose the engine of the passes to come; INTEGER and PACKED pack the weights (once, until a layer
 * changes: then the engine is SIMULATED again). PACKED gives up the float32 copies of packed layers, which
 * come back with the next apply, put or other engine; rows of embedding tables are decoded as they are looked
 * up, from the codes of a tied head where there is one. QX_EUNSUPPORTED: a layer that no integer kernel runs,
 * named (not for AUTO, which then simulates); inputs are quantized (PACKED) or none is (INTEGER); nothing is
 * quantized, nor stored in 16 bits (PACKED). After a failure the weights are as they were. */
enum qx_status qx_weights_prepare(struct qx_weights *w, enum qx_engine engine, struct qx_pool *pool,
                                  struct qx_ctl *ctl, struct qx_error *err);
enum qx_engine qx_weights_engine(const struct qx_weights *w); /* never AUTO */
/* Bytes of the layers' weights in the form in which passes read them. */
uint64_t qx_weights_bytes(const struct qx_weights *w);

/* Run n rows. x: n * sample_size float32 (ids as float32 whole numbers up to 2^24, checked against
 * the table by Gather: QX_EDATA names row and id). logits: [n, classes].
 * Rows are run in tiles on the pool: of fixed size; of sequences as many as have 256 places together, padding is
 * not there, so short ones share the passes over the weights. The result does not depend on the threads; a
 * row's logits depend on its tile by the order of BLAS's sums alone (1e-4, tested; integer engine: not at all).
 * QX_ENOMEM, QX_ECANCELLED, QX_EDATA. Memory: one workspace per thread, as large as the largest tile at hand needs. */
enum qx_status qx_net_forward(const struct qx_net *net, const struct qx_weights *w, const float *x,
                              int64_t n, float *logits, struct qx_pool *pool, struct qx_ctl *ctl,
                              struct qx_error *err);

/* What a pass met, added to what is there. */
struct qx_net_report {
    int64_t
        n_nonfinite; /* NaN and infinities in inputs of quantized layers: they became the code of 0 */
    /* qx_net_compare only: */
    int64_t n_codes,
        n_codes_differ;            /* codes of inputs, and those that differ between the engines */
    int64_t n_rows, n_rows_differ; /* rows, and those whose largest logit is another class */
};
/* The same with a report (NULL allowed; written on success only). */
enum qx_status qx_net_run(const struct qx_net *net, const struct qx_weights *w, const float *x,
                          int64_t n, float *logits, struct qx_net_report *report,
                          struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err);
/* For language models, whose every place has logits (qx_net_run gives those of a row's last place): places
 * first .. first+n-1 of a row have logits[n][classes], which may be overwritten. A row comes in pieces, in
 * order and from one thread; rows in any order, from several threads at once. */
typedef void qx_net_places_fn(void *arg, int64_t row, int64_t first, int64_t n, float *logits);
/* QX_EUNSUPPORTED for other networks. */
enum qx_status qx_net_run_places(const struct qx_net *net, const struct qx_weights *w,
                                 const float *x, int64_t n, qx_net_places_fn *places, void *arg,
                                 struct qx_net_report *report, struct qx_pool *pool,
                                 struct qx_ctl *ctl, struct qx_error *err);
/* The same from kept values (below). */
struct qx_net_cut;
enum qx_status qx_net_run_places_from(const struct qx_net *net, const struct qx_weights *w,
                                      const struct qx_net_cut *cut, qx_net_places_fn *places,
                                      void *arg, struct qx_net_report *report, struct qx_pool *pool,
                                      struct qx_ctl *ctl, struct qx_error *err);
/* Run the rows on both engines and compare the codes that each layer's input has. The weights must be
 * prepared for INTEGER. Progress: QX_ROW_STEPS a row, each counted once. */
enum qx_status qx_net_compare(const struct qx_net *net, const struct qx_weights *w, const float *x,
                              int64_t n, struct qx_net_report *report, struct qx_pool *pool,
                              struct qx_ctl *ctl, struct qx_error *err);
/* Run the rows in float32 and show the inputs of the layer to `tap`, or of every layer (-1); nothing behind it is
 * run. Tiles of one layer come from several threads, the calls of one tile from one. QX_EUNSUPPORTED when prepared
 * for PACKED. */
struct qx_net_seen {
    int layer, worker;
    int64_t tile;         /* of the call */
    const float *x;       /* as the graph has them, without padding */
    const int64_t *begin; /* [rows + 1] index in x where the values of each row begin */
    int64_t rows;
};
typedef void qx_net_tap_fn(void *arg, const struct qx_net_seen *seen);
enum qx_status qx_net_tap(const struct qx_net *net, const struct qx_weights *w, const float *x,
                          int64_t n, int layer, qx_net_tap_fn *tap, void *arg, struct qx_pool *pool,
                          struct qx_ctl *ctl, struct qx_error *err);
int64_t qx_net_tile_rows(const struct qx_net *net);

/* ---- linear layers as matrix products, for methods that look at their inputs ---- */

/* `groups` products (of a convolution; else one) of [n, k] weights with columns of k inputs: value j of
 * output channel c = g n + o is that of qx_layer.channels, position j. At most `places` columns a row. */
struct qx_net_product {
    int64_t groups, n, k, places;
    int64_t
        taps;  /* inputs next to each other that are one channel's: of a convolution its window */
    int input; /* layers with the same number read the same values in the same way */
    bool is_padded; /* zeros lie around the input */
};
/* False when the layer takes no float32 input (embeddings), or its input is no batch of samples. */
bool qx_net_layer_product(const struct qx_net *net, int layer, struct qx_net_product *out);
/* Columns of one row of what a tap saw, of one group: out[most places][k]; returns how many. */
int64_t qx_net_layer_columns(const struct qx_net *net, const struct qx_net_seen *seen, int64_t row,
                             int64_t group, float *out);

/* ---- a pass cut in two: what lies before a layer is run once, what lies behind it again and again ---- */

/* The values alive just before the first node that reads the weight of a layer, for n rows: all that the
 * rest of a pass needs (with residual branches more than the layer's input). Owns copies; immutable, so
 * several threads may run from one. */
/* Run x up to layer `layer` under w and keep what is alive there. With `from`, a cut of that layer or an
 * earlier one, its rows go on instead: x and n are not looked at. As qx_net_run otherwise; QX_ERANGE when
 * `from` lies behind, QX_EDATA as qx_net_run_from. */
enum qx_status qx_net_cut_new(const struct qx_net *net, const struct qx_weights *w, int layer,
                              const float *x, int64_t n, const struct qx_net_cut *from,
                              struct qx_net_cut **out, struct qx_pool *pool, struct qx_ctl *ctl,
                              struct qx_error *err);
void qx_net_cut_free(struct qx_net_cut *cut); /* NULL allowed */
int64_t qx_net_cut_rows(const struct qx_net_cut *cut);
/* Memory that such a cut takes. O(nodes). */
enum qx_status qx_net_cut_bytes(const struct qx_net *net, const struct qx_weights *w, int layer,
                                int64_t n, uint64_t *out, struct qx_error *err);
/* Run the rest of the pass under w: logits [rows, classes], the bits of qx_net_run on the rows of the
 * cut, provided that the layers before are as they were when it was made (the caller's promise; layer
 * and those behind may be anything). The report speaks of the nodes that run.
 * QX_EDATA: w is prepared for the other engine, or takes the values in other codes, than the cut has. */
enum qx_status qx_net_run_from(const struct qx_net *net, const struct qx_weights *w,
                               const struct qx_net_cut *cut, float *logits,
                               struct qx_net_report *report, struct qx_pool *pool,
                               struct qx_ctl *ctl, struct qx_error *err);

/* GGUF's name for the tensor that transformers call "model.layers.0.mlp.up_proj.weight": "blk.0.ffn_up.weight". False:
 * it has none. */
bool qx_net_gguf_name(const char *name, char *out, size_t cap);

/* ---- a GGUF file as a model folder: names, rows and files as other programs expect them ---- */

enum { QX_FOLDER_NAME = 256 };
struct qx_folder_tensor {
    char name[QX_FOLDER_NAME]; /* "model.layers.0.self_attn.q_proj.weight" */
    /* Its rows lie in pairs (2i, 2i + 1) of each of so many heads, and are to become halves (i, i + d / 2);
     * 0: they stay. */
    int64_t heads;
};
/* What tensor i is in such a folder. False: it stays as it is (the model is no GGUF file of a network that is run,
 * or the name has no counterpart). */
bool qx_folder_tensor(const struct qx_model *model, int64_t i, struct qx_folder_tensor *out);
/* Is it such a file? Its folder gets files of its own, made from the metadata. */
bool qx_folder_is_made(const struct qx_model *model);
/* Write config.json and the tokenizer (tokenizer.json, or tokenizer.bin of pieces with scores; none when it is of
 * a kind that is not read) into dir. Nothing for other models. QX_EIO, QX_ENOMEM. */
enum qx_status qx_folder_files(const struct qx_model *model, const char *dir, struct qx_error *err);
/* Values of a tensor [rows, n / rows] with that many heads: pairs become halves, in place. QX_ENOMEM */
enum qx_status qx_folder_rows(float *values, int64_t n, int64_t rows, int64_t heads,
                              struct qx_error *err);

#endif

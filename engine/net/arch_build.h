/* Building the graph of a family from config.json and tensor names. */
#ifndef QX_NET_ARCH_BUILD_H
#define QX_NET_ARCH_BUILD_H

#include "graph.h"

/* The first failure stays in `st`; from then on all calls do nothing and give NULL (or the least value
 * allowed). Names given back live as long as the net. */
struct qx_build {
    struct qx_net *net;
    const struct qx_jval *config;
    const char *prefix; /* of tensor names: "bert." or "" */
    enum qx_status st;
    struct qx_error *err;
};

/* QX_EUNSUPPORTED, unless something failed before: why it is not run, and what can be done with it. */
void qx_build_refuse(struct qx_build *b, const char *why);
/* A whole number of config.json between min and max, which must be there unless has_fallback. */
int64_t qx_build_int(struct qx_build *b, const char *key, int64_t min, int64_t max);
int64_t qx_build_int_or(struct qx_build *b, const char *key, int64_t fallback, int64_t min,
                        int64_t max);
/* Places of a language model's rows, which has positions for `most` (as `key` says): what is asked for, else
 * as many as fit (qx_net_open_with). */
int64_t qx_build_context(struct qx_build *b, const char *key, int64_t most);
/* A positive number of float32, or the fallback when absent. */
double qx_build_num_or(struct qx_build *b, const char *key, double fallback);
/* A text of config.json or of an object in it; true or false of config.json; or the fallback when absent or
 * null. */
const char *qx_build_word(struct qx_build *b, const struct qx_jval *object, const char *key,
                          const char *fallback);
bool qx_build_flag(struct qx_build *b, const char *key, bool fallback);

/* The first prefix with which `name` is a tensor; false (and b->prefix as it was) when there is none. */
bool qx_build_prefix(struct qx_build *b, const char *const *prefixes, const char *name);
/* Full name of a tensor, b->prefix in front; NULL when the model has none. need: it is an error then. */
const char *qx_build_find(struct qx_build *b, const char *name);
const char *qx_build_need(struct qx_build *b, const char *name);
/* The tensor must be [rows, columns], as config.json says under these keys. */
void qx_build_check(struct qx_build *b, const char *tensor, const char *row_key, int64_t rows,
                    const char *column_key, int64_t columns);

/* A node; attrs is a JSON object or NULL; up to three inputs, NULL from the first that is not there.
 * Gives the name of its output. */
const char *qx_build_node(struct qx_build *b, const char *op, const char *alias, const char *attrs,
                          const char *const in[3]);
/* Gemm with base.weight [out, in] and, if there is one, base.bias. */
const char *qx_build_linear(struct qx_build *b, const char *alias, const char *x, const char *base);
/* LayerNormalization with base.weight and base.bias, or base.gamma and base.beta. */
const char *qx_build_norm(struct qx_build *b, const char *alias, const char *x, const char *base,
                          double epsilon);
/* Gelu, Relu as the word says ("gelu_new"). */
const char *qx_build_act(struct qx_build *b, const char *alias, const char *word, const char *x);
/* Output and classes, named by id2label where it is there. */
void qx_build_end(struct qx_build *b, const char *task, const char *output);

/* printf into the net's arena. */
const char *qx_build_text(struct qx_build *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

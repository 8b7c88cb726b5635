#include "arch_build.h"

#include "gguf.h"

#include "base/error.h"
#include "base/mem.h"

#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *qx_build_text(struct qx_build *b, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *copy = b->st == QX_OK ? qx_arena_strdup(&b->net->arena, text) : NULL;
    if (b->st == QX_OK && !copy) {
        b->st = qx_fail_nomem(b->err, strlen(text) + 1);
    }
    return copy;
}

void qx_build_refuse(struct qx_build *b, const char *why)
{
    if (b->st == QX_OK) {
        b->st = qx_fail(b->err, QX_EUNSUPPORTED,
                        "%s, which is not run; the weights can be explored and quantized", why);
    }
}

/* ---- config.json ---- */

/* The key as the model's own file has it, for messages. */
static const char *key_there(struct qx_build *b, const char *key)
{
    const char *there = qx_gguf_is(b->net->model) ? qx_gguf_key(key) : NULL;
    const char *arch = there ? qx_model_metadata(b->net->model, "general.architecture") : NULL;
    const char *full = arch ? qx_build_text(b, "%.60s.%s", arch, there) : NULL;
    return full ? full : key;
}

static int64_t read_int(struct qx_build *b, const char *key, const struct qx_jval *v, int64_t min,
                        int64_t max)
{
    int64_t n = min;
    if (b->st != QX_OK) {
        return min;
    }
    if (!qx_jint(v, &n)) {
        b->st =
            qx_fail(b->err, QX_EFORMAT, "\"%s\" is missing or no whole number", key_there(b, key));
        return min;
    }
    if (n < min || n > max) {
        b->st = qx_fail(b->err, QX_EFORMAT, "\"%s\" is %lld; %lld to %lld are possible",
                        key_there(b, key), (long long)n, (long long)min, (long long)max);
        return min;
    }
    return n;
}

int64_t qx_build_int(struct qx_build *b, const char *key, int64_t min, int64_t max)
{
    return read_int(b, key, qx_jget(b->config, key), min, max);
}

int64_t qx_build_int_or(struct qx_build *b, const char *key, int64_t fallback, int64_t min,
                        int64_t max)
{
    const struct qx_jval *v = qx_jget(b->config, key);
    return !v || qx_jis_null(v) ? fallback : read_int(b, key, v, min, max);
}

int64_t qx_build_context(struct qx_build *b, const char *key, int64_t most)
{
    const struct qx_net *net = b->net;
    if (b->st == QX_OK && net->asked_context > most) {
        b->st = qx_fail(b->err, QX_ERANGE,
                        "a context of %lld tokens is asked for; the model has positions for %lld "
                        "(\"%s\")",
                        (long long)net->asked_context, (long long)most, key);
    }
    return net->asked_context > 0     ? net->asked_context
           : most < net->most_context ? most
                                      : net->most_context;
}

double qx_build_num_or(struct qx_build *b, const char *key, double fallback)
{
    const struct qx_jval *v = qx_jget(b->config, key);
    const double n = v ? qx_jnum(v, -1.0) : fallback;
    if (b->st == QX_OK && !(n >= (double)FLT_MIN && n <= (double)FLT_MAX)) {
        b->st = qx_fail(b->err, QX_EFORMAT, "\"%s\" is no positive number of float32",
                        key_there(b, key));
    }
    return n;
}

const char *qx_build_word(struct qx_build *b, const struct qx_jval *object, const char *key,
                          const char *fallback)
{
    const struct qx_jval *v = qx_jget(object, key);
    if (!v || qx_jis_null(v)) {
        return fallback;
    }
    if (b->st == QX_OK && !qx_jis_string(v)) {
        b->st = qx_fail(b->err, QX_EFORMAT, "\"%s\" is no text", key);
    }
    return qx_jstr(v, "");
}

bool qx_build_flag(struct qx_build *b, const char *key, bool fallback)
{
    const struct qx_jval *v = qx_jget(b->config, key);
    if (!v || qx_jis_null(v)) {
        return fallback;
    }
    if (b->st == QX_OK && !qx_jis_bool(v)) {
        b->st = qx_fail(b->err, QX_EFORMAT, "\"%s\" is neither true nor false", key);
    }
    return qx_jbool(v, fallback);
}

/* ---- tensors ---- */

/* The model's own tensor for a name of transformers', NULL when it has none. */
static const char *tensor_of(const struct qx_build *b, const char *full)
{
    char there[512];
    const bool is_gguf = qx_gguf_is(b->net->model);
    if (is_gguf && !qx_gguf_name(full, there, sizeof there)) {
        return NULL;
    }
    const int64_t at = qx_model_find(b->net->model, is_gguf ? there : full);
    return at >= 0 ? qx_model_tensor(b->net->model, at)->name : NULL;
}

bool qx_build_prefix(struct qx_build *b, const char *const *prefixes, const char *name)
{
    for (; *prefixes; prefixes++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s", *prefixes, name);
        if (tensor_of(b, text)) {
            b->prefix = *prefixes;
            return true;
        }
    }
    return false;
}

const char *qx_build_find(struct qx_build *b, const char *name)
{
    const char *full = qx_build_text(b, "%s%s", b->prefix, name);
    return full ? tensor_of(b, full) : NULL;
}

const char *qx_build_need(struct qx_build *b, const char *name)
{
    const char *full = qx_build_find(b, name);
    if (b->st == QX_OK && !full) {
        b->st = qx_fail(b->err, QX_EFORMAT,
                        "it describes a %s network, which the model has no tensor '%s%s' for",
                        b->net->arch, b->prefix, name);
    }
    return full;
}

void qx_build_check(struct qx_build *b, const char *tensor, const char *row_key, int64_t rows,
                    const char *column_key, int64_t columns)
{
    if (b->st != QX_OK) {
        return;
    }
    const struct qx_tensor *t =
        qx_model_tensor(b->net->model, qx_model_find(b->net->model, tensor));
    if (t->rank != 2 || t->shape[0] != rows || t->shape[1] != columns) {
        b->st = qx_fail(
            b->err, QX_EFORMAT,
            "%s %lld and %s %lld disagree with the tensor '%.100s' of %d axes, [%lld, %lld]",
            key_there(b, row_key), (long long)rows, key_there(b, column_key), (long long)columns,
            tensor, t->rank, (long long)(t->rank > 0 ? t->shape[0] : 0),
            (long long)(t->rank > 1 ? t->shape[1] : 0));
    }
}

/* ---- nodes ---- */

const char *qx_build_node(struct qx_build *b, const char *op, const char *alias, const char *attrs,
                          const char *const in[3])
{
    struct qx_json *json = NULL;
    const char *out = qx_build_text(b, "%s.out", alias ? alias : op);
    if (b->st == QX_OK && attrs) {
        b->st = qx_json_parse(attrs, strlen(attrs), "attributes", &json, b->err);
    }
    if (b->st == QX_OK) {
        const struct qx_node_spec spec = {.op = op,
                                          .name = alias,
                                          .output = out,
                                          .inputs = in,
                                          .n_inputs = !in[1]   ? 1
                                                      : !in[2] ? 2
                                                               : 3,
                                          .attrs = qx_json_root(json)};
        b->st = qx_graph_node(b->net, &spec, b->err);
    }
    qx_json_free(json);
    return b->st == QX_OK ? out : NULL;
}

const char *qx_build_linear(struct qx_build *b, const char *alias, const char *x, const char *base)
{
    const char *weight = qx_build_need(b, qx_build_text(b, "%s.weight", base));
    const char *bias = qx_build_find(b, qx_build_text(b, "%s.bias", base));
    return qx_build_node(b, "Gemm", alias, "{\"transB\":1}", (const char *[3]){x, weight, bias});
}

const char *qx_build_norm(struct qx_build *b, const char *alias, const char *x, const char *base,
                          double epsilon)
{
    const char *gamma = qx_build_find(b, qx_build_text(b, "%s.gamma", base));
    const char *beta = qx_build_find(b, qx_build_text(b, "%s.beta", base));
    const char *weight = gamma ? gamma : qx_build_need(b, qx_build_text(b, "%s.weight", base));
    const char *bias = beta ? beta : qx_build_find(b, qx_build_text(b, "%s.bias", base));
    return qx_build_node(b, "LayerNormalization", alias,
                         qx_build_text(b, "{\"epsilon\":%.17g}", epsilon),
                         (const char *[3]){x, weight, bias});
}

const char *qx_build_act(struct qx_build *b, const char *alias, const char *word, const char *x)
{
    static const struct {
        const char *word, *op, *attrs;
    } acts[] = {{"gelu", "Gelu", NULL},
                {"gelu_new", "Gelu", "{\"approximate\":\"tanh\"}"},
                {"gelu_fast", "Gelu", "{\"approximate\":\"tanh\"}"},
                {"gelu_pytorch_tanh", "Gelu", "{\"approximate\":\"tanh\"}"},
                {"relu", "Relu", NULL}};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (strcmp(word, acts[i].word) == 0) {
            return qx_build_node(b, acts[i].op, alias, acts[i].attrs, (const char *[3]){x});
        }
    }
    if (b->st == QX_OK) {
        b->st = qx_fail(b->err, QX_EUNSUPPORTED,
                        "the activation is '%.40s'; gelu, gelu_new and relu are possible", word);
    }
    return NULL;
}

/* ---- the end ---- */

/* id2label: {"0": "positive", ..}. Checked against the classes by qx_graph_finish. */
static const char **labels_of(struct qx_build *b, int *n)
{
    const struct qx_jval *map = qx_jget(b->config, "id2label");
    *n = 0;
    const size_t len = qx_jlen(map);
    if (b->st == QX_OK && map && !qx_jis_null(map) && !qx_jis_object(map)) {
        b->st = qx_fail(b->err, QX_EFORMAT,
                        "\"id2label\" must be an object that names every class from 0 on");
    }
    if (b->st != QX_OK || len == 0) {
        return NULL;
    }
    const char **labels = qx_arena_array(&b->net->arena, len, sizeof *labels);
    if (!labels) {
        b->st = qx_fail_nomem(b->err, len * sizeof *labels);
        return NULL;
    }
    for (const struct qx_jval *v = qx_jfirst(map); v; v = qx_jnext(v)) {
        char *end = NULL;
        const unsigned long i = strtoul(qx_jkey(v), &end, 10);
        if (end == qx_jkey(v) || *end || i >= len || labels[i] || !qx_jis_string(v)) {
            b->st = qx_fail(b->err, QX_EFORMAT,
                            "\"id2label\" must name every class from 0 on; \"%.40s\" does not fit",
                            qx_jkey(v));
            return NULL;
        }
        labels[i] = qx_jstr(v, "");
    }
    *n = (int)len;
    return labels;
}

/* eos_token_id: one id or a list of them. */
static void ends_of(struct qx_build *b)
{
    const struct qx_jval *ends = qx_jget(b->config, "eos_token_id");
    const int n = qx_jlen(ends) > 0 ? (int)qx_jlen(ends) : 1;
    for (int i = 0; i < n && b->net->n_ends < QX_NET_ENDS; i++) {
        const double id = qx_jnum(qx_jlen(ends) > 0 ? qx_jat(ends, (size_t)i) : ends, -1.0);
        if (id >= 0.0 && id < 2147483648.0) {
            b->net->ends[b->net->n_ends++] = (int32_t)id;
        }
    }
}

void qx_build_end(struct qx_build *b, const char *task, const char *output)
{
    int n = 0;
    const char **labels = strcmp(task, "classification") == 0 ? labels_of(b, &n) : NULL;
    b->net->task = task;
    ends_of(b);
    if (b->st == QX_OK) {
        b->st = qx_graph_finish(b->net, output, labels, n, b->err);
    }
}

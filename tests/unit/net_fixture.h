/* What the tests of net and eval share: model folders opened or written on the spot. */
#ifndef NET_FIXTURE_H
#define NET_FIXTURE_H

#include "qx/eval.h"
#include "qx/net.h"

#include <stdbool.h>
#include <stdint.h>

/* An open model folder; net and weights too. Everything is asserted. */
struct folder {
    char path[512];
    struct qx_model *model;
    struct qx_net *net;
    struct qx_weights *weights;
};
void folder_open(struct folder *f, const char *path);
void folder_close(struct folder *f);
/* tests/golden/net/<name> */
void golden_open(struct folder *f, const char *name);

/* Values of a tensor of a file as float32 (free with free), NULL when there is none. */
float *tensor_load(const char *path, const char *tensor, int64_t *numel);

/* "<source root>/<rest>" and "<shared data>/<rest>" (QX_SHARED, else ../shared/data). */
void source_path(char *buf, size_t cap, const char *rest);
void shared_path(char *buf, size_t cap, const char *rest);

/* Round to nearest by min-max, symmetric: what reference.json means, by way of the histogram and the
 * calibrator. gran: "channel", "tensor", "group:N". */
struct qx_setting rtn_setting(const struct folder *f, int layer, const char *gran, int bits);
/* All layers of the scope ("all", "linear") to that setting, the others to fp32. */
void apply_scope(struct folder *f, const char *scope, const char *gran, int bits,
                 struct qx_pool *pool);

/* A tensor to write; F32 values are a fixed pattern when data is NULL. */
struct tensor_spec {
    const char *name, *dtype;
    int rank;
    int64_t shape[4];
    const void *data;
};
void model_write(const char *path, const struct tensor_spec *tensors, int n, const char *metadata);
void text_write(const char *path, const char *text);
/* The text with every ' made ", so that JSON reads well in C. Free with free. */
char *quoted(const char *text);

/* Of a group of tests: make a folder of their own and go into it; leave it and remove it with what is in it. */
int scratch_enter(void **state);
int scratch_leave(void **state);

/* model.safetensors and config.json of a llama with one block here: width 8, 4 heads on 2 of keys and values, 12
 * inner, tied head, at most 10 places. */
enum { LLAMA_PLACES = 10 };
void llama_write(int64_t vocabulary);
/* The same with other sizes; more: members of config.json behind the others, "'a':1,", or "". */
struct llama {
    const char *type;
    int layers; /* 1 or 2 */
    int64_t vocabulary, places, inner;
    const char *more;
};
void llama_write_as(const struct llama *l);

#endif

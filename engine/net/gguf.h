/* What a GGUF file's metadata says, in the words of config.json and tokenizer.json. */
#ifndef QX_NET_GGUF_H
#define QX_NET_GGUF_H

#include "qx/json.h"
#include "qx/model.h"
#include "qx/status.h"

/* Is the model a GGUF file? */
bool qx_gguf_is(const struct qx_model *model);
/* A config.json of the llama family (llama, qwen2, qwen3), with "rope_interleaved" where the rows of query and
 * key stand in pairs (llama). QX_EUNSUPPORTED names another architecture. Free with qx_json_free. */
enum qx_status qx_gguf_config(const struct qx_model *model, struct qx_json **out,
                              struct qx_error *err);
/* The same as text, freed with qx_free_text; for_others: as other programs read it, query and key in halves. */
enum qx_status qx_gguf_config_text(const struct qx_model *model, bool for_others, char **out,
                                   size_t *len, struct qx_error *err);
/* The name that the tensor "model.layers.0.mlp.up_proj.weight" has in GGUF: "blk.0.ffn_up.weight". False when it
 * has none. */
bool qx_gguf_name(const char *name, char *out, size_t cap);
/* And back: of "blk.0.ffn_up.weight" the name above. */
bool qx_gguf_name_there(const char *name, char *out, size_t cap);
/* The number behind "<architecture>.key"; `fallback` when there is none. */
int64_t qx_gguf_number_of(const struct qx_model *model, const char *key, int64_t fallback);

/* What a number of config.json is called in GGUF, behind "<architecture>.": "embedding_length" for
 * "hidden_size". NULL when it has no name. */
const char *qx_gguf_key(const char *key);

/* "gpt2": byte-level BPE; "llama": pieces with scores; "none". */
const char *qx_gguf_tokenizer(const struct qx_model *model);
/* The text of a tokenizer.json of byte-level BPE. Free with qx_free_text. */
enum qx_status qx_gguf_bpe(const struct qx_model *model, char **out, size_t *len,
                           struct qx_error *err);
/* The bytes of a llama2.c tokenizer (net/text_llama2c.c) of pieces with scores. Free with qx_mem_free. */
enum qx_status qx_gguf_pieces(const struct qx_model *model, char **out, size_t *len,
                              struct qx_error *err);

#endif

/* Text to token ids and back, with the tokenizer that lies in a model's folder.
 *
 * Read are: tokenizer.json (Hugging Face: WordPiece; BPE over bytes as GPT-2, RoBERTa, Llama-3 and Qwen
 * have it; BPE over characters with bytes to fall back on as Llama-2 has it; Unigram as XLM-R has it, with
 * SentencePiece's own map of characters), vocab.txt (BERT), tokenizer.bin (llama2.c), and
 * the metadata of a GGUF file ("gpt2": BPE over bytes, cut as GPT-2, Llama 3 or Qwen 2; "llama": pieces with scores). */
#ifndef QX_TOKENIZER_H
#define QX_TOKENIZER_H

#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qx_tokenizer; /* immutable; any thread */

/* A folder's tokenizer: tokenizer.json, else vocab.txt (with tokenizer_config.json), else
 * tokenizer.bin; or one such file, or a GGUF file, by its path. QX_EUNSUPPORTED when there is none, or of a kind that is not read (text: which, and
 * what to do); QX_EFORMAT, QX_EIO, QX_ENOMEM. */
enum qx_status qx_tokenizer_open(const char *path, struct qx_tokenizer **out, struct qx_error *err);
void qx_tokenizer_close(struct qx_tokenizer **t); /* NULL allowed */

const char *qx_tokenizer_file(const struct qx_tokenizer *t); /* "tokenizer.json" */
const char *
qx_tokenizer_kind(const struct qx_tokenizer *t);         /* "WordPiece", "byte-level BPE", ... */
int64_t qx_tokenizer_size(const struct qx_tokenizer *t); /* ids are below it */
/* Id of a token by its exact text ("[PAD]", "<s>"); -1 when there is none. */
int32_t qx_tokenizer_id(const struct qx_tokenizer *t, const char *token);

/* Zero-initialised is empty. */
struct qx_ids {
    int32_t *id;
    int64_t n, cap;
};
void qx_ids_release(struct qx_ids *ids);

enum qx_tokenize {
    QX_TOKENIZE_BARE = 1,   /* without the tokens that the tokenizer puts around a text */
    QX_TOKENIZE_LITERAL = 2 /* special tokens written in the text are text */
};
/* Add the ids of text[0..len) to *out. max_ids > 0: at most that many are added; what is too long loses
 * tokens of the text at its end, never those around it. QX_EDATA: not valid UTF-8 (err->offset), or the
 * tokenizer has no id for a character and none for the unknown; QX_ENOMEM. *out is unchanged on error. */
enum qx_status qx_tokenizer_encode(const struct qx_tokenizer *t, const char *text, size_t len,
                                   unsigned flags, int64_t max_ids, struct qx_ids *out,
                                   struct qx_error *err);
/* The text of n ids, special tokens left out; bytes that are no UTF-8 become U+FFFD. Free *text with
 * qx_free_text (qx/json.h). QX_ERANGE names the id that is none. */
enum qx_status qx_tokenizer_decode(const struct qx_tokenizer *t, const int32_t *ids, int64_t n,
                                   char **text, struct qx_error *err);

#endif

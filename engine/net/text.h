/* Tokenizers inside. A text goes down one road, each step a row of a table:
 *
 *   text --special tokens--> stretches --normalizers--> text --splitters--> words --model--> ids --around--> ids
 *
 * text_step.c       the steps: kinds by name, reading them from tokenizer.json
 * text_normalize.c  rows: Unicode forms, lower case, accents, replacements
 * text_split.c      rows: where words end
 * text_charsmap.c   row: the map of characters that SentencePiece carries
 * text_wordpiece.c, text_bpe.c, text_unigram.c, text_llama2c.c   the models, one row each
 * text_added.c      tokens that are found in the text before all else
 * text_vocab.c      token <-> id
 * tokenizer.c       opening a folder's files; encoding; decoding */
#ifndef QX_NET_TEXT_H
#define QX_NET_TEXT_H

#include "qx/json.h"
#include "qx/tokenizer.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/regex.h"

/* ---- token <-> id ---- */

struct qx_token {
    const char *text; /* len bytes, NUL-terminated */
    uint32_t len;
    bool is_special;
};
struct qx_vocab {
    struct qx_arena arena;   /* of the texts */
    struct qx_token *tokens; /* [n]; text NULL where no token has that id */
    int64_t n, cap;
    int32_t *slots; /* hash table of ids, -1 empty; a power of two, at most half full */
    int64_t n_slots, n_used;
};
/* The largest id a file may name. */
enum { QX_TOKEN_MAX = 1 << 24 };
/* False when out of memory. A text that is there keeps its first id for lookups. */
bool qx_vocab_add(struct qx_vocab *v, const char *text, size_t len, int64_t id);
int32_t qx_vocab_find(const struct qx_vocab *v, const char *text, size_t len); /* -1 */
void qx_vocab_release(struct qx_vocab *v);

bool qx_ids_add(struct qx_ids *ids, int32_t id); /* false when out of memory */

/* ---- words: stretches of a text, in order ---- */

struct qx_words {
    struct qx_buf text;
    struct qx_buf spans; /* of struct qx_span */
    bool is_first;       /* the first word begins the whole text */
};
struct qx_span {
    size_t from, len;
};
size_t qx_words_n(const struct qx_words *w);
const char *qx_words_at(const struct qx_words *w, size_t i, size_t *len);
void qx_words_add(struct qx_words *w, const char *text, size_t len); /* empty ones are dropped */
void qx_words_release(struct qx_words *w);

/* ---- steps ---- */

struct qx_text_step;
/* A normalizer writes the new text to `out`; a splitter cuts one word into words of `out`. */
struct qx_text_kind {
    const char *type; /* in tokenizer.json */
    enum qx_status (*open)(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                           struct qx_error *err); /* NULL: no options */
    enum qx_status (*normalize)(const struct qx_text_step *s, const char *text, size_t len,
                                struct qx_buf *out, struct qx_error *err);
    enum qx_status (*split)(const struct qx_text_step *s, const char *word, size_t len,
                            bool is_first, struct qx_words *out, struct qx_error *err);
};
struct qx_text_step {
    const struct qx_text_kind *kind;
    struct qx_regex *regex; /* owned */
    char *text;             /* owned: what is put, replaced by or looked for */
    char *find;             /* owned: literal to look for; of a map its trie */
    size_t text_len, find_len;
    int behavior;  /* of the row */
    bool flags[4]; /* of the row */
};
struct qx_text_steps {
    struct qx_text_step *step; /* [n], Sequences unrolled */
    int n;
};
/* Steps of a value of tokenizer.json; null or absent: none. QX_EUNSUPPORTED names the type. */
enum qx_status qx_text_steps_read(const struct qx_jval *v, bool is_split, const char *what,
                                  struct qx_text_steps *out, struct qx_error *err);
void qx_text_steps_release(struct qx_text_steps *s);
/* Run all; `out` empty at the start. QX_ENOMEM, QX_EDATA. */
enum qx_status qx_text_normalize(const struct qx_text_steps *s, const char *text, size_t len,
                                 struct qx_buf *out, struct qx_error *err);
enum qx_status qx_text_split(const struct qx_text_steps *s, const char *text, size_t len,
                             bool is_first, struct qx_words *out, struct qx_error *err);
/* Does any step turn text into bytes as GPT-2 does? */
bool qx_text_is_bytes(const struct qx_text_steps *s);

/* The row Precompiled (text_charsmap.c). */
enum qx_status qx_text_charsmap_open(struct qx_text_step *s, const struct qx_jval *v,
                                     const char *what, struct qx_error *err);
enum qx_status qx_text_charsmap(const struct qx_text_step *s, const char *text, size_t len,
                                struct qx_buf *out, struct qx_error *err);

extern const struct qx_text_kind qx_text_normalizers[], qx_text_splitters[];
extern const int qx_text_n_normalizers, qx_text_n_splitters;

/* A step's own string: "content": copied. QX_EFORMAT when it is no string. */
enum qx_status qx_text_string(const struct qx_jval *v, const char *key, const char *what,
                              char **out, size_t *len, struct qx_error *err);
/* "pattern": {"String": ..} or {"Regex": ..}. */
enum qx_status qx_text_pattern(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                               struct qx_error *err);
/* Next match of the step's pattern in text from *at on: as qx_regex_next. scan: NULL for a literal. */
int qx_text_match(const struct qx_text_step *s, struct qx_regex_scan *scan, const char *text,
                  size_t len, size_t *at, size_t *from, size_t *to);

/* ---- GPT-2's letters for bytes: every byte has a printable one ---- */

/* The bytes that the letters of a token stand for, added to out; false when one stands for none. */
bool qx_text_letters_to_bytes(const char *text, size_t len, struct qx_buf *out);

/* ---- models ---- */

struct qx_text_model {
    const char *type;
    bool has_own_vocabulary; /* no object of token and id: open reads it */
    /* v: tokenizer.json's "model", its vocabulary read already. */
    enum qx_status (*open)(struct qx_tokenizer *t, const struct qx_jval *v, struct qx_error *err);
    /* Add the ids of one word, not empty. */
    enum qx_status (*word)(const struct qx_tokenizer *t, const char *word, size_t len,
                           struct qx_ids *out, struct qx_error *err);
};
extern const struct qx_text_model qx_text_wordpiece, qx_text_bpe, qx_text_unigram, qx_text_llama2c;
/* The whole of a tokenizer.bin: vocabulary, scores, model. */
enum qx_status qx_text_llama2c_read(struct qx_tokenizer *t, const char *data, size_t len,
                                    struct qx_error *err);

/* Fills bpe.byte and bpe.has_bytes: the tokens of single bytes. */
void qx_text_bytes_find(struct qx_tokenizer *t);

/* Merging neighbours, the best pair first (Sennrich et al., arXiv 1508.07909). The pair of two tokens:
 * false when they do not merge; else how good it is (higher first, then the leftmost) and what it
 * becomes. */
typedef bool qx_pair_fn(const struct qx_tokenizer *t, int32_t left, int32_t right, double *good,
                        int32_t *merged);
/* Merge the ids from `first` of ids on. O(n log n). False when out of memory. */
bool qx_text_merge(const struct qx_tokenizer *t, qx_pair_fn *pair, struct qx_ids *ids,
                   int64_t first);

/* ---- tokens found before all else ---- */

struct qx_added {
    const char *text;
    size_t len;
    int32_t id;
    bool is_special, is_normalized; /* looked for in the normalized text */
    bool is_single, strips_left, strips_right;
};
struct qx_added_match {
    size_t from, to; /* with the white space it takes along */
    int32_t id;
};
/* First match in text[at..len) among those of this kind: leftmost, then longest. */
bool qx_text_added_next(const struct qx_tokenizer *t, bool is_normalized, bool is_literal,
                        const char *text, size_t len, size_t at, struct qx_added_match *out);
enum qx_status qx_text_added_read(struct qx_tokenizer *t, const struct qx_jval *list,
                                  struct qx_error *err);

/* ---- the whole ---- */

struct qx_merge_slot { /* pair -> rank and result; left < 0: empty */
    int32_t left, right, rank, merged;
};
struct qx_piece {
    const char *text;
    uint32_t len;
    int32_t id;
};
struct qx_tokenizer {
    char *path; /* of its file, for messages */
    const char *file, *kind;
    const struct qx_text_model *model;
    struct qx_vocab vocab;
    struct qx_added *added; /* sorted by first byte, then longest first */
    int64_t n_added;
    int32_t added_first[257]; /* first with this byte */
    struct qx_text_steps normalizers, splitters;
    struct qx_ids before, after; /* put around a text */
    int32_t unknown;             /* -1: none */
    bool is_bytes;               /* the vocabulary holds bytes, not characters */
    bool is_spaced;              /* U+2581 stands for a space */

    struct { /* WordPiece */
        char prefix[16];
        size_t prefix_len;
        int64_t max_chars;
    } piece;
    struct { /* BPE */
        struct qx_merge_slot *slots;
        int64_t n_slots;
        bool fuses_unknown, ignores_merges;
        int32_t byte[256]; /* token of a byte, -1: none */
        bool has_bytes;
    } bpe;
    struct {                     /* Unigram */
        struct qx_piece *pieces; /* [n], in order of their bytes, shorter ones first */
        int64_t n;
        double *score;        /* of each id */
        double unknown_score; /* of an unknown character */
    } unigram;
    float *score; /* [vocab.n]; llama2.c */
};

#endif

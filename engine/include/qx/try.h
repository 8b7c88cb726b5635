/* Typed sentences: what FP32, snapshot A and the current recipe say about each of them, now. Classifiers
 * name a class; language models go on with the text. */
#ifndef QX_TRY_H
#define QX_TRY_H

#include "qx/decode.h"
#include "qx/session.h"

enum { QX_TRY_SENTENCES = 16, QX_TRY_CLASSES = 16, QX_TRY_WHICH = 3 };
enum { QX_TRY_TOKENS = 24 }; /* that a language model goes on by, unless told otherwise */

struct qx_try_answer {
    bool is_known; /* of the settings as they are now; else an answer of before, or nothing */
    bool is_there; /* the fields below hold something */
    int top;       /* class of the largest logit */
    float margin;  /* logit of FP32's class minus the largest other one; < 0: another class */
    float p[QX_TRY_CLASSES]; /* softmax; the first QX_TRY_CLASSES classes */
    enum qx_engine engine;   /* that ran */
    /* Language models instead: what follows the text, borrowed until the next call. */
    const char *text;
    int64_t n_new, n_same; /* tokens, and those from the first on that are FP32's */
    size_t same_bytes;     /* bytes of text that those make */
    bool is_ended;         /* the next token would have been one that ends texts */
};
struct qx_try {
    int serial;       /* the same sentence has the same one for its life */
    const char *text; /* borrowed until the next call */
    int64_t n_tokens;
    bool is_cut;                               /* it was longer than the network takes */
    struct qx_try_answer answer[QX_TRY_WHICH]; /* by enum qx_which */
};

/* How language models go on. */
struct qx_try_options {
    int64_t n_tokens;            /* 1 .. 65536, fewer where the context ends; QX_TRY_TOKENS */
    struct qx_sampling sampling; /* the likeliest token each time */
    enum qx_engine engine;       /* of snapshot and recipe; AUTO. FP32's is always AUTO's */
};
/* For all sentences, which are answered again. QX_ERANGE. */
enum qx_status qx_session_try_options(struct qx_session *s, const struct qx_try_options *o,
                                      struct qx_error *err);

/* Can sentences be tried? QX_EUNSUPPORTED says why not: no network of classes over tokens nor a language
 * model, or no tokenizer beside it. */
enum qx_status qx_session_try_check(struct qx_session *s, struct qx_error *err);
/* The text of one token of the model's tokenizer, control characters as spaces, cut at `cap`; "" without a
 * tokenizer. The first call may read its file. Returns buf. */
char *qx_session_token(struct qx_session *s, int32_t id, char *buf, size_t cap);
/* Add a sentence (the oldest goes when there are QX_TRY_SENTENCES; one that is there becomes the newest).
 * Answers come in the background, again after every edit: QX_NEWS_TRY; those of language models as jobs.
 * QX_EDATA (no text, no UTF-8, a text that fills a language model's context), what qx_session_try_check returns, QX_ENOMEM. */
enum qx_status qx_session_try(struct qx_session *s, const char *text, struct qx_error *err);
/* Newest first. */
int qx_session_n_tries(const struct qx_session *s);
bool qx_session_try_at(const struct qx_session *s, int i, struct qx_try *out);
void qx_session_try_forget(struct qx_session *s, int serial);
/* Why the last answers did not come; "" when they did. */
const char *qx_session_try_reason(const struct qx_session *s);
/* All answers of all sentences. [blocking; batch] */
enum qx_status qx_session_run_tries(struct qx_session *s, struct qx_ctl *ctl, struct qx_error *err);

#endif

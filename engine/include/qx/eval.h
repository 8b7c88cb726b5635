/* Measuring a network on labelled rows. */
#ifndef QX_EVAL_H
#define QX_EVAL_H

#include "qx/net.h"

/* ---- data ---- */

struct qx_dataset;

/* Open a data file (model-folder.md section 4, classification) for a network: x [N, ...], labels [N],
 * optional x.scale and x.offset; for a network of sequences input_ids [N, T] and optionally
 * attention_mask [N, T] instead of x. Shapes, dtypes and label range are checked against the net; a net
 * that gives embeddings has no labels.
 * QX_EIO, QX_EFORMAT, QX_EDATA (does not fit the network), QX_ENOMEM. */
enum qx_status qx_dataset_open(const char *path, const struct qx_net *net, struct qx_dataset **out,
                               struct qx_error *err);
/* For a language model: input_ids [tokens], doc_offsets [documents + 1], optionally loss_mask [tokens]; a row
 * is a document without its last token.
 * Also other files: texts (.tsv .csv .jsonl, .txt with one a line), tokenized by the model's own tokenizer
 * for a network of sequences, and images (idx). A language model takes a .txt as one text, all of it, and
 * long texts in windows (qx_dataset_windows). NULL options, and NULL in them: guessed, and found in the model's folder.
 * "self" and "self:N" are no files: N documents of up to 65 tokens that a language model writes itself, each
 * beginning with a token drawn evenly, at temperature 1 (in float32; one pass a token). "self": 32 of them, fewer and
 * shorter ones (4 of 33 tokens at least) where a token takes more than 6e7 multiply-adds.
 *   text_column, label_column   name or number from 1
 *   tokenizer                   folder or file (qx/tokenizer.h)
 *   seed, pool, ctl             of "self"; pool and ctl may be NULL; ctl counts tokens, asked after every layer */
struct qx_pool;
struct qx_dataset_options {
    const char *text_column, *label_column, *tokenizer;
    uint64_t seed;
    struct qx_pool *pool;
    struct qx_ctl *ctl;
};
/* Is it a name of such text? */
bool qx_dataset_is_self(const char *path);
/* QX_EDATA where this network cannot write what the name asks for. O(nodes). */
enum qx_status qx_dataset_self_check(const char *path, const struct qx_net *net,
                                     struct qx_error *err);
enum qx_status qx_dataset_open_with(const char *path, const struct qx_net *net,
                                    const struct qx_dataset_options *options,
                                    struct qx_dataset **out, struct qx_error *err);
void qx_dataset_close(struct qx_dataset **data);
/* How the file was taken: guessed columns, scale, texts cut; "" when there is nothing to say. */
const char *qx_dataset_note(const struct qx_dataset *data);
/* Texts of a language model: a row is a window of at most *window places and begins *stride behind the one
 * before; a token counts in the first window that predicts it. False (zeros): rows are whole documents. */
bool qx_dataset_windows(const struct qx_dataset *data, int64_t *window, int64_t *stride);
int64_t qx_dataset_n(const struct qx_dataset *data);
const char *qx_dataset_path(const struct qx_dataset *data);
/* 16 hex digits, of header and values (of tensors beyond 64 MiB: 64 samples of 1 MiB). */
const char *qx_dataset_hash(const struct qx_dataset *data);
int qx_dataset_label(const struct qx_dataset *data, int64_t row); /* -1 without labels */
/* QX_EDATA, which says where labels are looked for, where there are none. */
enum qx_status qx_dataset_need_labels(const struct qx_dataset *data, struct qx_error *err);
/* Real values of rows first .. first+n-1 into x [n, sample_size]. */
enum qx_status qx_dataset_read(const struct qx_dataset *data, int64_t first, int64_t n, float *x,
                               struct qx_error *err);
/* Language models: the token behind each place of a row, and whether it counts (0: not), into arrays of
 * sample_size; *n = places. QX_EUNSUPPORTED for other data. */
enum qx_status qx_dataset_next(const struct qx_dataset *data, int64_t row, float *next,
                               float *counts, int64_t *n, struct qx_error *err);

/* Language models: the last tokens, at most `most`, before token `at` (as struct qx_eval_result counts them)
 * of its document or window, into ids [most]; *n = how many. QX_ERANGE (no token that counts),
 * QX_EUNSUPPORTED for other data. */
enum qx_status qx_dataset_before(const struct qx_dataset *data, int64_t at, int64_t most,
                                 int32_t *ids, int64_t *n, struct qx_error *err);

/* ---- calibrating activations ---- */

/* What every layer's input looked like in float32, over the first n_rows rows of `data` (all, if
 * fewer), or over n_rows rows of standard normal noise when data is NULL. Two passes; progress counts
 * both. The result does not depend on threads. QX_ECANCELLED, QX_ENOMEM, QX_EDATA, QX_EUNSUPPORTED (noise for a
 * network of ids). Immutable, shared by reference count. Layers that read the same value share what was seen.
 * Memory beyond the weights, at most: for each value that layers read its packed histogram (qx/hist.h: 0.8 MiB
 * whatever up to 2^28 values are), 8 bytes a tile, 4 a channel and token; while it runs 24 KiB and 360 bytes a tile
 * more for each, and again 4 bytes a channel and token for each thread; for each thread 1.9 MiB and a workspace
 * (qx_net_forward); once the rows at hand (8 MiB, or a tile). BERT-base has 50 such values: 512 rows of 128 tokens stay
 * within 64 MiB on two threads, 6 more for each further one. */
struct qx_calibration;
enum qx_status qx_calibration_run(const struct qx_net *net, const struct qx_dataset *data,
                                  int64_t n_rows, uint64_t seed, struct qx_pool *pool,
                                  struct qx_ctl *ctl, struct qx_calibration **out,
                                  struct qx_error *err);
struct qx_calibration *qx_calibration_ref(struct qx_calibration *c);
void qx_calibration_unref(
    struct qx_calibration *c); /* NULL allowed; frees with the last reference */
int64_t qx_calibration_rows(const struct qx_calibration *c);
/* Borrowed; n = 0 values where the layer has no float32 input (embeddings). */
const struct qx_observed *qx_calibration_layer(const struct qx_calibration *c, int layer);
/* Cache file form (versioned, checksummed, host byte order). Load returns QX_EFORMAT for anything else,
 * and the caller calibrates. `key` (hash of weights, data, rows and seed) must match. */
enum qx_status qx_calibration_save(const struct qx_calibration *c, const char *path, uint64_t key,
                                   struct qx_error *err);
enum qx_status qx_calibration_load(const struct qx_net *net, const char *path, uint64_t key,
                                   struct qx_calibration **out, struct qx_error *err);

/* ---- measuring ---- */

struct qx_eval_options {
    int64_t max_samples; /* 0 = all; else that many rows drawn by seed, in row order */
    uint64_t seed;
    enum qx_engine engine; /* AUTO by default */
    /* Rows of the measurement, evenly spread, that run on both engines to count differing codes, when
     * the engine is INTEGER; 0 = none. They cost about as much as the simulation takes for them. */
    int64_t compare_rows;
};

/* Owned; free with qx_eval_result_free. Immutable once made. */
struct qx_eval_result {
    int64_t n, correct;
    double accuracy;       /* 0..1 */
    double ci_lo, ci_hi;   /* Wilson interval at 95 % */
    double macro_f1;       /* mean over the classes that occur as label or as prediction */
    double time_s;         /* without the comparison */
    enum qx_engine engine; /* that ran; AUTO: not known (kept from an earlier session) */
    /* n_nonfinite is of all rows, the rest of the compared ones (n_rows = 0: none) */
    struct qx_net_report report;
    int64_t *rows;      /* [n] row numbers in the data set */
    int32_t *predicted; /* [n] class of the largest logit, lowest index on a tie; NaN loses */
    float *margin;      /* [n] logit of the label minus the largest other logit */
    int32_t *label;     /* [n] */
    /* Language models: a row is a token that counts (rows: its index in input_ids), its class the
     * vocabulary's entry, macro_f1 NaN. Else NULL and NaN. */
    float *nll; /* [n] -log p of the label, nats */
    float *kl;  /* [n] of qx_eval_run_pair, else NULL: KL(a's next token || this one's), nats */
    int64_t n_documents;
    double ce, perplexity, perplexity_error; /* mean nll, exp of it, its standard error */
};
/* Over all documents: tokens 0 .. L-2 of each are fed from position 0, and place i predicts token i + 1,
 * which counts unless loss_mask, or an earlier window, says otherwise.
 * options NULL = all rows, engine AUTO. Prepares the weights for the engine. Progress in rows; of language
 * models max_samples are the first documents, and so is the progress.
 * QX_EDATA without labels, or where a language model's logits are no numbers; what qx_weights_prepare and
 * qx_net_forward return. */
enum qx_status qx_eval_run(const struct qx_net *net, const struct qx_dataset *data,
                           struct qx_weights *w, const struct qx_eval_options *options,
                           struct qx_pool *pool, struct qx_ctl *ctl, struct qx_eval_result **out,
                           struct qx_error *err);
void qx_eval_result_free(struct qx_eval_result *r); /* NULL allowed */
/* A language model under two sets of weights, side by side: wa (float32's, say; engine AUTO) and wb (engine
 * as options say), a few documents at a time, so that their distributions can be compared: b->kl. Progress
 * counts each document twice. Memory: logits of 64 MiB, or of a tile of rows for each thread where that is
 * more, up to 512 MiB, or of one document. QX_EUNSUPPORTED for other networks; else as qx_eval_run. */
enum qx_status qx_eval_run_pair(const struct qx_net *net, const struct qx_dataset *data,
                                struct qx_weights *wa, struct qx_weights *wb,
                                const struct qx_eval_options *options, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_eval_result **a,
                                struct qx_eval_result **b, struct qx_error *err);
/* A result that was kept elsewhere: rows and labels of all the data. The caller fills in predicted, margin
 * and (language models) nll, then finish counts; macro_f1, time_s and engine are the caller's too.
 * QX_ENOMEM, QX_EDATA as qx_eval_run. */
enum qx_status qx_eval_result_new(const struct qx_net *net, const struct qx_dataset *data,
                                  struct qx_eval_result **out, struct qx_error *err);
enum qx_status qx_eval_result_finish(struct qx_eval_result *r, struct qx_error *err);

/* Two measurements of the same rows. */
struct qx_eval_pair {
    int64_t n;
    int64_t flips;    /* rows whose predicted class differs */
    int64_t lost;     /* right in a, wrong in b */
    int64_t gained;   /* wrong in a, right in b */
    double agreement; /* 1 - flips / n */
    double delta;     /* accuracy of b minus accuracy of a */
    double mcnemar_p; /* exact two-sided binomial test of lost against gained (McNemar 1947) */
    /* language models, else NaN: mean of the tokens' differences b - a in nll, its standard error
     * sd / sqrt(n), and what they are as the relative increase exp(nll_delta) - 1 of the perplexity */
    double nll_delta, nll_error;
    double increase, increase_error;
};
/* QX_EDATA when the rows differ. */
enum qx_status qx_eval_compare(const struct qx_eval_result *a, const struct qx_eval_result *b,
                               struct qx_eval_pair *out, struct qx_error *err);

/* One row (of a language model: one token) and what two measurements say of it. */
struct qx_eval_change {
    int64_t row;          /* as in struct qx_eval_result */
    int32_t label;        /* -1 = none */
    int32_t top_a, top_b; /* class of the largest logit */
    float before, after;  /* margins; of a language model the probability of the token that came */
    float kl_a,
        kl_b;   /* KL(float32's next token || a's), b's, nats; NaN where that one was not measured
                         beside float32 (qx_eval_run_pair) */
    int64_t at; /* index in both results */
};
/* By what rows change most. ANSWERS: of classifiers those whose class changes come first; then by the size of
 * the change of margin or probability from a to b. KL: by the larger one of kl_a and kl_b. */
enum qx_change_order { QX_CHANGES_ANSWERS, QX_CHANGES_KL };
/* The rows that change most, at most `most` of them, into out [most], largest first, rows in their order where
 * that is equal. Rows that do not change are left out. *n: how many.
 * QX_EDATA when the rows differ, and for KL where neither has kl. Pure, no allocation; O(rows), about. */
enum qx_status qx_eval_changes(const struct qx_eval_result *a, const struct qx_eval_result *b,
                               enum qx_change_order order, int64_t most, struct qx_eval_change *out,
                               int64_t *n, struct qx_error *err);

/* Next-token distributions of b against those of a, in llama.cpp's vocabulary. p is that of the token that
 * came. Errors are standard errors over the tokens. */
struct qx_divergence {
    int64_t n;                             /* tokens */
    double kld_mean, kld_error;            /* KL(a || b), nats */
    double kld_p99, kld_max;               /* linear between order statistics */
    double delta_p;                        /* mean of p in b minus p in a */
    double rms_delta_p, rms_delta_p_error; /* root mean square of the same */
    double same_top, same_top_error;       /* share of tokens with the same likeliest one */
};
/* The two results of qx_eval_run_pair. QX_EDATA when b has no kl or the rows differ; QX_ENOMEM. */
enum qx_status qx_eval_divergence(const struct qx_eval_result *a, const struct qx_eval_result *b,
                                  struct qx_divergence *out, struct qx_error *err);

/* ---- encoders without a classifier ---- */

/* Embeddings of the same rows under two sets of weights. Similarity: the cosine of two rows' embeddings
 * under one of them. */
struct qx_agreement {
    int64_t n;                       /* rows */
    double cosine, cosine_least;     /* of a row's embedding in a with that in b: mean, smallest */
    double spearman;                 /* rank correlation of the similarities of all pairs of rows */
    double same_top;                 /* share of rows whose most similar other row is the same */
    double same_top_lo, same_top_hi; /* Wilson interval at 95 % */
    double time_s;
    enum qx_engine engine;       /* of wb */
    struct qx_net_report report; /* n_nonfinite, of wb */
};
/* wa (float32's, say; engine AUTO) against wb (engine as options say), over max_samples rows drawn by seed,
 * 1,000 at most and by default: pairs grow with the square. Progress counts each row twice.
 * QX_EUNSUPPORTED for other networks; QX_EDATA: fewer than 3 rows, an embedding that is zero or no number. */
enum qx_status qx_agreement_run(const struct qx_net *net, const struct qx_dataset *data,
                                struct qx_weights *wa, struct qx_weights *wb,
                                const struct qx_eval_options *options, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_agreement *out, struct qx_error *err);

/* ---- the rows that go next ---- */

/* A row of a classifier's data under float32 and now: class, and the logit of float32's class minus the
 * largest other one (below zero: the class has changed). */
struct qx_lead {
    int64_t row;
    int32_t label; /* -1 = none */
    int32_t top0, top;
    float before, now;
};
/* The rows that float32 has right (without labels: all) stay, *n of them, the one nearest to another class
 * first. Returns how many have lost float32's class: the first ones. O(n log n) */
int64_t qx_leads_sort(struct qx_lead *v, int64_t *n);
/* Two measurements row by row, out [b->n] in the order of the rows. The margin of the label stands for the
 * lead, so rows that float32 has wrong say nothing: qx_leads_sort drops them. QX_EDATA when the rows differ. */
enum qx_status qx_eval_leads(const struct qx_eval_result *fp32, const struct qx_eval_result *b,
                             struct qx_lead *out, struct qx_error *err);

/* ---- suffix replay: what an edit does, measured on a few rows while the hand is still on it ---- */

/* P, the rows it is measured on, with float32's answers; the values alive before the edited layer; the
 * weights. One thread at a time. */
struct qx_replay;
enum { QX_REPLAY_ROWS = 256, QX_REPLAY_TOKENS = 1024 };
/* Rows of P where n_rows is 0: QX_REPLAY_ROWS; of a language model tokens, as many of QX_REPLAY_TOKENS, a
 * quarter at least, as a pass multiplies in a fraction of a second. */
int64_t qx_replay_rows_usual(const struct qx_net *net);
/* n_rows rows by seed, all if there are fewer, which are run in float32 once; of language models places of
 * documents drawn by seed, each cut where a prediction cuts it. Kept values take at most max_bytes; where
 * they need more, every run is a whole pass. Net and data must outlive it. QX_EDATA without labels; what
 * qx_net_run returns. */
enum qx_status qx_replay_new(const struct qx_net *net, const struct qx_dataset *data,
                             int64_t n_rows, uint64_t seed, uint64_t max_bytes,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_replay **out,
                             struct qx_error *err);
void qx_replay_free(struct qx_replay *r); /* NULL allowed */
int64_t qx_replay_rows(const struct qx_replay *r);
/* P under float32, or as the last run that ended well left it: rows, labels, classes, margins; of language models
 * nll, and kl of the latter. Borrowed until the next run. */
const struct qx_eval_result *qx_replay_scored(const struct qx_replay *r, bool is_fp32);
/* P row by row, but of a language model, under float32 and as the last run that ended well left it. Arrays
 * [qx_replay_rows]; O(rows classes). */
void qx_replay_leads(const struct qx_replay *r, struct qx_lead *out);

struct qx_replay_result {
    int64_t n, correct, fp32_correct; /* rows of P, of language models tokens */
    struct qx_eval_pair pair;         /* float32 against this configuration */
    double kl; /* mean over P of KL(softmax of float32 || softmax), nats; NaN: not finite */
    enum qx_engine engine; /* that ran: AUTO's choice */
    int from;              /* layer from which on it was run */
    bool is_suffix;        /* the values before it were kept from an earlier run */
    double time_s;         /* quantizing and packing included */
};
/* Measure a configuration (set [layers of the network], ranges resolved) on P: layers before the first one
 * that changed since the last run are not run again, provided their values were kept: the first edit of a
 * layer costs a pass, the next ones of it or of later layers only what lies behind. Classes,
 * margins and nll are those of a whole pass, to the last bit. Progress in rows. After a failure or cancellation the next run
 * begins where the last good one ended. QX_ECANCELLED, QX_ENOMEM, what qx_weights_apply returns. */
enum qx_status qx_replay_run(struct qx_replay *r, const struct qx_setting *set,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_replay_result *out,
                             struct qx_error *err);

/* Wilson score interval (Wilson 1927), z = 1.96. */
void qx_wilson(int64_t correct, int64_t n, double *lo, double *hi);

#endif

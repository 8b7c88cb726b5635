/* One open model with its recipe, caches and background jobs: all that a host needs.
 *
 *   struct qx_session_options o = {.threads = 2};
 *   struct qx_session *s;
 *   struct qx_error err;
 *   if (qx_session_open("model-folder", &o, &s, &err) != QX_OK) { puts(err.text); return 3; }
 *   struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = 4}};
 *   int64_t item = qx_session_find(s, "conv1.weight", &err);
 *   qx_session_edit(s, &item, 1, &p, false, &err);
 *   struct qx_eval_result *r;
 *   qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &r, &err);
 *   printf("%.4f\n", r->accuracy);
 *   qx_eval_result_free(r);
 *   qx_session_close(&s);
 *
 * Thread rule: one host thread calls everything here; background threads publish results that
 * qx_session_poll makes visible. Pointers returned are borrowed until the next qx_session_poll, edit
 * or close, unless said otherwise. The functions marked [blocking] run in the caller. */
#ifndef QX_SESSION_H
#define QX_SESSION_H

#include "qx/bench.h"
#include "qx/eval.h"
#include "qx/matrix.h"
#include "qx/metric.h"
#include "qx/model.h"
#include "qx/net.h"
#include "qx/predict.h"
#include "qx/quant.h"

struct qx_session;

struct qx_session_options {
    const char *cache_dir;   /* histograms; NULL = none kept on disk */
    const char *state_dir;   /* autosaved recipe, undo log, measurements, lock, in a folder named by
                                the model's id; NULL = nothing saved */
    const char *recipe_path; /* a recipe to open and autosave to instead (need not exist yet, but in
                                batch); NULL = state_dir's */
    const char *data_path;   /* evaluation data, must open; NULL = the folder's eval.safetensors,
                                else eval.tsv, .csv, .jsonl or .txt, if there is one that opens, else, with
                                `predict`, "self" (qx/eval.h) of a language model. Outside a batch "self"
                                is written by a job: qx_session_data is NULL until then */
    struct qx_dataset_options
        data; /* of text files; texts are copied; ctl: of "self" in a batch; the rest is the session's */
    int64_t
        context; /* tokens of a language model's rows and windows at most (qx_net_open_with); 0 = as fit */
    const char
        *calib; /* rows that give activations their ranges: a data file, "self" (qx/eval.h) or
                                "random:N" for N rows of noise; NULL = the folder's calib.safetensors, else the
                                first rows of the evaluation data */
    const char *
        imatrix; /* importance of inputs (qx/imatrix.h), must open; heeded by BLOCK formats. NULL = none */
    const char
        *datasets_dir;  /* where the system keeps data sets ("/usr/share/datasets"): training takes
                                 the rows that the network names there (qx_net_train_data). NULL = none */
    int threads;        /* 0 = number of cores */
    uint64_t mem_bytes; /* budget of the caches; 0 = 25 % of RAM */
    uint64_t seed;
    bool fresh;              /* do not resume the autosaved recipe */
    bool predict;            /* build the predictor's table in the background (not in batch) */
    bool batch;              /* no background jobs, no autosave, no lock: for the verbs */
    void (*wake)(void *arg); /* called from any thread when qx_session_poll has news; may only write
                                one byte to a pipe; NULL = none */
    void *wake_arg;
};

/* Opens the model (see qx_model_open for what is recognised), its network and data when there are
 * any, resumes the recipe, starts the job threads and the FP32 measurement (which begins anew behind the
 * first prediction where an edit comes before half of it is done). A model without network
 * or data opens too: qx_session_net, qx_session_data are then NULL and the reasons tell why. */
enum qx_status qx_session_open(const char *path, const struct qx_session_options *options,
                               struct qx_session **out, struct qx_error *err);
/* Cancels and joins the jobs, saves the recipe, frees everything. NULL allowed. */
void qx_session_close(struct qx_session **s);

const struct qx_model *qx_session_model(const struct qx_session *s);
const struct qx_net *qx_session_net(const struct qx_session *s);
const struct qx_dataset *qx_session_data(const struct qx_session *s);
const char *qx_session_net_reason(const struct qx_session *s);  /* "" when there is a net */
const char *qx_session_data_reason(const struct qx_session *s); /* "" when there are data */
bool qx_session_read_only(const struct qx_session *s); /* recipe is open in another process */
int qx_session_resumed(const struct qx_session *s);    /* edits resumed at open */
const char *qx_session_recipe_path(const struct qx_session *s); /* "" when nothing is saved */
int qx_session_threads(const struct qx_session *s);
const struct qx_imatrix *qx_session_imatrix(const struct qx_session *s); /* NULL = none */
int64_t qx_session_n_important(const struct qx_session *s); /* items that it speaks of */

/* ---- items: one per tensor, in the model's natural order; item index = tensor index ---- */

struct qx_item {
    const struct qx_tensor *tensor;
    const struct qx_layer *layer; /* NULL when no node owns it */
    const char *alias;            /* node name, or the tensor's name without ".weight" */
    enum qx_role role;            /* from the graph; without one, guessed from shape and name */
    struct qx_channels channels;
    bool can_quantize;  /* float dtype, readable, not empty */
    const char *reason; /* why not, one sentence; "" otherwise */
    bool has_influence; /* used by the network (true without a network) */
    const struct qx_importance
        *importance; /* of its inputs, by its own name or GGUF's; NULL = none */
};
int64_t qx_session_n_items(const struct qx_session *s);
const struct qx_item *qx_session_item(const struct qx_session *s, int64_t i);
/* Exact tensor name, else unambiguous alias. -1 with QX_ENAME in err ("did you mean"). */
int64_t qx_session_find(const struct qx_session *s, const char *name, struct qx_error *err);

/* ---- the recipe ---- */

enum qx_origin { QX_ORIGIN_MANUAL, QX_ORIGIN_METHOD, QX_ORIGIN_IMPORT, QX_ORIGIN_SEARCH };

/* A partial setting: only the named fields are taken from value. */
enum qx_patch_field {
    QX_PATCH_FORMAT = 1,
    QX_PATCH_BITS = 2, /* also makes the format int when it was a FLOAT one */
    QX_PATCH_SYM = 4,
    QX_PATCH_GRAN = 8, /* gran and group */
    QX_PATCH_SCALE = 16,
    QX_PATCH_CALIB = 32, /* calib and param; the range is chosen anew (manual: kept) */
    QX_PATCH_RANGE =
        64, /* range by hand: calib becomes manual. Together with CALIB: the range as that
                            calibrator chose it, or nothing when value.has_range is false */
    QX_PATCH_ACT = 128,   /* act; needs an integer weight */
    QX_PATCH_ALGO = 8192, /* methods; what they choose is computed in the background */
    QX_PATCH_ALL = 255 + 8192,
    /* Parts of act. A static range that a calibrator chose is chosen anew, one by hand is kept. */
    QX_PATCH_ACT_BITS = 256, /* 0: float32. Others turn activations on: static, percentile; a FLOAT
                                weight becomes int with 8 bits then */
    QX_PATCH_ACT_SYM = 512,
    QX_PATCH_ACT_GRAN = 1024,  /* dynamic and gran; static: one range, percentile */
    QX_PATCH_ACT_CALIB = 2048, /* calib and param; makes it static. calib NULL: its own calibrator
                                  chooses anew */
    QX_PATCH_ACT_RANGE = 4096  /* static range by hand */
};
struct qx_patch {
    unsigned fields;
    struct qx_setting value;
};

/* Current setting of an item. has_range is false while its histogram is still to be built. */
const struct qx_setting *qx_session_setting(const struct qx_session *s, int64_t item);
/* One undo step that applies the patch to the items. An fp32 item that gets bits starts from
 * qx_setting_int. When bits, symmetry or granularity change, a calibrated range is chosen anew (at once
 * when the histogram is there, else in the background); a manual one is carried over (a tensor's T
 * becomes the ratio T/absmax and back). With merge, the step joins the one before when that was a
 * merge step on the same items (a drag is one step). Items that cannot be quantized are refused by
 * name when alone, skipped otherwise. No allocation for a merged single-item step.
 * QX_ERANGE, QX_EUNSUPPORTED, QX_ENOMEM; nothing changes on error. */
enum qx_status qx_session_edit(struct qx_session *s, const int64_t *items, int64_t n,
                               const struct qx_patch *patch, bool merge, struct qx_error *err);
/* Ends a merge run: the next merge step starts anew. */
void qx_session_seal(struct qx_session *s);
bool qx_session_undo(struct qx_session *s); /* false: nothing to undo */
bool qx_session_redo(struct qx_session *s);
int qx_session_n_edits(const struct qx_session *s); /* steps that undo could take back */
/* Text of step k steps ago (0 = last): "conv1.weight: bits 8 -> 4". NULL beyond the end. */
const char *qx_session_edit_text(const struct qx_session *s, int k);
/* Number that changes with every change of the recipe (for caches of views). */
uint64_t qx_session_revision(const struct qx_session *s);
/* 16 hex digits of the resolved recipe. */
const char *qx_session_recipe_hash(struct qx_session *s);

/* Load replaces the recipe (one undo step); names are tensor names or unambiguous aliases; unknown
 * ones are an error naming the nearest. Save writes schema qexplore.recipe/1 atomically. */
enum qx_status qx_session_load_recipe(struct qx_session *s, const char *path, struct qx_error *err);
enum qx_status qx_session_save_recipe(struct qx_session *s, const char *path, struct qx_error *err);

/* Snapshot A and the blink comparator. */
void qx_session_snapshot(struct qx_session *s); /* A = a copy of the current recipe (B) */
bool qx_session_has_snapshot(const struct qx_session *s);
const struct qx_setting *qx_session_setting_a(const struct qx_session *s, int64_t item);
void qx_session_flip(struct qx_session *s); /* swap A and B; undoable */
enum qx_status qx_session_take_from_a(struct qx_session *s, int64_t item, struct qx_error *err);

/* ---- figures ---- */

enum qx_hist_state {
    QX_HIST_WAITING, /* none yet; queued */
    QX_HIST_SAMPLED, /* from a sample; the exact one is coming */
    QX_HIST_READY,
    QX_HIST_FAILED /* see the log; or values cannot be shown */
};
/* Histogram for an item under a setting's granularity and symmetry. Queues the build when missing
 * (the newest request is served first). NULL while WAITING or FAILED. */
const struct qx_hist *qx_session_hist(struct qx_session *s, int64_t item,
                                      const struct qx_setting *setting, enum qx_hist_state *state);
/* Metrics of the current setting from the histogram, or the exact ones when the background job has
 * done them for just this setting. False while no histogram is there. O(levels). */
bool qx_session_metrics(struct qx_session *s, int64_t item, struct qx_metrics *out);
/* Ask for the exact element-wise metrics of an item's current setting (latest wins). */
void qx_session_want_exact(struct qx_session *s, int64_t item);

/* What the calibrators would choose for an item and what theory allows, at its current setting's
 * bits, symmetry and granularity. Computed in the background (KL and Lloyd-Max take milliseconds),
 * kept for the last few settings. */
enum { QX_ADVICE_CALIBS = 12 };
struct qx_advice {
    int n; /* choices known so far; grows until is_complete */
    struct qx_advice_choice {
        const struct qx_calibrator *calib;
        double param;
        struct qx_range range; /* as in struct qx_setting */
        double mse;
    } choice[QX_ADVICE_CALIBS]; /* in the calibrators' order, manual left out */
    /* [bits] SQNR when the setting's own calibrator chooses at that width, 2..8; NaN while unknown,
     * and for a manual range */
    double ladder_db[9];
    double best_db[9]; /* [bits] best SQNR of any codebook of 2^bits levels; NaN while unknown */
    bool is_complete;
};
/* False while nothing is known (no histogram yet, FLOAT format); asking queues the work, newest first.
 * qx_session_poll says QX_NEWS_METRICS when more is known. O(1), no allocation. */
bool qx_session_advice(struct qx_session *s, int64_t item, struct qx_advice *out);

/* Picture of a part of an item under its current setting: at once for up to 65,536 elements, else it
 * fills in in the background (asking for another one cancels it; QX_NEWS_METRICS when it is whole).
 * Borrowed until the next poll, edit, or question for a picture. NULL: *reason says why, a sentence, or
 * is NULL while the ranges of the units are being found. */
const struct qx_matrix_map *qx_session_matrix(struct qx_session *s, int64_t item,
                                              enum qx_matrix_what what,
                                              const struct qx_matrix_part *part,
                                              const char **reason);
/* Margins of an item: at once up to 65,536 elements; NULL while they are computed in the background, or
 * with a reason when there are none. Those of the last items asked for are kept. */
const struct qx_margins *qx_session_margins(struct qx_session *s, int64_t item,
                                            const char **reason);

/* Totals over the recipe. */
struct qx_totals {
    uint64_t bytes,
        bytes_fp32;         /* all tensors: what is not quantized at its stored size; bytes_fp32:
                                   float tensors at 4 bytes a value */
    double bits_per_weight; /* over float tensors */
    int64_t n_quantized, n_quantizable;
};
void qx_session_totals(const struct qx_session *s, struct qx_totals *out);

enum qx_gauge_state {
    QX_GAUGE_NONE,     /* cannot be measured: reason */
    QX_GAUGE_DATA,     /* the model is writing the text to measure on: reason, progress */
    QX_GAUGE_BASELINE, /* FP32 is being measured */
    QX_GAUGE_WAITING,  /* edited; measurement waits for the hand to rest, or for `e` */
    QX_GAUGE_RUNNING,
    QX_GAUGE_MEASURED,
    QX_GAUGE_FAILED /* reason */
};
/* What is said of a recipe before it is measured, and beside it. */
enum qx_gauge_guess {
    QX_GUESS_NONE,
    QX_GUESS_RANK,     /* risk: nothing was run, or the table does not cover the recipe yet */
    QX_GUESS_PREDICTED /* predicted */
};
/* By the mean over the linear layers of the squared relative error of their weights: below .002 (8 bits
 * are), below .03 (4 bits), above. */
enum qx_risk { QX_RISK_UNKNOWN, QX_RISK_LOW, QX_RISK_MEDIUM, QX_RISK_HIGH };
struct qx_gauge {
    enum qx_gauge_state state;
    char reason[256];
    bool is_words; /* a language model: rows are tokens, the figure is perplexity (pair.increase) */
    int64_t n;     /* rows; of a language model 0 until FP32 is measured */
    double fp32_perplexity,
        perplexity;       /* of a language model, beside the counts; NaN while unknown */
    int64_t fp32_correct; /* -1 while unknown */
    int64_t correct; /* of the last measured recipe (an edit's: not float32's); -1 while unknown */
    struct qx_eval_pair pair; /* FP32 against the last measured recipe, when both are known */
    enum qx_engine engine;    /* that measured it; AUTO: not known */
    int edits_since;          /* edits since that measurement: > 0 means stale */
    double progress;          /* 0..1 while DATA, BASELINE or RUNNING */
    bool is_own_text;   /* the tokens are text that the model wrote itself (qx_dataset_is_self) */
    double eval_time_s; /* of the last full measurement */
    uint64_t revision;  /* recipe revision that was measured */
    enum qx_gauge_guess guess;
    enum qx_risk risk;              /* guess RANK */
    struct qx_prediction predicted; /* guess PREDICTED: of the recipe as it is now */
    int64_t predict_rows;           /* P */
    bool is_predicted_early; /* of P's rows, which stand for all until FP32 is measured on those */
    int n_entries;           /* of the table */
    int n_graded, n_graded_in_band; /* predictions made before their measurement, last 12 */
    double grade_error;             /* their mean absolute error, share of the rows */
};
void qx_session_gauge(const struct qx_session *s, struct qx_gauge *out);
/* The recipe measured on P, a few rows of the data, by suffix replay: in the background after every edit,
 * while auto-measure is on, the newest recipe first, where that takes up to about 150 ms. */
struct qx_session_replay {
    struct qx_replay_result result;
    uint64_t revision; /* of the recipe that was measured */
    bool is_current;   /* that is the recipe of now */
};
/* The last one; false while there is none. QX_NEWS_GAUGE tells of a new one. */
bool qx_session_replayed(const struct qx_session *s, struct qx_session_replay *out);
/* Which measurement would narrow the band of what is predicted most: RECIPE, this recipe on all rows, where
 * that does not happen by itself; BAND, n random recipes, which turn the assumed width of all bands into
 * a measured one (they come by themselves where a measurement takes under 5 s). now, then: half the band
 * as it is and as it would be about, shares; then NaN: not known. time_s: what it takes. */
enum qx_next_kind { QX_NEXT_NONE, QX_NEXT_RECIPE, QX_NEXT_BAND };
struct qx_next {
    enum qx_next_kind kind;
    int n;
    double time_s, now, then;
};
void qx_session_next(struct qx_session *s, struct qx_next *out);
/* Runs it in the background; says which it was. */
enum qx_next_kind qx_session_measure_next(struct qx_session *s);
/* The rows that float32 has right (without labels: all), those nearest to another class first: as measured
 * on all rows, else as replayed on P, else as composed on P (an approximation). False while none is there, and for
 * language models, whose places are no rows. v [n] by `now`, borrowed until the next poll or edit; the first n_flipped have lost float32's class.
 * O(rows classes) when something changed. */
enum qx_leads_source { QX_LEADS_MEASURED, QX_LEADS_REPLAYED, QX_LEADS_PREDICTED };
struct qx_leads {
    int64_t n, n_flipped;
    enum qx_leads_source source;
    const struct qx_lead *v;
};
bool qx_session_leads(struct qx_session *s, struct qx_leads *out);
/* The text of a row of the data, special tokens left out; of a language model, whose rows are tokens (as in
 * struct qx_eval_result), the text before it, its last 24 tokens. False where rows are no texts. */
bool qx_session_row_text(struct qx_session *s, int64_t row, char *text, size_t cap);
/* The thresholds of an item's weights, all else as it is, at which the first row of P that has float32's
 * class loses it: out[0] for a lower one, out[1] for a higher one, as composed (an approximation), or measured where
 * replays of this drag led there in steps of a twentieth at most (the place then lies between two of them, where
 * straight lines over ln place put it). place: size of the threshold that moves, is_low: the low end of an asymmetric range per tensor. False while
 * that is found in the background (QX_NEWS_GAUGE), and where nothing is predicted. */
struct qx_flip {
    bool is_there;    /* within a twentieth of the largest value and that */
    bool is_measured; /* on P, by suffix replay */
    double place;
    int64_t row;
};
bool qx_session_first_flips(struct qx_session *s, int64_t item, bool is_low, struct qx_flip out[2]);
/* What of the predicted KL is a layer's doing: KL of all minus KL without it (nats), and its share of
 * all. False while nothing is predicted. O(rows classes) */
bool qx_session_layer_share(struct qx_session *s, int64_t item, double *share, double *kl);
/* Measure now (also when auto-measure is off). */
void qx_session_measure(struct qx_session *s);
/* On by default: measure 300 ms after the last edit, or once its prediction is exact (up to 800 ms), when the
 * last measurement took under 5 s. */
void qx_session_set_auto_measure(struct qx_session *s, bool on);
bool qx_session_auto_measure(const struct qx_session *s);

/* Measurements for Compare: of FP32, of A, of the current recipe B. NULL while not measured. Requesting
 * queues a missing one. */
enum qx_which { QX_WHICH_FP32, QX_WHICH_A, QX_WHICH_B };
const struct qx_eval_result *qx_session_result(struct qx_session *s, enum qx_which which);
/* A language model's distributions, or an encoder's embeddings, under A or B beside float32's. */
struct qx_beside {
    struct qx_eval_result *fp32, *recipe; /* owned; NULL: an encoder */
    struct qx_divergence divergence;
    struct qx_agreement agreement; /* n = 0: a language model */
};
/* Over all data (embeddings: see qx_agreement_run), without fp32, and of float32 itself without recipe; NULL
 * while not measured, which asking starts once the recipe rests, and for other networks. QX_NEWS_GAUGE when it
 * is there. It costs about two measurements. */
const struct qx_beside *qx_session_beside(struct qx_session *s, enum qx_which which);
void qx_session_totals_a(const struct qx_session *s, struct qx_totals *out);
/* The rows, or tokens, that change most from snapshot A to the current recipe, or (KL, of language models) that
 * are farthest from float32 in either; QX_CHANGES at most, in the order of qx_eval_changes. False until both
 * are measured (KL: beside float32), which asking starts, and for KL of other networks. Borrowed until the next
 * poll or edit. O(rows) when something changed. */
enum { QX_CHANGES = 200 };
struct qx_changes {
    int64_t n;
    const struct qx_eval_change *v;
};
bool qx_session_changes(struct qx_session *s, enum qx_change_order order, struct qx_changes *out);

/* ---- jobs ---- */

enum qx_job_state { QX_JOB_QUEUED, QX_JOB_RUNNING, QX_JOB_DONE, QX_JOB_FAILED, QX_JOB_CANCELLED };
struct qx_job_info {
    int id;
    enum qx_job_state state;
    char title[128];
    char message[256]; /* result or error */
    int64_t done, total;
    double elapsed_s, eta_s; /* eta < 0: unknown */
};
/* Newest first; the last 64 finished ones are kept. */
int qx_session_n_jobs(const struct qx_session *s);
bool qx_session_job(const struct qx_session *s, int i, struct qx_job_info *out);
void qx_session_cancel(struct qx_session *s, int id);
/* Cancel the newest running or queued job; false when there is none (Ctrl-C then may quit). */
bool qx_session_cancel_top(struct qx_session *s);
bool qx_session_retry(struct qx_session *s, int id);
void qx_session_clear_jobs(struct qx_session *s); /* forget finished ones */

/* ---- activations: the inputs of layers, as calibration saw them ---- */

/* Where the ranges of activations came from; false while nothing was calibrated. */
struct qx_session_calib {
    char source[512]; /* file, or "random:N" */
    char hash[17];    /* of the file; "" for noise */
    int64_t n;        /* rows */
    bool is_noise;
    bool is_named;  /* by the host, not found in the folder */
    bool is_kept;   /* read from the cache folder */
    char note[256]; /* what to beware of, one sentence; "" = nothing */
};
bool qx_session_calib(const struct qx_session *s, struct qx_session_calib *out);

enum qx_calib_state {
    QX_CALIB_NONE, /* nobody asked */
    QX_CALIB_QUEUED,
    QX_CALIB_RUNNING,
    QX_CALIB_READY,
    QX_CALIB_FAILED, /* reason */
    QX_CALIB_CANCELLED
};
struct qx_calib_status {
    enum qx_calib_state state;
    int job;         /* id while QUEUED or RUNNING */
    double progress; /* 0..1 */
    char reason[256];
};
void qx_session_calib_status(const struct qx_session *s, struct qx_calib_status *out);
/* Calibrate (anew) on a data file, on "random:N" rows of noise, or ("" or NULL) on the folder's own
 * data; in the background. Ranges chosen before stay as they are.
 * QX_EUNSUPPORTED without a network, QX_ENOMEM. */
enum qx_status qx_session_calibrate(struct qx_session *s, const char *source, struct qx_error *err);
/* What calibration saw of the input of an item's layer. NULL: not calibrated yet (which asking starts,
 * unless that failed or was cancelled), or no layer. qx_session_poll says QX_NEWS_CALIB. */
const struct qx_observed *qx_session_observed(struct qx_session *s, int64_t item);
/* Error of a static range on the values that calibration saw. False while they are not there, and for
 * other kinds of act. O(levels). */
bool qx_session_act_metrics(struct qx_session *s, int64_t item, const struct qx_act *act,
                            struct qx_metrics *out);
/* What each calibrator would choose at this width and symmetry, computed in the background as
 * qx_session_advice. False while nothing is known. */
struct qx_act_advice {
    int n;
    struct qx_act_choice {
        const struct qx_calibrator *calib;
        double param;
        struct qx_range range;
        double db; /* SQNR; NaN: no error */
        enum qx_basis basis;
    } choice[QX_ADVICE_CALIBS];
    bool is_complete;
};
bool qx_session_act_advice(struct qx_session *s, int64_t item, int bits, bool sym,
                           struct qx_act_advice *out);

/* ---- bench: the network in the formats one would ship it in ---- */

enum qx_bench_state {
    QX_BENCH_NONE, /* not asked for yet */
    QX_BENCH_QUEUED,
    QX_BENCH_RUNNING,
    QX_BENCH_DONE,
    QX_BENCH_FAILED, /* reason */
    QX_BENCH_CANCELLED
};
struct qx_bench_row {
    const struct qx_variant *variant; /* linear layers have its setting, all others stay FP32; or
                                         qx_variant_recipe */
    bool is_quantized;                /* some layer is: not so for FP32 */
    bool is_stale;                    /* of the recipe as it was before an edit */
    enum qx_bench_state state;
    int job; /* id while QUEUED or RUNNING, else 0 */
    char reason[256];
    /* DONE only: */
    uint64_t bytes;         /* of the whole model, as struct qx_totals says */
    double bits_per_weight; /* over float tensors */
    struct qx_bench_figures figures;
    double bytes_moved; /* a sample, see qx_bench_bytes_moved */
    int64_t macs;       /* a sample */
    double accuracy;    /* of a language model: next tokens right */
    double perplexity;  /* NaN of others */
    int64_t n, correct;
    double speedup; /* FP32's latency over this one's; NaN until FP32 is done */
};
/* Queue variant i of the table, the recipe as it stands (qx_variant_count()), or all (-1); one that
 * waits or runs already is left alone. The recipe is not changed. Nothing is done in a batch session. */
void qx_session_bench(struct qx_session *s, int i);
/* Row of variant i, the recipe's behind the table; false beyond. qx_session_poll says QX_NEWS_BENCH when one changed. */
bool qx_session_bench_row(const struct qx_session *s, int i, struct qx_bench_row *out);

/* Take in what the jobs finished, start what is due, autosave when due. Call after a wake and when
 * the timeout passes. Returns a bit set of what changed. */
enum qx_news {
    QX_NEWS_HIST = 1,
    QX_NEWS_METRICS = 2,
    QX_NEWS_GAUGE = 4,
    QX_NEWS_JOBS = 8,
    QX_NEWS_RECIPE = 16,  /* a calibrated range arrived */
    QX_NEWS_FILE = 32,    /* the model file changed on disk or was torn */
    QX_NEWS_WRITTEN = 64, /* a model folder's writing ended: qx_session_written */
    QX_NEWS_BENCH = 128,
    QX_NEWS_CALIB = 256,
    QX_NEWS_TRAIN = 1 << 14, /* qx/qat.h */
    QX_NEWS_TRY = 1 << 13,   /* qx/try.h */
    QX_NEWS_MAP = 1 << 12    /* map or plan: qx/search.h */
};
unsigned qx_session_poll(struct qx_session *s);
/* Milliseconds until qx_session_poll wants to be called; -1 = only after a wake. */
int qx_session_timeout_ms(const struct qx_session *s);
/* True when nothing runs or waits (tests, headless rendering). */
bool qx_session_idle(const struct qx_session *s);
/* Block until idle or `max_ms` passed, polling. [blocking] */
void qx_session_settle(struct qx_session *s, int max_ms);

/* ---- whole-model work in the caller's thread [blocking] ---- */

/* Which items a scope, a --layers glob (NULL = all) names. out[n_items] true for those. */
enum qx_scope { QX_SCOPE_LINEAR, QX_SCOPE_ALL };
/* Does the item's name or alias match the glob, or is it what the words "first", "last" or "ends" (both) say
 * (qx_net_layer_is_end)? A tensor of that name comes before the word. */
bool qx_session_match(const struct qx_session *s, int64_t item, const char *glob);
void qx_session_select(const struct qx_session *s, enum qx_scope scope, const char *glob,
                       bool *out);
/* Resolve every range of the recipe that is still open: of weights, and, where there is a network, of
 * activations (calibrates when needed; QX_EDATA without data for that). */
enum qx_status qx_session_run_resolve(struct qx_session *s, struct qx_ctl *ctl,
                                      struct qx_error *err);
/* Exact metrics of one item under its current setting (resolved first). */
enum qx_status qx_session_run_metrics(struct qx_session *s, int64_t item, struct qx_ctl *ctl,
                                      struct qx_metrics *out, struct qx_error *err);
enum qx_status qx_session_run_stats(struct qx_session *s, int64_t item, struct qx_ctl *ctl,
                                    struct qx_stats *out, struct qx_error *err);
/* Exact histogram of the item at granularity tensor, symmetric. Unref it. */
enum qx_status qx_session_run_hist(struct qx_session *s, int64_t item, struct qx_ctl *ctl,
                                   struct qx_hist **out, struct qx_error *err);
/* Without a network or data: the error that opening them gave, with its status and place. */
enum qx_status qx_session_run_eval(struct qx_session *s, const struct qx_eval_options *options,
                                   struct qx_ctl *ctl, struct qx_eval_result **out,
                                   struct qx_error *err);
/* [qx_beside] of a language model the pair of results and what they say, of an encoder without classifier
 * the agreement. QX_EUNSUPPORTED for other networks. */
enum qx_status qx_session_run_beside(struct qx_session *s, const struct qx_eval_options *options,
                                     struct qx_ctl *ctl, struct qx_beside *out,
                                     struct qx_error *err);
void qx_beside_release(struct qx_beside *b); /* zeroed struct allowed */
/* Predict the recipe's accuracy on the evaluation rows (agreement with FP32, without labels), measuring
 * only what is not kept on disk: FP32 there (options NULL = all rows) and the layers that the recipe
 * changes on P, six entries each at most. Needs no session that predicts in the background. rows
 * [QX_PREDICT_ROWS_MOST], NULL allowed (and needed for language models, whose places are no rows): P row by row as composed,
 * *n_rows of them. */
enum qx_status qx_session_run_predict(struct qx_session *s, const struct qx_eval_options *options,
                                      struct qx_ctl *ctl, struct qx_prediction *out,
                                      struct qx_lead *rows, int64_t *n_rows, struct qx_error *err);
/* A model folder with dequantized values in the original dtypes, beside copies of the source folder's
 * other files (graph.json, data, notes), and recipe.json. Of a GGUF file of a network that is run, names and rows are
 * those of other programs, and config.json and tokenizer are made from its metadata (qx_folder_tensor in qx/net.h). All is written aside and then put in place:
 * on failure or cancel an older folder is as it was, a new one gone. Progress is in bytes. QX_EIO when
 * out_dir holds other things than such a folder. */
enum qx_status qx_session_run_write(struct qx_session *s, const char *out_dir, struct qx_ctl *ctl,
                                    struct qx_error *err);

/* Measure one variant, or qx_variant_recipe (resolved first), here and now; speedup is left NaN. The error is also the row's reason. */
enum qx_status qx_session_run_bench(struct qx_session *s, const struct qx_variant *v,
                                    const struct qx_bench_options *options, struct qx_ctl *ctl,
                                    struct qx_bench_row *out, struct qx_error *err);

/* ---- the same in the background ---- */

/* Queue the writing of the recipe as it stands (a copy; ranges still open are chosen in the job).
 * Shown, cancelled and retried as a job; its end is QX_NEWS_WRITTEN. Closing the session cancels it.
 * Errors that the folder's name gives away come at once (as above); QX_EUNSUPPORTED in batch. O(items) */
enum qx_status qx_session_write(struct qx_session *s, const char *out_dir, struct qx_error *err);
/* True while a folder is being written or waits for it. */
bool qx_session_writing(const struct qx_session *s);
/* How the last writing ended: state, and message as a sentence for the user. True once per end. */
bool qx_session_written(struct qx_session *s, struct qx_job_info *out);

#endif

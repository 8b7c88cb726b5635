/* What is inside a session. One lock order: none; the host thread owns everything here but the tasks
 * that its lanes hold. */
#ifndef QX_SESSION_IMPL_H
#define QX_SESSION_IMPL_H

#include "qx/session.h"
#include "session/advice.h"
#include "session/bench.h"
#include "session/beside.h"
#include "session/cache.h"
#include "session/changes.h"
#include "session/edit_log.h"
#include "session/exact.h"
#include "session/formats.h"
#include "session/items.h"
#include "session/jobs.h"
#include "session/lane.h"
#include "session/leads.h"
#include "session/measure.h"
#include "session/methods.h"
#include "session/own_text.h"
#include "session/pictures.h"
#include "session/predictor.h"
#include "session/ranges.h"
#include "session/recipe.h"
#include "session/replayer.h"
#include "session/search.h"
#include "session/survey.h"
#include "session/trainer.h"
#include "session/tries.h"
#include "session/undo.h"

struct qx_pool;

/* Sums behind qx_session_totals, kept up to date change by change. */
struct qx_sums {
    uint64_t float_bytes, other_bytes, float_fp32_bytes;
    int64_t n_float, n_quantized, n_quantizable;
};

/* Items whose calibrator has still to choose (OPEN), or chose from a sample only (PROVISIONAL). */
enum { QX_PENDING_NONE, QX_PENDING_OPEN, QX_PENDING_PROVISIONAL };
struct qx_pending {
    int64_t *item;  /* [n] */
    int64_t *place; /* [items] index in item, while state is not NONE */
    uint8_t *state; /* [items] */
    int64_t n;
};

/* Where the recipe is kept. */
struct qx_autosave {
    char *recipe_path, *log_path, *results_path; /* NULL = not kept */
    int lock_fd;                                 /* -1 = not held */
    bool is_read_only, is_dirty, has_failed;
    double due_s;
    struct qx_task *task; /* a write that is out with the preview lane */
};

struct qx_session {
    struct qx_model *model;
    struct qx_net *net;
    struct qx_dataset *data;
    struct qx_imatrix *imatrix; /* NULL = none */
    struct qx_arena texts;      /* of data_options and the next */
    struct qx_dataset_options data_options;
    struct qx_own_text own;   /* where the data are the model's own */
    const char *datasets_dir; /* NULL = none */
    struct qx_pool *pool;
    struct qx_error net_error, data_error; /* why there is no net, no data; status QX_OK else */
    char *state_dir;                       /* of this model; NULL = nothing saved */
    int threads;
    bool is_batch;
    uint64_t file_hash; /* of the model files' identities: key of caches */

    struct qx_items items;
    struct qx_recipe now, a;
    bool has_a;
    struct qx_sums sums, sums_a;
    struct qx_undo undo;
    struct qx_edit_log log;
    struct qx_pending pending;
    struct qx_autosave save;
    uint64_t revision;
    int64_t n_moves; /* steps done, undone and redone since open */
    double last_edit_s;
    int n_resumed;
    char hash_text[17], edit_text[192];

    struct qx_bell bell;
    struct qx_lane preview, queue;
    struct qx_jobs jobs;
    struct qx_cache cache;
    struct qx_exact exact;
    struct qx_advisor advisor;
    struct qx_pictures pictures;
    struct qx_beside_state beside;
    struct qx_changes_state changes;
    struct qx_measure measure;
    struct qx_tries tries;
    int n_writing;              /* model folders being written or waiting for it */
    struct qx_job_info written; /* the one that ended last */
    bool has_written;           /* and the host has not heard */
    struct qx_ranges ranges;
    struct qx_methods methods;
    struct qx_formats formats;
    struct qx_bench bench;
    struct qx_predictor predictor;
    struct qx_replayer replayer;
    struct qx_leads_state leads;
    struct qx_survey survey;
    struct qx_search search;
    struct qx_trainer trainer;
    uint64_t seed;
    unsigned news;
    double file_check_s;
    bool file_changed;
};

/* ---- data.c ---- */
/* Data the host names must open; the folder's own may be missing or wrong. Of a language model that has none
 * predictions (is_predicted) speak of text that it writes. Outside a batch that is only announced (own_text.h). */
enum qx_status qx_data_open(struct qx_session *s, const char *named, bool is_predicted,
                            struct qx_error *err);

/* ---- edit.c ---- */
/* Put a setting into the recipe: sums and pending follow. */
void qx_item_set(struct qx_session *s, int64_t item, const struct qx_setting *set, uint8_t origin);
/* The recipe changed: revision, autosave, measurement. */
void qx_recipe_touched(struct qx_session *s, bool is_move);
/* Make the recipe equal to `want` as one undo step; no step when nothing differs. */
enum qx_status qx_recipe_replace(struct qx_session *s, const struct qx_recipe *want,
                                 enum qx_step_kind kind, struct qx_error *err);
/* Apply a step's changes forward (redo, replay) or backward (undo). */
void qx_step_apply(struct qx_session *s, const struct qx_step *step, bool forward);
/* One step undone or redone, the recipe only; false when there is none. */
bool qx_step_move(struct qx_session *s, bool forward);
/* To the state behind a step, NULL: the first; the recipe only. */
void qx_step_jump(struct qx_session *s, struct qx_step *target);
/* What a flip step does to snapshot A. */
void qx_flip_follow(struct qx_session *s, const struct qx_step *step, bool forward);
void qx_sums_of(const struct qx_session *s, const struct qx_recipe *r, struct qx_sums *out);
/* Let calibrators choose where histograms are there, for at most about budget_s; ask for missing
 * histograms. */
void qx_pending_work(struct qx_session *s, double budget_s);
/* The calibrator of an open item chooses from a histogram (of a sample, unless is_final). */
void qx_pending_resolve(struct qx_session *s, int64_t item, const struct qx_hist *hist,
                        bool is_final);
bool qx_pending_open(const struct qx_session *s);

/* ---- autosave.c ---- */
/* Find the places, take the lock, resume recipe and undo steps. Places that cannot be written are
 * logged, not errors; a recipe named by the host that cannot be read is one. */
enum qx_status qx_autosave_open(struct qx_session *s, const struct qx_session_options *o,
                                struct qx_error *err);
/* Write when due; `now_s` past everything (INFINITY) writes at once, in this thread. */
void qx_autosave_work(struct qx_session *s, double now_s);
void qx_autosave_close(struct qx_session *s);

#endif

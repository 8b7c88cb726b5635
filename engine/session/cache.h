/* Histograms by item and layout: in memory under a budget, least recently used first out; the exact
 * ones of large tensors on disk too. Host thread only. */
#ifndef QX_SESSION_CACHE_H
#define QX_SESSION_CACHE_H

#include "session/lane.h"

struct qx_cache_entry {
    struct qx_cache_entry *next_of_item;
    struct qx_cache_entry *older, *newer; /* all entries */
    int64_t item;
    struct qx_hist_spec spec;
    struct qx_hist *hist; /* NULL while WAITING or FAILED */
    enum qx_hist_state state;
    struct qx_task *task; /* out with the preview lane, NULL when none */
    bool is_preempted;    /* its full build was stopped for something newer */
    uint64_t bytes, used; /* used: clock of the last look-up */
};

struct qx_cache {
    struct qx_cache_entry **of_item;        /* [items] */
    struct qx_cache_entry *newest, *oldest; /* all entries, by last use */
    uint64_t bytes, budget, clock, clock_at_poll;
    char *dir; /* NULL = nothing on disk */
    int n_tasks;
    int n_full; /* of them: full builds after a sample */
};

/* dir NULL = nothing on disk; created when missing. QX_ENOMEM. */
enum qx_status qx_cache_init(struct qx_cache *c, int64_t n_items, uint64_t budget, const char *dir,
                             struct qx_error *err);
void qx_cache_release(struct qx_cache *c);
/* Entry with this layout, NULL when there is none. Counts as a use. */
struct qx_cache_entry *qx_cache_find(struct qx_cache *c, int64_t item,
                                     const struct qx_hist_spec *spec);
/* Any entry of the item that has a histogram (for its statistics), NULL when none. */
const struct qx_hist *qx_cache_any(const struct qx_cache *c, int64_t item);
/* Entry with a build under way when it has none; NULL when out of memory, or with no job threads. */
struct qx_cache_entry *qx_cache_want(struct qx_session *s, int64_t item,
                                     const struct qx_hist_spec *spec);
/* The exact histogram, built (or loaded) in the caller's thread when missing. Borrowed until the next
 * qx_cache_evict. */
enum qx_status qx_cache_build(struct qx_session *s, int64_t item, const struct qx_hist_spec *spec,
                              struct qx_ctl *ctl, const struct qx_hist **out, struct qx_error *err);
/* Forget histograms beyond the budget, none looked up since the poll before. */
void qx_cache_evict(struct qx_cache *c);
/* A failed or cancelled build may be tried again. */
void qx_cache_retry(struct qx_session *s, int64_t item, const struct qx_hist_spec *spec);
/* cache_prune.c: remove the oldest files of a cache folder until it holds at most limit_bytes;
 * returns how many. _later does so in the background, with the limit of 2 GiB. */
int64_t qx_cache_prune(const char *dir, uint64_t limit_bytes);
void qx_cache_prune_later(struct qx_session *s);
/* Identity of the model's files: device, inode, size, time, header. */
uint64_t qx_cache_file_hash(const struct qx_model *model);

#endif

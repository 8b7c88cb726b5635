/* The token through which long work reports progress and is told to stop. */
#ifndef QX_JOB_H
#define QX_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Shared between one worker and its owner. Zero-initialise before use.
 * The owner stores `cancel`; the worker stores `done` and `total` (any unit, total 0 = unknown). */
struct qx_ctl {
    atomic_bool cancel;
    atomic_int_least64_t done;
    atomic_int_least64_t total;
    struct qx_ctl *parent; /* NULL, or a token that hears of the progress and may cancel too */
    bool is_quiet;         /* the parent may cancel, and hears of no progress */
};

/* True when the owner asked to stop; NULL never asks. Workers call it at least every 10 ms. */
static inline bool qx_cancel_test(struct qx_ctl *ctl)
{
    for (; ctl; ctl = ctl->parent) {
        if (atomic_load_explicit(&ctl->cancel, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* Steps of progress that a row counts in passes of a network ("progress in rows"): one row of a large
 * model can take minutes. */
enum { QX_ROW_STEPS = 256 };

/* Progress; NULL ignored. A parent keeps its own total. */
static inline void qx_ctl_total(struct qx_ctl *ctl, int64_t total)
{
    if (ctl) {
        atomic_store_explicit(&ctl->total, total, memory_order_relaxed);
    }
}

static inline void qx_ctl_add(struct qx_ctl *ctl, int64_t n)
{
    for (; ctl; ctl = ctl->is_quiet ? NULL : ctl->parent) {
        atomic_fetch_add_explicit(&ctl->done, n, memory_order_relaxed);
    }
}

#endif

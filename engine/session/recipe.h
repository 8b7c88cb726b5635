/* The recipe: one setting per item, and the rules by which a patch changes one. */
#ifndef QX_SESSION_RECIPE_H
#define QX_SESSION_RECIPE_H

#include "qx/session.h"
#include "session/items.h"

struct qx_recipe {
    int64_t n;
    struct qx_setting *set; /* [n] */
    uint8_t *origin;        /* [n] enum qx_origin */
    char *notes;            /* NULL = none */
    uint64_t imatrix_key; /* as read: of the file that its blocks heed (qx_imatrix_key); 0 = none */
};

/* n items, all fp32. QX_ENOMEM. */
enum qx_status qx_recipe_init(struct qx_recipe *r, int64_t n, struct qx_error *err);
void qx_recipe_release(struct qx_recipe *r); /* zero struct allowed */
/* dst and src have the same n; notes are left alone. */
void qx_recipe_copy(struct qx_recipe *dst, const struct qx_recipe *src);

/* Hash of what the arithmetic sees: format, bits, symmetry, granularity, scale type and range of all
 * items that are not fp32 (`of` NULL), or of those with of[i] true. The calibrator counts only
 * while it has not chosen a range. */
uint64_t qx_recipe_hash(const struct qx_recipe *r, const struct qx_items *items, const bool *of);

/* Range of a tensor's values, for carrying a threshold over between granularities. */
struct qx_bounds {
    bool is_known;
    double min, max, absmax;
};

/* The setting after a patch.
 *   name    for messages
 *   bounds  asked only when a manual range moves between tensor and channel or group
 * QX_ERANGE (a field, or a FLOAT item that would need bits first), QX_EDATA (bounds needed, unknown). */
enum qx_status qx_patch_apply(const struct qx_patch *patch, const struct qx_setting *now,
                              const struct qx_bounds *bounds, const char *name,
                              struct qx_setting *out, struct qx_error *err);
/* Would the patch do nothing sensible to this setting: a FLOAT format without format or bits in the
 * patch. */
bool qx_patch_needs_bits(const struct qx_patch *patch, const struct qx_setting *now);

/* act_patch.c: the parts of act that the patch names; the whole must be checked after. */
void qx_act_patch_apply(const struct qx_patch *patch, struct qx_act *a);
/* Is the range by hand one? QX_ERANGE names the tensor. */
enum qx_status qx_act_patch_check(const struct qx_patch *patch, const char *name,
                                  struct qx_error *err);
/* The patch changes parts of activations that this setting leaves in float32. */
bool qx_act_patch_needs_bits(const struct qx_patch *patch, const struct qx_setting *now);

/* An affine setting whose calibrator has not chosen yet. */
bool qx_setting_open(const struct qx_setting *s);
/* Its calibrator chooses anew; without a finite value any range serves. */
void qx_setting_choose(struct qx_setting *s, const struct qx_hist *hist);
/* Equal but for a range that `a` has still to choose and b's same calibrator has chosen. */
bool qx_setting_resolves_to(const struct qx_setting *a, const struct qx_setting *b);
bool qx_setting_is_manual(const struct qx_setting *s);

#endif

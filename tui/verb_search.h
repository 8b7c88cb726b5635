/* What sweep and pareto share. */
#ifndef UI_VERB_SEARCH_H
#define UI_VERB_SEARCH_H

#include "verb.h"

/* The recipe flags but for the bits: what every width keeps. `keep` may name `first` and `last`: the
 * network's first and last linear layer. False with err filled. */
bool ui_search_apply(const struct ui_args *args, struct qx_session *s, struct qx_error *err);
/* --bits. QX_ENAME, QX_ERANGE. */
enum qx_status ui_search_columns(const struct ui_args *args, struct qx_sens_column *out, int *n,
                                 struct qx_error *err);
/* --measure: 0 unless given; -1 for all. QX_ERANGE. */
enum qx_status ui_search_measure(const struct ui_args *args, int *n, struct qx_error *err);
/* A glob of --keep as it is meant: a tensor's name for `first` and `last`. */
const char *ui_search_glob(struct qx_session *s, const char *glob);
bool ui_search_match(struct qx_session *s, int64_t item, const char *glob);
/* --fail-under and --max-drop. what: "conv1.weight at 4"; values NaN pass. True: missed, said so. */
bool ui_search_gate(const struct ui_args *args, const char *what, double accuracy, double drop);

#endif

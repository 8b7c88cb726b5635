/* What sweep and pareto share. */
#ifndef UI_VERB_SEARCH_H
#define UI_VERB_SEARCH_H

#include "verb.h"

/* The recipe flags but for the bits: what every width keeps. False with err filled. */
bool ui_search_apply(const struct ui_args *args, struct qx_session *s, struct qx_error *err);
enum qx_scope ui_search_scope(const struct ui_args *args); /* --scope */
/* --bits. QX_ENAME, QX_ERANGE. */
enum qx_status ui_search_columns(const struct ui_args *args, struct qx_sens_column *out, int *n,
                                 struct qx_error *err);
/* --measure: 0 unless given; -1 for all. QX_ERANGE. */
enum qx_status ui_search_measure(const struct ui_args *args, int *n, struct qx_error *err);
/* Language models are judged by the increase of their perplexity: what asks for an accuracy is refused. */
bool ui_search_is_words(const struct qx_session *s);
enum qx_status ui_search_check(const struct ui_args *args, const struct qx_session *s,
                               struct qx_error *err);
/* --fail-under and --max-drop. what: "conv1.weight at 4"; drop: accuracy lost, or (is_words) the relative
 * increase of perplexity; values NaN pass. True: missed, said so. */
bool ui_search_gate(const struct ui_args *args, const char *what, bool is_words, double accuracy,
                    double drop);

#endif

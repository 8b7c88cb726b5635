/* What is known of a recipe that was there once. */
#ifndef QX_SESSION_PAST_H
#define QX_SESSION_PAST_H

#include "qx/session.h"

struct qx_past {
    int64_t time_s; /* when it came about, seconds since 1970; 0: not known */
    uint64_t bytes; /* 0: not known */
    double bits_per_weight;
    bool is_measured, is_predicted, is_logged; /* is_logged: as the log has it */
    struct {
        int64_t n, correct;
        double perplexity, delta, increase, increase_error; /* as struct qx_gauge and its pair */
    } measured;
    struct qx_prediction predicted; /* but for how it came about */
};

struct qx_session;
struct qx_jw;
struct qx_jval;
/* Note what is known of the recipe of now: to be called before it changes, and when news came. */
void qx_past_note(struct qx_session *s);
/* The recipe is another one from now on: size and time are known, the rest is not. */
void qx_past_begin(struct qx_session *s, struct qx_past *p);
/* As members of the object that is open, and back; figures of other data are left out. */
void qx_past_write(struct qx_jw *w, const struct qx_session *s, const struct qx_past *p);
void qx_past_read(const struct qx_session *s, const struct qx_jval *v, struct qx_past *p);

#endif

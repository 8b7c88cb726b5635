#include "session/past.h"

#include "qx/history.h"
#include "qx/json.h"
#include "session/session_impl.h"

#include <math.h>
#include <string.h>
#include <time.h>

void qx_past_begin(struct qx_session *s, struct qx_past *p)
{
    struct qx_totals totals;
    qx_session_totals(s, &totals);
    *p = (struct qx_past){.time_s = (int64_t)time(NULL),
                          .bytes = totals.bytes,
                          .bits_per_weight = totals.bits_per_weight};
}

/* Of the recipe as it is: measured on all rows, and nothing was edited since. */
static bool is_measured(const struct qx_gauge *g)
{
    return g->state == QX_GAUGE_MEASURED && g->edits_since == 0 && g->correct >= 0 && g->n > 0 &&
           g->pair.n > 0;
}

static void measured_take(struct qx_past *p, const struct qx_gauge *g)
{
    const struct qx_eval_pair *pair = &g->pair;
    p->is_logged &= p->is_measured && p->measured.correct == g->correct && p->measured.n == g->n &&
                    p->measured.delta == pair->delta;
    p->is_measured = true;
    p->measured.n = g->n;
    p->measured.correct = g->correct;
    p->measured.perplexity = g->perplexity;
    p->measured.delta = pair->delta;
    p->measured.increase = pair->increase;
    p->measured.increase_error = pair->increase_error;
}

static void predicted_take(struct qx_past *p, const struct qx_prediction *now)
{
    p->is_logged &=
        p->is_predicted && p->predicted.value == now->value && p->predicted.kl == now->kl;
    p->is_predicted = true;
    p->predicted = *now;
}

void qx_past_note(struct qx_session *s)
{
    struct qx_step *top = qx_undo_top(&s->undo);
    struct qx_past *p = top ? &top->past : &s->undo.past;
    struct qx_totals totals;
    struct qx_gauge g;
    qx_session_totals(s, &totals);
    p->bytes = totals.bytes;
    p->bits_per_weight = totals.bits_per_weight;
    if (!qx_measure_can(s)) {
        return;
    }
    qx_session_gauge(s, &g);
    if (is_measured(&g)) {
        measured_take(p, &g);
    }
    if (g.guess == QX_GUESS_PREDICTED && !g.is_predicted_early && totals.n_quantized > 0) {
        predicted_take(p, &g.predicted);
    }
}

/* ---- between sessions ---- */

void qx_past_write(struct qx_jw *w, const struct qx_session *s, const struct qx_past *p)
{
    qx_jw_put_int(w, "time", p->time_s);
    if (!s->data || !(p->is_measured || p->is_predicted)) {
        return;
    }
    qx_jw_put_str(w, "data", qx_dataset_hash(s->data));
    if (p->is_measured) {
        qx_jw_key(w, "measured");
        qx_jw_object(w);
        qx_jw_put_int(w, "n", p->measured.n);
        qx_jw_put_int(w, "correct", p->measured.correct);
        qx_jw_put_num(w, "ppl", p->measured.perplexity);
        qx_jw_put_num(w, "delta", p->measured.delta);
        qx_jw_put_num(w, "increase", p->measured.increase);
        qx_jw_put_num(w, "increase_error", p->measured.increase_error);
        qx_jw_end(w);
    }
    if (p->is_predicted) {
        const struct qx_prediction *f = &p->predicted;
        qx_jw_key(w, "predicted");
        qx_jw_object(w);
        qx_jw_put_bool(w, "has_value", f->has_value);
        qx_jw_put_bool(w, "is_labelled", f->is_labelled);
        qx_jw_put_bool(w, "is_within_noise", f->is_within_noise);
        qx_jw_put_num(w, "value", f->value);
        qx_jw_put_num(w, "lo", f->lo);
        qx_jw_put_num(w, "hi", f->hi);
        qx_jw_put_num(w, "change", f->change);
        qx_jw_put_num(w, "kl", f->kl);
        qx_jw_put_num(w, "rho", f->rho);
        qx_jw_end(w);
    }
}

static double number(const struct qx_jval *v, const char *key)
{
    return qx_jnum(qx_jget(v, key), NAN);
}

static void measured_read(const struct qx_jval *v, struct qx_past *p)
{
    p->measured.perplexity = number(v, "ppl");
    p->measured.delta = number(v, "delta");
    p->measured.increase = number(v, "increase");
    p->measured.increase_error = number(v, "increase_error");
    p->is_measured = qx_jint(qx_jget(v, "n"), &p->measured.n) && p->measured.n > 0 &&
                     qx_jint(qx_jget(v, "correct"), &p->measured.correct) &&
                     !isnan(p->measured.delta);
}

static void predicted_read(const struct qx_session *s, const struct qx_jval *v, struct qx_past *p)
{
    p->predicted =
        (struct qx_prediction){.has_value = qx_jbool(qx_jget(v, "has_value"), false),
                               .is_labelled = qx_jbool(qx_jget(v, "is_labelled"), false),
                               .is_within_noise = qx_jbool(qx_jget(v, "is_within_noise"), false),
                               .is_words = qx_net_is_words(s->net),
                               .value = number(v, "value"),
                               .lo = number(v, "lo"),
                               .hi = number(v, "hi"),
                               .change = number(v, "change"),
                               .kl = number(v, "kl"),
                               .rho = number(v, "rho")};
    const struct qx_prediction *f = &p->predicted;
    p->is_predicted =
        !isnan(f->kl) && !(f->has_value && isnan(f->value + f->lo + f->hi + f->change));
}

void qx_past_read(const struct qx_session *s, const struct qx_jval *v, struct qx_past *p)
{
    qx_jint(qx_jget(v, "time"), &p->time_s);
    p->is_logged = true;
    if (!s->data || !s->net ||
        strcmp(qx_jstr(qx_jget(v, "data"), ""), qx_dataset_hash(s->data)) != 0) {
        return;
    }
    if (qx_jget(v, "measured")) {
        measured_read(qx_jget(v, "measured"), p);
    }
    if (qx_jget(v, "predicted")) {
        predicted_read(s, qx_jget(v, "predicted"), p);
    }
}

/* ---- the host's questions ---- */

int qx_session_n_states(const struct qx_session *s)
{
    return s->undo.n_all + 1;
}

/* Of the i-th state, newest first; NULL: the beginning. */
static const struct qx_step *step_at(const struct qx_session *s, int i)
{
    return i < s->undo.n_all ? s->undo.all[s->undo.n_all - 1 - i] : NULL;
}

bool qx_session_state(struct qx_session *s, int i, struct qx_state *out)
{
    const struct qx_undo *u = &s->undo;
    if (i < 0 || i > u->n_all) {
        return false;
    }
    const struct qx_step *step = step_at(s, i), *top = qx_undo_top(u);
    if (step == top) {
        qx_past_note(s);
    }
    const struct qx_past *p = step ? &step->past : &u->past;
    *out = (struct qx_state){.id = step ? step->id : u->first_id,
                             .parent = !step          ? -1
                                       : step->parent ? step->parent->id
                                                      : u->first_id,
                             .text = step ? step->text : "",
                             .is_now = step == top,
                             .is_line = !step || step->place >= 0,
                             .is_done = !step || (step->place >= 0 && step->place < u->pos),
                             .is_measured = p->is_measured,
                             .time_s = p->time_s,
                             .bytes = p->bytes,
                             .bits_per_weight = p->bits_per_weight};
    return true;
}

bool qx_session_state_gauge(struct qx_session *s, int i, struct qx_gauge *out)
{
    if (i < 0 || i > s->undo.n_all) {
        return false;
    }
    const struct qx_step *step = step_at(s, i);
    const struct qx_past *p = step ? &step->past : &s->undo.past;
    *out = (struct qx_gauge){.fp32_correct = -1,
                             .correct = -1,
                             .fp32_perplexity = NAN,
                             .perplexity = NAN,
                             .is_words = s->net && qx_net_is_words(s->net)};
    if (p->is_measured) {
        out->state = QX_GAUGE_MEASURED;
        out->n = out->pair.n = p->measured.n;
        out->correct = p->measured.correct;
        out->perplexity = p->measured.perplexity;
        out->pair.delta = p->measured.delta;
        out->pair.increase = p->measured.increase;
        out->pair.increase_error = p->measured.increase_error;
    }
    if (p->is_predicted) {
        out->guess = QX_GUESS_PREDICTED;
        out->predicted = p->predicted;
    }
    return true;
}

bool qx_session_way(const struct qx_session *s, int id, int *back, int *forward)
{
    const struct qx_step *target = qx_undo_find(&s->undo, id);
    if (!target && id != s->undo.first_id) {
        return false;
    }
    const int common = qx_undo_common(&s->undo, target);
    *back = s->undo.pos - common;
    *forward = 0;
    for (; target && !(target->place >= 0 && target->place < common); target = target->parent) {
        ++*forward;
    }
    return true;
}

/* The training loop. */
#include "method/train_impl.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"

#include <math.h>
#include <string.h>

#define MOMENTUM   0.1 /* of running statistics */
#define EPOCH_ROWS 10000
#define BATCHES    32 /* that running statistics are of after an epoch */
#define PI         3.14159265358979

struct qx_train_options qx_train_defaults(const struct qx_net *net)
{
    const bool is_words = net && qx_net_is_words(net);
    return (struct qx_train_options){.epochs = is_words ? 3 : 4,
                                     .batch = is_words ? 8 : 64,
                                     .epoch_rows = is_words ? 0 : EPOCH_ROWS,
                                     .warmup = 0.1,
                                     .weight_decay = 1e-4,
                                     .clip = 5.0,
                                     .distill = is_words ? 1.0 : 0.5,
                                     .temperature = is_words ? 1.0 : 2.0,
                                     .dampen = NAN,
                                     .freeze = 0.25,
                                     .max_bytes = UINT64_C(512) << 20};
}

const char *qx_train_end_name(enum qx_train_end end)
{
    static const char *const names[] = {[QX_TRAIN_DONE] = "done",
                                        [QX_TRAIN_EARLY] = "early",
                                        [QX_TRAIN_STOPPED] = "stopped",
                                        [QX_TRAIN_DIVERGED] = "diverged"};
    return names[end];
}

/* ---- building ---- */

static enum qx_status out_of(double v, double lo, double hi, const char *what, struct qx_error *err)
{
    return v >= lo && v <= hi
               ? QX_OK
               : qx_fail(err, QX_ERANGE, "%s is %g; it lies within %g to %g", what, v, lo, hi);
}

static enum qx_status options_check(const struct qx_train_options *o, struct qx_error *err)
{
    const struct {
        double value, lo, hi;
        const char *what;
    } rule[] = {{o->epochs, 1, 1e6, "the number of epochs"},
                {(double)o->batch, 2, 65536, "the batch"},
                {o->rate, 0, 10, "the learning rate"},
                {o->warmup, 0, 1, "the share of warm-up"},
                {o->weight_decay, 0, 1, "the weight decay"},
                {o->clip, 0, 1e9, "the largest gradient"},
                {o->distill, 0, 1, "the share of distillation"},
                {o->temperature, 0.1, 100, "the temperature"},
                {o->dampen, 0, 100, "the dampening"},
                {o->freeze, 0, 1, "the share of frozen steps"},
                {o->patience, 0, 1e6, "the patience"}};
    enum qx_status st = QX_OK;
    for (size_t i = 0; st == QX_OK && i < sizeof rule / sizeof *rule; i++) {
        st = out_of(rule[i].value, rule[i].lo, rule[i].hi, rule[i].what, err);
    }
    if (st == QX_OK && o->resume && !o->checkpoint) {
        st = qx_fail(err, QX_ERANGE, "there is no checkpoint to go on from: name one");
    }
    return st;
}

static void slot_add(struct qx_train *t, float *value, float *grad, int64_t n, bool has_decay)
{
    t->slots[t->n_slots++] = (struct qx_slot){
        .value = value, .grad = grad, .n = n, .has_decay = has_decay, .rate_share = 1.0};
}

/* Scales of one layer. */
static void scales_add(struct qx_train *t, float *value, float *grad, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)value[i];
    }
    slot_add(t, value, grad, n, false);
    t->slots[t->n_slots - 1].rate_share = qx_scale_rate(t->o.optimizer, (float)(sum / (double)n));
}

static enum qx_status slots_new(struct qx_train *t, struct qx_error *err)
{
    const int n_params = qx_tape_n_params(t->tape), n_moments = t->o.optimizer->fn->n_moments;
    int64_t total = 0, most = 1;
    t->slots = qx_mem_zalloc(((size_t)n_params + 2 * (size_t)t->qat.n) * sizeof *t->slots);
    if (!t->slots) {
        return qx_fail_nomem(err, (size_t)n_params * sizeof *t->slots);
    }
    for (int i = 0; i < n_params; i++) {
        struct qx_param *p = qx_tape_param(t->tape, i);
        t->n_values += p->n;
        if (p->grad) {
            slot_add(t, p->value, p->grad, p->n, p->kind == QX_PARAM_WEIGHT);
        }
    }
    for (int i = 0; i < t->qat.n; i++) {
        struct qx_qat_layer *l = &t->qat.v[i];
        t->n_values += l->n_units + 1;
        most = l->weight->n > most ? l->weight->n : most;
        if (l->has_step) {
            scales_add(t, l->step, l->d_step, l->n_units);
        }
        if (l->has_act_step) {
            scales_add(t, &l->act_step, &l->d_act_step, 1);
        }
    }
    for (int i = 0; i < t->n_slots; i++) {
        total += t->slots[i].n;
    }
    t->units = qx_mem_array((size_t)most, sizeof *t->units);
    t->moments = qx_mem_zalloc((size_t)(total * n_moments + 1) * sizeof *t->moments);
    if (!t->moments || !t->units) {
        return qx_fail_nomem(err, (size_t)(total * n_moments) * sizeof *t->moments);
    }
    t->n_moments = total * n_moments;
    float *at = t->moments;
    for (int i = 0; i < t->n_slots; i++) {
        for (int k = 0; k < n_moments; k++) {
            t->slots[i].moment[k] = at;
            at += t->slots[i].n;
        }
    }
    return QX_OK;
}

/* ---- measuring ---- */

/* Quantized, on these rows: the mean loss over all answers, and how many are right. */
static enum qx_status examine(struct qx_train *t, const struct qx_dataset *data,
                              const int64_t *rows, const int64_t *kept, int64_t n, double *loss,
                              int64_t *right, int64_t *n_answers, struct qx_error *err)
{
    struct qx_ctl own = {.parent = NULL}; /* cancelling waits for the figures */
    struct qx_batch *b = &t->batch;
    const struct qx_tape_loss l = qx_batch_loss(b);
    double sum = 0.0, part = 0.0;
    enum qx_status st = QX_OK;
    *right = *n_answers = 0;
    for (int64_t at = 0; st == QX_OK && at < n; at += b->most) {
        const int64_t m = b->most < n - at ? b->most : n - at;
        st = qx_batch_read(b, data, rows + at, m, err);
        if (st == QX_OK && b->share > 0.0) {
            st = qx_teacher_ask(&t->teacher, b, kept + at, t->pool, &own, err);
        }
        if (st == QX_OK) {
            st = qx_tape_run(t->tape, b->x, m, QX_TAPE_EVAL, &l, false, &part, t->pool, &own, err);
        }
        sum += part * (double)b->n_answers;
        *n_answers += b->n_answers;
        for (int64_t i = 0; st == QX_OK && i < m; i++) {
            *right += b->right[i];
        }
    }
    *loss = sum / (double)*n_answers;
    return st;
}

/* Loss on the rows held out, then the figures of the evaluation data. */
static enum qx_status figures(struct qx_train *t, struct qx_train_epoch *out, struct qx_error *err)
{
    int64_t right, n;
    double nll;
    enum qx_status st = examine(t, t->data, t->order + t->n_train, t->count + t->n_train,
                                t->n_held_out, &out->held_out_loss, &right, &n, err);
    if (st != QX_OK) {
        return st;
    }
    t->batch.share = 0.0;
    st = examine(t, t->eval, t->count, NULL, qx_dataset_n(t->eval), &nll, &out->correct, &out->n,
                 err);
    t->batch.share = t->o.distill;
    out->accuracy = (double)out->correct / (double)out->n;
    out->perplexity = t->batch.is_words ? exp(nll) : NAN;
    return st;
}

/* Running statistics anew, as the mean over some batches under the weights of now: those that followed the steps
 * lag behind weights that went to and fro between two levels (Nagel et al., arXiv 2203.11086, section 2.3.1). */
static enum qx_status statistics_settle(struct qx_train *t, struct qx_error *err)
{
    const int64_t epoch = t->n_epoch / t->o.batch, n = epoch < BATCHES ? epoch : BATCHES;
    const struct qx_tape_loss l = qx_batch_loss(&t->batch);
    struct qx_ctl own = {.parent = NULL}; /* cancelling waits for the figures */
    const double share = t->batch.share;
    double loss;
    enum qx_status st = QX_OK;
    t->batch.share = 0.0; /* the loss is of no interest */
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        st = qx_train_rows_read(t, i * t->o.batch, err);
        if (st == QX_OK) {
            st = qx_tape_run(t->tape, t->batch.x, t->o.batch, QX_TAPE_TRAIN, &l, false, &loss,
                             t->pool, &own, err);
            qx_tape_follow(t->tape, 1.0 / (double)(i + 1));
        }
    }
    t->batch.share = share;
    return st;
}

/* After an epoch (0: before all): is it the best so far? */
static enum qx_status epoch_end(struct qx_train *t, int epoch, double loss,
                                struct qx_train_epoch *out, struct qx_error *err)
{
    *out = (struct qx_train_epoch){.epoch = epoch, .n_epochs = t->o.epochs, .loss = loss};
    qx_qat_quantize(&t->qat, t->pool);
    enum qx_status st =
        epoch > 0 && qx_tape_has_statistics(t->tape) ? statistics_settle(t, err) : QX_OK;
    if (st == QX_OK) {
        st = figures(t, out, err);
    }
    if (st != QX_OK) {
        return st;
    }
    out->is_best = epoch == 0 || out->held_out_loss < t->best_loss || isnan(t->best_loss);
    out->time_s = qx_clock_s() - t->start_s;
    if (out->is_best) {
        t->best_loss = out->held_out_loss;
        t->best_epoch = epoch;
        t->best_accuracy = out->accuracy;
        t->best_perplexity = out->perplexity;
        qx_train_keep(t, &t->best);
    }
    if (t->watch && t->watch->epoch) {
        t->watch->epoch(t->watch->arg, out);
    }
    return QX_OK;
}

/* ---- steps ---- */

/* Linear up to the peak, then a cosine to 0. */
static double rate_at(const struct qx_train *t)
{
    const double peak = t->o.rate > 0.0 ? t->o.rate : t->o.optimizer->rate;
    const double warm = t->o.warmup * (double)t->n_steps, at = (double)t->step + 1.0;
    if (at <= warm) {
        return peak * at / warm;
    }
    const double rest = fmax((double)t->n_steps - warm, 1.0);
    return peak * 0.5 * (1.0 + cos(PI * (at - 1.0 - warm) / rest));
}

/* Nine tenths of it in the last sixth of the time, where rates are small, as (t / T)^12. All steps together:
 * o.dampen. */
static double pull_at(const struct qx_train *t)
{
    const double at = ((double)t->step + 0.5) / (double)t->n_steps;
    return 1.0 - exp(-t->o.dampen * 13.0 * pow(at, 12.0) / (double)t->n_steps);
}

static void clip(const struct qx_train *t)
{
    double square = 0.0;
    for (int i = 0; i < t->n_slots; i++) {
        for (int64_t k = 0; k < t->slots[i].n; k++) {
            square += (double)t->slots[i].grad[k] * (double)t->slots[i].grad[k];
        }
    }
    if (t->o.clip == 0.0 || square <= t->o.clip * t->o.clip) {
        return;
    }
    const float by = (float)(t->o.clip / sqrt(square));
    for (int i = 0; i < t->n_slots; i++) {
        for (int64_t k = 0; k < t->slots[i].n; k++) {
            t->slots[i].grad[k] *= by;
        }
    }
}

static void look(struct qx_train *t)
{
    const struct qx_train_watch *w = t->watch;
    if (!w || !w->look || !w->want_look || !w->want_look(w->arg, t->step)) {
        return;
    }
    for (int i = 0; i < t->qat.n; i++) {
        const struct qx_qat_layer *l = &t->qat.v[i];
        qx_qat_units(l, t->units);
        w->look(w->arg, &(struct qx_train_look){.layer = l->layer,
                                                .weight = l->weight->value,
                                                .unit = t->units,
                                                .n = l->weight->n,
                                                .setting = qx_qat_setting(l)});
    }
}

static bool is_frozen(const struct qx_train *t)
{
    return (double)t->step >= (1.0 - t->o.freeze) * (double)t->n_steps;
}

/* One batch: *loss is no number when the training went astray, and nothing was changed then. */
static enum qx_status step(struct qx_train *t, int64_t first, double *loss, struct qx_error *err)
{
    struct qx_batch *b = &t->batch;
    const int64_t n = t->o.batch;
    const enum qx_tape_mode mode = is_frozen(t) ? QX_TAPE_FROZEN : QX_TAPE_TRAIN;
    const struct qx_tape_loss l = qx_batch_loss(b);
    enum qx_status st = qx_train_rows_read(t, first, err);
    if (st == QX_OK && b->share > 0.0) {
        st = qx_teacher_ask(&t->teacher, b, t->shuffled + first, t->pool, t->ctl, err);
    }
    qx_qat_begin(&t->qat);
    qx_qat_quantize(&t->qat, t->pool);
    if (st == QX_OK) {
        st = qx_tape_run(t->tape, b->x, n, mode, &l, true, loss, t->pool, t->ctl, err);
    }
    if (st != QX_OK || !isfinite(*loss)) {
        return st;
    }
    qx_qat_back(&t->qat, t->pool);
    qx_tape_follow(t->tape, MOMENTUM);
    clip(t);
    const struct qx_optim_step o = {rate_at(t), t->o.weight_decay, t->step + 1};
    for (int i = 0; i < t->n_slots; i++) {
        t->o.optimizer->fn->step(&t->slots[i], &o);
    }
    qx_qat_follow(&t->qat, is_frozen(t));
    if (t->o.dampen > 0.0) {
        qx_qat_dampen(&t->qat, pull_at(t), t->pool);
    }
    t->step++;
    if (t->watch && t->watch->step) {
        t->watch->step(t->watch->arg, &(struct qx_train_step){t->step, t->n_steps, *loss, o.rate});
    }
    look(t);
    qx_ctl_add(t->ctl, n);
    return QX_OK;
}

/* All batches of an epoch; its mean loss. */
static enum qx_status epoch_run(struct qx_train *t, int epoch, double *mean, struct qx_error *err)
{
    const int64_t n = t->n_epoch / t->o.batch;
    const double start = qx_clock_s();
    enum qx_status st = QX_OK;
    double sum = 0.0, loss = 0.0;
    qx_train_rows_epoch(t, epoch);
    for (int64_t i = 0; st == QX_OK && isfinite(loss) && i < n; i++) {
        st = step(t, i * t->o.batch, &loss, err);
        sum += loss;
    }
    *mean = sum / (double)n;
    t->steps_s += qx_clock_s() - start;
    return st;
}

static enum qx_status loop(struct qx_train *t, struct qx_trained *out, struct qx_error *err)
{
    struct qx_train_epoch e = {0};
    enum qx_status st;
    if (t->o.resume) {
        st = qx_train_load(t, out, err);
    } else {
        st = epoch_end(t, 0, NAN, &e, err);
        out->ptq = e.accuracy;
        out->ptq_perplexity = e.perplexity;
    }
    if (st == QX_OK) {
        look(t);
    }
    for (int epoch = out->epochs + 1; st == QX_OK && epoch <= t->o.epochs; epoch++) {
        double loss = 0.0;
        st = epoch_run(t, epoch, &loss, err);
        if (st == QX_ECANCELLED) {
            out->end = QX_TRAIN_STOPPED;
            return QX_OK;
        }
        if (st == QX_OK && !isfinite(loss)) {
            out->end = QX_TRAIN_DIVERGED;
            return QX_OK;
        }
        if (st == QX_OK) {
            st = epoch_end(t, epoch, loss, &e, err);
            out->epochs = epoch;
        }
        if (st == QX_OK && t->o.checkpoint) {
            qx_train_save(t, out);
        }
        if (st == QX_OK && t->o.patience > 0 && epoch - t->best_epoch >= t->o.patience) {
            out->end = QX_TRAIN_EARLY;
            return QX_OK;
        }
    }
    return st;
}

static void release(struct qx_train *t)
{
    qx_qat_release(&t->qat);
    qx_tape_free(t->tape);
    qx_train_kept_free(&t->best);
    qx_teacher_release(&t->teacher);
    qx_batch_release(&t->batch);
    void *const all[] = {t->slots, t->moments,  t->order, t->count,
                         t->deck,  t->shuffled, t->rows,  t->units};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        qx_mem_free(all[i]);
    }
}

/* Rows that come again as they were: the teacher is asked once. Other ones: batch by batch. */
static bool is_asked_once(const struct qx_train *t)
{
    const bool comes_again = t->n_epoch == t->n_train || t->o.epochs * t->n_epoch > t->n_train;
    return !t->batch.is_words && !t->o.augment && comes_again;
}

static enum qx_status teach(struct qx_train *t, struct qx_error *err)
{
    enum qx_status st = t->o.distill > 0.0 ? qx_teacher_new(&t->teacher, t->net, err) : QX_OK;
    if (st == QX_OK && t->o.distill > 0.0 && is_asked_once(t)) {
        st = qx_teacher_keep(&t->teacher, &t->batch, t->data, t->order, t->n_train + t->n_held_out,
                             t->pool, t->ctl, err);
    }
    return st;
}

static enum qx_status build(struct qx_train *t, const struct qx_setting *set, struct qx_error *err)
{
    enum qx_status st = options_check(&t->o, err);
    if (st == QX_OK) {
        st = qx_train_rows_draw(t, err);
    }
    if (st == QX_OK) {
        st = qx_batch_new(&t->batch, t->net, t->o.batch, t->o.distill > 0.0, err);
        t->batch.share = t->o.distill;
        t->batch.temperature = t->o.temperature;
    }
    int64_t longest = 0;
    if (st == QX_OK) {
        st = qx_train_rows_longest(t, &longest, err);
    }
    if (st == QX_OK) {
        st = qx_tape_new(t->net, t->o.batch, longest, t->o.max_bytes, &t->tape, err);
    }
    if (st == QX_OK) {
        st = qx_qat_init(&t->qat, t->tape, t->net, set, t->o.quantizer, err);
    }
    if (st == QX_OK) {
        st = slots_new(t, err);
    }
    if (st == QX_OK) {
        t->key = qx_train_key(t);
    }
    return st == QX_OK ? qx_train_kept_new(t, &t->best, err) : st;
}

enum qx_status qx_train_run(const struct qx_net *net, const struct qx_dataset *data,
                            const struct qx_dataset *eval, const struct qx_setting *set,
                            const struct qx_train_options *options,
                            const struct qx_train_watch *watch, struct qx_pool *pool,
                            struct qx_ctl *ctl, struct qx_trained **out, struct qx_error *err)
{
    struct qx_train t = {.net = net,
                         .data = data,
                         .eval = eval,
                         .o = *options,
                         .watch = watch,
                         .pool = pool,
                         .ctl = ctl,
                         .best_loss = INFINITY,
                         .start_s = qx_clock_s()};
    t.o.quantizer = t.o.quantizer ? t.o.quantizer : qx_quantizer_at(0);
    t.o.dampen = isnan(t.o.dampen) ? t.o.quantizer->dampen : t.o.dampen;
    t.o.optimizer = t.o.optimizer ? t.o.optimizer : qx_optimizer_at(0);
    struct qx_trained *r = qx_mem_zalloc(sizeof *r);
    enum qx_status st = r ? build(&t, set, err) : qx_fail_nomem(err, sizeof *r);
    if (st == QX_OK) {
        qx_ctl_total(ctl, t.n_steps * t.o.batch);
        st = teach(&t, err);
    }
    if (st == QX_OK) {
        st = loop(&t, r, err);
    }
    if (st == QX_OK) {
        st = qx_train_result(&t, set, r, err);
    }
    release(&t);
    if (st != QX_OK) {
        qx_trained_free(r);
        return st;
    }
    *out = r;
    return QX_OK;
}

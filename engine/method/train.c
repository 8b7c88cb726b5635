/* The training loop. */
#include "method/loss.h"
#include "method/train_impl.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"

#include <math.h>
#include <string.h>

#define MOMENTUM       0.1  /* of running statistics */
#define HELD_OUT_SHARE 0.05 /* of the rows, at most HELD_OUT_MOST */
#define HELD_OUT_MOST  1000
#define ROWS_LEAST     64

struct qx_train_options qx_train_defaults(void)
{
    return (struct qx_train_options){.epochs = 3,
                                     .batch = 64,
                                     .warmup = 0.1,
                                     .weight_decay = 1e-4,
                                     .clip = 5.0,
                                     .distill = 0.5,
                                     .temperature = 2.0,
                                     .freeze = 0.25};
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

static void shuffle(int64_t *v, int64_t n, uint64_t seed)
{
    struct qx_rng r;
    qx_rng_init(&r, seed);
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t k = (int64_t)qx_rng_below(&r, (uint64_t)i + 1), keep = v[i];
        v[i] = v[k];
        v[k] = keep;
    }
}

/* Rows to train on and rows to judge by, drawn by seed. */
static enum qx_status rows_draw(struct qx_train *t, struct qx_error *err)
{
    const int64_t all = qx_dataset_n(t->data);
    int64_t n = t->o.max_rows > 0 && t->o.max_rows < all ? t->o.max_rows : all;
    if (n < ROWS_LEAST) {
        return qx_fail(err, QX_EDATA, "%lld rows are too few to train on: %d are needed",
                       (long long)n, ROWS_LEAST);
    }
    t->n_held_out = (int64_t)(HELD_OUT_SHARE * (double)n);
    t->n_held_out = t->n_held_out > HELD_OUT_MOST ? HELD_OUT_MOST : t->n_held_out;
    t->n_train = n - t->n_held_out;
    t->o.batch = t->o.batch < t->n_train ? t->o.batch : t->n_train;
    t->n_steps = t->o.epochs * (t->n_train / t->o.batch);
    t->order = qx_mem_array((size_t)all, sizeof *t->order);
    t->shuffled = qx_mem_array((size_t)t->n_train, sizeof *t->shuffled);
    if (!t->order || !t->shuffled) {
        return qx_fail_nomem(err, (size_t)all * sizeof *t->order);
    }
    for (int64_t i = 0; i < all; i++) {
        t->order[i] = i;
    }
    shuffle(t->order, all, t->o.seed);
    return QX_OK;
}

static enum qx_status buffers_new(struct qx_train *t, struct qx_error *err)
{
    const size_t b = (size_t)t->o.batch, c = (size_t)qx_net_n_classes(t->net);
    const size_t n = (size_t)(t->n_train + t->n_held_out);
    t->x = qx_mem_array(b, (size_t)qx_net_sample_size(t->net) * sizeof *t->x);
    t->logits = qx_mem_array(b, c * sizeof *t->logits);
    t->d_logits = qx_mem_array(b, c * sizeof *t->d_logits);
    t->teacher = qx_mem_array(b, c * sizeof *t->teacher);
    t->labels = qx_mem_array(b, sizeof *t->labels);
    t->answers = t->o.distill > 0.0 ? qx_mem_array(n, c * sizeof *t->answers) : NULL;
    return t->x && t->logits && t->d_logits && t->teacher && t->labels &&
                   (t->answers || t->o.distill == 0.0)
               ? QX_OK
               : qx_fail_nomem(err, n * c * sizeof *t->answers);
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
    int64_t total = 0;
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
    t->moments = qx_mem_zalloc((size_t)(total * n_moments + 1) * sizeof *t->moments);
    if (!t->moments) {
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

/* ---- batches ---- */

/* Rows order[first..] or those of the epoch's order; -1 labels are no labels. */
static enum qx_status batch_read(struct qx_train *t, const int64_t *rows, int64_t n,
                                 const struct qx_dataset *data, struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(t->net);
    enum qx_status st = QX_OK;
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        st = qx_dataset_read(data, rows[i], 1, t->x + i * sample, err);
        t->labels[i] = qx_dataset_label(data, rows[i]);
        if (st == QX_OK && t->labels[i] < 0) {
            st = qx_fail(err, QX_EDATA, "row %lld of %s has no label: training needs them",
                         (long long)rows[i], qx_dataset_path(data));
        }
    }
    return st;
}

/* What the float32 network says of all rows, once. */
static enum qx_status teach(struct qx_train *t, struct qx_error *err)
{
    struct qx_weights *w = NULL;
    struct qx_ctl quiet = {.parent = t->ctl, .is_quiet = true};
    const int64_t all = t->n_train + t->n_held_out, step = t->o.batch;
    enum qx_status st = t->answers ? qx_weights_new(t->net, &w, err) : QX_OK;
    for (int64_t first = 0; t->answers && st == QX_OK && first < all; first += step) {
        const int64_t n = step < all - first ? step : all - first;
        st = batch_read(t, t->order + first, n, t->data, err);
        if (st == QX_OK) {
            st = qx_net_forward(t->net, w, t->x, n, t->answers + first * qx_net_n_classes(t->net),
                                t->pool, &quiet, err);
        }
    }
    qx_weights_free(w);
    return st;
}

/* ---- measuring ---- */

static int class_of(const float *x, int n)
{
    int best = 0;
    for (int c = 1; c < n; c++) {
        best = x[c] > x[best] ? c : best;
    }
    return best;
}

static struct qx_loss loss_of(const struct qx_train *t, int64_t n, const float *teacher)
{
    return (struct qx_loss){.n = n,
                            .classes = qx_net_n_classes(t->net),
                            .logits = t->logits,
                            .teacher = teacher,
                            .labels = t->labels,
                            .share = t->o.distill,
                            .temperature = t->o.temperature};
}

/* Loss on the rows held out. */
static enum qx_status judge(struct qx_train *t, struct qx_ctl *ctl, double *out,
                            struct qx_error *err)
{
    const int classes = qx_net_n_classes(t->net);
    double sum = 0.0;
    enum qx_status st = QX_OK;
    for (int64_t at = 0; st == QX_OK && at < t->n_held_out; at += t->o.batch) {
        const int64_t left = t->n_held_out - at, n = left < t->o.batch ? left : t->o.batch;
        const int64_t first = t->n_train + at;
        st = batch_read(t, t->order + first, n, t->data, err);
        if (st == QX_OK) {
            st = qx_tape_forward(t->tape, t->x, n, QX_TAPE_EVAL, t->logits, t->pool, ctl, err);
        }
        if (st == QX_OK) {
            const struct qx_loss l =
                loss_of(t, n, t->answers ? t->answers + first * classes : NULL);
            sum += qx_loss(&l, NULL) * (double)n;
        }
    }
    *out = sum / (double)t->n_held_out;
    return st;
}

/* Rows of the evaluation data that are right. */
static enum qx_status score(struct qx_train *t, struct qx_ctl *ctl, int64_t *correct,
                            struct qx_error *err)
{
    const int64_t all = qx_dataset_n(t->eval), step = t->o.batch;
    const int classes = qx_net_n_classes(t->net);
    enum qx_status st = QX_OK;
    *correct = 0;
    for (int64_t first = 0; st == QX_OK && first < all; first += step) {
        const int64_t n = step < all - first ? step : all - first;
        st = qx_dataset_read(t->eval, first, n, t->x, err);
        if (st == QX_OK) {
            st = qx_tape_forward(t->tape, t->x, n, QX_TAPE_EVAL, t->logits, t->pool, ctl, err);
        }
        for (int64_t i = 0; st == QX_OK && i < n; i++) {
            *correct +=
                class_of(t->logits + i * classes, classes) == qx_dataset_label(t->eval, first + i);
        }
    }
    return st;
}

/* After an epoch (0: before all): is it the best so far? Cancelling waits for the figures. */
static enum qx_status epoch_end(struct qx_train *t, int epoch, double loss,
                                struct qx_train_epoch *out, struct qx_error *err)
{
    struct qx_ctl own = {.parent = NULL};
    *out = (struct qx_train_epoch){
        .epoch = epoch, .n_epochs = t->o.epochs, .loss = loss, .n = qx_dataset_n(t->eval)};
    qx_qat_quantize(&t->qat, t->pool);
    enum qx_status st = judge(t, &own, &out->held_out_loss, err);
    if (st == QX_OK) {
        st = score(t, &own, &out->correct, err);
    }
    if (st != QX_OK) {
        return st;
    }
    out->accuracy = (double)out->correct / (double)out->n;
    out->is_best = epoch == 0 || out->held_out_loss < t->best_loss || isnan(t->best_loss);
    out->time_s = qx_clock_s() - t->start_s;
    if (out->is_best) {
        t->best_loss = out->held_out_loss;
        t->best_epoch = epoch;
        t->best_accuracy = out->accuracy;
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
    return peak * 0.5 * (1.0 + cos(3.14159265358979 * (at - 1.0 - warm) / rest));
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

static void look(const struct qx_train *t)
{
    const struct qx_train_watch *w = t->watch;
    if (!w || !w->look || !w->want_look || !w->want_look(w->arg, t->step)) {
        return;
    }
    for (int i = 0; i < t->qat.n; i++) {
        const struct qx_qat_layer *l = &t->qat.v[i];
        w->look(w->arg, &(struct qx_train_look){.layer = l->layer,
                                                .weight = l->weight->value,
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
    const int classes = qx_net_n_classes(t->net);
    const int64_t n = t->o.batch;
    const enum qx_tape_mode mode = is_frozen(t) ? QX_TAPE_FROZEN : QX_TAPE_TRAIN;
    int64_t *rows = t->shuffled + first;
    for (int64_t i = 0; t->answers && i < n; i++) {
        memcpy(t->teacher + i * classes, t->answers + rows[i] * classes,
               (size_t)classes * sizeof *t->teacher);
    }
    for (int64_t i = 0; i < n; i++) {
        rows[i] = t->order[rows[i]];
    }
    enum qx_status st = batch_read(t, rows, n, t->data, err);
    qx_qat_begin(&t->qat);
    qx_qat_quantize(&t->qat, t->pool);
    if (st == QX_OK) {
        st = qx_tape_forward(t->tape, t->x, n, mode, t->logits, t->pool, t->ctl, err);
    }
    if (st != QX_OK) {
        return st;
    }
    const struct qx_loss l = loss_of(t, n, t->answers ? t->teacher : NULL);
    *loss = qx_loss(&l, t->d_logits);
    if (!isfinite(*loss)) {
        return QX_OK;
    }
    st = qx_tape_backward(t->tape, t->d_logits, t->pool, t->ctl, err);
    if (st != QX_OK) {
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
    const int64_t n = t->n_train / t->o.batch;
    const double start = qx_clock_s();
    enum qx_status st = QX_OK;
    double sum = 0.0, loss = 0.0;
    for (int64_t i = 0; i < t->n_train; i++) {
        t->shuffled[i] = i;
    }
    shuffle(t->shuffled, t->n_train, t->o.seed ^ ((uint64_t)epoch * UINT64_C(0x9E3779B97F4A7C15)));
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
        st = qx_train_load(t, &out->epochs, &out->ptq, err);
    } else {
        st = epoch_end(t, 0, NAN, &e, err);
        out->ptq = e.accuracy;
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
            qx_train_save(t, epoch, out->ptq);
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
    void *const all[] = {t->slots,  t->moments,  t->order,   t->shuffled, t->x,
                         t->logits, t->d_logits, t->teacher, t->answers,  t->labels};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        qx_mem_free(all[i]);
    }
}

static enum qx_status build(struct qx_train *t, const struct qx_setting *set, struct qx_error *err)
{
    enum qx_status st = options_check(&t->o, err);
    if (st == QX_OK) {
        st = rows_draw(t, err);
    }
    if (st == QX_OK) {
        st = buffers_new(t, err);
    }
    if (st == QX_OK) {
        st = qx_tape_new(t->net, t->o.batch, &t->tape, err);
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

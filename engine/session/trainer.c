#include "session/trainer.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"
#include "session/write_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Seconds between two calls of the host's wake. */
#define RING_S 0.1

struct train_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts */
    struct qx_trainer_run *run;
    struct qx_setting *set; /* [layers] */
    struct qx_train_options options;
    char *data; /* path; NULL = the folder's */
};

/* ---- the record, in the worker ---- */

static void run_free(struct qx_trainer_run *r)
{
    if (!r) {
        return;
    }
    for (int i = 0; r->layer && i < r->n_layers; i++) {
        qx_mem_free(r->layer[i]);
    }
    qx_mem_free(r->layer);
    qx_mem_free(r->overlay);
    qx_trained_free(r->trained);
    pthread_mutex_destroy(&r->lock);
    qx_mem_free(r);
}

static struct qx_trainer_run *run_new(const struct qx_net *net, const struct qx_setting *set)
{
    struct qx_trainer_run *r = qx_mem_zalloc(sizeof *r);
    if (!r) {
        return NULL;
    }
    pthread_mutex_init(&r->lock, NULL);
    r->stride = 1;
    r->n_layers = qx_net_n_layers(net);
    r->layer = qx_mem_zalloc(((size_t)r->n_layers + 1) * sizeof *r->layer);
    bool is_whole = r->layer != NULL;
    for (int i = 0; is_whole && i < r->n_layers; i++) {
        if (qx_format_is_scaled(set[i].format)) {
            r->layer[i] = qx_mem_zalloc(sizeof *r->layer[i]);
            is_whole = r->layer[i] != NULL;
        }
    }
    if (!is_whole) {
        run_free(r);
        return NULL;
    }
    return r;
}

/* Wakes the host, not too often. */
static void ring(struct train_task *t, bool is_due)
{
    const double now = qx_clock_s();
    if (is_due || now - t->run->rung_s > RING_S) {
        t->run->rung_s = now;
        qx_bell_ring(&t->s->bell);
    }
}

/* Two points become one when all are taken. */
static void points_halve(struct qx_trainer_run *r)
{
    struct qx_trainer_view *v = &r->live;
    for (int i = 0; i < v->n_points / 2; i++) {
        v->point[i].step = v->point[2 * i + 1].step;
        v->point[i].loss = 0.5 * (v->point[2 * i].loss + v->point[2 * i + 1].loss);
    }
    v->n_points /= 2;
    r->stride *= 2;
}

static void wait_while_paused(struct train_task *t)
{
    const struct timespec nap = {.tv_nsec = 50000000};
    while (atomic_load(&t->run->is_paused) && !qx_cancel_test(&t->task.ctl)) {
        nanosleep(&nap, NULL);
    }
}

static void on_step(void *arg, const struct qx_train_step *step)
{
    struct train_task *t = arg;
    struct qx_trainer_run *r = t->run;
    pthread_mutex_lock(&r->lock);
    r->live.step = step->step;
    r->live.n_steps = step->n_steps;
    r->live.loss = step->loss;
    r->live.rate = step->rate;
    r->live.end_s = qx_clock_s();
    r->sum += step->loss;
    if (++r->n_sum == r->stride) {
        if (r->live.n_points == QX_TRAINER_POINTS) {
            points_halve(r);
        }
        r->live.point[r->live.n_points++] =
            (struct qx_training_point){step->step, r->sum / (double)r->n_sum};
        r->sum = 0.0;
        r->n_sum = 0;
    }
    pthread_mutex_unlock(&r->lock);
    ring(t, false);
    wait_while_paused(t);
}

static void on_epoch(void *arg, const struct qx_train_epoch *epoch)
{
    struct train_task *t = arg;
    pthread_mutex_lock(&t->run->lock);
    if (t->run->live.n_epochs < QX_TRAINER_EPOCHS) {
        t->run->live.epoch[t->run->live.n_epochs++] = *epoch;
    }
    t->run->live.end_s = qx_clock_s();
    pthread_mutex_unlock(&t->run->lock);
    ring(t, true);
}

/* Frames are evenly spread over the steps; the last step has one. */
static bool want_look(void *arg, int64_t step)
{
    struct train_task *t = arg;
    struct qx_trainer_run *r = t->run;
    const int64_t n = r->live.n_steps; /* this thread's own */
    const bool is_due =
        step == 0 || n == 0 || n < QX_TRAINING_FRAMES - 1 ||
        step * (QX_TRAINING_FRAMES - 2) / n != (step - 1) * (QX_TRAINING_FRAMES - 2) / n;
    if (!is_due || r->live.n_frames == QX_TRAINING_FRAMES) {
        return false;
    }
    r->seen = 0;
    r->live.frame_step[r->live.n_frames] = step;
    return true;
}

static int n_looks(const struct qx_trainer_run *r)
{
    int n = 0;
    for (int i = 0; i < r->n_layers; i++) {
        n += r->layer[i] != NULL;
    }
    return n;
}

/* Distance to the nearest level, as a share of the gap around it. */
static double level_miss(const double *level, int n, double x)
{
    int lo = 0, hi = n - 1;
    while (lo < hi) { /* the first level above x, or the last */
        const int mid = (lo + hi) / 2;
        if (level[mid] < x) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    const int from = lo > 0 ? lo - 1 : 0;
    const double gap = from < lo ? level[lo] - level[from] : level[n - 1] - level[0];
    return fmin(fabs(x - level[from]), fabs(x - level[lo])) / gap;
}

static void frame_fill(const struct qx_train_look *look, double top, struct qx_trainer_frame *f)
{
    double levels[256];
    const bool is_tensor = look->setting.gran == QX_GRAN_TENSOR;
    const int n_levels = qx_setting_levels(&look->setting, levels, 256);
    const float *x = is_tensor ? look->weight : look->unit;
    const double per = (double)QX_TRAINING_COLUMNS / (2.0 * top);
    double sum_x = 0.0, sum_unit = 0.0;
    int64_t n_on = 0;
    f->setting = look->setting;
    for (int64_t i = 0; i < look->n; i++) {
        int column = (int)(((double)x[i] + top) * per);
        column = column < 0 ? 0 : column >= QX_TRAINING_COLUMNS ? QX_TRAINING_COLUMNS - 1 : column;
        f->count[column] += 1.0f;
        sum_x += fabs((double)look->weight[i]);
        sum_unit += fabs((double)look->unit[i]);
        n_on += n_levels > 1 && level_miss(levels, n_levels, (double)x[i]) <= 0.1;
    }
    f->last = sum_unit > 0.0 ? (float)(sum_x / sum_unit) : 0.0f;
    f->on_level = n_levels > 1 ? (float)((double)n_on / (double)look->n) : NAN;
}

static void on_look(void *arg, const struct qx_train_look *look)
{
    struct train_task *t = arg;
    struct qx_trainer_run *r = t->run;
    struct qx_trainer_layer *l = r->layer[look->layer];
    if (l->top == 0.0) {
        l->top = look->setting.gran == QX_GRAN_TENSOR ? 0.0 : 1.0;
        for (int64_t i = 0; look->setting.gran == QX_GRAN_TENSOR && i < look->n; i++) {
            l->top = fmax(l->top, fabs((double)look->weight[i]));
        }
        l->top = l->top > 0.0 ? 1.1 * l->top : 1.0;
    }
    frame_fill(look, l->top, &l->frame[r->live.n_frames]);
    if (++r->seen == n_looks(r)) {
        pthread_mutex_lock(&r->lock);
        r->live.n_frames++;
        pthread_mutex_unlock(&r->lock);
        ring(t, true);
    }
}

/* ---- the task ---- */

/* What was trained, as the recipe can name it. */
static void overlays_make(struct train_task *t)
{
    struct qx_trainer_run *r = t->run;
    struct qx_session *s = t->s;
    struct qx_error why;
    const struct qx_overlay **v = qx_mem_zalloc(((size_t)r->n_layers + 1) * sizeof *v);
    enum qx_status st =
        v ? qx_trained_check(s->net, r->trained, &why) : qx_fail_nomem(&why, sizeof *v);
    for (int i = 0; st == QX_OK && i < r->n_layers; i++) {
        struct qx_overlay *o = NULL;
        if (r->layer[i]) {
            st = qx_trained_overlay(s->net, r->trained, i, s->pool, &o, &why);
            v[i] = st == QX_OK ? qx_methods_keep(s, o) : NULL;
            st = st == QX_OK && !v[i] ? qx_fail_nomem(&why, sizeof *o) : st;
        }
    }
    if (st != QX_OK) {
        qx_str_copy(r->why_not, sizeof r->why_not, why.text);
        qx_mem_free(v);
        return;
    }
    r->overlay = v;
}

static enum qx_status task_run(struct qx_task *task, struct qx_error *err)
{
    struct train_task *t = (struct train_task *)task;
    struct qx_session *s = t->s;
    const struct qx_train_watch watch = {
        .arg = t, .step = on_step, .epoch = on_epoch, .want_look = want_look, .look = on_look};
    struct qx_dataset *rows = NULL;
    t->run->live.start_s = t->run->live.end_s = qx_clock_s();
    enum qx_status st = qx_training_settings(s, t->set, &task->ctl, err);
    if (st == QX_OK) {
        st = qx_training_data(s, t->data, &rows, err);
    }
    if (st == QX_OK) {
        pthread_mutex_lock(&t->run->lock);
        t->run->live.n_data = qx_dataset_n(rows);
        pthread_mutex_unlock(&t->run->lock);
        atomic_store(&task->ctl.done, 0);
        st = qx_train_run(s->net, rows, s->data, t->set, &t->options, &watch, s->pool, &task->ctl,
                          &t->run->trained, err);
    }
    if (st == QX_OK) {
        overlays_make(t);
    }
    qx_dataset_close(&rows);
    return st;
}

static void task_drop(struct qx_task *task)
{
    struct train_task *t = (struct train_task *)task;
    qx_mem_free(t->set);
    qx_mem_free(t->data);
    qx_mem_free(t);
}

static void task_done(struct qx_session *s, struct qx_task *task)
{
    struct qx_trainer *tr = &s->trainer;
    const struct qx_trained *r = tr->run->trained;
    char text[128] = "";
    tr->task = NULL;
    qx_trainer_work(s);
    if (task->status == QX_OK) {
        tr->end = QX_TRAINING_DONE;
        const char *end = qx_train_end_name(r->end);
        if (isnan(r->best_perplexity)) {
            snprintf(text, sizeof text, "%s after %d epochs: accuracy %.2f %%, %.2f %% before", end,
                     r->epochs, 100.0 * r->best_accuracy, 100.0 * r->ptq);
        } else {
            snprintf(text, sizeof text, "%s after %d epochs: perplexity %.3f, %.3f before", end,
                     r->epochs, r->best_perplexity, r->ptq_perplexity);
        }
    } else {
        tr->end = QX_TRAINING_FAILED;
        qx_str_copy(tr->reason, sizeof tr->reason,
                    task->status == QX_ECANCELLED ? "stopped before it began" : task->err.text);
        if (task->status != QX_ECANCELLED) {
            qx_log(QX_LOG_ERROR, "%s", task->err.text);
        }
    }
    qx_jobs_finish(&s->jobs, task, task->status == QX_OK ? text : NULL);
    s->news |= QX_NEWS_TRAIN | QX_NEWS_JOBS;
}

/* ---- the host ---- */

enum qx_status qx_session_train(struct qx_session *s, const char *data,
                                const struct qx_train_options *options, struct qx_error *err)
{
    struct qx_trainer *tr = &s->trainer;
    if (!s->queue.is_started || tr->task || s->n_writing > 0) {
        return qx_fail(err, QX_EUNSUPPORTED, "%s",
                       tr->task           ? "A training runs already."
                       : s->n_writing > 0 ? "A model folder is being written: wait for it."
                                          : "This session runs no background jobs.");
    }
    enum qx_status st = qx_session_train_check(s, data, NULL, err);
    if (st != QX_OK) {
        return st;
    }
    struct train_task *t = qx_mem_zalloc(sizeof *t);
    struct qx_setting *set = qx_measure_settings(s, &s->now);
    struct qx_trainer_run *run = set ? run_new(s->net, set) : NULL;
    char *path = data ? qx_mem_strdup(data) : NULL;
    if (!t || !run || (data && !path)) {
        qx_mem_free(t);
        qx_mem_free(set);
        qx_mem_free(path);
        run_free(run);
        return qx_fail_nomem(err, sizeof *t);
    }
    t->task = (struct qx_task){.run = task_run, .done = task_done, .drop = task_drop};
    t->s = s;
    t->run = run;
    t->set = set;
    t->options = *options;
    t->data = path;
    if (n_looks(run) == 0) {
        task_drop(&t->task);
        run_free(run);
        return qx_fail(err, QX_ERANGE, "No layer is quantized: give some layers bits first.");
    }
    run_free(tr->run);
    *tr = (struct qx_trainer){.run = run, .options = *options, .n_quantized = n_looks(run)};
    (void)qx_session_train_data(s, data, tr->data, sizeof tr->data, NULL);
    for (int i = 0; i < run->n_layers && !tr->setting[0]; i++) {
        if (run->layer[i]) {
            qx_setting_text(&set[i], tr->setting, sizeof tr->setting);
        }
    }
    struct qx_job *job = qx_jobs_add(&s->jobs, &t->task, QX_JOB_TRAIN);
    if (job) {
        snprintf(job->info.title, sizeof job->info.title, "training of %d layers", tr->n_quantized);
    }
    tr->task = &t->task;
    s->news |= QX_NEWS_TRAIN | QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, &t->task);
    return QX_OK;
}

void qx_session_train_pause(struct qx_session *s, bool is_paused)
{
    if (s->trainer.task) {
        atomic_store(&s->trainer.run->is_paused, is_paused);
        s->news |= QX_NEWS_TRAIN;
    }
}

void qx_session_train_stop(struct qx_session *s)
{
    if (s->trainer.task) {
        qx_task_cancel(s->trainer.task);
        s->news |= QX_NEWS_TRAIN;
    }
}

bool qx_trainer_work(struct qx_session *s)
{
    struct qx_trainer *tr = &s->trainer;
    if (!tr->run) {
        return false;
    }
    pthread_mutex_lock(&tr->run->lock);
    const struct qx_trainer_view *live = &tr->run->live;
    const bool is_new = live->n_data != tr->view.n_data || live->step != tr->view.step ||
                        live->n_epochs != tr->view.n_epochs || live->n_frames != tr->view.n_frames;
    if (is_new) {
        tr->view = *live;
    }
    pthread_mutex_unlock(&tr->run->lock);
    s->news |= is_new ? QX_NEWS_TRAIN : 0;
    return is_new;
}

void qx_trainer_release(struct qx_session *s)
{
    run_free(s->trainer.run);
    s->trainer.run = NULL;
}

void qx_session_training(const struct qx_session *s, struct qx_training *out)
{
    const struct qx_trainer *tr = &s->trainer;
    const struct qx_trainer_view *v = &tr->view;
    *out = (struct qx_training){.state = tr->end,
                                .options = tr->options,
                                .n_quantized = tr->n_quantized,
                                .n_data = v->n_data,
                                .step = v->step,
                                .n_steps = v->n_steps,
                                .loss = v->loss,
                                .rate = v->rate,
                                .time_s = v->end_s - v->start_s,
                                .n_points = v->n_points,
                                .n_epochs = v->n_epochs,
                                .n_frames = v->n_frames};
    qx_str_copy(out->reason, sizeof out->reason, tr->reason);
    qx_str_copy(out->data, sizeof out->data, tr->data);
    qx_str_copy(out->setting, sizeof out->setting, tr->setting);
    if (tr->task) {
        const bool is_queued = qx_task_state(tr->task) == QX_JOB_QUEUED;
        out->state = is_queued ? QX_TRAINING_QUEUED : QX_TRAINING_RUNNING;
        out->job = tr->task->job;
        out->is_paused = atomic_load(&tr->run->is_paused);
        out->is_stopping = atomic_load(&tr->task->ctl.cancel);
    } else if (tr->end == QX_TRAINING_DONE) {
        out->end = tr->run->trained->end;
        out->best = tr->run->trained->best;
    }
}

bool qx_session_training_point(const struct qx_session *s, int i, struct qx_training_point *out)
{
    if (i < 0 || i >= s->trainer.view.n_points) {
        return false;
    }
    *out = s->trainer.view.point[i];
    return true;
}

bool qx_session_training_epoch(const struct qx_session *s, int i, struct qx_train_epoch *out)
{
    if (i < 0 || i >= s->trainer.view.n_epochs) {
        return false;
    }
    *out = s->trainer.view.epoch[i];
    return true;
}

bool qx_session_training_frame(const struct qx_session *s, int64_t item, int frame,
                               struct qx_training_frame *out)
{
    const struct qx_trainer *tr = &s->trainer;
    const int layer = s->net ? qx_net_layer_of_tensor(s->net, item) : -1;
    if (layer < 0 || !tr->run || !tr->run->layer[layer] || frame < 0 ||
        frame >= tr->view.n_frames) {
        return false;
    }
    const struct qx_trainer_layer *l = tr->run->layer[layer];
    const struct qx_trainer_frame *f = &l->frame[frame];
    *out = (struct qx_training_frame){.step = tr->view.frame_step[frame],
                                      .axis_lo = -l->top,
                                      .axis_hi = l->top,
                                      .count = f->count,
                                      .on_level = (double)f->on_level,
                                      .last = (double)f->last,
                                      .setting = f->setting};
    return true;
}

static enum qx_status nothing_trained(const struct qx_trainer *tr, struct qx_error *err)
{
    return qx_fail(err, QX_EDATA, "%s",
                   tr->task ? "The training still runs: stop it first."
                            : "Nothing was trained yet.");
}

enum qx_status qx_session_train_keep(struct qx_session *s, const char *out_dir,
                                     struct qx_error *err)
{
    const struct qx_trainer *tr = &s->trainer;
    if (tr->task || !tr->run || !tr->run->trained) {
        return nothing_trained(tr, err);
    }
    return qx_write_submit(s, out_dir, tr->run->trained, err);
}

enum qx_status qx_session_train_take(struct qx_session *s, struct qx_error *err)
{
    const struct qx_trainer *tr = &s->trainer;
    struct qx_recipe r;
    if (tr->task || !tr->run || !tr->run->trained) {
        return nothing_trained(tr, err);
    }
    if (!tr->run->overlay) {
        return qx_fail(err, QX_EUNSUPPORTED, "%s", tr->run->why_not);
    }
    enum qx_status st = qx_training_recipe(s, tr->run->trained, &r, err);
    if (st != QX_OK) {
        return st;
    }
    for (int i = 0; i < tr->run->n_layers; i++) {
        if (tr->run->overlay[i]) {
            struct qx_setting *set = &r.set[qx_net_layer(s->net, i)->tensor];
            *set = tr->run->overlay[i]->setting;
            set->overlay = tr->run->overlay[i];
        }
    }
    st = qx_recipe_replace(s, &r, QX_STEP_EDIT, err);
    qx_recipe_release(&r);
    return st;
}

/* Training: ten steps as torch takes them (tests/golden/train/make_train.py), and whole trainings. */
#include "base/fs.h"
#include "base/pool.h"
#include "method/qat.h"
#include "method/teach.h"
#include "net_fixture.h"
#include "qx/train.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- ten steps as torch takes them ---- */

enum { STEPS = 10, BATCH = 96, ROWS = 96 };

struct steps {
    struct folder f;
    struct qx_dataset *data;
    struct qx_tape *tape;
    struct qx_qat qat;
    struct qx_slot slot[32];
    int n_slots;
    float *moments;
};

static struct qx_setting setting_of(struct qx_tape *tape, int layer, int bits)
{
    const struct qx_param *p = qx_tape_weight(tape, layer);
    struct qx_setting s = qx_setting_int(bits);
    const double n = (1 << bits) - 1;
    float top = 0.0f;
    for (int64_t i = 0; i < p->n; i++) {
        top = fmaxf(top, fabsf(p->value[i]));
    }
    s.gran = QX_GRAN_TENSOR;
    s.has_range = true;
    s.range.hi = (double)(float)(0.8 * (double)top);
    s.range.lo = -s.range.hi;
    s.act = qx_act_static(bits);
    s.act.has_range = true;
    s.act.range = layer == 0 ? (struct qx_range){-4.0 * (n + 1.0) / 2.0 / n, 2.0 * (n - 1.0) / n}
                             : (struct qx_range){0.0, 2.0};
    return s;
}

static void slot_add(struct steps *t, float *value, float *grad, int64_t n, bool decays)
{
    assert_true(t->n_slots < 32);
    t->slot[t->n_slots++] = (struct qx_slot){
        .value = value, .grad = grad, .n = n, .has_decay = decays, .rate_share = 1.0};
}

static void scale_add(struct steps *t, const struct qx_optimizer *o, float *value, float *grad)
{
    slot_add(t, value, grad, 1, false);
    t->slot[t->n_slots - 1].rate_share = qx_scale_rate(o, *value);
}

static void steps_open(struct steps *t, const struct qx_quantizer *q, const struct qx_optimizer *o)
{
    char path[512], file[600];
    struct qx_setting set[3];
    struct qx_error err = {0};
    int64_t n = 0;
    memset(t, 0, sizeof *t);
    source_path(path, sizeof path, "tests/golden/train/conv");
    folder_open(&t->f, path);
    snprintf(file, sizeof file, "%s/eval.safetensors", path);
    assert_int_equal(qx_dataset_open(file, t->f.net, &t->data, &err), QX_OK);
    assert_int_equal(qx_tape_new(t->f.net, BATCH, 0, UINT64_MAX, &t->tape, &err), QX_OK);
    assert_int_equal(qx_net_n_layers(t->f.net), 3);
    for (int i = 0; i < 3; i++) {
        set[i] = setting_of(t->tape, i, 8);
    }
    assert_int_equal(qx_qat_init(&t->qat, t->tape, t->f.net, set, q, &err), QX_OK);
    for (int i = 0; i < qx_tape_n_params(t->tape); i++) {
        struct qx_param *p = qx_tape_param(t->tape, i);
        if (p->grad) {
            slot_add(t, p->value, p->grad, p->n, p->kind == QX_PARAM_WEIGHT);
        }
    }
    for (int i = 0; i < t->qat.n; i++) {
        if (t->qat.v[i].has_step) {
            scale_add(t, o, t->qat.v[i].step, t->qat.v[i].d_step);
        }
        if (t->qat.v[i].has_act_step) {
            scale_add(t, o, &t->qat.v[i].act_step, &t->qat.v[i].d_act_step);
        }
    }
    for (int i = 0; i < t->n_slots; i++) {
        n += t->slot[i].n;
    }
    t->moments = calloc((size_t)(2 * n), sizeof *t->moments);
    assert_non_null(t->moments);
    float *at = t->moments;
    for (int i = 0; i < t->n_slots; i++) {
        t->slot[i].moment[0] = at;
        t->slot[i].moment[1] = at + t->slot[i].n;
        at += 2 * t->slot[i].n;
    }
}

static void steps_close(struct steps *t)
{
    free(t->moments);
    qx_qat_release(&t->qat);
    qx_tape_free(t->tape);
    qx_dataset_close(&t->data);
    folder_close(&t->f);
}

static double one_step(struct steps *t, int i, const struct qx_optimizer *o, double rate)
{
    int64_t rows[BATCH];
    double loss = 0.0;
    struct qx_batch b;
    struct qx_error err = {0};
    for (int64_t r = 0; r < BATCH; r++) {
        rows[r] = i % (ROWS / BATCH) * BATCH + r;
    }
    assert_int_equal(qx_batch_new(&b, t->f.net, BATCH, false, &err), QX_OK);
    assert_int_equal(qx_batch_read(&b, t->data, rows, BATCH, &err), QX_OK);
    qx_qat_begin(&t->qat);
    qx_qat_quantize(&t->qat, NULL);
    const struct qx_tape_loss l = qx_batch_loss(&b);
    assert_int_equal(
        qx_tape_run(t->tape, b.x, BATCH, QX_TAPE_TRAIN, &l, true, &loss, NULL, NULL, &err), QX_OK);
    qx_batch_release(&b);
    qx_qat_back(&t->qat, NULL);
    for (int k = 0; k < t->n_slots; k++) {
        o->fn->step(&t->slot[k], &(struct qx_optim_step){rate, 0.01, i + 1});
    }
    qx_qat_follow(&t->qat, false);
    return loss;
}

static void check_steps(const struct qx_quantizer *q, const struct qx_optimizer *o, double rate)
{
    char file[600], name[64];
    struct steps t;
    int64_t n = 0;
    source_path(file, sizeof file, "tests/golden/train/conv/losses.safetensors");
    snprintf(name, sizeof name, "%s.%s", q->name, o->name);
    float *want = tensor_load(file, name, &n);
    assert_non_null(want);
    assert_int_equal(n, STEPS);
    steps_open(&t, q, o);
    for (int i = 0; i < STEPS; i++) {
        const double loss = one_step(&t, i, o, rate);
        if (!(fabs(loss - (double)want[i]) <= 1e-4)) {
            fail_msg("%s, step %d: loss %.6f, torch has %.6f", name, i + 1, loss, (double)want[i]);
        }
    }
    steps_close(&t);
    free(want);
}

static void ten_steps_have_torchs_losses(void **state)
{
    const struct qx_quantizer *const q[] = {&qx_quantizer_lsq, &qx_quantizer_pact,
                                            &qx_quantizer_ste};
    (void)state;
    for (int i = 0; i < 3; i++) {
        check_steps(q[i], &qx_optimizer_adamw, 1e-3);
        check_steps(q[i], &qx_optimizer_sgd, 0.02);
    }
}

/* ---- the same of texts, nothing rounded (tests/golden/train/make_train_text.py) ---- */

enum { SLOTS = 64, MOST_ROWS = 32 };

/* All parameters; only matrices and tables decay. */
static int text_slots(struct qx_tape *tape, struct qx_slot *slot, float **moments)
{
    int n = 0;
    int64_t total = 0;
    for (int i = 0; i < qx_tape_n_params(tape); i++) {
        struct qx_param *p = qx_tape_param(tape, i);
        assert_true(n < SLOTS);
        slot[n++] = (struct qx_slot){.value = p->value,
                                     .grad = p->grad,
                                     .n = p->n,
                                     .has_decay = p->kind == QX_PARAM_WEIGHT,
                                     .rate_share = 1.0};
        total += p->n;
    }
    float *at = *moments = calloc((size_t)(2 * total), sizeof *at);
    assert_non_null(at);
    for (int i = 0; i < n; i++) {
        slot[i].moment[0] = at;
        slot[i].moment[1] = at + slot[i].n;
        at += 2 * slot[i].n;
    }
    return n;
}

static void text_steps(struct folder *f, const struct qx_dataset *data, const char *name,
                       const float *want)
{
    struct qx_batch b;
    struct qx_teacher teacher;
    struct qx_tape *tape = NULL;
    struct qx_slot slot[SLOTS];
    struct qx_error err = {0};
    int64_t rows[MOST_ROWS];
    float *moments;
    const int64_t n = qx_dataset_n(data);
    for (int64_t i = 0; i < n && n <= MOST_ROWS; i++) {
        rows[i] = i;
    }
    assert_int_equal(qx_batch_new(&b, f->net, n, true, &err), QX_OK);
    b.share = 0.5;
    b.temperature = 2.0;
    assert_int_equal(qx_teacher_new(&teacher, f->net, &err), QX_OK);
    if (!b.is_words) {
        assert_int_equal(qx_teacher_keep(&teacher, &b, data, rows, n, NULL, NULL, &err), QX_OK);
    }
    assert_int_equal(qx_batch_read(&b, data, rows, n, &err), QX_OK);
    assert_int_equal(qx_teacher_ask(&teacher, &b, rows, NULL, NULL, &err), QX_OK);
    assert_int_equal(qx_tape_new(f->net, n, 0, UINT64_MAX, &tape, &err), QX_OK);
    const int n_slots = text_slots(tape, slot, &moments);
    const struct qx_tape_loss l = qx_batch_loss(&b);
    for (int i = 0; i < STEPS; i++) {
        double loss = 0.0;
        assert_int_equal(
            qx_tape_run(tape, b.x, n, QX_TAPE_TRAIN, &l, true, &loss, NULL, NULL, &err), QX_OK);
        if (!(fabs(loss - (double)want[i]) <= 1e-4)) {
            fail_msg("%s, step %d: loss %.6f, torch has %.6f", name, i + 1, loss, (double)want[i]);
        }
        for (int k = 0; k < n_slots; k++) {
            qx_optimizer_adamw.fn->step(&slot[k], &(struct qx_optim_step){3e-3, 0.01, i + 1});
        }
    }
    qx_tape_free(tape);
    qx_teacher_release(&teacher);
    qx_batch_release(&b);
    free(moments);
}

static void ten_steps_of_texts_have_torchs_losses(void **state)
{
    static const char *const names[] = {"decoder_llama", "decoder_qwen3", "decoder_gpt2",
                                        "encoder_bert"};
    char file[600], path[512], rest[128];
    (void)state;
    source_path(file, sizeof file, "tests/golden/train/texts.safetensors");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct folder f;
        struct qx_dataset *data = NULL;
        struct qx_error err = {0};
        int64_t n = 0;
        float *want = tensor_load(file, names[i], &n);
        assert_non_null(want);
        assert_int_equal(n, STEPS);
        snprintf(rest, sizeof rest, "tests/golden/net/%s", names[i]);
        source_path(path, sizeof path, rest);
        folder_open(&f, path);
        snprintf(rest, sizeof rest, "tests/golden/net/%s/eval.safetensors", names[i]);
        source_path(path, sizeof path, rest);
        assert_int_equal(qx_dataset_open(path, f.net, &data, &err), QX_OK);
        text_steps(&f, data, names[i], want);
        qx_dataset_close(&data);
        folder_close(&f);
        free(want);
    }
}

/* ---- whole trainings ---- */

struct whole {
    struct folder f;
    struct qx_dataset *data;
    struct qx_setting set[3];
    struct qx_train_options o;
    int n_steps, n_epochs;
    double first_loss, last_loss;
    bool is_cancelling;
    struct qx_ctl ctl;
};

static void whole_open(struct whole *w)
{
    char path[512], file[600];
    struct qx_tape *tape = NULL;
    struct qx_error err = {0};
    memset(w, 0, sizeof *w);
    source_path(path, sizeof path, "tests/golden/train/conv");
    folder_open(&w->f, path);
    snprintf(file, sizeof file, "%s/eval.safetensors", path);
    assert_int_equal(qx_dataset_open(file, w->f.net, &w->data, &err), QX_OK);
    assert_int_equal(qx_tape_new(w->f.net, 8, 0, UINT64_MAX, &tape, &err), QX_OK);
    for (int i = 0; i < 3; i++) {
        w->set[i] = setting_of(tape, i, 4);
    }
    qx_tape_free(tape);
    w->o = qx_train_defaults(w->f.net);
    w->o.batch = 16;
    w->o.epochs = 6;
    w->o.rate = 5e-3;
    w->o.distill = 0.0;
}

static void whole_close(struct whole *w)
{
    qx_dataset_close(&w->data);
    folder_close(&w->f);
}

static void count_step(void *arg, const struct qx_train_step *s)
{
    struct whole *w = arg;
    w->first_loss = w->n_steps == 0 ? s->loss : w->first_loss;
    w->last_loss = s->loss;
    w->n_steps++;
    assert_int_equal(s->step, w->n_steps);
    if (w->is_cancelling && w->n_steps == 7) {
        atomic_store(&w->ctl.cancel, true);
    }
}

static void count_epoch(void *arg, const struct qx_train_epoch *e)
{
    struct whole *w = arg;
    assert_int_equal(e->epoch, w->n_epochs);
    w->n_epochs++;
}

static struct qx_trained *whole_run(struct whole *w, struct qx_pool *pool)
{
    const struct qx_train_watch watch = {.arg = w, .step = count_step, .epoch = count_epoch};
    struct qx_trained *out = NULL;
    struct qx_error err = {0};
    if (qx_train_run(w->f.net, w->data, w->data, w->set, &w->o, &watch, pool, &w->ctl, &out,
                     &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return out;
}

/* Under its setting, every weight is what the setting makes of it. */
static void assert_settled(const struct whole *w, const struct qx_trained *t)
{
    struct qx_error err = {0};
    for (int i = 0; i < 3; i++) {
        const struct qx_layer *layer = qx_net_layer(w->f.net, i);
        struct qx_tensor view = *qx_model_tensor(w->f.model, layer->tensor);
        const float *v = t->values[layer->tensor];
        float *again = malloc((size_t)view.numel * sizeof *again);
        assert_non_null(again);
        view.dtype = QX_DTYPE_F32;
        view.data = (const void *)v;
        view.bytes = (uint64_t)view.numel * sizeof *v;
        assert_int_equal(
            qx_fakequant(&view, layer->channels, &t->set[i], NULL, NULL, again, NULL, NULL, &err),
            QX_OK);
        for (int64_t k = 0; k < view.numel; k++) {
            assert_float_equal(again[k], v[k], 1e-6);
        }
        free(again);
    }
}

static void a_training_learns(void **state)
{
    struct whole w;
    (void)state;
    for (int i = 0; i < qx_quantizer_count(); i++) {
        whole_open(&w);
        w.o.quantizer = qx_quantizer_at(i);
        w.o.distill = i == 0 ? 0.5 : 0.0;
        struct qx_trained *t = whole_run(&w, NULL);
        assert_int_equal(t->end, QX_TRAIN_DONE);
        assert_int_equal(t->epochs, 6);
        assert_int_equal(w.n_epochs, 7);
        assert_true(w.last_loss < w.first_loss);
        assert_true(t->best > 0);
        assert_settled(&w, t);
        qx_trained_free(t);
        whole_close(&w);
    }
}

static void units_of_all_kinds_settle_on_their_levels(void **state)
{
    struct whole w;
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        whole_open(&w);
        for (int i = 0; i < 3; i++) {
            struct qx_setting *s = &w.set[i];
            s->gran = kind == 3 ? QX_GRAN_TENSOR : kind == 2 ? QX_GRAN_GROUP : QX_GRAN_CHANNEL;
            s->group = 4;
            s->scale = kind == 2 ? QX_SCALE_F16 : QX_SCALE_F32;
            s->range = (struct qx_range){-0.9, 0.9};
            if (kind == 1) {
                *s = qx_setting_of(qx_format_find("nf4"), 0);
                s->gran = QX_GRAN_CHANNEL;
                s->has_range = true;
                s->range = (struct qx_range){-0.9, 0.9};
            }
        }
        w.o.epochs = 2;
        struct qx_trained *t = whole_run(&w, NULL);
        assert_settled(&w, t);
        qx_trained_free(t);
        whole_close(&w);
    }
}

static void threads_change_nothing(void **state)
{
    struct whole w;
    struct qx_pool *pool = NULL;
    (void)state;
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    whole_open(&w);
    w.o.epochs = 2;
    w.o.epoch_rows = 60; /* the second epoch begins with the rows left over, then all come again */
    w.o.augment = 3;
    w.o.distill = 0.5;
    struct qx_trained *a = whole_run(&w, NULL);
    assert_int_equal(a->epoch_rows, 60);
    assert_int_equal(a->n_steps, 6);
    w.n_steps = w.n_epochs = 0;
    struct qx_trained *b = whole_run(&w, pool);
    for (int64_t i = 0; i < a->n_tensors; i++) {
        const size_t bytes = (size_t)qx_model_tensor(w.f.model, i)->numel * sizeof(float);
        assert_true((a->values[i] == NULL) == (b->values[i] == NULL));
        if (a->values[i]) {
            assert_memory_equal(a->values[i], b->values[i], bytes);
        }
    }
    qx_trained_free(a);
    qx_trained_free(b);
    whole_close(&w);
    qx_pool_free(pool);
}

/* Broken off in its second epoch, a training that goes on ends with the bits of one that never stopped. */
static void a_resumed_training_gives_the_same_bits(void **state)
{
    struct whole w;
    struct qx_trained *t = NULL;
    struct qx_error err = {0};
    (void)state;
    whole_open(&w);
    w.o.epochs = 3;
    w.o.epoch_rows = 80;
    w.o.augment = 3;
    w.o.distill = 0.5;
    struct qx_trained *whole = whole_run(&w, NULL);
    w.o.checkpoint = "train_resume.checkpoint";
    w.n_steps = w.n_epochs = 0;
    w.is_cancelling = true;
    qx_trained_free(whole_run(&w, NULL));
    w.is_cancelling = false;
    atomic_store(&w.ctl.cancel, false);
    w.o.resume = true;
    assert_int_equal(qx_train_run(w.f.net, w.data, w.data, w.set, &w.o, NULL, NULL, NULL, &t, &err),
                     QX_OK);
    assert_int_equal(t->epochs, 3);
    assert_int_equal(t->best, whole->best);
    assert_true(t->ptq == whole->ptq && t->best_accuracy == whole->best_accuracy);
    for (int64_t i = 0; i < t->n_tensors; i++) {
        const size_t bytes = (size_t)qx_model_tensor(w.f.model, i)->numel * sizeof(float);
        if (t->values[i]) {
            assert_memory_equal(t->values[i], whole->values[i], bytes);
        }
    }
    qx_trained_free(t);
    qx_trained_free(whole);
    /* of another training, and damaged */
    w.o.seed = 1;
    assert_int_equal(qx_train_run(w.f.net, w.data, w.data, w.set, &w.o, NULL, NULL, NULL, &t, &err),
                     QX_EDATA);
    w.o.seed = 0;
    FILE *f = fopen("train_resume.checkpoint", "r+b");
    assert_non_null(f);
    fseek(f, 500, SEEK_SET);
    fputc(77, f);
    fputc(78, f);
    fclose(f);
    assert_int_equal(qx_train_run(w.f.net, w.data, w.data, w.set, &w.o, NULL, NULL, NULL, &t, &err),
                     QX_EFORMAT);
    remove("train_resume.checkpoint");
    assert_int_equal(qx_train_run(w.f.net, w.data, w.data, w.set, &w.o, NULL, NULL, NULL, &t, &err),
                     QX_EIO);
    whole_close(&w);
}

static void a_cancelled_training_keeps_what_was_best(void **state)
{
    struct whole w;
    (void)state;
    whole_open(&w);
    w.is_cancelling = true;
    struct qx_trained *t = whole_run(&w, NULL);
    assert_int_equal(t->end, QX_TRAIN_STOPPED);
    assert_int_equal(w.n_steps, 7);
    assert_settled(&w, t);
    qx_trained_free(t);
    whole_close(&w);
}

/* A row that is no number, in front of a layer whose input stays float32. */
static void a_loss_that_is_no_number_stops_with_what_was_best(void **state)
{
    struct whole w;
    struct qx_error err = {0};
    float x[ROWS * 100];
    unsigned char labels[ROWS];
    (void)state;
    whole_open(&w);
    assert_int_equal(qx_dataset_read(w.data, 0, ROWS, x, &err), QX_OK);
    for (int i = 0; i < ROWS; i++) {
        labels[i] = (unsigned char)qx_dataset_label(w.data, i);
    }
    x[5000] = NAN;
    const struct tensor_spec spec[] = {{"x", "F32", 4, {ROWS, 1, 10, 10}, x},
                                       {"labels", "U8", 1, {ROWS}, labels}};
    model_write("train_nan.safetensors", spec, 2, NULL);
    qx_dataset_close(&w.data);
    assert_int_equal(qx_dataset_open("train_nan.safetensors", w.f.net, &w.data, &err), QX_OK);
    w.set[0].act.bits = 0;
    struct qx_trained *t = whole_run(&w, NULL);
    assert_int_equal(t->end, QX_TRAIN_DIVERGED);
    assert_true(w.n_steps < 6 * 5);
    assert_settled(&w, t);
    for (int64_t i = 0; i < t->n_tensors; i++) {
        for (int64_t k = 0; t->values[i] && k < qx_model_tensor(w.f.model, i)->numel; k++) {
            assert_true(isfinite(t->values[i][k]));
        }
    }
    qx_trained_free(t);
    whole_close(&w);
    remove("train_nan.safetensors");
}

static void what_cannot_be_trained_is_refused(void **state)
{
    struct whole w;
    struct qx_trained *t = NULL;
    struct qx_error err = {0};
    (void)state;
    whole_open(&w);
    w.set[1].act.dynamic = true;
    assert_int_equal(qx_train_run(w.f.net, w.data, w.data, w.set, &w.o, NULL, NULL, NULL, &t, &err),
                     QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "deep"));
    w.set[1].act.dynamic = false;
    w.o.max_rows = 40;
    assert_int_equal(qx_train_run(w.f.net, w.data, w.data, w.set, &w.o, NULL, NULL, NULL, &t, &err),
                     QX_EDATA);
    w.o.max_rows = 0;
    w.o.distill = 2.0;
    assert_int_equal(qx_train_run(w.f.net, w.data, w.data, w.set, &w.o, NULL, NULL, NULL, &t, &err),
                     QX_ERANGE);
    assert_null(t);
    whole_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_steps_have_torchs_losses),
        cmocka_unit_test(ten_steps_of_texts_have_torchs_losses),
        cmocka_unit_test(a_training_learns),
        cmocka_unit_test(units_of_all_kinds_settle_on_their_levels),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(a_resumed_training_gives_the_same_bits),
        cmocka_unit_test(a_cancelled_training_keeps_what_was_best),
        cmocka_unit_test(a_loss_that_is_no_number_stops_with_what_was_best),
        cmocka_unit_test(what_cannot_be_trained_is_refused),
    };
    return cmocka_run_group_tests_name("train", tests, NULL, NULL);
}

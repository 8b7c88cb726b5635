/* What a configuration really does on E, measured once and kept on disk. */
#include "study.h"

#include "base/str.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint64_t key;
    struct study_outcome outcome;
};
struct study_truth {
    FILE *file;
    struct entry *entries;
    int n, cap;
};

static void entry_put(struct study_truth *t, uint64_t key, const struct study_outcome *o)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 1024;
        t->entries = realloc(t->entries, (size_t)t->cap * sizeof *t->entries);
        if (!t->entries) {
            study_die("out of memory");
        }
    }
    t->entries[t->n++] = (struct entry){key, *o};
}

struct study_truth *study_truth_open(const char *path)
{
    struct study_truth *t = study_take(1, sizeof *t);
    t->file = fopen(path, "a+");
    if (!t->file) {
        study_die("cannot open the file of measured outcomes");
    }
    uint64_t key;
    struct study_outcome o;
    rewind(t->file);
    /* hexadecimal floats: what is read back is what was measured */
    while (fscanf(t->file, "%" SCNx64 " %la %la %la", &key, &o.kl, &o.accuracy, &o.same_top) == 4) {
        entry_put(t, key, &o);
    }
    return t;
}

void study_truth_close(struct study_truth *t)
{
    fclose(t->file);
    free(t->entries);
    free(t);
}

bool study_truth_find(const struct study_truth *t, uint64_t key, struct study_outcome *out)
{
    for (int i = 0; i < t->n; i++) {
        if (t->entries[i].key == key) {
            *out = t->entries[i].outcome;
            return true;
        }
    }
    return false;
}

void study_truth_add(struct study_truth *t, uint64_t key, const struct study_outcome *o)
{
    entry_put(t, key, o);
    fseek(t->file, 0, SEEK_END);
    fprintf(t->file, "%016" PRIx64 " %a %a %a\n", key, o->kl, o->accuracy, o->same_top);
    fflush(t->file);
}

static int largest(const float *z, int n)
{
    int best = 0;
    for (int c = 1; c < n; c++) {
        best = z[c] > z[best] ? c : best;
    }
    return best;
}

static double log_sum(const float *z, int n)
{
    const double top = z[largest(z, n)];
    double sum = 0.0;
    for (int c = 0; c < n; c++) {
        sum += exp((double)z[c] - top);
    }
    return top + log(sum);
}

static double row_kl(const float *z0, const float *z, int n)
{
    const double log0 = log_sum(z0, n), log1 = log_sum(z, n);
    double kl = 0.0;
    for (int c = 0; c < n; c++) {
        const double l0 = (double)z0[c] - log0;
        kl += exp(l0) * (l0 - ((double)z[c] - log1));
    }
    return kl;
}

struct study_outcome study_score(const struct study *s, const struct study_rows *rows,
                                 const float *z)
{
    struct study_outcome o = {0};
    const int n = s->n_classes;
    double ce = 0.0;
    for (int64_t i = 0; i < rows->n; i++) {
        const float *a = rows->z0 + i * n, *b = z + i * n;
        const int top = largest(b, n);
        o.kl += row_kl(a, b, n);
        o.accuracy += top == rows->label[i];
        o.same_top += top == largest(a, n);
        ce += s->is_words ? log_sum(b, n) - (double)b[rows->label[i]] : 0.0;
    }
    o.kl = fmax(o.kl / (double)rows->n, 0.0);
    o.accuracy /= (double)rows->n;
    if (s->is_words) {
        o.accuracy = exp(rows->ce0 - ce / (double)rows->n);
    }
    o.same_top /= (double)rows->n;
    return o;
}

double study_drop(const struct study_rows *rows, const struct study_outcome *o)
{
    return rows->n_inputs > 0 ? 100.0 * (1.0 / o->accuracy - 1.0)
                              : 100.0 * (rows->accuracy0 - o->accuracy);
}

double study_drop_of(const struct study *s, double value, double change)
{
    return s->is_words ? 100.0 * (1.0 / value - 1.0) : -100.0 * change;
}

struct study_outcome study_run(struct study *s, const struct study_rows *rows)
{
    struct qx_error err;
    float *z = study_take((size_t)(rows->n * s->n_classes), sizeof *z);
    if (s->is_words) {
        study_words_run(s, rows, z);
    } else {
        study_check(qx_net_forward(s->net, s->weights, rows->x, rows->n, z, s->pool, NULL, &err),
                    &err);
    }
    const struct study_outcome o = study_score(s, rows, z);
    free(z);
    return o;
}

void study_apply(struct study *s, const struct study_config *c)
{
    struct qx_error err;
    for (int l = 0; l < s->n_layers; l++) {
        study_check(qx_weights_apply(s->weights, l, &c->s[l], s->pool, NULL, &err), &err);
    }
    study_check(qx_weights_prepare(s->weights, QX_ENGINE_SIMULATED, s->pool, NULL, &err), &err);
}

void study_apply_fp32(struct study *s)
{
    struct qx_error err;
    const struct qx_setting fp32 = qx_setting_fp32();
    for (int l = 0; l < s->n_layers; l++) {
        study_check(qx_weights_apply(s->weights, l, &fp32, s->pool, NULL, &err), &err);
    }
}

/* Everything that decides the arithmetic of a layer. */
static uint64_t setting_key(const struct qx_setting *s, uint64_t key)
{
    const double field[] = {s->bits,
                            s->sym,
                            s->gran,
                            (double)s->group,
                            s->scale,
                            s->range.lo,
                            s->range.hi,
                            s->act.bits,
                            s->act.sym,
                            s->act.gran,
                            s->act.dynamic,
                            s->act.bits ? s->act.range.lo : 0.0,
                            s->act.bits ? s->act.range.hi : 0.0};
    key = qx_hash64(s->format->name, strlen(s->format->name), key);
    return qx_hash64(field, sizeof field, key);
}

uint64_t study_key(const struct study *s, const struct study_config *c)
{
    uint64_t key = s->key;
    for (int l = 0; l < s->n_layers; l++) {
        key = setting_key(&c->s[l], key);
    }
    return key;
}

static struct study_outcome measure(struct study *s, const struct study_rows *rows,
                                    const struct study_config *c, uint64_t key)
{
    struct study_outcome o;
    if (!study_truth_find(s->truth, key, &o)) {
        study_apply(s, c);
        o = study_run(s, rows);
        study_truth_add(s->truth, key, &o);
    }
    return o;
}

struct study_outcome study_measure(struct study *s, const struct study_config *c)
{
    return measure(s, &s->e, c, study_key(s, c));
}

struct study_outcome study_measure_p(struct study *s, const struct study_config *c)
{
    return measure(s, &s->p, c, qx_hash64("P", 1, study_key(s, c)));
}

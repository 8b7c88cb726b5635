/* The part of a tensor that a first paint looks at, copied out as a small tensor of its own. */
#include "base/error.h"
#include "base/mem.h"
#include "tensor/hist_priv.h"

#include <string.h>

enum { RUN = 1024, MAX_PIECE = 4096 };

/* Runs of 1,024 elements at even distances: few pages, so few misses. */
struct plan {
    int64_t n_runs, run; /* elements */
    int64_t (*start)(const struct plan *p, int64_t i);
    int64_t numel; /* of the whole tensor */
    int64_t row_len, first, count, step;
};

static int64_t even_start(const struct plan *p, int64_t i)
{
    return p->n_runs > 1 ? (p->numel - p->run) / (p->n_runs - 1) * i : 0;
}

static int64_t row_start(const struct plan *p, int64_t i)
{
    return p->step * i * p->row_len;
}

static int64_t block_start(const struct plan *p, int64_t i)
{
    (void)i;
    return p->first;
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* Whole runs anywhere. */
static struct plan plan_tensor(const struct qx_tensor *t, int64_t n, struct qx_channels *c)
{
    struct plan p = {.start = even_start, .numel = t->numel};
    p.run = clamp(RUN, 1, t->numel);
    p.n_runs = clamp(n / RUN, 1, t->numel / p.run);
    *c = (struct qx_channels){1, 1, p.n_runs * p.run};
    return p;
}

/* Channels are contiguous: the beginning (whole groups) of evenly chosen channels. */
static struct plan plan_rows(struct qx_channels whole, int64_t group, int64_t n,
                             struct qx_channels *c)
{
    struct plan p = {.start = row_start, .row_len = whole.outer * whole.inner};
    p.run = clamp(MAX_PIECE, 1, p.row_len);
    if (group > 0 && p.run < p.row_len) {
        p.run = clamp(p.run / group * group, group < p.row_len ? group : p.row_len, p.row_len);
    }
    p.n_runs = clamp(n / p.run, 1, whole.count);
    p.step = whole.count / p.n_runs;
    *c = (struct qx_channels){1, p.n_runs, p.run};
    return p;
}

/* Channels are strided: one run of consecutive outer indices, every channel of it. */
static struct plan plan_block(struct qx_channels whole, int64_t group, int64_t n,
                              struct qx_channels *c)
{
    int64_t slice = whole.count * whole.inner;
    int64_t align = group > 0 ? clamp(group, 1, whole.outer) : 1; /* outer indices: whole groups */
    int64_t n_outer = clamp((n / slice + align - 1) / align * align, align, whole.outer);
    struct plan p = {.start = block_start, .n_runs = 1, .run = n_outer * slice, .row_len = slice};
    p.step = clamp((whole.outer - n_outer) / 2 / align * align, 0, whole.outer);
    p.first = p.step * slice;
    *c = (struct qx_channels){n_outer, whole.count, whole.inner};
    return p;
}

/* Where each unit of the sample stands in the whole tensor. */
static bool map_units(struct qx_hist_sample *s, const struct plan *p,
                      const struct qx_hist_spec *spec)
{
    bool is_rows = p->start == row_start;
    int64_t group = spec->gran == QX_GRAN_GROUP ? spec->group : 0;
    struct qx_rows part = qx_rows_of(&s->t, s->channels, group);
    struct qx_rows whole = qx_rows_of(&s->t, spec->channels, group);
    int64_t n = s->channels.count * part.per_row;
    int64_t first_group = group > 0 && !is_rows ? p->step * spec->channels.inner / group : 0;
    s->unit_of = qx_mem_array((size_t)n, sizeof *s->unit_of);
    for (int64_t u = 0; s->unit_of && u < n; u++) {
        int64_t channel = u / part.per_row, g = u % part.per_row;
        s->unit_of[u] = channel * (is_rows ? p->step : 1) * whole.per_row + first_group + g;
    }
    return s->unit_of != NULL;
}

enum qx_status qx_hist_sample_take(const struct qx_tensor *t, const struct qx_hist_spec *spec,
                                   int64_t n, struct qx_hist_sample *out, struct qx_error *err)
{
    struct qx_hist_sample s = {.t = *t};
    struct plan p;
    int64_t group = spec->gran == QX_GRAN_GROUP ? spec->group : 0;
    if (spec->gran == QX_GRAN_TENSOR) {
        p = plan_tensor(t, n, &s.channels);
    } else if (spec->channels.outer > 1 && spec->channels.count > 1) {
        p = plan_block(spec->channels, group, n, &s.channels);
    } else {
        p = plan_rows(spec->channels, group, n, &s.channels);
    }
    const bool is_block = qx_dtype_get(t->dtype)->block > 0; /* of which runs take parts: decoded */
    size_t width = is_block ? sizeof(float) : (size_t)qx_dtype_get(t->dtype)->bits / 8;
    size_t bytes = (size_t)(p.n_runs * p.run) * width;
    s.data = qx_mem_alloc(bytes);
    if (!s.data) {
        return qx_fail_nomem(err, bytes);
    }
    enum qx_status st = QX_OK;
    for (int64_t i = 0; st == QX_OK && i < p.n_runs; i++) {
        uint8_t *to = (uint8_t *)s.data + (size_t)(i * p.run) * width;
        if (is_block) {
            st = qx_tensor_read(t, p.start(&p, i), p.run, (float *)(void *)to, err);
        } else {
            memcpy(to, t->data + (size_t)p.start(&p, i) * width, (size_t)p.run * width);
        }
    }
    if (st != QX_OK) {
        qx_mem_free(s.data);
        return st;
    }
    s.t.dtype = is_block ? QX_DTYPE_F32 : t->dtype;
    s.t.numel = p.n_runs * p.run;
    s.t.bytes = bytes;
    s.t.data = s.data;
    if (spec->gran != QX_GRAN_TENSOR && !map_units(&s, &p, spec)) {
        qx_mem_free(s.data);
        return qx_fail_nomem(err, (size_t)s.t.numel);
    }
    *out = s;
    return QX_OK;
}

void qx_hist_sample_release(struct qx_hist_sample *s)
{
    qx_mem_free(s->data);
    qx_mem_free(s->unit_of);
}

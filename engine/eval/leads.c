/* The rows that go next: how far each is from another class. */
#include "qx/eval.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static bool is_gone(const struct qx_lead *l)
{
    return l->top != l->top0; /* a lead of 0 goes to the lower class */
}

static int nearest_first(const void *a, const void *b)
{
    const struct qx_lead *x = a, *y = b;
    return x->now != y->now           ? (x->now > y->now) - (x->now < y->now)
           : is_gone(x) != is_gone(y) ? is_gone(y) - is_gone(x)
                                      : (x->row > y->row) - (x->row < y->row);
}

int64_t qx_leads_sort(struct qx_lead *v, int64_t *n)
{
    int64_t kept = 0, n_gone = 0;
    for (int64_t i = 0; i < *n; i++) {
        if (v[i].label < 0 || v[i].label == v[i].top0) { /* what float32 has wrong cannot be lost */
            v[kept++] = v[i];
        }
    }
    qsort(v, (size_t)kept, sizeof *v, nearest_first);
    while (n_gone < kept && is_gone(&v[n_gone])) {
        n_gone++;
    }
    *n = kept;
    return n_gone;
}

enum qx_status qx_eval_leads(const struct qx_eval_result *fp32, const struct qx_eval_result *b,
                             struct qx_lead *out, struct qx_error *err)
{
    if (fp32->n != b->n || memcmp(fp32->rows, b->rows, (size_t)b->n * sizeof *b->rows) != 0) {
        return qx_fail(err, QX_EDATA,
                       "the two measurements are over different rows; measure both on the same");
    }
    for (int64_t i = 0; i < b->n; i++) {
        out[i] = (struct qx_lead){b->rows[i],      b->label[i],     fp32->predicted[i],
                                  b->predicted[i], fp32->margin[i], b->margin[i]};
    }
    return QX_OK;
}

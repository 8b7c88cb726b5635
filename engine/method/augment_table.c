#include "method/augment.h"

#include "base/error.h"
#include "qx/text.h"

#include <stdio.h>
#include <string.h>

static const struct qx_augment *const rows[] = {&qx_augment_shift, &qx_augment_flip};
enum { N_ROWS = sizeof rows / sizeof *rows };

int qx_augment_count(void)
{
    return N_ROWS;
}

const struct qx_augment *qx_augment_at(int i)
{
    return rows[i];
}

static enum qx_status find(const char *name, unsigned *bit, struct qx_error *err)
{
    const char *names[N_ROWS + 1] = {"none"};
    for (int i = 0; i < N_ROWS; i++) {
        names[i + 1] = rows[i]->name;
        if (strcmp(rows[i]->name, name) == 0) {
            *bit = 1U << i;
            return QX_OK;
        }
    }
    const char *near = qx_nearest(name, names, N_ROWS + 1);
    return qx_fail(err, QX_ENAME, "unknown augmentation '%.40s': did you mean %s?", name,
                   near ? near : names[1]);
}

enum qx_status qx_augment_parse(const char *list, unsigned *out, struct qx_error *err)
{
    unsigned all = 0;
    enum qx_status st = QX_OK;
    if (strcmp(list, "none") == 0) {
        *out = 0;
        return QX_OK;
    }
    for (const char *at = list; st == QX_OK; at++) {
        char name[64];
        unsigned bit = 0;
        const size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), at);
        st = find(name, &bit, err);
        all |= bit;
        at += n;
        if (!*at) {
            break;
        }
    }
    *out = st == QX_OK ? all : *out;
    return st;
}

const char *qx_augment_text(unsigned chosen, char *buf, size_t cap)
{
    size_t len = (size_t)snprintf(buf, cap, "%s", chosen ? "" : "none");
    for (int i = 0; i < N_ROWS; i++) {
        if (chosen >> i & 1 && len < cap) {
            len +=
                (size_t)snprintf(buf + len, cap - len, "%s%s", len > 0 ? "," : "", rows[i]->name);
        }
    }
    return buf;
}

/* ---- on rows ---- */

struct plane {
    int64_t n, h, w;
};

static bool plane_of(const struct qx_net *net, struct plane *p)
{
    const int64_t *dim;
    const int rank = qx_net_input_shape(net, &dim);
    if (qx_net_input_is_ids(net) || rank < 2 || rank > 3) {
        return false;
    }
    *p = (struct plane){rank == 3 ? dim[0] : 1, dim[rank - 2], dim[rank - 1]};
    return p->h > 1 && p->w > 1;
}

enum qx_status qx_augment_check(const struct qx_net *net, struct qx_error *err)
{
    struct plane p;
    return plane_of(net, &p)
               ? QX_OK
               : qx_fail(err, QX_EUNSUPPORTED,
                         "rows of %s are no images: train with --augment none", qx_net_name(net));
}

void qx_augment_rows(const struct qx_net *net, unsigned chosen, struct qx_rng *rng, float *x,
                     int64_t n)
{
    const int64_t size = qx_net_sample_size(net);
    struct plane p;
    if (!plane_of(net, &p)) {
        return;
    }
    for (int64_t r = 0; r < n; r++) {
        for (int i = 0; i < N_ROWS; i++) {
            if (chosen >> i & 1) {
                rows[i]->fn->apply(x + r * size, p.n, p.h, p.w, rng);
            }
        }
    }
}

/* Rows and columns of a weight, and where they are stored. */
#include "qx/matrix.h"

struct qx_matrix qx_matrix_of(const struct qx_tensor *t, struct qx_channels channels)
{
    struct qx_matrix m = {t, channels, channels.count, channels.outer * channels.inner};

    if (m.cols == 1) {
        m.cols = m.rows;
        m.rows = 1;
    }
    if (t->numel == 0) {
        m.rows = m.cols = 0;
    }
    return m;
}

/* One value per channel: the row is the storage. */
static bool is_vector(const struct qx_matrix *m)
{
    return m->channels.outer * m->channels.inner == 1;
}

int64_t qx_matrix_element(const struct qx_matrix *m, int64_t row, int64_t col)
{
    const struct qx_channels *c = &m->channels;

    return is_vector(m) ? col : (col / c->inner * c->count + row) * c->inner + col % c->inner;
}

void qx_matrix_place(const struct qx_matrix *m, int64_t element, int64_t *row, int64_t *col)
{
    const struct qx_channels *c = &m->channels;
    int64_t line = element / c->inner;

    *row = is_vector(m) ? 0 : line % c->count;
    *col = is_vector(m) ? element : line / c->count * c->inner + element % c->inner;
}

bool qx_matrix_part_equal(const struct qx_matrix_part *a, const struct qx_matrix_part *b)
{
    return a->row == b->row && a->col == b->col && a->rows == b->rows && a->cols == b->cols &&
           a->down == b->down && a->across == b->across;
}

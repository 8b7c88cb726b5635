/* Sensitivity: what each layer alone does to the network under each setting.
 *
 * A map has a row for every layer and a column for every setting asked for. A cell is measured when the
 * prediction's table holds the exact entry of just that site and setting (the layer so, all others
 * float32, run on P: qx/predict.h), else predicted from the table's entries, else only ranked. */
#ifndef QX_SENSITIVITY_H
#define QX_SENSITIVITY_H

#include "qx/predict.h"

enum { QX_SENS_COLUMNS = 24 };

/* One column: a number format for weights (site W), or integers for the layer's input (site A). */
struct qx_sens_column {
    enum qx_site site;
    const struct qx_format *format;
    int bits; /* of integers: weights 2..8, activations 2..8; else the format's own */
};
/* "4", "fp16", "a4"; returns buf. */
char *qx_sens_column_text(const struct qx_sens_column *c, char *buf, size_t cap);
/* "2,3,4,8,fp16": integer bits or formats for weights, "a4" for activations; 16 is fp16. QX_ERANGE and
 * QX_ENAME name the part that is wrong. */
enum qx_status qx_sens_columns_parse(const char *list, struct qx_sens_column out[QX_SENS_COLUMNS],
                                     int *n, struct qx_error *err);

enum qx_sens_basis {
    QX_SENS_NONE,      /* the layer cannot be so */
    QX_SENS_RANK,      /* nothing was run: by relative error alone, no unit */
    QX_SENS_PREDICTED, /* from the table */
    QX_SENS_MEASURED   /* run on P */
};
const char *qx_sens_basis_name(enum qx_sens_basis basis); /* "none", "rank", ... */

struct qx_sens_cell {
    enum qx_sens_basis basis;
    double proxy; /* squared relative error of the site's values (rounding and clipping) */
    int rank;     /* 1 = worst of its column: by KL where every cell has one, else by proxy */
    /* PREDICTED and MEASURED only, else NaN: */
    double kl; /* nats on P */
    double
        accuracy; /* on P; of agreement with float32's class without labels; of language models what is
                        left of float32's likelihood (qx_predict_scale). NaN below 64 rows */
    double delta; /* accuracy - that of float32 on P */
    double lo,
        hi; /* accuracy, 90 %: PREDICTED as qx/predict.h, MEASURED by the rows that flipped */
};

/* A row of the map: a layer of the network, in its order; without a network, any weight. */
struct qx_sens_layer {
    const struct qx_tensor *tensor;
    struct qx_channels channels;
    bool can;      /* a weight to be judged; else all its cells are NONE */
    bool is_table; /* embeddings: looked up, so its cells of site A are NONE */
};

/* The map: settings with their ranges, and cells. One thread at a time. */
struct qx_sens;
/* now [n_layers]: each layer's setting; integers keep its granularity, symmetry, scale and calibrator (a
 * threshold by hand: mse instead).
 *   calibration  of the layers' inputs; needed by columns of site A, else NULL
 * One histogram a layer is built. Progress: layers. QX_ENOMEM, QX_ECANCELLED, QX_EDATA. */
enum qx_status qx_sens_new(const struct qx_sens_layer *layers, int n_layers,
                           const struct qx_setting *now, const struct qx_calibration *calibration,
                           const struct qx_sens_column *columns, int n_columns,
                           struct qx_pool *pool, struct qx_ctl *ctl, struct qx_sens **out,
                           struct qx_error *err);
/* A copy for another thread. QX_ENOMEM. */
enum qx_status qx_sens_copy(const struct qx_sens *s, struct qx_sens **out, struct qx_error *err);
void qx_sens_free(struct qx_sens *s); /* NULL allowed */
int qx_sens_n_layers(const struct qx_sens *s);
int qx_sens_n_columns(const struct qx_sens *s);
const struct qx_sens_column *qx_sens_column_at(const struct qx_sens *s, int column);
const struct qx_sens_cell *qx_sens_cell_at(const struct qx_sens *s, int layer, int column);
/* The layer's setting in this column, range chosen. Weights: activations float32. Activations: with weights
 * of 8 bits, which a cell leaves out. */
const struct qx_setting *qx_sens_setting(const struct qx_sens *s, int layer, int column);
/* What that does, as the prediction sees it. */
const struct qx_predict_layer *qx_sens_change(const struct qx_sens *s, int layer, int column);
/* Mean and variance of a layer's weights. */
void qx_sens_moments(const struct qx_sens *s, int layer, double *mean, double *variance);
/* Cells of a basis, over the map. */
int qx_sens_count(const struct qx_sens *s, enum qx_sens_basis basis);

/* Fill the cells from a table (NULL: ranks only). O(cells M n n_classes). QX_ENOMEM, QX_ERANGE (a table of
 * another network). */
enum qx_status qx_sens_fill(struct qx_sens *s, const struct qx_predict_table *table,
                            struct qx_error *err);
/* The same for the cells of one row. */
enum qx_status qx_sens_fill_row(struct qx_sens *s, int layer, const struct qx_predict_table *table,
                                struct qx_error *err);
/* A cell that was measured: its entry is the exact one of just that layer, site and setting. O(cells). */
void qx_sens_take(struct qx_sens *s, int layer, int column, const struct qx_predict_base *base,
                  const struct qx_predict_entry *entry);
/* The cell worth measuring next: where the harm lies between nothing and ruin, in layers little is known
 * of. False when all are measured. */
bool qx_sens_next(const struct qx_sens *s, int *layer, int *column);
#endif

/* All number formats on one tensor, side by side: what they take, how far values move, what the layer's
 * outputs lose, and what the network does then.
 *
 * Rows are rounded to nearest: integers of 2 to 8 bits and table formats with the granularity, symmetry,
 * type of scale and calibrator of a setting (qx_setting_as), blocks and floats as they are. One more row
 * stands for what the tensor has now where no other is that (methods, a threshold by hand).
 *
 * Thread rule: as qx/session.h. */
#ifndef QX_FORMATS_H
#define QX_FORMATS_H

#include "qx/session.h"

enum { QX_FORMATS_MOST = 48 };

struct qx_formats_row {
    struct qx_setting set; /* range chosen once has_metrics */
    bool is_now;           /* what the recipe has */
    bool has_metrics;
    struct qx_metrics metrics; /* element by element */
    bool is_front;             /* no other row is as good and as small */
    /* ||(W - W^) X||^2 / ||W X||^2 over the inputs X that the layer gets from calibration rows in the float32
     * network; where there are none and an imatrix is given, by its mean squares, as if inputs did not go together
     * (state: is_diagonal). NaN: not known */
    double output;
    /* The network with this layer so and all others as the recipe has them. */
    bool has_prediction;
    struct qx_prediction predicted;
    double measured; /* as predicted.value; NaN: not measured */
};

struct qx_formats_state {
    int n, n_known;          /* rows, and those with metrics */
    bool has_inputs;         /* the outputs' error is, or will be, known */
    bool is_diagonal;        /* from the imatrix */
    char output_reason[256]; /* why it is not: no network, no rows; "" else */
    char predict_reason[256];
    int n_left;               /* rows still to be measured */
    double row_s;             /* what one took lately; NaN while none was measured */
    char measure_reason[256]; /* why nothing can be, or the last one failed; "" else */
};

/* The table of an item, built in the background while somebody asks: call it on every draw. Rows by their
 * order in the formats' table; borrowed until the next poll. QX_NEWS_METRICS tells of more. *n = 0: the item
 * cannot be quantized. */
const struct qx_formats_row *qx_session_formats(struct qx_session *s, int64_t item, int *n);
void qx_session_formats_state(const struct qx_session *s, struct qx_formats_state *out);
/* Measure the whole network with row `at` in the layer's place, the others as the recipe has them, on the evaluation
 * data with the engine that the settings ask for; at -1: with every row that is not measured, those of the front
 * first. One job a row; results stay when the rest is stopped, and go with the table when another item's is asked for.
 * QX_EDATA, QX_EUNSUPPORTED: nothing can be measured (qx_formats_state.measure_reason). */
enum qx_status qx_session_formats_measure(struct qx_session *s, int at, struct qx_error *err);
void qx_session_formats_stop(struct qx_session *s);

/* The same for n items in the caller's thread [blocking]. base: whose granularity and so on the rows have; NULL =
 * each item's own. rows [n][QX_FORMATS_MOST], *n_rows of them are there for each item (the row of what it has
 * now is left out where base is given). Predictions measure what they need and is not kept on disk. Without a
 * network, rows for calibration or evaluation data these figures stay unknown (state: why). Progress in values. */
enum qx_status qx_session_run_formats(struct qx_session *s, const int64_t *items, int64_t n,
                                      const struct qx_setting *base, struct qx_ctl *ctl,
                                      struct qx_formats_row *rows, int *n_rows,
                                      struct qx_formats_state *state, struct qx_error *err);
/* Measure those rows [blocking], float32 first: *fp32 is the caller's, to be freed with qx_eval_result_free, and row
 * .measured is as .predicted.value. Progress in rows. Interrupted: what is done stays, *is_cut. */
enum qx_status qx_session_run_formats_measure(struct qx_session *s, const int64_t *items, int64_t n,
                                              int n_rows, struct qx_ctl *ctl,
                                              struct qx_formats_row *rows,
                                              struct qx_eval_result **fp32, bool *is_cut,
                                              struct qx_error *err);

#endif

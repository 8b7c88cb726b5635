/* The predicted effect of the recipe: its table is built in the background, every edit is answered from
 * it in the host's thread, every measurement corrects it. */
#ifndef QX_SESSION_PREDICTOR_H
#define QX_SESSION_PREDICTOR_H

#include "qx/predict.h"
#include "session/lane.h"

enum {
    QX_POINTS_KEPT = 64,  /* measured configurations */
    QX_POINTS_DRAWN = 19, /* random ones, for the band */
    QX_GRADES_KEPT = 12
};

/* One prediction that was made before its measurement. */
struct qx_grade {
    uint64_t key;
    double predicted, lo, hi, measured; /* shares */
};

/* A site of the recipe in hand that is not measured at its own setting yet. */
struct qx_exact_site {
    int layer;
    enum qx_site site;
    struct qx_setting set;
    double kl; /* composed, of the site alone */
};

struct qx_predictor {
    bool is_wanted, is_on, has_failed; /* on: wanted, and there are data */
    char reason[256];
    /* what the tasks build; the probe belongs to the task that is out */
    struct qx_predict_probe *probe;
    struct qx_calibration *calibration; /* NULL = inputs are not predicted */
    struct qx_predict_table *table;     /* that is asked; NULL = none yet */
    struct qx_predict_anchors *anchors; /* of that table */
    struct qx_predict_table
        *growing;                    /* that is built: the same, or one on more rows; NULL = none */
    int64_t rows;                    /* of that; 0 = not chosen yet */
    struct qx_task *task;            /* out with the queue lane */
    uint64_t key;                    /* of the file of points */
    bool is_early;                   /* the anchors take P for E */
    double early_end_s;              /* FP32 waits for an answer till then */
    bool is_complete;                /* the full table is there */
    double complete_s;               /* since when */
    bool is_without_act;             /* inputs cannot be calibrated */
    uint64_t table_serial;           /* of the table that is asked */
    int n_failures;                  /* of single entries, in a row */
    int selected;                    /* layer that goes first; -1 = none */
    uint64_t exact_key;              /* of the recipe whose sites are all measured alone */
    struct qx_predict_entry **fresh; /* cells of the map that are to join, full at powers of two */
    int n_fresh;

    struct qx_predict_point *points[QX_POINTS_KEPT]; /* oldest first */
    int n_drawing; /* random configurations that the user asked for and that are still to come */
    int n_points, n_drawn, n_draws;         /* n_draws: tried */
    bool has_new_points;                    /* the anchors do not know yet */
    struct qx_grade grades[QX_GRADES_KEPT]; /* oldest first */
    int n_grades;

    /* the answer to the recipe, in the host's thread */
    struct qx_predict_mix *mix;
    struct qx_setting *seen; /* [layers] what the mix knows */
    bool *is_known;          /* [layers] its amplitudes are those of `seen` */
    int n_unknown;
    bool is_dirty; /* the answer is older than recipe or table */
    struct qx_prediction answer;
    uint64_t serial; /* of the answer */
    bool has_answer;
    double *error; /* [items] squared relative error of the weights under the setting error_key */
    uint64_t *error_key;
    /* the recipe that is being measured, and what was said about it */
    uint64_t asked_key;
    struct qx_predict_layer *asked; /* [layers] */
    struct qx_setting *asked_set;   /* [layers] */
    bool has_asked;
    struct qx_prediction asked_answer;
    struct qx_predict_point_info asked_info; /* once measured */
    bool has_point_set;                      /* its KL on P is still to be measured */
};

enum qx_status qx_predictor_init(struct qx_session *s, bool is_on, struct qx_error *err);
/* Data are there: the rest of init, once. Nothing without data. */
enum qx_status qx_predictor_begin(struct qx_session *s, struct qx_error *err);
void qx_predictor_release(struct qx_session *s); /* after the lanes have stopped */
/* Start or pause what is due. */
void qx_predictor_work(struct qx_session *s);
/* Mix and answer follow the recipe. */
void qx_predictor_follow(struct qx_session *s);
/* Recipe or a range changed. */
void qx_predictor_touched(struct qx_session *s);
/* A measurement of these settings begins, ended well. */
void qx_predictor_asked(struct qx_session *s, uint64_t key);
void qx_predictor_measured(struct qx_session *s, uint64_t key, const struct qx_eval_result *r);
/* Takes the point; one with its key goes. */
void qx_predictor_point_add(struct qx_predictor *p, struct qx_predict_point *point);
/* Fills the gauge's predicted part. */
void qx_predictor_answer(struct qx_session *s, struct qx_gauge *out);

/* ---- predictor_turn.c ---- */
/* An edit is there before FP32 was measured on all rows: its first prediction, from P alone, does not wait for
 * that where it takes a moment. */
bool qx_predictor_goes_first(struct qx_session *s, double now_s);
/* The task that is due next, submitted; false when nothing is. */
bool qx_predictor_submit(struct qx_session *s);
/* Seconds until the next random configuration is due; negative = none, or what it waits for will wake
 * the host. */
double qx_predictor_due(const struct qx_session *s, double now_s);

/* ---- predictor_exact.c ---- */
/* Sites of the recipe are to be measured alone, once the hand rests; seconds until then. */
bool qx_predictor_exact_waits(const struct qx_session *s);
double qx_predictor_exact_left(const struct qx_session *s, double now_s);
/* Those that are missing, the most harmful first; free *out. 0: none, and exact_key says so. */
int qx_predictor_exact_list(struct qx_session *s, struct qx_exact_site **out);
/* "eL-S-xKEY", the file name's part of an exact entry. */
void qx_predictor_entry_name(char *text, size_t cap, int layer, enum qx_site site, uint64_t key);
/* In the lane: from its file, or measured and kept. key: of the files. */
enum qx_status qx_predictor_exact_measure(struct qx_session *s, uint64_t key,
                                          struct qx_predict_probe *probe,
                                          const struct qx_exact_site *at, struct qx_pool *pool,
                                          struct qx_ctl *ctl, struct qx_predict_entry **out,
                                          struct qx_error *err);
/* The map measured a cell: its entry joins the table with the next task. */
void qx_predictor_take(struct qx_session *s, const struct qx_predict_entry *entry);
bool qx_predictor_fresh_due(const struct qx_session *s);
void qx_predictor_fresh_drop(struct qx_predictor *p, int n); /* the first n */

/* ---- predictor_file.c ---- */
uint64_t qx_predictor_key(const struct qx_session *s, int64_t rows);
/* "<cache>/predict-<key>-<name>.qxh"; NULL when nothing is kept or memory is out. Free it. */
char *qx_predictor_path(const struct qx_session *s, uint64_t key, const char *name);
void qx_predictor_load(struct qx_session *s); /* points and grades */
void qx_predictor_save(struct qx_session *s);

#endif

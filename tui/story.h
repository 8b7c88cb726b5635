/* The story of the notes on PTQ and QAT, measured: one network in nine ways, and what their paper claims of
 * them (qexplore bench --story). */
#ifndef UI_STORY_H
#define UI_STORY_H

#include "cli.h"

#include <stdio.h>

/* How a row comes about; the table is in story.c. */
struct ui_story_way {
    const char *name;    /* "qat-int4"; of the folder too that its training writes */
    const char *title;   /* "INT4 by QAT" */
    const char *how;     /* one sentence */
    const char *variant; /* one of the table of variants (qx/bench.h); NULL: by the members below */
    int bits;            /* of weights; inputs of layers have 8 */
    bool is_mixed;       /* 4 or 8 bits, layer by layer, by search */
    bool is_trained;     /* in training (QAT), else after it */
};

enum { UI_STORY_ROWS = 9, UI_STORY_CLAIMS = 6 };
struct ui_story_row {
    const struct ui_story_way *way;
    struct qx_bench_row bench; /* state FAILED: reason; NONE: not come to */
    double train_s;            /* the whole training; NaN without one */
    int epochs, best; /* finished, and the one that was kept (0: none was better than PTQ) */
    bool is_stopped;  /* by Ctrl-C: what was best until then is measured */
};

/* What the paper says of a row, and what came out here. */
struct ui_story_claim {
    const char *text;   /* "INT8 after training: throughput" */
    const char *unit;   /* "%", "x" */
    double paper, here; /* here NaN: not measured */
    bool is_most;       /* the paper's figure bounds from above, else from below */
    const char *why;    /* not measured because; NULL else. Borrowed from the rows */
};

struct ui_story {
    const char *folder;
    const char *kept; /* where the trained models stay; NULL: nowhere */
    struct ui_story_row row[UI_STORY_ROWS];
    struct ui_story_claim claim[UI_STORY_CLAIMS];
    bool is_cut; /* Ctrl-C: rows from there on are empty */
};

/* Measure all rows; a way that the network cannot go is a row with a reason. An error is what stops all of
 * them. */
enum qx_status ui_story_measure(const struct ui_args *args, struct ui_story *story,
                                struct qx_error *err);
/* FP32's row (the first) when it is done, else NULL: what others are compared with. */
const struct qx_bench_row *ui_story_base(const struct ui_story *story);
/* Accuracy in points, or of language models perplexity in percent, that a row has lost against FP32. */
double ui_story_lost(const struct ui_story *story, const struct ui_story_row *row);
/* The same as it is printed: points of accuracy, negative when lost; percent of perplexity, positive. */
double ui_story_change(const struct ui_story *story, const struct ui_story_row *row);
/* Has the paper's figure been reached? Only with a figure. */
bool ui_story_is_reached(const struct ui_story_claim *claim);

void ui_story_print(const struct ui_story *story);
int ui_story_json(const struct ui_args *args, const struct ui_story *story);
/* A page that needs nothing beside it: bars, table, claims, how the figures came about. */
void ui_story_page(FILE *f, const struct ui_story *story);

/* The verb. */
int ui_story_run(const struct ui_args *args);

#endif

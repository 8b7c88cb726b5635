/* Data sets: what all kinds of files share, and one row for each kind (dataset.c). */
#ifndef QX_EVAL_DATASET_H
#define QX_EVAL_DATASET_H

#include "qx/eval.h"

struct qx_dataset_kind {
    bool (*is_file)(const char *path); /* by name; NULL: whatever no other kind takes */
    /* Fills n, sample_size, labels, hash, note and the kind's own part. */
    enum qx_status (*open)(struct qx_dataset *d, const struct qx_net *net,
                           const struct qx_dataset_options *options, struct qx_error *err);
    /* Rows first .. first+n-1, which are there. */
    enum qx_status (*read)(const struct qx_dataset *d, int64_t first, int64_t n, float *x,
                           struct qx_error *err);
};
extern const struct qx_dataset_kind qx_dataset_tensors, qx_dataset_texts, qx_dataset_images,
    qx_dataset_self;

struct qx_dataset {
    const struct qx_dataset_kind *kind;
    char *path;
    int64_t n, sample_size;
    int32_t *labels; /* [n], NULL without labels */
    uint64_t hash;
    char hash_text[17];
    char note[256];

    /* tensors */
    struct qx_model *model;
    const struct qx_tensor *x, *mask; /* mask: of sequences, NULL = every place is there */
    bool is_sequence;                 /* rows of x are ids, shorter than sample_size or as long */
    int64_t vocabulary; /* entries of the table that ids are looked up in; 0: not known */

    /* documents of tokens: x and mask (NULL: all count) are flat; of texts ids instead of x, and rows are
     * windows (window 0: whole documents) */
    bool is_documents;
    int64_t window, stride;
    int64_t *counts_from; /* [n] the first token that counts; NULL: the second */

    /* tensors and images */
    bool is_scaled;
    double scale, offset; /* real value = (stored - offset) * scale */

    /* texts */
    int32_t *ids;   /* row after row */
    int64_t *first; /* [n + 1]; of documents [n][2], begin and end */

    /* images */
    unsigned char *bytes; /* the file */
    int64_t start;        /* of the values */
};

/* dataset_documents.c: a row is a document without its last token. */
enum qx_status qx_documents_open(struct qx_dataset *d, const struct qx_net *net,
                                 struct qx_error *err);
enum qx_status qx_documents_read(const struct qx_dataset *d, int64_t first, int64_t n, float *x,
                                 struct qx_error *err);
int64_t qx_documents_places(const struct qx_dataset *d, int64_t row);
/* The token behind each place, and whether it counts (0: not). Arrays of qx_documents_places. */
enum qx_status qx_documents_next(const struct qx_dataset *d, int64_t row, float *next,
                                 float *counts, struct qx_error *err);

/* The texts that ids hold, begin[n_texts + 1], as rows of at most qx_net_window places and the token behind
 * them: longer ones in windows of which each begins `stride` later, so that every token but a text's first
 * is predicted once. Takes texts of at least two tokens. */
enum qx_status qx_documents_windows(struct qx_dataset *d, const struct qx_net *net,
                                    const int64_t *begin, int64_t n_texts, struct qx_error *err);

/* Class that a label of a text file names: a class name (case aside), or its number; -1. */
int qx_label_class(const struct qx_net *net, const char *label);

#endif

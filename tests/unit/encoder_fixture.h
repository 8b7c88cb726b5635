/* A model folder of BERT's shape with random weights, and rows for it; tests and benches make it on the spot. */
#ifndef ENCODER_FIXTURE_H
#define ENCODER_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct encoder {
    int layers, heads;
    int64_t hidden, inner, places, vocabulary;
    bool is_half; /* BF16, else F32 */
};
/* BERT-base, but for its vocabulary and longest row. */
#define ENCODER_BASE                 \
    ((struct encoder){.layers = 12,  \
                      .heads = 12,   \
                      .hidden = 768, \
                      .inner = 3072, \
                      .places = 128, \
                      .vocabulary = 1000})

/* model.safetensors and config.json in a new folder; its mkdtemp template becomes its name. The program
 * ends when that fails. */
void encoder_write(const struct encoder *e, char *folder);
/* rows.safetensors there: random ids, rows of 1 to e->places of them. path [cap]: the file's. */
void encoder_rows(const struct encoder *e, int64_t rows, const char *folder, char *path,
                  size_t cap);
/* The folder and these files. What is mapped stays open. */
void encoder_remove(const char *folder);

#endif

/* Similarities of embeddings: cosines of their vectors. */
#ifndef QX_EVAL_SIMILARITY_H
#define QX_EVAL_SIMILARITY_H

#include <stdbool.h>
#include <stdint.h>

/* Makes v [d] a unit vector; false, and v as it was: zero or not finite. */
bool qx_unit_make(float *v, int d);
/* Row i of z [n, n]: similarities of the unit vectors v [n, d] with the i-th, divided by the temperature 0.05 of
 * SimCSE (Gao et al. 2021), with itself as dissimilar as the least similar row: the largest is the most similar
 * other row, the soft maximum a distribution over the others as a search among them would use it, and a
 * change that scales all similarities scales all logits. */
void qx_similarity_logits(const float *v, int64_t n, int d, float *z);

#endif

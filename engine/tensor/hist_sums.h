/* Sums of half-key bins in as many bytes as they need. Bins lie in blocks of neighbours in kernel order; a block
 * keeps n, s1 and s2 of each in as many bytes as its largest takes, none where it is empty: less than half of struct
 * qxk_hist for up to 2^32 values. Little-endian. */
#ifndef QX_TENSOR_HIST_SUMS_H
#define QX_TENSOR_HIST_SUMS_H

#include "kernels/kernels.h"

enum { QX_SUMS_BLOCK = 32, QX_SUMS_BLOCKS = QXK_HALF_BINS / QX_SUMS_BLOCK };
/* Bytes of room behind the data: numbers are read and written as whole words. */
enum { QX_SUMS_ROOM = sizeof(uint64_t) };

/* Bytes of an n, s1, s2 of a block: 0..8. */
struct qx_sums_width {
    uint8_t n, s1, s2;
};

struct qx_hist_sums {
    struct qx_sums_width width[QX_SUMS_BLOCKS];
    uint8_t *data; /* [bytes + QX_SUMS_ROOM] block by block, bin by bin; NULL while empty */
    size_t bytes;
};

/* Adds the half-key bins of the work and zeroes them there. False when out of memory: the sums are those of
 * before, the work's are lost. */
bool qx_hist_sums_add(struct qx_hist_sums *s, struct qxk_hist_work *work);
void qx_hist_sums_release(struct qx_hist_sums *s);
/* Of such widths and data: out[QXK_HALF_BINS]. */
void qx_hist_sums_read(const struct qx_sums_width *width, const uint8_t *data,
                       struct qxk_halfbin *out);
/* The bytes of data, without the room; SIZE_MAX for widths that no sums have. */
size_t qx_hist_sums_bytes(const struct qx_sums_width *width);

#endif

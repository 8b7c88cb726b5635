/* NormalFloat of 4 bits: the quantiles of a normal density, scaled to -1..1 (Dettmers et al., QLoRA, arXiv
 * 2305.14314, appendix E). */
#include "format/format.h"

#define L0  -1.0f
#define L1  -0.6961928009986877f
#define L2  -0.5250730514526367f
#define L3  -0.39491748809814453f
#define L4  -0.28444138169288635f
#define L5  -0.18477343022823334f
#define L6  -0.09105003625154495f
#define L7  0.0f
#define L8  0.07958029955625534f
#define L9  0.16093020141124725f
#define L10 0.24611230194568634f
#define L11 0.33791524171829224f
#define L12 0.44070982933044434f
#define L13 0.5626170039176941f
#define L14 0.7229568362236023f
#define L15 1.0f

static const float level[16] = {L0, L1, L2,  L3,  L4,  L5,  L6,  L7,
                                L8, L9, L10, L11, L12, L13, L14, L15};

/* Ties go to the lower level, as in bitsandbytes. */
#define E(a, b) QX_EDGE_LOWER(((double)(a) + (double)(b)) / 2)
static const float edge[15] = {E(L0, L1),   E(L1, L2),   E(L2, L3),   E(L3, L4),   E(L4, L5),
                               E(L5, L6),   E(L6, L7),   E(L7, L8),   E(L8, L9),   E(L9, L10),
                               E(L10, L11), E(L11, L12), E(L12, L13), E(L13, L14), E(L14, L15)};

static const struct qx_book book = {4, 16, 7, 1.0f, level, edge};

const struct qx_format qx_fmt_nf4 = {
    .name = "nf4",
    .title = "NF4",
    .help = "16 levels at the quantiles of a normal density, from -T to T: QLoRA's data type.",
    .key = 'n',
    .kind = QX_FORMAT_TABLE,
    .min_bits = 4,
    .max_bits = 4,
    .book = &book,
};

/* Pictures of weights: the newest one, and the margins of the last few items. */
#ifndef QX_SESSION_PICTURES_H
#define QX_SESSION_PICTURES_H

#include "session/lane.h"

#include "qx/matrix.h"

enum { QX_MARGINS_KEPT = 4 };

struct qx_pictures {
    struct { /* what the map is of */
        int64_t item;
        enum qx_matrix_what what;
        struct qx_setting setting;
        struct qx_matrix_part part;
    } key;
    struct qx_matrix_map *map; /* NULL = none */
    struct qx_task *task;      /* computes it; NULL when done */
    struct qx_margins_slot {
        bool is_used;
        int64_t item;
        struct qx_margins *margins; /* NULL while task is out, or for a reason */
        char reason[128];
        struct qx_task *task;
        uint64_t used;
    } slot[QX_MARGINS_KEPT];
    uint64_t clock;
    char reason[256];
};

void qx_pictures_release(struct qx_session *s); /* after the lanes have stopped */

#endif

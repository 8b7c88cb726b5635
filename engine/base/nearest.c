#include "base/str.h"

#include <string.h>

const char *qx_nearest(const char *text, const char *const *names, size_t n)
{
    int limit = (int)strlen(text) / 3;
    limit = limit < 2 ? 2 : limit;
    const char *best = NULL;
    int best_distance = limit + 1;
    for (size_t i = 0; i < n; i++) {
        int d = names[i] ? qx_str_distance(text, names[i], limit) : limit + 1;
        if (d < best_distance) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

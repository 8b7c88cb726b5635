#include "history_graph.h"

#include <string.h>

/* expects: the parent of the state drawn last in the lane. */
struct lanes {
    bool is_used[UI_GRAPH_LANES];
    int expects[UI_GRAPH_LANES];
};

struct glyphs {
    const char *now, *measured, *other, *up, *across, *cross, *join, *end;
};

static const struct glyphs rich = {"◆", "●", "○", "│", "─", "┼", "┴", "╯"};
static const struct glyphs plain = {"@", "*", "o", "|", "-", "+", "+", "'"};

/* The lane of a state: the line's, that of its child, or for a tip a free one. */
static int lane_of(const struct lanes *l, const struct qx_state *st)
{
    int lane = st->is_line ? 0 : -1;
    for (int k = 1; k < UI_GRAPH_LANES && lane < 0; k++) {
        lane = l->is_used[k] && l->expects[k] == st->id ? k : -1;
    }
    for (int k = 1; k < UI_GRAPH_LANES && lane < 0; k++) {
        lane = l->is_used[k] ? -1 : k;
    }
    return lane < 0 ? UI_GRAPH_LANES - 1 : lane;
}

/* Lanes of other branches that begin at this state end here. Returns the rightmost one, or `own`. */
static int lanes_end(struct lanes *l, const struct qx_state *st, int own, bool *ends)
{
    int last = own;
    for (int k = 0; k < UI_GRAPH_LANES; k++) {
        ends[k] = k != own && l->is_used[k] && l->expects[k] == st->id;
        l->is_used[k] &= !ends[k];
        last = ends[k] && k > last ? k : last;
    }
    return last;
}

/* Returns the cells. */
static int row_put(const struct lanes *l, const struct glyphs *g, const struct qx_state *st,
                   int own, const bool *ends, int last, char *out)
{
    const char *node = st->is_now ? g->now : st->is_measured ? g->measured : g->other;
    int right = last;
    for (int k = last + 1; k < UI_GRAPH_LANES; k++) {
        right = l->is_used[k] ? k : right;
    }
    out[0] = '\0';
    for (int k = 0; k <= right; k++) {
        const bool is_inside = k > own && k < last;
        strcat(out, k == own                     ? node
                    : ends[k]                    ? (k == last ? g->end : g->join)
                    : is_inside && l->is_used[k] ? g->cross
                    : is_inside                  ? g->across
                    : l->is_used[k]              ? g->up
                                                 : " ");
        strcat(out, k == right ? "" : k >= own && k < last ? g->across : " ");
    }
    return 2 * right + 1;
}

int ui_graph_rows(const struct ui_app *app, int64_t top, int n, char out[][UI_GRAPH_TEXT])
{
    const struct glyphs *g = app->glyphs == UI_GLYPHS_ASCII ? &plain : &rich;
    struct lanes l = {{false}, {0}};
    struct qx_state st;
    int most = 1;
    for (int64_t i = 0; i < top + n && qx_session_state(app->session, (int)i, &st); i++) {
        bool ends[UI_GRAPH_LANES];
        const int own = lane_of(&l, &st), last = lanes_end(&l, &st, own, ends);
        if (i >= top) {
            const int cells = row_put(&l, g, &st, own, ends, last, out[i - top]);
            most = cells > most ? cells : most;
        }
        l.is_used[own] = st.parent >= 0;
        l.expects[own] = st.parent;
    }
    return most;
}

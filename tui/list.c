#include "list.h"

#include <stdlib.h>

bool ui_list_move(enum ui_cmd cmd, const char *arg, int page, int64_t n, int *cursor)
{
    const int64_t count = atoi(arg) > 0 ? atoi(arg) : 1;
    int64_t to = *cursor;
    switch (cmd) {
    case UI_CMD_UP:
        to -= count;
        break;
    case UI_CMD_DOWN:
        to += count;
        break;
    case UI_CMD_PAGE_UP:
        to -= page;
        break;
    case UI_CMD_PAGE_DOWN:
        to += page;
        break;
    case UI_CMD_TOP:
        to = 0;
        break;
    case UI_CMD_BOTTOM:
        to = n - 1;
        break;
    default:
        return false;
    }
    to = to >= n ? n - 1 : to;
    *cursor = (int)(to < 0 ? 0 : to);
    return true;
}

bool ui_list_press(struct ui_app *app, const struct ui_mouse *m, struct ui_rect r,
                   const struct ui_table *table, int64_t cursor, bool opens)
{
    const int64_t row =
        m->kind == UI_MOUSE_PRESS && r.h > 0 ? ui_table_hit(r, table, m->x, m->y) : -1;
    if (row < 0 || (row == cursor && !opens)) {
        return false;
    }
    if (row == cursor) {
        return ui_do(app, UI_CMD_OPEN, "");
    }
    return ui_dof(app, row > cursor ? UI_CMD_DOWN : UI_CMD_UP, "%d", abs((int)(row - cursor)));
}

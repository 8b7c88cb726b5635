#include "layout.h"

void ui_layout_stack(struct ui_block *blocks, int n, int rows, int gap)
{
    int used = 0, most = 0;
    for (int i = 0; i < n; i++) {
        blocks[i].h = 0;
        most = blocks[i].priority > most ? blocks[i].priority : most;
    }
    for (int p = 0; p <= most; p++) {
        for (int i = 0; i < n; i++) {
            int need = blocks[i].least + (used > 0 ? gap : 0);
            if (blocks[i].priority == p && blocks[i].want > 0 && used + need <= rows) {
                blocks[i].h = blocks[i].least;
                used += need;
            }
        }
    }
    for (int p = 0; p <= most; p++) {
        for (int i = 0; i < n; i++) {
            if (blocks[i].priority == p && blocks[i].h > 0) {
                int more = blocks[i].want - blocks[i].h;
                more = more > rows - used ? rows - used : more;
                blocks[i].h += more > 0 ? more : 0;
                used += more > 0 ? more : 0;
            }
        }
    }
    int y = 0;
    for (int i = 0; i < n; i++) {
        blocks[i].y = y;
        y += blocks[i].h > 0 ? blocks[i].h + gap : 0;
    }
}

int ui_layout_panel(int w)
{
    if (w >= 130) {
        return 46;
    }
    if (w >= 104) {
        return 41;
    }
    return w >= 76 ? 25 : 0;
}

/* The screens, in the order of Tab. */
#include "view.h"

#include <string.h>

static const struct ui_view *const views[] = {
    &ui_view_open,    &ui_view_model, &ui_view_layer,  &ui_view_formats, &ui_view_matrix,
    &ui_view_act,     &ui_view_sens,  &ui_view_pareto, &ui_view_compare, &ui_view_rows,
    &ui_view_try,     &ui_view_train, &ui_view_bench,  &ui_view_history, &ui_view_jobs,
    &ui_view_lessons, &ui_view_log,   &ui_view_help,
};

int ui_view_count(void)
{
    return (int)(sizeof(views) / sizeof(views[0]));
}

const struct ui_view *ui_view_at(int i)
{
    return views[i];
}

int ui_view_find(const char *id)
{
    for (int i = 0; i < ui_view_count(); i++) {
        if (strcmp(views[i]->id, id) == 0) {
            return i;
        }
    }
    return -1;
}

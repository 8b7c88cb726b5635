/* The list of layers: filter, sort, cursor. */
#include "app.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool holds_word(const char *name, const char *word, size_t len)
{
    for (; *name; name++) {
        if (strncasecmp(name, word, len) == 0) {
            return true;
        }
    }
    return false;
}

/* Every word of the filter occurs in the name; a word with * or ? is a glob over the whole name. */
static bool matches(const char *filter, const char *name)
{
    const char *p = filter + strspn(filter, " ");
    while (*p) {
        size_t len = strcspn(p, " ");
        char word[64];
        snprintf(word, sizeof(word), "%.*s", (int)len, p);
        bool glob = strpbrk(word, "*?") != NULL;
        if (glob ? fnmatch(word, name, 0) != 0 : !holds_word(name, word, strlen(word))) {
            return false;
        }
        p += len;
        p += strspn(p, " ");
    }
    return true;
}

static double bits_of(const struct qx_setting *s)
{
    return !qx_format_is_scaled(s->format) ? s->format->max_bits : s->bits;
}

/* Smallest first; what is unknown comes last. */
static double sort_key(struct ui_app *app, int64_t i)
{
    struct qx_metrics m;
    bool by_error = app->sort == UI_SORT_SQNR || app->sort == UI_SORT_ERROR;
    if (by_error && qx_setting_is_fp32(qx_session_setting(app->session, i))) {
        return HUGE_VAL; /* no error: no histogram is asked for */
    }
    switch (app->sort) {
    case UI_SORT_SIZE:
        return -(double)qx_session_item(app->session, i)->tensor->numel;
    case UI_SORT_BITS:
        return bits_of(qx_session_setting(app->session, i));
    case UI_SORT_SQNR:
        return qx_session_metrics(app->session, i, &m) && !isnan(m.sqnr_db) ? m.sqnr_db : HUGE_VAL;
    case UI_SORT_ERROR:
        return qx_session_metrics(app->session, i, &m) ? -m.mse * (double)m.n : HUGE_VAL;
    default:
        return (double)i;
    }
}

static const double *compare_keys; /* UI thread only */

static int compare_rows(const void *a, const void *b)
{
    int64_t i = *(const int64_t *)a, k = *(const int64_t *)b;
    if (compare_keys[i] != compare_keys[k]) {
        return compare_keys[i] < compare_keys[k] ? -1 : 1;
    }
    return i < k ? -1 : i > k;
}

static void reverse(int64_t *rows, int64_t n)
{
    for (int64_t i = 0; i < n / 2; i++) {
        int64_t t = rows[i];
        rows[i] = rows[n - 1 - i];
        rows[n - 1 - i] = t;
    }
}

void ui_rows_update(struct ui_app *app)
{
    app->n_rows = 0;
    for (int64_t i = 0; i < app->n_items; i++) {
        const struct qx_item *item = qx_session_item(app->session, i);
        if (matches(app->filter, item->tensor->name) || matches(app->filter, item->alias)) {
            app->rows[app->n_rows++] = i;
        }
    }
    if (app->sort != UI_SORT_NAME) {
        for (int64_t r = 0; r < app->n_rows; r++) {
            app->sort_key[app->rows[r]] = sort_key(app, app->rows[r]);
        }
        compare_keys = app->sort_key;
        qsort(app->rows, (size_t)app->n_rows, sizeof(app->rows[0]), compare_rows);
    }
    if (app->sort_reverse) {
        reverse(app->rows, app->n_rows);
    }
    app->row = -1;
    for (int64_t r = 0; r < app->n_rows; r++) {
        if (app->rows[r] == app->cursor) {
            app->row = r;
        }
    }
    if (app->row < 0 && app->n_rows > 0) {
        ui_rows_move(app, 0);
    }
}

void ui_rows_move(struct ui_app *app, int64_t row)
{
    if (app->n_rows == 0) {
        return;
    }
    row = row < 0 ? 0 : row >= app->n_rows ? app->n_rows - 1 : row;
    app->row = row;
    app->cursor = app->rows[row];
}

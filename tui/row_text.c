#include "row_text.h"

#include "figure.h"

#include <math.h>
#include <stdio.h>

enum { SIDE_LEAST = 8 }; /* of a flat row that is taken for a square image */

/* Planes and size of an image among the axes of a row: [h, w], [c, h, w], or a square laid flat. */
static bool image_of(const struct qx_net *net, int *planes, int *h, int *w)
{
    const int64_t *dim;
    const int rank = qx_net_input_shape(net, &dim);
    const int64_t size = qx_net_sample_size(net);
    if (qx_net_input_is_ids(net) || size > UI_ROW_VALUES || size < 4) {
        return false;
    }
    if (rank == 3 || rank == 2) {
        *planes = rank == 3 ? (int)dim[0] : 1;
        *h = (int)dim[rank - 2];
        *w = (int)dim[rank - 1];
        return *planes <= 4 && *h > 1 && *w > 1;
    }
    const int side = (int)lround(sqrt((double)size));
    *planes = 1;
    *h = *w = side;
    return rank == 1 && side >= SIDE_LEAST && (int64_t)side * side == size;
}

/* Mean over the planes, between the least and the largest. */
static void picture_make(struct ui_row_picture *p, const float *x, int planes)
{
    const int n = p->h * p->w;
    float least = INFINITY, most = -INFINITY;
    for (int i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < planes; k++) {
            sum += x[k * n + i];
        }
        p->value[i] = sum / (float)planes;
        least = p->value[i] < least ? p->value[i] : least;
        most = p->value[i] > most ? p->value[i] : most;
    }
    for (int i = 0; i < n; i++) {
        p->value[i] = most > least ? (p->value[i] - least) / (most - least) : 0;
    }
}

void ui_row_picture_take(struct ui_row_picture *p, struct qx_session *s, int64_t row)
{
    static float x[UI_ROW_VALUES];
    int planes, h, w;
    if (p->session == s && p->row == row) {
        return;
    }
    p->session = s;
    p->row = row;
    p->h = p->w = 0;
    p->is_text = false;
    const struct qx_net *net = qx_session_net(s);
    if (image_of(net, &planes, &h, &w)) {
        if (qx_dataset_read(qx_session_data(s), row, 1, x, NULL) == QX_OK) {
            p->h = h;
            p->w = w;
            picture_make(p, x, planes);
        }
    } else {
        p->is_text = qx_session_row_text(s, row, p->text, sizeof(p->text));
    }
}

/* ---- thumbnail ---- */

static bool has_shades(const struct ui_app *app)
{
    return app->shades && app->glyphs != UI_GLYPHS_ASCII;
}

/* Values a dot stands for on either axis, so that the picture fits: a cell holds two dots, one above the
 * other (without shades one dot of double height). */
static int block_of(const struct ui_row_picture *p, int w, int h)
{
    int block = 1;
    while ((p->w + block - 1) / block > w || (p->h + 2 * block - 1) / (2 * block) > h) {
        block++;
    }
    return block;
}

int ui_row_picture_width(const struct ui_row_picture *p, const struct ui_app *app, int w, int h)
{
    (void)app;
    if (p->h == 0 || w < 8 || h < 4) {
        return 0;
    }
    const int block = block_of(p, w, h), width = (p->w + block - 1) / block;
    return width < 8 && p->w >= 8 ? 0 : width;
}

/* Mean of the values of rows y .. y+dy-1, columns x .. x+dx-1; negative beyond the picture. */
static float mean_of(const struct ui_row_picture *p, int x, int y, int dx, int dy)
{
    float sum = 0;
    int n = 0;
    for (int i = y; i < y + dy && i < p->h; i++) {
        for (int k = x; k < x + dx && k < p->w; k++, n++) {
            sum += p->value[i * p->w + k];
        }
    }
    return n > 0 ? sum / (float)n : -1;
}

void ui_row_picture_draw(const struct ui_row_picture *p, const struct ui_app *app,
                         struct ui_canvas *c, struct ui_rect r)
{
    static const char ramp[] = " .:-=+*#%@";
    if (p->h == 0) {
        return;
    }
    const int b = block_of(p, r.w, r.h);
    for (int y = 0; 2 * b * y < p->h; y++) {
        for (int x = 0; b * x < p->w; x++) {
            if (has_shades(app)) {
                const float above = mean_of(p, b * x, 2 * b * y, b, b);
                const float below = mean_of(p, b * x, (2 * y + 1) * b, b, b);
                ui_put_shades(c, r.x + x, r.y + y, ui_shade_sequential((double)above),
                              below < 0 ? 0 : ui_shade_sequential((double)below));
            } else {
                const float v = mean_of(p, b * x, 2 * b * y, b, 2 * b);
                const int step = (int)((v < 0 ? 0 : v) * 9.999f);
                ui_printf(c, r.x + x, r.y + y, 1, UI_STYLE_NORMAL, "%c", ramp[step]);
            }
        }
    }
}

/* ---- the next ones, in lines ---- */

void ui_rows_next_draw(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    struct qx_leads leads;
    if (r.h < 2 || !qx_session_leads(app->session, &leads)) {
        return;
    }
    const struct qx_net *net = qx_session_net(app->session);
    const char *about =
        leads.source != QX_LEADS_PREDICTED ? "" : ui_mark(QX_BASIS_HISTOGRAM, app->glyphs);
    ui_put(c, r.x, r.y, r.w, UI_STYLE_HEADER, "rows that go next");
    char text[UI_FIG * 2];
    snprintf(text, sizeof(text), "%s%lld of %lld gone", about, (long long)leads.n_flipped,
             (long long)leads.n);
    ui_put_right(c, r.x + 18, r.y, r.w - 18, UI_STYLE_DIM, text);
    for (int k = 0; k + 1 < r.h && leads.n_flipped + k < leads.n; k++) {
        const struct qx_lead *l = &leads.v[leads.n_flipped + k];
        const int y = r.y + 1 + k,
                  x = r.x + ui_printf(c, r.x, y, 8, UI_STYLE_DIM, "%-7lld", (long long)l->row);
        ui_put_cut(c, x, y, r.w - 20, UI_STYLE_NORMAL, qx_net_class_name(net, l->top0),
                   app->glyphs);
        snprintf(text, sizeof(text), "%s%+.2f", about, (double)l->now);
        ui_put_right(c, r.x, y, r.w,
                     leads.source != QX_LEADS_PREDICTED ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED,
                     text);
    }
}

/* The figures of the Matrix screen in words. */
#include "matrix.h"

#include "figure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_READ = 4096 }; /* values read for one line of text */

char *matrix_block_text(const struct matrix_frame *f, char *buf, size_t cap)
{
    char down[40], across[40];
    const bool is_share = f->state->what == QX_MATRIX_CLIPPED;
    if (f->part.down == 1 && f->part.across == 1) {
        snprintf(buf, cap, "each element");
        return buf;
    }
    snprintf(buf, cap, "%s of %s%s%s elements",
             f->state->is_mean ? (is_share ? "share" : "mean magnitude")
             : is_share        ? "any"
                               : "largest",
             ui_fmt_count(down, sizeof(down), f->part.down), ui_sym(f->app->glyphs, UI_SYM_TIMES),
             ui_fmt_count(across, sizeof(across), f->part.across));
    return buf;
}

const char *matrix_what_text(const struct matrix_frame *f)
{
    static const char *const text[] = {
        [QX_MATRIX_VALUE] = "value",
        [QX_MATRIX_CODE] = "code",
        [QX_MATRIX_ERROR] = "error x - x^",
        [QX_MATRIX_CLIPPED] = "clipped",
    };
    return text[f->state->what];
}

/* "[13,7,1,0]": the indices of an element in its tensor. */
static char *place_text(const struct matrix_frame *f, int64_t element, char *buf, size_t cap)
{
    const struct qx_tensor *t = f->item->tensor;
    int64_t rest = t->numel;
    size_t used = 0;
    for (int i = 0; i < t->rank && used + 24 < cap; i++) {
        rest /= t->shape[i];
        used += (size_t)snprintf(buf + used, cap - used, "%s%lld", i ? "," : "[",
                                 (long long)(element / rest));
        element %= rest;
    }
    snprintf(buf + used, cap - used, used ? "]" : "[]");
    return buf;
}

/* "channel 13", "group 2" (of its row), "tensor". */
static char *unit_text(const struct matrix_frame *f, int64_t unit, char *buf, size_t cap)
{
    const struct qx_setting *s = f->setting;
    if (s->gran == QX_GRAN_TENSOR) {
        snprintf(buf, cap, "tensor");
    } else if (s->gran == QX_GRAN_CHANNEL) {
        snprintf(buf, cap, "channel %lld", (long long)unit);
    } else {
        const int64_t groups = qx_setting_units(s, f->m.channels) / f->m.channels.count;
        snprintf(buf, cap, "group %lld", (long long)(unit % groups));
    }
    return buf;
}

static void element_status(const struct matrix_frame *f, char *buf, size_t cap)
{
    const int64_t element = matrix_element_here(f);
    const bool is_one = f->part.down == 1 && f->part.across == 1;
    struct qx_matrix_value v;
    char place[120], x[UI_FIG], approx[UI_FIG], error[UI_FIG], scale[UI_FIG], unit[80],
        zero[UI_FIG] = "";
    place_text(f, element, place, sizeof(place));
    if (!is_one && !matrix_cell_here(f)) {
        snprintf(buf, cap, "%s: the picture is being computed", place);
        return;
    }
    if (!matrix_look(f, element, &v)) {
        buf[0] = 0;
        return;
    }
    if (!isfinite(v.x)) {
        snprintf(buf, cap, "%s: not a finite number; it becomes 0", place);
    } else if (v.is_block) {
        snprintf(buf, cap, "%s %s, level %d, x^ %s, error %s, scale %s, min %s", place,
                 ui_fig_real(x, (double)v.x, 4), v.code, ui_fig_real(approx, (double)v.approx, 4),
                 ui_fig_real(error, (double)v.x - (double)v.approx, 3),
                 ui_fig_real(scale, (double)v.params.scale, 3),
                 ui_fig_real(zero, 0.0 - (double)v.min, 3));
    } else if (!qx_format_is_scaled(f->setting->format)) {
        snprintf(buf, cap, "%s %s; %s keeps %s", place, ui_fig_real(x, (double)v.x, 4),
                 f->setting->format->title,
                 v.approx == v.x ? "it" : ui_fig_real(approx, (double)v.approx, 6));
    } else if (!v.has_code) {
        snprintf(buf, cap, "%s %s; its range is being found", place,
                 ui_fig_real(x, (double)v.x, 4));
    } else {
        if (v.params.zero != 0 && !v.params.book) {
            snprintf(zero, sizeof(zero), " (zero %d)", v.params.zero);
        }
        snprintf(buf, cap, "%s %s, code %d%s, x^ %s, error %s%s, %s scale %s", place,
                 ui_fig_real(x, (double)v.x, 4), v.code, zero,
                 ui_fig_real(approx, (double)v.approx, 4),
                 ui_fig_real(error, (double)v.x - (double)v.approx, 3),
                 v.is_clipped ? ", clipped" : "", unit_text(f, v.unit, unit, sizeof(unit)),
                 ui_fig_real(scale, (double)v.params.scale, 3));
    }
}

/* The picked line: rows x cols elements from (row, col). */
struct line {
    int64_t row, col, rows, cols;
};

static struct line line_of(const struct matrix_frame *f)
{
    const struct ui_matrix *s = f->state;
    struct line l = {s->row, 0, 1, f->m.cols};
    if (s->pick == MATRIX_COLUMN) {
        l = (struct line){0, s->col, f->m.rows, 1};
    } else if (s->pick == MATRIX_GROUP) {
        matrix_group(f, &l.col, &l.cols);
    }
    return l;
}

/* SQNR and clipped values of a line; false for long ones and where there is no error. */
static bool line_error(const struct matrix_frame *f, const struct line *l, double *db,
                       int64_t *clipped)
{
    double signal = 0, noise = 0;
    *clipped = 0;
    if (l->rows * l->cols > MOST_READ || qx_setting_is_fp32(f->setting)) {
        return false;
    }
    for (int64_t i = 0; i < l->rows * l->cols; i++) {
        struct qx_matrix_value v;
        const int64_t at = qx_matrix_element(&f->m, l->row + i / l->cols, l->col + i % l->cols);
        if (!matrix_look(f, at, &v) || (qx_format_is_scaled(f->setting->format) && !v.has_code)) {
            return false;
        }
        if (isfinite(v.x)) {
            const double x = (double)v.x, e = x - (double)v.approx;
            signal += x * x;
            noise += e * e;
            *clipped += v.is_clipped;
        }
    }
    *db = noise > 0 ? 10 * log10(signal / noise) : NAN;
    return true;
}

static void line_status(const struct matrix_frame *f, char *buf, size_t cap)
{
    const struct ui_matrix *s = f->state;
    const struct qx_margins *m = f->margins;
    const struct line l = line_of(f);
    char max[UI_FIG], ratio[UI_FIG], db_text[UI_FIG];
    double db;
    int64_t clipped;
    size_t used;
    if (s->pick == MATRIX_GROUP) {
        used = (size_t)snprintf(buf, cap, "row %lld, columns %lld-%lld", (long long)l.row,
                                (long long)l.col, (long long)(l.col + l.cols - 1));
    } else {
        const bool is_row = s->pick == MATRIX_ROW;
        used = (size_t)snprintf(buf, cap, "%s %lld", is_row ? "row" : "column",
                                (long long)(is_row ? s->row : s->col));
        const float top = !m ? 0 : is_row ? m->row_max[s->row] : m->col_max[s->col];
        const double median = !m ? 0 : is_row ? m->row_median : m->col_median;
        if (m && matrix_is_dead(top)) {
            used += (size_t)snprintf(buf + used, cap - used, ": dead, all its values are 0");
        } else if (m) {
            used += (size_t)snprintf(buf + used, cap - used, ": max %s, %s x median%s",
                                     ui_fig_real(max, (double)top, 4),
                                     ui_fig_real(ratio, (double)top / median, 3),
                                     matrix_is_outlier(top, median) ? ": outlier" : "");
        }
    }
    if (line_error(f, &l, &db, &clipped)) {
        snprintf(buf + used, cap - used, "; SQNR %s, %lld of %lld clipped", ui_fig_db(db_text, db),
                 (long long)clipped, (long long)(l.rows * l.cols));
    }
}

void matrix_status(const struct matrix_frame *f, char *buf, size_t cap)
{
    if (f->state->pick == MATRIX_ELEMENT) {
        element_status(f, buf, cap);
    } else {
        line_status(f, buf, cap);
    }
}

/* ---- explanations ---- */

/* The levels of the neighbours that share scale and minimum with the element, 16 to a line. */
static void explain_levels(struct matrix_frame *f, int64_t element, struct ui_explain *out)
{
    enum { LINE = 16 };
    const struct qx_block *b = qx_matrix_block(&f->m, f->setting);
    const int64_t row = f->m.channels.inner, part = b->n / b->n_sub, pos = element % row;
    const int64_t first = pos / part * part, n = row - first < part ? row - first : part;
    if (f->m.channels.outer > 1) { /* neighbours lie in other rows */
        return;
    }
    for (int64_t at = 0; at < n; at += LINE) {
        char text[LINE * 8] = "";
        size_t len = 0;
        for (int64_t i = at; i < n && i < at + LINE; i++) {
            struct qx_matrix_value v;
            if (!matrix_look(f, element - pos + first + i, &v)) {
                return;
            }
            len += (size_t)snprintf(text + len, sizeof(text) - len,
                                    first + i == pos ? " [%d]" : " %d", v.code);
        }
        ui_explain_add(out, "%s%s", at == 0 ? "levels:" : "       ", text);
    }
}

static void explain_block(struct matrix_frame *f, int64_t element, const struct qx_matrix_value *v,
                          struct ui_explain *out)
{
    char a[UI_FIG], b[UI_FIG];
    const struct qx_block *block = qx_matrix_block(&f->m, f->setting);
    ui_explain_add(out, "%s%s: blocks of %d, a scale for %d of them", block->name,
                   f->setting->format->block ? "" : ", as the file has it", block->n,
                   block->n / block->n_sub);
    ui_explain_add(out, "x^ = scale level %s minimum = %s * %d %s %s", v->min > 0 ? "-" : "+",
                   ui_fig_real(a, (double)v->params.scale, 6), v->code, v->min > 0 ? "-" : "+",
                   ui_fig_real(b, fabs((double)v->min), 6));
    ui_explain_add(out, "   = %s", ui_fig_real(a, (double)v->approx, 7));
    ui_explain_add(out, "error x - x^ = %s", ui_fig_real(a, (double)v->x - (double)v->approx, 4));
    explain_levels(f, element, out);
}

static bool explain_element(struct matrix_frame *f, struct ui_explain *out)
{
    struct qx_matrix_value v;
    const int64_t element = matrix_element_here(f);
    char place[120], a[UI_FIG], b[UI_FIG], d[UI_FIG], unit[80];
    int64_t row, col;
    if (!matrix_look(f, element, &v)) {
        return false;
    }
    qx_matrix_place(&f->m, element, &row, &col);
    place_text(f, element, place, sizeof(place));
    snprintf(out->title, sizeof(out->title), "the element under the cursor");
    ui_explain_add(out, "%s of the tensor: row %lld (output channel), column %lld (input)", place,
                   (long long)row, (long long)col);
    ui_explain_add(out, "x = %s", ui_fig_real(a, (double)v.x, 7));
    if (v.is_block) {
        explain_block(f, element, &v, out);
    } else if (v.has_code) {
        ui_explain_add(out, "scale of its %s: %s", unit_text(f, v.unit, unit, sizeof(unit)),
                       ui_fig_real(a, (double)v.params.scale, 6));
        if (v.params.book) {
            ui_explain_add(out, "q = %d: the level nearest to x / scale, %s", v.code,
                           ui_fig_real(b, (double)v.params.book->level[v.code], 7));
            ui_explain_add(out, "x^ = level scale = %s", ui_fig_real(b, (double)v.approx, 7));
        } else {
            ui_explain_add(out, "q = clamp(rint(x / scale) + %d, %d, %d) = %d", v.params.zero,
                           v.params.qmin, v.params.qmax, v.code);
            ui_explain_add(out, "x^ = (q - %d) scale = %s", v.params.zero,
                           ui_fig_real(b, (double)v.approx, 7));
        }
        ui_explain_add(out, "error x - x^ = %s%s",
                       ui_fig_real(d, (double)v.x - (double)v.approx, 4),
                       v.is_clipped ? ": x lies beyond the threshold" : "");
    } else {
        ui_explain_add(out, "x^ = %s as %s", ui_fig_real(b, (double)v.approx, 7),
                       f->setting->format->title);
    }
    return true;
}

static void explain_picture(struct matrix_frame *f, struct ui_explain *out)
{
    char block[80], a[UI_FIG];
    snprintf(out->title, sizeof(out->title), "the picture: %s", matrix_what_text(f));
    ui_explain_add(out, "Output channels go down, inputs across, flattened as they are stored.");
    ui_explain_add(out, "A dot shows: %s (+ and - change the size).",
                   matrix_block_text(f, block, sizeof(block)));
    ui_explain_add(out, f->state->is_mean ? "Means are of magnitudes: signs would cancel."
                                          : "The largest is by magnitude, and keeps its sign.");
    ui_explain_add(out, "Full colour stands for %s%s.", ui_fig_real(a, f->top, 4),
                   f->is_beyond ? " and more: 1 dot in 100 lies beyond" : "");
    ui_explain_add(out, " ");
    ui_explain_add(out, "All values are read from the file: nothing here is estimated.");
}

static void explain_margins(struct matrix_frame *f, struct ui_explain *out)
{
    const struct qx_margins *m = f->margins;
    char a[UI_FIG], b[UI_FIG];
    snprintf(out->title, sizeof(out->title), "margins: outliers and dead lines");
    ui_explain_add(out, "Beside and below: the largest magnitude of every row and column.");
    if (!m) {
        ui_explain_add(out, "%s",
                       f->margins_reason ? f->margins_reason : "They are being computed.");
        return;
    }
    ui_explain_add(out, "Median of the rows %s, of the columns %s (dead ones left out).",
                   ui_fig_real(a, m->row_median, 4), ui_fig_real(b, m->col_median, 4));
    ui_explain_add(out, "Outliers reach %g x the median: %lld rows, %lld columns.",
                   QX_MATRIX_OUTLIER, (long long)m->n_outlier_rows, (long long)m->n_outlier_cols);
    ui_explain_add(out, "Dead ones hold only zeros: %lld rows, %lld columns.",
                   (long long)m->n_dead_rows, (long long)m->n_dead_cols);
    if (m->n_nonfinite > 0) {
        ui_explain_add(out, "%lld NaN or infinite values are left out.", (long long)m->n_nonfinite);
    }
    ui_explain_add(out, " ");
    ui_explain_add(out, "An outlier column (an input that matters more than others) is shared");
    ui_explain_add(out, "by all channels: no scale per channel can keep it apart.");
}

bool matrix_explain(struct matrix_frame *f, int n, struct ui_explain *out)
{
    if (n == 0) {
        return explain_element(f, out);
    }
    if (n == 1) {
        explain_picture(f, out);
    } else if (n == 2) {
        explain_margins(f, out);
    }
    return n <= 2;
}

/* The Jobs screen: what runs, what is done, what failed and why. */
#include "view.h"

#include "figure.h"
#include "list.h"
#include "widget_plot.h"
#include "widget_text.h"

#include <stdio.h>
#include <stdlib.h>

enum column { COL_MARK, COL_ID, COL_TITLE, COL_STATE, COL_TIME, COL_MESSAGE, COL_COUNT };
enum { W_BAR = 12, DETAIL = 4 };

static const struct ui_column columns[COL_COUNT] = {
    [COL_MARK] = {"", 1, 0, 0, false},        [COL_ID] = {"job", 4, 0, 2, true},
    [COL_TITLE] = {"what", 24, 40, 0, false}, [COL_STATE] = {"progress", 18, 0, 0, false},
    [COL_TIME] = {"time", 12, 0, 1, true},    [COL_MESSAGE] = {"result", 20, 70, 3, false},
};

struct jobs_state {
    int cursor;
    int64_t top;
    struct ui_rect table;
};

struct jobs_rows {
    struct ui_app *app;
    struct jobs_state *state;
};

static const char *state_word(const struct ui_app *app, enum qx_job_state state)
{
    bool ascii = app->glyphs == UI_GLYPHS_ASCII;
    switch (state) {
    case QX_JOB_QUEUED:
        return "queued";
    case QX_JOB_RUNNING:
        return "running";
    case QX_JOB_DONE:
        return ascii ? "done" : "✓ done";
    case QX_JOB_FAILED:
        return "! failed";
    case QX_JOB_CANCELLED:
        return ascii ? "x cancelled" : "× cancelled";
    }
    return "";
}

static enum ui_style_id state_style(enum qx_job_state state)
{
    switch (state) {
    case QX_JOB_DONE:
        return UI_STYLE_GOOD;
    case QX_JOB_FAILED:
        return UI_STYLE_BAD;
    case QX_JOB_CANCELLED:
        return UI_STYLE_WARN;
    case QX_JOB_RUNNING:
        return UI_STYLE_VALUE;
    case QX_JOB_QUEUED:
        break;
    }
    return UI_STYLE_DIM;
}

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    struct jobs_rows *rows = arg;
    struct qx_job_info job;
    char a[UI_FIG];
    if (!qx_session_job(rows->app->session, (int)at, &job)) {
        return;
    }
    switch ((enum column)column) {
    case COL_MARK:
        snprintf(out->text, sizeof(out->text), "%s",
                 at == rows->state->cursor ? ui_sym(rows->app->glyphs, UI_SYM_CURSOR) : "");
        break;
    case COL_ID:
        snprintf(out->text, sizeof(out->text), "%d", job.id);
        out->style = UI_STYLE_DIM;
        break;
    case COL_TITLE:
        snprintf(out->text, sizeof(out->text), "%s", job.title);
        break;
    case COL_STATE:
        out->style = state_style(job.state);
        if (job.state == QX_JOB_RUNNING && job.total > 0) {
            /* The bar is drawn over the blanks. */
            snprintf(out->text, sizeof(out->text), "%*s%3.0f %%", W_BAR + 1, "",
                     100.0 * (double)job.done / (double)job.total);
        } else {
            snprintf(out->text, sizeof(out->text), "%s", state_word(rows->app, job.state));
        }
        break;
    case COL_TIME:
        out->style = UI_STYLE_DIM;
        if (job.state == QX_JOB_RUNNING && job.eta_s >= 0) {
            snprintf(out->text, sizeof(out->text), "%s left", ui_fig_time(a, job.eta_s));
        } else if (job.state != QX_JOB_QUEUED) {
            snprintf(out->text, sizeof(out->text), job.elapsed_s < 10 ? "%.2f s" : "%.0f s",
                     job.elapsed_s);
        }
        break;
    case COL_MESSAGE:
        snprintf(out->text, sizeof(out->text), "%.250s", job.message);
        out->style = job.state == QX_JOB_FAILED ? UI_STYLE_BAD : UI_STYLE_DIM;
        break;
    case COL_COUNT:
        break;
    }
}

static void draw_bars(struct ui_app *app, const struct jobs_state *s, struct ui_canvas *c)
{
    int x[COL_COUNT], width[COL_COUNT];
    ui_table_layout(columns, COL_COUNT, s->table.w - 2, x, width);
    for (int k = 0; k < ui_table_page(s->table); k++) {
        struct qx_job_info job;
        if (!qx_session_job(app->session, (int)s->top + k, &job)) {
            break;
        }
        if (job.state == QX_JOB_RUNNING && job.total > 0) {
            ui_bar(c, s->table.x + x[COL_STATE], s->table.y + 1 + k, W_BAR,
                   (double)job.done / (double)job.total, UI_STYLE_MEASURED, UI_STYLE_FRAME,
                   app->glyphs);
        }
    }
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct jobs_state *s = state;
    int n = qx_session_n_jobs(app->session);
    s->cursor = s->cursor >= n ? n - 1 : s->cursor < 0 ? 0 : s->cursor;
    if (n == 0) {
        s->table.h = 0;
        ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_BOLD, "No job has run yet.");
        ui_put(c, r.x + 2, r.y + 4, r.w - 4, UI_STYLE_DIM,
               "Histograms, exact figures and measurements appear here as they run.");
        return;
    }
    int detail = r.h >= 12 ? DETAIL : 0;
    s->table = (struct ui_rect){r.x + 1, r.y, r.w - 2, r.h - detail};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, s->cursor, n, app->page);
    struct jobs_rows rows = {app, s};
    struct ui_table table = {columns, COL_COUNT, n, s->cursor, s->top, row_cell, &rows};
    ui_table_draw(c, s->table, &table, app->glyphs);
    draw_bars(app, s, c);
    struct qx_job_info job;
    if (detail && qx_session_job(app->session, s->cursor, &job)) {
        int y = r.y + r.h - detail;
        ui_hline(c, r.x, y, r.w, app->glyphs);
        char head[200];
        snprintf(head, sizeof(head), "%s: %s", job.title, state_word(app, job.state));
        ui_put(c, r.x + 1, y + 1, r.w - 2, state_style(job.state), head);
        ui_text_draw(c, (struct ui_rect){r.x + 1, y + 2, r.w - 2, detail - 2},
                     job.state == QX_JOB_FAILED ? UI_STYLE_BAD : UI_STYLE_NORMAL, job.message);
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    (void)state;
    int running = 0, queued = 0, failed = 0;
    struct qx_job_info job;
    for (int i = 0; qx_session_job(app->session, i, &job); i++) {
        running += job.state == QX_JOB_RUNNING;
        queued += job.state == QX_JOB_QUEUED;
        failed += job.state == QX_JOB_FAILED;
    }
    snprintf(buf, cap, "%d running, %d queued, %d failed", running, queued, failed);
}

static bool with_job(struct ui_app *app, const struct jobs_state *s, enum ui_cmd cmd)
{
    struct qx_job_info job;
    if (!qx_session_job(app->session, s->cursor, &job)) {
        ui_toast(app, UI_TOAST_WARN, "there is no job under the cursor");
        return true;
    }
    if (cmd == UI_CMD_CANCEL) {
        if (job.state != QX_JOB_RUNNING && job.state != QX_JOB_QUEUED) {
            return false;
        }
        qx_session_cancel(app->session, job.id);
        ui_toast(app, UI_TOAST_INFO, "cancelled: %s", job.title);
    } else if (qx_session_retry(app->session, job.id)) {
        ui_toast(app, UI_TOAST_INFO, "again: %s", job.title);
    } else {
        ui_toast(app, UI_TOAST_WARN, "%s cannot be run again%s", job.title,
                 job.state <= QX_JOB_RUNNING ? ": it is not over yet" : "");
    }
    return true;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct jobs_state *s = state;
    if (ui_list_move(cmd, arg, app->page, qx_session_n_jobs(app->session), &s->cursor)) {
        return true;
    }
    return (cmd == UI_CMD_CANCEL || cmd == UI_CMD_RETRY) && with_job(app, s, cmd);
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct jobs_state *s = state;
    (void)r;
    struct ui_table table = {.n_rows = qx_session_n_jobs(app->session), .top = s->top};
    return ui_list_press(app, m, s->table, &table, s->cursor, false);
}

const struct ui_view ui_view_jobs = {
    .id = "jobs",
    .title = "Jobs",
    .help = "What is running, what failed, and why?",
    .key = 'j',
    .fkey = 10,
    .hints = "cancel retry clear-jobs measure",
    .state_size = sizeof(struct jobs_state),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
};

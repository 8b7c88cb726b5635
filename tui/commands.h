/* What the commands do: one function per row of commands.def that is not left to views. */
#ifndef UI_COMMANDS_H
#define UI_COMMANDS_H

#include "app.h"

/* commands_move.c */
bool cmd_back(struct ui_app *app, const char *arg);
bool cmd_open(struct ui_app *app, const char *arg);
bool cmd_up(struct ui_app *app, const char *arg);
bool cmd_down(struct ui_app *app, const char *arg);
bool cmd_page_up(struct ui_app *app, const char *arg);
bool cmd_page_down(struct ui_app *app, const char *arg);
bool cmd_top(struct ui_app *app, const char *arg);
bool cmd_bottom(struct ui_app *app, const char *arg);
bool cmd_go(struct ui_app *app, const char *arg);
bool cmd_next_screen(struct ui_app *app, const char *arg);
bool cmd_prev_screen(struct ui_app *app, const char *arg);
bool cmd_select(struct ui_app *app, const char *arg);
bool cmd_filter(struct ui_app *app, const char *arg);
bool cmd_next_match(struct ui_app *app, const char *arg);
bool cmd_prev_match(struct ui_app *app, const char *arg);
bool cmd_sort(struct ui_app *app, const char *arg);
bool cmd_mark(struct ui_app *app, const char *arg);
bool cmd_mark_all(struct ui_app *app, const char *arg);
bool cmd_unmark(struct ui_app *app, const char *arg);

/* commands_edit.c */
bool cmd_undo(struct ui_app *app, const char *arg);
bool cmd_redo(struct ui_app *app, const char *arg);
bool cmd_state(struct ui_app *app, const char *arg);
bool cmd_bits(struct ui_app *app, const char *arg);
bool cmd_format(struct ui_app *app, const char *arg);
bool cmd_ends(struct ui_app *app, const char *arg);
bool cmd_algo(struct ui_app *app, const char *arg);
bool cmd_preset(struct ui_app *app, const char *arg);
bool cmd_gran(struct ui_app *app, const char *arg);
bool cmd_gran_next(struct ui_app *app, const char *arg);
bool cmd_gran_prev(struct ui_app *app, const char *arg);
bool cmd_sym(struct ui_app *app, const char *arg);
bool cmd_calib(struct ui_app *app, const char *arg);
bool cmd_scale(struct ui_app *app, const char *arg);
bool cmd_take_a(struct ui_app *app, const char *arg);
bool cmd_snapshot(struct ui_app *app, const char *arg);
bool cmd_flip(struct ui_app *app, const char *arg);

/* commands_range.c */
bool cmd_range(struct ui_app *app, const char *arg);
bool cmd_threshold(struct ui_app *app, const char *arg);
bool cmd_snap(struct ui_app *app, const char *arg);
bool cmd_optimum(struct ui_app *app, const char *arg);
bool cmd_handle(struct ui_app *app, const char *arg);
bool cmd_release(struct ui_app *app, const char *arg);

/* commands_act.c */
bool cmd_act(struct ui_app *app, const char *arg);
bool cmd_act_bits(struct ui_app *app, const char *arg);
bool cmd_act_method(struct ui_app *app, const char *arg);
bool cmd_act_dynamic(struct ui_app *app, const char *arg);
bool cmd_act_gran(struct ui_app *app, const char *arg);
bool cmd_act_sym(struct ui_app *app, const char *arg);
bool cmd_act_range(struct ui_app *app, const char *arg);
bool cmd_act_handle(struct ui_app *app, const char *arg);
bool cmd_act_optimum(struct ui_app *app, const char *arg);
bool cmd_calibrate(struct ui_app *app, const char *arg);
/* Why one of these does not work now; NULL when it does. */
const char *ui_act_disabled(struct ui_app *app, enum ui_cmd cmd);

/* commands_app.c */
bool cmd_quit(struct ui_app *app, const char *arg);
bool cmd_palette(struct ui_app *app, const char *arg);
bool cmd_help(struct ui_app *app, const char *arg);
bool cmd_explain(struct ui_app *app, const char *arg);
bool cmd_reproduce(struct ui_app *app, const char *arg);
bool cmd_log_counts(struct ui_app *app, const char *arg);
bool cmd_zoom(struct ui_app *app, const char *arg);
bool cmd_residual(struct ui_app *app, const char *arg);
bool cmd_measure(struct ui_app *app, const char *arg);
bool cmd_measure_next(struct ui_app *app, const char *arg);
bool cmd_auto_measure(struct ui_app *app, const char *arg);
bool cmd_bench(struct ui_app *app, const char *arg);   /* view_bench.c */
bool cmd_matrix(struct ui_app *app, const char *arg);  /* view_matrix.c */
bool cmd_formats(struct ui_app *app, const char *arg); /* view_formats.c */
bool cmd_try(struct ui_app *app, const char *arg);     /* view_try.c */
bool cmd_trade(struct ui_app *app, const char *arg);   /* commands_search.c */
bool cmd_cancel(struct ui_app *app, const char *arg);
bool cmd_clear_jobs(struct ui_app *app, const char *arg);
bool cmd_diff_only(struct ui_app *app, const char *arg);
bool cmd_save(struct ui_app *app, const char *arg);
bool cmd_load(struct ui_app *app, const char *arg);
bool cmd_write(struct ui_app *app, const char *arg);
bool cmd_options(struct ui_app *app, const char *arg);
bool cmd_theme(struct ui_app *app, const char *arg);
bool cmd_glyphs(struct ui_app *app, const char *arg);
bool cmd_reload(struct ui_app *app, const char *arg);
bool cmd_dump(struct ui_app *app, const char *arg);
bool cmd_redraw(struct ui_app *app, const char *arg);
bool cmd_suspend(struct ui_app *app, const char *arg);

/* lesson_run.c */
bool cmd_lesson(struct ui_app *app, const char *arg);
bool cmd_lesson_next(struct ui_app *app, const char *arg);
bool cmd_lesson_back(struct ui_app *app, const char *arg);
bool cmd_lesson_hint(struct ui_app *app, const char *arg);
bool cmd_guess(struct ui_app *app, const char *arg);
bool cmd_lesson_leave(struct ui_app *app, const char *arg);
bool cmd_lesson_lang(struct ui_app *app, const char *arg);
bool cmd_present(struct ui_app *app, const char *arg);

/* Apply a patch to items as one step and say so; a refusal becomes a toast. */
bool ui_edit(struct ui_app *app, const int64_t *items, int64_t n, const struct qx_patch *patch,
             bool merge);
/* Refuse: the reason as a toast, false. */
bool ui_refuse(struct ui_app *app, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

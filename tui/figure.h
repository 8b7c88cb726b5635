/* Figures as text, beside the ui_fmt_ ones of app.h: what widgets and views need to say about errors,
 * accuracy and time. All write into the caller's buffer, return it, and never allocate. */
#ifndef UI_FIGURE_H
#define UI_FIGURE_H

#include "style.h"
#include "qx/metric.h"

#include <stdint.h>

enum { UI_FIG = 48 }; /* room for any figure */

/* A real number with `digits` significant ones, without exponent between 1e-4 and 1e6: "0.0831",
 * "1.2e-07", "12.5"; NaN is "n/a". */
char *ui_fig_real(char buf[UI_FIG], double x, int digits);
/* The same with a sign always: "+0.131". */
char *ui_fig_signed(char buf[UI_FIG], double x, int digits);
char *ui_fig_short(char buf[UI_FIG], int64_t n);       /* "590 k", "1.18 M" */
char *ui_fig_share(char buf[UI_FIG], double fraction); /* "0.095 %", "0 %", "<0.001 %" */
char *ui_fig_db(char buf[UI_FIG], double db);          /* "17.63 dB"; NaN (no error) "exact" */
char *ui_fig_points(char buf[UI_FIG], double delta);   /* accuracy change: "-1.9 pt", "0.0 pt" */
char *ui_fig_time(char buf[UI_FIG], double seconds);   /* "0:41", "2:05:09"; negative "" */

/* Style of a figure known in this way. */
enum ui_style_id ui_fig_style(enum qx_basis basis);

#endif

#include "figure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static char *real_with(char buf[UI_FIG], double x, int digits, const char *plus)
{
    if (isnan(x)) {
        snprintf(buf, UI_FIG, "n/a");
        return buf;
    }
    double a = fabs(x);
    if (a == 0) {
        snprintf(buf, UI_FIG, "0");
    } else if (isinf(x)) {
        snprintf(buf, UI_FIG, x > 0 ? "inf" : "-inf");
    } else if (a < 1e-4 || a >= 1e6) {
        snprintf(buf, UI_FIG, "%s%.*e", x > 0 ? plus : "", digits - 1, x);
    } else {
        int before = (int)floor(log10(a)) + 1;
        int decimals = digits - before;
        snprintf(buf, UI_FIG, "%s%.*f", x > 0 ? plus : "", decimals < 0 ? 0 : decimals, x);
    }
    return buf;
}

char *ui_fig_real(char buf[UI_FIG], double x, int digits)
{
    return real_with(buf, x, digits, "");
}

char *ui_fig_signed(char buf[UI_FIG], double x, int digits)
{
    return real_with(buf, x, digits, "+");
}

char *ui_fig_short(char buf[UI_FIG], int64_t n)
{
    static const char *const names[] = {"", " k", " M", " G", " T"};
    double x = (double)n;
    int step = 0;
    while (x >= 999.5 && step < 4) {
        x /= 1000;
        step++;
    }
    snprintf(buf, UI_FIG, "%.*f%s",
             step == 0 || x >= 99.95 ? 0
             : x >= 9.995            ? 1
                                     : 2,
             x, names[step]);
    return buf;
}

char *ui_fig_share(char buf[UI_FIG], double fraction)
{
    double p = fraction * 100;
    if (isnan(p)) {
        snprintf(buf, UI_FIG, "n/a");
    } else if (p == 0) {
        snprintf(buf, UI_FIG, "0 %%");
    } else if (p < 0.001) {
        snprintf(buf, UI_FIG, "<0.001 %%");
    } else {
        snprintf(buf, UI_FIG, "%.*f %%", p < 1 ? 3 : p < 10 ? 2 : 1, p);
    }
    return buf;
}

char *ui_fig_db(char buf[UI_FIG], double db)
{
    if (isnan(db)) {
        snprintf(buf, UI_FIG, "exact");
    } else {
        snprintf(buf, UI_FIG, "%.*f dB", fabs(db) >= 99.95 ? 1 : 2, db);
    }
    return buf;
}

char *ui_fig_points(char buf[UI_FIG], double delta)
{
    double p = delta * 100;
    int decimals = fabs(p) < 0.095 && p != 0 ? 2 : 1;
    snprintf(buf, UI_FIG, "%s%.*f pt", p > 0 ? "+" : "", decimals, p == 0 ? 0.0 : p);
    return buf;
}

char *ui_fig_time(char buf[UI_FIG], double seconds)
{
    if (!(seconds >= 0) || seconds > 1e7) {
        buf[0] = '\0';
        return buf;
    }
    long s = lround(seconds);
    if (s >= 3600) {
        snprintf(buf, UI_FIG, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(buf, UI_FIG, "%ld:%02ld", s / 60, s % 60);
    }
    return buf;
}

enum ui_style_id ui_fig_style(enum qx_basis basis)
{
    return basis == QX_BASIS_EXACT || basis == QX_BASIS_HISTOGRAM ? UI_STYLE_VALUE
                                                                  : UI_STYLE_PREDICTED;
}

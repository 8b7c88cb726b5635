/* qexplore doctor: what this machine and terminal can do. */
#include "verb.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct term_facts {
    const char *term, *colorterm, *charset;
    bool is_tty, no_color;
    int w, h;
};

static struct term_facts term_facts(void)
{
    struct term_facts t = {
        .term = getenv("TERM"),
        .colorterm = getenv("COLORTERM"),
        .is_tty = isatty(STDOUT_FILENO),
        .no_color = getenv("NO_COLOR") && getenv("NO_COLOR")[0],
    };
    /* the explorer falls back to C.UTF-8 too when no locale is set */
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "ANSI_X3.4-1968") == 0) {
        setlocale(LC_CTYPE, "C.UTF-8");
    }
    t.charset = nl_langinfo(CODESET);
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        t.w = size.ws_col;
        t.h = size.ws_row;
    }
    return t;
}

static const char *qx_cpu_complaint(void)
{
    static char text[160];
    const char *want = getenv("QX_CPU");
    if (!want || strcmp(want, qx_isa_name(qx_cpu_get()->isa)) == 0) {
        return NULL;
    }
    snprintf(text, sizeof text, "QX_CPU=%s is unknown or cannot run here: %s is used", want,
             qx_isa_name(qx_cpu_get()->isa));
    return text;
}

/* The rung of every operation, and why it is not the highest that has one. */
static void kernels_json(struct qx_jw *w)
{
    qx_jw_key(w, "kernels");
    qx_jw_array(w);
    for (int i = 0; i < qx_kernel_count(); i++) {
        struct qx_kernel k = qx_kernel_at(i);
        qx_jw_object(w);
        qx_jw_put_str(w, "operation", k.operation);
        qx_jw_put_str(w, "isa", qx_isa_name(k.isa));
        qx_jw_put_str(w, "best", qx_isa_name(k.best));
        qx_jw_put_str(w, "veto", k.veto);
        qx_jw_end(w);
    }
    qx_jw_end(w);
}

static void vetoes_print(void)
{
    for (int i = 0; i < qx_kernel_count(); i++) {
        struct qx_kernel k = qx_kernel_at(i);
        if (k.veto) {
            printf("          %s runs on %s, not %s: %s\n", k.operation, qx_isa_name(k.isa),
                   qx_isa_name(k.best), k.veto);
        }
    }
}

static int doctor_json(const struct ui_args *args)
{
    const struct qx_cpu *cpu = qx_cpu_get();
    struct term_facts t = term_facts();
    struct qx_jw *w = ui_json_begin(args, "doctor");
    qx_jw_key(w, "cpu");
    qx_jw_object(w);
    qx_jw_put_str(w, "name", cpu->name);
    qx_jw_put_str(w, "uarch", cpu->uarch);
    qx_jw_key(w, "cores");
    qx_jw_int(w, cpu->n_cores);
    qx_jw_put_bool(w, "avx2", cpu->avx2);
    qx_jw_put_bool(w, "avxvnni", cpu->avxvnni);
    qx_jw_put_bool(w, "avx512", cpu->avx512);
    qx_jw_put_bool(w, "avx512vnni", cpu->avx512vnni);
    qx_jw_put_bool(w, "avx512vbmi", cpu->avx512vbmi);
    qx_jw_put_str(w, "best", qx_isa_name(cpu->best));
    qx_jw_put_str(w, "used", qx_isa_name(cpu->isa));
    qx_jw_put_str(w, "complaint", qx_cpu_complaint());
    qx_jw_end(w);
    kernels_json(w);
    qx_jw_put_str(w, "blas_core", qx_blas_core());
    qx_jw_key(w, "terminal");
    qx_jw_object(w);
    qx_jw_put_str(w, "term", t.term);
    qx_jw_put_str(w, "colorterm", t.colorterm);
    qx_jw_put_str(w, "charset", t.charset);
    qx_jw_put_bool(w, "is_tty", t.is_tty);
    qx_jw_put_bool(w, "no_color", t.no_color);
    qx_jw_key(w, "columns");
    t.w ? qx_jw_int(w, t.w) : qx_jw_null(w);
    qx_jw_key(w, "rows");
    t.h ? qx_jw_int(w, t.h) : qx_jw_null(w);
    qx_jw_end(w);
    qx_jw_key(w, "paths");
    qx_jw_object(w);
    qx_jw_put_str(w, "assets", ui_path_assets());
    qx_jw_put_str(w, "samples", ui_path_samples());
    qx_jw_put_str(w, "cache", ui_path_cache());
    qx_jw_put_str(w, "state", ui_path_state());
    qx_jw_end(w);
    return ui_json_print(w);
}

static const char *or_none(const char *text)
{
    return text ? text : "none";
}

/* What a person compares with what they see. */
static void glyph_card(const struct term_facts *t)
{
    printf("\nGlyphs: each line should show even, unbroken steps.\n");
    if (strcmp(t->charset, "UTF-8") == 0) {
        printf("  braille  ⡀⣀⣄⣤⣦⣶⣷⣿⣷⣶⣦⣤⣄⣀⡀   if these are boxes or gaps: --glyphs block\n");
        printf("  blocks   ▁▂▃▄▅▆▇█▇▆▅▄▃▂▁   if these are wrong too:   --glyphs ascii\n");
        printf("  lines    ──┬──┃──┴──  ▲ ▼ ▸ ● ≈ … ±\n");
    }
    printf("  ascii    ..:-=+*#*+=-:..\n");
}

static const char *core_is_set(void)
{
    return getenv("OPENBLAS_CORETYPE") ? " (by OPENBLAS_CORETYPE)" : "";
}

static int doctor_run(const struct ui_args *args)
{
    if (args->json) {
        return doctor_json(args);
    }
    const struct qx_cpu *cpu = qx_cpu_get();
    struct term_facts t = term_facts();
    printf("qexplore %s\n", QX_VERSION);
    printf("CPU       %s (%s), %d cores\n", cpu->name, cpu->uarch, cpu->n_cores);
    printf("features %s%s%s%s%s\n", cpu->avx2 ? " AVX2" : "", cpu->avxvnni ? " AVX-VNNI" : "",
           cpu->avx512 ? " AVX-512" : "", cpu->avx512vnni ? " AVX-512-VNNI" : "",
           cpu->avx512vbmi ? " AVX-512-VBMI" : "");
    printf("kernels   %s (best here: %s)\n", qx_isa_name(cpu->isa), qx_isa_name(cpu->best));
    if (qx_cpu_complaint()) {
        printf("          %s\n", qx_cpu_complaint());
    }
    vetoes_print();
    printf("BLAS      core %s%s\n", or_none(qx_blas_core()), core_is_set());
    printf("terminal  TERM=%s COLORTERM=%s, %s, %s", or_none(t.term), or_none(t.colorterm),
           t.charset, t.is_tty ? "a terminal" : "not a terminal");
    if (t.w) {
        printf(", %dx%d%s", t.w, t.h, t.w < 60 || t.h < 16 ? " (too small: 60x16 at least)" : "");
    }
    printf("%s\n", t.no_color ? ", NO_COLOR set" : "");
    printf("assets    %s\n", or_none(ui_path_assets()));
    printf("samples   %s\n", or_none(ui_path_samples()));
    printf("cache     %s\n", or_none(ui_path_cache()));
    printf("state     %s\n", or_none(ui_path_state()));
    glyph_card(&t);
    return UI_EXIT_OK;
}

const struct ui_verb ui_verb_doctor = {
    .name = "doctor",
    .usage = "[--json]",
    .help = "Show what this CPU and terminal can do, with a test card of glyphs.",
    .example = "qexplore doctor",
    .groups = UI_FLAGS_COMMON,
    .run = doctor_run,
};

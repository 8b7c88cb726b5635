/* The story as a page of HTML that needs nothing beside it. */
#include "story.h"

#include "out.h"

#include <math.h>
#include <stdio.h>

static void put(FILE *f, const char *text)
{
    char safe[1024];
    ui_out_escaped(f, ui_safe_text(text, safe, sizeof safe));
}

static const char style[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 "
    "1rem;color:#1c2530;background:#fff}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem "
    ".7rem;text-align:right;border-bottom:1px solid "
    "#d8dee6}th:first-child,td:first-child,td.l,th.l{text-align:left}td:first-child{white-space:"
    "nowrap}tr.t td{background:#eef6f0}.bars{display:flex;flex-wrap:wrap;gap:2rem}svg "
    "text{font:12px "
    "system-ui,sans-serif;fill:#1c2530}p.note{color:#5a6674}@media(prefers-color-scheme:dark){body{"
    "color:#dbe2ea;background:#14191f}th,td{border-color:#2c3641}tr.t td{background:#1b2a22}svg "
    "text{fill:#dbe2ea}p.note{color:#8e9aa8}}";

/* ---- bars ---- */

struct bars {
    const char *title, *format;
    double (*of)(const struct ui_story *story, const struct ui_story_row *row);
};

static double mb(const struct ui_story *story, const struct ui_story_row *row)
{
    (void)story;
    return 1e-6 * (double)row->bench.bytes;
}

static double ms(const struct ui_story *story, const struct ui_story_row *row)
{
    (void)story;
    return qx_latency_ms(&row->bench.figures.latency);
}

/* Negative when a row is better than FP32: no bar. */
static double lost(const struct ui_story *story, const struct ui_story_row *row)
{
    return ui_story_lost(story, row);
}

static void bars_put(FILE *f, const struct ui_story *story, const struct bars *b)
{
    enum { LABEL = 92, WIDTH = 180, STEP = 22 };
    double most = 0;
    for (int i = 0; i < UI_STORY_ROWS; i++) {
        const struct ui_story_row *row = &story->row[i];
        most = row->bench.state == QX_BENCH_DONE ? fmax(most, b->of(story, row)) : most;
    }
    fprintf(
        f,
        "<figure style=\"margin:0\"><figcaption>%s</figcaption><svg width=\"%d\" height=\"%d\">\n",
        b->title, LABEL + WIDTH + 70, STEP * UI_STORY_ROWS + 4);
    for (int i = 0; i < UI_STORY_ROWS; i++) {
        const struct ui_story_row *row = &story->row[i];
        const int y = STEP * i + 4;
        fprintf(f, "<text x=\"0\" y=\"%d\">", y + 13);
        put(f, row->way->title);
        fputs("</text>", f);
        if (row->bench.state != QX_BENCH_DONE) {
            fprintf(f, "<text x=\"%d\" y=\"%d\">n/a</text>\n", LABEL, y + 13);
            continue;
        }
        const double v = b->of(story, row), w = most > 0 && v > 0 ? WIDTH * v / most : 0;
        fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"16\" fill=\"%s\"/>", LABEL, y,
                w, row->way->is_trained ? "#2f9e6e" : "#4a7fb5");
        fprintf(f, "<text x=\"%.1f\" y=\"%d\">", LABEL + w + 5, y + 13);
        fprintf(f, b->format[0] == '+' ? "%+.2f" : "%.3f", v);
        fputs("</text>\n", f);
    }
    fputs("</svg></figure>\n", f);
}

/* ---- tables ---- */

static void row_put(FILE *f, const struct ui_story *story, const struct ui_story_row *row)
{
    const struct qx_bench_row *r = &row->bench, *base = ui_story_base(story);
    fprintf(f, "<tr%s><td>", row->way->is_trained ? " class=\"t\"" : "");
    put(f, row->way->title);
    fputs("</td>", f);
    if (r->state != QX_BENCH_DONE) {
        fputs("<td class=\"l\" colspan=\"10\">", f);
        put(f, r->state == QX_BENCH_FAILED ? r->reason : "not come to");
        fputs("</td></tr>\n", f);
        return;
    }
    const double t = qx_latency_ms(&r->figures.latency);
    fprintf(f, "<td>%.3f</td><td>%.1f</td><td>%.3f</td><td>%.2f</td><td>%.0f</td><td>%.2f</td>",
            1e-6 * (double)r->bytes, 100 * (1 - (double)r->bytes / (double)base->bytes), t,
            qx_latency_ms(&base->figures.latency) / t, r->figures.throughput,
            r->figures.throughput / base->figures.throughput);
    fprintf(f, "<td>%.2f</td><td>%+.2f</td>",
            isnan(r->perplexity) ? 100 * r->accuracy : r->perplexity, ui_story_change(story, row));
    if (isnan(row->train_s)) {
        fputs("<td>&ndash;</td>", f);
    } else {
        fprintf(f, "<td>%.1f</td>", row->train_s);
    }
    fputs("<td class=\"l\">", f);
    put(f, row->way->how);
    fputs("</td></tr>\n", f);
}

static void claims_put(FILE *f, const struct ui_story *story)
{
    fputs(
        "<h2>What the paper claims (arXiv 2411.06084)</h2>\n<table><tr><th>claim</th><th>paper</th>"
        "<th>here</th><th class=\"l\">reached</th></tr>\n",
        f);
    for (int i = 0; i < UI_STORY_CLAIMS; i++) {
        const struct ui_story_claim *c = &story->claim[i];
        fputs("<tr><td>", f);
        put(f, c->text);
        fprintf(f, "</td><td>%s%g %s</td>", c->is_most ? "&le; " : "", c->paper, c->unit);
        if (isnan(c->here)) {
            fputs("<td>n/a</td><td class=\"l\">", f);
            put(f, c->why ? c->why : "the row is missing");
        } else {
            fprintf(f, "<td>%.2f %s</td><td class=\"l\">%s", c->here, c->unit,
                    ui_story_is_reached(c) ? "yes" : "no");
        }
        fputs("</td></tr>\n", f);
    }
    fputs("</table>\n", f);
}

void ui_story_page(FILE *f, const struct ui_story *story)
{
    const struct qx_bench_row *base = ui_story_base(story);
    const bool is_words = !isnan(base->perplexity);
    const struct bars bars[] = {
        {"size, MB", "", mb},
        {"one sample, ms", "", ms},
        {is_words ? "perplexity grown, %" : "accuracy lost, points", "+", lost}};
    fputs("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width\"><title>PTQ and QAT: ",
          f);
    put(f, story->folder);
    fprintf(f, "</title><style>%s</style>\n<h1>PTQ and QAT: ", style);
    put(f, story->folder);
    fputs("</h1>\n<p>", f);
    put(f, qx_cpu_get()->name);
    fprintf(f, ", kernels %s, qexplore %s. One sample: median of %d runs after %d that warm up; ",
            qx_isa_name(qx_cpu_get()->isa), QX_VERSION, base->figures.latency.n_runs,
            base->figures.latency.n_warmup);
    fprintf(f, "throughput in batches of %lld. %s on %lld rows.</p>\n<div class=\"bars\">\n",
            (long long)base->figures.batch, is_words ? "Perplexity" : "Accuracy",
            (long long)base->n);
    for (size_t i = 0; i < sizeof bars / sizeof *bars; i++) {
        bars_put(f, story, &bars[i]);
    }
    fprintf(f,
            "</div>\n<h2>All figures</h2>\n<table><tr><th></th><th>MB</th><th>saved %%</th><th>ms"
            "</th><th>x</th><th>samples/s</th><th>x</th><th>%s</th><th>%s</th><th>training, s</th>"
            "<th class=\"l\">how</th></tr>\n",
            is_words ? "perplexity" : "accuracy %", is_words ? "grown %" : "points");
    for (int i = 0; i < UI_STORY_ROWS; i++) {
        row_put(f, story, &story->row[i]);
    }
    fputs("</table>\n", f);
    claims_put(f, story);
    fputs("<p class=\"note\">All figures were measured on this machine in one run; green rows were "
          "fine-tuned. A row that could not be measured says why.</p>\n</html>\n",
          f);
}

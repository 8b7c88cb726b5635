/* The story as a table, and as JSON. */
#include "story.h"

#include "verb.h"

#include <math.h>
#include <stdio.h>

static void row_print(const struct ui_story *story, const struct ui_story_row *row)
{
    const struct qx_bench_row *r = &row->bench, *base = ui_story_base(story);
    char train[24] = "-", energy[24] = "-", saved[16] = "-", lost[16] = "-";
    if (r->state != QX_BENCH_DONE) {
        printf("%-13s %s\n", row->way->title,
               r->state == QX_BENCH_FAILED ? r->reason : "not come to");
        return;
    }
    if (!isnan(row->train_s)) {
        snprintf(train, sizeof train, "%.1f", row->train_s);
    }
    if (!isnan(r->figures.energy_j)) {
        snprintf(energy, sizeof energy, "%.3g", r->figures.energy_j);
    }
    if (r != base) {
        snprintf(saved, sizeof saved, "%.0f %%",
                 100 * (1 - (double)r->bytes / (double)base->bytes));
        snprintf(lost, sizeof lost, "%+.2f", ui_story_change(story, row));
    }
    const double ms = qx_latency_ms(&r->figures.latency);
    printf("%-13s %8.3f %6s %9.3f %6.2f %10.0f %6.2f %8.2f %8s %8s %8.3f %8.3f %8s  %s\n",
           row->way->title, 1e-6 * (double)r->bytes, saved, ms,
           qx_latency_ms(&base->figures.latency) / ms, r->figures.throughput,
           r->figures.throughput / base->figures.throughput,
           isnan(r->perplexity) ? 100 * r->accuracy : r->perplexity, lost, train,
           1e-6 * (double)r->figures.weights_bytes, 1e-6 * r->bytes_moved, energy,
           r->figures.kernel);
}

static void claim_print(const struct ui_story_claim *c)
{
    if (isnan(c->here)) {
        printf("%-26s %7.1f %-2s %9s     not measured: %s\n", c->text, c->paper, c->unit, "-",
               c->why ? c->why : "the row is missing");
        return;
    }
    printf("%-26s %7.1f %-2s %9.2f %-2s  %s\n", c->text, c->paper, c->unit, c->here, c->unit,
           ui_story_is_reached(c) ? "reached" : "not reached");
}

void ui_story_print(const struct ui_story *story)
{
    const struct qx_bench_row *base = ui_story_base(story);
    const bool is_words = base && !isnan(base->perplexity);
    printf("%s on %s, %s; one sample: %d runs after %d that warm up; %.2f million multiply-adds a "
           "sample\n",
           story->folder, qx_cpu_get()->name, qx_isa_name(qx_cpu_get()->isa),
           base->figures.latency.n_runs, base->figures.latency.n_warmup, 1e-6 * (double)base->macs);
    printf("%-13s %8s %6s %9s %6s %10s %6s %8s %8s %8s %8s %8s %8s  %s\n", "", "MB", "saved", "ms",
           "x", "samples/s", "x", is_words ? "ppl" : "acc %", is_words ? "grown %" : "points",
           "train s", "held MB", "moved MB", "J/sample", "kernel");
    for (int i = 0; i < UI_STORY_ROWS; i++) {
        row_print(story, &story->row[i]);
    }
    printf("\n%-26s %10s %12s\n", "arXiv 2411.06084 claims", "paper", "here");
    for (int i = 0; i < UI_STORY_CLAIMS; i++) {
        claim_print(&story->claim[i]);
    }
    printf("held: weights in memory as passes read them; moved: the least a pass has to read and "
           "write\n");
    if (story->kept) {
        printf("trained models: %s\n", story->kept);
    }
}

int ui_story_json(const struct ui_args *args, const struct ui_story *story)
{
    struct qx_jw *w = ui_json_begin(args, "story");
    qx_jw_put_str(w, "model", story->folder);
    qx_jw_put_str(w, "trained", story->kept);
    qx_jw_key(w, "complete");
    qx_jw_bool(w, !story->is_cut);
    qx_jw_key(w, "rows");
    qx_jw_array(w);
    for (int i = 0; i < UI_STORY_ROWS; i++) {
        const struct ui_story_row *row = &story->row[i];
        qx_jw_object(w);
        qx_jw_put_str(w, "row", row->way->name);
        qx_jw_put_str(w, "how", row->way->how);
        qx_jw_put_num(w, "train_s", row->train_s);
        qx_jw_put_num(w, "best_epoch", isnan(row->train_s) ? (double)NAN : (double)row->best);
        ui_bench_row_json(w, &row->bench, NULL);
        qx_jw_end(w);
    }
    qx_jw_end(w);
    qx_jw_key(w, "claims");
    qx_jw_array(w);
    for (int i = 0; i < UI_STORY_CLAIMS; i++) {
        const struct ui_story_claim *c = &story->claim[i];
        qx_jw_object(w);
        qx_jw_put_str(w, "claim", c->text);
        qx_jw_put_str(w, "unit", c->unit);
        qx_jw_put_num(w, "paper", c->paper);
        qx_jw_put_num(w, "here", c->here);
        qx_jw_key(w, "reached");
        isnan(c->here) ? qx_jw_null(w) : qx_jw_bool(w, ui_story_is_reached(c));
        qx_jw_put_str(w, "reason", isnan(c->here) ? c->why : NULL);
        qx_jw_end(w);
    }
    qx_jw_end(w);
    return ui_json_print(w);
}

/* One network in the ways of the notes, each measured as anybody would run it: settings or a trained folder, a
 * session of its own, one row of a benchmark. */
#include "story.h"

#include "file.h"
#include "verb.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FP32, FP16, INT8_DYNAMIC, PTQ_INT8, QAT_INT8, PTQ_INT4, QAT_INT4, PTQ_MIXED, QAT_MIXED };

static const struct ui_story_way ways[UI_STORY_ROWS] = {
    [FP32] = {"fp32", "FP32", "The file as it is.", .variant = "fp32"},
    [FP16] = {"fp16", "FP16", "Weights in 16 bits, arithmetic in 32.", .variant = "fp16"},
    [INT8_DYNAMIC] = {"int8-dynamic", "INT8 dynamic",
                      "After training, without data: ranges of inputs are taken as they come.",
                      .variant = "int8-dynamic"},
    [PTQ_INT8] = {"ptq-int8", "INT8 PTQ", "After training: ranges of inputs from calibration rows.",
                  .bits = 8},
    [QAT_INT8] = {"qat-int8", "INT8 QAT", "Fine-tuned with that rounding in it.", .bits = 8,
                  .is_trained = true},
    [PTQ_INT4] = {"ptq-int4", "INT4 PTQ", "Weights of 4 bits after training, inputs of 8.",
                  .bits = 4},
    [QAT_INT4] = {"qat-int4", "INT4 QAT", "Fine-tuned with that rounding in it.", .bits = 4,
                  .is_trained = true},
    [PTQ_MIXED] = {"ptq-mixed", "INT4/8 PTQ",
                   "Sensitive layers keep 8 bits: the best at INT4's size plus a quarter of the "
                   "way to INT8's.",
                   .bits = 8, .is_mixed = true},
    [QAT_MIXED] = {"qat-mixed", "INT4/8 QAT", "The same bits, fine-tuned.", .bits = 8,
                   .is_mixed = true, .is_trained = true}};

struct teller {
    const struct ui_args *args;
    struct ui_story *story;
    char dir[PATH_MAX];        /* trained folders and the mixed recipe */
    char mixed[PATH_MAX + 16]; /* the recipe; "" until it is there */
};

/* ---- one row ---- */

static enum qx_status recipe_write(struct teller *t, struct qx_session *s,
                                   const struct qx_sens *map, const struct qx_mixed *plan,
                                   struct qx_error *err)
{
    char path[sizeof t->mixed];
    size_t len = 0;
    struct qx_jw *w = qx_jw_new(true);
    qx_session_mixed_recipe(s, map, plan, qx_mixed_best(plan), w);
    char *json = qx_jw_take(w, &len);
    snprintf(path, sizeof path, "%s/mixed.json", t->dir);
    const bool is_written = json && ui_file_write(path, json, len);
    qx_free_text(json);
    if (!is_written) {
        *err = (struct qx_error){.status = ui_file_status(errno), .offset = -1};
        snprintf(err->text, sizeof err->text, "cannot write '%.200s': %s", path, strerror(errno));
        return err->status;
    }
    memcpy(t->mixed, path, sizeof path);
    return QX_OK;
}

/* Which layers keep 8 bits, on the recipe that has 8 everywhere. */
static enum qx_status mixed_find(struct teller *t, struct qx_session *s, struct qx_error *err)
{
    const struct qx_bench_row *low = &t->story->row[PTQ_INT4].bench;
    const struct qx_bench_row *high = &t->story->row[PTQ_INT8].bench;
    struct qx_sens_column columns[QX_SENS_COLUMNS];
    struct qx_mixed_options options = qx_mixed_options_default();
    struct qx_sens *map = NULL;
    struct qx_mixed *plan = NULL;
    bool is_cut = false;
    int n;
    if (low->state == QX_BENCH_DONE && high->state == QX_BENCH_DONE) {
        options.max_bytes = (double)low->bytes + ((double)high->bytes - (double)low->bytes) / 4.0;
    } else {
        options.max_bpw = 5.5;
    }
    enum qx_status st = qx_sens_columns_parse("4,8", columns, &n, err);
    if (st == QX_OK) {
        st = qx_session_run_map(s, columns, n, NULL, -1, ui_batch_ctl(), &map, &is_cut, err);
    }
    if (st == QX_OK && !is_cut) {
        st = qx_session_run_mixed(s, map, &options, 0, ui_batch_ctl(), &plan, &is_cut, err);
    }
    if (st == QX_OK && is_cut) {
        *err = (struct qx_error){.status = st = QX_ECANCELLED, .offset = -1};
        snprintf(err->text, sizeof err->text, "interrupted");
    }
    st = st == QX_OK ? recipe_write(t, s, map, plan, err) : st;
    qx_mixed_free(plan);
    qx_sens_free(map);
    return st;
}

static enum qx_status recipe_apply(struct teller *t, const struct ui_story_way *way,
                                   struct qx_session *s, struct qx_error *err)
{
    struct ui_args flags = *t->args;
    flags.recipe = NULL;
    flags.bits = way->bits;
    flags.act_bits = 8;
    if (!way->is_mixed || !t->mixed[0]) {
        if (!ui_apply_recipe(&flags, s, err)) {
            return err->status;
        }
    }
    enum qx_status st = way->is_mixed && !t->mixed[0] ? mixed_find(t, s, err) : QX_OK;
    return st == QX_OK && way->is_mixed ? qx_session_load_recipe(s, t->mixed, err) : st;
}

static void on_epoch(void *arg, const struct qx_train_epoch *e)
{
    const struct teller *t = arg;
    if (e->epoch > 0) {
        ui_progress_line(t->args, "  epoch %d of %d: loss %.4f, %.1f s%s", e->epoch, e->n_epochs,
                         e->loss, e->time_s, e->is_best ? ", best" : "");
    }
}

/* Train under the recipe of s, write, and put the session of what was written in its place. */
static enum qx_status train(struct teller *t, struct ui_story_row *row, struct qx_session **s,
                            struct qx_error *err)
{
    char folder[PATH_MAX + 32];
    struct qx_train_options options;
    const struct qx_train_watch watch = {.arg = t, .epoch = on_epoch};
    struct qx_ctl *ctl = ui_batch_ctl();
    struct qx_trained *trained = NULL;
    snprintf(folder, sizeof folder, "%s/%s", t->dir, row->way->name);
    enum qx_status st = ui_train_options(t->args, qx_session_net(*s), &options, err);
    if (st == QX_OK) {
        st = qx_session_train_check(*s, t->args->train_data, folder, err);
    }
    if (st == QX_OK) {
        st = qx_session_run_train(*s, t->args->train_data, &options, &watch, ctl, &trained, err);
    }
    if (st == QX_OK) {
        row->train_s = trained->time_s;
        row->epochs = trained->epochs;
        row->best = trained->best;
        row->is_stopped = trained->end == QX_TRAIN_STOPPED;
        atomic_store(&ctl->cancel, false); /* what was best is kept, and measured */
        st = qx_session_write_trained(*s, trained, folder, ctl, err);
    }
    qx_trained_free(trained);
    qx_session_close(s);
    return st == QX_OK ? ui_open_trained(t->args, folder, s, err) : st;
}

static enum qx_status row_measure(struct teller *t, struct ui_story_row *row, struct qx_error *err)
{
    const struct ui_story_way *way = row->way;
    struct qx_session_options session = ui_session_options(t->args);
    struct qx_bench_options options = qx_bench_options_default();
    const struct qx_variant *variant = &qx_variant_recipe;
    struct qx_session *s = NULL;
    session.batch = true;
    options.n_runs = t->args->runs;
    options.n_warmup = t->args->warmup;
    options.max_samples = t->args->max_samples;
    options.seed = t->args->seed;
    ui_progress_line(t->args, "%s: %s", way->title, way->how);
    enum qx_status st = qx_session_open(t->args->positional[0], &session, &s, err);
    if (st == QX_OK && way->variant) {
        st = qx_variant_find(way->variant, strlen(way->variant), &variant, err);
    } else if (st == QX_OK) {
        st = recipe_apply(t, way, s, err);
    }
    if (st == QX_OK && way->is_trained) {
        st = train(t, row, &s, err);
    }
    if (st == QX_OK) {
        st = qx_session_run_bench(s, variant, &options, ui_batch_ctl(), &row->bench, err);
    }
    if (st != QX_OK) {
        row->bench.state = QX_BENCH_FAILED;
        snprintf(row->bench.reason, sizeof row->bench.reason, "%.255s", err->text);
    }
    qx_session_close(&s);
    return st;
}

/* ---- what the paper claims ---- */

const struct qx_bench_row *ui_story_base(const struct ui_story *story)
{
    return story->row[FP32].bench.state == QX_BENCH_DONE ? &story->row[FP32].bench : NULL;
}

double ui_story_lost(const struct ui_story *story, const struct ui_story_row *row)
{
    const struct qx_bench_row *base = ui_story_base(story), *r = &row->bench;
    if (!base || r->state != QX_BENCH_DONE) {
        return (double)NAN;
    }
    return isnan(base->perplexity) ? 100 * (base->accuracy - r->accuracy)
                                   : 100 * (r->perplexity / base->perplexity - 1);
}

double ui_story_change(const struct ui_story *story, const struct ui_story_row *row)
{
    const double lost = ui_story_lost(story, row);
    return isnan(row->bench.perplexity) ? 0.0 - lost : lost; /* no -0.00 */
}

bool ui_story_is_reached(const struct ui_story_claim *c)
{
    return c->is_most ? c->here <= c->paper : c->here >= c->paper;
}

/* Of what there was, lost; in percent of FP32's figure. */
static double lost_share(const struct ui_story *story, int i)
{
    const struct qx_bench_row *base = ui_story_base(story);
    const double lost = ui_story_lost(story, &story->row[i]);
    return base && isnan(base->perplexity) ? lost / base->accuracy : lost;
}

static double ratio(const struct ui_story *story, int i, double (*of)(const struct qx_bench_row *))
{
    const struct qx_bench_row *base = ui_story_base(story), *r = &story->row[i].bench;
    return base && r->state == QX_BENCH_DONE ? of(r) / of(base) : (double)NAN;
}

static double size_of(const struct qx_bench_row *r)
{
    return (double)r->bytes;
}

static double throughput_of(const struct qx_bench_row *r)
{
    return r->figures.throughput;
}

static double energy_of(const struct qx_bench_row *r)
{
    return r->figures.energy_j;
}

/* Hasan, arXiv 2411.06084, as seed 000 gives it. */
static void claims_fill(struct ui_story *story)
{
    const struct qx_bench_row *base = ui_story_base(story);
    const char *no_energy =
        base && base->figures.energy_reason[0] ? base->figures.energy_reason : NULL;
    const struct ui_story_claim claims[UI_STORY_CLAIMS] = {
        {"size saved, INT4/8 QAT", "%", 68, 100 * (1 - ratio(story, QAT_MIXED, size_of)), false,
         NULL},
        {"throughput, INT8 PTQ", "x", 2.4, ratio(story, PTQ_INT8, throughput_of), false, NULL},
        {"throughput, INT4/8 QAT", "x", 3.0, ratio(story, QAT_MIXED, throughput_of), false, NULL},
        {"energy saved, INT8 PTQ", "%", 40, 100 * (1 - ratio(story, PTQ_INT8, energy_of)), false,
         no_energy},
        {"energy saved, INT4/8 QAT", "%", 60, 100 * (1 - ratio(story, QAT_MIXED, energy_of)), false,
         no_energy},
        {"quality lost, INT4/8 QAT", "%", 6, lost_share(story, QAT_MIXED), true, NULL}};
    memcpy(story->claim, claims, sizeof claims);
}

/* ---- all of it ---- */

static int drop_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Where trained models go: -o, or a folder in the cache that is gone at the end. */
static enum qx_status dir_begin(struct teller *t, struct qx_error *err)
{
    const char *cache = ui_path_cache();
    const int n = t->args->output
                      ? snprintf(t->dir, sizeof t->dir, "%s", t->args->output)
                      : snprintf(t->dir, sizeof t->dir, "%s/story-XXXXXX", cache ? cache : "/tmp");
    const bool fits = n >= 0 && (size_t)n < sizeof t->dir;
    if (!fits) {
        errno = ENAMETOOLONG;
    }
    if (fits &&
        (t->args->output ? mkdir(t->dir, 0777) == 0 || errno == EEXIST : mkdtemp(t->dir) != NULL)) {
        t->story->kept = t->args->output;
        return QX_OK;
    }
    *err = (struct qx_error){.status = QX_EIO, .offset = -1};
    snprintf(err->text, sizeof err->text, "cannot make the folder '%.200s' for what is trained: %s",
             t->dir, strerror(errno));
    return QX_EIO;
}

enum qx_status ui_story_measure(const struct ui_args *args, struct ui_story *story,
                                struct qx_error *err)
{
    struct teller t = {.args = args, .story = story};
    int n_done = 0;
    *story = (struct ui_story){.folder = args->positional[0]};
    for (int i = 0; i < UI_STORY_ROWS; i++) {
        story->row[i] = (struct ui_story_row){
            .way = &ways[i], .bench.variant = &qx_variant_recipe, .train_s = (double)NAN};
    }
    enum qx_status st = dir_begin(&t, err);
    for (int i = 0; i < UI_STORY_ROWS && st == QX_OK && !story->is_cut; i++) {
        const enum qx_status of_row = row_measure(&t, &story->row[i], err);
        n_done += of_row == QX_OK;
        story->is_cut = of_row == QX_ECANCELLED || story->row[i].is_stopped;
        if (of_row == QX_ECANCELLED) {
            story->row[i].bench.state = QX_BENCH_NONE;
        }
        st = of_row == QX_ENOMEM || (i == FP32 && of_row != QX_OK) ? of_row : QX_OK;
    }
    if (t.dir[0] && !story->kept) {
        nftw(t.dir, drop_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
    claims_fill(story);
    return st == QX_OK && n_done == 0 ? err->status : st;
}

static bool page_write(const struct ui_args *args, const struct ui_story *story,
                       struct qx_error *err)
{
    struct ui_file file;
    bool is_written = ui_file_begin(&file, args->report);
    if (is_written) {
        ui_story_page(file.f, story);
        is_written = ui_file_end(&file);
    }
    if (!is_written) {
        *err = (struct qx_error){.status = ui_file_status(errno), .offset = -1};
        snprintf(err->text, sizeof err->text, "cannot write the page '%.300s': %s", args->report,
                 strerror(errno));
    }
    return is_written;
}

int ui_story_run(const struct ui_args *args)
{
    struct qx_error err = {.offset = -1};
    struct ui_story story;
    if (args->isa && qx_cpu_limit(args->isa, &err) != QX_OK) {
        return ui_report(args, &err);
    }
    ui_progress_begin(args, "story");
    const enum qx_status st = ui_story_measure(args, &story, &err);
    ui_progress_end();
    if (st != QX_OK) {
        return ui_report(args, &err);
    }
    int code = UI_EXIT_OK;
    if (args->json) {
        code = ui_story_json(args, &story);
    } else {
        ui_story_print(&story);
    }
    if (args->report && !page_write(args, &story, &err)) {
        return ui_report(args, &err);
    }
    return code ? code : story.is_cut ? ui_exit_interrupted() : UI_EXIT_OK;
}

/* qexplore formats: every number format on the same tensors, by bits per weight. */
#include "verb.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHOICES = 64, REASON = 512 };

/* A format, and the width of integers. */
struct choice {
    const struct qx_format *format;
    int bits;
    char reason[REASON]; /* why it cannot serve with the other flags; empty: it does */
};

struct report {
    const struct ui_args *args;
    struct qx_session *s;
    struct choice choice[MAX_CHOICES];
    int n_choices;
    int64_t *items, n_items;
    struct qx_metrics *metrics; /* [n_items][n_choices] */
};

static void choices_list(struct report *r)
{
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);
        bool is_int = f->kind == QX_FORMAT_AFFINE;
        for (int bits = f->min_bits; bits <= (is_int ? f->max_bits : f->min_bits); bits++) {
            if (strcmp(f->name, "fp32") != 0 && r->n_choices < MAX_CHOICES) {
                r->choice[r->n_choices++] = (struct choice){.format = f, .bits = bits};
            }
        }
    }
}

static enum qx_status items_select(struct report *r, struct qx_error *err)
{
    const struct ui_args *a = r->args;
    size_t n = (size_t)qx_session_n_items(r->s);
    bool all = a->scope && strcmp(a->scope, "all") == 0;
    bool *selected = calloc(n + 1, sizeof *selected);
    r->items = calloc(n + 1, sizeof *r->items);
    if (selected && r->items) {
        qx_session_select(r->s, all ? QX_SCOPE_ALL : QX_SCOPE_LINEAR, a->layers, selected);
    }
    for (size_t i = 0; selected && r->items && i < n; i++) {
        if (selected[i]) {
            r->items[r->n_items++] = (int64_t)i;
        }
    }
    free(selected);
    r->metrics = calloc((size_t)r->n_items * (size_t)r->n_choices + 1, sizeof *r->metrics);
    if (!r->items || !r->metrics) {
        *err = (struct qx_error){.status = QX_ENOMEM, .offset = -1};
        snprintf(err->text, sizeof err->text, "out of memory for the table of formats");
        return QX_ENOMEM;
    }
    return QX_OK;
}

/* One format on all tensors. What a format does not offer (an asymmetric range, say) is no failure. */
static enum qx_status choice_run(struct report *r, int c, struct qx_error *err)
{
    struct choice *choice = &r->choice[c];
    bool is_int = choice->format->kind == QX_FORMAT_AFFINE;
    struct ui_args args = *r->args;
    args.format = choice->format->name;
    args.bits = is_int ? choice->bits : 0;
    if (!ui_apply_recipe(&args, r->s, err)) {
        bool is_refused = err->status == QX_ERANGE || err->status == QX_EUNSUPPORTED;
        snprintf(choice->reason, sizeof choice->reason, "%s", err->text);
        return is_refused && !is_int ? QX_OK : err->status;
    }
    enum qx_status status = qx_session_run_resolve(r->s, ui_batch_ctl(), err);
    for (int64_t i = 0; status == QX_OK && i < r->n_items; i++) {
        status = qx_session_run_metrics(r->s, r->items[i], ui_batch_ctl(),
                                        &r->metrics[i * r->n_choices + c], err);
    }
    return status;
}

static double db_of(const struct qx_metrics *m)
{
    return isnan(m->sqnr_db) ? INFINITY : m->sqnr_db;
}

/* Does no other format reach as much with as few bits? */
static bool is_front(const struct report *r, const struct qx_metrics *row, int c)
{
    for (int k = 0; k < r->n_choices; k++) {
        bool smaller = row[k].bytes<row[c].bytes, better = db_of(&row[k])> db_of(&row[c]);
        bool no_worse = row[k].bytes <= row[c].bytes && db_of(&row[k]) >= db_of(&row[c]);
        if (k != c && !r->choice[k].reason[0] && no_worse && (smaller || better)) {
            return false;
        }
    }
    return true;
}

/* Choices of one tensor by size, the better first among equals; those that do not serve last. */
static void rows_order(const struct report *r, const struct qx_metrics *row, int *order)
{
    for (int i = 0; i < r->n_choices; i++) {
        int at = i;
        bool out = r->choice[i].reason[0] != '\0';
        for (; at > 0; at--) {
            int k = order[at - 1];
            bool k_out = r->choice[k].reason[0] != '\0';
            bool after = k_out != out                   ? k_out
                         : row[k].bytes != row[i].bytes ? row[k].bytes > row[i].bytes
                                                        : db_of(&row[k]) < db_of(&row[i]);
            if (!after) {
                break;
            }
            order[at] = k;
        }
        order[at] = i;
    }
}

static void num(struct qx_jw *w, const char *key, double value)
{
    qx_jw_key(w, key);
    qx_jw_num(w, value);
}

static void row_json(struct qx_jw *w, const struct choice *c, const struct qx_metrics *m,
                     bool front)
{
    qx_jw_object(w);
    qx_jw_key(w, "format");
    qx_jw_str(w, c->format->name);
    qx_jw_key(w, "bits");
    qx_jw_int(w, c->bits);
    if (c->reason[0]) {
        qx_jw_key(w, "reason");
        qx_jw_str(w, c->reason);
        qx_jw_end(w);
        return;
    }
    num(w, "bits_per_weight", m->bits_per_weight);
    qx_jw_key(w, "bytes");
    qx_jw_int(w, (int64_t)m->bytes);
    num(w, "mse", m->mse);
    num(w, "sqnr_db", m->sqnr_db);
    num(w, "clipped", m->clipped_low + m->clipped_high);
    qx_jw_key(w, "front");
    qx_jw_bool(w, front);
    qx_jw_key(w, "basis");
    qx_jw_str(w, qx_basis_name(m->basis));
    qx_jw_end(w);
}

static void row_print(const struct choice *c, const struct qx_metrics *m, bool front)
{
    char name[16], db[16] = "exact";
    snprintf(name, sizeof name, c->format->kind == QX_FORMAT_AFFINE ? "%s%d" : "%s",
             c->format->title, c->bits);
    if (c->reason[0]) {
        printf("   %-6s %s\n", name, c->reason);
        return;
    }
    if (!isnan(m->sqnr_db)) {
        snprintf(db, sizeof db, "%.2f", m->sqnr_db);
    }
    printf(" %c %-6s %8.3f %9s %11.4g %11llu\n", front ? '*' : ' ', name, m->bits_per_weight,
           m->n > 0 ? db : "n/a", m->mse, (unsigned long long)m->bytes);
}

static void tensor_report(const struct report *r, int64_t i, struct qx_jw *w)
{
    const struct qx_metrics *row = &r->metrics[i * r->n_choices];
    const struct qx_item *item = qx_session_item(r->s, r->items[i]);
    int order[MAX_CHOICES];
    rows_order(r, row, order);
    if (w) {
        qx_jw_object(w);
        qx_jw_key(w, "name");
        qx_jw_str(w, item->tensor->name);
        qx_jw_key(w, "rows");
        qx_jw_array(w);
    } else {
        printf("%s%s\n   %-6s %8s %9s %11s %11s\n", i > 0 ? "\n" : "", item->tensor->name, "format",
               "b/w", "SQNR dB", "MSE", "bytes");
    }
    for (int k = 0; k < r->n_choices; k++) {
        int c = order[k];
        bool front = !r->choice[c].reason[0] && is_front(r, row, c);
        if (w) {
            row_json(w, &r->choice[c], &row[c], front);
        } else {
            row_print(&r->choice[c], &row[c], front);
        }
    }
    if (w) {
        qx_jw_end(w);
        qx_jw_end(w);
    }
}

static int report_print(const struct report *r)
{
    struct qx_jw *w = r->args->json ? ui_json_begin(r->args, "formats") : NULL;
    if (w) {
        qx_jw_key(w, "layers");
        qx_jw_array(w);
    }
    for (int64_t i = 0; i < r->n_items; i++) {
        tensor_report(r, i, w);
    }
    if (w) {
        qx_jw_end(w);
        return ui_json_print(w);
    }
    printf("\n* no other format is as good and as small\n");
    return UI_EXIT_OK;
}

static int formats_run(const struct ui_args *args)
{
    struct qx_error err = {.offset = -1};
    struct report r = {.args = args};
    int code;
    r.s = ui_open_batch(args, &code);
    if (!r.s) {
        return code;
    }
    choices_list(&r);
    ui_progress_begin(args, "formats");
    enum qx_status status = items_select(&r, &err);
    for (int c = 0; status == QX_OK && c < r.n_choices; c++) {
        status = choice_run(&r, c, &err);
    }
    ui_progress_end();
    code = status == QX_OK ? report_print(&r) : ui_report(args, &err);
    free(r.items);
    free(r.metrics);
    qx_session_close(&r.s);
    return code;
}

const struct ui_verb ui_verb_formats = {
    .name = "formats",
    .usage = "MODEL [--layers GLOB] [--gran G] [--method M] [--json]",
    .help = "Compare all number formats on each tensor: size against error.",
    .example = "qexplore formats samples/fashion-cnn --layers dense.weight --gran group:64",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_SESSION | UI_FLAGS_SETTING,
    .min_positional = 1,
    .max_positional = 1,
    .run = formats_run,
};

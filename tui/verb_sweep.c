/* qexplore sweep: what each layer alone does under each width, predicted or measured. */
#include "verb_search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sweep {
    struct qx_sens *map;
    bool is_cut; /* interrupted: what was done stands */
};

static const char *name_of(struct qx_session *s, int layer)
{
    return qx_session_item(s, qx_session_map_item(s, layer))->tensor->name;
}

/* Of language models a cell holds float32's perplexity over that of the layer alone. */
static void words_json(struct qx_jw *w, const struct qx_sens_cell *cell)
{
    qx_jw_put_num(w, "increase", 1.0 / cell->accuracy - 1.0);
    qx_jw_put_num(w, "ppl_ratio", 1.0 / cell->accuracy);
    qx_jw_put_str(w, "basis", qx_sens_basis_name(cell->basis));
    qx_jw_put_num(w, "lo", 1.0 / cell->hi);
    qx_jw_put_num(w, "hi", 1.0 / cell->lo);
}

static void rows_json(struct qx_jw *w, const struct qx_sens_cell *cell)
{
    qx_jw_put_num(w, "delta", cell->delta);
    qx_jw_put_num(w, "accuracy", cell->accuracy);
    qx_jw_put_str(w, "basis", qx_sens_basis_name(cell->basis));
    qx_jw_put_num(w, "lo", cell->lo);
    qx_jw_put_num(w, "hi", cell->hi);
}

static void row_json(struct qx_jw *w, struct qx_session *s, const struct sweep *v, int layer,
                     int column)
{
    const struct qx_sens_column *c = qx_sens_column_at(v->map, column);
    const struct qx_sens_cell *cell = qx_sens_cell_at(v->map, layer, column);
    qx_jw_object(w);
    qx_jw_put_str(w, "layer", name_of(s, layer));
    qx_jw_put_str(w, "site", c->site == QX_SITE_A ? "activations" : "weights");
    qx_jw_key(w, "bits");
    qx_jw_int(w, c->bits);
    qx_jw_put_str(w, "format", c->format->name);
    qx_jw_put_num(w, "kl", cell->kl);
    if (ui_search_is_words(s)) {
        words_json(w, cell);
    } else {
        rows_json(w, cell);
    }
    qx_jw_put_num(w, "relative_error", cell->proxy);
    qx_jw_end(w);
}

static int sweep_json(const struct ui_args *args, struct qx_session *s, const struct sweep *v)
{
    struct qx_map_state state;
    struct qx_jw *w = ui_json_begin(args, "sweep");
    qx_session_map_state(s, &state);
    qx_jw_key(w, "data");
    qx_jw_object(w);
    qx_jw_put_str(w, "path", qx_dataset_path(qx_session_data(s)));
    qx_jw_put_str(w, "hash", qx_dataset_hash(qx_session_data(s)));
    qx_jw_key(w, "n");
    qx_jw_int(w, state.n_rows);
    qx_jw_end(w);
    qx_jw_key(w, "complete");
    qx_jw_bool(w, !v->is_cut);
    qx_jw_key(w, "rows");
    qx_jw_array(w);
    for (int i = 0; i < qx_sens_n_layers(v->map); i++) {
        for (int c = 0; c < qx_sens_n_columns(v->map); c++) {
            if (qx_sens_cell_at(v->map, i, c)->basis != QX_SENS_NONE) {
                row_json(w, s, v, i, c);
            }
        }
    }
    qx_jw_end(w);
    return ui_json_print(w);
}

static void cell_print(const struct qx_sens_cell *c)
{
    const char *mark = c->basis == QX_SENS_PREDICTED ? "~" : c->basis == QX_SENS_RANK ? "?" : " ";
    if (c->basis == QX_SENS_NONE) {
        printf("%12s", "-");
    } else if (c->basis == QX_SENS_RANK) {
        printf("%10d.%s", c->rank, mark);
    } else {
        printf("%11.4g%s", c->kl, mark);
    }
}

static int sweep_print(struct qx_session *s, const struct sweep *v)
{
    struct qx_map_state state;
    const int name_w = ui_names_width(s);
    qx_session_map_state(s, &state);
    printf("KL in nats on %lld rows if only this layer is quantized; ~ predicted, plain measured\n",
           (long long)state.n_rows);
    printf("%-*s", name_w, "layer");
    for (int c = 0; c < qx_sens_n_columns(v->map); c++) {
        char title[24];
        printf("%11s ", qx_sens_column_text(qx_sens_column_at(v->map, c), title, sizeof title));
    }
    printf("\n");
    for (int i = 0; i < qx_sens_n_layers(v->map); i++) {
        if (qx_sens_cell_at(v->map, i, 0)->basis == QX_SENS_NONE) {
            continue;
        }
        ui_print_name(name_of(s, i), name_w);
        for (int c = 0; c < qx_sens_n_columns(v->map); c++) {
            cell_print(qx_sens_cell_at(v->map, i, c));
        }
        printf("\n");
    }
    return UI_EXIT_OK;
}

/* The first cell that misses a gate speaks for all. */
static int gate(const struct ui_args *args, struct qx_session *s, const struct sweep *v)
{
    for (int i = 0; i < qx_sens_n_layers(v->map); i++) {
        for (int c = 0; c < qx_sens_n_columns(v->map); c++) {
            const struct qx_sens_cell *cell = qx_sens_cell_at(v->map, i, c);
            char column[24], what[512];
            if (cell->basis < QX_SENS_PREDICTED) {
                continue;
            }
            qx_sens_column_text(qx_sens_column_at(v->map, c), column, sizeof column);
            snprintf(what, sizeof what, "%.400s at %s", name_of(s, i), column);
            const bool is_words = ui_search_is_words(s);
            if (ui_search_gate(args, what, is_words, cell->accuracy,
                               is_words ? 1.0 / cell->accuracy - 1.0 : -cell->delta)) {
                return UI_EXIT_GATE;
            }
        }
    }
    return UI_EXIT_OK;
}

static enum qx_status sweep_find(const struct ui_args *args, struct qx_session *s, struct sweep *v,
                                 struct qx_error *err)
{
    struct qx_sens_column columns[QX_SENS_COLUMNS];
    int n, n_measure;
    bool *select = calloc((size_t)qx_session_n_items(s) + 1, sizeof *select);
    if (!select) {
        *err = (struct qx_error){.status = QX_ENOMEM, .text = "out of memory", .offset = -1};
        return QX_ENOMEM;
    }
    enum qx_status st = ui_search_check(args, s, err);
    st = st == QX_OK ? ui_search_columns(args, columns, &n, err) : st;
    st = st == QX_OK ? ui_search_measure(args, &n_measure, err) : st;
    if (st == QX_OK && !ui_search_apply(args, s, err)) {
        st = err->status;
    }
    qx_session_select(s, ui_search_scope(args), args->layers, select);
    if (st == QX_OK) {
        ui_progress_begin(args, "sweep");
        st = qx_session_run_map(s, columns, n, select, n_measure, ui_batch_ctl(), &v->map,
                                &v->is_cut, err);
        ui_progress_end();
    }
    free(select);
    return st;
}

static int sweep_run(const struct ui_args *args)
{
    struct qx_error err = {.offset = -1};
    struct sweep v = {0};
    int code;
    struct qx_session *s = ui_open_batch(args, &code);
    if (!s) {
        return code;
    }
    if (sweep_find(args, s, &v, &err) != QX_OK) {
        code = ui_report(args, &err);
    } else {
        code = args->json ? sweep_json(args, s, &v) : sweep_print(s, &v);
        code = code ? code : v.is_cut ? ui_exit_interrupted() : gate(args, s, &v);
    }
    qx_sens_free(v.map);
    qx_session_close(&s);
    return code;
}

const struct ui_verb ui_verb_sweep = {
    .name = "sweep",
    .usage = "FOLDER [--bits 2,3,4,8] [--layers GLOB] [--measure N|all] [--max-drop X] [--json]",
    .help = "What each layer alone costs in accuracy at each width: predicted, or measured.",
    .example = "qexplore sweep samples/fashion-cnn --bits 2,3,4,8 --measure 6",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_SETTING | UI_FLAGS_SESSION | UI_FLAGS_SEARCH,
    .min_positional = 1,
    .max_positional = 1,
    .run = sweep_run,
};

#include "cmocka_all.h"

#include "harness.h"

#include "script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *sample_path(const char *name)
{
    static char path[1000];
    snprintf(path, sizeof(path), "%s/samples/%s", QX_SOURCE_ROOT, name);
    return path;
}

void app_open(struct ui_app *app, const char *path, int w, int h, bool measure)
{
    struct qx_session_options options = {.threads = 1, .fresh = true};
    struct qx_session *session;
    struct qx_error err;
    if (qx_session_open(path, &options, &session, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    qx_session_set_auto_measure(session, measure);
    assert_true(ui_app_init(app, session, w, h));
    app->animate = false;
}

void app_open_weights(struct ui_app *app, const char *link, int w, int h)
{
    unlink(link);
    assert_int_equal(symlink(sample_path("fashion-cnn/model.safetensors"), link), 0);
    app_open(app, link, w, h, false);
    app->first_line = false;
}

void app_close(struct ui_app *app)
{
    ui_app_release(app);
}

void app_settle(struct ui_app *app)
{
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, app->w, app->h));
    for (int i = 0; i < 3; i++) {
        qx_session_settle(app->session, 120000);
        ui_news(app, ~0u);
        ui_draw(app, &c);
    }
    qx_session_settle(app->session, 120000);
    ui_canvas_release(&c);
}

void app_line(struct ui_app *app, const char *line)
{
    char why[300];
    if (!ui_script_line(app, line, why, sizeof(why))) {
        fail_msg("%s: %s", line, why);
    }
}

bool app_shows(struct ui_app *app, const char *text)
{
    static char line[400 * 7];
    struct ui_canvas c;
    bool found = false;
    assert_true(ui_canvas_init(&c, app->w, app->h));
    ui_draw(app, &c);
    for (int y = 0; y < c.h && !found; y++) {
        line[0] = '\0';
        for (int x = 0; x < c.w; x++) {
            strcat(line, ui_canvas_at(&c, x, y)->glyph);
        }
        found = strstr(line, text) != NULL;
    }
    ui_canvas_release(&c);
    return found;
}

void app_find(struct ui_app *app, const char *text, int *x, int *y)
{
    static char line[400 * 7];
    struct ui_canvas c;
    assert_true(ui_canvas_init(&c, app->w, app->h));
    ui_draw(app, &c);
    *x = *y = -1;
    for (int j = 0; j < c.h && *y < 0; j++) {
        for (int i = 0; i < c.w && *y < 0; i++) {
            line[0] = '\0';
            for (int k = i; k < c.w && k < i + (int)strlen(text); k++) {
                strcat(line, ui_canvas_at(&c, k, j)->glyph);
            }
            if (strncmp(line, text, strlen(text)) == 0) {
                *x = i;
                *y = j;
            }
        }
    }
    ui_canvas_release(&c);
    if (*y < 0) {
        fail_msg("'%s' is not on the screen", text);
    }
}

void app_mouse(struct ui_app *app, enum ui_mouse_kind kind, int x, int y, int wheel)
{
    ui_mouse_event(app, &(struct ui_mouse){.kind = kind, .x = x, .y = y, .wheel = wheel});
}

/* ---- a network of whole numbers ---- */

enum { ROWS = 40, SIDE = 6, PIXELS = SIDE * SIDE, CLASSES = 3 };

static void tensors_write(const char *path, const char *header, const void *a, size_t n_a,
                          const void *b, size_t n_b)
{
    const uint64_t size = (strlen(header) + 7) / 8 * 8;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&size, sizeof(size), 1, f), 1);
    fprintf(f, "%-*s", (int)size, header);
    assert_int_equal(fwrite(a, 1, n_a, f), n_a);
    assert_int_equal(fwrite(b, 1, n_b, f), n_b);
    assert_int_equal(fclose(f), 0);
}

static void text_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

const char *exact_folder(void)
{
    static const char name[] = "exact";
    static const char graph[] = "{\"schema\":\"qexplore.graph/"
                                "1\",\"name\":\"exact\",\"task\":\"classification\",\"inputs\":"
                                "[{\"name\":\"x\",\"dtype\":\"F32\",\"shape\":[\"N\",1,6,6]}],"
                                "\"nodes\":[{\"op\":\"Flatten\","
                                "\"name\":\"flat\",\"inputs\":[\"x\"],\"outputs\":[\"h\"],"
                                "\"attrs\":{\"axis\":1}},{\"op\":\"Gemm\","
                                "\"name\":\"fc\",\"inputs\":[\"h\",\"fc.weight\"],\"outputs\":["
                                "\"y\"],\"attrs\":{\"transB\":1}}],"
                                "\"outputs\":[\"y\"],\"labels\":[\"top\",\"middle\",\"bottom\"]}";
    static float x[ROWS][PIXELS], w[CLASSES][PIXELS], other[1];
    int64_t label[ROWS] = {0};
    unsigned seed = 3;
    for (int c = 0; c < CLASSES; c++) {
        for (int i = 0; i < PIXELS; i++) {
            w[c][i] = (float)((int)next_random(&seed, 11) - 5); /* two bits round all but 0 */
        }
        w[c][0] = 6; /* what min-max takes as its threshold: 2 bits are steps of 6 */
    }
    for (int i = 0; i < ROWS; i++) {
        float best = -1e9f;
        for (int k = 0; k < PIXELS; k++) {
            x[i][k] = (float)((int)next_random(&seed, 8) - 3);
        }
        for (int c = 0; c < CLASSES; c++) {
            float sum = 0;
            for (int k = 0; k < PIXELS; k++) {
                sum += w[c][k] * x[i][k];
            }
            label[i] = sum > best ? c : label[i];
            best = sum > best ? sum : best;
        }
        label[i] = i % 8 == 7 ? (label[i] + 1) % CLASSES : label[i]; /* some are wrong */
    }
    mkdir(name, 0700);
    tensors_write("exact/model.safetensors",
                  "{\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[3,36],\"data_offsets\":[0,432]}}",
                  w, sizeof(w), other, 0);
    tensors_write("exact/eval.safetensors",
                  "{\"x\":{\"dtype\":\"F32\",\"shape\":[40,1,6,6],\"data_offsets\":[0,5760]},"
                  "\"labels\":{\"dtype\":\"I64\",\"shape\":[40],\"data_offsets\":[5760,6080]}}",
                  x, sizeof(x), label, sizeof(label));
    text_write("exact/graph.json", graph);
    return name;
}

enum {
    WORDS = 12,
    WIDTH = 8,
    INNER = 2,
    DOCUMENTS = 6,
    DOCUMENT = 25,
    TOKENS = DOCUMENTS * DOCUMENT
};

/* Attention and products inside add nothing, and the norm divides by 1: the head alone is left. */
static void words_weights(unsigned *seed)
{
    static const struct {
        const char *name;
        int rows, columns; /* columns 0: a vector of ones */
    } tensors[] = {{"model.embed_tokens", WORDS, WIDTH},
                   {"lm_head", WORDS, WIDTH},
                   {"model.norm", WIDTH, 0},
                   {"model.layers.0.input_layernorm", WIDTH, 0},
                   {"model.layers.0.post_attention_layernorm", WIDTH, 0},
                   {"model.layers.0.self_attn.q_proj", WIDTH, WIDTH},
                   {"model.layers.0.self_attn.k_proj", WIDTH, WIDTH},
                   {"model.layers.0.self_attn.v_proj", WIDTH, WIDTH},
                   {"model.layers.0.self_attn.o_proj", WIDTH, WIDTH},
                   {"model.layers.0.mlp.gate_proj", INNER, WIDTH},
                   {"model.layers.0.mlp.up_proj", INNER, WIDTH},
                   {"model.layers.0.mlp.down_proj", WIDTH, INNER}};
    static float w[2 * WORDS * WIDTH + 3 * WIDTH + 4 * WIDTH * WIDTH + 3 * INNER * WIDTH];
    char header[2000] = "{";
    int at = 0;
    for (size_t t = 0; t < sizeof(tensors) / sizeof(tensors[0]); t++) {
        const int columns = tensors[t].columns, n = tensors[t].rows * (columns ? columns : 1);
        char shape[32];
        snprintf(shape, sizeof(shape), columns ? "%d,%d" : "%d", tensors[t].rows, columns);
        snprintf(header + strlen(header), sizeof(header) - strlen(header),
                 "%s\"%s.weight\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%d,%d]}",
                 t ? "," : "", tensors[t].name, shape, 4 * at, 4 * (at + n));
        for (int i = 0; i < n; i++, at++) {
            w[at] = t == 0   ? (next_random(seed, 2) ? 1 : -1)
                    : t == 1 ? (i % WIDTH == 0 ? 1.5f : ((float)next_random(seed, 11) - 5) / 4)
                             : (columns == 0);
        }
    }
    strcat(header, "}");
    tensors_write("exact-words/model.safetensors", header, w, sizeof(w), w, 0);
}

const char *exact_words_folder(void)
{
    static const char name[] = "exact-words";
    static int32_t ids[TOKENS];
    int64_t offset[DOCUMENTS + 1];
    unsigned seed = 11;
    mkdir(name, 0700);
    words_weights(&seed);
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = (int32_t)next_random(&seed, WORDS - 3) + 3;
    }
    for (int i = 0; i <= DOCUMENTS; i++) {
        offset[i] = i * DOCUMENT;
    }
    tensors_write("exact-words/eval.safetensors",
                  "{\"input_ids\":{\"dtype\":\"I32\",\"shape\":[150],\"data_offsets\":[0,600]},"
                  "\"doc_offsets\":{\"dtype\":\"I64\",\"shape\":[7],\"data_offsets\":[600,656]}}",
                  ids, sizeof(ids), offset, sizeof(offset));
    text_write("exact-words/config.json",
               "{\"model_type\":\"llama\",\"hidden_size\":8,\"num_hidden_layers\":1,"
               "\"num_attention_heads\":1,\"intermediate_size\":2,\"vocab_size\":12,"
               "\"max_position_embeddings\":24,\"rms_norm_eps\":1e-30}");
    text_write("exact-words/vocab.txt",
               "[UNK]\n[CLS]\n[SEP]\ncat\ndog\nbird\nsees\nflies\nhome\nand\naway\nalone\n");
    return name;
}

const char *app_recipe(struct ui_app *app)
{
    static char text[2][65536];
    static int turn;
    char path[100];
    struct qx_error err;
    turn = !turn;
    snprintf(path, sizeof(path), "recipe-%d.json", (int)getpid());
    if (qx_session_save_recipe(app->session, path, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text[turn], 1, sizeof(text[turn]) - 1, f);
    text[turn][n] = 0;
    fclose(f);
    unlink(path);
    return text[turn];
}

unsigned next_random(unsigned *seed, unsigned n)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 10) % n;
}

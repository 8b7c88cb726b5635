/* Any bytes as the graph.json of a folder with a few small tensors: refused with a sentence that names
 * the file, or opened; a small network that opens also runs, and leaves its guard values alone. */
#include "fuzz.h"

#include "net/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Networks beyond this are opened but not run. */
#define FLOATS_MAX (INT64_C(1) << 14)
#define MACS_MAX   (INT64_C(1) << 22)
#define GUARD      12345.0f
enum { N_ROWS = 5 };

static char folder[64], model_path[96], graph_path[96];
static struct qx_model *model;

static enum qx_status read_pattern(void *arg, int64_t first, int64_t n, float *out,
                                   struct qx_error *err)
{
    (void)arg;
    (void)err;
    for (int64_t i = 0; i < n; i++) {
        out[i] = (float)((first + i) * 37 % 101 - 50) / 50.0f;
    }
    return QX_OK;
}

static void remove_folder(void)
{
    qx_model_close(&model);
    unlink(graph_path);
    unlink(model_path);
    rmdir(folder);
}

/* Once: the folder that every input becomes the graph of. */
static void make_folder(void)
{
    static const int64_t w[] = {4, 2, 3, 3}, w1[] = {4, 1, 3}, fc[] = {3, 72}, table[] = {10, 4},
                         two[] = {2};
    static const int64_t rest[] = {0, -1}, ids[] = {0, 3};
    const struct qx_write_tensor tensors[] = {
        {.name = "w", .dtype = QX_DTYPE_F32, .rank = 4, .shape = w, .read = read_pattern},
        {.name = "w1", .dtype = QX_DTYPE_F16, .rank = 3, .shape = w1, .read = read_pattern},
        {.name = "b", .dtype = QX_DTYPE_F32, .rank = 1, .shape = w, .read = read_pattern},
        {.name = "c", .dtype = QX_DTYPE_F32, .rank = 1, .shape = two, .read = read_pattern},
        {.name = "fc", .dtype = QX_DTYPE_F32, .rank = 2, .shape = fc, .read = read_pattern},
        {.name = "one", .dtype = QX_DTYPE_F32, .rank = 0, .shape = w, .read = read_pattern},
        {.name = "t", .dtype = QX_DTYPE_F32, .rank = 2, .shape = table, .read = read_pattern},
        {.name = "r", .dtype = QX_DTYPE_I64, .rank = 1, .shape = two, .raw = (const void *)rest},
        {.name = "i", .dtype = QX_DTYPE_I64, .rank = 1, .shape = two, .raw = (const void *)ids},
    };
    snprintf(folder, sizeof folder, "fuzz-graph-XXXXXX");
    fuzz_check(mkdtemp(folder) != NULL, "a folder to work in");
    snprintf(model_path, sizeof model_path, "%s/model.safetensors", folder);
    snprintf(graph_path, sizeof graph_path, "%s/graph.json", folder);
    fuzz_check(qx_safetensors_write(model_path, tensors,
                                    (int64_t)(sizeof tensors / sizeof *tensors), NULL, 0, NULL,
                                    NULL) == QX_OK,
               "the model is written");
    fuzz_check(qx_model_open(folder, &model, NULL) == QX_OK, "the model opens");
    atexit(remove_folder);
}

static void write_graph(const uint8_t *data, size_t size)
{
    FILE *file = fopen(graph_path, "wb");
    fuzz_check(file && fwrite(data, 1, size, file) == size && fclose(file) == 0,
               "the graph is written");
}

static void run(const struct qx_net *net)
{
    const int64_t size = qx_net_sample_size(net), n = (int64_t)N_ROWS * qx_net_n_classes(net);
    struct qx_weights *w = NULL;
    struct qx_error err = {0};
    float *x = malloc((size_t)(N_ROWS * size) * sizeof *x);
    float *logits = malloc((size_t)(n + 1) * sizeof *logits);
    fuzz_check(x && logits && qx_weights_new(net, &w, &err) == QX_OK, "memory to run");
    for (int64_t i = 0; i < N_ROWS * size; i++) {
        x[i] = qx_net_input_is_ids(net) ? (float)(i % 12) : (float)(i % 7) - 3.0f;
    }
    logits[n] = GUARD;
    const enum qx_status st = qx_net_forward(net, w, x, N_ROWS, logits, NULL, NULL, &err);
    fuzz_check(st == QX_OK || (st == QX_EDATA && err.text[0]), "it runs, or names a bad id");
    fuzz_check(logits[n] == GUARD, "no logit beyond the last");
    qx_weights_free(w);
    free(x);
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qx_net *net = NULL;
    struct qx_error err = {0};
    if (!model) {
        make_folder();
    }
    write_graph(data, size);
    const enum qx_status st = qx_net_open(model, &net, &err);
    if (st != QX_OK) {
        fuzz_check(!net && err.status == st && strstr(err.text, "graph.json"),
                   "a refusal names the file");
        return 0;
    }
    if (net->plan.whole.floats <= FLOATS_MAX && qx_net_sample_size(net) <= FLOATS_MAX &&
        qx_net_macs(net) <= MACS_MAX) {
        run(net);
    }
    qx_net_close(&net);
    return 0;
}

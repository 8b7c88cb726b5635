/* Open times: a header of 20,000 tensors, and a 70-GB set of sparse shards. Prints, never fails on
 * figures. Writes its files below the current folder and removes them. */
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "qx/qx.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_RUNS = 7, N_TENSORS = 20000, N_SHARDS = 14, SHARD_TENSORS = 50 };

static const char *const parts[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                    "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                    "mlp.down_proj",    "input_layernorm"};

static void die(const char *what)
{
    fprintf(stderr, "bench_open: %s\n", what);
    exit(1);
}

/* A sparse file: header from buf, then `data` bytes of zeros. */
static void write_sparse(const char *path, struct qx_buf *json, uint64_t data)
{
    while (json->len % 8) {
        qx_buf_puts(json, " ");
    }
    uint64_t n = json->len;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, &n, 8) != 8 || write(fd, json->data, n) != (ssize_t)n ||
        ftruncate(fd, (off_t)(8 + n + data)) != 0) {
        die("cannot write a sparse file here");
    }
    close(fd);
    qx_buf_release(json);
}

static void add_tensor(struct qx_buf *b, const char *name, const char *dtype, int64_t rows,
                       int64_t cols, uint64_t *at)
{
    uint64_t end = *at + (uint64_t)(rows * cols) * 2;
    qx_buf_printf(b,
                  "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%lld,%lld],\"data_offsets\":[%llu,%llu]}",
                  b->len > 1 ? "," : "", name, dtype, (long long)rows, (long long)cols,
                  (unsigned long long)*at, (unsigned long long)end);
    *at = end;
}

static void report(const char *what, const char *path)
{
    double times[N_RUNS];
    int64_t n = 0;
    for (int i = 0; i < N_RUNS; i++) {
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        double t = qx_clock_s();
        if (qx_model_open(path, &m, &err) != QX_OK) {
            die(err.text);
        }
        times[i] = qx_clock_s() - t;
        n = qx_model_n_tensors(m);
        qx_model_close(&m);
    }
    for (int i = 1; i < N_RUNS; i++) {
        for (int j = i; j > 0 && times[j] < times[j - 1]; j--) {
            double swap = times[j];
            times[j] = times[j - 1];
            times[j - 1] = swap;
        }
    }
    printf("%-34s %6lld tensors  median %7.2f ms  worst %7.2f ms\n", what, (long long)n,
           1e3 * times[N_RUNS / 2], 1e3 * times[N_RUNS - 1]);
}

static void bench_wide(void)
{
    struct qx_buf b = {0};
    uint64_t at = 0;
    qx_buf_puts(&b, "{");
    for (int i = 0; i < N_TENSORS; i++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", i / 8, parts[i % 8]);
        add_tensor(&b, name, "BF16", 64, 64, &at);
    }
    qx_buf_puts(&b, "}");
    write_sparse("bench_wide.safetensors", &b, at);
    report("20,000-tensor header", "bench_wide.safetensors");
    unlink("bench_wide.safetensors");
}

static void bench_shards(void)
{
    struct qx_buf index = {0};
    qx_buf_puts(&index, "{\"weight_map\":{");
    for (int s = 0; s < N_SHARDS; s++) {
        struct qx_buf b = {0};
        uint64_t at = 0;
        char path[80];
        snprintf(path, sizeof path, "bench_sparse-%05d-of-%05d.safetensors", s + 1, N_SHARDS);
        qx_buf_puts(&b, "{");
        for (int i = 0; i < SHARD_TENSORS; i++) {
            char name[128];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", s * SHARD_TENSORS + i / 8,
                     parts[i % 8]);
            add_tensor(&b, name, "BF16", 8192, 6144, &at);
            qx_buf_printf(&index, "%s\"%s\":\"%s\"", s + i ? "," : "", name, path);
        }
        qx_buf_puts(&b, "}");
        write_sparse(path, &b, at);
    }
    qx_buf_puts(&index, "}}");
    if (qx_fs_write_atomic("bench_sparse.safetensors.index.json", index.data, index.len, NULL)) {
        die("cannot write the index");
    }
    qx_buf_release(&index);
    report("70-GB sparse set, 14 shards", "bench_sparse.safetensors.index.json");
    unlink("bench_sparse.safetensors.index.json");
    for (int s = 0; s < N_SHARDS; s++) {
        char path[80];
        snprintf(path, sizeof path, "bench_sparse-%05d-of-%05d.safetensors", s + 1, N_SHARDS);
        unlink(path);
    }
}

int main(void)
{
    bench_wide();
    bench_shards();
    return 0;
}

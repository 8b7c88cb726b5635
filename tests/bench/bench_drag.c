/* Key to last byte of a drag on a tensor of 500 million values, through a pseudo-terminal at 200x60:
 * percentiles of 300 drag steps and bytes per frame. `bench_drag QEXPLORE [MILLIONS]`. */
#include "ptyrun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 300, W = 200, H = 60 };

static struct pty pty;

/* A sparse file: zeros but for a run of values at the front, so that there is something to see. */
static void write_model(const char *path, long long n)
{
    char header[256];
    int len = snprintf(header, sizeof(header),
                       "{\"big.weight\":{\"dtype\":\"BF16\",\"shape\":[%lld,1000],"
                       "\"data_offsets\":[0,%lld]}}",
                       n / 1000, 2 * n);
    while ((8 + len) % 8) {
        header[len++] = ' ';
    }
    FILE *f = fopen(path, "w");
    unsigned char size[8] = {(unsigned char)len, (unsigned char)(len >> 8)};
    fwrite(size, 1, 8, f);
    fwrite(header, 1, (size_t)len, f);
    unsigned seed = 1;
    for (int i = 0; i < 4000000; i++) {
        float sum = 0; /* of four uniform numbers: near enough to a bell */
        for (int k = 0; k < 4; k++) {
            seed = seed * 1664525 + 1013904223;
            sum += (float)(seed >> 8) / 16777216.0f - 0.5f;
        }
        unsigned bits;
        memcpy(&bits, &sum, 4);
        unsigned short half = (unsigned short)(bits >> 16);
        fwrite(&half, 2, 1, f);
    }
    fclose(f);
    if (truncate(path, 8 + len + 2 * n) != 0) {
        perror(path);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    long long millions = argc > 2 ? atoll(argv[2]) : 500;
    const char *path = "bench_drag.safetensors";
    if (argc < 2) {
        return 2;
    }
    write_model(path, millions * 1000000);
    char *args[] = {argv[1], (char *)path, "--fresh", "--theme", "dark", NULL};
    double start = pty_now();
    if (!pty_start(&pty, args, "xterm-256color", W, H) || !pty_wait(&pty, "Model", 10000)) {
        printf("no first frame\n");
        return 1;
    }
    printf("first frame after %.1f ms\n", 1000 * (pty_now() - start));
    pty_type(&pty, "4gl");
    pty_wait(&pty, "INT4", 10000);
    pty_type(&pty, "v");
    pty_type(&pty, "V");
    pty_type(&pty, "V"); /* one scale per tensor */
    pty_quiet(&pty, 1500, 120000);
    double ms[STEPS], bytes = 0, most = 0;
    for (int i = 0; i < STEPS; i++) {
        double before = pty_now();
        pty_type(&pty, i / 40 % 2 ? "l" : "h");
        size_t n = pty_quiet(&pty, 12, 1000);
        ms[i] = 1000 * (pty_now() - before) - 12; /* the silence that tells the end */
        bytes += (double)n;
        most = (double)n > most ? (double)n : most;
    }
    qsort(ms, STEPS, sizeof(ms[0]), compare);
    printf("drag step on %lld M values at %dx%d: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n", millions,
           W, H, ms[STEPS / 2], ms[STEPS * 99 / 100], ms[STEPS - 1]);
    printf("bytes per frame: mean %.0f, most %.0f\n", bytes / STEPS, most);
    pty_type(&pty, "q");
    pty_end(&pty, 10000);
    pty_close(&pty);
    unlink(path);
    return 0;
}

/* What the tests of suffix replay share: a network with its data and settings, and runs that fail. */
#ifndef REPLAY_FIXTURE_H
#define REPLAY_FIXTURE_H

#include "net_fixture.h"

enum { BENCH_LAYERS_MOST = 40 };
struct bench {
    struct folder f;
    struct qx_dataset *data;
    struct qx_setting set[BENCH_LAYERS_MOST]; /* fp32 at first */
    int n;
};
/* The folder's network on its eval.safetensors. */
void bench_open(struct bench *b, const char *path);
void bench_close(struct bench *b);

/* Allocation after allocation fails: nothing comes of it, until none does. */
struct qx_replay *bench_replay_failing(struct bench *b, int64_t rows, uint64_t seed);
/* The same of a run; edit is called before each try, with its number from 1. */
typedef void (*bench_edit)(struct bench *b, int round, int64_t try);
struct qx_replay_result bench_run_failing(struct bench *b, struct qx_replay *r, int round,
                                          bench_edit edit);
void bench_cancel(const struct bench *b, struct qx_replay *r);

#endif

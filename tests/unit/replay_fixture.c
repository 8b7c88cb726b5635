#include "replay_fixture.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

void bench_open(struct bench *b, const char *path)
{
    char file[600];
    folder_open(&b->f, path);
    snprintf(file, sizeof file, "%s/eval.safetensors", path);
    assert_int_equal(qx_dataset_open(file, b->f.net, &b->data, NULL), QX_OK);
    b->n = qx_net_n_layers(b->f.net);
    assert_true(b->n <= BENCH_LAYERS_MOST);
    for (int i = 0; i < b->n; i++) {
        b->set[i] = qx_setting_fp32();
    }
}

void bench_close(struct bench *b)
{
    qx_dataset_close(&b->data);
    folder_close(&b->f);
}

struct qx_replay *bench_replay_failing(struct bench *b, int64_t rows, uint64_t seed)
{
    struct qx_replay *r = NULL;
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        qx_mem_fail_at(n);
        st = qx_replay_new(b->f.net, b->data, rows, seed, UINT64_MAX, NULL, NULL, &r, NULL);
        qx_mem_fail_at(0);
        assert_true(n < 300 && (st == QX_OK || st == QX_ENOMEM) && (st == QX_OK) == (r != NULL));
    }
    return r;
}

struct qx_replay_result bench_run_failing(struct bench *b, struct qx_replay *r, int round,
                                          bench_edit edit)
{
    struct qx_replay_result now;
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        edit(b, round, n);
        qx_mem_fail_at(n);
        st = qx_replay_run(r, b->set, NULL, NULL, &now, NULL);
        qx_mem_fail_at(0);
        assert_true(n < 1000 && (st == QX_OK || st == QX_ENOMEM));
    }
    return now;
}

void bench_cancel(const struct bench *b, struct qx_replay *r)
{
    struct qx_ctl ctl = {0};
    struct qx_replay_result now;
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_replay_run(r, b->set, NULL, &ctl, &now, NULL), QX_ECANCELLED);
}

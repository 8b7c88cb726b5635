/* From opening a model to the first predicted figure of an edit, without and with what an earlier session
 * kept on disk; then one edit replayed on P. Prints, never fails on figures. */
#include "base/fs.h"
#include "qx/qx.h"
#include "restart.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "bench_first: %s\n", what);
    exit(1);
}

static int64_t first_layer(const struct qx_session *s)
{
    int l = 0;
    while (qx_net_layer(qx_session_net(s), l)->role != QX_ROLE_LINEAR) {
        l++;
    }
    return qx_net_layer(qx_session_net(s), l)->tensor;
}

static void edit(struct qx_session *s, int bits)
{
    const struct qx_patch patch = {QX_PATCH_BITS, qx_setting_int(bits)};
    const int64_t item = first_layer(s);
    if (qx_session_edit(s, &item, 1, &patch, false, NULL) != QX_OK) {
        die("the edit was refused");
    }
}

/* Opens, edits at once, and polls until the gauge has a predicted value. */
static struct qx_session *first(const char *folder, const char *cache, double *seconds)
{
    const struct qx_session_options o = {.cache_dir = cache, .state_dir = cache, .predict = true};
    struct qx_session *s = NULL;
    struct qx_error err;
    struct qx_gauge g;
    const double start = qx_clock_s(), end = start + 60;
    if (qx_session_open(folder, &o, &s, &err) != QX_OK) {
        die(err.text);
    }
    edit(s, 4);
    do {
        qx_session_settle(s, 1);
        qx_session_gauge(s, &g);
    } while (g.guess != QX_GUESS_PREDICTED && qx_clock_s() < end);
    *seconds = qx_clock_s() - start;
    return s;
}

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    static const char *const samples[] = {QX_SOURCE_ROOT "/samples/fashion-mlp",
                                          QX_SOURCE_ROOT "/samples/fashion-cnn",
                                          QX_SOURCE_ROOT "/samples/bert-sentiment"};
    const int n = argc > 1 ? argc - 1 : (int)(sizeof samples / sizeof *samples);
    for (int i = 0; i < n; i++) {
        const char *folder = argc > 1 ? argv[i + 1] : samples[i];
        char cache[] = "bench-first-XXXXXX", command[64];
        double cold, warm;
        struct qx_session_replay replay = {.is_current = false};
        if (!mkdtemp(cache)) {
            die("no room for a cache here");
        }
        struct qx_session *s = first(folder, cache, &cold);
        qx_session_settle(s, 20000);
        qx_session_close(&s);
        s = first(folder, cache, &warm);
        qx_session_settle(s, 20000);
        edit(s, 5);
        qx_session_settle(s, 20000);
        edit(s, 6);
        for (int k = 0; k < 200 && !replay.is_current; k++) {
            qx_session_settle(s, 1);
            qx_session_replayed(s, &replay);
        }
        printf("%s: predicted after %.2f s, %.2f s from the cache; ", folder, cold, warm);
        if (replay.is_current) {
            printf("an edit replayed in %.1f ms\n", 1000 * replay.result.time_s);
        } else {
            printf("an edit is not replayed: a pass takes too long\n");
        }
        qx_session_close(&s);
        snprintf(command, sizeof command, "rm -rf %s", cache);
        if (system(command) != 0) {
            die("the cache stays behind");
        }
    }
    return 0;
}

/* Networks written on the spot, for the tests of the integer engine. */
#include "integer_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char home[64];

int integer_enter(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/qx-integer-XXXXXX");
    return mkdtemp(home) && chdir(home) == 0 ? 0 : -1;
}

int integer_leave(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", home);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

void integer_open_written(struct folder *f, const char *nodes, const char *input,
                          const char *output)
{
    char text[4096];
    snprintf(text, sizeof text,
             "{'schema':'qexplore.graph/1','inputs':[{'name':'x','dtype':'F32','shape':%s}],"
             "'nodes':[%s],'outputs':['%s']}",
             input, nodes, output);
    char *json = quoted(text);
    text_write("graph.json", json);
    free(json);
    folder_open(f, ".");
}

void integer_apply(struct folder *f, int layer, const struct qx_setting *s)
{
    struct qx_error err = {0};
    if (qx_weights_apply(f->weights, layer, s, NULL, NULL, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
}

void integer_prepare(struct folder *f, enum qx_engine engine)
{
    struct qx_error err = {0};
    if (qx_weights_prepare(f->weights, engine, NULL, NULL, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
}

float *integer_run(const struct folder *f, const float *x, int64_t n, struct qx_pool *pool)
{
    struct qx_error err = {0};
    float *out = malloc((size_t)(n * qx_net_n_classes(f->net)) * sizeof *out);
    assert_non_null(out);
    if (qx_net_run(f->net, f->weights, x, n, out, NULL, pool, NULL, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return out;
}

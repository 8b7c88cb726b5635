/* Data files: scale and offset, labels, and everything that does not fit the network. */
#include "base/mem.h"
#include "net_fixture.h"
#include "test_eval.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct folder net; /* rows of 3, 4 classes */
static struct folder on_ids;

static const char *const graph =
    "{'schema':'qexplore.graph/"
    "1','inputs':[{'name':'in','dtype':'%s','shape':['N',3]}],'nodes':[%s],"
    "'outputs':['y']}";

static void write_net(const char *dir, const char *dtype, const char *nodes)
{
    static const struct tensor_spec tensors[] = {{"w", "F32", 2, {4, 3}, NULL},
                                                 {"table", "F32", 2, {9, 4}, NULL}};
    char text[2048], command[64];
    snprintf(command, sizeof command, "mkdir -p %s", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(chdir(dir), 0);
    model_write("model.safetensors", tensors, 2, NULL);
    snprintf(text, sizeof text, graph, dtype, nodes);
    char *json = quoted(text);
    text_write("graph.json", json);
    free(json);
    assert_int_equal(chdir(".."), 0);
}

static int enter_folder(void **state)
{
    if (scratch_enter(state) != 0) {
        return -1;
    }
    write_net("a", "F32",
              "{'op':'Gemm','name':'fc','inputs':['in','w'],'outputs':['y'],'attrs':{'transB':1}}");
    write_net(
        "b", "I64",
        "{'op':'Gather','name':'e','inputs':['table','in'],'outputs':['e.out']},"
        "{'op':'ReduceMean','name':'m','inputs':['e.out'],'outputs':['y'],'attrs':{'axes':[1],"
        "'keepdims':0}}");
    folder_open(&net, "a");
    folder_open(&on_ids, "b");
    return 0;
}

static int leave_folder(void **state)
{
    folder_close(&net);
    folder_close(&on_ids);
    return scratch_leave(state);
}

static const uint8_t bytes[] = {0, 10, 255, 7, 8, 9};
static const int64_t wide[] = {3, 1}, negative[] = {0, -1}, beyond[] = {0, 4};
static const uint8_t right[] = {1, 3};

static void open_data(const struct folder *f, const struct tensor_spec *tensors, int n,
                      const char *metadata, struct qx_dataset **out)
{
    struct qx_error err = {0};
    model_write("d.safetensors", tensors, n, metadata);
    if (qx_dataset_open("d.safetensors", f->net, out, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
}

static void stored_values_become_real_ones(void **state)
{
    (void)state;
    static const struct {
        const char *metadata;
        float want[3]; /* of the stored 0, 10, 255 */
    } cases[] = {
        {NULL, {0, 10, 255}},
        {"{'format':'pt'}", {0, 10, 255}},
        {"{'x.scale':'0.5','x.offset':'10'}", {-5, 0, 122.5f}},
        {"{'x.scale':'0.25'}", {0, 2.5f, 63.75f}},
        {"{'x.offset':'-1.5'}", {1.5f, 11.5f, 256.5f}},
    };
    const struct tensor_spec tensors[] = {{"x", "U8", 2, {2, 3}, bytes},
                                          {"labels", "U8", 1, {2}, right}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_dataset *data = NULL;
        float x[6];
        open_data(&net, tensors, 2, cases[i].metadata, &data);
        assert_int_equal(qx_dataset_n(data), 2);
        assert_int_equal(qx_dataset_read(data, 0, 2, x, NULL), QX_OK);
        for (int k = 0; k < 3; k++) {
            assert_true(x[k] == cases[i].want[k]);
        }
        assert_int_equal(qx_dataset_read(data, 1, 1, x, NULL), QX_OK);
        assert_int_equal(qx_dataset_read(data, 1, 2, x, NULL), QX_ERANGE);
        assert_int_equal(qx_dataset_read(data, -1, 1, x, NULL), QX_ERANGE);
        qx_dataset_close(&data);
    }
}

static void labels_are_read_or_absent(void **state)
{
    (void)state;
    const struct tensor_spec tensors[] = {{"x", "U8", 2, {2, 3}, bytes},
                                          {"labels", "I64", 1, {2}, wide}};
    struct qx_dataset *data = NULL;
    open_data(&net, tensors, 2, NULL, &data);
    assert_int_equal(qx_dataset_label(data, 0), 3);
    assert_int_equal(qx_dataset_label(data, 1), 1);
    assert_int_equal(qx_dataset_label(data, 2), -1);
    qx_dataset_close(&data);
    open_data(&net, tensors, 1, NULL, &data);
    assert_int_equal(qx_dataset_label(data, 0), -1);
    struct qx_eval_result *r = NULL;
    struct qx_error err = {0};
    assert_int_equal(qx_eval_run(net.net, data, net.weights, NULL, NULL, NULL, &r, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "labels"));
    qx_dataset_close(&data);
}

static void the_hash_follows_the_values(void **state)
{
    (void)state;
    static const uint8_t other[] = {0, 10, 255, 7, 8, 10};
    const struct tensor_spec a[] = {{"x", "U8", 2, {2, 3}, bytes}};
    const struct tensor_spec b[] = {{"x", "U8", 2, {2, 3}, other}};
    struct qx_dataset *first = NULL, *second = NULL, *third = NULL;
    open_data(&net, a, 1, NULL, &first);
    char hash[17];
    snprintf(hash, sizeof hash, "%s", qx_dataset_hash(first));
    assert_int_equal(strlen(hash), 16);
    qx_dataset_close(&first);
    open_data(&net, b, 1, NULL, &second);
    assert_string_not_equal(hash, qx_dataset_hash(second));
    qx_dataset_close(&second);
    open_data(&net, a, 1, NULL, &third);
    assert_string_equal(hash, qx_dataset_hash(third));
    qx_dataset_close(&third);
}

static void what_does_not_fit_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const struct folder *f;
        struct tensor_spec tensors[2];
        const char *metadata;
        enum qx_status status;
        const char *part;
    } cases[] = {
        {&net, {{"y", "U8", 2, {2, 3}, bytes}}, NULL, QX_EDATA, "'x'"},
        {&net, {{"x", "U8", 2, {3, 2}, bytes}}, NULL, QX_EDATA, "[3, 2]"},
        {&net, {{"x", "U8", 1, {6}, bytes}}, NULL, QX_EDATA, "[6]"},
        {&net, {{"x", "U8", 3, {2, 1, 3}, bytes}}, NULL, QX_EDATA, "[2, 1, 3]"},
        {&net, {{"x", "U8", 2, {0, 3}, bytes}}, NULL, QX_EDATA, "no rows"},
        {&net, {{"x", "F8_E8M0", 2, {2, 3}, bytes}}, NULL, QX_EUNSUPPORTED, "F8_E8M0"},
        {&on_ids, {{"x", "F32", 2, {2, 3}, NULL}}, NULL, QX_EDATA, "ids"},
        {&net, {{"x", "U8", 2, {2, 3}, bytes}}, "{'x.scale':'much'}", QX_EFORMAT, "x.scale"},
        {&net, {{"x", "U8", 2, {2, 3}, bytes}}, "{'x.offset':'1,5'}", QX_EFORMAT, "x.offset"},
        {&net, {{"x", "U8", 2, {2, 3}, bytes}}, "{'x.scale':'inf'}", QX_EFORMAT, "x.scale"},
        {&net,
         {{"labels", "U8", 1, {1}, right}, {"x", "U8", 2, {2, 3}, bytes}},
         NULL,
         QX_EDATA,
         "'labels'"},
        {&net,
         {{"labels", "U8", 2, {1, 2}, right}, {"x", "U8", 2, {2, 3}, bytes}},
         NULL,
         QX_EDATA,
         "'labels'"},
        {&net,
         {{"labels", "F32", 1, {2}, NULL}, {"x", "U8", 2, {2, 3}, bytes}},
         NULL,
         QX_EDATA,
         "'labels'"},
        {&net,
         {{"labels", "I64", 1, {2}, beyond}, {"x", "U8", 2, {2, 3}, bytes}},
         NULL,
         QX_EDATA,
         "row 1 has the label 4"},
        {&net,
         {{"labels", "I64", 1, {2}, negative}, {"x", "U8", 2, {2, 3}, bytes}},
         NULL,
         QX_EDATA,
         "row 1 has the label -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_dataset *data = NULL;
        struct qx_error err = {0};
        model_write("d.safetensors", cases[i].tensors, cases[i].tensors[1].name ? 2 : 1,
                    cases[i].metadata);
        enum qx_status st = qx_dataset_open("d.safetensors", cases[i].f->net, &data, &err);
        if (st != cases[i].status || !strstr(err.text, cases[i].part) ||
            !strstr(err.text, "d.safetensors")) {
            fail_msg("case %zu: status %d, %s", i, st, err.text);
        }
        assert_null(data);
    }
}

static void ids_are_not_scaled(void **state)
{
    (void)state;
    const struct tensor_spec tensors[] = {{"x", "U8", 2, {2, 3}, bytes}};
    struct qx_dataset *data = NULL;
    float x[6];
    open_data(&on_ids, tensors, 1, "{'x.scale':'0.5'}", &data);
    assert_int_equal(qx_dataset_read(data, 0, 2, x, NULL), QX_OK);
    assert_true(x[1] == 10.0f);
    qx_dataset_close(&data);
}

static void a_missing_file_is_an_io_error(void **state)
{
    (void)state;
    struct qx_dataset *data = NULL;
    struct qx_error err = {0};
    assert_int_equal(qx_dataset_open("absent.safetensors", net.net, &data, &err), QX_EIO);
    assert_non_null(strstr(err.text, "absent.safetensors"));
}

static void opening_and_measuring_survive_every_failed_allocation(void **state)
{
    (void)state;
    const struct tensor_spec tensors[] = {{"x", "U8", 2, {2, 3}, bytes},
                                          {"labels", "U8", 1, {2}, right}};
    enum qx_status st = QX_ENOMEM;
    model_write("d.safetensors", tensors, 2, NULL);
    for (int64_t n = 1; st != QX_OK; n++) {
        struct qx_dataset *data = NULL;
        struct qx_eval_result *r = NULL;
        struct qx_error err = {0};
        qx_mem_fail_at(n);
        st = qx_dataset_open("d.safetensors", net.net, &data, &err);
        if (st == QX_OK) {
            st = qx_eval_run(net.net, data, net.weights, NULL, NULL, NULL, &r, &err);
        }
        qx_mem_fail_at(0);
        qx_eval_result_free(r);
        qx_dataset_close(&data);
        assert_true(st == QX_OK || st == QX_ENOMEM);
        assert_true(n < 500);
    }
}

int test_eval_data(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_values_become_real_ones),
        cmocka_unit_test(labels_are_read_or_absent),
        cmocka_unit_test(the_hash_follows_the_values),
        cmocka_unit_test(what_does_not_fit_is_refused_by_name),
        cmocka_unit_test(ids_are_not_scaled),
        cmocka_unit_test(a_missing_file_is_an_io_error),
        cmocka_unit_test(opening_and_measuring_survive_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("eval data", tests, enter_folder, leave_folder);
}

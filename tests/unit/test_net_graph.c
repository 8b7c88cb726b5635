/* graph.json as an attacker or a tired exporter writes it: every rule has a broken graph. */
#include "base/mem.h"
#include "net_fixture.h"
#include "test_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const int64_t copy_rest[] = {0, -1}, two_open[] = {-1, -1}, fixed[] = {1, 72},
                     torn[] = {2, -1}, negative[] = {0, -2}, too_big[] = {0, INT64_C(1) << 62},
                     uneven[] = {0, 7, -1}, ids[] = {0, 3};

static const struct tensor_spec tensors[] = {
    {"conv.w", "F32", 4, {4, 2, 3, 3}, NULL},  {"conv.b", "F32", 1, {4}, NULL},
    {"conv.b3", "F32", 1, {3}, NULL},          {"w1d", "F32", 3, {4, 2, 3}, NULL},
    {"fc.w", "F32", 2, {3, 72}, NULL},         {"fc.b", "F32", 1, {3}, NULL},
    {"table", "F32", 2, {10, 4}, NULL},        {"c2", "F32", 1, {2}, NULL},
    {"r.copy", "I64", 1, {2}, copy_rest},      {"r.two", "I64", 1, {2}, two_open},
    {"r.fixed", "I64", 1, {2}, fixed},         {"r.torn", "I64", 1, {2}, torn},
    {"r.negative", "I64", 1, {2}, negative},   {"r.big", "I64", 1, {2}, too_big},
    {"r.uneven", "I64", 1, {3}, uneven},       {"ids", "I64", 1, {2}, ids},
    {"scale8", "F8_E8M0", 1, {4}, "\1\2\3\4"},
};

static int enter_folder(void **state)
{
    if (scratch_enter(state) != 0) {
        return -1;
    }
    model_write("model.safetensors", tensors, (int)(sizeof tensors / sizeof *tensors), NULL);
    return 0;
}

#define X    "[{'name':'x','dtype':'F32','shape':['N',2,6,6]}]"
#define FLAT "{'op':'Flatten','name':'f','inputs':['x'],'outputs':['f.out']}"
#define FC(in)                                                                    \
    "{'op':'Gemm','name':'fc','inputs':['" in "','fc.w','fc.b'],'outputs':['y']," \
    "'attrs':{'transB':1}}"
#define NODE(op, in, attrs) \
    "{'op':'" op "','name':'bad','inputs':[" in "],'outputs':['b.out'],'attrs':{" attrs "}}"

/* One line of tests/golden/graph/broken.txt, cut at its bars. */
enum { PROPERTY, STATUS, PART, PART_2, INPUTS, NODES, REST, N_FIELDS };

static void write_graph(const char *inputs, const char *nodes, const char *rest)
{
    char text[8192];
    const bool has_schema = rest && strstr(rest, "'schema'");
    snprintf(text, sizeof text, "{%s'inputs':%s,'nodes':[%s],%s}",
             has_schema ? "" : "'schema':'qexplore.graph/1',", inputs ? inputs : X, nodes,
             rest ? rest : "'outputs':['y']");
    char *json = quoted(text);
    text_write("graph.json", json);
    free(json);
}

static enum qx_status open_here(struct qx_net **net, struct qx_model **model, struct qx_error *err)
{
    assert_int_equal(qx_model_open(".", model, err), QX_OK);
    enum qx_status st = qx_net_open(*model, net, err);
    if (st != QX_OK) {
        qx_model_close(model);
    }
    return st;
}

static void close_here(struct qx_net *net, struct qx_model *model)
{
    qx_net_close(&net);
    qx_model_close(&model);
}

static enum qx_status status_of(const char *name)
{
    static const char *const names[] = {
#define STATUS_NAME(id, text) #id,
        QX_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) {
            return (enum qx_status)i;
        }
    }
    fail_msg("there is no status %s", name);
    return QX_OK;
}

/* Cuts the line in place; "-" becomes NULL. */
static void cut_line(char *line, char **field)
{
    line[strcspn(line, "\n")] = '\0';
    for (int k = 0; k < N_FIELDS; k++) {
        char *bar = strstr(line, " | ");
        assert_true((bar != NULL) == (k + 1 < N_FIELDS));
        field[k] = strncmp(line, "-", bar ? (size_t)(bar - line) : strlen(line)) == 0 ? NULL : line;
        if (bar) {
            *bar = '\0';
            line = bar + 3;
        }
    }
}

static void assert_refused(char **field)
{
    struct qx_net *net = NULL;
    struct qx_model *model = NULL;
    struct qx_error err = {0};
    write_graph(field[INPUTS], field[NODES] ? field[NODES] : "", field[REST]);
    const enum qx_status st = open_here(&net, &model, &err);
    if (st != status_of(field[STATUS]) || !strstr(err.text, field[PART]) ||
        !strstr(err.text, field[PART_2]) || !strstr(err.text, "graph.json") ||
        !strstr(err.file, "graph.json")) {
        fail_msg("%s: status %d (want %s), text: %s", field[PROPERTY], st, field[STATUS], err.text);
    }
    assert_null(net);
}

static void broken_graphs_are_refused_naming_the_place(void **state)
{
    (void)state;
    char path[512], line[1024], *field[N_FIELDS];
    int n = 0;
    source_path(path, sizeof path, "tests/golden/graph/broken.txt");
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (line[0] != '#') {
            cut_line(line, field);
            assert_refused(field);
            n++;
        }
    }
    fclose(file);
    assert_true(n >= 100);
}

/* Not the shortest way to say it, but allowed. */
static const struct {
    const char *nodes, *rest;
} accepted[] = {
    {FLAT "," FC("f.out"), NULL},
    {FLAT "," FC("f.out"), "'outputs':['y'],'labels':['a','b','c'],'name':'n','note':{'any':1}"},
    {FLAT "," FC("f.out") "," NODE("Softmax", "'y'", "'axis':-1"), NULL},
    {"{'op':'Conv','name':'c','inputs':['x','conv.w',''],'outputs':['c.out'],'attrs':{'auto_pad':"
     "'NOTSET','pads':[1,1,1,1]}},{'op':'Reshape','name':'r','inputs':['c.out','r.copy'],'outputs':"
     "["
     "'y']}",
     NULL},
    {"{'op':'Flatten','name':'f','inputs':['x'],'outputs':['y']}", NULL},
    {"{'op':'ReduceMax','name':'r','inputs':['x'],'outputs':['y'],'attrs':{'axes':[2,3],'keepdims':"
     "0}}",
     NULL},
};

static void odd_but_valid_graphs_open(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        struct qx_net *net = NULL;
        struct qx_model *model = NULL;
        struct qx_error err = {0};
        write_graph(NULL, accepted[i].nodes, accepted[i].rest);
        if (open_here(&net, &model, &err) != QX_OK) {
            fail_msg("graph %zu: %s", i, err.text);
        }
        assert_int_equal(qx_net_sample_size(net), 72);
        assert_string_equal(qx_net_task(net), "classification");
        close_here(net, model);
    }
}

/* The graph of a stranger names no file but below the folder of data sets. */
static void a_graph_says_what_goes_with_training(void **state)
{
    static const struct {
        const char *train, *data, *augment; /* data "": refused */
    } cases[] = {
        {"'outputs':['y']", NULL, NULL},
        {"'outputs':['y'],'train':{}", NULL, NULL},
        {"'outputs':['y'],'train':{'data':'a/b.gz','augment':'flip'}", "a/b.gz", "flip"},
        {"'outputs':['y'],'train':{'data':'/etc/passwd'}", "", NULL},
        {"'outputs':['y'],'train':{'data':'../a'}", "", NULL},
        {"'outputs':['y'],'train':{'data':'a/../../b'}", "", NULL},
        {"'outputs':['y'],'train':{'data':''}", "", NULL},
        {"'outputs':['y'],'train':{'data':7}", "", NULL},
        {"'outputs':['y'],'train':'a/b.gz'", "", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_net *net = NULL;
        struct qx_model *model = NULL;
        struct qx_error err = {0};
        write_graph(NULL, FLAT "," FC("f.out"), cases[i].train);
        const enum qx_status st = open_here(&net, &model, &err);
        if (cases[i].data && !cases[i].data[0]) {
            assert_int_equal(st, QX_EFORMAT);
            continue;
        }
        assert_int_equal(st, QX_OK);
        assert_true(cases[i].data ? !strcmp(qx_net_train_data(net), cases[i].data)
                                  : !qx_net_train_data(net));
        assert_true(cases[i].augment ? !strcmp(qx_net_train_augment(net), cases[i].augment)
                                     : !qx_net_train_augment(net));
        close_here(net, model);
    }
}

static void what_is_no_graph_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",         "{",    "[]", "null", "{\"nodes\": [",
                                        "\xff\xfe", "{} {}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct qx_net *net = NULL;
        struct qx_model *model = NULL;
        struct qx_error err = {0};
        text_write("graph.json", texts[i]);
        assert_int_not_equal(open_here(&net, &model, &err), QX_OK);
        assert_non_null(strstr(err.text, "graph.json"));
    }
}

static void a_folder_without_graph_says_what_still_works(void **state)
{
    (void)state;
    struct qx_net *net = NULL;
    struct qx_model *model = NULL;
    struct qx_error err = {0};
    unlink("graph.json");
    assert_int_equal(open_here(&net, &model, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "graph.json"));
    assert_non_null(strstr(err.text, "assets/convert"));
    text_write("config.json", "{\"model_type\": \"mamba\"}");
    assert_int_equal(open_here(&net, &model, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "'mamba'"));
    assert_non_null(strstr(err.text, "weights"));
    write_graph(NULL, FLAT "," FC("f.out"), NULL);
    assert_int_equal(open_here(&net, &model, &err), QX_OK); /* graph.json wins */
    assert_string_equal(qx_net_arch(net), "graph");
    close_here(net, model);
    unlink("config.json");
}

static void the_net_tells_its_layers_and_classes(void **state)
{
    (void)state;
    struct qx_net *net = NULL;
    struct qx_model *model = NULL;
    const int64_t *dim;
    write_graph(
        NULL,
        "{'op':'Conv','name':'c1','inputs':['x','conv.w','conv.b'],'outputs':['c1.out'],"
        "'attrs':{'pads':[1,1,1,1],'strides':[2,2]}},{'op':'Flatten','name':'f','inputs':['x'"
        "],'outputs':['f.out']}," FC("f.out"),
        "'outputs':['y'],'labels':['cat','dog','eel'],'name':'pets'");
    assert_int_equal(open_here(&net, &model, NULL), QX_OK);
    assert_string_equal(qx_net_name(net), "pets");
    assert_int_equal(qx_net_n_classes(net), 3);
    assert_string_equal(qx_net_class_name(net, 1), "dog");
    assert_int_equal(qx_net_input_shape(net, &dim), 3);
    assert_true(dim[0] == 2 && dim[1] == 6 && dim[2] == 6);
    assert_int_equal(qx_net_n_layers(net), 2);
    const struct qx_layer *conv = qx_net_layer(net, 0), *fc = qx_net_layer(net, 1);
    assert_string_equal(conv->name, "c1");
    assert_int_equal(conv->macs, 4 * 9 * 2 * 9);
    assert_true(conv->axis == 0 && conv->channels.count == 4 && conv->channels.inner == 18);
    assert_int_equal(fc->macs, 3 * 72);
    assert_int_equal(qx_net_macs(net), conv->macs + fc->macs);
    assert_true(qx_net_uses_tensor(net, qx_model_find(model, "conv.b")));
    assert_false(qx_net_uses_tensor(net, qx_model_find(model, "table")));
    assert_int_equal(qx_net_layer_of_tensor(net, qx_model_find(model, "conv.b")), -1);
    close_here(net, model);
}

static void without_labels_classes_are_numbers(void **state)
{
    (void)state;
    struct qx_net *net = NULL;
    struct qx_model *model = NULL;
    write_graph(NULL, FLAT "," FC("f.out"), NULL);
    assert_int_equal(open_here(&net, &model, NULL), QX_OK);
    assert_string_equal(qx_net_class_name(net, 2), "2");
    close_here(net, model);
}

/* The n-th allocation fails, for every n until opening succeeds. */
static void opening_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    enum qx_status st = QX_ENOMEM;
    write_graph(NULL, FLAT "," FC("f.out"), "'outputs':['y'],'labels':['a','b','c']");
    assert_int_equal(qx_model_open(".", &model, NULL), QX_OK);
    for (int64_t n = 1; st != QX_OK; n++) {
        struct qx_error err = {0};
        qx_mem_fail_at(n);
        st = qx_net_open(model, &net, &err);
        qx_mem_fail_at(0);
        assert_true(st == QX_OK || st == QX_ENOMEM);
        assert_true(st == QX_OK || net == NULL);
        assert_true(n < 1000);
    }
    close_here(net, model);
}

int test_net_graph(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_graphs_are_refused_naming_the_place),
        cmocka_unit_test(odd_but_valid_graphs_open),
        cmocka_unit_test(a_graph_says_what_goes_with_training),
        cmocka_unit_test(what_is_no_graph_is_refused),
        cmocka_unit_test(a_folder_without_graph_says_what_still_works),
        cmocka_unit_test(the_net_tells_its_layers_and_classes),
        cmocka_unit_test(without_labels_classes_are_numbers),
        cmocka_unit_test(opening_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("net graph", tests, enter_folder, scratch_leave);
}

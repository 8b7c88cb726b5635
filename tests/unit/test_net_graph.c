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

static char folder[] = "graph-XXXXXX";

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
    (void)state;
    if (!mkdtemp(folder) || chdir(folder) != 0) {
        return -1;
    }
    model_write("model.safetensors", tensors, (int)(sizeof tensors / sizeof *tensors), NULL);
    return 0;
}

static int leave_folder(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("..") == 0 && system(command) == 0 ? 0 : -1;
}

#define X    "[{'name':'x','dtype':'F32','shape':['N',2,6,6]}]"
#define FLAT "{'op':'Flatten','name':'f','inputs':['x'],'outputs':['f.out']}"
#define FC(in)                                                                    \
    "{'op':'Gemm','name':'fc','inputs':['" in "','fc.w','fc.b'],'outputs':['y']," \
    "'attrs':{'transB':1}}"
#define NODE(op, in, attrs) \
    "{'op':'" op "','name':'bad','inputs':[" in "],'outputs':['b.out'],'attrs':{" attrs "}}"

struct broken {
    const char *property;
    const char *inputs; /* NULL = X */
    const char *nodes;  /* the list's content */
    const char *rest;   /* NULL = one output y */
    enum qx_status status;
    const char *part[2]; /* of the message */
};

static const struct broken broken[] = {
    /* the frame */
    {"schema", NULL, FLAT, "'schema':'other/1'", QX_EUNSUPPORTED, {"graph.json", "schema"}},
    {"no nodes", NULL, "", NULL, QX_EFORMAT, {"graph.json", "\"nodes\""}},
    {"node no object", NULL, "3", NULL, QX_EFORMAT, {"node 0", "object"}},
    {"no op", NULL, "{'name':'bad'}", NULL, QX_EFORMAT, {"node 0", "\"op\""}},
    {"no name", NULL, "{'op':'Relu'}", NULL, QX_EFORMAT, {"node 0", "\"name\""}},
    {"no inputs",
     NULL,
     "{'op':'Relu','name':'bad','outputs':['y']}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "\"inputs\""}},
    {"no outputs",
     NULL,
     "{'op':'Relu','name':'bad','inputs':['x']}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "\"outputs\""}},
    {"two outputs",
     NULL,
     "{'op':'Relu','name':'bad','inputs':['x'],'outputs':['y','z']}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "exactly one"}},
    {"output no text",
     NULL,
     "{'op':'Relu','name':'bad','inputs':['x'],'outputs':[1]}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "no name"}},
    {"output empty",
     NULL,
     "{'op':'Relu','name':'bad','inputs':['x'],'outputs':['']}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "no name"}},
    {"input no text",
     NULL,
     "{'op':'Relu','name':'bad','inputs':[{}],'outputs':['y']}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "no name"}},
    {"misspelt key",
     NULL,
     "{'op':'Relu','name':'bad','inputs':['x'],'outputs':['y'],'attributes':{}}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "attributes"}},
    {"attrs no object",
     NULL,
     "{'op':'Relu','name':'bad','inputs':['x'],'outputs':['y'],'attrs':[]}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "attrs"}},
    {"task",
     NULL,
     FLAT,
     "'outputs':['f.out'],'task':'language-modelling'",
     QX_EUNSUPPORTED,
     {"graph.json", "language-modelling"}},
    /* the graph's input */
    {"two graph inputs",
     "[{'name':'x','dtype':'F32','shape':['N',2]},{'name':'z'}]",
     FLAT,
     NULL,
     QX_EFORMAT,
     {"\"inputs\"", "exactly one"}},
    {"input without name",
     "[{'dtype':'F32','shape':['N',2]}]",
     FLAT,
     NULL,
     QX_EFORMAT,
     {"graph input", "\"name\""}},
    {"input dtype",
     "[{'name':'x','dtype':'F16','shape':['N',2]}]",
     FLAT,
     NULL,
     QX_EFORMAT,
     {"graph input", "F16"}},
    {"no batch",
     "[{'name':'x','dtype':'F32','shape':[1,2]}]",
     FLAT,
     NULL,
     QX_EFORMAT,
     {"graph input", "\"N\""}},
    {"batch elsewhere",
     "[{'name':'x','dtype':'F32','shape':['N','T']}]",
     FLAT,
     NULL,
     QX_EFORMAT,
     {"graph input", "axis 1"}},
    {"fractional axis",
     "[{'name':'x','dtype':'F32','shape':['N',2.5]}]",
     FLAT,
     NULL,
     QX_EFORMAT,
     {"graph input", "axis 1"}},
    {"axis of 0",
     "[{'name':'x','dtype':'F32','shape':['N',0]}]",
     FLAT,
     NULL,
     QX_ERANGE,
     {"graph input", "axis 1"}},
    {"negative axis",
     "[{'name':'x','dtype':'F32','shape':['N',-3]}]",
     FLAT,
     NULL,
     QX_ERANGE,
     {"graph input", "axis 1"}},
    {"product beyond memory",
     "[{'name':'x','dtype':'F32','shape':['N',2147483647,2147483647]}]",
     FLAT,
     NULL,
     QX_ERANGE,
     {"graph input", "values"}},
    {"too many axes",
     "[{'name':'x','dtype':'F32','shape':['N',1,1,1,1,1,1,1,1]}]",
     FLAT,
     NULL,
     QX_EFORMAT,
     {"graph input", "8"}},
    {"input named as a tensor",
     "[{'name':'fc.w','dtype':'F32','shape':['N',2]}]",
     FLAT,
     NULL,
     QX_EFORMAT,
     {"graph input", "fc.w"}},
    /* names and order */
    {"node name twice", NULL, FLAT "," FLAT, NULL, QX_EFORMAT, {"'f'", "name"}},
    {"value twice",
     NULL,
     FLAT ",{'op':'Relu','name':'bad','inputs':['x'],'outputs':['f.out']}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "defined twice"}},
    {"output hides a tensor",
     NULL,
     "{'op':'Relu','name':'bad','inputs':['x'],'outputs':['fc.w']}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "fc.w"}},
    {"output hides the input",
     NULL,
     "{'op':'Relu','name':'bad','inputs':['x'],'outputs':['x']}",
     NULL,
     QX_EFORMAT,
     {"'bad'", "defined twice"}},
    {"not in order",
     NULL,
     NODE("Relu", "'f.out'", "") "," FLAT,
     NULL,
     QX_EFORMAT,
     {"'bad'", "f.out"}},
    {"cycle of one", NULL, NODE("Relu", "'b.out'", ""), NULL, QX_EFORMAT, {"'bad'", "b.out"}},
    {"unknown tensor", NULL, NODE("Gemm", "'x','nope'", ""), NULL, QX_EFORMAT, {"'bad'", "nope"}},
    {"unreadable tensor",
     NULL,
     NODE("Add", "'x','scale8'", ""),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "F8_E8M0"}},
    {"graph output unknown", NULL, FLAT, "'outputs':['z']", QX_EFORMAT, {"output", "'z'"}},
    {"two graph outputs",
     NULL,
     FLAT,
     "'outputs':['f.out','x']",
     QX_EFORMAT,
     {"\"outputs\"", "exactly one"}},
    {"graph output of rank 4",
     NULL,
     "{'op':'Relu','name':'r','inputs':['x'],'outputs':['y']}",
     NULL,
     QX_EFORMAT,
     {"'y'", "[N, 2, 6, 6]"}},
    {"graph output without batch",
     NULL,
     "{'op':'Relu','name':'r','inputs':['fc.w'],'outputs':['y']}",
     NULL,
     QX_EFORMAT,
     {"'y'", "[N, classes]"}},
    {"labels of other number",
     NULL,
     FLAT "," FC("f.out"),
     "'outputs':['y'],'labels':['a']",
     QX_EFORMAT,
     {"labels", "3 classes"}},
    {"labels no texts",
     NULL,
     FLAT "," FC("f.out"),
     "'outputs':['y'],'labels':[1,2,3]",
     QX_EFORMAT,
     {"labels", "no name"}},
    /* operations and attributes */
    {"unknown operation", NULL, NODE("Lstm", "'x'", ""), NULL, QX_EUNSUPPORTED, {"'bad'", "Lstm"}},
    {"misspelt operation",
     NULL,
     NODE("Convv", "'x'", ""),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "did you mean Conv?"}},
    {"too few inputs", NULL, NODE("Conv", "'x'", ""), NULL, QX_EFORMAT, {"'bad'", "1 inputs"}},
    {"too many inputs", NULL, NODE("Relu", "'x','x'", ""), NULL, QX_EFORMAT, {"'bad'", "2 inputs"}},
    {"needed input left out",
     NULL,
     NODE("Conv", "'x',''", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "input 1"}},
    {"hole in a Concat",
     NULL,
     NODE("Concat", "'x','','x'", "'axis':1"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "input 1"}},
    {"unknown attribute",
     NULL,
     NODE("Relu", "'x'", "'alpha':1"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "alpha"}},
    {"attribute of wrong type",
     NULL,
     NODE("Conv", "'x','conv.w'", "'group':'1'"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'group'"}},
    {"list for a number",
     NULL,
     NODE("Conv", "'x','conv.w'", "'group':[1]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'group'"}},
    {"number for a list",
     NULL,
     NODE("Conv", "'x','conv.w'", "'strides':1"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'strides'"}},
    {"fraction in a list",
     NULL,
     NODE("Conv", "'x','conv.w'", "'strides':[1.5,1]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'strides'"}},
    {"long list",
     NULL,
     NODE("Conv", "'x','conv.w'", "'strides':[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'strides'"}},
    {"number no number",
     NULL,
     NODE("LeakyRelu", "'x'", "'alpha':'x'"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'alpha'"}},
    {"number beyond float32",
     NULL,
     NODE("LeakyRelu", "'x'", "'alpha':1e300"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'alpha'"}},
    {"choice unknown",
     NULL,
     NODE("Gelu", "'x'", "'approximate':'sigmoid'"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "none tanh"}},
    {"choice no text",
     NULL,
     NODE("Gelu", "'x'", "'approximate':1"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "approximate"}},
    {"auto_pad",
     NULL,
     NODE("Conv", "'x','conv.w'", "'auto_pad':'SAME_UPPER'"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "SAME_UPPER"}},
    {"ceil_mode",
     NULL,
     NODE("MaxPool", "'x'", "'kernel_shape':[2,2],'ceil_mode':1"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "ceil_mode"}},
    {"dilated pool",
     NULL,
     NODE("MaxPool", "'x'", "'kernel_shape':[2,2],'dilations':[2,2]"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "dilations"}},
    {"training mode",
     NULL,
     NODE("BatchNormalization", "'x','c2','c2','c2','c2'", "'training_mode':1"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "training_mode"}},
    {"required attribute",
     NULL,
     NODE("MaxPool", "'x'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "kernel_shape"}},
    {"Concat without axis", NULL, NODE("Concat", "'x'", ""), NULL, QX_EFORMAT, {"'bad'", "'axis'"}},
    /* windows */
    {"strides of other number",
     NULL,
     NODE("Conv", "'x','conv.w'", "'strides':[1]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'strides'"}},
    {"two pads for four",
     NULL,
     NODE("Conv", "'x','conv.w'", "'pads':[1,1]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'pads'"}},
    {"negative pads",
     NULL,
     NODE("Conv", "'x','conv.w'", "'pads':[0,-1,0,0]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'pads'"}},
    {"stride of 0",
     NULL,
     NODE("Conv", "'x','conv.w'", "'strides':[0,1]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'strides'"}},
    {"group of 0",
     NULL,
     NODE("Conv", "'x','conv.w'", "'group':0"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'group'"}},
    {"group that does not divide",
     NULL,
     NODE("Conv", "'x','conv.w'", "'group':3"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "3 groups"}},
    {"group that does not fit",
     NULL,
     NODE("Conv", "'x','conv.w'", "'group':2"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "2 groups"}},
    {"kernel_shape unlike the weight",
     NULL,
     NODE("Conv", "'x','conv.w'", "'kernel_shape':[3,2]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "kernel_shape"}},
    {"weight of other rank",
     NULL,
     NODE("Conv", "'x','w1d'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "w1d"}},
    {"bias of other length",
     NULL,
     NODE("Conv", "'x','conv.w','conv.b3'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "conv.b3"}},
    {"input of rank 2",
     NULL,
     FLAT "," NODE("Conv", "'f.out','conv.w'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "rank 3 to 4"}},
    {"window beyond the input",
     NULL,
     NODE("Conv", "'x','conv.w'", "'dilations':[3,3]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "does not fit"}},
    {"padding as wide as the pool",
     NULL,
     NODE("MaxPool", "'x'", "'kernel_shape':[2,2],'pads':[2,0,0,0]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "padding"}},
    {"padding beyond memory",
     NULL,
     NODE("Conv", "'x','conv.w'", "'pads':[65536,65536,65536,65536]"),
     NULL,
     QX_ERANGE,
     {"'bad'", "values"}},
    /* shapes */
    {"Gemm that does not multiply",
     NULL,
     FLAT "," NODE("Gemm", "'f.out','fc.w'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "do not multiply"}},
    {"Gemm of rank 4", NULL, NODE("Gemm", "'x','fc.w'", ""), NULL, QX_EFORMAT, {"'bad'", "rank 2"}},
    {"Gemm bias too wide",
     NULL,
     FLAT "," NODE("Gemm", "'f.out','fc.w','conv.b'", "'transB':1"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "broadcast"}},
    {"sum along the batch",
     NULL,
     FLAT "," NODE("Gemm", "'f.out','fc.w'", "'transA':1"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "batch"}},
    {"MatMul that does not multiply",
     NULL,
     NODE("MatMul", "'x','table'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "do not multiply"}},
    {"MatMul of two batches",
     NULL,
     FLAT ",{'op':'Transpose','name':'t','inputs':['f.out'],'outputs':['t.out']}," NODE(
         "MatMul", "'f.out','t.out'", ""),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "batch"}},
    {"Add that does not broadcast",
     NULL,
     NODE("Add", "'x','conv.b'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "broadcast"}},
    {"fixed length beside the batch",
     NULL,
     FLAT "," NODE("Add", "'f.out','fc.w'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "broadcast"}},
    {"norm of other channels",
     NULL,
     NODE("BatchNormalization", "'x','c2','c2','c2','conv.b'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "conv.b"}},
    {"scale unlike the normalized axes",
     NULL,
     NODE("LayerNormalization", "'x','conv.b'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "conv.b"}},
    {"normalizing the batch",
     NULL,
     NODE("LayerNormalization", "'x','c2'", "'axis':0"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "batch"}},
    {"Softmax along the batch",
     NULL,
     NODE("Softmax", "'x'", "'axis':0"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "batch"}},
    {"axis outside the rank",
     NULL,
     NODE("Softmax", "'x'", "'axis':4"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "rank of 4"}},
    {"reducing the batch",
     NULL,
     NODE("ReduceMean", "'x'", ""),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "batch"}},
    {"axis twice",
     NULL,
     NODE("ReduceMax", "'x'", "'axes':[1,-3]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "twice"}},
    {"global pool of rank 2",
     NULL,
     FLAT "," NODE("GlobalMaxPool", "'f.out'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "rank 3"}},
    {"Flatten beyond the rank",
     NULL,
     NODE("Flatten", "'x'", "'axis':5"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "rank of 4"}},
    {"perm of other length",
     NULL,
     NODE("Transpose", "'x'", "'perm':[0,1]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'perm'"}},
    {"perm no order",
     NULL,
     NODE("Transpose", "'x'", "'perm':[0,1,1,3]"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "'perm'"}},
    {"Concat of other axes",
     NULL,
     FLAT "," NODE("Concat", "'x','f.out'", "'axis':1"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "f.out"}},
    {"Concat along the batch",
     NULL,
     NODE("Concat", "'x','x'", "'axis':0"),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "batch"}},
    {"Reshape by a value",
     NULL,
     NODE("Reshape", "'x','x'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "integers"}},
    {"Reshape with two open axes",
     NULL,
     NODE("Reshape", "'x','r.two'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "axis 1"}},
    {"Reshape to a negative axis",
     NULL,
     NODE("Reshape", "'x','r.negative'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "-2"}},
    {"Reshape beyond memory",
     NULL,
     NODE("Reshape", "'x','r.big'", ""),
     NULL,
     QX_ERANGE,
     {"'bad'", "axis 1"}},
    {"Reshape that does not divide",
     NULL,
     NODE("Reshape", "'x','r.uneven'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "does not reshape"}},
    {"Reshape that fixes the batch",
     NULL,
     NODE("Reshape", "'x','r.fixed'", ""),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "batch"}},
    {"Reshape that tears rows",
     NULL,
     NODE("Reshape", "'x','r.torn'", ""),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "rows"}},
    {"zero as a length",
     NULL,
     NODE("Reshape", "'x','r.copy'", "'allowzero':1"),
     NULL,
     QX_EFORMAT,
     {"'bad'", "axis 0"}},
    {"Gather by reals",
     NULL,
     NODE("Gather", "'table','x'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "integers"}},
    {"Gather along the batch",
     NULL,
     NODE("Gather", "'x','ids'", ""),
     NULL,
     QX_EUNSUPPORTED,
     {"'bad'", "batch"}},
    {"reals of integers",
     NULL,
     NODE("Relu", "'ids'", ""),
     NULL,
     QX_EFORMAT,
     {"'bad'", "real numbers"}},
    {"Clip by a vector", NULL, NODE("Clip", "'x','c2'", ""), NULL, QX_EFORMAT, {"'bad'", "c2"}},
};

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

static void broken_graphs_are_refused_naming_the_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        const struct broken *b = &broken[i];
        struct qx_net *net = NULL;
        struct qx_model *model = NULL;
        struct qx_error err = {0};
        write_graph(b->inputs, b->nodes, b->rest);
        enum qx_status st = open_here(&net, &model, &err);
        if (st != b->status || !strstr(err.text, b->part[0]) || !strstr(err.text, b->part[1]) ||
            !strstr(err.text, "graph.json") || !strstr(err.file, "graph.json")) {
            fail_msg("%s: status %d (want %d), text: %s", b->property, st, b->status, err.text);
        }
        assert_null(net);
    }
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
    text_write("config.json", "{\"model_type\": \"bert\"}");
    assert_int_equal(open_here(&net, &model, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "'bert'"));
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
        cmocka_unit_test(what_is_no_graph_is_refused),
        cmocka_unit_test(a_folder_without_graph_says_what_still_works),
        cmocka_unit_test(the_net_tells_its_layers_and_classes),
        cmocka_unit_test(without_labels_classes_are_numbers),
        cmocka_unit_test(opening_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("net graph", tests, enter_folder, leave_folder);
}

/* Files of texts with labels: what is read, what is guessed, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "eval/records.h"
#include "net_fixture.h"

static enum qx_status read_text(const char *ending, const char *text, size_t len,
                                const char *text_column, const char *label_column,
                                struct qx_records *out, struct qx_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "records_%d%s", (int)getpid(), ending);
    assert_int_equal(qx_fs_write_atomic(path, text, len, err), QX_OK);
    const enum qx_status st = qx_records_read(path, text_column, label_column, out, err);
    unlink(path);
    return st;
}

/* All rows as "text=label|...", then the columns. */
static void check_rows(const char *ending, const char *text, const char *text_column,
                       const char *label_column, const char *want)
{
    struct qx_records r;
    struct qx_error err;
    char got[1024] = "";
    if (read_text(ending, text, strlen(text), text_column, label_column, &r, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    for (int64_t i = 0; i < r.n; i++) {
        assert_int_equal(r.row[i].len, strlen(r.row[i].text));
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s=%s|", r.row[i].text,
                 r.row[i].label ? r.row[i].label : "-");
    }
    snprintf(got + strlen(got), sizeof got - strlen(got), " %s %s", r.text_column, r.label_column);
    assert_string_equal(got, want);
    qx_records_release(&r);
}

static void columns_are_found(void **state)
{
    (void)state;
    check_rows(".txt", "good food\n\nbad\tneg\r\n", NULL, NULL, "good food=-|bad\tneg=-| 1 ");
    check_rows(".tsv", "good food\tpos\nbad\tneg\n", NULL, NULL, "good food=pos|bad=neg| 1 2");
    check_rows(".tsv", "a\tb\r\nc\td", NULL, NULL, "a=b|c=d| 1 2");
    check_rows(".tsv", "0\tid1\tgood food here\n1\tid2\tbad one\n0\tid3\tsome food\n1\tid4\tx\n",
               NULL, NULL, "good food here=0|bad one=1|some food=0|x=1| 3 1");
    check_rows(".csv", "label,Text\n1,\"a, \"\"b\"\"\nc\"\n0,d\n", NULL, NULL,
               "a, \"b\"\nc=1|d=0| Text label");
    check_rows(".csv", "\xEF\xBB\xBFid,Tweet,Sentiment\n\n7,hi,pos\n8,\"\",neg\n", NULL, NULL,
               "hi=pos|=neg| Tweet Sentiment");
    check_rows(".csv", "a,b,c\n1,x,yy\n2,z,ww\n", "c", "b", "yy=x|ww=z| c b");
    check_rows(".csv", "1,x,yy\n2,z,ww\n", "3", "1", "yy=1|ww=2| 3 1");
    check_rows(".csv", "label;text\n1;\"a; b\", c\n0;d, e\n", NULL, NULL,
               "a; b, c=1|d, e=0| text label");
    check_rows(".csv", "\"a,b\";1\nc;2\n", NULL, NULL, "a,b=1|c=2| 1 2");
    check_rows(".csv", "text,label;\na;b,1\nc,2\n", NULL, NULL, "a;b=1|c=2| text label;");
    /* labels longer than texts */
    check_rows(".csv", "label,kalimat\npositive,bagus\nnegative,jelek\n", NULL, NULL,
               "bagus=positive|jelek=negative| kalimat label");
    check_rows(".jsonl", "{\"text\":\"h\\u00e9\",\"label\":1}\n\n{\"label\":0,\"text\":\"b\"}\n",
               NULL, NULL, "h\xC3\xA9=1|b=0| text label");
    /* one column: no labels */
    check_rows(".tsv", "a\nb\n", NULL, NULL, "a=-|b=-| 1 ");
}

static void lines_are_numbered_from_the_file(void **state)
{
    static const char text[] = "text,label\n\"two\nlines\",a\nx,b\n";
    struct qx_records r;
    struct qx_error err;
    (void)state;

    assert_int_equal(read_text(".csv", text, sizeof text - 1, NULL, NULL, &r, &err), QX_OK);
    assert_int_equal(r.row[0].line, 2);
    assert_int_equal(r.row[1].line, 4);
    assert_true(r.is_guessed);
    qx_records_release(&r);
    assert_int_equal(read_text(".csv", text, sizeof text - 1, "text", "label", &r, &err), QX_OK);
    assert_false(r.is_guessed);
    qx_records_release(&r);
    assert_true(qx_records_is_file("x/y.jsonl") && !qx_records_is_file("eval.safetensors"));
}

static void wrong_files_are_refused_by_line(void **state)
{
    static const struct {
        const char *ending, *text, *column, *says;
    } cases[] = {
        {".csv", "a,b\n1\n", NULL, "line 2 has 1 columns"},
        {".csv", "a,\"b\nc", NULL, "line 1 is never closed"},
        {".csv", "", NULL, "empty"},
        {".csv", "text,label\n", NULL, "below its header"},
        {".csv", "a,b\n", "nowhere", "'nowhere'"},
        {".csv", "a,b\n", "3", "'3'"},
        {".tsv", "a\tb\nc\td\te\n", NULL, "line 2 has 3 columns"},
        {".tsv", "a\tb\nc\t\xFF\n", NULL, "line 2, column 2"},
        {".jsonl", "{\"text\":1}\n[3]\n", NULL, "line 2"},
        {".jsonl", "{\"text\":\"a\",\"label\":1}\n{\"text\":\"b\"}\n", NULL, "'label'"},
        {".jsonl", "{\"text\":\n", NULL, "line 1"},
        {".jsonl", "{}\n", NULL, "members"},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qx_records r;
        struct qx_error err;
        const enum qx_status st = read_text(cases[i].ending, cases[i].text, strlen(cases[i].text),
                                            cases[i].column, NULL, &r, &err);
        assert_true(st == QX_EDATA || st == QX_EFORMAT);
        if (!strstr(err.text, cases[i].says)) {
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
        }
    }
}

static void no_allocation_failure_is_lost(void **state)
{
    static const char text[] = "text,label\n\"a \"\"b\"\"\",x\nc,y\nd,x\ne,y\n";
    bool is_through = false;
    (void)state;

    assert_true(sizeof text > 1);
    for (int64_t n = 1; n < 500 && !is_through; n++) {
        struct qx_records r;
        struct qx_error err;
        char path[64];
        snprintf(path, sizeof path, "records_oom_%d.csv", (int)getpid());
        assert_int_equal(qx_fs_write_atomic(path, text, sizeof text - 1, &err), QX_OK);
        qx_mem_fail_at(n);
        const enum qx_status st = qx_records_read(path, NULL, NULL, &r, &err);
        qx_mem_fail_at(0);
        unlink(path);
        assert_true(st == QX_OK || st == QX_ENOMEM);
        is_through = st == QX_OK;
        if (is_through) {
            qx_records_release(&r);
        }
    }
    assert_true(is_through);
}

/* eval.tsv beside eval.safetensors: the same ids, places and labels. */
static void texts_give_the_rows_of_the_tensors(void **state)
{
    char path[1024], folder[1024];
    struct folder f;
    struct qx_dataset *tensors = NULL, *texts = NULL;
    struct qx_error err;
    (void)state;

    shared_path(path, sizeof path, "bert-smsa/eval.tsv");
    if (!qx_fs_exists(path)) {
        print_message("[  SKIPPED ] no %s\n", path);
        skip();
    }
    shared_path(folder, sizeof folder, "bert-smsa");
    folder_open(&f, folder);
    if (qx_dataset_open(path, f.net, &texts, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_non_null(strstr(qx_dataset_note(texts), "column 1, labels from 2 (guessed)"));
    shared_path(path, sizeof path, "bert-smsa/eval.safetensors");
    assert_int_equal(qx_dataset_open(path, f.net, &tensors, &err), QX_OK);
    assert_int_equal(qx_dataset_n(texts), qx_dataset_n(tensors));
    const int64_t size = qx_net_sample_size(f.net);
    float *a = calloc((size_t)size, sizeof *a), *b = calloc((size_t)size, sizeof *b);
    for (int64_t row = 0; row < qx_dataset_n(texts); row++) {
        assert_int_equal(qx_dataset_label(texts, row), qx_dataset_label(tensors, row));
        assert_int_equal(qx_dataset_read(texts, row, 1, a, &err), QX_OK);
        assert_int_equal(qx_dataset_read(tensors, row, 1, b, &err), QX_OK);
        assert_memory_equal(a, b, (size_t)size * sizeof *a);
    }
    free(a);
    free(b);
    qx_dataset_close(&texts);
    qx_dataset_close(&tensors);
    folder_close(&f);
}

static void labels_that_are_no_classes_are_refused(void **state)
{
    char path[1024];
    struct folder f;
    struct qx_dataset *texts = NULL;
    struct qx_error err;
    (void)state;

    shared_path(path, sizeof path, "bert-smsa");
    if (!qx_fs_exists(path)) {
        print_message("[  SKIPPED ] no %s\n", path);
        skip();
    }
    folder_open(&f, path);
    text_write("labels.tsv", "enak\tPositive\nbiasa\t1\nburuk\tawful\n");
    assert_int_equal(qx_dataset_open("labels.tsv", f.net, &texts, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "line 3"));
    assert_non_null(strstr(err.text, "awful"));
    text_write("labels.tsv", "enak\tPositive\nbiasa\t1\n");
    assert_int_equal(qx_dataset_open("labels.tsv", f.net, &texts, &err), QX_OK);
    assert_int_equal(qx_dataset_label(texts, 0), 0);
    assert_int_equal(qx_dataset_label(texts, 1), 1);
    qx_dataset_close(&texts);
    folder_close(&f);
}

/* Two images of 2 x 2 for a network of 4 values. */
static void images_come_with_their_labels(void **state)
{
    static const char images[] = "\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02"
                                 "\x00\x33\x66\xFF\xFF\x00\x00\x00";
    static const char labels[] = "\0\0\x08\x01\0\0\0\x02\x01\x00";
    static const struct tensor_spec weights[] = {{"w", "F32", 2, {2, 4}, NULL}};
    char *graph =
        quoted("{'schema':'qexplore.graph/1','inputs':[{'name':'in','dtype':'F32','shape':"
               "['N',1,2,2]}],'nodes':[{'op':'Flatten','name':'f','inputs':['in'],"
               "'outputs':['v']},{'op':'Gemm','name':'g','inputs':['v','w'],'outputs':"
               "['y'],'attrs':{'transB':1}}],'outputs':['y']}");
    struct folder f;
    struct qx_dataset *d = NULL;
    struct qx_error err;
    float x[8];
    (void)state;

    mkdir("images", 0700);
    model_write("images/model.safetensors", weights, 1, NULL);
    text_write("images/graph.json", graph);
    free(graph);
    assert_int_equal(
        qx_fs_write_atomic("images/t-images-idx3-ubyte", images, sizeof images - 1, &err), QX_OK);
    assert_int_equal(
        qx_fs_write_atomic("images/t-labels-idx1-ubyte", labels, sizeof labels - 1, &err), QX_OK);
    folder_open(&f, "images");
    assert_int_equal(qx_dataset_open("images/t-images-idx3-ubyte", f.net, &d, &err), QX_OK);
    assert_int_equal(qx_dataset_n(d), 2);
    assert_int_equal(qx_dataset_label(d, 0), 1);
    assert_int_equal(qx_dataset_label(d, 1), 0);
    assert_int_equal(qx_dataset_read(d, 0, 2, x, &err), QX_OK);
    assert_true(x[0] == 0.0f && x[1] == 0.2f && x[2] == 0.4f && x[3] == 1.0f && x[4] == 1.0f);
    qx_dataset_close(&d);
    /* cut short, and with a label that is no class */
    assert_int_equal(
        qx_fs_write_atomic("images/t-images-idx3-ubyte", images, sizeof images - 2, &err), QX_OK);
    assert_int_equal(qx_dataset_open("images/t-images-idx3-ubyte", f.net, &d, &err), QX_EFORMAT);
    assert_int_equal(
        qx_fs_write_atomic("images/u-images-idx3-ubyte", images, sizeof images - 1, &err), QX_OK);
    assert_int_equal(qx_fs_write_atomic("images/u-labels-idx1-ubyte",
                                        "\0\0\x08\x01\0\0\0\x02\x01\x02", 10, &err),
                     QX_OK);
    assert_int_equal(qx_dataset_open("images/u-images-idx3-ubyte", f.net, &d, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "label 2"));
    folder_close(&f);
}

/* Compressed, and at half the size. */
static void images_are_unpacked_and_shrunk(void **state)
{
    /* two images of 4 x 4 with the values 0 .. 31 */
    static const char images[] =
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x63\x60\xe0\x60\x66\x60\x60\x60\x02\x62\x16"
        "\x30\x66\x64\x62\x66\x61\x65\x63\xe7\xe0\xe4\xe2\xe6\xe1\xe5\xe3\x17\x10\x14\x12\x16"
        "\x11\x15\x13\x97\x90\x94\x92\x96\x91\x95\x93\x07\x00\x4d\x04\x06\xb3\x30\x00\x00\x00";
    static const char labels[] = "\0\0\x08\x01\0\0\0\x02\x01\x00";
    static const float shrunk[] = {3, 5, 11, 13, 19, 21, 27, 29}; /* (0 + 1 + 4 + 5 + 2) / 4 = 3 */
    struct folder f;
    struct qx_dataset *d = NULL;
    struct qx_error err;
    float x[8];
    (void)state;
    folder_open(&f, "images");
    assert_int_equal(
        qx_fs_write_atomic("images/v-images-idx3-ubyte.gz", images, sizeof images - 1, &err),
        QX_OK);
    assert_int_equal(
        qx_fs_write_atomic("images/v-labels-idx1-ubyte.gz", labels, sizeof labels - 1, &err),
        QX_OK);
    assert_int_equal(qx_dataset_open("images/v-images-idx3-ubyte.gz", f.net, &d, &err), QX_OK);
    assert_int_equal(qx_dataset_n(d), 2);
    assert_int_equal(qx_dataset_label(d, 0), 1);
    assert_non_null(strstr(qx_dataset_note(d), "shrunk by 2"));
    assert_int_equal(qx_dataset_read(d, 0, 2, x, &err), QX_OK);
    for (int i = 0; i < 8; i++) {
        assert_float_equal(x[i], shrunk[i] / 255.0f, 1e-7);
    }
    qx_dataset_close(&d);
    /* cut short anywhere, or with a byte changed: the checksum is over all of them */
    for (size_t n = 0; n < sizeof images - 1; n++) {
        char bad[sizeof images];
        memcpy(bad, images, sizeof images);
        assert_int_equal(qx_fs_write_atomic("images/v-images-idx3-ubyte.gz", bad, n, &err), QX_OK);
        assert_int_equal(qx_dataset_open("images/v-images-idx3-ubyte.gz", f.net, &d, &err),
                         QX_EFORMAT);
        assert_non_null(strstr(err.text, "v-images-idx3-ubyte.gz"));
    }
    folder_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_found),
        cmocka_unit_test(lines_are_numbered_from_the_file),
        cmocka_unit_test(wrong_files_are_refused_by_line),
        cmocka_unit_test(no_allocation_failure_is_lost),
        cmocka_unit_test(texts_give_the_rows_of_the_tensors),
        cmocka_unit_test(labels_that_are_no_classes_are_refused),
        cmocka_unit_test(images_come_with_their_labels),
        cmocka_unit_test(images_are_unpacked_and_shrunk),
    };
    return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}

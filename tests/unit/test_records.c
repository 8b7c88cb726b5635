/* Files of texts with labels: what is read, what is guessed, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "eval/records.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_found),
        cmocka_unit_test(lines_are_numbered_from_the_file),
        cmocka_unit_test(wrong_files_are_refused_by_line),
        cmocka_unit_test(no_allocation_failure_is_lost),
    };
    return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}

/* Tokenizers: ids of others' implementations, what goes there and comes back, hostile files. */
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
#include "net_fixture.h"
#include "qx/json.h"
#include "qx/tokenizer.h"

/* ---- ids that other implementations give ---- */

static bool ids_equal(const struct qx_ids *got, const struct qx_jval *want)
{
    if (!want || (size_t)got->n != qx_jlen(want)) {
        return false;
    }
    for (int64_t i = 0; i < got->n; i++) {
        if (qx_jnum(qx_jat(want, (size_t)i), -1) != got->id[i]) {
            return false;
        }
    }
    return true;
}

static int from_hex(const char *hex, char *out)
{
    int n = 0;
    for (unsigned byte; sscanf(hex + 2 * n, "%2x", &byte) == 1; n++) {
        out[n] = (char)byte;
    }
    return n;
}

static void ids_are_those_of_the_reference(void **state)
{
    static const char *const names[] = {"bert-uncased", "gpt2", "tok512", "tok4096"};
    static const char *const files[] = {"bert-uncased", "gpt2", "tok512/tok512.bin",
                                        "tok4096/tok4096.bin"};
    char path[1024], text[4096];
    struct qx_json *expected = NULL;
    struct qx_error err;
    (void)state;

    shared_path(path, sizeof path, "tokenizers/expected.json");
    if (!qx_fs_exists(path)) {
        print_message("[  SKIPPED ] no %s\n", path);
        skip();
    }
    assert_int_equal(qx_json_load(path, 1 << 20, &expected, &err), QX_OK);
    const struct qx_jval *strings = qx_jget(qx_json_root(expected), "strings");
    assert_true(qx_jlen(strings) >= 30);
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        struct qx_tokenizer *t = NULL;
        int n_wrong = 0;
        snprintf(text, sizeof text, "tokenizers/%s", files[k]);
        shared_path(path, sizeof path, text);
        if (qx_tokenizer_open(path, &t, &err) != QX_OK) {
            fail_msg("%s", err.text);
        }
        for (const struct qx_jval *s = qx_jfirst(strings); s; s = qx_jnext(s)) {
            const int n = from_hex(qx_jstr(qx_jget(s, "text_hex"), ""), text);
            const struct qx_jval *want = qx_jget(s, names[k]);
            struct qx_ids ids = {0};
            assert_non_null(want);
            assert_int_equal(qx_tokenizer_encode(t, text, (size_t)n, 0, 0, &ids, &err), QX_OK);
            if (!ids_equal(&ids, qx_jget(want, "ids"))) {
                print_error("%s: ids of '%.*s' differ\n", names[k], n, text);
                n_wrong++;
            }
            if (qx_jget(want, "ids_no_special")) {
                ids.n = 0;
                assert_int_equal(
                    qx_tokenizer_encode(t, text, (size_t)n, QX_TOKENIZE_LITERAL, 0, &ids, &err),
                    QX_OK);
                n_wrong += !ids_equal(&ids, qx_jget(want, "ids_no_special"));
            }
            qx_ids_release(&ids);
        }
        assert_int_equal(n_wrong, 0);
        qx_tokenizer_close(&t);
        assert_null(t);
    }
    qx_json_free(expected);
}

/* ---- small tokenizers written here ---- */

struct place {
    char path[256];
};

static void folder_make(struct place *f, const char *file, const char *text)
{
    char path[512];
    struct qx_error err;
    snprintf(f->path, sizeof f->path, "text_folder_%d", (int)getpid());
    mkdir(f->path, 0700);
    snprintf(path, sizeof path, "%s/%s", f->path, file);
    assert_int_equal(qx_fs_write_atomic(path, text, strlen(text), &err), QX_OK);
}

static void folder_remove(const struct place *f)
{
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", f->path);
    assert_int_equal(system(command), 0);
}

/* Opens a tokenizer.json; the status, and *t when it is QX_OK. */
static enum qx_status open_json(const char *text, struct qx_tokenizer **t, struct qx_error *err)
{
    struct place f;
    char *json = quoted(text);
    folder_make(&f, "tokenizer.json", json);
    free(json);
    const enum qx_status st = qx_tokenizer_open(f.path, t, err);
    folder_remove(&f);
    return st;
}

static void check_ids(const struct qx_tokenizer *t, const char *text, unsigned flags,
                      int64_t max_ids, const char *want)
{
    struct qx_ids ids = {0};
    struct qx_error err;
    char got[512] = "";
    if (qx_tokenizer_encode(t, text, strlen(text), flags, max_ids, &ids, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    for (int64_t i = 0; i < ids.n; i++) {
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%d", i ? " " : "", ids.id[i]);
    }
    assert_string_equal(got, want);
    qx_ids_release(&ids);
}

static const char bert_lines[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\nhello\n!\n"
                                 "caf\xC3\xA9\ncafe\n";

static void vocab_txt_follows_its_config(void **state)
{
    struct place f;
    struct qx_tokenizer *t = NULL;
    struct qx_error err;
    (void)state;

    folder_make(&f, "vocab.txt", bert_lines);
    assert_int_equal(qx_tokenizer_open(f.path, &t, &err), QX_OK);
    assert_string_equal(qx_tokenizer_kind(t), "WordPiece");
    assert_string_equal(qx_tokenizer_file(t), "vocab.txt");
    assert_int_equal(qx_tokenizer_size(t), 12);
    assert_int_equal(qx_tokenizer_id(t, "[PAD]"), 0);
    assert_int_equal(qx_tokenizer_id(t, "nothing"), -1);
    check_ids(t, "Hello  unaffable!", 0, 0, "2 8 5 6 7 9 3");
    check_ids(t, "Hello unaffable!", QX_TOKENIZE_BARE, 0, "8 5 6 7 9");
    check_ids(t, "hello unaffable!", 0, 4, "2 8 5 3");
    check_ids(t, "xyz [MASK] caf\xC3\xA9", 0, 0, "2 1 4 11 3");
    qx_tokenizer_close(&t);
    folder_make(&f, "tokenizer_config.json", "{\"do_lower_case\": false}");
    assert_int_equal(qx_tokenizer_open(f.path, &t, &err), QX_OK);
    check_ids(t, "Hello hello caf\xC3\xA9", 0, 0, "2 1 8 10 3");
    qx_tokenizer_close(&t);
    folder_remove(&f);
}

/* Llama-2's form: U+2581 for spaces, a byte where a character has no token. */
static const char spaced[] =
    "{'normalizer':{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':"
    "'\xE2\x96\x81'},{'type':'Replace','pattern':{'String':' '},'content':"
    "'\xE2\x96\x81'}]},'pre_tokenizer':null,'added_tokens':[{'id':1,'content':'<s>',"
    "'special':true,'normalized':false}],'post_processor':{'type':'TemplateProcessing',"
    "'single':[{'SpecialToken':{'id':'<s>','type_id':0}},{'Sequence':{'id':'A'}}],"
    "'special_tokens':{'<s>':{'id':'<s>','ids':[1],'tokens':['<s>']}}},'decoder':"
    "{'type':'Sequence','decoders':[{'type':'Replace','pattern':{'String':"
    "'\xE2\x96\x81'},'content':' '},{'type':'ByteFallback'}]},"
    "'model':{'type':'BPE','unk_token':'<unk>','fuse_unk':true,'byte_fallback':%s,"
    "'vocab':{'<unk>':0,%s'\xE2\x96\x81':259,'a':260,'b':261,'\xE2\x96\x81"
    "a':262,'ab':263,'\xE2\x96\x81"
    "ab':264,'<s>':1},'merges':['a b','\xE2\x96\x81 ab','\xE2\x96\x81 a']}}";

static char *spaced_json(bool has_bytes)
{
    char *bytes = calloc(1, 16384), *text = calloc(1, 32768);
    for (int i = 0; has_bytes && i < 256; i++) {
        sprintf(bytes + strlen(bytes), "'<0x%02X>':%d,", i, i + 3);
    }
    snprintf(text, 32768, spaced, has_bytes ? "true" : "false", bytes);
    free(bytes);
    return text;
}

static void characters_merge_and_fall_back_on_bytes(void **state)
{
    struct qx_tokenizer *t = NULL;
    struct qx_error err;
    char *json = spaced_json(true), *back = NULL;
    (void)state;

    if (open_json(json, &t, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(qx_tokenizer_kind(t), "BPE");
    /* "a b" is better than "_ a": _ab is _ + ab, then merged; _a only where no b follows */
    check_ids(t, "ab a", 0, 0, "1 264 262");
    check_ids(t, "\xC3\xA9", 0, 0, "1 259 198 172");
    check_ids(t, "<s>a", 0, 0, "1 1 262");
    check_ids(t, "<s>a", QX_TOKENIZE_LITERAL, 0, "1 259 63 118 65 260");
    const int32_t ids[] = {1, 264, 262, 198, 172, 198};
    assert_int_equal(qx_tokenizer_decode(t, ids, 6, &back, &err), QX_OK);
    assert_string_equal(back, "ab a\xC3\xA9\xEF\xBF\xBD");
    qx_free_text(back);
    const int32_t wrong[] = {264, 300};
    assert_int_equal(qx_tokenizer_decode(t, wrong, 2, &back, &err), QX_ERANGE);
    assert_non_null(strstr(err.text, "300"));
    qx_tokenizer_close(&t);
    free(json);

    json = spaced_json(false);
    assert_int_equal(open_json(json, &t, &err), QX_OK);
    check_ids(t, "xxa", 0, 0, "1 259 0 260"); /* two unknown ones are one */
    qx_tokenizer_close(&t);
    free(json);
}

/* A vocabulary of the letters a to d and a pattern that cuts them up. */
static const char splitting[] =
    "{'pre_tokenizer':%s,'model':{'type':'BPE','vocab':{'a':0,'b':1,'-':2,'a-':3,"
    "'-b':4,'--':5,'a-b':6,'ab':7},'merges':[['a','-'],['-','b'],['-','-'],"
    "['a-','b'],['a','b']]}}";

static void splits_do_what_their_behavior_says(void **state)
{
    static const struct {
        const char *step, *text, *want;
    } cases[] = {
        {"null", "a-b", "6"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Isolated'}", "a-b", "0 2 1"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Removed'}", "a-b", "0 1"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'MergedWithPrevious'}", "a--b",
         "3 2 1"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'MergedWithNext'}", "a--b", "0 2 4"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Contiguous'}", "a--b", "0 5 1"},
        {"{'type':'Split','pattern':{'Regex':'[ab]+'},'behavior':'Removed',"
         "'invert':true}",
         "ab--ab", "7 7"},
        {"{'type':'Punctuation'}", "ab-ab", "7 2 7"},
        {"{'type':'Whitespace'}", "ab --\tab", "7 5 7"},
        {"{'type':'WhitespaceSplit'}", "a- b", "3 1"},
    };
    char json[2048];
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qx_tokenizer *t = NULL;
        struct qx_error err;
        snprintf(json, sizeof json, splitting, cases[i].step);
        if (open_json(json, &t, &err) != QX_OK) {
            fail_msg("%s", err.text);
        }
        check_ids(t, cases[i].text, 0, 0, cases[i].want);
        qx_tokenizer_close(&t);
    }
}

/* ---- Unigram: what SentencePiece and a search by brute force give (golden/text/make_unigram.py) ---- */

static void unigram_open(const char *name, struct qx_tokenizer **t)
{
    char path[1024], rest[64];
    struct qx_error err;
    snprintf(rest, sizeof rest, "tests/golden/text/%s.json", name);
    source_path(path, sizeof path, rest);
    if (qx_tokenizer_open(path, t, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(qx_tokenizer_kind(*t), "Unigram");
}

static void unigram_ids_are_those_of_the_oracles(void **state)
{
    static const char *const names[] = {"unigram", "unigram_bytes"};
    char path[1024], rest[64];
    (void)state;

    for (size_t k = 0; k < 2; k++) {
        struct qx_tokenizer *t = NULL;
        struct qx_json *expected = NULL;
        int n = 0;
        unigram_open(names[k], &t);
        snprintf(rest, sizeof rest, "tests/golden/text/%s.expected.json", names[k]);
        source_path(path, sizeof path, rest);
        assert_int_equal(qx_json_load(path, 1 << 20, &expected, NULL), QX_OK);
        const struct qx_jval *list = qx_jget(qx_json_root(expected), "strings");
        for (const struct qx_jval *s = qx_jfirst(list); s; s = qx_jnext(s), n++) {
            const char *text = qx_jstr(qx_jget(s, "text"), NULL);
            struct qx_ids ids = {0};
            assert_int_equal(
                qx_tokenizer_encode(t, text, strlen(text), QX_TOKENIZE_BARE, 0, &ids, NULL), QX_OK);
            if (!ids_equal(&ids, qx_jget(s, "ids"))) {
                fail_msg("%s: '%s' gets other ids", names[k], text);
            }
            qx_ids_release(&ids);
        }
        assert_true(n > 100);
        qx_json_free(expected);
        qx_tokenizer_close(&t);
    }
}

static void same_ids(const struct qx_tokenizer *t, const char *a, const char *b)
{
    struct qx_ids x = {0}, y = {0};
    assert_int_equal(qx_tokenizer_encode(t, a, strlen(a), 0, 0, &x, NULL), QX_OK);
    assert_int_equal(qx_tokenizer_encode(t, b, strlen(b), 0, 0, &y, NULL), QX_OK);
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.id, y.id, (size_t)x.n * sizeof *x.id);
    assert_int_equal(x.id[0], 1); /* <s> */
    assert_int_equal(x.id[x.n - 1], 2);
    qx_ids_release(&x);
    qx_ids_release(&y);
}

/* As Hugging Face's tokenizers have it: a short cluster is replaced whole by the entry it begins with
 * (the accent goes with the A), a long one character by character. A mark in the text is not doubled. */
static void clusters_are_looked_up_whole(void **state)
{
    struct qx_tokenizer *t = NULL;
    (void)state;

    unigram_open("unigram_bytes", &t);
    same_ids(t, "cA\xCC\x81t", "cat");
    same_ids(t, "cA\xCC\x81\xCC\x82\xCC\x83t", "ca\xCC\x81\xCC\x82\xCC\x83t");
    same_ids(t, "cafE\xCC\x81", "caf\xC3\xA9");
    same_ids(t, "\xE2\x96\x81the", "the");
    char *back = NULL;
    struct qx_ids ids = {0};
    assert_int_equal(qx_tokenizer_encode(t, "hello w\xE4\xB8\x96z", 11, 0, 0, &ids, NULL), QX_OK);
    assert_int_equal(qx_tokenizer_decode(t, ids.id, ids.n, &back, NULL), QX_OK);
    assert_string_equal(back, "hello w\xE4\xB8\x96z");
    qx_free_text(back);
    qx_ids_release(&ids);
    qx_tokenizer_close(&t);
}

static void unigram_without_unknown_says_so(void **state)
{
    struct qx_tokenizer *t = NULL;
    struct qx_error err;
    struct qx_ids ids = {0};
    (void)state;

    assert_int_equal(
        open_json("{'model':{'type':'Unigram','vocab':[['a',-1],['aa',-1.5],['b',-2]]}}", &t, &err),
        QX_OK);
    check_ids(t, "aaab", 0, 0, "0 1 2");
    assert_int_equal(qx_tokenizer_encode(t, "abcd", 4, 0, 0, &ids, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "'cd'"));
    assert_int_equal(ids.n, 0);
    qx_ids_release(&ids);
    qx_tokenizer_close(&t);
}

/* ---- what is wrong is said ---- */

static void wrong_files_are_refused_by_name(void **state)
{
    static const struct {
        const char *text, *says;
        enum qx_status status;
    } cases[] = {
        {"{", "tokenizer.json", QX_EFORMAT},
        {"{}", "type", QX_EUNSUPPORTED},
        {"{'model':{'type':'WordLevel','vocab':{}}}", "WordLevel", QX_EUNSUPPORTED},
        {"{'model':{'type':'Unigram','vocab':[]}}", "no vocabulary", QX_EFORMAT},
        {"{'model':{'type':'Unigram','vocab':[['a',-1],['b']]}}", "entry 1", QX_EFORMAT},
        {"{'model':{'type':'Unigram','vocab':[['a',-1]],'unk_id':1}}", "unk_id", QX_EFORMAT},
        {"{'model':{'type':'BPE','vocab':3}}", "vocabulary", QX_EFORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':-1}}}", "'a'", QX_EFORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':99999999}}}", "'a'", QX_EFORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':0},'merges':['a b']}}", "merge 0", QX_EFORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':0},'merges':[7]}}", "merge 0", QX_EFORMAT},
        {"{'model':{'type':'WordPiece','vocab':{'a':0}}}", "[UNK]", QX_EFORMAT},
        {"{'normalizer':{'type':'Nmt'},'model':{'type':'BPE','vocab':{}}}", "Nmt", QX_EUNSUPPORTED},
        {"{'normalizer':{'type':'Precompiled','precompiled_charsmap':7}}", "Precompiled",
         QX_EFORMAT},
        {"{'normalizer':{'type':'Precompiled','precompiled_charsmap':'AAA'}}", "damaged",
         QX_EFORMAT},
        {"{'normalizer':{'type':'Precompiled','precompiled_charsmap':'/wAAAAAAAAA='}}", "damaged",
         QX_EFORMAT},
        {"{'pre_tokenizer':{'type':'Split','pattern':{'Regex':'('}},'model':"
         "{'type':'BPE','vocab':{}}}",
         "regular expression", QX_EFORMAT},
        {"{'added_tokens':[{'content':'<x>'}],'model':{'type':'BPE','vocab':"
         "{'a':0}}}",
         "<x>", QX_EFORMAT},
        {"{'model':{'type':'BPE','end_of_word_suffix':'</w>','vocab':{'a':0}}}", "</w>",
         QX_EUNSUPPORTED},
        {"{'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':"
         "{'id':'<s>'}}]},'model':{'type':'BPE','vocab':{'a':0}}}",
         "<s>", QX_EFORMAT},
        {"{'model':{'type':'BPE','vocab':{'a':1,'b':1}}}", "'b' has the id 1", QX_EFORMAT},
        {"{'model':{'type':7,'vocab':{'a':0},'merges':[]}}", "type", QX_EUNSUPPORTED},
        {"{'post_processor':5,'model':{'type':'BPE','vocab':{'a':0}}}", "post_processor",
         QX_EFORMAT},
        {"{'added_tokens':'x','model':{'type':'BPE','vocab':{'a':0}}}", "added_tokens", QX_EFORMAT},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qx_tokenizer *t = NULL;
        struct qx_error err;
        assert_int_equal(open_json(cases[i].text, &t, &err), cases[i].status);
        if (!strstr(err.text, cases[i].says)) {
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
        }
        assert_null(t);
    }
}

static void texts_that_are_none_are_refused(void **state)
{
    struct place f;
    struct qx_tokenizer *t = NULL;
    struct qx_error err;
    struct qx_ids ids = {0};
    (void)state;

    folder_make(&f, "vocab.txt", bert_lines);
    assert_int_equal(qx_tokenizer_open(f.path, &t, &err), QX_OK);
    assert_int_equal(qx_tokenizer_encode(t, "hello \xFF", 7, 0, 0, &ids, &err), QX_EDATA);
    assert_int_equal(err.offset, 6);
    assert_int_equal(ids.n, 0);
    assert_int_equal(qx_tokenizer_encode(t, "hello", 5, 0, 1, &ids, &err), QX_EDATA);
    assert_int_equal(ids.n, 0);
    qx_tokenizer_close(&t);
    folder_remove(&f);
    assert_int_equal(qx_tokenizer_open("nowhere", &t, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "vocab.txt"));
}

/* A pattern that takes exponential time gives up instead of hanging. */
static void hostile_patterns_end(void **state)
{
    char text[64];
    struct qx_tokenizer *t = NULL;
    struct qx_ids ids = {0};
    struct qx_error err;
    (void)state;

    assert_int_equal(open_json("{'pre_tokenizer':{'type':'Split','pattern':{'Regex':"
                               "'(a|a?)+$'},'behavior':'Isolated'},'model':{'type':"
                               "'BPE','vocab':{'a':0}}}",
                               &t, &err),
                     QX_OK);
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'b';
    assert_int_equal(qx_tokenizer_encode(t, text, sizeof text, 0, 0, &ids, &err), QX_EDATA);
    qx_tokenizer_close(&t);
}

/* Replacements that multiply end before memory does. */
static void normalizers_that_multiply_end(void **state)
{
    static const char step[] = "{'type':'Replace','pattern':{'String':'a'},'content':'aaaaaaaa'}";
    char text[1024] = "{'normalizer':{'type':'Sequence','normalizers':[";
    struct qx_tokenizer *t = NULL;
    struct qx_ids ids = {0};
    struct qx_error err;
    (void)state;

    for (int i = 0; i < 12; i++) {
        strcat(strcat(text, i ? "," : ""), step);
    }
    strcat(text, "]},'model':{'type':'BPE','vocab':{'a':0}}}");
    assert_int_equal(open_json(text, &t, &err), QX_OK);
    assert_int_equal(qx_tokenizer_encode(t, "ab", 2, 0, 0, &ids, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "normalizers"));
    qx_tokenizer_close(&t);
}

static void no_allocation_failure_is_lost(void **state)
{
    struct place f;
    char *single = spaced_json(true), *json = quoted(single);
    (void)state;

    folder_make(&f, "tokenizer.json", json);
    free(single);
    bool is_through = false;
    for (int64_t n = 1; !is_through && n < 20000; n += n < 400 ? 1 : 37) {
        struct qx_tokenizer *t = NULL;
        struct qx_ids ids = {0};
        struct qx_error err;
        qx_mem_fail_at(n);
        enum qx_status st = qx_tokenizer_open(f.path, &t, &err);
        if (st == QX_OK) {
            st = qx_tokenizer_encode(t, "ab \xC3\xA9 <s>", 9, 0, 0, &ids, &err);
        }
        qx_mem_fail_at(0);
        is_through = st == QX_OK;
        assert_true(st == QX_OK || st == QX_ENOMEM || st == QX_EFORMAT);
        qx_ids_release(&ids);
        qx_tokenizer_close(&t);
    }
    assert_true(is_through);
    folder_remove(&f);
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_the_reference),
        cmocka_unit_test(vocab_txt_follows_its_config),
        cmocka_unit_test(characters_merge_and_fall_back_on_bytes),
        cmocka_unit_test(splits_do_what_their_behavior_says),
        cmocka_unit_test(unigram_ids_are_those_of_the_oracles),
        cmocka_unit_test(clusters_are_looked_up_whole),
        cmocka_unit_test(unigram_without_unknown_says_so),
        cmocka_unit_test(wrong_files_are_refused_by_name),
        cmocka_unit_test(texts_that_are_none_are_refused),
        cmocka_unit_test(hostile_patterns_end),
        cmocka_unit_test(normalizers_that_multiply_end),
        cmocka_unit_test(no_allocation_failure_is_lost),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}

/* Every rule of safetensors (formats.md 3.1) broken once: refused as QX_EFORMAT, the message naming
 * the file, the tensor, the byte offset and the rule. Legal oddities beside them open. The files are
 * written here, so that each stands next to the words it must cause. */
#include "test_tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ONE(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define GOOD ONE("a", "F32", "[2]", "[0,8]")

struct hostile {
    const char *name; /* also of the file */
    const char *header;
    int64_t stated; /* header length in the file, -1: the true one */
    int n_data;
    const char *tensor; /* that must be named, "" none */
    int64_t offset;     /* that must be named; -1: any at or after the header's start */
    const char *rule;   /* words of the message */
};

static const struct hostile cases[] = {
    /* the length */
    {"header_too_large", "{}", 100000001, 0, "", 0, "larger than the limit of 100000000"},
    {"header_length_all_ones", "{}", INT64_MAX, 0, "", 0, "larger than the limit"},
    {"header_past_end", "{" GOOD "}", 4096, 8, "", 0, "ends past the end of the file"},
    {"header_empty", "", 0, 0, "", 8, "must begin with '{'"},
    {"header_one_byte", "{", 1, 8, "", 8, "must begin with '{'"},
    /* the text */
    {"header_no_json", "{bad json here}", -1, 0, "", 9, "expected a key"},
    {"header_array", "[1,2]", -1, 0, "", 8, "must begin with '{'"},
    {"header_leading_space", " {" GOOD "}", -1, 8, "", 8, "must begin with '{'"},
    {"header_not_utf8", "{\"\xff\xfe\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     -1, 8, "", -1, "UTF-8"},
    {"header_overlong_utf8", "{\"\xc0\xaf\":{}}", -1, 0, "", -1, "UTF-8"},
    {"header_unclosed", "{" GOOD, -1, 8, "a", -1, "ends too early"},
    {"header_two_values", "{" GOOD "}{}", -1, 8, "a", -1, "text after the end"},
    {"header_trailing_comma", "{" GOOD ",}", -1, 8, "a", -1, "expected a key"},
    {"name_with_nul", "{" ONE("a\\u0000b", "F32", "[2]", "[0,8]") "}", -1, 8, "", -1, "NUL"},
    {"key_twice", "{" GOOD "," GOOD "}", -1, 8, "a", -1, "comes twice"},
    {"key_twice_escaped", "{" GOOD "," ONE("\\u0061", "F32", "[2]", "[8,16]") "}", -1, 16, "", -1,
     "comes twice"},
    {"field_twice",
     "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8,
     "a", -1, "comes twice"},
    {"number_overflows", "{" ONE("a", "F32", "[1e999]", "[0,8]") "}", -1, 8, "a", 9, "'shape'"},
    /* an entry */
    {"entry_no_object", "{\"a\":5}", -1, 0, "a", 9, "must be an object"},
    {"dtype_missing", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8, "a", 9, "'dtype'"},
    {"dtype_number", "{\"a\":{\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]}}", -1, 8, "a", 9,
     "'dtype'"},
    {"dtype_unknown", "{" ONE("a", "F31", "[2]", "[0,8]") "}", -1, 8, "a", 9,
     "unknown dtype 'F31'"},
    {"shape_missing", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", -1, 8, "a", 9,
     "'shape'"},
    {"shape_negative", "{" ONE("a", "F32", "[-2]", "[0,8]") "}", -1, 8, "a", 9, "'shape'"},
    {"shape_fraction", "{" ONE("a", "F32", "[1.5]", "[0,6]") "}", -1, 6, "a", 9, "'shape'"},
    {"shape_string", "{" ONE("a", "F32", "[\"2\"]", "[0,8]") "}", -1, 8, "a", 9, "'shape'"},
    {"shape_beyond_2_53", "{" ONE("a", "F32", "[9007199254740994]", "[0,8]") "}", -1, 8, "a", 9,
     "2^53"},
    {"numel_overflows", "{" ONE("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", -1, 0, "a", 9,
     "overflows"},
    {"numel_overflows_before_zero",
     "{" ONE("a", "U8", "[4503599627370496,4503599627370496,0]", "[0,0]") "}", -1, 0, "a", 9,
     "overflows"},
    {"bits_overflow", "{" ONE("a", "F64", "[4503599627370496,1024]", "[0,0]") "}", -1, 0, "a", 9,
     "overflows"},
    {"bits_misaligned", "{" ONE("a", "F4", "[3]", "[0,2]") "}", -1, 2, "a", 9, "whole bytes"},
    {"bits_misaligned_f6", "{" ONE("a", "F6_E2M3", "[2]", "[0,2]") "}", -1, 2, "a", 9,
     "whole bytes"},
    {"shape_as_float", "{" ONE("a", "F32", "[2.0]", "[0,8]") "}", -1, 8, "a", 9, "'shape'"},
    {"shape_with_exponent", "{" ONE("a", "F32", "[2e0]", "[0,8]") "}", -1, 8, "a", 9, "'shape'"},
    {"metadata_key_twice", "{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}," GOOD "}", -1, 8, "", 9,
     "comes twice"},
    {"metadata_twice", "{\"__metadata__\":{},\"__metadata__\":{}," GOOD "}", -1, 8, "", -1,
     "comes twice"},
    {"offsets_missing", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", -1, 8, "a", 9,
     "'data_offsets'"},
    {"offsets_one", "{" ONE("a", "F32", "[2]", "[0]") "}", -1, 8, "a", 9, "two integers"},
    {"offsets_three", "{" ONE("a", "F32", "[2]", "[0,8,8]") "}", -1, 8, "a", 9, "two integers"},
    {"offsets_negative", "{" ONE("a", "F32", "[2]", "[-8,0]") "}", -1, 8, "a", 9, "'data_offsets'"},
    {"offsets_reversed", "{" ONE("a", "F32", "[2]", "[8,0]") "}", -1, 8, "a", 9,
     "before they begin"},
    {"size_too_small", "{" ONE("a", "F32", "[3]", "[0,8]") "}", -1, 8, "a", 9, "need 12 bytes"},
    {"size_too_large", "{" ONE("a", "F32", "[1]", "[0,8]") "}", -1, 8, "a", 9, "need 4 bytes"},
    {"scalar_without_bytes", "{" ONE("a", "F32", "[]", "[0,0]") "}", -1, 0, "a", 9, "need 4 bytes"},
    {"zero_size_with_bytes", "{" ONE("a", "F32", "[0]", "[0,4]") "}", -1, 4, "a", 9,
     "need 0 bytes"},
    /* the metadata */
    {"metadata_number", "{\"__metadata__\":{\"k\":1}," GOOD "}", -1, 8, "", -1, "must be a string"},
    {"metadata_list", "{\"__metadata__\":[]," GOOD "}", -1, 8, "", -1, "must be an object"},
    {"metadata_nested", "{\"__metadata__\":{\"k\":{}}," GOOD "}", -1, 8, "", -1,
     "must be a string"},
    /* the data */
    {"hole_at_start", "{" ONE("a", "F32", "[2]", "[4,12]") "}", -1, 12, "a", -1, "hole of 4 bytes"},
    {"hole_inside", "{" GOOD "," ONE("b", "F32", "[1]", "[12,16]") "}", -1, 16, "b", -1,
     "hole of 4 bytes"},
    {"overlap", "{" GOOD "," ONE("b", "F32", "[2]", "[4,12]") "}", -1, 12, "b", -1,
     "overlaps that of 'a'"},
    {"same_bytes", "{" GOOD "," ONE("b", "F32", "[2]", "[0,8]") "}", -1, 8, "", -1, "overlaps"},
    {"inside_another", "{" ONE("a", "F32", "[4]", "[0,16]") "," ONE("b", "F32", "[0]", "[4,4]") "}",
     -1, 16, "b", -1, "overlaps"},
    {"data_missing", "{" GOOD "}", -1, 4, "a", -1, "partial download"},
    {"data_absent", "{" GOOD "}", -1, 0, "a", -1, "8 bytes are missing"},
    {"data_left_over", "{" GOOD "}", -1, 9, "", -1, "1 bytes follow the last tensor"},
    {"data_without_tensors", "{}", -1, 4, "", 10, "4 bytes follow"},
    {"shard_bomb", "{" ONE("a", "F32", "[1000000000000]", "[0,4000000000000]") "}", -1, 8, "a", -1,
     "past the end of the file"},
};

static void write_case(const struct hostile *c, const char *file)
{
    static const uint8_t data[32];
    scratch_safetensors(file, c->header, c->stated, data, (size_t)c->n_data);
}

static void broken_rules_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct hostile *c = &cases[i];
        char file[96], where[48];
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        snprintf(file, sizeof file, "%s.safetensors", c->name);
        write_case(c, file);
        enum qx_status st = qx_model_open(scratch_path(file), &m, &err);
        snprintf(where, sizeof where, "at byte %lld", (long long)err.offset);
        bool ok = st == QX_EFORMAT && err.status == QX_EFORMAT && !m && strstr(err.text, file) &&
                  strcmp(err.file, scratch_path(file)) == 0 && strstr(err.text, c->rule) &&
                  strstr(err.text, where) && strstr(err.text, c->tensor) && !strchr(err.text, '\n');
        ok = ok && (c->offset < 0 ? err.offset >= 8 : err.offset == c->offset);
        ok = ok && (!*c->tensor || strcmp(err.tensor, c->tensor) == 0);
        if (!ok) {
            fail_msg("%s: status %d, tensor '%s', offset %lld: %s", c->name, (int)st, err.tensor,
                     (long long)err.offset, err.text);
        }
    }
}

static const struct {
    const char *name, *header;
    int n_data, n_tensors;
} legal[] = {
    {"padded", "{" GOOD "}       ", 8, 1},
    {"no_tensors", "{}", 0, 0},
    {"only_metadata", "{\"__metadata__\":{\"format\":\"pt\"}}", 0, 0},
    {"scalar", "{" ONE("a", "F32", "[]", "[0,4]") "}", 4, 1},
    {"zero_sized", "{" ONE("a", "F32", "[2,0]", "[0,0]") "}", 0, 1},
    {"zero_sized_between",
     "{" ONE("z", "F32", "[0]", "[8,8]") "," GOOD "," ONE("b", "F32", "[1]", "[8,12]") "}", 12, 3},
    {"any_order", "{" ONE("b", "F32", "[1]", "[8,12]") "," GOOD "}", 12, 2},
    {"misaligned", "{" ONE("a", "U8", "[1]", "[0,1]") "," ONE("b", "F32", "[1]", "[1,5]") "}", 5,
     2},
    {"further_field",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"note\":\"x\"}}", 8, 1},
    {"whole_bytes_of_f4", "{" ONE("a", "F4", "[4]", "[0,2]") "}", 2, 1},
    {"odd_names", "{" ONE("a b/c\\n\\u00e9", "F32", "[1]", "[0,4]") "}", 4, 1},
};

static void legal_oddities_open(void **state)
{
    (void)state;
    static const uint8_t data[32];
    for (size_t i = 0; i < sizeof legal / sizeof *legal; i++) {
        char file[96];
        snprintf(file, sizeof file, "%s.safetensors", legal[i].name);
        scratch_safetensors(file, legal[i].header, -1, data, (size_t)legal[i].n_data);
        struct qx_model *m = open_ok(scratch_path(file));
        assert_int_equal(qx_model_n_tensors(m), legal[i].n_tensors);
        for (int64_t k = 0; k < qx_model_n_tensors(m); k++) {
            const struct qx_tensor *t = qx_model_tensor(m, k);
            float x[4];
            assert_true((t->bytes > 0) == (t->data != NULL));
            assert_true((t->reason == NULL) == qx_dtype_get(t->dtype)->is_readable);
            if (t->reason == NULL) {
                assert_int_equal(qx_tensor_read(t, 0, t->numel, x, NULL), QX_OK);
            }
        }
        qx_model_close(&m);
    }
}

static void escaped_names_are_unescaped(void **state)
{
    (void)state;
    static const char header[] = " \"\\u0061\\u00e9\\u20ac\\ud83d\\ude00\\n\\t\\\"\\\\\\/\" : "
                                 "{\"d\\u0074ype\" : \"U\\u0038\" , "
                                 "\"extra\":[{\"}\":\"\\\"]\"},-1.5e3,true,null],\"shape\" : [ 1 ] "
                                 ", \"data_offsets\":[ 0 , 1 ] } ,"
                                 "\"\":{\"data_offsets\":[1,2],\"shape\":[],\"dtype\":\"BOOL\"}}";
    char text[400] = "{";
    strcat(text, header);
    scratch_safetensors("escaped.safetensors", text, -1, "\0\1", 2);
    struct qx_model *m = open_ok(scratch_path("escaped.safetensors"));
    assert_int_equal(qx_model_n_tensors(m), 2);
    assert_string_equal(qx_model_tensor(m, 0)->name, "");
    assert_string_equal(qx_model_tensor(m, 1)->name,
                        "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n\t\"\\/");
    assert_int_equal(qx_model_tensor(m, 1)->dtype, QX_DTYPE_U8);
    qx_model_close(&m);
}

static void every_dtype_opens(void **state)
{
    (void)state;
    for (int d = 0; d < QX_DTYPE_COUNT; d++) {
        const struct qx_dtype_info *info = qx_dtype_get((enum qx_dtype)d);
        static const uint8_t data[64];
        char header[200];
        if (info->block) { /* of another container */
            continue;
        }
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%d]}}", info->name,
                 info->bits);
        scratch_safetensors("dtype.safetensors", header, -1, data, (size_t)info->bits);
        struct qx_model *m = open_ok(scratch_path("dtype.safetensors"));
        assert_int_equal(qx_model_tensor(m, 0)->dtype, d);
        assert_int_equal(qx_model_bytes(m), info->bits);
        assert_int_equal(qx_model_params(m), info->is_float ? 8 : 0);
        qx_model_close(&m);
    }
}

/* Every prefix of a good file is refused, and never read past its end (sanitizers watch). */
static void every_truncation_is_refused(void **state)
{
    (void)state;
    const char *header = "{\"__metadata__\":{\"k\":\"v\"}," GOOD "}";
    uint8_t data[8] = {0};
    scratch_safetensors("whole.safetensors", header, -1, data, sizeof data);
    FILE *f = fopen(scratch_path("whole.safetensors"), "rb");
    uint8_t whole[256];
    assert_non_null(f);
    size_t n = fread(whole, 1, sizeof whole, f);
    fclose(f);
    for (size_t k = 0; k < n; k++) {
        struct qx_model *m = NULL;
        struct qx_error err = {0};
        scratch_write("cut.safetensors", whole, k);
        assert_int_equal(qx_model_open(scratch_path("cut.safetensors"), &m, &err), QX_EFORMAT);
        assert_non_null(strstr(err.text, "partial download"));
    }
}

/* Nested brackets, long numbers, long names: bounded time, no deep recursion. */
static void attacks_by_size_are_refused(void **state)
{
    (void)state;
    size_t n = 1 << 20;
    char *text = malloc(n + 64);
    struct qx_model *m = NULL;
    struct qx_error err = {0};
    assert_non_null(text);
    memset(text, '[', n);
    memcpy(text, "{\"a\":", 5);
    text[n] = '\0';
    scratch_safetensors("nested.safetensors", text, -1, NULL, 0);
    assert_int_equal(qx_model_open(scratch_path("nested.safetensors"), &m, &err), QX_EFORMAT);
    assert_non_null(strstr(err.text, "nesting"));
    memset(text, 'x', n);
    text[0] = '{';
    text[1] = '"';
    strcpy(text + n - 1, "\":{}}");
    scratch_safetensors("long_name.safetensors", text, -1, NULL, 0);
    assert_int_equal(qx_model_open(scratch_path("long_name.safetensors"), &m, &err), QX_EFORMAT);
    assert_true(strlen(err.text) < sizeof err.text);
    free(text);
}

int test_tensor_hostile(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_rules_are_named),
        cmocka_unit_test(legal_oddities_open),
        cmocka_unit_test(escaped_names_are_unescaped),
        cmocka_unit_test(every_dtype_opens),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(attacks_by_size_are_refused),
    };
    return cmocka_run_group_tests_name("tensor: hostile files", tests, NULL, NULL);
}

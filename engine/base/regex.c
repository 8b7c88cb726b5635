/* The only file that names PCRE2. */
#include "base/regex.h"

#include "base/error.h"
#include "base/mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string.h>

struct qx_regex {
    pcre2_code *code;
    pcre2_general_context *memory;
};

struct qx_regex_scan {
    const struct qx_regex *re;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    const char *text;
    size_t len, at;
};

/* A hostile pattern may take exponential time: far more steps than any tokenizer's needs. */
enum { STEP_LIMIT = 1000000, HEAP_LIMIT_KIB = 65536 };

static void *memory_get(size_t n, void *unused)
{
    (void)unused;
    return qx_mem_alloc(n);
}

static void memory_put(void *p, void *unused)
{
    (void)unused;
    qx_mem_free(p);
}

enum qx_status qx_regex_new(const char *pattern, const char *what, struct qx_regex **out,
                            struct qx_error *err)
{
    struct qx_regex *re = qx_mem_zalloc(sizeof *re);
    if (!re) {
        return qx_fail_nomem(err, sizeof *re);
    }
    int code = 0;
    size_t at = 0;
    re->memory = pcre2_general_context_create(memory_get, memory_put, NULL);
    pcre2_compile_context *context = re->memory ? pcre2_compile_context_create(re->memory) : NULL;
    if (context) {
        re->code =
            pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
    }
    pcre2_compile_context_free(context);
    if (re->code) {
        *out = re;
        return QX_OK;
    }
    const bool is_memory =
        !context || code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED;
    qx_regex_free(re);
    if (is_memory) {
        return qx_fail_nomem(err, strlen(pattern));
    }
    PCRE2_UCHAR text[120] = "";
    pcre2_get_error_message(code, text, sizeof text);
    return qx_fail(err, QX_EFORMAT,
                   "%s: the pattern is no regular expression (at character %zu: %s)", what, at,
                   (const char *)text);
}

void qx_regex_free(struct qx_regex *re)
{
    if (re) {
        pcre2_code_free(re->code);
        pcre2_general_context_free(re->memory);
        qx_mem_free(re);
    }
}

struct qx_regex_scan *qx_regex_begin(const struct qx_regex *re, const char *text, size_t len)
{
    struct qx_regex_scan *scan = qx_mem_zalloc(sizeof *scan);
    if (!scan) {
        return NULL;
    }
    *scan = (struct qx_regex_scan){.re = re, .text = text, .len = len};
    scan->match = pcre2_match_data_create(1, re->memory);
    scan->limits = pcre2_match_context_create(re->memory);
    if (!scan->match || !scan->limits) {
        qx_regex_end(scan);
        return NULL;
    }
    pcre2_set_match_limit(scan->limits, STEP_LIMIT);
    pcre2_set_heap_limit(scan->limits, HEAP_LIMIT_KIB);
    return scan;
}

int qx_regex_next(struct qx_regex_scan *scan, size_t *from, size_t *to)
{
    const int n = pcre2_match(scan->re->code, (PCRE2_SPTR)scan->text, scan->len, scan->at,
                              PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, scan->match, scan->limits);
    if (n == PCRE2_ERROR_NOMATCH) {
        return 0;
    }
    if (n < 0) {
        return -1;
    }
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(scan->match);
    if (place[1] <= place[0] || place[0] < scan->at) { /* \K moves the start anywhere */
        return -1;
    }
    *from = place[0];
    *to = place[1];
    scan->at = place[1];
    return 1;
}

void qx_regex_end(struct qx_regex_scan *scan)
{
    if (scan) {
        pcre2_match_data_free(scan->match);
        pcre2_match_context_free(scan->limits);
        qx_mem_free(scan);
    }
}

/* The only file that names utf8proc. */
#include "base/unicode.h"

#include "base/mem.h"

#include <utf8proc.h>

size_t qx_utf8_next(const char *s, size_t len, uint32_t *cp)
{
    utf8proc_int32_t c;
    const utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)(len < 4 ? len : 4), &c);
    if (n <= 0) {
        *cp = 0xFFFD;
        return 1;
    }
    *cp = (uint32_t)c;
    return (size_t)n;
}

void qx_utf8_put(struct qx_buf *out, uint32_t cp)
{
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)cp, bytes);
    qx_buf_add(out, bytes, n > 0 ? (size_t)n : 0);
}

static utf8proc_category_t category(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp);
}

bool qx_char_is_space(uint32_t cp)
{
    const utf8proc_category_t c = category(cp);
    return (cp >= 0x09 && cp <= 0x0D) || cp == 0x85 || c == UTF8PROC_CATEGORY_ZS ||
           c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP;
}

bool qx_char_is_other(uint32_t cp)
{
    const utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CN ||
           c == UTF8PROC_CATEGORY_CS || c == UTF8PROC_CATEGORY_CO;
}

bool qx_char_is_mark(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_MN;
}

bool qx_char_is_punctuation(uint32_t cp)
{
    if (cp < 0x80) {
        return (cp >= 33 && cp <= 47) || (cp >= 58 && cp <= 64) || (cp >= 91 && cp <= 96) ||
               (cp >= 123 && cp <= 126);
    }
    const utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool qx_char_is_number(uint32_t cp)
{
    const utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool qx_char_is_word(uint32_t cp)
{
    const utf8proc_category_t c = category(cp);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC;
}

uint32_t qx_char_lower(uint32_t cp)
{
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

bool qx_unicode_normalize(enum qx_unicode_form form, const char *text, size_t len,
                          struct qx_buf *out)
{
    static const utf8proc_option_t options[] = {
        [QX_NFC] = UTF8PROC_COMPOSE,
        [QX_NFD] = UTF8PROC_DECOMPOSE,
        [QX_NFKC] = UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [QX_NFKD] = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    const utf8proc_option_t how = options[form] | UTF8PROC_STABLE;
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t n = utf8proc_decompose(bytes, (utf8proc_ssize_t)len, NULL, 0, how);
    if (n < 0) {
        return false;
    }
    /* utf8proc writes the text over the characters, with a byte to spare */
    utf8proc_int32_t *chars = qx_mem_array((size_t)n + 1, sizeof *chars);
    if (!chars) {
        out->oom = true;
        return true;
    }
    n = utf8proc_decompose(bytes, (utf8proc_ssize_t)len, chars, n, how);
    n = n < 0 ? n : utf8proc_reencode(chars, n, how);
    if (n > 0) {
        qx_buf_add(out, chars, (size_t)n);
    }
    qx_mem_free(chars);
    return n >= 0;
}

size_t qx_grapheme_next(const char *s, size_t len)
{
    utf8proc_int32_t state = 0;
    uint32_t before, c;
    size_t at = qx_utf8_next(s, len, &before);
    for (size_t n; at < len; at += n, before = c) {
        n = qx_utf8_next(s + at, len - at, &c);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)c,
                                             &state)) {
            break;
        }
    }
    return at;
}

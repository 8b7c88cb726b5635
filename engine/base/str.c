#include "base/str.h"

#include <string.h>

bool qx_str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool qx_str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

char *qx_str_copy(char *dst, size_t cap, const char *src)
{
    if (cap == 0) {
        return dst;
    }
    size_t n = strnlen(src, cap);
    if (n == cap) {
        n = cap - 1;
        while (n > 0 && ((unsigned char)src[n] & 0xC0) == 0x80) {
            n--;
        }
    }
    memmove(dst, src, n);
    dst[n] = '\0';
    return dst;
}

/* One [...] class at *p (just after '['); advances *p past ']'. An unclosed class matches nothing. */
static bool class_match(const char **p, unsigned char c)
{
    const char *s = *p;
    bool is_negated = *s == '!' || *s == '^';
    bool hit = false;
    if (is_negated) {
        s++;
    }
    const char *first = s;
    while (*s && (*s != ']' || s == first)) {
        unsigned char lo = (unsigned char)*s, hi = lo;
        if (s[1] == '-' && s[2] && s[2] != ']') {
            hi = (unsigned char)s[2];
            s += 2;
        }
        hit = hit || (lo <= c && c <= hi);
        s++;
    }
    if (!*s) {
        *p = s;
        return false;
    }
    *p = s + 1;
    return hit != is_negated;
}

bool qx_str_glob(const char *pattern, const char *s)
{
    const char *star = NULL, *retry = NULL; /* last '*' and the text it was tried at */
    for (;;) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = s;
            continue;
        }
        const char *next = pattern + 1;
        bool ok = false;
        if (*s && *pattern == '?') {
            ok = true;
        } else if (*s && *pattern == '[') {
            ok = class_match(&next, (unsigned char)*s);
        } else {
            ok = *pattern == *s;
        }
        if (ok && !*s) {
            return true;
        }
        if (ok) {
            pattern = next;
            s++;
        } else if (star && *retry) {
            pattern = star;
            s = ++retry;
        } else {
            return false;
        }
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Compares the digit runs at *a and *b by value (any length) and steps over them. */
static int digits_cmp(const char **a, const char **b)
{
    while (**a == '0') {
        (*a)++;
    }
    while (**b == '0') {
        (*b)++;
    }
    size_t n = 0, m = 0;
    while (is_digit((*a)[n])) {
        n++;
    }
    while (is_digit((*b)[m])) {
        m++;
    }
    int order = n != m ? (n < m ? -1 : 1) : memcmp(*a, *b, n);
    *a += n;
    *b += m;
    return order;
}

int qx_str_natcmp(const char *a, const char *b)
{
    const char *p = a, *q = b;
    while (*p && *q) {
        if (is_digit(*p) && is_digit(*q)) {
            int order = digits_cmp(&p, &q);
            if (order) {
                return order < 0 ? -1 : 1;
            }
        } else if (*p != *q) {
            return (unsigned char)*p < (unsigned char)*q ? -1 : 1;
        } else {
            p++;
            q++;
        }
    }
    if (*p || *q) {
        return *p ? 1 : -1;
    }
    int order = strcmp(a, b); /* "01" against "1" */
    return order < 0 ? -1 : order > 0;
}

bool qx_utf8_valid(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < len;) {
        unsigned char c = s[i];
        size_t n = c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
        if (n == 0 || len - i < n) {
            return false;
        }
        for (size_t j = 1; j < n; j++) {
            if ((s[i + j] & 0xC0) != 0x80) {
                return false;
            }
        }
        unsigned char d = n > 1 ? s[i + 1] : 0;
        bool bad = (c == 0xE0 && d < 0xA0) || (c == 0xED && d > 0x9F) || (c == 0xF0 && d < 0x90) ||
                   (c == 0xF4 && d > 0x8F);
        if (bad) { /* overlong, surrogate, or beyond U+10FFFF */
            return false;
        }
        i += n;
    }
    return true;
}

int qx_str_distance(const char *a, const char *b, int limit)
{
    enum { MAX = 63 };
    size_t n = strnlen(a, MAX + 1), m = strnlen(b, MAX + 1);
    size_t gap = n > m ? n - m : m - n;
    if (n > MAX || m > MAX || gap > (size_t)limit) {
        return limit + 1;
    }
    int row[MAX + 1];
    for (size_t j = 0; j <= m; j++) {
        row[j] = (int)j;
    }
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m] <= limit ? row[m] : limit + 1;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 27;
    x *= UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* Eight little-endian bytes at a time through the splitmix64 finaliser. Not for secrets. */
uint64_t qx_hash64(const void *bytes, size_t n, uint64_t seed)
{
    const unsigned char *p = bytes;
    uint64_t h = mix(seed + UINT64_C(0x9E3779B97F4A7C15)) ^ n;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        size_t take = n - i < 8 ? n - i : 8;
        for (size_t j = 0; j < take; j++) {
            word |= (uint64_t)p[i + j] << (8 * j);
        }
        h = mix(h ^ word) + UINT64_C(0x9E3779B97F4A7C15);
    }
    return mix(h);
}

#include "base/base64.h"

#include <stdint.h>

static int value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool qx_base64_decode(const char *text, size_t len, struct qx_buf *out)
{
    if (len % 4 != 0) {
        return false;
    }
    for (size_t at = 0; at < len; at += 4) {
        const bool is_last = at + 4 == len;
        const size_t n_pad = !is_last || text[at + 3] != '=' ? 0 : text[at + 2] == '=' ? 2 : 1;
        uint32_t bits = 0;
        for (size_t i = 0; i < 4; i++) {
            const int v = i < 4 - n_pad ? value_of(text[at + i]) : 0;
            if (v < 0) {
                return false;
            }
            bits = bits << 6 | (uint32_t)v;
        }
        const unsigned char bytes[3] = {(unsigned char)(bits >> 16), (unsigned char)(bits >> 8),
                                        (unsigned char)bits};
        qx_buf_add(out, bytes, 3 - n_pad);
    }
    return true;
}

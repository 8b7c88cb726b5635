#include "utf8.h"

int ui_utf8_decode(const char *s, size_t len, int *cp)
{
    const unsigned char *u = (const unsigned char *)s;
    if (len == 0) {
        *cp = -1;
        return 0;
    }
    if (u[0] < 0x80) {
        *cp = u[0];
        return 1;
    }
    int n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    static const int least[5] = {0, 0, 0x80, 0x800, 0x10000};
    int c = u[0] & (0xff >> (n + 1));
    *cp = -1;
    if (u[0] < 0xc2 || u[0] > 0xf4 || (size_t)n > len) {
        return 1;
    }
    for (int i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) {
            return 1;
        }
        c = c << 6 | (u[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
        return 1;
    }
    *cp = c;
    return n;
}

int ui_utf8_encode(int cp, char out[5])
{
    int n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    if (n == 1) {
        out[0] = (char)cp;
    } else {
        static const int lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (int i = n - 1; i > 0; i--) {
            out[i] = (char)(0x80 | (cp & 0x3f));
            cp >>= 6;
        }
        out[0] = (char)(lead[n] | cp);
    }
    out[n] = 0;
    return n;
}

struct span {
    int first, last;
};

static int in_spans(int cp, const struct span *spans, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (cp >= spans[i].first && cp <= spans[i].last) {
            return 1;
        }
    }
    return 0;
}

int ui_utf8_width(int cp)
{
    static const struct span none[] = {
        {0x0000, 0x001f}, {0x007f, 0x009f}, {0x00ad, 0x00ad}, {0x0300, 0x036f}, {0x0483, 0x0489},
        {0x0591, 0x05c7}, {0x0600, 0x0605}, {0x0610, 0x061c}, {0x064b, 0x065f}, {0x1ab0, 0x1aff},
        {0x1dc0, 0x1dff}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0x20d0, 0x20ff},
        {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xe0000, 0xe0fff},
    };
    static const struct span wide[] = {
        {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0x4dbf},   {0x4e00, 0xa4cf},
        {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
        {0xffe0, 0xffe6},   {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff},
        {0x20000, 0x3fffd},
    };
    if (cp >= 0x20 && cp < 0x7f) {
        return 1;
    }
    if (in_spans(cp, none, sizeof(none) / sizeof(none[0]))) {
        return 0;
    }
    return 1 + in_spans(cp, wide, sizeof(wide) / sizeof(wide[0]));
}

/* Convolutions on codes, one sample at a time: padding is the zero point. Columns are runs of bytes of an
 * image with the channels last; where groups of inputs share a scale, columns have the order of the stored
 * weight and come from planes. */
#include "net/qlinear.h"

#include <string.h>

/* Columns of several output lines: at most about this many bytes, so that they stay in the cache. */
#define COLUMN_BYTES 49152
/* Runs are copied in steps; the last one reads and writes a little beyond. */
#define COPY 16
/* Inputs of stored columns that are gathered at once. */
#define BAND 16

struct conv {
    const struct qx_qlinear *q;
    int64_t icg, width;      /* channels of a group; padded width */
    int64_t plane;           /* bytes of a padded plane */
    int64_t lines;           /* output lines at a time */
    int64_t lda;             /* bytes of a column */
    bool is_pointwise;       /* columns are the input */
    bool is_stored;          /* columns in the order of the stored weight */
    uint8_t flip;            /* 0x80: stored columns of the 4-bit kernel are signed */
    uint8_t *codes, *turned; /* one sample */
    float *divided;          /* the same, where inputs have factors */
    uint8_t *padded;
    float *floats;    /* depthwise with zero points of weights: the padded input as float32 */
    uint8_t *pad_row; /* depthwise without: one place of padding */
    uint8_t *columns;
    uint8_t *band; /* stored: [BAND][band_ld] */
    int64_t band_ld;
    float *product; /* [lines * ow][oc] when the output is not written in place */
    uint8_t *rest;
};

static bool has_pads(const struct qx_window *w)
{
    return w->top + w->left + w->bottom + w->right > 0;
}

static void conv_geometry(const struct qx_qlinear *q, struct conv *c)
{
    const struct qx_window *w = &q->w;
    c->q = q;
    c->icg = w->c / q->group;
    c->width = w->w + w->left + w->right;
    c->plane = (w->h + w->top + w->bottom) * c->width;
    c->is_pointwise = q->kind == QX_QCONV && q->group == 1 && w->kh * w->kw == 1 &&
                      w->sh * w->sw == 1 && !has_pads(w);
    c->is_stored = q->kind == QX_QCONV && q->n_units > 1 && w->kh * w->kw > 1;
    c->flip = c->is_stored && q->w4 ? 0x80 : 0;
    c->lda = !c->is_stored ? q->k : q->w4 ? q->n_units * q->unit : (q->k + BAND - 1) / BAND * BAND;
    const bool is_whole = c->is_pointwise || q->kind == QX_QDEPTHWISE;
    const int64_t lines = is_whole ? w->oh : COLUMN_BYTES / (w->ow * c->lda);
    c->lines = lines < 1 ? 1 : lines < w->oh ? lines : w->oh;
    c->band_ld = c->lines * w->ow + COPY;
}

static size_t conv_cut(const struct qx_qlinear *q, uint8_t *base, struct conv *c)
{
    const struct qx_window *w = &q->w;
    const size_t in = (size_t)(w->c * w->h * w->w);
    struct qx_cut cut = {base, 0};
    conv_geometry(q, c);
    const size_t padded = (size_t)(c->plane * w->c), m = (size_t)(c->lines * w->ow);
    const bool is_unrolled = q->kind == QX_QCONV && !c->is_pointwise;
    c->codes = qx_cut_take(&cut, in);
    c->divided = qx_qbeside_is(q) ? qx_cut_take(&cut, in * sizeof(float)) : NULL;
    c->turned = qx_cut_take(&cut, in);
    c->padded = qx_cut_take(&cut, padded);
    c->floats = q->taps ? qx_cut_take(&cut, padded * sizeof(float)) : NULL;
    c->pad_row = qx_cut_take(&cut, (size_t)w->c);
    c->columns = is_unrolled ? qx_cut_take(&cut, m * (size_t)c->lda) : NULL;
    c->band = c->is_stored ? qx_cut_take(&cut, (size_t)(BAND * c->band_ld)) : NULL;
    c->product = qx_cut_take(&cut, m * (size_t)q->oc * sizeof(float));
    c->rest = base ? base + cut.used : NULL;
    return cut.used + qx_qproduct_scratch(q, (int64_t)m);
}

/* Codes of sample s as they lie; *is_last: channels last. */
static const uint8_t *codes_at(struct qx_qrun *r, const struct conv *c, int64_t s,
                               struct qx_codes *used, bool *is_last)
{
    const struct qx_window *w = &c->q->w;
    const struct qx_exec_value *v = r->in_value;
    const int64_t size = w->c * w->h * w->w;
    if (v->form != QX_FORM_CODES) {
        const float *sample = (const float *)r->in + s * size;
        *is_last = v->form == QX_FORM_LAST;
        if (c->divided) {
            struct qx_beside b = c->q->beside;
            b.inner = *is_last ? 1 : b.inner;
            qx_beside_apply(&b, sample, size, c->divided);
            sample = c->divided;
        }
        r->n_nonfinite += qx_qinput(c->q, sample, size, c->codes, used);
        return c->codes;
    }
    const uint8_t *x = (const uint8_t *)r->in + s * size;
    *used = c->q->in;
    *is_last = v->is_last && v->c == w->c;
    if (!v->is_last || *is_last) {
        return x;
    }
    qx_bytes_turn(x, v->places, v->c, c->codes); /* a view with other axes */
    return c->codes;
}

/* Codes of sample s, channels last or (stored columns) in planes. */
static const uint8_t *sample_codes(struct qx_qrun *r, const struct conv *c, int64_t s,
                                   struct qx_codes *used)
{
    const struct qx_window *w = &c->q->w;
    const int64_t places = w->h * w->w, size = w->c * places;
    bool is_last;
    const uint8_t *x = codes_at(r, c, s, used, &is_last);
    if (is_last == c->is_stored && w->c > 1 && places > 1) {
        qx_bytes_turn(x, is_last ? places : w->c, is_last ? w->c : places, c->turned);
        x = c->turned;
    }
    if (r->record && c->is_stored) {
        memcpy(r->record + s * size, x, (size_t)size);
    } else if (r->record) {
        qx_bytes_turn(x, places, w->c, r->record + s * size);
    }
    return x;
}

static void copy_flipped(uint8_t *out, const uint8_t *x, int64_t n, uint8_t flip)
{
    for (int64_t i = 0; i < n; i++) {
        out[i] = x[i] ^ flip;
    }
}

/* The lines of an image of `bytes` for each place into one that is padding so far. Returns what lies behind
 * it. */
static uint8_t *pad_image(const struct conv *c, const uint8_t *x, int64_t bytes, uint8_t *out)
{
    const struct qx_window *w = &c->q->w;
    const int64_t line = c->width * bytes, inner = w->w * bytes;
    uint8_t *at = out + w->top * line + w->left * bytes;
    for (int64_t i = 0; i < w->h; i++, at += line, x += inner) {
        copy_flipped(at, x, inner, c->flip);
    }
    return out + c->plane * bytes;
}

static const uint8_t *pad(const struct conv *c, const uint8_t *x, uint8_t zero)
{
    const struct qx_window *w = &c->q->w;
    uint8_t *out = c->padded;
    if (!has_pads(w) && !c->flip) {
        return x;
    }
    memset(out, zero ^ c->flip, (size_t)(c->plane * w->c));
    const int64_t images = c->is_stored ? w->c : 1;
    for (int64_t i = 0; i < images; i++) {
        out = pad_image(c, x + i * w->h * w->w, w->c / images, out);
    }
    return c->padded;
}

/* ---- columns ---- */

static inline uint8_t *copy_run(uint8_t *out, const uint8_t *from, int64_t n)
{
    for (int64_t i = 0; i < n; i += COPY) {
        memcpy(out + i, from + i, COPY);
    }
    return out + n;
}

/* Columns [places][k] of the output lines first .. first+lines-1 of group g. */
static void unroll(const struct conv *c, const uint8_t *x, int64_t g, int64_t first, int64_t lines)
{
    const struct qx_window *w = &c->q->w;
    const bool is_joined = w->dw == 1 && c->icg == w->c; /* a line of the window is one run */
    const int64_t run = is_joined ? w->kw * w->c : c->icg, n_runs = is_joined ? 1 : w->kw;
    uint8_t *out = c->columns;
    for (int64_t y = first; y < first + lines; y++) {
        for (int64_t j = 0; j < w->ow; j++) {
            const uint8_t *at = x + (y * w->sh * c->width + j * w->sw) * w->c + g * c->icg;
            for (int64_t a = 0; a < w->kh; a++, at += w->dh * c->width * w->c) {
                for (int64_t b = 0; b < n_runs; b++) {
                    out = copy_run(out, at + b * w->dw * w->c, run);
                }
            }
        }
    }
}

/* One input of the columns, from[l * sh * width + j * sw] for all places of the lines. */
static void gather_input(const struct conv *c, const uint8_t *from, int64_t lines, uint8_t *out)
{
    const struct qx_window *w = &c->q->w;
    for (int64_t l = 0; l < lines; l++, from += w->sh * c->width) {
        if (w->sw == 1) {
            out = copy_run(out, from, w->ow);
            continue;
        }
        for (int64_t j = 0; j < w->ow; j++) {
            *out++ = from[j * w->sw];
        }
    }
}

/* Inputs up to k are gathered: the band that they end, if any, goes to the columns. */
static void turn_band(const struct conv *c, int64_t k, int64_t m)
{
    if (k % BAND == 0) {
        qxk_get()->turn_u8(c->band, BAND, m, c->band_ld, c->columns + k - BAND, c->lda);
    }
}

/* The same in the order of the stored weights, from planes: a band of inputs is gathered in runs of
 * places, then turned. What is past k is 0. */
static void unroll_stored(const struct conv *c, const uint8_t *x, int64_t g, int64_t first,
                          int64_t lines)
{
    const struct qx_window *w = &c->q->w;
    const int64_t m = lines * w->ow;
    int64_t k = 0;
    x += g * c->icg * c->plane + first * w->sh * c->width;
    for (int64_t i = 0; i < c->icg; i++, x += c->plane) {
        for (int64_t a = 0; a < w->kh; a++) {
            for (int64_t b = 0; b < w->kw; b++) {
                gather_input(c, x + a * w->dh * c->width + b * w->dw, lines,
                             c->band + k % BAND * c->band_ld);
                turn_band(c, ++k, m);
            }
        }
    }
    while (k < c->lda) {
        memset(c->band + k % BAND * c->band_ld, 0, (size_t)m);
        turn_band(c, ++k, m);
    }
}

/* ---- one input channel a group ---- */

/* Weights with zero points, into c->product: sums of at most 256 products of 9 by 9 bits are whole
 * numbers below 2^24, and float32 holds every one exactly. */
static void depthwise_zeros(const struct conv *c, const struct qx_codes *used)
{
    const struct qx_qlinear *q = c->q;
    const struct qx_window *w = &q->w;
    float *out = c->product;
    for (int64_t y = 0; y < w->oh; y++) {
        for (int64_t j = 0; j < w->ow; j++, out += w->c) {
            const float *at = c->floats + (y * w->sh * c->width + j * w->sw) * w->c;
            const float *taps = q->taps;
            memset(out, 0, (size_t)w->c * sizeof *out);
            for (int64_t a = 0; a < w->kh; a++) {
                for (int64_t b = 0; b < w->kw; b++, taps += w->c) {
                    const float *x = at + (a * w->dh * c->width + b * w->dw) * w->c;
                    for (int64_t i = 0; i < w->c; i++) {
                        out[i] += x[i] * taps[i];
                    }
                }
            }
            for (int64_t i = 0; i < w->c; i++) {
                float v = out[i] * (used->scale * q->folded[i]) + q->bias[i];
                v = q->fused == QXK_ACT_RELU && v < 0.0f ? 0.0f : v;
                if (q->fused == QXK_ACT_CLIP) {
                    v = v < q->act_lo ? q->act_lo : v > q->act_hi ? q->act_hi : v;
                }
                out[i] = v;
            }
        }
    }
}

static void depthwise(const struct conv *c, const uint8_t *x, const struct qx_codes *used,
                      bool is_codes, void *y)
{
    const struct qx_qlinear *q = c->q;
    const struct qx_window *w = &q->w;
    memset(c->pad_row, used->zero, (size_t)w->c);
    const struct qxk_dwconv conv = {.s = {.h = w->h,
                                          .w = w->w,
                                          .c = w->c,
                                          .oh = w->oh,
                                          .ow = w->ow,
                                          .kernel_y = w->kh,
                                          .kernel_x = w->kw,
                                          .stride_y = w->sh,
                                          .stride_x = w->sw,
                                          .dilation_y = w->dh,
                                          .dilation_x = w->dw,
                                          .pad_y = w->top,
                                          .pad_x = w->left},
                                    .w = &q->dw,
                                    .x = x,
                                    .pad_row = c->pad_row,
                                    .y = y,
                                    .ldy = q->oc,
                                    .ep =
                                        qx_qepilogue(q, 0, &used->scale, &used->zero, 0, is_codes)};
    qxk_get()->dwconv_u8s8(&conv, 0, w->oh);
}

static void widen(const struct conv *c, const uint8_t *x, int32_t zero)
{
    const struct qx_window *w = &c->q->w;
    const int64_t n = (w->h + w->top + w->bottom) * c->width * w->c;
    for (int64_t i = 0; i < n; i++) {
        c->floats[i] = (float)((int32_t)x[i] - zero);
    }
}

/* ---- one sample ---- */

/* [places][oc] from place `first` on to planes [oc][all places]. */
static void planes_write(const struct conv *c, int64_t first, int64_t n, float *out)
{
    const int64_t oc = c->q->oc, places = c->q->w.oh * c->q->w.ow;
    for (int64_t o = 0; o < oc; o++) {
        const float *from = c->product + o;
        float *to = out + o * places + first;
        for (int64_t i = 0; i < n; i++) {
            to[i] = from[i * oc];
        }
    }
}

static void lines_run(const struct conv *c, const uint8_t *x, const struct qx_codes *used,
                      int64_t first, int64_t lines, bool is_codes, void *y)
{
    const struct qx_qlinear *q = c->q;
    struct qx_qproduct p = {.q = q,
                            .m = lines * q->w.ow,
                            .lda = c->lda,
                            .a = c->is_pointwise ? x : c->columns,
                            .is_signed = c->flip != 0,
                            .rows = {&used->scale, &used->zero, 0},
                            .is_codes = is_codes,
                            .y = y,
                            .scratch = c->rest};
    for (p.g = 0; p.g < q->group; p.g++) {
        if (c->is_stored) {
            unroll_stored(c, x, p.g, first, lines);
        } else if (!c->is_pointwise) {
            unroll(c, x, p.g, first, lines);
        }
        qx_qproduct_run(&p);
    }
}

static void sample_run(struct qx_qrun *r, const struct conv *c, const uint8_t *codes,
                       const struct qx_codes *used, int64_t s)
{
    const struct qx_qlinear *q = c->q;
    const struct qx_window *w = &q->w;
    const int64_t places = w->oh * w->ow;
    const enum qx_form form = r->out_value->form;
    const bool is_padded = q->kind == QX_QCONV || q->taps;
    const uint8_t *x = is_padded ? pad(c, codes, (uint8_t)used->zero) : codes;
    if (q->taps) {
        widen(c, x, used->zero);
    }
    for (int64_t first = 0; first < w->oh; first += c->lines) {
        const int64_t lines = c->lines < w->oh - first ? c->lines : w->oh - first;
        const int64_t n = lines * w->ow, at = (s * places + first * w->ow) * q->oc;
        void *y = form == QX_FORM_CODES  ? (void *)((uint8_t *)r->out + at)
                  : form == QX_FORM_LAST ? (void *)((float *)r->out + at)
                                         : (void *)c->product;
        if (q->kind == QX_QDEPTHWISE && !q->taps) {
            depthwise(c, x, used, form == QX_FORM_CODES, y);
        } else if (q->kind == QX_QDEPTHWISE) {
            depthwise_zeros(c, used);
            if (form != QX_FORM_PLAIN) {
                qx_qfinish(q, c->product, n * q->oc, form == QX_FORM_CODES, y);
            }
        } else {
            lines_run(c, x, used, first, lines, form == QX_FORM_CODES, y);
        }
        if (form == QX_FORM_PLAIN) {
            planes_write(c, first * w->ow, n, (float *)r->out + s * places * q->oc);
        }
    }
}

void qx_qconv_run(struct qx_qrun *r)
{
    struct conv c;
    conv_cut(r->q, r->scratch, &c);
    for (int64_t s = 0; s < r->rows; s++) {
        struct qx_codes used;
        const uint8_t *codes = sample_codes(r, &c, s, &used);
        sample_run(r, &c, codes, &used, s);
    }
}

size_t qx_qconv_scratch(const struct qx_qlinear *q)
{
    struct conv c;
    return conv_cut(q, NULL, &c);
}

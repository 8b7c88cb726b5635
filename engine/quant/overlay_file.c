/* The cache file of an overlay. */
#include "qx/overlay.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

enum { VERSION = 6, MAX_BYTES = 1 << 30 };

struct header {
    char magic[8];
    uint32_t version, metrics_bytes;
    uint64_t key, checksum, payload_bytes;
    struct qx_channels channels;
    int64_t n_units, n_kept, groups, taps, n_others, n_other_values;
    uint32_t has_in_scale, has_in_shift, has_out_scale, has_bias, is_folded, has_in_range, act_sym;
    int64_t act_bits;
    struct qx_range in_range;
    double before, after;
    char note[96];
    struct qx_metrics metrics;
};

static const char magic[8] = "QXOVER1\n";

static int64_t numel(struct qx_channels c)
{
    return c.outer * c.count * c.inner;
}

/* The arrays in the order of the file. */
struct part {
    void **at;
    size_t bytes;
};
enum { N_PARTS = 11 };

static void parts_of(struct qx_overlay *o, const struct header *h, struct part *out)
{
    const size_t n_in = (size_t)(h->groups * h->channels.outer * h->channels.inner / h->taps);
    const size_t n_out = (size_t)h->channels.count, n_kept = (size_t)h->n_kept;
    const struct part parts[N_PARTS] = {
        {(void **)&o->codes, (size_t)numel(h->channels)},
        {(void **)&o->scale, (size_t)h->n_units * sizeof *o->scale},
        {(void **)&o->zero, (size_t)h->n_units * sizeof *o->zero},
        {(void **)&o->in_scale, h->has_in_scale ? n_in * sizeof *o->in_scale : 0},
        {(void **)&o->in_shift, h->has_in_shift ? n_in * sizeof *o->in_shift : 0},
        {(void **)&o->out_scale, h->has_out_scale ? n_out * sizeof *o->out_scale : 0},
        {(void **)&o->bias, h->has_bias ? n_out * sizeof *o->bias : 0},
        {(void **)&o->kept, n_kept * sizeof *o->kept},
        {(void **)&o->kept_values, n_out * n_kept * sizeof *o->kept_values},
        {(void **)&o->others, (size_t)h->n_others * sizeof *o->others},
        {(void **)&o->other_values, (size_t)h->n_other_values * sizeof *o->other_values}};
    memcpy(out, parts, sizeof parts);
}

enum qx_status qx_overlay_save(const struct qx_overlay *o, const char *path, struct qx_error *err)
{
    struct header h = {.version = VERSION,
                       .metrics_bytes = sizeof(struct qx_metrics),
                       .key = o->key,
                       .channels = o->channels,
                       .n_units = o->n_units,
                       .n_kept = o->n_kept,
                       .groups = o->groups,
                       .taps = o->taps,
                       .n_others = o->n_others,
                       .n_other_values = o->n_other_values,
                       .has_in_scale = o->in_scale != NULL,
                       .has_in_shift = o->in_shift != NULL,
                       .has_out_scale = o->out_scale != NULL,
                       .is_folded = o->is_folded,
                       .has_bias = o->bias != NULL,
                       .in_range = o->in_range,
                       .has_in_range = o->has_in_range,
                       .act_bits = o->act_bits,
                       .act_sym = o->act_sym,
                       .before = o->before,
                       .after = o->after,
                       .metrics = o->metrics};
    struct qx_overlay borrowed = *o;
    struct part parts[N_PARTS];
    struct qx_buf b = {0};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.note, o->note, sizeof h.note);
    parts_of(&borrowed, &h, parts);
    qx_buf_add(&b, &h, sizeof h);
    for (int i = 0; i < N_PARTS; i++) {
        qx_buf_add(&b, *parts[i].at, parts[i].bytes);
    }
    enum qx_status st = b.oom ? qx_fail_nomem(err, b.len) : QX_OK;
    if (st == QX_OK) {
        h.payload_bytes = b.len - sizeof h;
        h.checksum = qx_hash64(b.data + sizeof h, b.len - sizeof h, h.key);
        memcpy(b.data, &h, sizeof h);
        st = qx_fs_write_atomic(path, b.data, b.len, err);
    }
    qx_buf_release(&b);
    return st;
}

static bool is_same(struct qx_channels a, struct qx_channels b)
{
    return a.outer == b.outer && a.count == b.count && a.inner == b.inner;
}

/* Are the arrays what passes may rely on: finite scales above 0, finite shifts, kept inputs in order, other tensors' values
 * as many as they say? */
static bool is_sound(const struct qx_overlay *o)
{
    const int64_t n_in = o->channels.outer * o->channels.inner;
    const float *const factors[2] = {o->in_scale, o->out_scale};
    const int64_t n_factors[2] = {o->groups * n_in / o->taps, o->channels.count};
    for (int64_t u = 0; u < o->n_units; u++) {
        if (!(o->scale[u] >= 0.0f && isfinite(o->scale[u]))) {
            return false;
        }
    }
    for (int f = 0; f < 2; f++) {
        for (int64_t i = 0; factors[f] && i < n_factors[f]; i++) {
            if (!(factors[f][i] > 0.0f && isfinite(factors[f][i]))) {
                return false;
            }
        }
    }
    for (int64_t i = 0; o->in_shift && i < n_factors[0]; i++) {
        if (!(o->in_shift[i] >= 0.0f && isfinite(o->in_shift[i]))) {
            return false;
        }
    }
    for (int64_t i = 0; i < o->n_kept; i++) {
        if (o->kept[i] < (i > 0 ? o->kept[i - 1] + 1 : 0) || o->kept[i] >= n_in) {
            return false;
        }
    }
    int64_t left = o->n_other_values;
    for (int64_t i = 0; i < o->n_others; i++) {
        if (o->others[i].tensor < 0 || o->others[i].n < 0 || o->others[i].n > left) {
            return false;
        }
        left -= o->others[i].n;
    }
    return left == 0;
}

static bool fill(struct qx_overlay *o, const struct header *h, const char *p, size_t len)
{
    struct part parts[N_PARTS];
    size_t need = 0;
    parts_of(o, h, parts);
    for (int i = 0; i < N_PARTS; i++) {
        need += parts[i].bytes;
    }
    for (int i = 0; need == len && i < N_PARTS; i++) {
        if (parts[i].bytes > 0 && !*parts[i].at) {
            *parts[i].at = qx_mem_alloc(parts[i].bytes);
        }
        if (parts[i].bytes > 0 && !*parts[i].at) {
            return false;
        }
        if (parts[i].bytes > 0) {
            memcpy(*parts[i].at, p, parts[i].bytes);
        }
        p += parts[i].bytes;
    }
    return need == len;
}

static bool header_fits(const struct header *h, size_t len, uint64_t key,
                        struct qx_channels channels, int64_t n_units)
{
    return memcmp(h->magic, magic, sizeof magic) == 0 && h->version == VERSION &&
           h->metrics_bytes == sizeof(struct qx_metrics) && h->key == key &&
           is_same(h->channels, channels) && h->groups > 0 && channels.count % h->groups == 0 &&
           h->taps > 0 && channels.outer * channels.inner % h->taps == 0 && h->n_units == n_units &&
           h->n_others >= 0 && h->n_others <= MAX_BYTES && h->n_other_values >= 0 &&
           h->n_other_values <= MAX_BYTES && h->n_kept >= 0 &&
           h->n_kept <= channels.outer * channels.inner && h->payload_bytes == len - sizeof *h;
}

enum qx_status qx_overlay_load(const char *path, uint64_t key, struct qx_channels channels,
                               const struct qx_setting *s, struct qx_overlay **out,
                               struct qx_error *err)
{
    char *text = NULL;
    size_t len = 0;
    struct header h;
    struct qx_overlay *o = NULL;
    enum qx_status st = qx_fs_read(path, MAX_BYTES, &text, &len, err);
    if (st != QX_OK) {
        return st;
    }
    if (len >= sizeof h) {
        memcpy(&h, text, sizeof h);
    }
    if (len < sizeof h || !header_fits(&h, len, key, channels, qx_setting_units(s, channels)) ||
        h.checksum != qx_hash64(text + sizeof h, len - sizeof h, key)) {
        st = qx_fail(err, QX_EFORMAT, "'%s' is no overlay of these weights and this setting", path);
    }
    if (st == QX_OK) {
        st = qx_overlay_new(channels, s, &o, err);
    }
    if (st == QX_OK) {
        o->key = key;
        o->n_kept = h.n_kept;
        o->groups = h.groups;
        o->taps = h.taps;
        o->n_others = h.n_others;
        o->n_other_values = h.n_other_values;
        o->is_folded = h.is_folded != 0;
        o->in_range = h.in_range;
        o->has_in_range = h.has_in_range != 0;
        o->act_bits = (int)h.act_bits;
        o->act_sym = h.act_sym != 0;
        o->before = h.before;
        o->after = h.after;
        o->metrics = h.metrics;
        memcpy(o->note, h.note, sizeof o->note);
        o->note[sizeof o->note - 1] = '\0';
        if (!fill(o, &h, text + sizeof h, len - sizeof h) || !is_sound(o)) {
            st = qx_fail(err, QX_EFORMAT, "the overlay '%s' is damaged", path);
        }
    }
    qx_mem_free(text);
    if (st != QX_OK) {
        qx_overlay_free(o);
        return st;
    }
    *out = o;
    return QX_OK;
}

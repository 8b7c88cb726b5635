/* The steps a text goes through before the model sees it: kinds by name, options from tokenizer.json. */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

/* A text may get as many times as long by normalizers: steps that replace by more multiply. */
enum { GROWTH_MOST = 1000 };

/* Sequences inside one another, and steps in all: a hostile file's. */
enum { MAX_STEPS = 64 };

enum qx_status qx_text_string(const struct qx_jval *v, const char *key, const char *what,
                              char **out, size_t *len, struct qx_error *err)
{
    const char *text = qx_jstr(qx_jget(v, key), NULL);
    if (!text) {
        return qx_fail(err, QX_EFORMAT, "%s: a step '%.40s' has no string '%s'", what,
                       qx_jstr(qx_jget(v, "type"), "?"), key);
    }
    *out = qx_mem_strdup(text);
    *len = strlen(text);
    return *out ? QX_OK : qx_fail_nomem(err, *len);
}

enum qx_status qx_text_pattern(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                               struct qx_error *err)
{
    const struct qx_jval *pattern = qx_jget(v, "pattern");
    const char *regex = qx_jstr(qx_jget(pattern, "Regex"), NULL);
    if (regex) {
        return qx_regex_new(regex, what, &s->regex, err);
    }
    const enum qx_status st = qx_text_string(pattern, "String", what, &s->find, &s->find_len, err);
    if (st == QX_OK && s->find_len == 0) {
        return qx_fail(err, QX_EFORMAT, "%s: a step '%.40s' looks for an empty text", what,
                       qx_jstr(qx_jget(v, "type"), "?"));
    }
    return st;
}

int qx_text_match(const struct qx_text_step *s, struct qx_regex_scan *scan, const char *text,
                  size_t len, size_t *at, size_t *from, size_t *to)
{
    if (scan) {
        return qx_regex_next(scan, from, to);
    }
    const char *hit = *at < len ? memmem(text + *at, len - *at, s->find, s->find_len) : NULL;
    if (!hit) {
        return 0;
    }
    *from = (size_t)(hit - text);
    *to = *at = *from + s->find_len;
    return 1;
}

static const struct qx_text_kind *kind_find(const char *type, bool is_split)
{
    const struct qx_text_kind *rows = is_split ? qx_text_splitters : qx_text_normalizers;
    const int n = is_split ? qx_text_n_splitters : qx_text_n_normalizers;
    for (int i = 0; i < n; i++) {
        if (strcmp(rows[i].type, type) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static enum qx_status step_read(const struct qx_jval *v, bool is_split, const char *what,
                                struct qx_text_steps *out, struct qx_error *err)
{
    const char *role = is_split ? "pre_tokenizer" : "normalizer";
    const char *type = qx_jstr(qx_jget(v, "type"), NULL);
    if (!type) {
        return qx_fail(err, QX_EFORMAT, "%s: a %s has no type", what, role);
    }
    if (strcmp(type, "Sequence") == 0) {
        const struct qx_jval *list = qx_jget(v, is_split ? "pretokenizers" : "normalizers");
        enum qx_status st = QX_OK;
        for (const struct qx_jval *c = qx_jfirst(list); c && st == QX_OK; c = qx_jnext(c)) {
            st = step_read(c, is_split, what, out, err);
        }
        return st;
    }
    const struct qx_text_kind *kind = kind_find(type, is_split);
    if (!kind) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "%s: a %s of type '%.40s' is not known here; give token ids instead "
                       "(eval.safetensors with input_ids)",
                       what, role, type);
    }
    if (out->n == MAX_STEPS) {
        return qx_fail(err, QX_EFORMAT, "%s: more than %d steps", what, MAX_STEPS);
    }
    struct qx_text_step *s = &out->step[out->n++];
    s->kind = kind;
    return kind->open ? kind->open(s, v, what, err) : QX_OK;
}

enum qx_status qx_text_steps_read(const struct qx_jval *v, bool is_split, const char *what,
                                  struct qx_text_steps *out, struct qx_error *err)
{
    *out = (struct qx_text_steps){0};
    if (!v || qx_jis_null(v)) {
        return QX_OK;
    }
    out->step = qx_mem_zalloc(MAX_STEPS * sizeof *out->step);
    if (!out->step) {
        return qx_fail_nomem(err, MAX_STEPS * sizeof *out->step);
    }
    const enum qx_status st = step_read(v, is_split, what, out, err);
    if (st != QX_OK) {
        qx_text_steps_release(out);
    }
    return st;
}

void qx_text_steps_release(struct qx_text_steps *s)
{
    for (int i = 0; i < s->n; i++) {
        qx_regex_free(s->step[i].regex);
        qx_mem_free(s->step[i].text);
        qx_mem_free(s->step[i].find);
    }
    qx_mem_free(s->step);
    *s = (struct qx_text_steps){0};
}

enum qx_status qx_text_normalize(const struct qx_text_steps *s, const char *text, size_t len,
                                 struct qx_buf *out, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    qx_buf_add(out, text, len);
    for (int i = 0; i < s->n && st == QX_OK && out->len > 0; i++) {
        struct qx_buf next = {0};
        st = s->step[i].kind->normalize(&s->step[i], out->data, out->len, &next, err);
        next.oom = next.oom || out->oom;
        qx_buf_release(out);
        *out = next;
        if (st == QX_OK && out->len / GROWTH_MOST > len) {
            st = qx_fail(err, QX_EDATA,
                         "the normalizers of the tokenizer make %zu bytes of a text of %zu",
                         out->len, len);
        }
    }
    return st == QX_OK && out->oom ? qx_fail_nomem(err, len) : st;
}

enum qx_status qx_text_split(const struct qx_text_steps *s, const char *text, size_t len,
                             bool is_first, struct qx_words *out, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    out->is_first = is_first;
    qx_words_add(out, text, len);
    for (int i = 0; i < s->n && st == QX_OK; i++) {
        struct qx_words next = {.is_first = is_first};
        for (size_t k = 0; k < qx_words_n(out) && st == QX_OK; k++) {
            size_t n;
            const char *word = qx_words_at(out, k, &n);
            st = s->step[i].kind->split(&s->step[i], word, n, is_first && k == 0, &next, err);
        }
        next.text.oom = next.text.oom || out->text.oom || out->spans.oom;
        qx_words_release(out);
        *out = next;
    }
    return st == QX_OK && (out->text.oom || out->spans.oom) ? qx_fail_nomem(err, len) : st;
}

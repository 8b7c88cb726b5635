/* JSON: bounded reader and streaming writer. The only JSON in the program (cJSON behind it). */
#ifndef QX_JSON_H
#define QX_JSON_H

#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- reading ---- */

struct qx_json; /* one parsed document, immutable, owned by the caller */
struct qx_jval; /* a value inside it, borrowed */

/* Parse `len` bytes as one JSON value (UTF-8, nesting <= 64, nothing but white space after it).
 *   what  names the source in messages ("recipe.json")
 * Duplicate keys in any object, invalid UTF-8 and embedded NUL are errors.
 * Returns QX_EFORMAT with the byte offset in err->offset, QX_ENOMEM. Free with qx_json_free. */
enum qx_status qx_json_parse(const char *text, size_t len, const char *what, struct qx_json **out,
                             struct qx_error *err);
/* Reads a whole file of at most max_bytes, then parses it. QX_EIO, QX_ERANGE when larger. */
enum qx_status qx_json_load(const char *path, size_t max_bytes, struct qx_json **out,
                            struct qx_error *err);
void qx_json_free(struct qx_json *json); /* NULL allowed */
const struct qx_jval *qx_json_root(const struct qx_json *json);

/* Accessors: NULL or absent gives NULL, the default, 0 or false; never an error. */
const struct qx_jval *qx_jget(const struct qx_jval *object, const char *key);
const struct qx_jval *qx_jat(const struct qx_jval *array, size_t i);
size_t qx_jlen(const struct qx_jval *array_or_object);
const struct qx_jval *qx_jfirst(const struct qx_jval *array_or_object); /* iterate: first child */
const struct qx_jval *qx_jnext(const struct qx_jval *child);            /* then its next sibling */
const char *qx_jkey(const struct qx_jval *member); /* its key inside the parent object, or NULL */
bool qx_jis_object(const struct qx_jval *v);
bool qx_jis_array(const struct qx_jval *v);
bool qx_jis_string(const struct qx_jval *v);
bool qx_jis_number(const struct qx_jval *v);
bool qx_jis_bool(const struct qx_jval *v);
bool qx_jis_null(const struct qx_jval *v);
const char *qx_jstr(const struct qx_jval *v, const char *fallback);
double qx_jnum(const struct qx_jval *v, double fallback);
bool qx_jbool(const struct qx_jval *v, bool fallback);
/* True and *out when v is a number holding an integer with |value| <= 2^53. */
bool qx_jint(const struct qx_jval *v, int64_t *out);

/* ---- writing ---- */

/* Writes into a growing buffer; commas, quoting and escapes are its work. Numbers: shortest text
 * that reads back to the same double (or float, for qx_jw_float); non-finite become null.
 * After an allocation failure all calls do nothing and qx_jw_take returns NULL. */
struct qx_jw;
struct qx_jw *qx_jw_new(bool pretty); /* NULL when out of memory; all calls accept NULL */
void qx_jw_object(struct qx_jw *w);   /* begin; as a value, or after qx_jw_key inside an object */
void qx_jw_array(struct qx_jw *w);
void qx_jw_end(struct qx_jw *w); /* end the innermost object or array */
void qx_jw_key(struct qx_jw *w, const char *key);
void qx_jw_str(struct qx_jw *w, const char *s); /* NULL writes null; invalid UTF-8 is replaced */
void qx_jw_num(struct qx_jw *w, double v);
void qx_jw_float(struct qx_jw *w, float v);
void qx_jw_int(struct qx_jw *w, int64_t v);
void qx_jw_bool(struct qx_jw *w, bool v);
void qx_jw_null(struct qx_jw *w);
/* A member of the object that is begun: key and value. */
void qx_jw_put_num(struct qx_jw *w, const char *key, double v);
void qx_jw_put_int(struct qx_jw *w, const char *key, int64_t v);
void qx_jw_put_bool(struct qx_jw *w, const char *key, bool v);
void qx_jw_put_str(struct qx_jw *w, const char *key, const char *s);
/* Finish and free w. The text ends with a newline; free it with qx_free_text. */
char *qx_jw_take(struct qx_jw *w, size_t *len);
void qx_jw_free(struct qx_jw *w);
void qx_free_text(char *text);

#endif

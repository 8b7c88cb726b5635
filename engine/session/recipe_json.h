/* The recipe as text: schema qexplore.recipe/1, a document of names checked against every table. */
#ifndef QX_SESSION_RECIPE_JSON_H
#define QX_SESSION_RECIPE_JSON_H

#include "qx/json.h"
#include "session/recipe.h"

/* Writes one setting as an object. */
void qx_setting_write(struct qx_jw *w, const struct qx_setting *s, enum qx_origin origin);
/* Reads one, strictly: unknown keys, formats and calibrators are errors naming the nearest; algo must
 * be empty. where: file, tensor: for messages. QX_EFORMAT, QX_ENAME, QX_ERANGE,
 * QX_EUNSUPPORTED. */
enum qx_status qx_setting_read(const struct qx_jval *v, const char *file, const char *tensor,
                               struct qx_setting *s, enum qx_origin *origin, struct qx_error *err);

/* The key "act" (act_json.c). is_affine: the weight is of an integer format. */
void qx_act_write(struct qx_jw *w, const struct qx_act *a);
enum qx_status qx_act_read(const struct qx_jval *v, bool is_affine, struct qx_act *out,
                           struct qx_error *err);

/* Object of all items that are not fp32: {"TENSOR": setting, ...}. open[i] true writes item i without
 * its range (chosen from a sample only); NULL = none. */
void qx_layers_write(struct qx_jw *w, const struct qx_recipe *r, const struct qx_items *items,
                     const uint8_t *open);
/* The inverse; items not named become fp32. out is initialised by the caller (qx_recipe_init). */
enum qx_status qx_layers_read(const struct qx_jval *layers, const char *file,
                              const struct qx_items *items, struct qx_recipe *out,
                              struct qx_error *err);

/* Whole document, as a value of w. */
void qx_recipe_put(struct qx_jw *w, const struct qx_recipe *r, const struct qx_items *items,
                   const struct qx_model *model, const uint8_t *open);
/* The same as text, freed with qx_free_text; NULL when out of memory. */
char *qx_recipe_write(const struct qx_recipe *r, const struct qx_items *items,
                      const struct qx_model *model, const uint8_t *open, size_t *len);
/* Parse a whole document; out is initialised here and released by the caller. */
enum qx_status qx_recipe_read(const struct qx_json *json, const char *file,
                              const struct qx_items *items, struct qx_recipe *out,
                              struct qx_error *err);

#endif

/* Number formats: one row each (format/format_table.c). */
#ifndef QX_FORMAT_H
#define QX_FORMAT_H

enum qx_format_kind { QX_FORMAT_FLOAT, QX_FORMAT_AFFINE };

struct qx_format {
    const char *name;  /* in recipes and flags: "fp32", "fp16", "bf16", "int" */
    const char *title; /* on screen: "FP16" */
    const char *help;  /* one sentence */
    char key;          /* after `.` on the Layer screen; 0 = none */
    enum qx_format_kind kind;
    int min_bits, max_bits;  /* AFFINE: 2..8; FLOAT: both its width */
    double tolerance;        /* FLOAT: worst relative error of a normal value (round-trip test) */
    float max;               /* FLOAT: largest finite value; beyond it round saturates */
    float (*round)(float x); /* FLOAT: nearest representable value of a finite x, ties to even;
                                  else NULL */
};
int qx_format_count(void);
const struct qx_format *qx_format_at(int i);
const struct qx_format *qx_format_find(const char *name); /* NULL when unknown */

#endif

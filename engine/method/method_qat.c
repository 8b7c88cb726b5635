/* What training chose (qx/train.h). It is found by its name in the recipe; nothing here can make it again. */
#include "base/error.h"
#include "method/method.h"

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    (void)w;
    (void)param;
    return qx_fail(err, QX_EDATA,
                   "what training chose is not kept here any more: train again, or take qat out of "
                   "the methods");
}

const struct qx_method qx_method_qat = {
    .name = "qat",
    .title = "QAT",
    .help = "What training chose: the Train screen puts it here.",
    .stage = QX_STAGE_CODES,
    .claims = QX_CLAIM_CODES | QX_CLAIM_INPUTS | QX_CLAIM_COLUMNS,
    .is_trained = true,
    .run = run,
};

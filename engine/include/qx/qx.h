/* Everything of libqx. See session.h for the usage example. */
#ifndef QX_H
#define QX_H

#include "qx/allocate.h"
#include "qx/bench.h"
#include "qx/cpu.h"
#include "qx/decode.h"
#include "qx/eval.h"
#include "qx/format.h"
#include "qx/grad.h"
#include "qx/hist.h"
#include "qx/job.h"
#include "qx/json.h"
#include "qx/kernels.h"
#include "qx/log.h"
#include "qx/mapfault.h"
#include "qx/matrix.h"
#include "qx/metric.h"

#include "qx/method.h"
#include "qx/model.h"
#include "qx/moments.h"
#include "qx/net.h"
#include "qx/overlay.h"
#include "qx/predict.h"
#include "qx/qat.h"
#include "qx/quant.h"
#include "qx/search.h"
#include "qx/sensitivity.h"
#include "qx/session.h"
#include "qx/status.h"
#include "qx/tensor.h"
#include "qx/text.h"
#include "qx/tokenizer.h"
#include "qx/train.h"
#include "qx/try.h"

#endif

/* Messages of the engine: kept in a ring that the host reads; nothing is printed. */
#ifndef QX_BASE_LOG_H
#define QX_BASE_LOG_H

#include "qx/log.h"

void qx_log(enum qx_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

/* The message log: a ring of the last messages, shown by the Log screen. */
#ifndef QX_LOG_H
#define QX_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum qx_log_level { QX_LOG_DEBUG, QX_LOG_INFO, QX_LOG_WARN, QX_LOG_ERROR };

struct qx_log_entry {
    int64_t seq;     /* 0, 1, 2 ... since program start */
    int64_t time_ms; /* Unix time */
    enum qx_log_level level;
    char text[400];
};

/* Copies the entry with the given seq. False when it is not (or no longer) there. Any thread. */
bool qx_log_get(int64_t seq, struct qx_log_entry *out);
int64_t qx_log_next_seq(void); /* seq the next message will get */
/* Hosts and views may add their own. Any thread. */
void qx_log_put(enum qx_log_level level, const char *text);

#endif

#include "base/log.h"
#include "base/str.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { RING = 512 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct qx_log_entry ring[RING]; /* entry seq lives at seq % RING */
static int64_t next_seq;

bool qx_log_get(int64_t seq, struct qx_log_entry *out)
{
    pthread_mutex_lock(&lock);
    bool is_there = seq >= 0 && seq < next_seq && seq >= next_seq - RING;
    if (is_there) {
        *out = ring[seq % RING];
    }
    pthread_mutex_unlock(&lock);
    return is_there;
}

int64_t qx_log_next_seq(void)
{
    pthread_mutex_lock(&lock);
    int64_t seq = next_seq;
    pthread_mutex_unlock(&lock);
    return seq;
}

void qx_log_put(enum qx_log_level level, const char *text)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    pthread_mutex_lock(&lock);
    struct qx_log_entry *e = &ring[next_seq % RING];
    e->seq = next_seq++;
    e->time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    e->level = level;
    qx_str_copy(e->text, sizeof e->text, text);
    pthread_mutex_unlock(&lock);
}

void qx_log(enum qx_log_level level, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    qx_log_put(level, text);
}

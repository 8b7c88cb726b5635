/* Ctrl-C and progress of the batch verbs. */
#include "cli.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static struct qx_ctl batch_ctl;
static volatile sig_atomic_t caught = SIGINT;

static void on_signal(int sig)
{
    caught = sig;
    atomic_store(&batch_ctl.cancel, true);
}

int ui_exit_interrupted(void)
{
    return 128 + caught;
}

/* Zeros in place of what is gone would be measured as if they were the model. */
static void on_file_cut(int sig)
{
    static const char text[] =
        "qexplore: a file was cut short while it was read; give it whole and "
        "run this again\n";
    (void)sig;
    const ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(UI_EXIT_INPUT);
}

struct qx_ctl *ui_batch_ctl(void)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    act = (struct sigaction){.sa_handler = on_file_cut};
    sigaction(SIGBUS, &act, NULL);
    return &batch_ctl;
}

static struct {
    pthread_t thread;
    bool started;
    sem_t stop;
    bool is_tty;
    const char *what;
} progress;

static void progress_bar(double share)
{
    enum { WIDTH = 30 };
    int filled = (int)(share * WIDTH);
    fprintf(stderr, "\r%-12s [", progress.what);
    for (int i = 0; i < WIDTH; i++) {
        fputc(i < filled ? '#' : '.', stderr);
    }
    fprintf(stderr, "] %3.0f %%", 100 * share);
    fflush(stderr);
}

static void *progress_main(void *arg)
{
    (void)arg;
    int shown = 0, ticks = 0;
    bool drawn = false;
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (sem_timedwait(&progress.stop, &until) == 0) {
            break;
        }
        if (++ticks < 10) {
            continue; /* short work needs no progress */
        }
        int64_t total = atomic_load(&batch_ctl.total);
        int64_t done = atomic_load(&batch_ctl.done);
        double share = total > 0 ? (double)done / (double)total : 0;
        share = share > 1 ? 1 : share;
        if (progress.is_tty) {
            progress_bar(share);
            drawn = true;
        } else if ((int)(share * 10) > shown && share < 1) {
            shown = (int)(share * 10);
            fprintf(stderr, "%s: %d0 %%\n", progress.what, shown);
        }
    }
    if (drawn) {
        fprintf(stderr, "\r%*s\r", 60, "");
    }
    return NULL;
}

void ui_progress_begin(const struct ui_args *args, const char *what)
{
    if (args->quiet || progress.started) {
        return;
    }
    progress.what = what;
    progress.is_tty = isatty(STDERR_FILENO);
    sem_init(&progress.stop, 0, 0);
    atomic_store(&batch_ctl.done, 0);
    atomic_store(&batch_ctl.total, 0);
    progress.started = pthread_create(&progress.thread, NULL, progress_main, NULL) == 0;
}

void ui_progress_end(void)
{
    if (progress.started) {
        sem_post(&progress.stop);
        pthread_join(progress.thread, NULL);
        sem_destroy(&progress.stop);
        progress.started = false;
    }
}

void ui_progress_line(const struct ui_args *args, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    if (args->quiet) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    fprintf(stderr, "%s%-60s\n", isatty(STDERR_FILENO) ? "\r" : "", line);
}

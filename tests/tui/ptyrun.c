#include "ptyrun.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

double pty_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What a shell does: the program in the foreground, in a group of its own; end as it ended. */
static void be_shell(char *const *argv, const char *term, int tell)
{
    signal(SIGTTOU, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        tcsetpgrp(0, getpid());
        signal(SIGTTOU, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        setenv("TERM", term, 1);
        close(tell);
        execv(argv[0], argv);
        _exit(127);
    }
    ssize_t told = write(tell, &pid, sizeof(pid));
    int status = 0;
    while (told > 0 && (waitpid(pid, &status, WUNTRACED) != pid || WIFSTOPPED(status))) {
    }
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        kill(getpid(), WTERMSIG(status));
    }
    _exit(WEXITSTATUS(status));
}

bool pty_start(struct pty *p, char *const *argv, const char *term, int w, int h)
{
    struct winsize size = {.ws_col = (unsigned short)w, .ws_row = (unsigned short)h};
    int slave, tell[2];
    memset(p, 0, sizeof(*p));
    if (openpty(&p->fd, &slave, NULL, NULL, &size) != 0 || pipe(tell) != 0) {
        return false;
    }
    p->hold = slave;
    tcgetattr(slave, &p->before);
    fcntl(p->fd, F_SETFD, FD_CLOEXEC);
    fcntl(slave, F_SETFD, FD_CLOEXEC);
    p->shell = fork();
    if (p->shell == 0) {
        close(p->fd);
        close(tell[0]);
        int other = dup(slave);
        login_tty(other);
        be_shell(argv, term, tell[1]);
    }
    close(tell[1]);
    ssize_t n = read(tell[0], &p->pid, sizeof(p->pid));
    close(tell[0]);
    return n == sizeof(p->pid);
}

bool pty_stopped(struct pty *p, int ms)
{
    char path[40], state = 0;
    double end = pty_now() + ms / 1000.0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)p->pid);
    while (state != 'T' && pty_now() < end) {
        FILE *f = fopen(path, "r");
        if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1) {
            state = 0;
        }
        if (f) {
            fclose(f);
        }
        pty_quiet(p, 20, 20);
    }
    return state == 'T';
}

void pty_type(struct pty *p, const char *bytes)
{
    size_t n = strlen(bytes);
    while (n > 0) {
        ssize_t done = write(p->fd, bytes, n);
        if (done <= 0) {
            return;
        }
        bytes += done;
        n -= (size_t)done;
    }
}

void pty_resize(struct pty *p, int w, int h)
{
    struct winsize size = {.ws_col = (unsigned short)w, .ws_row = (unsigned short)h};
    ioctl(p->fd, TIOCSWINSZ, &size);
}

void pty_clear(struct pty *p)
{
    p->n = 0;
    p->text[0] = 0;
}

/* Take in what comes within ms. Bytes read, 0 = none, -1 = the other side is closed. */
static ssize_t take(struct pty *p, int ms)
{
    struct pollfd fd = {.fd = p->fd, .events = POLLIN};
    if (poll(&fd, 1, ms) <= 0) {
        return 0;
    }
    if (p->n > sizeof(p->text) / 2) {
        memmove(p->text, p->text + p->n / 2, p->n - p->n / 2);
        p->n -= p->n / 2;
    }
    ssize_t n = read(p->fd, p->text + p->n, sizeof(p->text) - p->n - 1);
    if (n > 0) {
        for (ssize_t i = 0; i < n; i++) { /* strstr must see past a NUL */
            p->text[p->n + (size_t)i] = p->text[p->n + (size_t)i] ? p->text[p->n + (size_t)i] : ' ';
        }
        p->n += (size_t)n;
        p->text[p->n] = 0;
        return n;
    }
    return -1;
}

bool pty_wait(struct pty *p, const char *text, int ms)
{
    double end = pty_now() + ms / 1000.0;
    while (!strstr(p->text, text)) {
        if (pty_now() > end || take(p, 20) < 0) {
            return strstr(p->text, text) != NULL;
        }
    }
    return true;
}

size_t pty_quiet(struct pty *p, int quiet_ms, int max_ms)
{
    double end = pty_now() + max_ms / 1000.0;
    size_t total = 0;
    while (pty_now() < end) {
        ssize_t n = take(p, quiet_ms);
        if (n <= 0) {
            break;
        }
        total += (size_t)n;
    }
    return total;
}

int pty_end(struct pty *p, int ms)
{
    double end = pty_now() + ms / 1000.0;
    int status = -1;
    while (waitpid(p->shell, &status, WNOHANG) == 0) {
        take(p, 10);
        if (pty_now() > end) {
            kill(p->pid, SIGKILL);
            waitpid(p->shell, &status, 0);
            p->shell = 0;
            return -1;
        }
    }
    p->shell = 0;
    while (take(p, 20) > 0) {
    }
    return status;
}

bool pty_restored(const struct pty *p)
{
    struct termios now;
    tcgetattr(p->hold, &now);
    return now.c_iflag == p->before.c_iflag && now.c_oflag == p->before.c_oflag &&
           now.c_cflag == p->before.c_cflag && now.c_lflag == p->before.c_lflag &&
           memcmp(now.c_cc, p->before.c_cc, sizeof(now.c_cc)) == 0;
}

void pty_close(struct pty *p)
{
    if (p->shell > 0) {
        kill(p->pid, SIGKILL);
        waitpid(p->shell, NULL, 0);
    }
    close(p->fd);
    close(p->hold);
}

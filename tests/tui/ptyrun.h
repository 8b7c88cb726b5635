/* A program on a pseudo-terminal: type, wait for text, count bytes. */
#ifndef PTYRUN_H
#define PTYRUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <termios.h>

struct pty {
    int fd;
    pid_t pid;             /* of the program, in a process group of its own */
    pid_t shell;           /* its parent, which ends as the program ended */
    int hold;              /* slave side kept open: its modes can be read after the end */
    struct termios before; /* modes before the program began */
    char text[1 << 20];    /* everything it wrote since the last pty_clear, NUL-terminated */
    size_t n;
};

/* Start argv (NULL-terminated) at the size; term = TERM. False when there are no pseudo-terminals. */
bool pty_start(struct pty *p, char *const *argv, const char *term, int w, int h);
void pty_type(struct pty *p, const char *bytes);
void pty_resize(struct pty *p, int w, int h);
void pty_clear(struct pty *p);
/* Read until `text` has come (true) or ms passed. */
bool pty_wait(struct pty *p, const char *text, int ms);
/* Read until nothing came for quiet_ms; at most max_ms. Returns bytes read. */
size_t pty_quiet(struct pty *p, int quiet_ms, int max_ms);
/* Waits until the program is stopped (job control). */
bool pty_stopped(struct pty *p, int ms);
/* Wait for the end, reading on; kills after ms. The wait status, -1 when it had to be killed. */
int pty_end(struct pty *p, int ms);
/* The modes are as before the start. */
bool pty_restored(const struct pty *p);
void pty_close(struct pty *p);
double pty_now(void); /* seconds, monotonic */

#endif

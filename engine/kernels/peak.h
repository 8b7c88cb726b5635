/* What the CPU can do at most, measured. */
#ifndef QXK_PEAK_H
#define QXK_PEAK_H

#include "qx/cpu.h"

/* GOP/s of the widest exact 8-bit step of the rung, from registers only; 0 for the portable rung.
 * *what names the instructions. */
double qxk_peak_gops(enum qx_isa isa, const char **what);
/* GB/s of reading `bytes` again and again (best of a few). */
double qxk_peak_read_gbs(unsigned long bytes);
/* Reads bytes, rounded down to 256, and does nothing with them. Nothing without AVX2. */
void qxk_peak_read(const void *p, unsigned long bytes);

#endif

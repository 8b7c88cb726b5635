/* Starting the program again with what libraries read only while they are loaded. */
#ifndef RESTART_H
#define RESTART_H

/* Where the BLAS library does not use what the CPU has (qx_blas_better_core), start this program again with
 * OPENBLAS_CORETYPE. Returns when nothing is to be done, when the variable is set already, and where a program cannot
 * be started again. Call first in main, with its argv. */
void restart_for_blas(char *const *argv);

#endif

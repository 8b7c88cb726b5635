/* The only file that names OpenBLAS. Declared here over the Fortran symbols, so that any BLAS links. */
#include "kernels/kernels.h"
#include "qx/kernels.h"

#include <pthread.h>
#include <string.h>

void sgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k,
            const float *alpha, const float *a, const int *lda, const float *b, const int *ldb,
            const float *beta, float *c, const int *ldc);
void sgemv_(const char *t, const int *m, const int *n, const float *alpha, const float *a,
            const int *lda, const float *x, const int *incx, const float *beta, float *y,
            const int *incy);
void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void spotri_(const char *uplo, const int *n, float *a, const int *lda, int *info);
/* OpenBLAS only; absent elsewhere. */
void openblas_set_num_threads(int n) __attribute__((weak));
char *openblas_get_corename(void) __attribute__((weak));

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Its threads would fight with the engine's pool over the cores. */
static void use_one_thread(void)
{
    if (openblas_set_num_threads) {
        openblas_set_num_threads(1);
    }
}

/* y = alpha op(A) x + beta y with strides; row-major A is Fortran's A transposed. */
static void gemv(int trans, int64_t rows, int64_t cols, float alpha, const float *a, int64_t lda,
                 const float *x, int64_t incx, float beta, float *y, int64_t incy)
{
    const int m = (int)cols, n = (int)rows, ld = (int)lda, ix = (int)incx, iy = (int)incy;
    if (beta == 0.0f) { /* BLAS libraries differ on 0 * NaN: do not let them read y */
        for (int64_t i = 0; i < (trans ? cols : rows); i++) {
            y[i * incy] = 0.0f;
        }
    }
    sgemv_(trans ? "N" : "T", &m, &n, &alpha, a, &ld, x, &ix, &beta, y, &iy);
}

void qxk_sgemv(int trans, int64_t rows, int64_t cols, float alpha, const float *a, int64_t lda,
               const float *x, float beta, float *y)
{
    pthread_once(&once, use_one_thread);
    if (rows > 0 && cols > 0) {
        gemv(trans, rows, cols, alpha, a, lda, x, 1, beta, y, 1);
        return;
    }
    for (int64_t i = 0; i < (trans ? cols : rows); i++) {
        y[i] = beta == 0.0f ? 0.0f : beta * y[i];
    }
}

void qxk_sgemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, float alpha,
               const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
               int64_t ldc)
{
    pthread_once(&once, use_one_thread);
    if (m <= 0 || n <= 0) {
        return;
    }
    if (m == 1 && k > 0) { /* c' = op(B)' a' */
        gemv(!trans_b, trans_b ? n : k, trans_b ? k : n, alpha, b, ldb, a, trans_a ? lda : 1, beta,
             c, 1);
        return;
    }
    if (n == 1 && k > 0) {
        gemv(trans_a, trans_a ? k : m, trans_a ? m : k, alpha, a, lda, b, trans_b ? 1 : ldb, beta,
             c, ldc);
        return;
    }
    /* Row-major C = A B is column-major C' = B' A'. */
    const int fm = (int)n, fn = (int)m, fk = (int)k;
    const int fldb = (int)ldb, flda = (int)lda, fldc = (int)ldc;
    sgemm_(trans_b ? "T" : "N", trans_a ? "T" : "N", &fm, &fn, &fk, &alpha, b, &fldb, a, &flda,
           &beta, c, &fldc);
}

/* Row-major upper is Fortran's lower. */
bool qxk_cholesky(int64_t n, float *a)
{
    const int order = (int)n;
    int info = 0;
    pthread_once(&once, use_one_thread);
    spotrf_("L", &order, a, &order, &info);
    return info == 0;
}

bool qxk_cholesky_inverse(int64_t n, float *a)
{
    const int order = (int)n;
    int info = 0;
    pthread_once(&once, use_one_thread);
    spotri_("L", &order, a, &order, &info);
    return info == 0;
}

/* Cores of OpenBLAS without AVX2 that an unknown CPU may be taken for. */
static bool lacks_avx2(const char *core)
{
    static const char *const old[] = {
        "Katmai",    "Coppermine", "Northwood", "Prescott",    "Banias", "Atom",    "Core2",
        "Penryn",    "Dunnington", "Nehalem",   "Sandybridge", "Athlon", "Opteron", "Opteron_SSE3",
        "Barcelona", "Bobcat",     "Bulldozer", "Piledriver",  "Nano",   "Generic"};
    for (size_t i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
        if (strcmp(core, old[i]) == 0) {
            return true;
        }
    }
    return false;
}

const char *qx_blas_core(void)
{
    return openblas_get_corename ? openblas_get_corename() : NULL;
}

const char *qx_blas_better_core(void)
{
    const struct qx_cpu *cpu = qx_cpu_get();
    const char *core = qx_blas_core();
    if (!core || !lacks_avx2(core) || !cpu->avx2 || !cpu->fma) {
        return NULL;
    }
    return cpu->avx512 ? "SkylakeX" : "Haswell";
}

/* The only file that names OpenBLAS. Declared here over the Fortran symbols, so that any BLAS links. */
#include "base/pool.h"
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
void strsm_(const char *side, const char *uplo, const char *trans, const char *diag, const int *m,
            const int *n, const float *alpha, const float *a, const int *lda, float *b,
            const int *ldb);
void ssyrk_(const char *uplo, const char *trans, const int *n, const int *k, const float *alpha,
            const float *a, const int *lda, const float *beta, float *c, const int *ldc);
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

/* ---- Cholesky, block row by block row ---- */

enum { STEP = 256 };

/* One block row, from `at` on: its diagonal block is factored. */
struct chol {
    float *a;
    int64_t n, at, size;
    int64_t n_blocks; /* of STEP columns behind it */
};

static int block_size(const struct chol *c, int64_t i)
{
    const int64_t left = c->n - c->at - c->size - i * STEP;
    return (int)(left < STEP ? left : STEP);
}

/* Block i of the row behind the diagonal. */
static float *block_of(const struct chol *c, int64_t row, int64_t i)
{
    return c->a + row * c->n + c->at + c->size + i * STEP;
}

/* R'^-1 times a block of the row. Row-major upper is Fortran's lower. */
static void row_block(void *arg, int64_t i, int worker)
{
    const struct chol *c = arg;
    const int columns = block_size(c, i), size = (int)c->size, ld = (int)c->n;
    const float one = 1.0f;
    (void)worker;
    strsm_("R", "L", "T", "N", &columns, &size, &one, c->a + c->at * c->n + c->at, &ld,
           block_of(c, c->at, i), &ld);
}

/* Block (i, j >= i) of what lies behind, less the product of two blocks of the row. */
static void rest_block(void *arg, int64_t item, int worker)
{
    const struct chol *c = arg;
    int64_t i = 0;
    for (; item >= c->n_blocks - i; i++) {
        item -= c->n_blocks - i;
    }
    const int64_t j = i + item, row = c->at + c->size + i * STEP;
    const int rows = block_size(c, i), columns = block_size(c, j), size = (int)c->size;
    const int ld = (int)c->n;
    const float less = -1.0f, one = 1.0f;
    (void)worker;
    if (i == j) {
        ssyrk_("L", "N", &rows, &size, &less, block_of(c, c->at, i), &ld, &one, block_of(c, row, i),
               &ld);
        return;
    }
    qxk_sgemm(1, 0, rows, columns, size, -1.0f, block_of(c, c->at, i), c->n, block_of(c, c->at, j),
              c->n, 1.0f, block_of(c, row, j), c->n);
}

bool qxk_cholesky(struct qx_pool *pool, int64_t n, float *a)
{
    pthread_once(&once, use_one_thread);
    for (int64_t at = 0; at < n; at += STEP) {
        struct chol c = {.a = a, .n = n, .at = at, .size = n - at < STEP ? n - at : STEP};
        const int size = (int)c.size, ld = (int)n;
        int info = 0;
        spotrf_("L", &size, a + at * n + at, &ld, &info);
        if (info != 0) {
            return false;
        }
        c.n_blocks = (n - at - c.size + STEP - 1) / STEP;
        qx_pool_for(pool, c.n_blocks, row_block, &c);
        qx_pool_for(pool, c.n_blocks * (c.n_blocks + 1) / 2, rest_block, &c);
    }
    return true;
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

#include "peer.h"

#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>

struct peer {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t product;
    dnnl_memory_t a, w, y;
};

static dnnl_memory_t memory(struct peer *p, const dnnl_memory_desc_t *md, const void *data)
{
    dnnl_memory_t m = NULL;
    dnnl_memory_create(&m, md, p->engine, data ? (void *)(uintptr_t)data : DNNL_MEMORY_ALLOCATE);
    return m;
}

static dnnl_status_t run(struct peer *p, dnnl_primitive_t f, const dnnl_exec_arg_t *args, int n)
{
    dnnl_primitive_execute(f, p->stream, n, args);
    return dnnl_stream_wait(p->stream);
}

/* The weights in the layout the product prefers. */
static void reorder(struct peer *p, dnnl_memory_t from, const dnnl_memory_desc_t *md_from,
                    const dnnl_memory_desc_t *md_to)
{
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t f;
    dnnl_reorder_primitive_desc_create(&pd, md_from, p->engine, md_to, p->engine, NULL);
    dnnl_primitive_create(&f, pd);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, p->w}};
    run(p, f, args, 2);
    dnnl_primitive_destroy(f);
    dnnl_primitive_desc_destroy(pd);
}

static void dismiss(void *it)
{
    struct peer *p = it;
    dnnl_memory_destroy(p->a);
    dnnl_memory_destroy(p->w);
    dnnl_memory_destroy(p->y);
    dnnl_primitive_destroy(p->product);
    dnnl_stream_destroy(p->stream);
    dnnl_engine_destroy(p->engine);
    free(p);
}

static void *prepare(const uint8_t *a, const int8_t *w, int32_t *y, int64_t m, int64_t n, int64_t k)
{
    omp_set_num_threads(1); /* ours runs on one as well; a second would only be waited for */
    struct peer *p = calloc(1, sizeof *p);
    const dnnl_dims_t a_dims = {m, k}, w_dims = {k, n}, y_dims = {m, n};
    dnnl_memory_desc_t a_md, w_md, any, y_md;
    dnnl_matmul_desc_t d;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_engine_create(&p->engine, dnnl_cpu, 0);
    dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags);
    dnnl_memory_desc_init_by_tag(&a_md, 2, a_dims, dnnl_u8, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&w_md, 2, w_dims, dnnl_s8, dnnl_ba);
    dnnl_memory_desc_init_by_tag(&any, 2, w_dims, dnnl_s8, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&y_md, 2, y_dims, dnnl_s32, dnnl_ab);
    dnnl_matmul_desc_init(&d, &a_md, &any, NULL, &y_md);
    if (dnnl_primitive_desc_create(&pd, &d, NULL, p->engine, NULL) != dnnl_success) {
        dismiss(p);
        return NULL;
    }
    const dnnl_memory_desc_t *packed = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    p->a = memory(p, &a_md, a);
    p->y = memory(p, &y_md, y);
    p->w = memory(p, packed, NULL);
    dnnl_memory_t plain = memory(p, &w_md, w);
    reorder(p, plain, &w_md, packed);
    dnnl_memory_destroy(plain);
    dnnl_primitive_create(&p->product, pd);
    dnnl_primitive_desc_destroy(pd);
    return p;
}

static void product(void *it)
{
    struct peer *p = it;
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->w}, {DNNL_ARG_DST, p->y}};
    run(p, p->product, args, 3);
}

static const struct qx_kernel_peer onednn = {
    .name = "oneDNN", .prepare = prepare, .run = product, .dismiss = dismiss};
const struct qx_kernel_peer *const peer = &onednn;

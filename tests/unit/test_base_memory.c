/* mem, arena, buf. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/mem.h"
#include "test_base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void sizes_overflow_to_null(void **state)
{
    (void)state;
    size_t out = 7;
    int64_t wide = 7;
    assert_false(qx_size_mul(SIZE_MAX / 2, 3, &out));
    assert_false(qx_size_add(SIZE_MAX, 1, &out));
    assert_false(qx_i64_mul(INT64_MAX / 2, 3, &wide));
    assert_true(qx_size_mul(3, 5, &out) && out == 15);
    assert_null(qx_mem_array(SIZE_MAX / 2, 3));
    struct qx_arena a = {0};
    assert_null(qx_arena_array(&a, SIZE_MAX / 2, 3));
    assert_null(qx_arena_alloc(&a, SIZE_MAX));
    assert_null(qx_arena_alloc(&a, SIZE_MAX - 20));
    qx_arena_release(&a);
}

static void aligned_memory_is_64_byte_aligned(void **state)
{
    (void)state;
    for (size_t n = 0; n < 300; n += 37) {
        void *p = qx_mem_aligned(n);
        assert_true(p && (uintptr_t)p % 64 == 0);
        qx_mem_free(p);
    }
}

static void the_nth_allocation_fails_once(void **state)
{
    (void)state;
    qx_mem_fail_at(3);
    int64_t before = qx_mem_count();
    void *p[4] = {qx_mem_alloc(1), qx_mem_zalloc(1), qx_mem_aligned(1), qx_mem_strdup("x")};
    assert_true(p[0] && p[1] && !p[2] && p[3]);
    assert_int_equal(qx_mem_count() - before, 4);
    qx_mem_fail_at(0);
    for (int i = 0; i < 4; i++) {
        qx_mem_free(p[i]);
    }
}

static void bytes_held_are_counted(void **state)
{
    (void)state;
    const int64_t before = qx_mem_bytes();
    qx_mem_peak_reset();
    assert_int_equal(qx_mem_peak(), before);
    char *a = qx_mem_alloc(5000), *b = qx_mem_aligned(3000);
    assert_in_range(qx_mem_bytes() - before, 8000, 8300);
    a = qx_mem_realloc(a, 20000);
    assert_in_range(qx_mem_bytes() - before, 23000, 23300);
    qx_mem_fail_at(1);
    assert_null(qx_mem_realloc(a, 90000)); /* stays as it is */
    qx_mem_fail_at(0);
    qx_mem_free(b);
    assert_in_range(qx_mem_bytes() - before, 20000, 20200);
    a = qx_mem_realloc(a, 10);
    qx_mem_free(a);
    qx_mem_free(NULL);
    assert_int_equal(qx_mem_bytes(), before);
    assert_in_range(qx_mem_peak() - before, 23000, 23300);
}

static void arena_memory_is_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    struct qx_arena a = {0};
    unsigned char *p[200];
    size_t n[200];
    for (int i = 0; i < 200; i++) {
        n[i] = (size_t)(i * 97 % 600) + (i % 50 == 0 ? 20000 : 0);
        p[i] = qx_arena_alloc(&a, n[i]);
        assert_true(p[i] && (uintptr_t)p[i] % 16 == 0);
        for (size_t j = 0; j < n[i]; j++) {
            assert_int_equal(p[i][j], 0);
        }
        memset(p[i], i, n[i]);
    }
    for (int i = 0; i < 200; i++) {
        for (size_t j = 0; j < n[i]; j++) {
            assert_int_equal(p[i][j], (unsigned char)i);
        }
    }
    assert_string_equal(qx_arena_printf(&a, "%d-%s", 3, "x"), "3-x");
    assert_string_equal(qx_arena_strndup(&a, "abcdef", 2), "ab");
    qx_arena_release(&a);
    assert_null(a.head);
}

static void arena_reports_failure_and_goes_on(void **state)
{
    (void)state;
    struct qx_arena a = {0};
    qx_mem_fail_at(1);
    assert_null(qx_arena_alloc(&a, 8));
    assert_non_null(qx_arena_alloc(&a, 8));
    qx_arena_release(&a);
}

static void buffer_grows_and_hands_over(void **state)
{
    (void)state;
    struct qx_buf b = {0};
    for (int i = 0; i < 1000; i++) {
        qx_buf_printf(&b, "%d,", i % 10);
    }
    qx_buf_add(&b, "a\0b", 3);
    assert_int_equal(b.len, 2003);
    assert_int_equal(b.data[2003], '\0');
    char *text = qx_buf_take(&b);
    assert_memory_equal(text, "0,1,2,3", 7);
    assert_null(b.data);
    qx_mem_free(text);
    text = qx_buf_take(&b);
    assert_string_equal(text, "");
    qx_mem_free(text);
}

static void buffer_stops_after_failure(void **state)
{
    (void)state;
    struct qx_buf b = {0};
    qx_buf_puts(&b, "kept");
    qx_mem_fail_at(1);
    for (int i = 0; i < 100; i++) {
        qx_buf_puts(&b, "more");
    }
    qx_mem_fail_at(0);
    assert_true(b.oom);
    assert_null(qx_buf_take(&b));
    assert_false(b.oom);
}

int test_base_memory(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_overflow_to_null),
        cmocka_unit_test(aligned_memory_is_64_byte_aligned),
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(bytes_held_are_counted),
        cmocka_unit_test(arena_memory_is_aligned_zeroed_and_apart),
        cmocka_unit_test(arena_reports_failure_and_goes_on),
        cmocka_unit_test(buffer_grows_and_hands_over),
        cmocka_unit_test(buffer_stops_after_failure),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}

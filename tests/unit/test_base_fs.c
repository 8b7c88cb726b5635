/* fs and mapfile. Everything is written below the working folder, a fresh one per run. */
#include "base/arena.h"
#include "base/fs.h"
#include "base/gunzip.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "qx/mapfault.h"
#include "test_base.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "fs-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("..") == 0 && system(command) == 0 ? 0 : -1;
}

static void assert_content(const char *path, const char *text)
{
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(qx_fs_read(path, 1 << 20, &data, &len, NULL), QX_OK);
    assert_int_equal(len, strlen(text));
    assert_string_equal(data, text);
    qx_mem_free(data);
}

static size_t n_files(const char *dir)
{
    struct qx_arena arena = {0};
    char **names;
    size_t n = 0;
    assert_int_equal(qx_fs_list(dir, &arena, &names, &n, NULL), QX_OK);
    qx_arena_release(&arena);
    return n;
}

static void write_replaces_the_whole_file(void **state)
{
    (void)state;
    assert_int_equal(qx_fs_write_atomic("a.txt", "first text", 10, NULL), QX_OK);
    assert_int_equal(chmod("a.txt", 0640), 0);
    assert_int_equal(qx_fs_write_atomic("a.txt", "new", 3, NULL), QX_OK);
    assert_content("a.txt", "new");
    struct stat st;
    assert_int_equal(stat("a.txt", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(symlink("a.txt", "link"), 0);
    assert_int_equal(qx_fs_write_atomic("link", "through", 7, NULL), QX_OK);
    assert_content("a.txt", "through");
    assert_int_equal(lstat("link", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(unlink("link"), 0);
}

static void failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    struct qx_error err;
    struct qx_fs_out *o;
    assert_int_equal(qx_fs_write_atomic("a.txt", "old", 3, NULL), QX_OK);
    size_t n = n_files(".");
    assert_int_equal(qx_fs_out_begin("a.txt", &o, &err), QX_OK);
    assert_int_equal(qx_fs_out_write(o, "half", 4, &err), QX_OK);
    qx_fs_out_abort(o);
    qx_fs_out_abort(NULL);
    assert_content("a.txt", "old");
    assert_int_equal(n_files("."), n);
    assert_int_equal(qx_fs_write_atomic("/dev/full", "x", 1, &err), QX_ENOSPC);
    assert_non_null(strstr(err.text, "/dev/full"));
    assert_int_equal(qx_fs_write_atomic("a.txt/b", "x", 1, &err), QX_EIO);
    assert_int_equal(qx_fs_write_atomic("absent/b", "x", 1, &err), QX_EIO);
    assert_int_equal(qx_fs_write_atomic(".", "x", 1, &err), QX_EIO);
    assert_string_equal(err.file, ".");
}

/* In a child: files may not grow beyond 50,000 bytes, as on a disk that fills up half way. */
static int write_until_full(void)
{
    const struct rlimit limit = {50000, 50000};
    char *data = calloc(1, 300000);
    struct qx_error err;
    signal(SIGXFSZ, SIG_IGN);
    if (!data || setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        return 1;
    }
    if (qx_fs_write_atomic("a.txt", data, 300000, &err) != QX_ENOSPC ||
        !strstr(err.text, "a.txt") || qx_fs_write_atomic("a.txt", data, 60000, &err) != QX_ENOSPC) {
        return 2; /* the first fails while writing, the second on commit */
    }
    free(data);
    return 0;
}

static void assert_child_succeeds(int (*fn)(void))
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(fn());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void write_cut_half_way_leaves_the_old_file(void **state)
{
    (void)state;
    assert_int_equal(qx_fs_write_atomic("a.txt", "old", 3, NULL), QX_OK);
    size_t n = n_files(".");
    assert_child_succeeds(write_until_full);
    assert_content("a.txt", "old");
    assert_int_equal(n_files("."), n);
}

static void long_output_is_complete(void **state)
{
    (void)state;
    struct qx_fs_out *o;
    char block[1000];
    memset(block, 'x', sizeof block);
    assert_int_equal(qx_fs_out_begin("long", &o, NULL), QX_OK);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(qx_fs_out_write(o, block, sizeof block, NULL), QX_OK);
    }
    char *big = calloc(1, 200000);
    assert_int_equal(qx_fs_out_write(o, big, 200000, NULL), QX_OK);
    assert_int_equal(qx_fs_out_write(o, "end", 3, NULL), QX_OK);
    assert_int_equal(qx_fs_out_commit(o, NULL), QX_OK);
    free(big);
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(qx_fs_read("long", 1 << 20, &data, &len, NULL), QX_OK);
    assert_int_equal(len, 500003);
    assert_memory_equal(data + 500000, "end", 4);
    qx_mem_free(data);
    assert_int_equal(qx_fs_read("long", 500002, &data, &len, NULL), QX_ERANGE);
    assert_int_equal(qx_fs_read("/proc/self/stat", 1 << 20, &data, &len, NULL), QX_OK);
    assert_true(len > 10);
    qx_mem_free(data);
}

static void writes_survive_every_allocation_failure(void **state)
{
    (void)state;
    assert_int_equal(qx_fs_write_atomic("a.txt", "old", 3, NULL), QX_OK);
    size_t n_before = n_files(".");
    int n_failures = 0;
    for (int64_t n = 1;; n++) {
        struct qx_error err;
        qx_mem_fail_at(n);
        enum qx_status st = qx_fs_write_atomic("a.txt", "new", 3, &err);
        qx_mem_fail_at(0);
        if (st == QX_OK) {
            break;
        }
        n_failures++;
        assert_int_equal(st, QX_ENOMEM);
        assert_content("a.txt", "old");
        assert_int_equal(n_files("."), n_before);
    }
    assert_true(n_failures > 0);
    assert_content("a.txt", "new");
}

static void folders_are_made_and_listed_in_natural_order(void **state)
{
    (void)state;
    static const char *const names[] = {"d/l10", "d/l9", "d/a", "d/l1"};
    static const char *const sorted[] = {"a", "l1", "l9", "l10"};
    struct qx_arena arena = {0};
    char **list;
    size_t n;
    assert_int_equal(qx_fs_mkdirs("d/e/f", NULL), QX_OK);
    assert_int_equal(qx_fs_mkdirs("d/e/f/", NULL), QX_OK);
    assert_true(qx_fs_is_dir("d/e/f"));
    assert_int_equal(rmdir("d/e/f") + rmdir("d/e"), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(qx_fs_write_atomic(names[i], "", 0, NULL), QX_OK);
    }
    assert_int_equal(qx_fs_list("d", &arena, &list, &n, NULL), QX_OK);
    assert_int_equal(n, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(list[i], sorted[i]);
    }
    qx_arena_release(&arena);
    assert_int_equal(qx_fs_list("nowhere", &arena, &list, &n, NULL), QX_EIO);
    assert_int_equal(qx_fs_mkdirs("d/a/b", NULL), QX_EIO);
    assert_false(qx_fs_exists("nowhere"));
}

static void paths_join(void **state)
{
    (void)state;
    static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"},
                                           {"a", "/b", "/b"}, {"/", "b", "/b"},   {"a", "", "a"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = qx_fs_join(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        qx_mem_free(path);
    }
    assert_string_equal(qx_fs_basename("a/b.txt"), "b.txt");
    assert_string_equal(qx_fs_basename("b.txt"), "b.txt");
}

static void a_lock_is_held_once(void **state)
{
    (void)state;
    int first = -2, second = -2;
    assert_int_equal(qx_fs_lock("lock", &first, NULL), QX_OK);
    assert_true(first >= 0);
    assert_int_equal(qx_fs_lock("lock", &second, NULL), QX_OK);
    assert_int_equal(second, -1);
    close(first);
    assert_int_equal(qx_fs_lock("lock", &second, NULL), QX_OK);
    assert_true(second >= 0);
    close(second);
    assert_int_equal(qx_fs_lock("nowhere/lock", &second, NULL), QX_EIO);
}

/* ---- mapped files ---- */

static void map_shows_the_file(void **state)
{
    (void)state;
    struct qx_mapfile m;
    assert_int_equal(qx_fs_write_atomic("m", "hello", 5, NULL), QX_OK);
    assert_int_equal(qx_mapfile_open("m", &m, NULL), QX_OK);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    assert_false(qx_mapfile_changed(&m));
    assert_false(qx_mapfile_torn(&m));
    qx_mapfile_dontneed(&m, 0, 5);
    uint8_t own[64] = {7};
    qx_map_dontneed(own, sizeof own); /* no map: stays as it is */
    assert_int_equal(own[0], 7);
    qx_map_dontneed(m.data, m.size);
    qx_map_dontneed(m.data, m.size + 1); /* beyond the map: nothing happens */
    assert_memory_equal(m.data, "hello", 5);
    assert_int_equal(qx_fs_write_atomic("m", "HELLO!", 6, NULL), QX_OK);
    assert_true(qx_mapfile_changed(&m));
    assert_memory_equal(m.data, "hello", 5); /* the old inode lives on */
    unlink("m");
    assert_true(qx_mapfile_changed(&m));
    qx_mapfile_close(&m);
    assert_null(m.data);
    qx_mapfile_close(&m);
}

static void only_regular_files_are_mapped(void **state)
{
    (void)state;
    struct qx_mapfile m = {0};
    struct qx_error err;
    assert_int_equal(mkfifo("fifo", 0600), 0);
    static const char *const paths[] = {".", "/dev/null", "nowhere", "fifo"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(qx_mapfile_open(paths[i], &m, &err), QX_EIO);
        assert_string_equal(err.file, paths[i]);
    }
    char *text = NULL; /* nobody writes to it: it does not block */
    size_t len = 1;
    assert_int_equal(qx_fs_read("fifo", 100, &text, &len, &err), QX_OK);
    assert_int_equal(len, 0);
    qx_mem_free(text);
    assert_int_equal(qx_fs_write_atomic("empty", "", 0, NULL), QX_OK);
    assert_int_equal(qx_mapfile_open("empty", &m, &err), QX_OK);
    assert_null(m.data);
    qx_mapfile_close(&m);
    qx_mem_fail_at(1);
    assert_int_equal(qx_mapfile_open("empty", &m, &err), QX_ENOMEM);
    qx_mem_fail_at(0);
}

static void on_bus(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    if (!qx_map_fault(info->si_addr)) {
        _exit(9);
    }
}

/* Runs in a child, so that a failure is an exit code and not the end of the test program. */
static int read_torn_map(void)
{
    enum { BYTES = 5 * 4096 + 100 };
    struct sigaction act = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    struct qx_mapfile m, other;
    char *data = malloc(BYTES);
    memset(data, 'x', BYTES);
    if (qx_fs_write_atomic("torn", data, BYTES, NULL) != QX_OK ||
        qx_fs_write_atomic("other", data, BYTES, NULL) != QX_OK ||
        qx_mapfile_open("other", &other, NULL) != QX_OK ||
        qx_mapfile_open("torn", &m, NULL) != QX_OK || sigaction(SIGBUS, &act, NULL) != 0 ||
        truncate("torn", 4096) != 0) {
        return 1;
    }
    size_t n_x = 0, n_zero = 0;
    for (size_t i = 0; i < BYTES; i++) {
        n_x += m.data[i] == 'x';
        n_zero += m.data[i] == 0;
    }
    if (n_x != 4096 || n_zero != BYTES - 4096) {
        return 2;
    }
    if (!qx_mapfile_torn(&m) || !qx_mapfile_changed(&m) || qx_mapfile_torn(&other)) {
        return 3;
    }
    qx_mapfile_dontneed(&m, 0, m.size);
    if (m.data[BYTES - 1] != 0 || m.data[0] != 'x') {
        return 4;
    }
    qx_mapfile_close(&m);
    if (qx_mapfile_open("torn", &m, NULL) != QX_OK || qx_mapfile_torn(&m)) {
        return 5; /* a slot that is used again must not remember */
    }
    qx_mapfile_close(&m);
    qx_mapfile_close(&other);
    free(data);
    return qx_map_fault((void *)&n_x) ? 6 : 0;
}

static void a_truncated_map_reads_as_zeros(void **state)
{
    (void)state;
    assert_child_succeeds(read_torn_map);
}

/* "levels " and "and scales", a member each. */
static const unsigned char members[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x49\x2d\x4b"
                                       "\xcd\x29\x56\x00\x00\xe1\x4d\x98\x8d\x07"
                                       "\x00\x00\x00\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b"
                                       "\xcc\x4b\x51\x28\x4e\x4e\xcc\x49\x2d\x06"
                                       "\x00\x67\xa5\xe7\x92\x0a\x00\x00\x00";

static void compressed_members_come_out_in_a_row(void **state)
{
    const size_t len = sizeof members - 1, first = 27;
    char *out = NULL;
    size_t n = 0;
    struct qx_error err;
    (void)state;
    assert_true(qx_is_gzip(members, len) && !qx_is_gzip(members, 1) && !qx_is_gzip("PK", 2));
    assert_int_equal(qx_gunzip("f.gz", members, len, 17, &out, &n, &err), QX_OK);
    assert_int_equal(n, 17);
    assert_string_equal(out, "levels and scales");
    qx_mem_free(out);
    assert_int_equal(qx_gunzip("f.gz", members, len, 16, &out, &n, &err), QX_ERANGE);
    assert_non_null(strstr(err.text, "more than 16 bytes"));
    for (size_t i = 0; i < len; i++) { /* whole only behind the first member */
        if (i != first) {
            assert_int_equal(qx_gunzip("f.gz", members, i, 100, &out, &n, &err), QX_EFORMAT);
            assert_non_null(strstr(err.text, "f.gz"));
        }
    }
    static const size_t told[] = {0, 1, 2, 10, 19, 23, 27, 49, 56}; /* marks, values, checksums */
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        unsigned char bad[sizeof members];
        memcpy(bad, members, sizeof members);
        bad[told[i]] ^= 1;
        assert_int_equal(qx_gunzip("f.gz", bad, len, 100, &out, &n, &err), QX_EFORMAT);
    }
    for (int64_t i = 1; i < 8; i++) { /* every allocation may fail */
        qx_mem_fail_at(i);
        if (qx_gunzip("f.gz", members, len, 100, &out, &n, &err) == QX_OK) {
            qx_mem_free(out);
            assert_true(i > 1);
            break;
        }
        assert_int_equal(err.status, QX_ENOMEM);
    }
    qx_mem_fail_at(0);
}

int test_base_fs(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_replaces_the_whole_file),
        cmocka_unit_test(failed_write_leaves_the_old_file),
        cmocka_unit_test(write_cut_half_way_leaves_the_old_file),
        cmocka_unit_test(long_output_is_complete),
        cmocka_unit_test(writes_survive_every_allocation_failure),
        cmocka_unit_test(folders_are_made_and_listed_in_natural_order),
        cmocka_unit_test(paths_join),
        cmocka_unit_test(compressed_members_come_out_in_a_row),
        cmocka_unit_test(a_lock_is_held_once),
        cmocka_unit_test(map_shows_the_file),
        cmocka_unit_test(only_regular_files_are_mapped),
        cmocka_unit_test(a_truncated_map_reads_as_zeros),
    };
    return cmocka_run_group_tests_name("files", tests, enter_folder, leave_folder);
}

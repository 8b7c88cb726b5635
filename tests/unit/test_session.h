/* The groups of test_session, one per file, and the models they open. */
#ifndef TEST_SESSION_H
#define TEST_SESSION_H

#include "qx/session.h"

int test_session_recipe(void);
int test_session_undo(void);
int test_session_jobs(void);
int test_session_files(void);
int test_session_faults(void);
int test_session_act(void);
int test_session_bench(void);
int test_session_calib(void);
int test_session_predict(void);
int test_session_try(void);
int test_session_history(void);

/* ---- fixture: everything below one fresh folder per run ---- */

/* For cmocka groups: makes the folder `root` and the models in it. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* root/part, in a static ring of buffers. */
const char *fixture_path(const char *part);
/* Removes a folder with all in it, and makes it again. */
const char *fixture_fresh(const char *part);

/* A file without network: a.weight [8, 64], b.weight [16, 32], half.weight F16 [4, 32],
 * norm.weight [16], tok_embed.weight [20, 8], ids I64 [4], big.weight [1100, 1024] (more than 2^20). */
const char *fixture_plain(void);
/* A model folder: fc1 [8, 6], Relu, fc2 [3, 8] on 300 rows of 6 values. */
const char *fixture_folder(void);

/* Asserts success. */
struct qx_session *fixture_open(const char *path, const char *state_dir, bool batch);
int64_t fixture_item(const struct qx_session *s, const char *name);
void fixture_bits(struct qx_session *s, const char *name, int bits);
/* Threshold or ratio by hand. */
void fixture_range(struct qx_session *s, const char *name, double t, bool merge);
/* Settles; asserts that the session came to rest. */
void fixture_settle(struct qx_session *s);
/* Recipe as saved; free with free(). */
char *fixture_recipe(struct qx_session *s);
char *fixture_read(const char *path);
void fixture_write(const char *path, const char *text);

#endif

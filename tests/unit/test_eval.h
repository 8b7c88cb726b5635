#ifndef TEST_EVAL_H
#define TEST_EVAL_H

/* Each runs its file's tests and returns how many failed. */
int test_eval_data(void);
int test_eval_measure(void);
int test_eval_figures(void);
int test_eval_calibrate(void);
int test_eval_bench(void);

#endif

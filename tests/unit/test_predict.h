#ifndef TEST_PREDICT_H
#define TEST_PREDICT_H

/* Each runs its file's tests and returns how many failed. */
int test_predict_mix(void);
int test_predict_net(void);
int test_predict_golden(void);

#endif

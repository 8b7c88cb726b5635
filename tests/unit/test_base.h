/* The groups of test_base, one per file. Each returns its number of failures. */
#ifndef TEST_BASE_H
#define TEST_BASE_H

int test_base_text(void);
int test_base_memory(void);
int test_base_json(void);
int test_base_json_attack(void);
int test_base_fs(void);
int test_base_system(void);

#endif

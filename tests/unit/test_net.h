#ifndef TEST_NET_H
#define TEST_NET_H

/* Each runs its file's tests and returns how many failed. */
int test_net_cut(void);
int test_net_encoder(void);
int test_net_golden(void);
int test_net_graph(void);
int test_net_forward(void);
int test_net_integer(void);
int test_net_odd(void);
int test_net_packed(void);
int test_net_sums(void);

#endif

#include "test_net.h"

int main(void)
{
    const int n_failed = test_net_graph() + test_net_golden() + test_net_encoder() +
                         test_net_forward() + test_net_integer() + test_net_odd() +
                         test_net_packed() + test_net_sums() + test_net_cut();
    return n_failed == 0 ? 0 : 1;
}

#include "test_net.h"

int main(void)
{
    return test_net_graph() + test_net_golden() + test_net_forward() + test_net_integer() == 0 ? 0 : 1;
}

#include "test_base.h"

int main(void)
{
    int n_failed = test_base_text() + test_base_memory() + test_base_json() +
                   test_base_json_attack() + test_base_fs() + test_base_system();
    return n_failed == 0 ? 0 : 1;
}

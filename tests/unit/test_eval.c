#include "test_eval.h"

int main(void)
{
    return test_eval_data() + test_eval_measure() + test_eval_figures() == 0 ? 0 : 1;
}

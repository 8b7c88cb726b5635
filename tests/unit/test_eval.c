#include "test_eval.h"

int main(void)
{
    return test_eval_data() + test_eval_measure() + test_eval_figures() + test_eval_calibrate() +
                       test_eval_bench() ==
                   0
               ? 0
               : 1;
}

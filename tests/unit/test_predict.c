#include "test_predict.h"

int main(void)
{
    return test_predict_mix() + test_predict_golden() + test_predict_net() == 0 ? 0 : 1;
}

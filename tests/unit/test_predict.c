#include "test_predict.h"

int main(void)
{
    return test_predict_mix() == 0 ? 0 : 1;
}

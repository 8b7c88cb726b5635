#include "test_session.h"

int main(void)
{
    int n_failed = test_session_recipe() + test_session_undo() + test_session_jobs() +
                   test_session_files() + test_session_faults() + test_session_act() +
                   test_session_bench() + test_session_calib() + test_session_predict() +
                   test_session_try() + test_session_history();
    return n_failed == 0 ? 0 : 1;
}

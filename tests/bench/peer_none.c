/* Built without another library. */
#include "peer.h"

const struct qx_kernel_peer *const peer = NULL;

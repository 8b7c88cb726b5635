/* Another library in the same run, when the build asks for it (-Dbench_peers=enabled). */
#ifndef PEER_H
#define PEER_H

#include <stdint.h>

struct peer;

/* Prepares u8 [m, k] times s8 [k, n] to s32, weights packed beforehand; NULL when it cannot. */
struct peer *peer_new(const uint8_t *a, const int8_t *w, int32_t *y, int64_t m, int64_t n,
                      int64_t k);
void peer_run(struct peer *p);
void peer_free(struct peer *p);

#endif

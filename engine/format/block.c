/* What all block layouts share. */
#include "format/block.h"

#include "base/fp16.h"

float qx_block_half(const uint8_t *p)
{
    return qx_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* Saturates: an infinite scale would make a block of NaN. */
void qx_block_half_put(uint8_t *p, float x)
{
    uint16_t h = qx_f32_to_f16(x);

    h = (h & 0x7fff) == 0x7c00 ? (uint16_t)(h - 1) : h;
    p[0] = (uint8_t)(h & 255);
    p[1] = (uint8_t)(h >> 8);
}

void qx_block_decode(const struct qx_block *b, const uint8_t *data, size_t n_blocks, float *out)
{
    for (size_t i = 0; i < n_blocks; i++, data += b->bytes) {
        struct qx_block_parts parts;

        b->unpack(data, &parts);
        for (int s = 0; s < b->n_sub; s++) {
            const int8_t *level = parts.level + s * (b->n / b->n_sub);
            float scale = parts.scale[s], min = parts.min[s];

            for (int j = 0; j < b->n / b->n_sub; j++) {
                *out++ = (float)level[j] * scale - min;
            }
        }
    }
}

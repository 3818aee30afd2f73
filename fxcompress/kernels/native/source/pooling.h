// Maxima of windows of bytes, channels last.
#pragma once
#include <algorithm>

#include "vectors.h"

namespace fxc {

struct Pooling {
    const uint8_t* image;
    uint8_t* out;
    long batch, height, width, channels, out_height, out_width, kernel_height, kernel_width;
    long stride_height, stride_width, pad_height, pad_width, dilation_height, dilation_width;
};

inline __mmask64 first_bytes(long count) { return count >= 64 ? ~0ull : (1ull << count) - 1; }

// What a window reads outside of the image is 0, the least byte there is.
inline void pool_pixel(const Pooling& p, long b, long y, long x, uint8_t* out) {
    for (long c = 0; c < p.channels; c += 64) {
        __mmask64 here = first_bytes(p.channels - c);
        __m512i most = _mm512_setzero_si512();
        for (long i = 0; i < p.kernel_height; i++) {
            long row = y * p.stride_height - p.pad_height + i * p.dilation_height;
            if (row < 0 || row >= p.height) continue;
            for (long j = 0; j < p.kernel_width; j++) {
                long column = x * p.stride_width - p.pad_width + j * p.dilation_width;
                if (column < 0 || column >= p.width) continue;
                const uint8_t* from = p.image + ((b * p.height + row) * p.width + column) * p.channels + c;
                most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(here, from));
            }
        }
        _mm512_mask_storeu_epi8(out + c, here, most);
    }
}

inline void pool(const Pooling& p, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long row = 0; row < p.batch * p.out_height; row++)
        for (long x = 0; x < p.out_width; x++)
            pool_pixel(p, row / p.out_height, row % p.out_height, x, p.out + (row * p.out_width + x) * p.channels);
}

}  // namespace fxc

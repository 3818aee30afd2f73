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

// The part of a window along one axis that lies within the image: where it begins, and how many places it has.
struct Part {
    long begin, count;
};

inline Part part_of(long begin, long places, long dilation, long size) {
    const long before = begin < 0 ? (-begin + dilation - 1) / dilation : 0;
    const long after = begin < size ? (size - 1 - begin) / dilation + 1 : 0;
    return {begin + before * dilation, std::max(std::min(places, after) - before, 0l)};
}

// What a window reads outside of the image is 0, the least byte there is.
inline void pool_pixel(const Pooling& p, const uint8_t* image, Part rows, Part columns, uint8_t* out) {
    const long right = p.dilation_width * p.channels, down = p.dilation_height * p.width * p.channels;
    for (long c = 0; c < p.channels; c += 64) {
        const __mmask64 here = first_bytes(p.channels - c);
        const uint8_t* row = image + (rows.begin * p.width + columns.begin) * p.channels + c;
        __m512i most = _mm512_setzero_si512();
        for (long i = 0; i < rows.count; i++, row += down)
            for (long j = 0; j < columns.count; j++)
                most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(here, row + j * right));
        _mm512_mask_storeu_epi8(out + c, here, most);
    }
}

inline void pool(const Pooling& p, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long row = 0; row < p.batch * p.out_height; row++) {
        const uint8_t* image = p.image + row / p.out_height * p.height * p.width * p.channels;
        const long y = row % p.out_height * p.stride_height - p.pad_height;
        const Part rows = part_of(y, p.kernel_height, p.dilation_height, p.height);
        for (long x = 0; x < p.out_width; x++) {
            const Part columns = part_of(x * p.stride_width - p.pad_width, p.kernel_width, p.dilation_width, p.width);
            pool_pixel(p, image, rows, columns, p.out + (row * p.out_width + x) * p.channels);
        }
    }
}

}  // namespace fxc

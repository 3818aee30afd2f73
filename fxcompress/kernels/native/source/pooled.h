// Convolutions whose bytes nobody but a max pooling reads.
#pragma once
#include "convolution.h"
#include "pooling.h"

namespace fxc {

// One image after the other: what stands between convolution and pooling stays in the cache, and is never a tensor.
inline void convolve_and_pool(const Convolution& c, const Weights& weights, const Behind& behind, const Pooling& p,
                              int threads) {
    const bool apart = c.batch >= threads;
    const int inner = apart ? 1 : threads;
    const long pooled = p.out_height * p.out_width * p.channels;
#pragma omp parallel num_threads(threads) if (apart && threads > 1)
    {
        const std::unique_ptr<uint8_t[]> between(new uint8_t[c.out_pixels() * p.channels]);
        Behind here = behind;
        Pooling one = p;
        here.bytes = between.get(), one.image = between.get(), one.batch = 1;
#pragma omp for schedule(static)
        for (long i = 0; i < c.batch; i++) {
            convolve(c.part(i, 1), weights, here, inner);
            one.out = p.out + i * pooled;
            pool(one, inner);
        }
    }
}

}  // namespace fxc

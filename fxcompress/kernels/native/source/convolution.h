// Convolution of bytes, channels last: a product of pixels with weights, where what a result reads stands at some
// distances from its first byte.
#pragma once
#include "borders.h"
#include "linear.h"

namespace fxc {

// The first byte of each result of a block, and where from there the bytes of each tap of the kernel begin.
struct Places {
    const uint8_t* first[LARGEST_BLOCK];
    std::vector<long> taps;
    long run;

    explicit Places(const Convolution& c) : run(c.run()) {
        const long columns = c.taps() / c.kernel_height;
        for (long i = 0; i < c.kernel_height; i++)
            for (long j = 0; j < columns; j++)
                taps.push_back(i * c.dilation_height * c.row_bytes() + j * c.dilation_width * c.channels);
    }

    // Of the results `begin` to `begin + rows` of `image`, without a division each.
    void find(const Convolution& c, const uint8_t* image, long begin, long rows) {
        const long right = c.stride_width * c.channels, down = c.stride_height * c.row_bytes();
        long x = begin % c.out_width, y = begin / c.out_width % c.out_height, b = begin / c.out_pixels();
        for (long r = 0; r < rows;) {
            const uint8_t* here = image + b * c.image_bytes() + y * down + x * right;
            const long stop = std::min(rows, r + c.out_width - x);
            for (; r < stop; r++, here += right) first[r] = here;
            x = 0;
            if (++y == c.out_height) y = 0, b++;
        }
    }
};

template <int M, int V>
void places_tile(const Places& places, long row, long offset, const int32_t& zero, const float& scale,
                 const Weights& weights, long column, Ahead ahead, const TileOutput& to) {
    __m512i sums[M][V];
    begin_sums(sums, &zero, 0, weights, column);
    const int8_t* panel = weights.panels + column * weights.features;
    const uint8_t* from[M];
    UNROLL for (int r = 0; r < M; r++) from[r] = places.first[row + r] + offset;
    for (const long tap : places.taps)
        for (long f = tap, stop = tap + places.run; f < stop; f += 4, panel += V * 64) {
            ahead.fetch();
            __m512i these[V];
            UNROLL for (int v = 0; v < V; v++) these[v] = _mm512_loadu_si512(panel + v * 64);
            UNROLL for (int r = 0; r < M; r++) {
                int32_t four;
                memcpy(&four, from[r] + f, 4);
                __m512i bytes = _mm512_set1_epi32(four);
                UNROLL for (int v = 0; v < V; v++) add_products(sums[r][v], bytes, these[v]);
            }
        }
    const Sums<M, V> made(sums);
    TileSums{made.at[0], M, V, &scale, 0, weights, column}.put(to);
}

struct PlacesTile {
    const Places& places;
    long row, offset;
    const Convolution& convolution;
    const Weights& weights;
    long column;
    Ahead ahead;
    TileOutput to;
    template <int M, int V>
    void run_tile() const {
        places_tile<M, V>(places, row, offset, *convolution.zero, *convolution.scale, weights, column, ahead, to);
    }
};

// `weights` has the outputs of one group; those of the others follow in memory.
inline Weights of_group(const Weights& weights, long group) {
    const long wide = weights.wide() * group;
    return {weights.panels + wide * weights.features,
            weights.sums + wide,
            weights.scales + wide,
            weights.bias + wide,
            weights.features,
            weights.outputs,
            nullptr,
            nullptr,
            0};
}

inline void convolve_block(const Convolution& c, const Places& places, long rows, const Weights& weights,
                           const TileOutput& results) {
    const long depth = c.depth();
    for (long group = 0; group < c.groups; group++) {
        const Weights here = of_group(weights, group);
        for (long column = 0; column < here.wide();) {
            const int vectors = next_panel((here.wide() - column) / WIDTH);
            for (long r = 0, tile = 0, tall; r < rows; r += tall, tile++) {
                tall = next_rows(rows - r, vectors);
                const Ahead ahead = ahead_of(here, column, vectors, tile);
                const TileOutput to = results.at(r, group * here.outputs + column);
                with_sizes((int)tall, vectors, PlacesTile{places, r, group * depth, c, here, column, ahead, to});
            }
            column += vectors * WIDTH;
        }
    }
}

// Images that are read are copied first where they have no borders yet: as many at a time as stay in the cache.
constexpr long COPIED = 1 << 19;

inline void convolve(const Convolution& c, const Weights& weights, const Behind& behind, int threads) {
    const long together = c.as_it_is() ? c.batch : std::clamp(COPIED / c.image_bytes(), 1l, c.batch);
    std::unique_ptr<uint8_t[]> copied(c.as_it_is() ? nullptr : new uint8_t[together * c.image_bytes() + 4]);
    const long most = block_of(together * c.out_pixels(), weights, behind, threads);
    // The vectors that fill up a group are written over by the next one; behind the last there is room.
    const long stride = (c.groups - 1) * weights.outputs + weights.wide();
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Places places(c);
        const Block block(behind, most, weights.outputs * c.groups, stride);
        for (long image = 0; image < c.batch; image += together) {
            // The images before are read by other threads until here.
            if (image) {
#pragma omp barrier
            }
            const Convolution here = c.part(image, std::min(together, c.batch - image));
            if (copied) {
#pragma omp for schedule(static)
                for (long row = 0; row < here.batch * here.tall(); row++) copy_bordered_row(here, row, copied.get());
            }
            const long pixels = here.batch * here.out_pixels(), before = image * here.out_pixels();
#pragma omp for schedule(static) nowait
            for (long begin = 0; begin < pixels; begin += most) {
                const long rows = std::min(most, pixels - begin);
                places.find(here, copied ? copied.get() : here.image, begin, rows);
                convolve_block(here, places, rows, weights, block.results(before + begin));
                block.finish(before + begin, rows);
            }
        }
    }
}

}  // namespace fxc

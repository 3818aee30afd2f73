// Convolution of bytes, channels last: a product of pixels with weights, where a pixel is read through a list of
// places.
#pragma once
#include "linear.h"

namespace fxc {

struct Convolution {
    // Bytes [batch, height, width, channels] in steps of `scale` above `zero`, as [1] each; with strides of their own
    // where the image is copied anyhow.
    const uint8_t* image;
    const float* scale;
    const int32_t* zero;
    long batch, height, width, channels;
    long out_height, out_width, kernel_height, kernel_width;
    long stride_height, stride_width, pad_height, pad_width, dilation_height, dilation_width;
    long groups;
    long batch_stride, row_stride, pixel_stride, channel_stride;

    long pixels() const { return batch * out_height * out_width; }
    long depth() const { return channels / groups; }
};

// An image whose pixels are too short to be read one by one, with borders, as [batch, tall, broad, deep].
struct Bordered {
    long tall, broad, deep;
};

inline Bordered bordered(const Convolution& c) {
    return {c.height + 2 * c.pad_height, c.width + 2 * c.pad_width, rounded_up(c.channels, 4)};
}

// Up to four planes of a row as pixels of four bytes, the missing ones zero: they meet weights that are zero.
inline void four_bytes_a_pixel(const uint8_t* const planes[4], long count, uint32_t* to) {
    for (long x = 0; x < count; x++)
        to[x] = planes[0][x] | planes[1][x] << 8 | planes[2][x] << 16 | (uint32_t)planes[3][x] << 24;
}

// Fill in borders, and channels up to a multiple of four.
inline void copy_with_borders(const Convolution& c, uint8_t* to) {
    const Bordered size = bordered(c);
    memset(to, *c.zero, c.batch * size.tall * size.broad * size.deep);
    const std::unique_ptr<uint8_t[]> none(new uint8_t[c.width]());
    for (long row = 0; row < c.batch * c.height; row++) {
        const long b = row / c.height, y = row % c.height;
        uint8_t* here = to + ((b * size.tall + y + c.pad_height) * size.broad + c.pad_width) * size.deep;
        const uint8_t* from = c.image + b * c.batch_stride + y * c.row_stride;
        if (c.pixel_stride == 1 && size.deep == 4) {
            const uint8_t* planes[4];
            for (long i = 0; i < 4; i++) planes[i] = i < c.channels ? from + i * c.channel_stride : none.get();
            four_bytes_a_pixel(planes, c.width, (uint32_t*)here);
            continue;
        }
        for (long i = 0; i < c.channels; i++)
            for (long x = 0; x < c.width; x++)
                here[x * size.deep + i] = from[i * c.channel_stride + x * c.pixel_stride];
    }
}

// The places that the results of a block read: for each tap of the kernel, a run of bytes for each result.
struct Places {
    const uint8_t* at[LARGEST_BLOCK];
};

// A pixel of the result, and the next ones without divisions.
struct Pixel {
    long b, y, x;

    Pixel(const Convolution& c, long index)
        : b(index / (c.out_width * c.out_height)), y(index / c.out_width % c.out_height), x(index % c.out_width) {}

    void step(const Convolution& c) {
        if (++x < c.out_width) return;
        x = 0;
        if (++y < c.out_height) return;
        y = 0;
        b++;
    }
};

inline void find_places(const Convolution& c, long begin, long rows, const uint8_t* nothing, Places* places) {
    const long right = c.dilation_width * c.channels, down = c.dilation_height * c.width * c.channels;
    const long reach_down = (c.kernel_height - 1) * c.dilation_height,
               reach_right = (c.kernel_width - 1) * c.dilation_width;
    Pixel pixel(c, begin);
    for (long r = 0; r < rows; r++, pixel.step(c)) {
        const long top = pixel.y * c.stride_height - c.pad_height, left = pixel.x * c.stride_width - c.pad_width;
        const bool whole = top >= 0 && left >= 0 && top + reach_down < c.height && left + reach_right < c.width;
        const long corner = ((pixel.b * c.height + top) * c.width + left) * c.channels;
        Places* tap = places;
        for (long i = 0; i < c.kernel_height; i++)
            for (long j = 0; j < c.kernel_width; j++, tap++) {
                const long row = top + i * c.dilation_height, column = left + j * c.dilation_width;
                const bool inside = whole || (row >= 0 && row < c.height && column >= 0 && column < c.width);
                tap->at[r] = inside ? c.image + (corner + i * down + j * right) : nothing;
            }
    }
}

// With borders in place a row of the kernel is one run.
inline void find_runs(const Convolution& c, long begin, long rows, const uint8_t* image, Places* places) {
    const Bordered size = bordered(c);
    const long down = size.broad * size.deep;
    Pixel pixel(c, begin);
    for (long r = 0; r < rows; r++, pixel.step(c)) {
        const long row = pixel.b * size.tall + pixel.y * c.stride_height;
        const uint8_t* from = image + row * down + pixel.x * c.stride_width * size.deep;
        for (long i = 0; i < c.kernel_height; i++) places[i].at[r] = from + i * down;
    }
}

template <int M, int V>
void places_tile(const Places* places, long first, long taps, long offset, long run, int32_t zero, float scale,
                 const Weights& weights, long column, float* out, long stride) {
    __m512i sums[M][V];
    UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++) sums[r][v] =
        _mm512_mullo_epi32(_mm512_set1_epi32(-zero), _mm512_loadu_si512(weights.sums + column + v * WIDTH));
    const int8_t* panel = weights.panels + column * weights.features;
    for (long tap = 0; tap < taps; tap++) {
        const uint8_t* from[M];
        UNROLL for (int r = 0; r < M; r++) from[r] = places[tap].at[first + r] + offset;
        for (long f = 0; f < run; f += 4, panel += V * 64) {
            __m512i these[V];
            UNROLL for (int v = 0; v < V; v++) these[v] = _mm512_loadu_si512(panel + v * 64);
            UNROLL for (int r = 0; r < M; r++) {
                int32_t four;
                memcpy(&four, from[r] + f, 4);
                __m512i bytes = _mm512_set1_epi32(four);
                UNROLL for (int v = 0; v < V; v++) add_products(sums[r][v], bytes, these[v]);
            }
        }
    }
    UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++) {
        Floats x = (Floats)_mm512_cvtepi32_ps(sums[r][v]) * scale;
        store(out + r * stride + v * WIDTH,
              x * load(weights.scales + column + v * WIDTH) + load(weights.bias + column + v * WIDTH));
    }
}

struct PlacesTile {
    const Places* places;
    long first, taps, offset, run;
    int32_t zero;
    float scale;
    const Weights& weights;
    long column;
    float* out;
    long stride;
    template <int M, int V>
    void run_tile() const {
        places_tile<M, V>(places, first, taps, offset, run, zero, scale, weights, column, out, stride);
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
            weights.outputs};
}

// Where a block finds its pixels, and how many bytes it reads at each place.
struct Reading {
    bool runs;
    const uint8_t *image, *nothing;
    long taps, run;
};

inline bool reads_runs(const Convolution& c) {
    return c.groups == 1 && c.dilation_height == 1 && c.dilation_width == 1 && (c.channels % 4 || c.channels < 16);
}

inline void convolve_block(const Convolution& c, const Reading& reading, long begin, long rows, const Weights& weights,
                           const Behind& behind, Places* places, float* results, long stride) {
    const long tall = even(rows);
    if (reading.runs)
        find_runs(c, begin, rows, reading.image, places);
    else
        find_places(c, begin, rows, reading.nothing, places);
    for (long group = 0; group < c.groups; group++) {
        const Weights here = of_group(weights, group);
        for (long column = 0, vectors; column < here.wide(); column += vectors * WIDTH) {
            vectors = next_panel((here.wide() - column) / WIDTH);
            for (long r = 0; r < rows; r += tall) {
                float* out = results + r * stride + group * here.outputs + column;
                PlacesTile tile{places, r,   reading.taps, group * reading.run, reading.run, *c.zero, *c.scale, here,
                                column, out, stride};
                with_sizes((int)std::min(tall, rows - r), (int)vectors, tile);
            }
        }
    }
    finish_rows(results, stride, begin, rows, weights.outputs * c.groups, behind);
}

inline void convolve(const Convolution& c, const Weights& weights, const Behind& behind, int threads) {
    const Bordered size = bordered(c);
    const bool runs = reads_runs(c);
    std::unique_ptr<uint8_t[]> image(runs ? new uint8_t[c.batch * size.tall * size.broad * size.deep] : nullptr);
    if (runs) copy_with_borders(c, image.get());
    // What lies outside of the image is zero.
    std::unique_ptr<uint8_t[]> nothing(new uint8_t[c.channels]);
    memset(nothing.get(), *c.zero, c.channels);
    const Reading reading{runs, image.get(), nothing.get(), runs ? c.kernel_height : c.kernel_height * c.kernel_width,
                          runs ? c.kernel_width * size.deep : c.depth()};
    const long pixels = c.pixels();
    const long block = block_of(pixels, weights, threads);
    // The vectors that fill up a group are written over by the next one; behind the last there is room.
    const long stride = (c.groups - 1) * weights.outputs + weights.wide();
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::unique_ptr<Places[]> places(new Places[reading.taps]);
        std::unique_ptr<float[]> results(new float[block * stride]);
#pragma omp for schedule(static)
        for (long begin = 0; begin < pixels; begin += block)
            convolve_block(c, reading, begin, std::min(block, pixels - begin), weights, behind, places.get(),
                           results.get(), stride);
    }
}

}  // namespace fxc

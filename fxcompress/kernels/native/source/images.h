// Images of floats rounded to bytes, each by its own range, and convolutions of these.
#pragma once
#include "convolution.h"
#include "transpose.h"

namespace fxc {

struct Images {
    // Floats [batch, pixels, channels], or [batch, channels, pixels] where they are to be `turned`; bytes
    // [batch, pixels, channels] either way, and as they lie where nothing is turned.
    const float* from;
    uint8_t* bytes;
    float* scales;
    int32_t* zeros;
    long batch, pixels, channels, turned;

    long size() const { return pixels * channels; }
};

struct Range {
    float least, most;
};

// The range of some floats with 0 in it.
inline Range range_of(const float* from, long count) {
    constexpr int LANES = 4;
    Floats low[LANES]{}, high[LANES]{};
    long i = 0;
    for (; i + LANES * WIDTH <= count; i += LANES * WIDTH)
        for (int lane = 0; lane < LANES; lane++) {
            const Floats x = load(from + i + lane * WIDTH);
            low[lane] = smaller(low[lane], x);
            high[lane] = larger(high[lane], x);
        }
    for (; i < count; i += WIDTH) {
        const Floats x = load_first(from + i, count - i);
        low[0] = smaller(low[0], x);
        high[0] = larger(high[0], x);
    }
    for (int lane = 1; lane < LANES; lane++) {
        low[0] = smaller(low[0], low[lane]);
        high[0] = larger(high[0], high[lane]);
    }
    return {smallest_of(low[0]), largest_of(high[0])};
}

// The range of a whole image, whose parts several threads have looked at.
inline void find_steps(const Range* parts, long count, float* scale, int32_t* zero) {
    double least = 0, most = 0;
    for (long i = 0; i < count; i++) {
        least = std::min<double>(least, parts[i].least);
        most = std::max<double>(most, parts[i].most);
    }
    *scale = (float)std::max((most - least) / 255, 1.17549435e-38);
    *zero = (int32_t)std::nearbyint(-least / *scale);
}

// Sixteen channels of sixteen pixels at a time.
inline void round_turned(const float* from, const Images& images, long begin, long end, uint8_t* bytes, float scale,
                         int32_t zero) {
    const float inverse = 1.0f / scale;
    alignas(64) float tile[WIDTH * WIDTH];
    for (long pixel = begin; pixel < end; pixel += WIDTH)
        for (long channel = 0; channel < images.channels; channel += WIDTH) {
            const long rows = std::min(WIDTH, images.channels - channel), columns = std::min(WIDTH, end - pixel);
            transpose(from + channel * images.pixels + pixel, images.pixels, rows, columns, tile, WIDTH);
            for (long i = 0; i < columns; i++)
                _mm_mask_storeu_epi8(bytes + (pixel + i) * images.channels + channel, first(rows),
                                     rounded(load(tile + i * WIDTH), inverse, zero));
        }
}

// The part of a whole that is cut into as many, at multiples of sixteen.
inline long cut(long whole, long parts, long part) {
    return std::min(rounded_up((whole + parts - 1) / parts, WIDTH) * part, whole);
}

inline void round_images(const Images& images, int threads) {
    // Few images are cut, so that every thread has a part of one.
    const long parts = images.batch >= threads ? 1 : threads, size = images.size();
    std::unique_ptr<Range[]> ranges(new Range[images.batch * parts]);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (long i = 0; i < images.batch * parts; i++) {
            const long begin = cut(size, parts, i % parts), end = cut(size, parts, i % parts + 1);
            ranges[i] = range_of(images.from + i / parts * size + begin, end - begin);
        }
#pragma omp for schedule(static)
        for (long i = 0; i < images.batch * parts; i++) {
            const long image = i / parts, whole = images.turned ? images.pixels : size;
            const long begin = cut(whole, parts, i % parts), end = cut(whole, parts, i % parts + 1);
            const float* from = images.from + image * size;
            uint8_t* bytes = images.bytes + image * size;
            float scale;
            int32_t zero;
            find_steps(&ranges[image * parts], parts, &scale, &zero);
            if (images.turned)
                round_turned(from, images, begin, end, bytes, scale, zero);
            else
                round_row(from + begin, end - begin, bytes + begin, scale, zero);
            if (i % parts) continue;
            images.scales[image] = scale;
            images.zeros[image] = zero;
        }
    }
}

// One image of several, and what stands behind the results of it, which begin at `offset`.
inline Convolution image_of(const Convolution& c, long index) {
    Convolution here = c.part(index, 1);
    here.scale += index;
    here.zero += index;
    return here;
}

inline Behind behind_from(const Behind& behind, long offset) {
    Behind here = behind;
    if (here.residual) here.residual += offset;
    if (here.residual_bytes) here.residual_bytes += offset;
    if (here.out) here.out += offset;
    if (here.bytes) here.bytes += offset;
    return here;
}

// Convolve images that have steps and a zero point each.
inline void convolve_each(const Convolution& c, const Weights& weights, const Behind& behind, int threads) {
    const bool apart = c.batch >= threads;
    const long results = c.out_pixels() * weights.outputs * c.groups;
#pragma omp parallel for schedule(static) num_threads(threads) if (apart && threads > 1)
    for (long i = 0; i < c.batch; i++)
        convolve(image_of(c, i), weights, behind_from(behind, i * results), apart ? 1 : threads);
}

}  // namespace fxc

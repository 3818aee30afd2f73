// The image that a convolution reads, with its borders in place: what a result reads then lies at the same distances
// from its first byte, wherever it is.
#pragma once
#include <algorithm>
#include <memory>

#include "vectors.h"

namespace fxc {

struct Convolution {
    // Bytes [batch, height, width, channels] in steps of `scale` above `zero`, as [1] each.
    const uint8_t* image;
    const float* scale;
    const int32_t* zero;
    long batch, height, width, channels;
    long out_height, out_width, kernel_height, kernel_width;
    long stride_height, stride_width, pad_height, pad_width, dilation_height, dilation_width;
    long groups;
    // Strides of the image, which may lie in planes.
    long batch_stride, row_stride, pixel_stride, channel_stride;

    long depth() const { return channels / groups; }
    // The bytes of a row of the kernel stand side by side.
    bool merged() const { return groups == 1 && dilation_width == 1; }
    long taps() const { return merged() ? kernel_height : kernel_height * kernel_width; }
    // Bytes that are read at each tap. Weights are zero for those that fill up the last four.
    long run() const { return rounded_up(merged() ? kernel_width * depth() : depth(), 4); }
    bool fills_up() const { return (merged() ? kernel_width * depth() : depth()) % 4; }

    // Of the image with its borders.
    long tall() const { return height + 2 * pad_height; }
    long broad() const { return width + 2 * pad_width; }
    long row_bytes() const { return broad() * channels; }
    long image_bytes() const { return tall() * row_bytes(); }
    long out_pixels() const { return out_height * out_width; }

    bool in_pixels() const { return channel_stride == 1 && pixel_stride == channels; }
    bool in_one_piece() const {
        return in_pixels() && row_stride == width * channels && (batch == 1 || batch_stride == height * row_stride);
    }
    // Whether it can be read where it is.
    bool as_it_is() const { return in_one_piece() && !pad_height && !pad_width && !fills_up(); }

    Convolution part(long first, long count) const {
        Convolution here = *this;
        here.image += first * batch_stride;
        here.batch = count;
        return here;
    }
};

// Three planes of a row as pixels of three bytes: sixteen pixels are three vectors, each of a shuffle of every plane.
inline void three_planes(const uint8_t* from, long plane, long count, uint8_t* to) {
    __m128i shuffles[3][3];
    for (int v = 0; v < 3; v++)
        for (int p = 0; p < 3; p++) {
            alignas(16) int8_t places[16];
            for (int i = 0; i < 16; i++) places[i] = (v * 16 + i) % 3 == p ? (v * 16 + i) / 3 : -1;
            shuffles[v][p] = _mm_load_si128((const __m128i*)places);
        }
    long x = 0;
    for (; x + 16 <= count; x += 16)
        for (int v = 0; v < 3; v++) {
            __m128i bytes = _mm_setzero_si128();
            for (int p = 0; p < 3; p++) {
                const __m128i here = _mm_loadu_si128((const __m128i*)(from + p * plane + x));
                bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(here, shuffles[v][p]));
            }
            _mm_storeu_si128((__m128i*)(to + x * 3 + v * 16), bytes);
        }
    for (; x < count; x++)
        for (int p = 0; p < 3; p++) to[x * 3 + p] = from[p * plane + x];
}

// One row of the image, as pixels.
inline void copy_row(const Convolution& c, const uint8_t* from, uint8_t* to) {
    if (c.in_pixels() || (c.channels == 1 && c.pixel_stride == 1)) {
        memcpy(to, from, c.width * c.channels);
    } else if (c.channels == 3 && c.pixel_stride == 1) {
        three_planes(from, c.channel_stride, c.width, to);
    } else {
        for (long i = 0; i < c.channels; i++)
            for (long x = 0; x < c.width; x++) to[x * c.channels + i] = from[i * c.channel_stride + x * c.pixel_stride];
    }
}

// Row `row` of all images with their borders, to its place behind `to`.
inline void copy_bordered_row(const Convolution& c, long row, uint8_t* to) {
    const long y = row % c.tall() - c.pad_height, border = c.pad_width * c.channels;
    uint8_t* here = to + row * c.row_bytes();
    if (y < 0 || y >= c.height) {
        memset(here, *c.zero, c.row_bytes());
        return;
    }
    memset(here, *c.zero, border);
    copy_row(c, c.image + row / c.tall() * c.batch_stride + y * c.row_stride, here + border);
    memset(here + c.row_bytes() - border, *c.zero, border);
}

}  // namespace fxc

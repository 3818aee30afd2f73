// What is done with one row of floats: activation functions, normalization, and quantization to bytes.
#pragma once
#include "vectors.h"

namespace fxc {

enum Post { NONE, RELU, GELU, GELU_TANH, SILU };
enum Norm { NO_NORM, LAYER_NORM, RMS_NORM };

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }

template <class Function>
inline void map(float* row, long count, Function function) {
    long i = 0;
    for (; i + WIDTH <= count; i += WIDTH) store(row + i, function(load(row + i)));
    if (i < count) store_first(row + i, function(load_first(row + i, count - i)), count - i);
}

inline void activate(float* row, long count, int post) {
    switch (post) {
        case RELU:
            return map(row, count, [](Floats x) { return larger(x, Floats{}); });
        case GELU:
            return map(row, count, [](Floats x) { return 0.5f * x * (1.0f + error_function(x * 0.70710678f)); });
        case GELU_TANH:
            return map(row, count, [](Floats x) { return x * sigmoid(1.59576912f * (x + 0.044715f * x * x * x)); });
        case SILU:
            return map(row, count, [](Floats x) { return x * sigmoid(x); });
    }
}

inline void add(float* row, const float* other, long count) {
    long i = 0;
    for (; i + WIDTH <= count; i += WIDTH) store(row + i, load(row + i) + load(other + i));
    for (; i < count; i++) row[i] += other[i];
}

inline Floats floats_of(__m128i bytes) { return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)); }

// The same for bytes in steps of `scale` above `zero`.
inline void add_bytes(float* row, const uint8_t* other, long count, float scale, int32_t zero) {
    const float offset = -scale * (float)zero;
    for (long i = 0; i < count; i += WIDTH) {
        Floats steps = floats_of(_mm_maskz_loadu_epi8(first(count - i), other + i));
        store_first(row + i, load_first(row + i, count - i) + steps * scale + offset, count - i);
    }
}

// The sum of `term(x)` over a row.
template <class Term>
inline float total(const float* row, long count, Term term) {
    Floats sums{};
    long i = 0;
    for (; i + WIDTH <= count; i += WIDTH) sums += term(load(row + i));
    float sum = sum_of(sums);
    for (; i < count; i++) sum += term(all(row[i]))[0];
    return sum;
}

// Layer or root-mean-square norm, in place. The mean is taken off before squares are summed up, as they could cancel.
inline void normalize(float* row, long count, int norm, const float* weight, const float* bias, float eps) {
    float mean = norm == LAYER_NORM ? total(row, count, [](Floats x) { return x; }) / count : 0.0f;
    float squares = total(row, count, [=](Floats x) { return (x - mean) * (x - mean); });
    float inverse = 1.0f / std::sqrt(squares / count + eps);
    for (long i = 0; i < count; i += WIDTH) {
        long here = count - i;
        Floats x = (load_first(row + i, here) - mean) * inverse;
        if (weight) x *= load_first(weight + i, here);
        if (bias) x += load_first(bias + i, here);
        store_first(row + i, x, here);
    }
}

// Numbers in steps, where `inverse` is one over their size, above a zero point.
inline __m128i rounded(Floats x, float inverse, int32_t zero) {
    __m512i steps = _mm512_add_epi32(_mm512_cvtps_epi32((__m512)(x * inverse)), _mm512_set1_epi32(zero));
    return _mm512_cvtusepi32_epi8(_mm512_max_epi32(steps, _mm512_setzero_si512()));
}

// Round a row to bytes, in steps above a zero point.
inline void round_row(const float* row, long count, uint8_t* bytes, float scale, int32_t zero) {
    const float inverse = 1.0f / scale;
    for (long i = 0; i < count; i += WIDTH)
        _mm_mask_storeu_epi8(bytes + i, first(count - i), rounded(load_first(row + i, count - i), inverse, zero));
}

// The same in steps of its own, that cover its range with 0 in it.
inline void quantize_row(const float* row, long count, uint8_t* bytes, float* scale, int32_t* zero) {
    Floats low{}, high{};
    for (long i = 0; i < count; i += WIDTH) {
        Floats x = load_first(row + i, count - i);
        low = smaller(low, x);
        high = larger(high, x);
    }
    float least = smallest_of(low);
    *scale = std::fmax((largest_of(high) - least) / 255.0f, 1.17549435e-38f);
    *zero = (int32_t)std::nearbyint(-least / *scale);
    round_row(row, count, bytes, *scale, *zero);
}

}  // namespace fxc

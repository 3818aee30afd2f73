// Sixteen floats at a time, and the functions of them that the kernels need.
#pragma once
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace fxc {

constexpr long WIDTH = 16;

// Operators act on each of the sixteen numbers; the alignment is that of one, so that rows may begin anywhere.
typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));

inline Floats load(const float* from) { return *reinterpret_cast<const Floats*>(from); }
inline void store(float* to, Floats values) { *reinterpret_cast<Floats*>(to) = values; }
inline Floats all(float value) { return Floats{} + value; }
inline Floats larger(Floats a, Floats b) { return (Floats)_mm512_max_ps((__m512)a, (__m512)b); }
inline Floats smaller(Floats a, Floats b) { return (Floats)_mm512_min_ps((__m512)a, (__m512)b); }
inline float sum_of(Floats values) { return _mm512_reduce_add_ps((__m512)values); }
inline float largest_of(Floats values) { return _mm512_reduce_max_ps((__m512)values); }
inline float smallest_of(Floats values) { return _mm512_reduce_min_ps((__m512)values); }
inline long rounded_up(long count, long step) { return (count + step - 1) / step * step; }

// A mask for the first `count` of sixteen numbers.
inline __mmask16 first(long count) { return count >= WIDTH ? 0xFFFF : (__mmask16)((1u << count) - 1); }
inline Floats load_first(const float* from, long count) { return (Floats)_mm512_maskz_loadu_ps(first(count), from); }
inline void store_first(float* to, Floats values, long count) {
    _mm512_mask_storeu_ps(to, first(count), (__m512)values);
}

// 2^n * p(r) with x = n * ln 2 + r; the Taylor polynomial of degree 6 is exact to float32 for |r| <= ln 2 / 2.
inline Floats exponential(Floats x) {
    x = smaller(larger(x, all(-87.0f)), all(88.0f));
    Floats whole = (Floats)_mm512_roundscale_ps((__m512)(x * 1.44269504f), 0);
    Floats rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    Floats sum = all(1.0f / 720);
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    return (Floats)_mm512_scalef_ps((__m512)sum, (__m512)whole);
}

// z P(z^2) / Q(z^2), fitted to erf by least squares on |z| <= 3.95, beyond which erf is 1 in float32: error 3e-7.
inline Floats error_function(Floats z) {
    z = smaller(larger(z, all(-3.95f)), all(3.95f));
    static const float above[] = {1.128379023e+00f, 1.936090393e-01f, 5.314897014e-02f,
                                  3.898469568e-03f, 2.870823472e-04f, 2.013848109e-06f};
    static const float below[] = {5.049131897e-01f, 1.154127918e-01f, 1.523318925e-02f, 1.193445186e-03f,
                                  3.783426576e-05f};
    Floats square = z * z, p = all(above[5]), q = all(below[4]);
    for (int i = 4; i >= 0; i--) p = p * square + above[i];
    for (int i = 3; i >= 0; i--) q = q * square + below[i];
    return z * p / (q * square + 1.0f);
}

}  // namespace fxc

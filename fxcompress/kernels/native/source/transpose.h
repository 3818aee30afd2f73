// Sixteen by sixteen floats with rows and columns exchanged.
#pragma once
#include "vectors.h"

namespace fxc {

// Up to 16 rows of up to 16 columns; `to` gets a row of up to 16 for each column.
inline void transpose(const float* from, long from_stride, long rows, long columns, float* to, long to_stride) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = i < rows ? _mm512_maskz_loadu_ps(first(columns), from + i * from_stride) : _mm512_setzero_ps();
    // Pairs of numbers, then pairs of pairs: afterwards quarters of rows stand where they belong within four rows.
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int half = 0; half < 2; half++) {
            __m512d one = (__m512d)b[i + half], other = (__m512d)b[i + half + 2];
            a[i + 2 * half] = (__m512)_mm512_unpacklo_pd(one, other);
            a[i + 2 * half + 1] = (__m512)_mm512_unpackhi_pd(one, other);
        }
    for (int i = 0; i < 4; i++)
        for (int half = 0; half < 16; half += 8) {
            b[i + half] = _mm512_shuffle_f32x4(a[i + half], a[i + half + 4], 0x88);
            b[i + half + 4] = _mm512_shuffle_f32x4(a[i + half], a[i + half + 4], 0xdd);
        }
    for (int i = 0; i < 8; i++) {
        a[i] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0x88);
        a[i + 8] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0xdd);
    }
    for (int i = 0; i < columns; i++) _mm512_mask_storeu_ps(to + i * to_stride, first(rows), a[i]);
}

}  // namespace fxc

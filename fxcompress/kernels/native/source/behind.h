// What stands behind a product: activation functions, residual, norm, and quantization of the result.
#pragma once
#include <limits>

#include "rows.h"

namespace fxc {

// Everything but the product. What is not wanted is null.
struct Behind {
    int post;
    const float* residual;
    int norm;
    const float *norm_weight, *norm_bias;
    float eps;
    float *sum, *out;
    uint8_t* bytes;
    float* scales;
    int32_t* zeros;
    // Where it is not 0, results are rounded in steps of this size above `fixed_zero`, in place of a range a row.
    float fixed_scale;
    int32_t fixed_zero;
    // A residual of bytes, and the activation function behind a residual.
    const uint8_t* residual_bytes;
    float residual_scale;
    int32_t residual_zero;
    int late_post;
};

// What stands behind a product where it needs no more than one number at a time, and gives bytes: activation function,
// residual of bytes, and rounding in steps that are known. Numbers are counted in these steps from the start: a product
// times `inverse`, plus `offset`, is what `put` takes. A relu is the larger of a number and that of zero.
struct Straight {
    uint8_t* bytes;
    const uint8_t* residual;
    float inverse, offset, least, residual_scale, residual_offset, late_least;

    static bool serves(const Behind& behind) {
        const bool simple = behind.post <= RELU && behind.late_post <= RELU && !behind.residual;
        return simple && behind.norm == NO_NORM && behind.bytes && behind.fixed_scale != 0 && !behind.sum &&
               !behind.out;
    }

    explicit Straight(const Behind& behind)
        : bytes(behind.bytes), residual(behind.residual_bytes), inverse(1.0f / behind.fixed_scale) {
        const float zero = (float)behind.fixed_zero;
        const bool cut = behind.post == RELU, late_cut = behind.late_post == RELU;
        // The zero point is added once: with the residual, where there is one.
        offset = residual ? 0 : zero;
        least = cut ? 0 : -std::numeric_limits<float>::infinity();
        residual_scale = behind.residual_scale * inverse;
        residual_offset = zero - residual_scale * (float)behind.residual_zero;
        late_least = late_cut || (cut && !residual) ? zero : 0;
    }

    template <bool ADDED>
    __m128i finished(Floats steps, __m128i other) const {
        if (ADDED) steps = larger(steps, all(least)) + (floats_of(other) * residual_scale + residual_offset);
        steps = smaller(larger(steps, all(late_least)), all(255));
        return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32((__m512)steps));
    }

    // The bytes of sixteen results that go to `at`, or of the first `count` of them.
    template <bool ADDED>
    void put(long at, Floats steps, long count) const {
        if (count >= WIDTH) {
            const __m128i other = ADDED ? _mm_loadu_si128((const __m128i*)(residual + at)) : __m128i{};
            _mm_storeu_si128((__m128i*)(bytes + at), finished<ADDED>(steps, other));
            return;
        }
        const __m128i other = ADDED ? _mm_maskz_loadu_epi8(first(count), residual + at) : __m128i{};
        _mm_mask_storeu_epi8(bytes + at, first(count), finished<ADDED>(steps, other));
    }

    template <bool ADDED>
    void finish(const float* row, long index, long count) const {
        for (long i = 0; i < count; i += WIDTH)
            put<ADDED>(index * count + i, load_first(row + i, count - i) * inverse + offset, count - i);
    }
};

inline void finish_row(float* row, long index, long count, const Behind& behind) {
    if (Straight::serves(behind)) {
        const Straight straight(behind);
        return straight.residual ? straight.finish<true>(row, index, count) : straight.finish<false>(row, index, count);
    }
    activate(row, count, behind.post);
    if (behind.residual) add(row, behind.residual + index * count, count);
    if (behind.residual_bytes)
        add_bytes(row, behind.residual_bytes + index * count, count, behind.residual_scale, behind.residual_zero);
    activate(row, count, behind.late_post);
    if (behind.sum) memcpy(behind.sum + index * count, row, count * sizeof(float));
    if (behind.norm != NO_NORM) normalize(row, count, behind.norm, behind.norm_weight, behind.norm_bias, behind.eps);
    if (behind.out) memcpy(behind.out + index * count, row, count * sizeof(float));
    if (!behind.bytes) return;
    uint8_t* bytes = behind.bytes + index * count;
    if (behind.fixed_scale != 0)
        round_row(row, count, bytes, behind.fixed_scale, behind.fixed_zero);
    else
        quantize_row(row, count, bytes, behind.scales + index, behind.zeros + index);
}

// Rows side by side, of which each number stands for itself, are one long row: short ones would take longer to begin.
inline void finish_rows(float* rows, long stride, long begin, long number, long count, const Behind& behind) {
    const bool alone = behind.norm == NO_NORM && (!behind.bytes || behind.fixed_scale != 0);
    if (!alone || stride != count) {
        for (long r = 0; r < number; r++) finish_row(rows + r * stride, begin + r, count, behind);
        return;
    }
    Behind here = behind;
    const long offset = begin * count;
    if (here.residual) here.residual += offset;
    if (here.residual_bytes) here.residual_bytes += offset;
    if (here.sum) here.sum += offset;
    if (here.out) here.out += offset;
    if (here.bytes) here.bytes += offset;
    finish_row(rows, 0, number * count, here);
}

}  // namespace fxc

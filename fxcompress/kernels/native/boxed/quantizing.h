// Floats as bytes, with one step and one zero point for all.
#pragma once
#include "linears.h"

namespace fxc {

// More would not differ: 255 steps are the most there are.
constexpr float MOST_STEPS = 1e6f;
constexpr long AT_A_TIME = 1 << 15;

inline void quantize_all(const float* values, long count, float inverse, int32_t zero, uint8_t* bytes) {
    for (long i = 0; i < count; i += WIDTH) {
        const Floats steps = load_first(values + i, count - i) * inverse;
        const Floats near = smaller(larger(steps, all(-MOST_STEPS)), all(MOST_STEPS));
        _mm_mask_storeu_epi8(bytes + i, first(count - i), rounded(near, 1.0f, zero));
    }
}

// input, scale, zero
inline bool quantize_u8(Stack& stack) {
    const Values given = torch::jit::last(stack, 3);
    if (!is(given[0], at::kFloat) || !given[0].toTensor().is_non_overlapping_and_dense()) return false;
    const Tensor& values = given[0].toTensor();
    Tensor made(at::detail::empty_strided_cpu(values.sizes(), values.strides(), at::kByte));
    const float* from = values.const_data_ptr<float>();
    uint8_t* to = made.mutable_data_ptr<uint8_t>();
    const float inverse = (float)(1.0 / given[1].toDouble());
    const int32_t zero = (int32_t)given[2].toInt();
    at::parallel_for(0, values.numel(), AT_A_TIME,
                     [=](long begin, long end) { quantize_all(from + begin, end - begin, inverse, zero, to + begin); });
    replace(stack, 3, std::move(made));
    return true;
}

}  // namespace fxc

// Looking up rows of bytes: only those that are read become floats.
#pragma once
#include "linears.h"

namespace fxc {

inline void widen_row(const int8_t* row, float scale, long count, float* out) {
    for (long i = 0; i < count; i++) out[i] = (float)row[i] * scale;
}

// Whether there is no index but of a row; what torch says of others is said in Python.
template <class Index>
bool look_up(const Tensor& indices, const Tensor& table, const float* scales, float* out) {
    const Index* places = indices.const_data_ptr<Index>();
    const int8_t* rows = table.const_data_ptr<int8_t>();
    const long count = table.size(1);
    for (long i = 0; i < indices.numel(); i++) {
        if (places[i] < 0 || places[i] >= table.size(0)) return false;
        widen_row(rows + places[i] * count, scales[places[i]], count, out + i * count);
    }
    return true;
}

// indices, weight, scales
inline bool embedding_rows(Stack& stack) {
    const Values given = torch::jit::last(stack, 3);
    const bool wide = is(given[0], at::kLong);
    if (!(wide || is(given[0], at::kInt)) || !is(given[1], at::kChar) || !is(given[2], at::kFloat)) return false;
    const Tensor indices = given[0].toTensor().contiguous(), &table = given[1].toTensor(),
                 &scales = given[2].toTensor();
    if (table.dim() != 2 || !table.is_contiguous() || !scales.is_contiguous() || scales.numel() != table.size(0))
        return false;
    c10::SmallVector<int64_t, 5> sizes(indices.sizes());
    sizes.push_back(table.size(1));
    Tensor made = empty(sizes, at::kFloat);
    float* out = made.mutable_data_ptr<float>();
    const float* steps = scales.const_data_ptr<float>();
    if (!(wide ? look_up<int64_t>(indices, table, steps, out) : look_up<int32_t>(indices, table, steps, out)))
        return false;
    replace(stack, 3, std::move(made));
    return true;
}

}  // namespace fxc

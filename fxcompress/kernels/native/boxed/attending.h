// Attention in floats, with its result where the layer behind it reads it without a copy.
#pragma once
#include "attention.h"
#include "linears.h"

extern "C" void fxc_attention(const fxc::Attention*, long batches, int threads);

namespace fxc {

inline Strides strides_of(const Tensor& tensor) { return {tensor.stride(0), tensor.stride(1), tensor.stride(2)}; }

// Whether it is [batch, heads, rows, features] with the features of a row side by side, and not empty.
inline bool is_heads(const IValue& value) {
    return is(value, at::kFloat) && value.toTensor().dim() == 4 && value.toTensor().stride(3) == 1 &&
           value.toTensor().numel() > 0;
}

// query, key, value, mask, causal, scale, backend
inline bool attention(Stack& stack) {
    const Values given = torch::jit::last(stack, 7);
    if (!is_heads(given[0]) || !is_heads(given[1]) || !is_heads(given[2])) return false;
    if (!given[3].isNone() && !is(given[3], at::kFloat)) return false;
    const Tensor &query = given[0].toTensor(), &key = given[1].toTensor(), &value = given[2].toTensor();
    const long batch = query.size(0), heads = query.size(1), rows = query.size(2), features = query.size(3);
    Tensor mask;
    if (!given[3].isNone()) mask = given[3].toTensor().expand({batch, heads, rows, key.size(2)});
    Tensor made = empty({batch, rows, heads, features}, at::kFloat).transpose(1, 2);
    const Attention structure{
        query.const_data_ptr<float>(),
        key.const_data_ptr<float>(),
        value.const_data_ptr<float>(),
        mask.defined() ? mask.const_data_ptr<float>() : nullptr,
        made.mutable_data_ptr<float>(),
        strides_of(query),
        strides_of(key),
        strides_of(value),
        mask.defined() ? strides_of(mask) : Strides{},
        strides_of(made),
        mask.defined() ? mask.stride(3) : 0,
        heads,
        heads / key.size(1),
        rows,
        key.size(2),
        features,
        (float)given[5].toDouble(),
        given[4].toBool(),
    };
    fxc_attention(&structure, batch, at::get_num_threads());
    replace(stack, 7, std::move(made));
    return true;
}

}  // namespace fxc

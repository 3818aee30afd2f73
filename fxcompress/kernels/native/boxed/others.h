// Linears of floats whose weights have a scale for each group of features, or are mostly zero.
#pragma once
#include "groups.h"
#include "linears.h"
#include "sparse.h"

extern "C" {
void fxc_group_linear(const float* input, long rows, const fxc::GroupWeights*, const fxc::Behind*, int threads);
void fxc_sparse_panels(const float* input, long rows, const fxc::Kept*, float* out, int threads);
void fxc_sparse_rows(const float* input, long rows, const fxc::Kept*, float* out, int threads);
}

namespace fxc {

inline Sources sources_of_all(Values values) {
    Sources sources;
    for (const IValue& value : values) sources.add(value);
    return sources;
}

// Whether it is [..., features] in floats for a weight of [outputs, features], and not empty.
inline bool fits(const IValue& input, const IValue& weight) {
    if (!is(input, at::kFloat) || input.toTensor().dim() == 0 || input.toTensor().numel() == 0) return false;
    return weight.toTensor().dim() == 2 && weight.toTensor().size(1) == input.toTensor().sizes().back();
}

// weight, scales, zeros, group, bias; no panels where the weights have more than 4 bits.
inline Memo<GroupWeights>::Found digits_of(Values layer) {
    static Memo<GroupWeights> memo;
    const Sources sources = sources_of_all(layer);
    if (auto found = memo.find(sources)) return *found;
    const std::vector<Tensor> made = pack("fxcompress::packed_digits", layer);
    GroupWeights structure{};
    if (!made.empty())
        structure = {made[0].const_data_ptr<uint8_t>(), made[1].const_data_ptr<float>(), made[2].const_data_ptr<float>(),
                     made[3].const_data_ptr<float>(), layer[0].toTensor().size(1), layer[0].toTensor().size(0),
                     layer[3].toInt()};
    memo.keep(sources, made, structure);
    return {c10::SmallVector<Tensor, 6>(made.begin(), made.end()), structure};
}

// input, weight, scales, zeros, group, bias, backend
inline bool linear_groups(Stack& stack) {
    const Values given = torch::jit::last(stack, 7);
    if (!is(given[1], at::kChar) || !fits(given[0], given[1])) return false;
    const auto digits = digits_of(given.slice(1, 5));
    if (!digits.structure.panels) return false;
    const Rows rows(given[0].toTensor());
    Results results(rows, digits.structure.outputs);
    Behind behind{};
    behind.out = results.floats();
    fxc_group_linear(rows.tensor.const_data_ptr<float>(), rows.count, &digits.structure, &behind,
                     at::get_num_threads());
    replace(stack, 7, std::move(results.made[0]));
    return true;
}

// weight, bias, form: what is not zero, in panels of so many vectors or, where these are none, row by row.
inline Memo<Kept>::Found nonzeros_of(Values layer) {
    static Memo<Kept> panels, rows;
    Memo<Kept>& memo = layer[2].toStringView() == "panels" ? panels : rows;
    const Sources sources = sources_of_all(layer.slice(0, 2));
    if (auto found = memo.find(sources)) return *found;
    const std::vector<Tensor> made = pack("fxcompress::packed_nonzeros", layer);
    const long vectors = made[0].dim() == 2 ? made[0].size(1) / WIDTH : 1;
    const Kept structure{made[0].const_data_ptr<float>(), made[1].const_data_ptr<int32_t>(),
                         made[2].const_data_ptr<int32_t>(), made[3].const_data_ptr<float>(),
                         layer[0].toTensor().size(1), layer[0].toTensor().size(0), vectors};
    memo.keep(sources, made, structure);
    return {c10::SmallVector<Tensor, 6>(made.begin(), made.end()), structure};
}

// input, weight, bias, form
inline bool linear_sparse(Stack& stack) {
    const Values given = torch::jit::last(stack, 4);
    const auto form = given[3].toStringView();
    if ((form != "panels" && form != "rows") || !is(given[1], at::kFloat) || !fits(given[0], given[1])) return false;
    const auto kept = nonzeros_of(given.slice(1, 3));
    const Rows rows(given[0].toTensor());
    Results results(rows, kept.structure.outputs);
    const auto call = form == "panels" ? fxc_sparse_panels : fxc_sparse_rows;
    call(rows.tensor.const_data_ptr<float>(), rows.count, &kept.structure, results.floats(), at::get_num_threads());
    replace(stack, 4, std::move(results.made[0]));
    return true;
}

}  // namespace fxc

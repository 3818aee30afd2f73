// Linears by the native kernels. Each function reads the arguments of its operator from the stack and puts the results
// there, or returns false and leaves the stack as it is: then the implementation in Python has its turn.
#pragma once
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>

#include <variant>

#include "results.h"

extern "C" {
void fxc_linear(const fxc::Tokens*, long rows, const fxc::Weights*, const fxc::Behind*, int threads);
void fxc_rows(const float* input, long rows, long count, const fxc::Behind*, int threads);
}

namespace fxc {

using Packed = Memo<Weights>;

inline void replace(Stack& stack, size_t arguments, IValue result) {
    torch::jit::drop(stack, arguments);
    stack.push_back(std::move(result));
}

// What the operator `packer`, which Python implements, makes of layers.
inline std::vector<Tensor> pack(const char* packer, Values layers) {
    const auto op = c10::Dispatcher::singleton().findSchemaOrThrow(packer, "");
    Stack stack(layers.begin(), layers.end());
    op.callBoxed(stack);
    return stack.back().toTensorVector();
}

inline Sources sources_of(Values layers) {
    Sources sources;
    for (const IValue& list : layers) sources.add_all(list.toListRef());
    return sources;
}

// `packed`: panels, sums, scales, biases, and of weights that are mostly zero the fours and where they start.
inline Weights structure_of(const std::vector<Tensor>& packed, long features, long outputs) {
    Weights made{};
    made.panels = packed[0].const_data_ptr<int8_t>();
    made.sums = packed[1].const_data_ptr<int32_t>();
    made.scales = packed[2].const_data_ptr<float>(), made.bias = packed[3].const_data_ptr<float>();
    made.features = features, made.outputs = outputs;
    if (packed.size() == 4) return made;
    made.fours = packed[4].const_data_ptr<int32_t>(), made.starts = packed[5].const_data_ptr<int32_t>();
    made.kept_vectors = packed[0].size(1) / WIDTH;
    return made;
}

// The packed weights of layers side by side: lists of weights, scales and biases.
inline Packed::Found packed_of(Values layers) {
    static Packed kept;
    const Sources sources = sources_of(layers);
    if (auto found = kept.find(sources)) return *found;
    const std::vector<Tensor> made = pack("fxcompress::packed_linears", layers);
    long features = 0, outputs = 0;
    for (const IValue& weight : layers[0].toListRef())
        features = weight.toTensor().size(1), outputs += weight.toTensor().size(0);
    const Weights structure = structure_of(made, features, outputs);
    kept.keep(sources, made, structure);
    return {c10::SmallVector<Tensor, 6>(made.begin(), made.end()), structure};
}

// Whether there is a kernel for rows like these, and somebody to calculate them for.
inline bool serves(const Rows& rows, Values layers) {
    const auto weights = layers[0].toListRef();
    if (rows.count == 0 || rows.features % 4 || weights.empty()) return false;
    for (const IValue& weight : weights)
        if (!is(weight, at::kChar) || weight.toTensor().dim() != 2 || weight.toTensor().size(1) != rows.features)
            return false;
    return true;
}

inline void multiply(const Tokens& tokens, const Rows& rows, const Weights& weights, const Behind& behind) {
    fxc_linear(&tokens, rows.count, &weights, &behind, at::get_num_threads());
}

// input, weights, scales, biases, backend
inline bool linear_dynamic(Stack& stack) {
    const Values given = torch::jit::last(stack, 5);
    if (!is(given[0], at::kFloat) || given[0].toTensor().dim() == 0) return false;
    const Rows rows(given[0].toTensor());
    const Values layers = given.slice(1, 3);
    if (!serves(rows, layers)) return false;
    const auto weights = packed_of(layers);
    Results tokens(rows, rows.features), results(rows, weights.structure.outputs);
    Behind rounding{}, behind{};
    tokens.add_tokens(rounding);
    fxc_rows(rows.tensor.const_data_ptr<float>(), rows.count, rows.features, &rounding, at::get_num_threads());
    behind.out = results.floats();
    multiply({rounding.bytes, rounding.scales, rounding.zeros, 1}, rows, weights.structure, behind);
    replace(stack, 5, std::move(results.made[0]));
    return true;
}

// Weights of 8 bits as floats, and where there are biases these.
inline c10::SmallVector<Tensor, 6> floats_of(Values layers) {
    static Memo<std::monostate> kept;
    const Sources sources = sources_of(layers);
    if (auto found = kept.find(sources)) return std::move(found->tensors);
    const std::vector<Tensor> made = pack("fxcompress::float_linears", layers);
    kept.keep(sources, made, {});
    return {made.begin(), made.end()};
}

// input, weights, scales, biases, backend: in floats
inline bool linear_weight_only(Stack& stack) {
    const Values given = torch::jit::last(stack, 5);
    if (!is(given[0], at::kFloat) || given[0].toTensor().dim() == 0) return false;
    // What is lowered does not train.
    const at::AutoDispatchBelowADInplaceOrView guard;
    const auto made = floats_of(given.slice(1, 3));
    const auto bias = made.size() > 1 ? std::optional<Tensor>(made[1]) : std::nullopt;
    replace(stack, 5, at::linear(given[0].toTensor().contiguous(), made[0], bias));
    return true;
}

// input, scale, zero, weights, scales, biases, post, output_scale, output_zero, backend
inline bool linear_static(Stack& stack) {
    const Values given = torch::jit::last(stack, 10);
    if (!is(given[0], at::kByte) || given[0].toTensor().dim() == 0) return false;
    const Rows rows(given[0].toTensor());
    const Values layers = given.slice(3, 3);
    const auto post = post_named(given[6].toStringView());
    if (!post || !serves(rows, layers)) return false;
    const auto weights = packed_of(layers);
    Results results(rows, weights.structure.outputs);
    Behind behind{};
    behind.post = *post;
    if (given[7].isNone()) {
        behind.out = results.floats();
    } else {
        behind.fixed_scale = (float)given[7].toDouble(), behind.fixed_zero = (int32_t)given[8].toInt();
        behind.bytes = results.bytes();
    }
    const float scale = (float)given[1].toDouble();
    const int32_t zero = (int32_t)given[2].toInt();
    multiply({rows.tensor.const_data_ptr<uint8_t>(), &scale, &zero, 0}, rows, weights.structure, behind);
    replace(stack, 10, std::move(results.made[0]));
    return true;
}

// values, token_scales, token_zeros, weights, scales, biases, the seven of `Tail` with outputs, backend
inline bool linear_tokens(Stack& stack) {
    const Values given = torch::jit::last(stack, 14);
    if (!is(given[0], at::kByte) || !is(given[1], at::kFloat) || !is(given[2], at::kInt)) return false;
    if (given[0].toTensor().dim() == 0) return false;
    const Rows rows(given[0].toTensor());
    const Values layers = given.slice(3, 3);
    const Tensor scales = given[1].toTensor().contiguous(), zeros = given[2].toTensor().contiguous();
    Tail tail;
    if (!serves(rows, layers) || scales.numel() != rows.count || zeros.numel() != rows.count) return false;
    if (!tail.read(given.slice(6, 6))) return false;
    const auto weights = packed_of(layers);
    Results results(rows, weights.structure.outputs);
    if (!tail.make(given[12].toListRef(), results)) return false;
    const Tokens tokens{rows.tensor.const_data_ptr<uint8_t>(), scales.const_data_ptr<float>(),
                        zeros.const_data_ptr<int32_t>(), rows.count > 1};
    multiply(tokens, rows, weights.structure, tail.behind);
    replace(stack, 14, std::move(results.made));
    return true;
}

// input, the seven of `Tail` with outputs, backend
inline bool finish_rows(Stack& stack) {
    const Values given = torch::jit::last(stack, 9);
    if (!is(given[0], at::kFloat) || given[0].toTensor().dim() == 0) return false;
    const Rows rows(given[0].toTensor());
    Tail tail;
    if (rows.count == 0 || !tail.read(given.slice(1, 6))) return false;
    Results results(rows, rows.features);
    if (!tail.make(given[7].toListRef(), results)) return false;
    fxc_rows(rows.tensor.const_data_ptr<float>(), rows.count, rows.features, &tail.behind, at::get_num_threads());
    replace(stack, 9, std::move(results.made));
    return true;
}

}  // namespace fxc

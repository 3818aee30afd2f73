// What stands behind a product, read from the arguments of an operator, and the tensors that it gives.
#pragma once
#include <ATen/EmptyTensor.h>

#include "kept.h"
#include "linear.h"

namespace fxc {

inline Tensor empty(c10::IntArrayRef sizes, at::ScalarType dtype) {
    return Tensor(at::detail::empty_cpu(sizes, at::TensorOptions(dtype)));
}

// Whether it is a tensor of this dtype on the CPU.
inline bool is(const IValue& value, at::ScalarType dtype) {
    return value.isTensor() && value.toTensor().scalar_type() == dtype && value.toTensor().is_cpu();
}

inline std::optional<int> post_named(std::string_view name) {
    constexpr std::string_view names[] = {"none", "relu", "gelu", "gelu_tanh", "silu"};
    for (int i = 0; i < 5; i++)
        if (name == names[i]) return i;
    return std::nullopt;
}

inline std::optional<int> norm_named(std::string_view name) {
    constexpr std::string_view names[] = {"none", "layer", "rms"};
    for (int i = 0; i < 3; i++)
        if (name == names[i]) return i;
    return std::nullopt;
}

// Rows of [..., features]: the leading axes, how many rows they are, and contiguous memory.
struct Rows {
    explicit Rows(const Tensor& given)
        : tensor(given.is_contiguous() ? given : given.contiguous()),
          leading(given.sizes().slice(0, given.dim() - 1)),
          features(given.sizes().back()),
          count(features ? given.numel() / features : 0) {}

    Tensor tensor;
    c10::SmallVector<int64_t, 5> leading;
    long features, count;
};

// The results of [leading, count] that `behind` points to.
class Results {
public:
    Results(const Rows& rows, long count) : leading(rows.leading), whole(rows.leading) { whole.push_back(count); }

    float* floats() { return add(whole, at::kFloat).mutable_data_ptr<float>(); }
    uint8_t* bytes() { return add(whole, at::kByte).mutable_data_ptr<uint8_t>(); }
    void add_tokens(Behind& behind) {
        behind.bytes = bytes();
        behind.scales = add(leading, at::kFloat).mutable_data_ptr<float>();
        behind.zeros = add(leading, at::kInt).mutable_data_ptr<int32_t>();
    }

    std::vector<Tensor> made;

private:
    Tensor& add(c10::IntArrayRef sizes, at::ScalarType dtype) { return made.emplace_back(empty(sizes, dtype)); }

    c10::SmallVector<int64_t, 5> leading, whole;
};

// The arguments from `post` to `outputs`, which linear_tokens and finish_rows share. False where Python has to look.
class Tail {
public:
    Behind behind{};

    bool read(Values values) {
        const auto post = post_named(values[0].toStringView()), norm = norm_named(values[2].toStringView());
        if (!post || !norm) return false;
        behind.post = *post, behind.norm = *norm, behind.eps = (float)values[5].toDouble();
        return take(values[1], behind.residual) && take(values[3], behind.norm_weight) &&
               take(values[4], behind.norm_bias);
    }

    bool make(Values outputs, Results& results) {
        for (const IValue& output : outputs) {
            const auto name = output.toStringView();
            if (name == "sum")
                behind.sum = results.floats();
            else if (name == "out")
                behind.out = results.floats();
            else if (name == "tokens")
                results.add_tokens(behind);
            else
                return false;
        }
        return true;
    }

private:
    bool take(const IValue& value, const float*& into) {
        if (value.isNone()) return true;
        if (!is(value, at::kFloat)) return false;
        into = held.emplace_back(value.toTensor().contiguous()).const_data_ptr<float>();
        return true;
    }

    c10::SmallVector<Tensor, 3> held;
};

}  // namespace fxc

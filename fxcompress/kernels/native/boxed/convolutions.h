// Convolution and pooling of images of bytes by the native kernels.
#pragma once
#include "images.h"
#include "linears.h"
#include "pooling.h"

extern "C" {
void fxc_convolution(const fxc::Convolution*, const fxc::Weights*, const fxc::Behind*, int threads);
void fxc_convolve_each(const fxc::Convolution*, const fxc::Weights*, const fxc::Behind*, int threads);
void fxc_round_images(const fxc::Images*, int threads);
void fxc_convolve_and_pool(const fxc::Convolution*, const fxc::Weights*, const fxc::Behind*, const fxc::Pooling*,
                           int threads);
void fxc_max_pool(const fxc::Pooling*, int threads);
}

namespace fxc {

// Images of fewer channels may lie in planes: they are copied into pixels anyhow.
constexpr long PLANES = 4;
// A group with fewer outputs leaves most of a vector idle.
constexpr long FEWEST_OUTPUTS = 8;

// A new image whose channels stand side by side.
inline Tensor empty_image(long batch, long channels, long height, long width, at::ScalarType dtype) {
    const int64_t sizes[] = {batch, channels, height, width};
    const int64_t strides[] = {height * width * channels, 1, width * channels, channels};
    return Tensor(at::detail::empty_strided_cpu(sizes, strides, dtype));
}

inline Tensor channels_last(const Tensor& image) { return image.contiguous(at::MemoryFormat::ChannelsLast); }

// Numbers for the axes of an image, or one for both.
struct Pair {
    explicit Pair(const IValue& value) : numbers(value.toDimVector()) {}
    long operator[](int axis) const { return numbers[numbers.size() > 1 ? axis : 0]; }
    c10::DimVector numbers;
};

// Where a window stands at most along an axis.
inline long places(long size, long window, long stride, long padding, long dilation) {
    return (size + 2 * padding - dilation * (window - 1) - 1) / stride + 1;
}

inline Weights structure_of(const std::vector<Tensor>& packed, const Convolution& c, long outputs) {
    return structure_of(packed, c.taps() * c.run(), outputs / c.groups);
}

// The packed weights of a convolution: weight, scales and bias.
inline Packed::Found packed_of(Values layer, const Convolution& c) {
    static Packed kept;
    Sources sources;
    for (const IValue& value : layer) sources.add(value);
    sources.numbers = {(double)c.groups, (double)c.merged()};
    if (auto found = kept.find(sources)) return *found;
    const std::vector<Tensor> made =
        pack("fxcompress::packed_convolution", {layer[0], layer[1], layer[2], (int64_t)c.groups, c.merged()});
    const Weights structure = structure_of(made, c, layer[0].toTensor().size(0));
    kept.keep(sources, made, structure);
    return {c10::SmallVector<Tensor, 6>(made.begin(), made.end()), structure};
}

// What stands behind a convolution: post, residual, its scale and zero point, late post, scale and zero point of bytes.
class ImageTail {
public:
    Behind behind{};

    bool read(Values values, const Tensor& made) {
        const auto post = post_named(values[0].toStringView()), late_post = post_named(values[4].toStringView());
        if (!post || !late_post) return false;
        behind.post = *post, behind.late_post = *late_post;
        if (values[5].isNone()) {
            behind.out = made.mutable_data_ptr<float>();
        } else {
            behind.fixed_scale = (float)values[5].toDouble(), behind.fixed_zero = (int32_t)values[6].toInt();
            behind.bytes = made.mutable_data_ptr<uint8_t>();
        }
        return values[1].isNone() || take(values[1], values.slice(2, 2), made);
    }

private:
    bool take(const IValue& value, Values steps, const Tensor& made) {
        const bool bytes = is(value, at::kByte);
        if (!(bytes || is(value, at::kFloat)) || value.toTensor().sizes() != made.sizes()) return false;
        residual = channels_last(value.toTensor());
        if (!bytes) {
            behind.residual = residual.const_data_ptr<float>();
            return true;
        }
        behind.residual_bytes = residual.const_data_ptr<uint8_t>();
        behind.residual_scale = (float)steps[0].toDouble(), behind.residual_zero = (int32_t)steps[1].toInt();
        return true;
    }

    Tensor residual;
};

// Whether the layer is one of the kernels' for such an image.
inline bool serves(const IValue& image, Values layer, long groups) {
    if (!is(image, at::kByte) || !is(layer[0], at::kChar) || !is(layer[1], at::kFloat)) return false;
    const Tensor &given = image.toTensor(), &weight = layer[0].toTensor();
    if (given.dim() != 4 || weight.dim() != 4 || given.numel() == 0 || weight.numel() == 0) return false;
    return groups == 1 || weight.size(0) / groups >= FEWEST_OUTPUTS;
}

// An image, and the layer that convolves it.
struct ConvolutionCall {
    Tensor image;
    Convolution structure;
    Packed::Found weights;
    long outputs;

    Tensor empty_result(at::ScalarType dtype) const {
        return empty_image(structure.batch, outputs, structure.out_height, structure.out_width, dtype);
    }
};

// Read the ten arguments from `input` to `groups`; the image has steps of `scale` above `zero`, or each image its own.
inline std::optional<ConvolutionCall> read_convolution(Values given, const float* scale, const int32_t* zero) {
    const Values layer = given.slice(3, 3);
    const long groups = given[9].toInt();
    if (!serves(given[0], layer, groups)) return std::nullopt;
    const Pair stride(given[6]), padding(given[7]), dilation(given[8]);
    const Tensor &weight = layer[0].toTensor(), &whole = given[0].toTensor();
    const Tensor image = whole.size(1) < PLANES ? whole : channels_last(whole);
    const long batch = image.size(0), height = image.size(2), width = image.size(3);
    const long tall = places(height, weight.size(2), stride[0], padding[0], dilation[0]);
    const long broad = places(width, weight.size(3), stride[1], padding[1], dilation[1]);
    if (tall <= 0 || broad <= 0 || weight.size(1) * groups != image.size(1)) return std::nullopt;
    const Convolution structure{
        image.const_data_ptr<uint8_t>(),
        scale,
        zero,
        batch,
        height,
        width,
        image.size(1),
        tall,
        broad,
        weight.size(2),
        weight.size(3),
        stride[0],
        stride[1],
        padding[0],
        padding[1],
        dilation[0],
        dilation[1],
        groups,
        image.stride(0),
        image.stride(2),
        image.stride(3),
        image.stride(1),
    };
    return ConvolutionCall{image, structure, packed_of(layer, structure), weight.size(0)};
}

// The whole of a convolution, of 18 arguments.
inline bool convolve(Stack& stack, const float* scale, const int32_t* zero, decltype(fxc_convolution) run) {
    const Values given = torch::jit::last(stack, 18);
    const auto call = read_convolution(given.slice(0, 10), scale, zero);
    if (!call) return false;
    Tensor made = call->empty_result(given[15].isNone() ? at::kFloat : at::kByte);
    ImageTail tail;
    if (!tail.read(given.slice(10, 7), made)) return false;
    run(&call->structure, &call->weights.structure, &tail.behind, at::get_num_threads());
    replace(stack, 18, std::move(made));
    return true;
}

// input, scale, zero, weight, scales, bias, stride, padding, dilation, groups, the seven of `ImageTail`, backend
inline bool conv_static(Stack& stack) {
    const Values given = torch::jit::last(stack, 18);
    const float scale = (float)given[1].toDouble();
    const int32_t zero = (int32_t)given[2].toInt();
    return convolve(stack, &scale, &zero, fxc_convolution);
}

// input, image_scales, image_zeros, and the rest of `conv_static`
inline bool conv_dynamic(Stack& stack) {
    const Values given = torch::jit::last(stack, 18);
    if (!is(given[0], at::kByte) || !is(given[1], at::kFloat) || !is(given[2], at::kInt)) return false;
    const Tensor scales = given[1].toTensor().contiguous(), zeros = given[2].toTensor().contiguous();
    const long batch = given[0].toTensor().dim() == 4 ? given[0].toTensor().size(0) : -1;
    if (scales.numel() != batch || zeros.numel() != batch) return false;
    return convolve(stack, scales.const_data_ptr<float>(), zeros.const_data_ptr<int32_t>(), fxc_convolve_each);
}

// input, backend
inline bool round_images(Stack& stack) {
    const Values given = torch::jit::last(stack, 2);
    if (!is(given[0], at::kFloat) || given[0].toTensor().dim() != 4 || !given[0].toTensor().numel()) return false;
    const bool planes = given[0].toTensor().is_contiguous();
    const Tensor image = planes ? given[0].toTensor() : channels_last(given[0].toTensor());
    const long batch = image.size(0), channels = image.size(1), height = image.size(2), width = image.size(3);
    const bool turned = planes && channels >= PLANES;
    Tensor bytes =
        turned || !planes ? empty_image(batch, channels, height, width, at::kByte) : empty(image.sizes(), at::kByte);
    Tensor scales = empty({batch}, at::kFloat), zeros = empty({batch}, at::kInt);
    const Images images{image.const_data_ptr<float>(),
                        bytes.mutable_data_ptr<uint8_t>(),
                        scales.mutable_data_ptr<float>(),
                        zeros.mutable_data_ptr<int32_t>(),
                        batch,
                        height * width,
                        channels,
                        turned};
    fxc_round_images(&images, at::get_num_threads());
    torch::jit::drop(stack, 2);
    torch::jit::push(stack, std::move(bytes), std::move(scales), std::move(zeros));
    return true;
}

// How a window moves over an image, and what the maxima of its places are written to.
struct PoolingCall {
    Tensor made;
    Pooling structure;
};

// Read kernel, stride, padding and dilation.
inline std::optional<PoolingCall> read_pooling(Values given, long batch, long channels, long height, long width) {
    const Pair window(given[0]), stride(given[1]), padding(given[2]), dilation(given[3]);
    const long tall = places(height, window[0], stride[0], padding[0], dilation[0]);
    const long broad = places(width, window[1], stride[1], padding[1], dilation[1]);
    if (tall <= 0 || broad <= 0) return std::nullopt;
    Tensor made = empty_image(batch, channels, tall, broad, at::kByte);
    const Pooling structure{
        nullptr,     made.mutable_data_ptr<uint8_t>(),
        batch,       height,
        width,       channels,
        tall,        broad,
        window[0],   window[1],
        stride[0],   stride[1],
        padding[0],  padding[1],
        dilation[0], dilation[1],
    };
    return PoolingCall{std::move(made), structure};
}

// input, kernel, stride, padding, dilation
inline bool max_pool_u8(Stack& stack) {
    const Values given = torch::jit::last(stack, 5);
    if (!is(given[0], at::kByte) || given[0].toTensor().dim() != 4) return false;
    const Tensor image = channels_last(given[0].toTensor());
    auto pooling = read_pooling(given.slice(1, 4), image.size(0), image.size(1), image.size(2), image.size(3));
    if (!pooling) return false;
    pooling->structure.image = image.const_data_ptr<uint8_t>();
    fxc_max_pool(&pooling->structure, at::get_num_threads());
    replace(stack, 5, std::move(pooling->made));
    return true;
}

// The ten of a convolution, post, output_scale, output_zero, the four of a pooling, backend
inline bool conv_pool_static(Stack& stack) {
    const Values given = torch::jit::last(stack, 18);
    const float scale = (float)given[1].toDouble();
    const int32_t zero = (int32_t)given[2].toInt();
    const auto post = post_named(given[10].toStringView());
    const auto call = read_convolution(given.slice(0, 10), &scale, &zero);
    if (!post || !call) return false;
    const Convolution& c = call->structure;
    auto pooling = read_pooling(given.slice(13, 4), c.batch, call->outputs, c.out_height, c.out_width);
    if (!pooling) return false;
    Behind behind{};
    behind.post = *post, behind.fixed_scale = (float)given[11].toDouble(),
    behind.fixed_zero = (int32_t)given[12].toInt();
    fxc_convolve_and_pool(&c, &call->weights.structure, &behind, &pooling->structure, at::get_num_threads());
    replace(stack, 18, std::move(pooling->made));
    return true;
}

}  // namespace fxc

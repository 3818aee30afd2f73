// Linears of tokens with all that stands behind: activation function, residual, norm, and quantization of the result.
#pragma once
#include <memory>

#include "products.h"
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
};

inline void finish_row(float* row, long index, long count, const Behind& behind) {
    activate(row, count, behind.post);
    if (behind.residual) add(row, behind.residual + index * count, count);
    if (behind.sum) memcpy(behind.sum + index * count, row, count * sizeof(float));
    if (behind.norm != NO_NORM)
        normalize(row, count, behind.norm, behind.norm_weight, behind.norm_bias, behind.eps);
    if (behind.out) memcpy(behind.out + index * count, row, count * sizeof(float));
    if (!behind.bytes) return;
    uint8_t* bytes = behind.bytes + index * count;
    if (behind.fixed_scale != 0)
        round_row(row, count, bytes, behind.fixed_scale, behind.fixed_zero);
    else
        quantize_row(row, count, bytes, behind.scales + index, behind.zeros + index);
}

// Rows are calculated a block at a time, so that what is done behind the product finds them in the cache.
constexpr long BLOCK = 32;

inline void block_columns(const Tokens& tokens, long begin, long rows, const Weights& weights, long column, float* block) {
    const long wide = weights.wide();
    int vectors = (int)std::min<long>(VECTORS, (wide - column) / WIDTH);
    for (long r = 0; r < rows; r += ROWS) {
        Tokens here = tokens.from(begin + r, weights.features);
        with_sizes((int)std::min<long>(ROWS, rows - r), vectors, BytesTile{here, weights, column, block + r * wide + column, wide});
    }
}

// One block in the hands of one thread.
inline void linear_block(const Tokens& tokens, long begin, long rows, const Weights& weights, const Behind& behind, float* block) {
    const long wide = weights.wide();
    for (long column = 0; column < wide; column += PANEL) block_columns(tokens, begin, rows, weights, column, block);
    for (long r = 0; r < rows; r++) finish_row(block + r * wide, begin + r, weights.outputs, behind);
}

inline void linear(const Tokens& tokens, long rows, const Weights& weights, const Behind& behind, int threads) {
    const long wide = weights.wide();
    // Fewer rows a block where there would be too few blocks for all threads.
    const long block = std::clamp(rounded_up((rows + threads - 1) / threads, ROWS), (long)ROWS, BLOCK);
    const bool by_rows = threads == 1 || rows >= ROWS * threads;
    if (by_rows) {
#pragma omp parallel num_threads(threads) if (threads > 1)
        {
            std::unique_ptr<float[]> mine(new float[block * wide]);
#pragma omp for schedule(static)
            for (long begin = 0; begin < rows; begin += block)
                linear_block(tokens, begin, std::min(block, rows - begin), weights, behind, mine.get());
        }
        return;
    }
    std::unique_ptr<float[]> shared(new float[rows * wide]);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long column = 0; column < wide; column += PANEL) block_columns(tokens, 0, rows, weights, column, shared.get());
    for (long r = 0; r < rows; r++) finish_row(shared.get() + r * wide, r, weights.outputs, behind);
}

}  // namespace fxc

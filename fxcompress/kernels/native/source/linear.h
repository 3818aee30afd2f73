// Linears of tokens with all that stands behind: activation function, residual, norm, and quantization of the result.
#pragma once
#include <memory>
#include <vector>

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
    // A residual of bytes, and the activation function behind a residual.
    const uint8_t* residual_bytes;
    float residual_scale;
    int32_t residual_zero;
    int late_post;
};

inline void finish_row(float* row, long index, long count, const Behind& behind) {
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

// Rows are calculated a block at a time, so that what is done behind the product finds them in the cache. Weights
// that do not stay in the cache are read anew for every block: then blocks are larger.
constexpr long BLOCK = 32, LARGEST_BLOCK = 128, CACHED = 1 << 18;

inline long block_of(long rows, const Weights& weights, int threads) {
    const long most = weights.wide() * weights.features > CACHED ? LARGEST_BLOCK : BLOCK;
    const long blocks = std::max(rounded_up((rows + most - 1) / most, threads), 1l);
    return std::clamp(rounded_up((rows + blocks - 1) / blocks, ROWS), (long)ROWS, most);
}

inline void block_columns(const Tokens& tokens, long begin, long rows, const Weights& weights, long column, int vectors,
                          float* block) {
    const long wide = weights.wide(), tall = even(rows);
    for (long r = 0; r < rows; r += tall) {
        Tokens here = tokens.from(begin + r, weights.features);
        with_sizes((int)std::min(tall, rows - r), vectors,
                   BytesTile{here, weights, column, block + r * wide + column, wide});
    }
}

// One block in the hands of one thread.
inline void linear_block(const Tokens& tokens, long begin, long rows, const Weights& weights, const Behind& behind,
                         float* block) {
    const long wide = weights.wide();
    for (long column = 0; column < wide;) {
        int vectors = next_panel((wide - column) / WIDTH);
        block_columns(tokens, begin, rows, weights, column, vectors, block);
        column += vectors * WIDTH;
    }
    finish_rows(block, wide, begin, rows, weights.outputs, behind);
}

// Where the panels begin.
inline std::vector<long> panel_columns(long wide) {
    std::vector<long> columns;
    for (long column = 0; column < wide; column += next_panel((wide - column) / WIDTH) * WIDTH)
        columns.push_back(column);
    return columns;
}

// Few rows: each thread has some of the columns, and one of them does the rest.
inline void linear_by_columns(const Tokens& tokens, long rows, const Weights& weights, const Behind& behind,
                              int threads) {
    const long wide = weights.wide();
    const std::vector<long> columns = panel_columns(wide);
    std::unique_ptr<float[]> block(new float[rows * wide]);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < columns.size(); i++)
        block_columns(tokens, 0, rows, weights, columns[i], next_panel((wide - columns[i]) / WIDTH), block.get());
    finish_rows(block.get(), wide, 0, rows, weights.outputs, behind);
}

inline void linear(const Tokens& tokens, long rows, const Weights& weights, const Behind& behind, int threads) {
    if (threads > 1 && rows < ROWS * threads) return linear_by_columns(tokens, rows, weights, behind, threads);
    const long block = block_of(rows, weights, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::unique_ptr<float[]> mine(new float[block * weights.wide()]);
#pragma omp for schedule(static)
        for (long begin = 0; begin < rows; begin += block)
            linear_block(tokens, begin, std::min(block, rows - begin), weights, behind, mine.get());
    }
}

}  // namespace fxc

// Linears of tokens with all that stands behind: activation function, residual, norm, and quantization of the result.
#pragma once
#include <limits>
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

// Whether all that stands behind the product can be done number by number, from bytes to bytes.
inline bool bytes_alone(const Behind& behind) {
    const bool simple = behind.post <= RELU && behind.late_post <= RELU && !behind.residual;
    return simple && behind.norm == NO_NORM && behind.bytes && behind.fixed_scale != 0 && !behind.sum && !behind.out;
}

// The same as `finish_row` in one pass; a relu is the larger of a number and `least`, which is 0 or the least there is.
template <bool ADDED>
void finish_bytes(const float* row, long index, long count, const Behind& behind) {
    const float lowest = -std::numeric_limits<float>::infinity();
    const Floats least = all(behind.post == RELU ? 0 : lowest), late_least = all(behind.late_post == RELU ? 0 : lowest);
    const float inverse = 1.0f / behind.fixed_scale, scale = behind.residual_scale;
    const float offset = -scale * (float)behind.residual_zero;
    const uint8_t* added = behind.residual_bytes + index * count;
    uint8_t* bytes = behind.bytes + index * count;
    auto finish = [&](Floats x, __m128i other) {
        x = larger(x, least);
        if (ADDED) x = x + floats_of(other) * scale + offset;
        return rounded(larger(x, late_least), inverse, behind.fixed_zero);
    };
    long i = 0;
    for (; i + WIDTH <= count; i += WIDTH) {
        const __m128i other = ADDED ? _mm_loadu_si128((const __m128i*)(added + i)) : __m128i{};
        _mm_storeu_si128((__m128i*)(bytes + i), finish(load(row + i), other));
    }
    if (i == count) return;
    const __mmask16 rest = first(count - i);
    const __m128i other = ADDED ? _mm_maskz_loadu_epi8(rest, added + i) : __m128i{};
    _mm_mask_storeu_epi8(bytes + i, rest, finish(load_first(row + i, count - i), other));
}

inline void finish_row(float* row, long index, long count, const Behind& behind) {
    if (bytes_alone(behind))
        return behind.residual_bytes ? finish_bytes<true>(row, index, count, behind)
                                     : finish_bytes<false>(row, index, count, behind);
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

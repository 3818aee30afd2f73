// Products of floats with weights of 4 bits, which have a scale and a shift for each group of features.
#pragma once
#include "linear.h"

namespace fxc {

// In a panel two features of sixteen outputs are sixteen bytes, the first in the low digits. A weight is
// `digit * scale + shift`, with scales and shifts as [features / group, outputs filled up].
struct GroupWeights {
    const uint8_t* panels;
    const float *scales, *shifts, *bias;
    long features, outputs, group;

    long wide() const { return rounded_up(outputs, WIDTH); }
    int vectors_at(long column) const { return next_floats((wide() - column) / WIDTH); }
};

// Features at a time: with their weights as floats they stay in the nearest cache.
constexpr long CHUNK = 128;

inline void pack_digits(const int8_t* weight, long outputs, long features, uint8_t* panels) {
    const long wide = rounded_up(outputs, WIDTH);
    for (long column = 0, width; column < wide; column += width) {
        width = next_floats((wide - column) / WIDTH) * WIDTH;
        uint8_t* to = panels + column * features / 2;
        for (long f = 0; f < features; f += 2)
            for (long c = column; c < column + width; c++) {
                const int8_t* from = weight + c * features + f;
                *to++ = c < outputs ? (uint8_t)((from[0] + 8) | (from[1] + 8) << 4) : 0;
            }
    }
}

// Sixteen bytes as the floats of their low and of their high digits.
inline void digits_at(const uint8_t* from, Floats& first, Floats& second) {
    const __m128i low = _mm_set1_epi8(15), both = _mm_loadu_si128((const __m128i*)from);
    first = (Floats)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(both, low)));
    second = (Floats)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16(both, 4), low)));
}

// The weights of one chunk of a panel, as [features, vectors].
inline void spread_digits(const GroupWeights& weights, long column, int vectors, long begin, long end, float* floats) {
    const long width = vectors * WIDTH, wide = weights.wide();
    const uint8_t* from = weights.panels + column * weights.features / 2 + begin / 2 * width;
    for (long f = begin; f < end;) {
        const long group = f / weights.group, stop = std::min(end, (group + 1) * weights.group);
        Floats scale[VECTORS], shift[VECTORS];
        for (int v = 0; v < vectors; v++) {
            scale[v] = load(weights.scales + group * wide + column + v * WIDTH);
            shift[v] = load(weights.shifts + group * wide + column + v * WIDTH);
        }
        for (; f < stop; f += 2, floats += 2 * width)
            for (int v = 0; v < vectors; v++, from += WIDTH) {
                Floats first, second;
                digits_at(from, first, second);
                store(floats + v * WIDTH, first * scale[v] + shift[v]);
                store(floats + width + v * WIDTH, second * scale[v] + shift[v]);
            }
    }
}

// One row: digits are summed up a group at a time, and nothing is written in between.
template <int V>
void group_row(const float* row, const GroupWeights& weights, long column, float* results) {
    const long wide = weights.wide();
    const uint8_t* from = weights.panels + column * weights.features / 2;
    Floats sums[V];
    UNROLL for (int v = 0; v < V; v++) sums[v] = load(weights.bias + column + v * WIDTH);
    for (long f = 0; f < weights.features;) {
        const long group = f / weights.group, stop = f + weights.group;
        Floats even[V] = {}, odd[V] = {};
        float total = 0;
        for (; f < stop; f += 2) {
            total += row[f] + row[f + 1];
            UNROLL for (int v = 0; v < V; v++, from += WIDTH) {
                Floats first, second;
                digits_at(from, first, second);
                even[v] += first * row[f];
                odd[v] += second * row[f + 1];
            }
        }
        UNROLL for (int v = 0; v < V; v++) {
            const long at = group * wide + column + v * WIDTH;
            sums[v] += (even[v] + odd[v]) * load(weights.scales + at) + load(weights.shifts + at) * total;
        }
    }
    UNROLL for (int v = 0; v < V; v++) store(results + column + v * WIDTH, sums[v]);
}

inline void group_panel(const float* input, long rows, const GroupWeights& weights, long column, float* results) {
    const long wide = weights.wide();
    const int vectors = next_floats((wide - column) / WIDTH);
    if (rows == 1) {
        const auto one = vectors == 1 ? group_row<1> : vectors == 2 ? group_row<2> : group_row<3>;
        return one(input, weights, column, results);
    }
    float floats[CHUNK * VECTORS * WIDTH];
    for (long r = 0; r < rows; r++)
        memcpy(results + r * wide + column, weights.bias + column, vectors * WIDTH * sizeof(float));
    for (long begin = 0; begin < weights.features; begin += CHUNK) {
        const long end = std::min(begin + CHUNK, weights.features);
        spread_digits(weights, column, vectors, begin, end, floats);
        for (long r = 0, tall; r < rows; r += tall) {
            tall = next_rows(rows - r, vectors);
            const float* left = input + r * weights.features + begin;
            FloatsTile tile{
                left, weights.features, floats, vectors * WIDTH, end - begin, results + r * wide + column, wide, true};
            with_sizes((int)tall, vectors, tile);
        }
    }
}

inline void group_linear(const float* input, long rows, const GroupWeights& weights, const Behind& behind,
                         int threads) {
    const long wide = weights.wide();
    const std::vector<long> columns = panel_columns(weights);
    std::unique_ptr<float[]> results(new float[rows * wide]);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < columns.size(); i++) group_panel(input, rows, weights, columns[i], results.get());
    finish_rows(results.get(), wide, 0, rows, weights.outputs, behind);
}

}  // namespace fxc

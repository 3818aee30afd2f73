// Linears of tokens with all that stands behind: activation function, residual, norm, and quantization of the result.
#pragma once
#include <memory>
#include <vector>

#include "products.h"

namespace fxc {

// Rows are calculated a block at a time, so that what is done behind the product finds them in the cache. Weights
// that do not stay in the cache are read anew for every block: then blocks are larger, as they are where nothing is
// left to do behind a tile.
constexpr long BLOCK = 32, LARGEST_BLOCK = 128, CACHED = 1 << 18;

inline long block_of(long rows, const Weights& weights, const Behind& behind, int threads) {
    const bool large = weights.wide() * weights.features > CACHED || Straight::serves(behind);
    const long most = large ? LARGEST_BLOCK : BLOCK;
    const long blocks = std::max(rounded_up((rows + most - 1) / most, threads), 1l);
    return std::clamp(rounded_up((rows + blocks - 1) / blocks, ROWS), (long)ROWS, most);
}

inline void block_columns(const Tokens& tokens, long begin, long rows, const Weights& weights, long column, int vectors,
                          const TileOutput& results) {
    for (long r = 0, tile = 0, tall; r < rows; r += tall, tile++) {
        tall = next_rows(rows - r, vectors);
        const Tokens here = tokens.from(begin + r, weights.features);
        const Ahead ahead = ahead_of(weights, column, vectors, tile);
        with_sizes((int)tall, vectors, BytesTile{here, weights, column, ahead, results.at(r, column)});
    }
}

// One block in the hands of one thread.
inline void linear_block(const Tokens& tokens, long begin, long rows, const Weights& weights, const Block& block) {
    for (long column = 0; column < weights.wide();) {
        int vectors = weights.vectors_at(column);
        block_columns(tokens, begin, rows, weights, column, vectors, block.results(begin));
        column += vectors * WIDTH;
    }
    block.finish(begin, rows);
}

// Where the panels begin.
template <class Packed>
std::vector<long> panel_columns(const Packed& weights) {
    std::vector<long> columns;
    for (long column = 0; column < weights.wide(); column += weights.vectors_at(column) * WIDTH)
        columns.push_back(column);
    return columns;
}

// Few rows: each thread has some of the columns, and one of them does the rest.
inline void linear_by_columns(const Tokens& tokens, long rows, const Weights& weights, const Behind& behind,
                              int threads) {
    const std::vector<long> columns = panel_columns(weights);
    const Block block(behind, rows, weights.outputs, weights.wide());
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < columns.size(); i++)
        block_columns(tokens, 0, rows, weights, columns[i], weights.vectors_at(columns[i]), block.results(0));
    block.finish(0, rows);
}

inline void linear(const Tokens& tokens, long rows, const Weights& weights, const Behind& behind, int threads) {
    if (threads > 1 && rows < ROWS * threads) return linear_by_columns(tokens, rows, weights, behind, threads);
    const long most = block_of(rows, weights, behind, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const Block block(behind, most, weights.outputs, weights.wide());
#pragma omp for schedule(static)
        for (long begin = 0; begin < rows; begin += most)
            linear_block(tokens, begin, std::min(most, rows - begin), weights, block);
    }
}

}  // namespace fxc

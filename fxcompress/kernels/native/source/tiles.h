// The sizes of tiles: parts of a product whose sums stay in registers.
#pragma once
#include <algorithm>

#include "vectors.h"

namespace fxc {

// A tile is up to 8 rows by up to 3 vectors of sums, or 6 by 4: 24 of the 32 registers hold sums, the others weights
// and an activation.
constexpr int ROWS = 8, VECTORS = 3, WIDE_ROWS = 6, WIDE = 4;

constexpr int most_rows(int vectors) { return vectors == WIDE ? WIDE_ROWS : ROWS; }

// Vectors of the next panel of floats, of those that are left: a single one would leave most of the processor idle.
inline int next_floats(long left) { return left == 4 ? 2 : (int)std::min(left, (long)VECTORS); }
// The same of bytes.
inline int next_panel(long left) {
    if (left % VECTORS == 0 || left == VECTORS + 2) return VECTORS;
    return (int)std::min(left, (long)WIDE);
}
// Rows of the next tile, of those that are left, so that none is much smaller than the others: one row takes as long as
// four.
inline long next_rows(long left, int vectors) {
    const long tiles = (left + most_rows(vectors) - 1) / most_rows(vectors);
    return (left + tiles - 1) / tiles;
}

#define UNROLL _Pragma("GCC unroll 8")

// Call `tile.run_tile<M, V>()` for numbers known at run time only.
template <int V, int M = most_rows(V), class Tile>
void with_rows(int rows, const Tile& tile) {
    if constexpr (M > 1) {
        if (rows < M) return with_rows<V, M - 1>(rows, tile);
    }
    tile.template run_tile<M, V>();
}
template <int V = WIDE, class Tile>
void with_sizes(int rows, int vectors, const Tile& tile) {
    if constexpr (V > 1) {
        if (vectors < V) return with_sizes<V - 1>(rows, vectors, tile);
    }
    with_rows<V>(rows, tile);
}

}  // namespace fxc

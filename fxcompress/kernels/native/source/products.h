// Products of rows of bytes with 8-bit weights (VNNI), and of rows of floats, tile by tile.
#pragma once
#include <algorithm>

#include "vectors.h"

namespace fxc {

// A tile is up to 8 rows by up to 3 vectors of sums: 24 of the 32 registers hold sums, 3 weights and 1 an activation.
constexpr int ROWS = 8, VECTORS = 3;

// Vectors of the next panel, of those that are left: a single one would leave most of the processor idle.
inline int next_panel(long left) { return left == 4 ? 2 : (int)(left < VECTORS ? left : VECTORS); }
// Rows of a tile, so that the last tile of `rows` is hardly smaller than the others: one row takes as long as four.
inline long even(long rows) {
    const long tiles = (rows + ROWS - 1) / ROWS;
    return tiles ? (rows + tiles - 1) / tiles : ROWS;
}

#define UNROLL _Pragma("GCC unroll 8")

// The intrinsic makes gcc 12 keep the sums in memory.
inline void add_products(__m512i& sums, __m512i bytes, __m512i weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(bytes), "v"(weights));
}

// Weights of linears as panels of up to 48 outputs; in a panel four features of one output stand side by side.
//
// Of weights that are mostly zero the panels have `kept_vectors` each, and hold only the fours of features that are not
// zero for all of their outputs: panel p those at `fours[starts[p] .. starts[p + 1]]`. Else `starts` is null.
struct Weights {
    const int8_t* panels;
    const int32_t* sums;
    const float *scales, *bias;
    long features, outputs;
    const int32_t *fours, *starts;
    long kept_vectors;

    long wide() const { return rounded_up(outputs, WIDTH); }
    // Vectors of the panel that begins at `column`.
    int vectors_at(long column) const { return starts ? (int)kept_vectors : next_panel((wide() - column) / WIDTH); }
};

// Rows of bytes, each with its own step and zero point, or all with the first (`apart` is 1 or 0).
struct Tokens {
    const uint8_t* bytes;
    const float* scales;
    const int32_t* zeros;
    long apart;

    Tokens from(long row, long features) const {
        return {bytes + row * features, scales + row * apart, zeros + row * apart, apart};
    }
};

inline void pack(const int8_t* weight, long outputs, long features, int8_t* panels) {
    const long wide = rounded_up(outputs, WIDTH);
    for (long column = 0, width; column < wide; column += width) {
        width = next_panel((wide - column) / WIDTH) * WIDTH;
        int8_t* to = panels + column * features;
        for (long four = 0; four < features; four += 4)
            for (long c = column; c < column + width; c++)
                for (long f = four; f < four + 4; f++)
                    *to++ = c < outputs && f < features ? weight[c * features + f] : 0;
    }
}

// Float results of M tokens and V vectors of outputs. Zero points come off as integers: what is left may be small.
template <int M, int V, bool KEPT>
void bytes_tile(const Tokens& tokens, const Weights& weights, long column, float* out, long stride) {
    const long features = weights.features;
    __m512i sums[M][V];
    UNROLL for (int r = 0; r < M; r++) {
        __m512i zero = _mm512_set1_epi32(-tokens.zeros[r * tokens.apart]);
        UNROLL for (int v = 0; v < V; v++) sums[r][v] =
            _mm512_mullo_epi32(zero, _mm512_loadu_si512(weights.sums + column + v * WIDTH));
    }
    const long first = KEPT ? weights.starts[column / (V * WIDTH)] : 0;
    const long last = KEPT ? weights.starts[column / (V * WIDTH) + 1] : features / 4;
    const int8_t* panel = KEPT ? weights.panels + first * V * 64 : weights.panels + column * features;
    for (long i = first; i < last; i++, panel += V * 64) {
        const long f = KEPT ? weights.fours[i] : i * 4;
        __m512i these[V];
        UNROLL for (int v = 0; v < V; v++) these[v] = _mm512_loadu_si512(panel + v * 64);
        UNROLL for (int r = 0; r < M; r++) {
            int32_t four;
            memcpy(&four, tokens.bytes + r * features + f, 4);
            __m512i bytes = _mm512_set1_epi32(four);
            UNROLL for (int v = 0; v < V; v++) add_products(sums[r][v], bytes, these[v]);
        }
    }
    UNROLL for (int r = 0; r < M; r++) {
        UNROLL for (int v = 0; v < V; v++) {
            Floats x = (Floats)_mm512_cvtepi32_ps(sums[r][v]) * tokens.scales[r * tokens.apart];
            store(out + r * stride + v * WIDTH,
                  x * load(weights.scales + column + v * WIDTH) + load(weights.bias + column + v * WIDTH));
        }
    }
}

// M rows of `left` (a row every `left_stride` floats) times V vectors of columns of `right`, added to what is there.
template <int M, int V>
void floats_tile(const float* left, long left_stride, const float* right, long right_stride, long inner, float* out,
                 long stride, bool added) {
    __m512 sums[M][V];
    UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++) sums[r][v] =
        added ? _mm512_loadu_ps(out + r * stride + v * WIDTH) : _mm512_setzero_ps();
    for (long i = 0; i < inner; i++) {
        __m512 these[V];
        UNROLL for (int v = 0; v < V; v++) these[v] = _mm512_loadu_ps(right + i * right_stride + v * WIDTH);
        UNROLL for (int r = 0; r < M; r++) {
            __m512 value = _mm512_set1_ps(left[r * left_stride + i]);
            UNROLL for (int v = 0; v < V;
                        v++) asm("vfmadd231ps %2, %1, %0" : "+v"(sums[r][v]) : "v"(value), "v"(these[v]));
        }
    }
    UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++)
        _mm512_storeu_ps(out + r * stride + v * WIDTH, sums[r][v]);
}

// Call `tile.run_tile<M, V>()` for numbers known at run time only.
template <int V, class Tile>
void with_rows(int rows, Tile tile) {
    switch (rows) {
        case 1:
            return tile.template run_tile<1, V>();
        case 2:
            return tile.template run_tile<2, V>();
        case 3:
            return tile.template run_tile<3, V>();
        case 4:
            return tile.template run_tile<4, V>();
        case 5:
            return tile.template run_tile<5, V>();
        case 6:
            return tile.template run_tile<6, V>();
        case 7:
            return tile.template run_tile<7, V>();
        default:
            return tile.template run_tile<8, V>();
    }
}
template <class Tile>
void with_sizes(int rows, int vectors, Tile tile) {
    if (vectors == 1) return with_rows<1>(rows, tile);
    if (vectors == 2) return with_rows<2>(rows, tile);
    return with_rows<3>(rows, tile);
}

struct BytesTile {
    Tokens tokens;
    const Weights& weights;
    long column;
    float* out;
    long stride;
    template <int M, int V>
    void run_tile() const {
        if (V <= 2 && weights.starts)
            bytes_tile<M, V, true>(tokens, weights, column, out, stride);
        else
            bytes_tile<M, V, false>(tokens, weights, column, out, stride);
    }
};

struct FloatsTile {
    const float* left;
    long left_stride;
    const float* right;
    long right_stride, inner;
    float* out;
    long stride;
    bool added;
    template <int M, int V>
    void run_tile() const {
        floats_tile<M, V>(left, left_stride, right, right_stride, inner, out, stride, added);
    }
};

// Up to 8 rows of floats times `columns` (a multiple of 16) of `right`.
inline void floats_product(int rows, long columns, FloatsTile tile) {
    for (long column = 0; column < columns;) {
        int vectors = next_panel((columns - column) / WIDTH);
        FloatsTile part = tile;
        part.right += column;
        part.out += column;
        with_sizes(rows, vectors, part);
        column += vectors * WIDTH;
    }
}

}  // namespace fxc

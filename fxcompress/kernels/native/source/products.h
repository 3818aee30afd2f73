// Products of rows of bytes with 8-bit weights (VNNI), and of rows of floats, tile by tile.
#pragma once
#include "outputs.h"
#include "weights.h"

namespace fxc {

// The intrinsic makes gcc 12 keep the sums in memory.
inline void add_products(__m512i& sums, __m512i bytes, __m512i weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(bytes), "v"(weights));
}

// Sums of integers begin with what the zero point of each row adds; as integers, for what is left may be small.
template <int M, int V>
__attribute__((always_inline)) inline void begin_sums(__m512i (&sums)[M][V], const int32_t* zeros, long apart,
                                                      const Weights& weights, long column) {
    UNROLL for (int r = 0; r < M; r++) {
        const __m512i zero = _mm512_set1_epi32(-zeros[r * apart]);
        UNROLL for (int v = 0; v < V; v++) sums[r][v] =
            _mm512_mullo_epi32(zero, _mm512_loadu_si512(weights.sums + column + v * WIDTH));
    }
}

// Sums of a tile, in memory: what is done with them is a function of its own, for gcc 12 would keep them in memory
// through the whole of the product to have registers for both.
template <int M, int V>
struct Sums {
    alignas(64) int32_t at[M][V * WIDTH];

    __attribute__((always_inline)) explicit Sums(const __m512i (&sums)[M][V]) {
        UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++)
            _mm512_store_si512(at[r] + v * WIDTH, sums[r][v]);
    }
};

// The rows of a tile: sums times the scale of their row and of their output, with bias.
struct TileSums {
    const int32_t* sums;
    int rows, vectors;
    const float* scales;
    long apart;
    const Weights& weights;
    long column;

    // Call `put` with sixteen results at a time, times `factor` and plus `offset`, their row and how many there are
    // left of the row. What is written may lie anywhere for all that gcc knows: all that is read often is copied first.
    template <class Put>
    void each(float factor, float offset, Put put) const {
        const int count = rows, step = vectors * WIDTH;
        const bool own = apart;
        const float whole = own ? factor : factor * *scales;
        for (int v = 0; v < vectors; v++) {
            const long here = column + v * WIDTH, left = weights.outputs - here;
            const Floats scale = load(weights.scales + here) * whole,
                         bias = load(weights.bias + here) * factor + offset;
            const int32_t* from = sums + v * WIDTH;
            for (int r = 0; r < count; r++, from += step) {
                Floats x = (Floats)_mm512_cvtepi32_ps(_mm512_load_si512(from));
                if (own) x *= scales[r];
                put(r, v * WIDTH, x * scale + bias, left);
            }
        }
    }

    template <bool ADDED>
    void put_bytes(const TileOutput& to) const {
        const Straight straight = *to.straight;
        const long first = to.first, stride = to.stride;
        each(straight.inverse, straight.offset,
             [=](int r, long c, Floats x, long left) { straight.put<ADDED>(first + r * stride + c, x, left); });
    }

    __attribute__((noinline)) void put(const TileOutput& to) const {
        if (!to.straight)
            each(1, 0, [&](int r, long c, Floats x, long) { store(to.floats + to.first + r * to.stride + c, x); });
        else if (to.straight->residual)
            put_bytes<true>(to);
        else
            put_bytes<false>(to);
    }
};

// M tokens and V vectors of outputs.
template <int M, int V, bool KEPT>
void bytes_tile(const Tokens& tokens, const Weights& weights, long column, Ahead ahead, const TileOutput& to) {
    const long features = weights.features;
    __m512i sums[M][V];
    begin_sums(sums, tokens.zeros, tokens.apart, weights, column);
    const long first = KEPT ? weights.starts[column / (V * WIDTH)] : 0;
    const long last = KEPT ? weights.starts[column / (V * WIDTH) + 1] : features / 4;
    const int8_t* panel = KEPT ? weights.panels + first * V * 64 : weights.panels + column * features;
    for (long i = first; i < last; i++, panel += V * 64) {
        if (!KEPT) ahead.fetch();
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
    const Sums<M, V> made(sums);
    TileSums{made.at[0], M, V, tokens.scales, tokens.apart, weights, column}.put(to);
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

struct BytesTile {
    Tokens tokens;
    const Weights& weights;
    long column;
    Ahead ahead;
    TileOutput to;
    template <int M, int V>
    void run_tile() const {
        if (V <= 2 && weights.starts)
            bytes_tile<M, V, true>(tokens, weights, column, ahead, to);
        else
            bytes_tile<M, V, false>(tokens, weights, column, ahead, to);
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
        int vectors = next_floats((columns - column) / WIDTH);
        FloatsTile part = tile;
        part.right += column;
        part.out += column;
        with_sizes(rows, vectors, part);
        column += vectors * WIDTH;
    }
}

}  // namespace fxc

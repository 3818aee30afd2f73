// Linears of floats whose weights are mostly zero. Two forms of what is not:
//
//   panels   up to 32 outputs side by side, with the features that any of them reads: for blocks
//   rows     each output with the features that it reads: for single weights anywhere
//
// There a vector holds 16 outputs of one row of the input, here one output of 16 rows.
#pragma once
#include <algorithm>
#include <memory>

#include "products.h"
#include "transpose.h"

namespace fxc {

// `features[starts[p] .. starts[p + 1]]` are those that panel p reads; `weights` has as many vectors for each.
// As rows there is a panel for each output, and one weight for each feature.
struct Kept {
    const float* weights;
    const int32_t *features, *starts;
    const float* bias;
    long inputs, outputs, vectors;
};

// An addition waits for the one before it: where there are few sums, each is calculated in several parts.
constexpr int parts_of(int sums) { return sums >= 8 ? 1 : sums >= 4 ? 2 : 4; }

template <int M, int V>
void panel_tile(const float* input, const Kept& kept, long panel, float* out) {
    constexpr int PARTS = parts_of(M * V);
    const float* bias = kept.bias + panel * V * WIDTH;
    __m512 sums[PARTS][M][V];
    UNROLL for (int p = 0; p < PARTS; p++) UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++)
        sums[p][r][v] = p ? _mm512_setzero_ps() : _mm512_loadu_ps(bias + v * WIDTH);
    const long end = kept.starts[panel + 1];
    long i = kept.starts[panel];
    for (; i + PARTS <= end; i += PARTS) UNROLL for (int p = 0; p < PARTS; p++) {
            const float *from = input + kept.features[i + p], *weights = kept.weights + (i + p) * V * WIDTH;
            UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++) sums[p][r][v] = _mm512_fmadd_ps(
                _mm512_set1_ps(from[r * kept.inputs]), _mm512_loadu_ps(weights + v * WIDTH), sums[p][r][v]);
        }
    for (; i < end; i++)
        UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++) sums[0][r][v] =
            _mm512_fmadd_ps(_mm512_set1_ps(input[r * kept.inputs + kept.features[i]]),
                            _mm512_loadu_ps(kept.weights + (i * V + v) * WIDTH), sums[0][r][v]);
    UNROLL for (int r = 0; r < M; r++) UNROLL for (int v = 0; v < V; v++) {
        __m512 sum = sums[0][r][v];
        UNROLL for (int p = 1; p < PARTS; p++) sum = _mm512_add_ps(sum, sums[p][r][v]);
        const long column = (panel * V + v) * WIDTH;
        store_first(out + r * kept.outputs + column, (Floats)sum, std::max(kept.outputs - column, 0l));
    }
}

template <int V>
struct PanelTile {
    const float* input;
    const Kept& kept;
    long panel;
    float* out;
    template <int M, int VECTORS>
    void run_tile() const {
        panel_tile<M, V>(input, kept, panel, out);
    }
};

// One panel for all rows: its weights stay in the cache.
template <int V>
void panel_rows(const float* input, long begin, long end, const Kept& kept, long panel, float* out) {
    for (long r = begin, tall; r < end; r += tall) {
        tall = next_rows(end - r, V);
        with_rows<V>((int)tall, PanelTile<V>{input + r * kept.inputs, kept, panel, out + r * kept.outputs});
    }
}

// The sums of one output for V * 16 rows; `turned` has these rows side by side for each feature.
template <int V>
void output_tile(const float* turned, const Kept& kept, long output, float* out) {
    constexpr int PARTS = 4;
    __m512 sums[PARTS][V];
    UNROLL for (int p = 0; p < PARTS; p++) UNROLL for (int v = 0; v < V; v++) sums[p][v] =
        _mm512_set1_ps(p ? 0 : kept.bias[output]);
    const long end = kept.starts[output + 1];
    long i = kept.starts[output];
    for (; i + PARTS <= end; i += PARTS) UNROLL for (int p = 0; p < PARTS; p++) {
            const float* from = turned + kept.features[i + p] * (V * WIDTH);
            const __m512 weight = _mm512_set1_ps(kept.weights[i + p]);
            UNROLL for (int v = 0; v < V; v++) sums[p][v] =
                _mm512_fmadd_ps(weight, _mm512_loadu_ps(from + v * WIDTH), sums[p][v]);
        }
    for (; i < end; i++)
        UNROLL for (int v = 0; v < V; v++) sums[0][v] = _mm512_fmadd_ps(
            _mm512_set1_ps(kept.weights[i]), _mm512_loadu_ps(turned + (kept.features[i] * V + v) * WIDTH), sums[0][v]);
    UNROLL for (int v = 0; v < V; v++) _mm512_storeu_ps(
        out + v * WIDTH, _mm512_add_ps(_mm512_add_ps(sums[0][v], sums[1][v]), _mm512_add_ps(sums[2][v], sums[3][v])));
}

template <int V>
void turn(const float* input, long rows, long inputs, float* turned) {
    for (long v = 0; v < V; v++)
        for (long f = 0; f < inputs; f += WIDTH)
            transpose(input + v * WIDTH * inputs + f, inputs, rows - v * WIDTH, std::min(WIDTH, inputs - f),
                      turned + (f * V + v) * WIDTH, V * WIDTH);
}

// Outputs `begin` to `end`, the first a multiple of 16, of up to V * 16 rows.
template <int V>
void output_block(const float* turned, long rows, const Kept& kept, long begin, long end, float* out) {
    float made[WIDTH * V * WIDTH];
    for (long o = begin; o < end; o += WIDTH) {
        const long count = std::min(WIDTH, end - o);
        for (long k = 0; k < count; k++) output_tile<V>(turned, kept, o + k, made + k * V * WIDTH);
        for (long v = 0; v * WIDTH < rows; v++)
            transpose(made + v * WIDTH, V * WIDTH, count, std::min(WIDTH, rows - v * WIDTH),
                      out + v * WIDTH * kept.outputs + o, kept.outputs);
    }
}

// One row of the input: its numbers are gathered.
inline void one_row(const float* input, const Kept& kept, long output, float* out) {
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    const long end = kept.starts[output + 1];
    int part = 0;
    for (long i = kept.starts[output]; i < end; i += WIDTH, part ^= 1) {
        const __mmask16 mask = first(end - i);
        const __m512i places = _mm512_maskz_loadu_epi32(mask, kept.features + i);
        const __m512 values = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, places, input, 4);
        sums[part] = _mm512_fmadd_ps(values, _mm512_maskz_loadu_ps(mask, kept.weights + i), sums[part]);
    }
    *out = kept.bias[output] + _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
}

// Rows of the input that one thread takes at a time as panels, and as rows: then it turns them first.
constexpr long PANEL_ROWS = 64, TURNED = 2;

inline void sparse_panels(const float* input, long rows, const Kept& kept, float* out, int threads) {
    const long panels = (kept.outputs + kept.vectors * WIDTH - 1) / (kept.vectors * WIDTH);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
    for (long begin = 0; begin < rows; begin += PANEL_ROWS)
        for (long panel = 0; panel < panels; panel++) {
            const long end = std::min(begin + PANEL_ROWS, rows);
            if (kept.vectors == 1)
                panel_rows<1>(input, begin, end, kept, panel, out);
            else
                panel_rows<2>(input, begin, end, kept, panel, out);
        }
}

inline void sparse_rows(const float* input, long rows, const Kept& kept, float* out, int threads) {
    constexpr long TALL = TURNED * WIDTH;
    const long tiles = (rows + TALL - 1) / TALL, pieces = tiles < threads ? threads : 1;
    const long piece = rounded_up((kept.outputs + pieces - 1) / pieces, WIDTH);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::unique_ptr<float[]> turned(new float[rows > 1 ? kept.inputs * TALL : 0]);
#pragma omp for collapse(2) schedule(static)
        for (long tile = 0; tile < tiles; tile++)
            for (long p = 0; p < pieces; p++) {
                const long begin = p * piece, end = std::min(begin + piece, kept.outputs);
                const float* from = input + tile * TALL * kept.inputs;
                float* to = out + tile * TALL * kept.outputs;
                const long left = std::min(rows - tile * TALL, TALL);
                if (rows == 1) {
                    for (long o = begin; o < end; o++) one_row(from, kept, o, to + o);
                } else if (left <= WIDTH) {
                    turn<1>(from, left, kept.inputs, turned.get());
                    output_block<1>(turned.get(), left, kept, begin, end, to);
                } else {
                    turn<TURNED>(from, left, kept.inputs, turned.get());
                    output_block<TURNED>(turned.get(), left, kept, begin, end, to);
                }
            }
    }
}

}  // namespace fxc
